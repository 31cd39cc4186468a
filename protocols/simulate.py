"""`simulate`: one whole round in this process, every party the real one, no sockets and no clock.

Promise: the clients, the server and every byte between them are those of a deployment; only delivery is a function
call. What goes wrong is given as values (faults.py), so a test of a drop-out is one line.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from dp.errors import BudgetExceeded
from dp.ledger import Ledger
from protocols.faults import Fault, FaultKind, check_faults, flip
from protocols.inputs import RecipeInput
from protocols.recipe import Recipe
from protocols.spending import Spending, settle_aborted
from protocols.total import Total
from secagg import (
    Aggregate,
    ClientRound,
    ConfigError,
    Directory,
    Event,
    Failed,
    Finished,
    Identity,
    InputError,
    MemoryDirectory,
    NeedInput,
    Plan,
    Policy,
    Rejected,
    Ring,
    RoundAborted,
    RoundConfig,
    RoundStore,
    Send,
    ServerRound,
)
from secagg.errors import MisuseError, RemoteError
from secagg.types import Leg, system_entropy

Update = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LegReport:
    """What one leg came to.

    Attributes:
        leg: which one.
        asked: clients the server sent its request to.
        answered: clients whose answer it admitted.
        uplink_bytes: bytes of the answers that reached it.
        downlink_bytes: bytes of the requests.
    """

    leg: Leg
    asked: int
    answered: int
    uplink_bytes: int
    downlink_bytes: int


@dataclass(frozen=True, kw_only=True, eq=False)
class RoundReport:
    """A simulated round, from the outside.

    Attributes:
        config: the round.
        total: the aggregate read through the recipe.
        aggregate: the aggregate as the server holds it.
        legs: one report a leg.
        rejected: messages the server refused.
        refused: clients that left because of a message of the server, and why.
        clipped: clients whose update was beyond the clip and was scaled down to it.
        unfaithful: clients whose noised input does not stand for what they gave; see `RecipeInput.faithful`.
        over_budget: clients that left because their own ledger has no room for the round.
        uplink: bytes each client sent.
        downlink: bytes each client was sent.
    """

    config: RoundConfig
    total: Total
    aggregate: Aggregate = field(repr=False)
    legs: tuple[LegReport, ...] = field(repr=False)
    rejected: tuple[Rejected, ...] = field(repr=False)
    refused: Mapping[str, RemoteError] = field(repr=False)
    clipped: tuple[str, ...] = field(repr=False)
    unfaithful: tuple[str, ...] = field(repr=False)
    over_budget: tuple[str, ...]
    uplink: Mapping[str, int] = field(repr=False)
    downlink: Mapping[str, int] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """A client as it lives from round to round: its identity, its store, its floors, its privacy ledger."""

    identity: Identity
    store: RoundStore | None = None
    policy: Policy | None = None
    ledger: Ledger | None = None

    def client_round(
        self, name: str, directory: Directory, recipe: Recipe, instructions: bytes, floors: Policy
    ) -> ClientRound:
        """This party's side of a round; `floors` where it has none of its own."""
        return ClientRound(
            client=name,
            identity=self.identity,
            directory=directory,
            recipe=recipe,
            instructions=instructions,
            policy=self.policy or floors,
            store=self.store,
        )


def simulate(
    updates: Mapping[str, Update],
    plan: Plan,
    recipe: Recipe,
    *,
    weights: Mapping[str, float] | None = None,
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    faults: Sequence[Fault] = (),
    policy: Policy | None = None,
) -> Total:
    """Sum the updates of one round with fresh identities, and return the total of those that survived.

    Args:
        updates: client name -> update; everyone in it is invited.
        plan: who must behave; `plan.clients` is the number of updates.
        recipe: what is summed.
        weights: client name -> weight, for a recipe with weights.
        metrics: client name -> metrics, for a recipe with metrics.
        faults: what goes wrong.
        policy: every client's floors; by default those of `secagg.Policy`, with the plan's adversary class allowed.

    Raises:
        RoundAborted: fewer clients than a floor were left; nothing was released.
        secagg.errors.SecAggError: an update, the plan or the recipe does not fit; the text names it.
        FaultError: a fault names nobody.
    """
    identities = {name: Identity.generate() for name in updates}
    parties = {name: Party(identity=identity, policy=policy) for name, identity in identities.items()}
    return play_round(updates, plan, recipe, parties=parties, weights=weights, metrics=metrics, faults=faults).total


