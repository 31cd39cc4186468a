"""The demonstration's training over masked sums: where the loop of `training_plain` meets secure aggregation.

Promise: every round is a whole round of the protocol between parties that live through the run. The clients that the
schedule drops fall silent at the leg it names; every client binds its keys to the model and the training it was sent.
The same schedule is trained once more with plain sums, so what masking changes is measured and not claimed.

Under a privacy budget every update is clipped lower and counts once, every client adds its share of the noise before
masking, and rounds are run until the ledger has no room for another.

A round that aborts is skipped: its sum is gone, the server's momentum alone moves the model, and the plain run skips
the same round. Its clients are not asked again.

Imports numpy, this package, the rest of `protocols` and `secagg`.
"""

from __future__ import annotations

import collections
import contextlib
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from dp import Against, Budget, Ledger, MemoryStorage, Neighboring, ParameterError, Skellam, l2_norm
from protocols.demo.outcome import Glimpse, Integers, Outcome, Privacy, RoundRecord, Settings, Spent
from protocols.demo.picture import PARTS, count_parts
from protocols.demo.task import LocalUpdate, Model, SettingError, Task
from protocols.demo.training_plain import ScheduledRound, plain_mean, schedule, train
from protocols.faults import drop
from protocols.recipe import Recipe
from protocols.simulate import LegReport
from protocols.total import Total
from protocols.training import PrivateRounds
from secagg import ConfigError, Leg, Plan, Policy, Ring, RoundAborted
from secagg.pairwise.channel import TAG_SIZE
from secagg.ring import Words
from secagg.wire import open_envelope


class Screen(Protocol):
    """What shows a run while it goes on."""

    def opened(self, federation: Federation) -> None:
        """The run begins."""

    def leg(self, scheduled: ScheduledRound, report: LegReport) -> None:
        """A leg of a round was closed."""

    def round(self, record: RoundRecord) -> None:
        """A round is over."""

    def comparing(self, what: str) -> None:
        """All rounds are over, and `what` is computed for comparison."""


class ServerView:
    """The masked inputs that reached the server; nothing that did not.

    Args:
        ring: the ring of every round.
        length: words of an input.
    """

    def __init__(self, ring: Ring, length: int) -> None:
        self._ring = ring
        self._length = length
        self._received: dict[str, bytearray] = collections.defaultdict(bytearray)
        self.parts: Integers = np.zeros(PARTS, dtype=np.int64)

    def begin(self) -> None:
        """Forget the last round's inputs, not their counts."""
        self._received.clear()

    def tap(self, client: str, leg: Leg, message: bytes) -> None:
        """Take a message that reached the server; see `protocols.simulate.play_round`."""
        if leg is Leg.MASK:
            self._received[client] += open_envelope(message, max_size=len(message), tag_size=TAG_SIZE).tail
            if len(self._received[client]) == self._ring.packed_size(self._length):
                self.parts += count_parts(self.words(client), self._ring)

    def words(self, client: str) -> Words:
        """Return the masked words of one client's input of this round."""
        return self._ring.unpack(self._received[client], self._length)


