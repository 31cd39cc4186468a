"""Real rounds to measure: played once with every party, then one party alone, as often as a figure needs.

A round is recorded: the clients and the server of `secagg.testing`, whose secrets repeat, exchange every message there
is. Played again from the recording, a party does all it does in a round, and nobody else's work is near the clock.
Every check, signature and tag is on, and what comes out is held against the recording.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from protocols import Recipe
from secagg import (
    ClientRound,
    Finished,
    MemoryDirectory,
    NeedInput,
    Plan,
    Policy,
    RoundConfig,
    Send,
    ServerRound,
    graph,
)
from secagg import field as share_field
from secagg.errors import MisuseError
from secagg.testing.entropy import FixedClientRound, FixedEntropy, FixedServerRound, fixed_identity
from secagg.types import Adversary, Leg

UPDATES = 3
"""Different updates of a round; its clients take them in turn, so that a round fits the memory."""

Seconds = Mapping[str, float]
"""CPU seconds by stage."""


def complete_plan(clients: int) -> Plan:
    """Against a lying server: three in ten clients may drop, one in ten may be its helper."""
    return Plan.find(clients=clients, max_dropped=3 * clients // 10, max_corrupt=clients // 10)


def regular_plan(clients: int) -> Plan:
    """Against a curious server, on a sparse graph: three in ten may drop, one in twenty may be its helper."""
    return Plan.find(clients=clients, max_dropped=3 * clients // 10, max_corrupt=clients // 20, adversary="semi-honest")


def steady_plan(clients: int, *, degree: int, threshold: int) -> Plan:
    """A sparse graph of one degree and threshold for many cohorts: one in ten may drop, one in twenty may help."""
    return Plan(
        clients=clients,
        max_dropped=clients // 10,
        max_corrupt=clients // 20,
        adversary=Adversary.SEMI_HONEST,
        degree=degree,
        threshold=threshold,
        quorum=0,
    )


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One round to measure.

    Attributes:
        plan: who takes part.
        length: coordinates of an update.
        dropped: clients that fall silent once everyone masks towards them, which costs the server most.
    """

    plan: Plan
    length: int
    dropped: int = 0

    @property
    def name(self) -> str:
        """The cell as a part of a figure's name."""
        graph_name = "" if self.plan.complete else f"k{self.plan.degree}_"
        return f"n{self.plan.clients}_{graph_name}len{self.length}_drop{100 * self.dropped // self.plan.clients}"


