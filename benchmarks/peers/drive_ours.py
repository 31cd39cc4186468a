"""Our party: a client round and a server round as a deployment runs them, every check and signature on.

Runs in the interpreter that runs the benchmark. Identities are long-lived and made before; all else is a round's.
"""

from __future__ import annotations

import functools
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

from benchmarks.peers.station import CLIP, SERVER, STEP, Meter, Task, serve
from protocols import Recipe
from secagg import (
    Adversary,
    ClientRound,
    ConfigError,
    Failed,
    Finished,
    Identity,
    MemoryDirectory,
    NeedInput,
    Plan,
    Policy,
    RoundConfig,
    Send,
    ServerRound,
    masking,
)
from secagg.testing.plans import LaxPolicy, UncertifiedPlan
from secagg.types import Leg, system_entropy

_KERNEL = "secagg.masking._Streams"


def play(task: Task, meter: Meter) -> npt.NDArray[Any]:
    """One round of this project."""
    with (
        mock.patch(f"{_KERNEL}.__init__", meter.masking(masking._Streams.__init__)),  # noqa: SLF001  # the seam where
        mock.patch(f"{_KERNEL}.add_to", meter.masking(masking._Streams.add_to)),  # noqa: SLF001  # masks are expanded
    ):
        return _Round(task, meter).play()


def plan_of(task: Task) -> tuple[Plan, Policy]:
    """The plan of a cell and the clients' floors.

    A k-regular graph whose odds are certified only for fewer drop-outs than the cell has is played uncertified: the
    round is the same but for the certificate.
    """
    adversary = Adversary.ACTIVE if task.active else Adversary.SEMI_HONEST
    build = functools.partial(
        _make,
        clients=task.clients,
        max_dropped=task.dropped,
        max_corrupt=task.corrupt,
        adversary=adversary,
        degree=task.degree,
        threshold=task.threshold,
        quorum=task.threshold if task.active else 0,
    )
    try:
        return build(Plan), Policy(adversaries=frozenset({adversary}))
    except ConfigError:
        return build(UncertifiedPlan), LaxPolicy()


def _make(kind: type[Plan], **numbers: Any) -> Plan:
    return kind(**numbers)


class _Round:
    """The server and the clients of one round, and who is charged for what."""

    def __init__(self, task: Task, meter: Meter) -> None:
        self._task, self._meter = task, meter
        self._plan, self._policy = plan_of(task)
        example = {"update": np.empty(task.length, dtype=np.float32)}
        self._recipe = Recipe.like(example, clip=CLIP, step=STEP, whole_words=True)  # 32 bits, not 29
        self._ring = self._recipe.ring(self._plan)
        self._names = [f"client-{number:04d}" for number in range(task.clients)]
        self._identities = [Identity.generate() for _ in self._names]
        pinned = {name: identity.public for name, identity in zip(self._names, self._identities, strict=True)}
        self._directory = MemoryDirectory(pinned)
        self._clients: dict[int, ClientRound] = {}

    def play(self) -> npt.NDArray[Any]:
        with self._meter.on(SERVER):
            config = RoundConfig.create(
                session=system_entropy(16),
                round=1,
                plan=self._plan,
                invited=self._names,
                recipe=self._recipe,
                instructions=b"",
            )
            server = ServerRound(config, invited=self._names, directory=self._directory)
            events = server.start()
            while not server.ready:
                leg = server.leg
                for event in events:
                    if isinstance(event, Failed):
                        raise event.error
                    if isinstance(event, Send) and event.to is not None:
                        self._deliver(server, self._names.index(event.to), bytes(event.data), leg)
                events = server.close_leg()
            (outcome,) = server.recover()
            if not isinstance(outcome, Finished) or outcome.aggregate is None:
                raise RuntimeError(f"the round ended with {outcome!r}")
            return self._recipe.decode(outcome.aggregate).mean()["update"]

    def _deliver(self, server: ServerRound, number: int, data: bytes, leg: Leg) -> None:
        """Hand a client its message and the server its answers; called, and charged, as the server."""
        if number < self._task.dropped and leg >= Leg.MASK:
            return
        self._meter.receive(number, len(data))
        with self._meter.on(number):  # to the end of the call: giving its memory back is the client's work as well
            answers = self._answers(number, data)
        while answers:
            self._meter.send(number, len(answers[0]))
            server.receive(self._names[number], answers[0])
            with self._meter.on(None):
                del answers[0]

    def _answers(self, number: int, data: bytes) -> list[bytes]:
        """What a client says to a message, as the transport has it; the transport's copies are charged to nobody."""
        client = self._client(number)
        events = client.receive(data)
        if any(isinstance(event, NeedInput) for event in events):
            with self._meter.on(None):
                update = {"update": self._task.vector(number)}
                with self._meter.peak.of_client(), self._meter.on(number):
                    events = client.provide(self._recipe.encode(update, ring=self._ring))
                del update
        answers: list[bytes] = []
        for event in events:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Send):
                with self._meter.on(None):
                    answers.append(bytes(event.data))
        return answers

    def _client(self, number: int) -> ClientRound:
        if number not in self._clients:
            self._clients[number] = ClientRound(
                client=self._names[number],
                identity=self._identities[number],
                directory=self._directory,
                recipe=self._recipe,
                instructions=b"",
                policy=self._policy,
            )
        return self._clients[number]


if __name__ == "__main__":
    serve(play, distributions=("secagg", "numpy", "cryptography", "pynacl"))