class Federation:
    """A task, a schedule, and the lasting parties that train one by the other.

    Attributes:
        task: what is trained.
        settings: how.
        scheduled: every round, decided before the first.
        recipe: what is summed.
        plan: who must behave in each round.

    Raises:
        SettingError: a setting does not fit the task.
        secagg.ConfigError: no plan that clients take part in is safe for the settings; see `find_plan`.
    """

    def __init__(self, task: Task, settings: Settings) -> None:
        self.task = task
        self.settings = settings
        self.scheduled = schedule(
            task,
            clients=settings.clients,
            rounds=settings.most_rounds,
            dropout=settings.dropout,
            seed_data=settings.seed_data,
        )
        exact = Recipe.like(task.initial(), clip=task.clip, weight=float(task.max_weight), metrics=task.metric_bounds)
        self.plan = find_plan(exact, settings)
        self.recipe = exact if settings.epsilon is None else private_recipe(task, settings, self.plan)
        self.ring = self.recipe.ring(self.plan)

    def run(self, screen: Screen) -> Outcome:
        """Train over masked sums, then over plain ones, and compare."""
        screen.opened(self)
        with contextlib.ExitStack() as closing:
            ledgers = None if self.settings.epsilon is None else Ledgers(self, closing)
            masked = _MaskedRun(self, screen, ledgers)
            model = masked.train()
            privacy = None if ledgers is None else masked.privacy(ledgers)
        task, sample = self.task, min(self.task.defaults.lone_sample, len(self.task.clients))
        screen.comparing("the same schedule with plain sums")
        plain = self._train_plain(masked.records)
        screen.comparing("all rows in one place")
        pooled = task.pooled()
        screen.comparing(f"{sample} clients alone")
        return Outcome(
            records=tuple(masked.records),
            pooled=pooled,
            federated=task.quality(model),
            plain_sum=task.quality(plain),
            lone_mean=task.lone_mean(sample),
            lone_sample=sample,
            uplink_bytes_per_client=_mean(masked.uplink),
            downlink_bytes_per_client=_mean(masked.downlink),
            mean_norm=masked.mean_norm,
            glimpse=masked.glimpse,
            parts=masked.view.parts,
            privacy=privacy,
        )

    def _train_plain(self, records: Sequence[RoundRecord]) -> Model:
        """Train by the rounds that were run with exact sums in the clear, leaving out those that aborted."""
        skipped = {record.scheduled.number for record in records if record.aborted is not None}

        def mean(scheduled: ScheduledRound, updates: Mapping[str, LocalUpdate]) -> Model:
            return _nothing(self.task) if scheduled.number in skipped else plain_mean(scheduled, updates)

        model = self.task.initial()
        for state in train(self.task, self.scheduled[: len(records)], mean, momentum=self.task.defaults.momentum):
            model = state.model
        return model


class Ledgers:
    """The privacy ledgers of a run: the server's, and one of every client's own. In memory, as the run is.

    Args:
        federation: the run; one with a budget.
        closing: closes them.
    """

    def __init__(self, federation: Federation, closing: contextlib.ExitStack) -> None:
        settings, recipe, plan = federation.settings, federation.recipe, federation.plan
        if settings.epsilon is None:
            raise SettingError("a run without epsilon has no ledger")
        self._budget = Budget(epsilon=settings.epsilon, delta=settings.delta, neighboring=Neighboring.ZERO_OUT)
        self._planned = recipe.planned(plan, rounds=settings.rounds)
        self._worst = recipe.charge(plan)
        self._closing = closing
        self.server = self._open()
        self.clients: dict[str, Ledger] = {}

    def of_client(self, name: str) -> Ledger:
        """Open a client's own ledger; called once for each."""
        self.clients[name] = self._open()
        return self.clients[name]

    def would_allow(self) -> bool:
        """Whether the server's budget has room for another round."""
        return self.server.would_allow(self._worst)

    def spent(self) -> Spent:
        """What all rounds so far cost."""
        return Spent(server=self.server.guarantee(Against.SERVER), public=self.server.guarantee(Against.PUBLISHED))

    def _open(self) -> Ledger:
        ledger = Ledger.create(MemoryStorage(), budget=self._budget, planned=self._planned)
        self._closing.callback(ledger.close)
        return ledger


