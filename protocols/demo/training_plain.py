"""The demonstration's training loop, with the way of summing as an argument; here, summing in the clear.

Promise: who is invited and who drops out is decided before any aggregation, by the public data seed. Two runs of one
schedule that differ only in `aggregate` therefore see the same participants, the same drop-outs and the same local
training, and differ in nothing but how the sum was formed.

This module sums in the clear: it is the yardstick the masked sum is held against, never the product's way to train.

Imports numpy and this package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from protocols.demo.task import (
    Draw,
    LocalUpdate,
    Model,
    SettingError,
    Task,
    data_rng,
    sample_clients,
)

DROP_LEGS: Final = ("advertise", "share", "mask", "unmask")
"""The legs a client may drop before. One that drops before "unmask" has sent its input, so it still counts."""


@dataclass(frozen=True, kw_only=True)
class ScheduledRound:
    """Who takes part in one round, and who leaves it when.

    Attributes:
        number: from 1.
        invited: sorted.
        dropping: for each client that drops out, the leg before which it does, one of DROP_LEGS.
    """

    number: int
    invited: tuple[str, ...]
    dropping: Mapping[str, str]

    @property
    def survivors(self) -> tuple[str, ...]:
        """The invited clients whose input counts, sorted."""
        return tuple(client for client in self.invited if self.dropping.get(client, "unmask") == "unmask")


Aggregate = Callable[[ScheduledRound, Mapping[str, LocalUpdate]], Model]
"""`aggregate(scheduled, updates)`: the mean update of the survivors, each weighted by its `weight`.

`updates` has one entry for every invited client; leaving out those that dropped is the aggregation's task.
"""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The state after one round.

    Attributes:
        scheduled: the round.
        updates: every invited client's update, counted or not.
        model: the model after the round.
        velocity: the server's momentum after the round.
    """

    scheduled: ScheduledRound
    updates: Mapping[str, LocalUpdate] = field(repr=False)
    model: Model = field(repr=False)
    velocity: Model = field(repr=False)


def schedule(task: Task, *, clients: int, rounds: int, dropout: float, seed_data: int) -> tuple[ScheduledRound, ...]:
    """Decide who is invited to each round, and who of them drops out before which leg.

    Each round invites `clients` of the task's clients and drops exactly round(dropout * clients) of them, each before
    a leg drawn from DROP_LEGS.

    Raises:
        SettingError: a setting is out of range, or every client could drop out.
    """
    if not 1 <= clients <= len(task.clients):
        raise SettingError(f"clients={clients} must be 1 to {len(task.clients)}, the clients of {task.name}")
    if rounds < 1:
        raise SettingError(f"rounds={rounds} must be 1 or more")
    if not 0.0 <= dropout < 1.0 or round(dropout * clients) >= clients:
        raise SettingError(f"dropout={dropout} must leave one of clients={clients}: 0 to {(clients - 1) / clients:.3f}")
    rng = data_rng(seed_data, Draw.SCHEDULE)
    return tuple(_one_round(task, number, clients, round(dropout * clients), rng) for number in range(1, rounds + 1))


def _one_round(task: Task, number: int, clients: int, drops: int, rng: np.random.Generator) -> ScheduledRound:
    invited = sample_clients(task.clients, clients, rng)
    dropping = {client: DROP_LEGS[rng.integers(len(DROP_LEGS))] for client in sample_clients(invited, drops, rng)}
    return ScheduledRound(number=number, invited=invited, dropping=dropping)


def train(
    task: Task, scheduled: Iterable[ScheduledRound], aggregate: Aggregate, *, momentum: float
) -> Iterator[Trained]:
    """Federated averaging with server momentum (McMahan et al. 2017, algorithm 1; the momentum of Hsu et al. 2019).

    Every invited client trains from the round's model; `aggregate` forms the mean; then velocity = momentum * velocity
    + mean and model += velocity. Yields after each round, so that a caller can show progress.

    Raises:
        SettingError: momentum is outside [0, 1).
    """
    if not 0.0 <= momentum < 1.0:
        raise SettingError(f"momentum={momentum} must be at least 0 and below 1")
    model = task.initial()
    velocity: Model = {name: np.zeros_like(tensor) for name, tensor in model.items()}
    for each in scheduled:
        updates = {client: task.local_update(client, model) for client in each.invited}
        mean = aggregate(each, updates)
        velocity = {name: momentum * velocity[name] + mean[name] for name in model}
        model = {name: model[name] + velocity[name] for name in model}
        yield Trained(scheduled=each, updates=updates, model=model, velocity=velocity)


def plain_mean(scheduled: ScheduledRound, updates: Mapping[str, LocalUpdate]) -> Model:
    """Return the weighted mean of the survivors' updates, summed in the clear.

    Raises:
        SettingError: the round has no survivors.
    """
    counted = [updates[client] for client in scheduled.survivors]
    if not counted:
        raise SettingError(f"round {scheduled.number} has no survivors: let fewer of its clients drop out")
    total = sum(each.weight for each in counted)
    return {
        name: np.sum([each.weight * each.update[name] for each in counted], axis=0) / total
        for name in counted[0].update
    }


def train_plain(
    task: Task,
    *,
    clients: int | None = None,
    rounds: int | None = None,
    dropout: float | None = None,
    seed_data: int = 0,
) -> Model:
    """Return the model trained with plain sums, by the task's defaults where a setting is None.

    Raises:
        SettingError: a setting is out of range.
    """
    defaults = task.defaults
    scheduled = schedule(
        task,
        clients=defaults.clients if clients is None else clients,
        rounds=defaults.rounds if rounds is None else rounds,
        dropout=defaults.dropout if dropout is None else dropout,
        seed_data=seed_data,
    )
    model = task.initial()
    for state in train(task, scheduled, plain_mean, momentum=defaults.momentum):
        model = state.model
    return model
