"""A task made of a learner and labelled rows: everything the flights and the digits have in common.

Promise: a client trains on its own rows only; the held-out rows are in nobody's training; every update is within the
bounds that the task declares.

Imports numpy, dp's clipping and this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from dp import clip
from protocols.demo.model import BatchDescent, Descent, Features, Learner
from protocols.demo.task import (
    DataFileError,
    Defaults,
    Draw,
    IndexArray,
    LocalUpdate,
    Model,
    SettingError,
    data_rng,
    difference,
    sample_clients,
)


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Labelled rows and whose they are.

    Attributes:
        features: one row an example, in the form the learner takes.
        labels: one class index an example.
        rows_of: for each client, the indices of its training rows.
        held_out: the indices of the rows nobody trains on.
    """

    features: Features = field(repr=False)
    labels: IndexArray = field(repr=False)
    rows_of: Mapping[str, IndexArray] = field(repr=False)
    held_out: IndexArray = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class SupervisedTask:
    """A `Task` over labelled rows; the fields that `Task` names are described there.

    Attributes:
        local: a client's training in one round.
        alone: a client's training when nobody helps it, chosen to be near the best it can do.
        together: the training on all clients' rows in one place.

    Raises:
        DataFileError: a client has no rows, or more than max_weight.
    """

    name: str
    learner: Learner
    examples: Examples
    local: Descent
    alone: Descent
    together: BatchDescent
    clip: float
    private_clip: float
    max_weight: int
    metric_bounds: Mapping[str, float]
    defaults: Defaults
    seed_data: int

    def __post_init__(self) -> None:
        for client, rows in self.examples.rows_of.items():
            if not 1 <= len(rows) <= self.max_weight:
                raise DataFileError(f"{client} has {len(rows)} training rows; 1 to max_weight={self.max_weight} fit")

    @property
    def quality_name(self) -> str:
        """What `quality` measures."""
        return self.learner.quality_name

    @property
    def clients(self) -> tuple[str, ...]:
        """Every client that may be invited, sorted."""
        return tuple(sorted(self.examples.rows_of))

    @property
    def instructions(self) -> str:
        """One line that pins what a client executes."""
        return f"{self.name}: {self.learner!r}; {self.local!r}; update clipped to L2 norm {self.clip!r}"

    def initial(self) -> Model:
        """Return the model before the first round."""
        return self.learner.initial()

    def local_update(self, client: str, model: Model) -> LocalUpdate:
        """Train on the client's rows; the metrics are the loss before training and 1 where the clip bound the update.

        Raises:
            SettingError: no such client.
            dp.UpdateError: the training left the range of float64.
        """
        rows = self._rows(client)
        features, labels = self.examples.features[rows], self.examples.labels[rows]
        loss, _ = self.learner.loss_and_gradient(model, features, labels)
        trained = self.local.run(self.learner, model, features, labels)
        clipped, report = clip(difference(trained, model), self.clip)
        update = {name: tensor.astype(np.float64, copy=False) for name, tensor in clipped.items()}
        return LocalUpdate(update=update, weight=len(rows), metrics={"clipped": float(report.clipped), "loss": loss})

    def quality(self, model: Model) -> float:
        """Return the quality on the held-out rows."""
        held_out = self.examples.held_out
        return self.learner.quality(model, self.examples.features[held_out], self.examples.labels[held_out])

    def pooled(self) -> float:
        """Return the held-out quality of one model trained on every client's rows."""
        rows = np.concatenate([self.examples.rows_of[client] for client in self.clients])
        features, labels = self.examples.features[rows], self.examples.labels[rows]
        rng = data_rng(self.seed_data, Draw.SHUFFLE)
        return self.quality(self.together.run(self.learner, self.initial(), features, labels, rng))

    def lone(self, client: str) -> float:
        """Return the held-out quality of the model `client` trains alone.

        Raises:
            SettingError: no such client.
        """
        rows = self._rows(client)
        features, labels = self.examples.features[rows], self.examples.labels[rows]
        return self.quality(self.alone.run(self.learner, self.initial(), features, labels))

    def lone_mean(self, sample: int) -> float:
        """Return the mean of `lone` over a sample of the clients.

        Raises:
            SettingError: sample is not 1 to the number of clients.
        """
        if not 1 <= sample <= len(self.clients):
            raise SettingError(f"sample={sample} must be 1 to {len(self.clients)}, the number of clients")
        chosen = sample_clients(self.clients, sample, data_rng(self.seed_data, Draw.LONE))
        return float(np.mean([self.lone(client) for client in chosen]))

    def _rows(self, client: str) -> IndexArray:
        rows = self.examples.rows_of.get(client)
        if rows is None:
            raise SettingError(f"client={client!r:.80} holds no rows of {self.name}")
        return rows


def split_rows(count: int, fraction: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Mark exactly round(fraction * count) of `count` rows, at random, as held out."""
    marked = np.zeros(count, dtype=np.bool_)
    marked[rng.permutation(count)[: round(fraction * count)]] = True
    return marked