class _MaskedRun:
    """One training over masked sums, and what is written down on the way."""

    def __init__(self, federation: Federation, screen: Screen, ledgers: Ledgers | None) -> None:
        self._federation = federation
        self._ledgers = ledgers
        self._rounds = _session(federation.settings, federation.recipe, ledgers)
        self._screen = screen
        self._halted = False
        self._noise_std: float | None = None
        self._model = federation.task.initial()
        self._legs: list[LegReport] = []
        self.view = ServerView(federation.ring, federation.recipe.length)
        self.records: list[RoundRecord] = []
        self.uplink: list[int] = []
        self.downlink: list[int] = []
        self.mean_norm: float | None = None
        self.glimpse: Glimpse | None = None

    def train(self) -> Model:
        """Play every round and return the last model."""
        task = self._federation.task
        for state in train(task, self._admitted(), self._mean, momentum=task.defaults.momentum):
            self._model = state.model
            self.records[-1] = replace(self.records[-1], quality=task.quality(state.model))
            self._screen.round(self.records[-1])
        return self._model

    def privacy(self, ledgers: Ledgers) -> Privacy:
        """Say what the run cost."""
        return Privacy(
            spent=ledgers.spent(),
            clip=self._federation.recipe.clip,
            halted_by_budget=self._halted,
            noise_std=self._noise_std,
            client_rounds=max((len(ledger.entries) for ledger in ledgers.clients.values()), default=0),
        )

    def _admitted(self) -> Iterator[ScheduledRound]:
        """The scheduled rounds, as far as the budget reaches: no client trains for one that it does not admit."""
        for scheduled in self._federation.scheduled:
            if self._ledgers is not None and not self._ledgers.would_allow():
                self._halted = True
                return
            yield scheduled

    def _mean(self, scheduled: ScheduledRound, updates: Mapping[str, LocalUpdate]) -> Model:
        """The survivors' mean out of one secure round; nothing at all where it aborts."""
        self.view.begin()
        self._legs = []
        try:
            total = self._sum(scheduled, updates)
        except RoundAborted as error:
            self._record(scheduled, aborted=error)
            return _nothing(self._federation.task)
        mean = total.mean()
        if self._ledgers is None:
            plain = plain_mean(scheduled, updates)
            difference = max(float(np.abs(mean[name] - plain[name]).max()) for name in plain)
            self._record(scheduled, survivors=total.survivors, difference=difference, step=total.step)
        else:
            self._noise_std = total.noise_std
            self._record(scheduled, survivors=total.survivors)
        self._weigh(scheduled)
        self.mean_norm = l2_norm(mean)
        shown = min(total.survivors, key=lambda client: (client in scheduled.dropping, client))
        self.glimpse = self._glimpse(scheduled, shown, updates)
        return mean

    def _sum(self, scheduled: ScheduledRound, updates: Mapping[str, LocalUpdate]) -> Total:
        def watch(report: LegReport) -> None:
            self._legs.append(report)
            self._screen.leg(scheduled, report)

        return self._rounds.sum(
            {client: each.update for client, each in updates.items()},
            weights=None if self._ledgers else {client: float(each.weight) for client, each in updates.items()},
            metrics={client: each.metrics for client, each in updates.items()},
            instructions=instructions(self._federation.task, self._model),
            faults=[drop(client, before=leg) for client, leg in scheduled.dropping.items()],
            watch=watch,
            tap=self.view.tap,
        )

    def _record(
        self,
        scheduled: ScheduledRound,
        *,
        survivors: tuple[str, ...] = (),
        aborted: RoundAborted | None = None,
        difference: float = 0.0,
        step: float = 0.0,
    ) -> None:
        """Write a round down; its quality follows when the model has moved."""
        record = RoundRecord(
            scheduled=scheduled,
            legs=tuple(self._legs),
            survivors=survivors,
            aborted=aborted,
            difference=difference,
            step=step,
            quality=math.nan,
            spent=None if self._ledgers is None else self._ledgers.spent(),
        )
        self.records.append(record)

    def _weigh(self, scheduled: ScheduledRound) -> None:
        """Write down what each client that stayed to the end sent and was sent."""
        report = self._rounds.last
        if report is not None:
            stayed = [client for client in scheduled.invited if client not in scheduled.dropping]
            self.uplink += [report.uplink[client] for client in stayed]
            self.downlink += [report.downlink[client] for client in stayed]

    def _glimpse(self, scheduled: ScheduledRound, client: str, updates: Mapping[str, LocalUpdate]) -> Glimpse:
        own, ring, recipe = updates[client], self._federation.ring, self._federation.recipe
        # Under noise, the update as it was before: what was sent is no longer there, and is never made twice.
        shown = Recipe.like(
            own.update, clip=recipe.clip, step=recipe.step, weight=recipe.weight, metrics=dict(recipe.metrics)
        )
        encoded = shown.encode(
            own.update, weight=None if self._ledgers else float(own.weight), metrics=own.metrics, ring=ring
        )
        return Glimpse(
            number=scheduled.number,
            client=client,
            ring=ring,
            update=ring.center(encoded.read(0, encoded.length)),
            received=self.view.words(client),
        )