def play_round(
    updates: Mapping[str, Update],
    plan: Plan,
    recipe: Recipe,
    *,
    parties: Mapping[str, Party],
    weights: Mapping[str, float] | None = None,
    metrics: Mapping[str, Mapping[str, float]] | None = None,
    faults: Sequence[Fault] = (),
    instructions: bytes = b"",
    session: bytes | None = None,
    number: int = 1,
    watch: Callable[[LegReport], None] | None = None,
    tap: Callable[[str, Leg, bytes], None] | None = None,
    ledger: Ledger | None = None,
    executor: Executor | None = None,
    workers: int = 1,
) -> RoundReport:
    """Play one round between lasting parties, and report on it.

    Args:
        updates: client name -> update; everyone in it is invited.
        plan: who must behave.
        recipe: what is summed.
        parties: everyone's identity, store and floors.
        weights: client name -> weight, for a recipe with weights.
        metrics: client name -> metrics, for a recipe with metrics.
        faults: what goes wrong.
        instructions: what the clients execute by, the model included.
        session: 16 bytes naming the series of rounds; fresh unless given.
        number: the round's number in the session.
        watch: called after each leg.
        tap: called with (client, leg, message) for every message that reaches the server: what the server sees.
        ledger: the server's; the round is reserved in it before any update is looked at.
        executor: threads to expand masks on, `workers` of them.
        workers: see `executor`.

    Raises:
        dp.BudgetExceeded: the server's ledger has no room for the round; nothing was touched.
        dp.LedgerError: a ledger cannot be used.
        as `simulate`.
    """
    check_faults(faults, updates)
    _check_names(updates, parties=parties, weights=weights, metrics=metrics)
    config = RoundConfig.create(
        session=system_entropy(16) if session is None else session,
        round=number,
        plan=plan,
        invited=tuple(updates),
        recipe=recipe,
        instructions=instructions,
    )
    spending = None if ledger is None else Spending(ledger=ledger, recipe=recipe)
    if spending is not None:
        spending.reserve(config)
    ring = config.ring
    try:
        inputs = _inputs(updates, recipe, weights=weights, metrics=metrics, ring=ring, instructions=instructions)
    except InputError:
        if spending is not None:  # nothing left anybody
            spending.release(config)
        raise
    directory = MemoryDirectory({name: parties[name].identity.public for name in updates})
    floors = Policy(adversaries=frozenset({plan.adversary}))
    clients = {name: parties[name].client_round(name, directory, recipe, instructions, floors) for name in updates}
    server = ServerRound(config, invited=tuple(updates), directory=directory)
    ledgers = {
        name: Spending(ledger=own, recipe=recipe) for name in updates if (own := parties[name].ledger) is not None
    }
    table = _Table(server, clients, inputs, ledgers, faults, watch, tap)
    try:
        aggregate = table.play(executor, workers)
    except RoundAborted as error:
        _note_refusals(error, table.refused)
        if spending is not None:
            settle_aborted(spending, server)
        raise
    finally:
        for client in clients.values():  # whoever fell silent has left; its next round finds its store empty
            client.abort()
    if spending is not None:
        spending.commit(config, survivors=len(aggregate.survivors))
    return RoundReport(
        config=config,
        total=recipe.decode(aggregate),
        aggregate=aggregate,
        legs=tuple(table.legs),
        rejected=tuple(server.rejected),
        refused=table.refused,
        clipped=tuple(name for name in aggregate.survivors if inputs[name].clipped),
        unfaithful=tuple(name for name in aggregate.survivors if not inputs[name].faithful),
        over_budget=tuple(table.over_budget),
        uplink=table.uplink,
        downlink=table.downlink,
    )


def _inputs(
    updates: Mapping[str, Update],
    recipe: Recipe,
    *,
    weights: Mapping[str, float] | None,
    metrics: Mapping[str, Mapping[str, float]] | None,
    ring: Ring,
    instructions: bytes,
) -> dict[str, RecipeInput]:
    """Encode everyone's update."""
    return {
        name: _encode(
            name,
            recipe,
            update,
            weight=None if weights is None else weights.get(name),
            metrics=None if metrics is None else metrics.get(name),
            ring=ring,
            instructions=instructions,
        )
        for name, update in updates.items()
    }


def _encode(
    name: str,
    recipe: Recipe,
    update: Update,
    *,
    weight: float | None,
    metrics: Mapping[str, float] | None,
    ring: Ring,
    instructions: bytes,
) -> RecipeInput:
    """Encode one client's update, and say whose it is where it does not fit."""
    try:
        return recipe.encode(update, weight=weight, metrics=metrics, ring=ring, instructions=instructions)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def require_mapping(what: str, given: object) -> None:
    """Refuse what is not one entry a client.

    Raises:
        ConfigError: the text names what it is instead.
    """
    if not isinstance(given, Mapping):
        raise ConfigError(f"{what} is of type {type(given).__name__}: pass a mapping, one entry a client")


def _check_names(
    updates: Mapping[str, Update],
    *,
    parties: Mapping[str, Party],
    weights: Mapping[str, float] | None,
    metrics: Mapping[str, Mapping[str, float]] | None,
) -> None:
    """Refuse numbers of clients that are not there, which nothing would ever read, and clients nobody is."""
    for what, given in (("updates", updates), ("weights", weights), ("metrics", metrics)):
        if given is not None:
            require_mapping(what, given)
    for what, given in (("weights", weights), ("metrics", metrics)):
        if given is not None and (strangers := sorted(given.keys() - updates.keys())):
            raise ConfigError(f"{what} names {strangers[0]!r}, which has no update")
    if strangers := sorted(updates.keys() - parties.keys()):
        raise ConfigError(f"parties lacks {strangers[0]!r}, which has an update")


