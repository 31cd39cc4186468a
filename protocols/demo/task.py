"""What the demonstration asks of a training task, and the words the two tasks share.

Promise: a task knows data and training, and nothing of masks, rounds or servers. It says what one client's update is,
how good a model is, and within which bounds every update stays, so that a `Recipe` can be written from it.

Randomness: `data_rng` is the only generator of `protocols.demo`. It is NumPy's, seeded by a public number, and decides
data splits, shuffles, who is invited and who drops out: things anybody may know and everybody must be able to repeat.
Nothing secret may ever be drawn from it.

Imports numpy and the errors of `protocols`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from protocols.errors import ProtocolError

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.intp]
Model = Mapping[str, FloatArray]
"""The tensors of a model by name; an update (new - old) has the same names and shapes."""


class DemoError(ProtocolError):
    """Root of every error of the demonstration."""


class DataFileError(DemoError):
    """A shipped data file is missing, damaged or not what its reader expects."""


class SettingError(DemoError, ValueError):
    """A setting of the demonstration is wrong; the text names it, its value and the value that would do."""


class Draw(enum.IntEnum):
    """What a generator is for; each purpose has its own stream, so that changing one leaves the others as they were."""

    SPLIT = 0
    SCHEDULE = 1
    LONE = 2
    SHUFFLE = 3


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """How a task is trained unless the caller says otherwise.

    Attributes:
        clients: how many clients are invited to each round.
        rounds: how many rounds there are.
        dropout: the fraction of the invited that drops out of each round.
        momentum: the server's momentum, in [0, 1): velocity = momentum * velocity + mean; model += velocity.
        lone_sample: how many clients train alone for the comparison.
    """

    clients: int
    rounds: int
    dropout: float
    momentum: float
    lone_sample: int


@dataclass(frozen=True, kw_only=True)
class LocalUpdate:
    """What one client hands to the aggregation after training on its own rows. Nothing of it prints.

    Attributes:
        update: new - old for each tensor of the model; the L2 norm over all of it is at most the task's `clip`.
        weight: how many rows it was trained on; 1 to the task's `max_weight`.
        metrics: each from 0 to the task's bound of that name.
    """

    update: Model = field(repr=False)
    weight: int = field(repr=False)
    metrics: Mapping[str, float] = field(repr=False)


class Task(Protocol):
    """A training task whose data is spread over named clients.

    Every float is float64, every quality lies in [0, 1] and more is better.
    """

    @property
    def name(self) -> str:
        """The name on the command line."""

    @property
    def quality_name(self) -> str:
        """What `quality` measures: "AUC" or "accuracy"."""

    @property
    def clients(self) -> tuple[str, ...]:
        """Every client that may be invited, sorted; each name is a valid client id."""

    @property
    def clip(self) -> float:
        """The bound on the L2 norm of an update over all its tensors."""

    @property
    def private_clip(self) -> float:
        """The bound on it where noise is added in proportion: lower, for less noise."""

    @property
    def max_weight(self) -> int:
        """The bound on a client's weight."""

    @property
    def metric_bounds(self) -> Mapping[str, float]:
        """The largest value of each metric; the smallest is zero."""

    @property
    def defaults(self) -> Defaults:
        """The settings that the published figures were measured with."""

    @property
    def instructions(self) -> str:
        """One line that pins everything a client executes in `local_update` besides the model it is sent."""

    def initial(self) -> Model:
        """Return the model before the first round."""

    def local_update(self, client: str, model: Model) -> LocalUpdate:
        """Train `model` on the rows of `client`; deterministic.

        Raises:
            SettingError: no such client.
        """

    def quality(self, model: Model) -> float:
        """Return the quality of `model` on the held-out rows of all clients together."""

    def pooled(self) -> float:
        """Return the held-out quality of the model trained on all clients' rows in one place."""

    def lone(self, client: str) -> float:
        """Return the held-out quality of the model that `client` trains from its own rows alone.

        Raises:
            SettingError: no such client.
        """

    def lone_mean(self, sample: int) -> float:
        """Return the mean of `lone` over `sample` clients drawn by the data seed.

        Raises:
            SettingError: sample is not 1 to the number of clients.
        """


def data_rng(seed_data: int, draw: Draw) -> np.random.Generator:
    """Return the public generator for one purpose; never for anything secret.

    Raises:
        SettingError: the seed is not a non-negative int.
    """
    if not isinstance(seed_data, int) or seed_data < 0:
        raise SettingError(f"seed_data={seed_data!r:.40} must be an int of 0 or more")
    return np.random.default_rng([seed_data, draw])


def sample_clients(clients: Sequence[str], count: int, rng: np.random.Generator) -> tuple[str, ...]:
    """Draw `count` distinct clients, sorted by name."""
    return tuple(sorted(clients[i] for i in rng.choice(len(clients), size=count, replace=False)))


def difference(new: Model, old: Model) -> Model:
    """Return new - old, tensor by tensor."""
    return {name: new[name] - old[name] for name in old}