class Cast:
    """Everyone of a cell's round, made as often as wanted."""

    def __init__(self, cell: Cell) -> None:
        rng = np.random.default_rng(cell.length)  # updates of nobody
        updates = [rng.normal(0, 1e-5, cell.length).astype(np.float32) for _ in range(UPDATES)]
        self.cell = cell
        self.names = [f"client-{number:04d}" for number in range(cell.plan.clients)]
        self.updates = {name: updates[number % UPDATES] for number, name in enumerate(self.names)}
        self.recipe = Recipe.like({"update": updates[0]}, clip=1.0)
        self.ring = self.recipe.ring(cell.plan)
        self.identities = {name: fixed_identity(name) for name in self.names}
        self.directory = MemoryDirectory({name: self.identities[name].public for name in self.names})
        self.config = RoundConfig.create(
            session=bytes(16), round=1, plan=cell.plan, invited=tuple(self.names), recipe=self.recipe
        )

    def new_client(self, name: str) -> ClientRound:
        """A client that draws the same secrets every time."""
        return FixedClientRound(
            entropy=FixedEntropy(name),
            client=name,
            identity=self.identities[name],
            directory=self.directory,
            recipe=self.recipe,
            policy=Policy(adversaries=frozenset({self.cell.plan.adversary})),
        )

    def new_server(self) -> ServerRound:
        """A server that draws the same secret every time."""
        return FixedServerRound(
            self.config, invited=self.names, directory=self.directory, entropy=FixedEntropy("server")
        )

    def truth(self, names: list[str]) -> npt.NDArray[np.float64]:
        """The plain mean of some clients' updates."""
        total = np.zeros(self.cell.length)
        for name in names:
            total += self.updates[name]
        return np.asarray(total / len(names))


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A round that was played to its end, and came to the right mean.

    Attributes:
        cast: who took part.
        requests: client -> what the server sent it, in order.
        answers: leg -> who answered, and what, in order.
        values: the aggregate.
    """

    cast: Cast
    requests: Mapping[str, list[bytes]]
    answers: Mapping[Leg, list[tuple[str, bytes]]]
    values: npt.NDArray[np.int64] = field(repr=False)

    def uplink(self, name: str) -> int:
        """Bytes that a client sent."""
        return sum(len(data) for sent in self.answers.values() for sender, data in sent if sender == name)

    def of(self, name: str) -> list[bytes]:
        """What a client sent, in order."""
        return [data for sent in self.answers.values() for sender, data in sent if sender == name]


def record(cell: Cell) -> Recording:
    """Play a whole round and keep every message of it."""
    cast = Cast(cell)
    server, clients = cast.new_server(), {name: cast.new_client(name) for name in cast.names}
    silent = set(cast.names[:: max(cell.plan.clients // cell.dropped, 1)][: cell.dropped]) if cell.dropped else set()
    requests: dict[str, list[bytes]] = collections.defaultdict(list)
    answers: dict[Leg, list[tuple[str, bytes]]] = collections.defaultdict(list)
    events = server.start()
    while not server.ready:
        leg = server.leg
        for send in events:
            if isinstance(send, Send) and send.to is not None and not (leg >= Leg.MASK and send.to in silent):
                requests[send.to].append(bytes(send.data))
                for answer in _answers(cast, clients[send.to], requests[send.to][-1]):
                    answers[leg].append((send.to, answer))
                    server.receive(send.to, answer)
        events = server.close_leg()
    (outcome,) = server.recover()
    if not isinstance(outcome, Finished) or outcome.aggregate is None:
        raise MisuseError(f"the round to be measured failed: {outcome}")
    survivors = [name for name in cast.names if name not in silent]
    error = np.abs(cast.recipe.decode(outcome.aggregate).mean()["update"] - cast.truth(survivors)).max()
    if list(outcome.aggregate.survivors) != survivors or error > cast.recipe.step:
        raise MisuseError("the round to be measured came to another mean than that of its survivors")
    return Recording(cast=cast, requests=requests, answers=answers, values=outcome.aggregate.values)


def _answers(cast: Cast, client: ClientRound, data: bytes) -> list[bytes]:
    events = client.receive(data)
    if any(isinstance(event, NeedInput) for event in events):
        events = client.provide(cast.recipe.encode({"update": cast.updates[client.client]}, ring=cast.ring))
    return [event.data for event in events if isinstance(event, Send)]  # type: ignore[misc]  # kept as they are


class Stopwatch:
    """CPU seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = collections.defaultdict(float)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what is done inside towards a stage."""
        begun = time.process_time()
        try:
            yield
        finally:
            self.seconds[name] += time.process_time() - begun


_CLIENT_STAGES = ("advertise", "share", "inbox", "confirm", "unmask")


def play_client(recording: Recording, name: str) -> Seconds:
    """Play one client through its round: from the offer to its last answer, the encoding of its update included."""
    cast, watch = recording.cast, Stopwatch()
    _forget()
    with watch.stage("advertise"):
        client = cast.new_client(name)
    recorded, stages = iter(recording.of(name)), iter(_CLIENT_STAGES)
    for data in recording.requests[name]:
        with watch.stage(next(stages)):
            events = client.receive(data)
        if any(isinstance(event, NeedInput) for event in events):
            with watch.stage("encode"):
                encoded = cast.recipe.encode({"update": cast.updates[name]}, ring=cast.ring)
            with watch.stage("mask"):
                events = client.provide(encoded)
        if not all(event.data == next(recorded) for event in events if isinstance(event, Send)):
            raise MisuseError(f"{name} said something else than in the recording")
    return watch.seconds


def play_server(recording: Recording, *, decode: bool = True) -> Seconds:
    """Play the server through its round: from the offer to the aggregate, and to the mean unless told not to."""
    cast, watch = recording.cast, Stopwatch()
    _forget()
    with watch.stage("advertise"):
        server = cast.new_server()
        server.start()
    while not server.ready:
        leg = server.leg
        with watch.stage(leg.name.lower()):
            for name, data in recording.answers[leg]:
                server.receive(name, data)
            server.close_leg()
    with watch.stage("recover"):
        (outcome,) = server.recover()
    if not isinstance(outcome, Finished) or outcome.aggregate is None:
        raise MisuseError(f"the server failed where it had not in the recording: {outcome}")
    if decode:
        with watch.stage("decode"):
            cast.recipe.decode(outcome.aggregate).mean()
    if not np.array_equal(outcome.aggregate.values, recording.values):
        raise MisuseError("the server came to another sum than in the recording")
    return watch.seconds


def _forget() -> None:
    """Drop what a party alone on its machine would not find ready: work that others of the recording did."""
    share_field.forget_weights()
    graph.regular.cache_clear()


def client_play(recording: Recording) -> Callable[[], Seconds]:
    """Play a client from the middle of the list, which adds about as many masks as it subtracts."""
    survivors = [name for name, data in recording.answers[Leg.UNMASK]]
    return functools.partial(play_client, recording, survivors[len(survivors) // 2])


def server_play(recording: Recording) -> Callable[[], Seconds]:
    """Play the server."""
    return functools.partial(play_server, recording)


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What repetitions of one play took.

    Attributes:
        seconds: median CPU seconds of the whole.
        spread: distance of the quartiles over the median.
        stages: median CPU seconds by stage.
    """

    seconds: float
    spread: float
    stages: Seconds


def alternate(plays: Mapping[str, Callable[[], Seconds]], *, repeats: int) -> dict[str, Taken]:
    """Run all plays in turn, once to warm up and `repeats` times on the clock."""
    runs: dict[str, list[Seconds]] = collections.defaultdict(list)
    for repeat in range(repeats + 1):
        for name, play in plays.items():
            seconds = play()
            if repeat:
                runs[name].append(seconds)
    return {name: _taken(taken) for name, taken in runs.items()}


def _taken(runs: list[Seconds]) -> Taken:
    totals = [sum(run.values()) for run in runs]
    middle = statistics.median(totals)
    first, _, third = statistics.quantiles(totals, n=4) if len(totals) > 1 else (middle, middle, middle)
    stages = {stage: statistics.median(run[stage] for run in runs) for stage in runs[0]}
    return Taken(seconds=middle, spread=(third - first) / middle, stages=stages)


def figures(name: str, taken: Taken) -> dict[str, float]:
    """A play's figures under plain names, in milliseconds of CPU time."""
    stages: dict[str, Any] = {f"{name}_{stage}_ms": 1000 * seconds for stage, seconds in taken.stages.items()}
    return {f"{name}_ms": 1000 * taken.seconds, f"{name}_spread": taken.spread, **stages}