def instructions(task: Task, model: Model) -> bytes:
    """Write down all that a client executes by, the model it trains included, in one canonical byte string.

    The task's line, then each tensor in order of name: name, shape, and its numbers as little-endian float64. Every
    part has its length in front, so two different instructions never share their bytes.
    """
    parts = [task.instructions.encode()]
    for name in sorted(model):
        parts += [name.encode(), repr(model[name].shape).encode(), model[name].astype("<f8").tobytes()]
    return b"".join(struct.pack(">Q", len(part)) + part for part in parts)


def find_plan(recipe: Recipe, settings: Settings) -> Plan:
    """Find the plan of every round.

    Raises:
        secagg.ConfigError: no plan is safe for the settings, or one is and every client would refuse it, so that the
            run would be a row of aborted rounds; the text has numbers that would do.
    """
    plan = _session(settings, recipe, None).plan(settings.clients)
    floor = Policy(adversaries=frozenset({plan.adversary})).min_survivors
    if plan.min_survivors < floor:
        spare = plan.clients - floor
        raise ConfigError(
            f"clients={plan.clients}, max_dropped={plan.max_dropped} let a sum shrink to {plan.min_survivors} clients, "
            f"and no client takes part in a sum of under {floor}: "
            f"{f'raise clients to {floor}' if spare < 0 else f'lower max_dropped to {spare}'}"
        )
    return plan


def private_recipe(task: Task, settings: Settings, plan: Plan) -> Recipe:
    """Write the recipe of a private run: every update counts once, with the least noise that keeps the budget.

    The noise is that of the fewest honest survivors a round can have; the metrics are noised with the updates.

    Raises:
        SettingError: no noise keeps the budget.
    """
    example = task.initial()
    try:
        noise = Skellam.for_budget(
            clip=task.private_clip,
            epsilon=settings.epsilon or 0.0,
            delta=settings.delta,
            rounds=settings.rounds,
            honest=plan.min_survivors - plan.max_corrupt,
            length=sum(tensor.size for tensor in example.values()) + len(task.metric_bounds),
        )
    except ParameterError as error:
        raise SettingError(str(error)) from error
    recipe = Recipe.like(example, clip=task.private_clip, noise=noise, metrics=task.metric_bounds)
    budget = Budget(epsilon=settings.epsilon or 0.0, delta=settings.delta, neighboring=Neighboring.ZERO_OUT)
    with Ledger.create(MemoryStorage(), budget=budget, planned=recipe.planned(plan, rounds=settings.rounds)) as ledger:
        if not ledger.would_allow(recipe.charge(plan)):
            raise SettingError(
                f"epsilon={settings.epsilon} at delta={settings.delta} is beyond what samplers within 2^-126 of their "
                "laws can back: give an epsilon of at most 30, or a larger delta"
            )
    return recipe


def _session(settings: Settings, recipe: Recipe, ledgers: Ledgers | None) -> PrivateRounds:
    return PrivateRounds(
        recipe,
        max_dropped=settings.max_dropped,
        max_corrupt=settings.max_corrupt,
        adversary=settings.adversary,
        ledger=None if ledgers is None else ledgers.server,
        client_ledger=None if ledgers is None else ledgers.of_client,
    )


def _nothing(task: Task) -> Model:
    """The mean of a round that gave none: it moves no coordinate."""
    return {name: np.zeros_like(tensor) for name, tensor in task.initial().items()}


def _mean(values: list[int]) -> float | None:
    return sum(values) / len(values) if values else None