def _note_refusals(error: RoundAborted, refused: Mapping[str, RemoteError]) -> None:
    """Say beside a round's end who would not take part, and the first one's reason."""
    if refused:
        name, refusal = next(iter(refused.items()))
        error.add_note(f"{len(refused)} clients refused the round, {name} because {refusal}")


class _Table:
    """Everyone of a round around one table; messages are handed over."""

    def __init__(
        self,
        server: ServerRound,
        clients: Mapping[str, ClientRound],
        inputs: Mapping[str, RecipeInput],
        ledgers: Mapping[str, Spending],
        faults: Iterable[Fault],
        watch: Callable[[LegReport], None] | None,
        tap: Callable[[str, Leg, bytes], None] | None,
    ) -> None:
        self._server = server
        self._clients = clients
        self._inputs = inputs
        self._ledgers = ledgers
        self._faults: dict[str, list[Fault]] = collections.defaultdict(list)
        for fault in faults:
            self._faults[fault.client].append(fault)
        self._watch = watch
        self._tap = tap
        self._held: list[tuple[str, Leg, bytes]] = []
        self.legs: list[LegReport] = []
        self.refused: dict[str, RemoteError] = {}
        self.over_budget: list[str] = []
        self.uplink: dict[str, int] = collections.Counter()
        self.downlink: dict[str, int] = collections.Counter()

    def play(self, executor: Executor | None, workers: int) -> Aggregate:
        events = self._server.start()
        while not self._server.ready:
            self._raise_if_failed(events)
            self._play_leg([event for event in events if isinstance(event, Send)])
            events = self._server.close_leg()
            for name, leg, data in self._held:
                self._reach(name, leg, data)
            self._held.clear()
        outcome = self._server.recover(executor, workers=workers)
        self._raise_if_failed(outcome)
        for event in outcome:
            if isinstance(event, Finished) and event.aggregate is not None:
                return event.aggregate
        raise MisuseError("a recovered round has an aggregate")

    def _play_leg(self, sends: list[Send]) -> None:
        leg, waited = self._server.leg, len(self._server.waiting_for)
        before = sum(self.uplink.values())
        for send in sends:
            if send.to is not None:
                self.downlink[send.to] += len(send.data)
                self._deliver(send.to, bytes(send.data), leg)
        report = LegReport(
            leg=leg,
            asked=waited,
            answered=waited - len(self._server.waiting_for),
            uplink_bytes=sum(self.uplink.values()) - before,
            downlink_bytes=sum(len(send.data) for send in sends),
        )
        self.legs.append(report)
        if self._watch is not None:
            self._watch(report)

    def _deliver(self, name: str, data: bytes, leg: Leg) -> None:
        client = self._clients[name]
        gone = any(fault.kind is FaultKind.DROP and fault.leg <= leg for fault in self._faults[name])
        if gone or client.closed:
            return
        events: tuple[Event, ...] = client.receive(data)
        if any(isinstance(event, NeedInput) for event in events):
            if not self._affords(name, client):
                return
            events = client.provide(self._inputs[name])
        for event in events:
            if isinstance(event, Send):
                self._carry(name, bytes(event.data), leg)
            elif isinstance(event, Failed) and isinstance(event.error, RemoteError):
                self.refused[name] = event.error
            elif isinstance(event, Finished) and name in self._ledgers:
                self._ledgers[name].commit(client.config, survivors=client.confirmed)

    def _affords(self, name: str, client: ClientRound) -> bool:
        """Charge a client's own ledger, before its input leaves; without room it leaves instead."""
        if name not in self._ledgers:
            return True
        try:
            self._ledgers[name].reserve(client.config)
        except BudgetExceeded:
            client.abort()
            self.over_budget.append(name)
            return False
        return True

    def _carry(self, name: str, data: bytes, leg: Leg) -> None:
        """Bring an answer to the server, unless a fault meets it on the way."""
        self.uplink[name] += len(data)
        for fault in self._faults[name]:
            if fault.leg is leg and fault.kind is FaultKind.LATE:
                self._held.append((name, leg, data))
                return
            if fault.leg is leg and fault.kind is FaultKind.CORRUPT:
                data = flip(data, fault.bit)
        self._reach(name, leg, data)

    def _reach(self, name: str, leg: Leg, data: bytes) -> None:
        if self._tap is not None:
            self._tap(name, leg, data)
        self._server.receive(name, data)

    @staticmethod
    def _raise_if_failed(events: tuple[Event, ...]) -> None:
        for event in events:
            if isinstance(event, Failed):
                raise event.error
