"""One schedule: a session of up to three rounds on lasting disks, everything about it drawn from one `Choices`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from secagg.plan import Plan
from secagg.ring import Ring, Words
from secagg.round.events import Finished
from secagg.testing.plans import small_regular_plan
from secagg.testing.table import client_names
from secagg.types import Adversary
from tests.simulation.cast import Cast
from tests.simulation.cells import Cell
from tests.simulation.choices import Choices
from tests.simulation.disks import Disk
from tests.simulation.honest import HonestRound, Packet, draw_weights
from tests.simulation.lying import LyingRound
from tests.simulation.tape import Tape

LENGTH: Final = 3
BITS: Final = (20, 32, 33)


def _active(clients: int, max_dropped: int, max_corrupt: int) -> Plan:
    return Plan.find(clients=clients, max_dropped=max_dropped, max_corrupt=max_corrupt)


ACTIVE: Final = (
    _active(3, 1, 0),
    _active(3, 0, 1),
    _active(4, 1, 1),
    _active(4, 1, 0),
    _active(5, 2, 0),
    _active(5, 1, 2),
    _active(6, 2, 1),
)
"""Every one at the smallest safe threshold and quorum, where one less would break."""
CURIOUS: Final = (
    Plan.find(clients=3, max_dropped=1, max_corrupt=0, adversary=Adversary.SEMI_HONEST),
    Plan.find(clients=4, max_dropped=1, max_corrupt=1, adversary=Adversary.SEMI_HONEST),
    small_regular_plan(clients=6, degree=4, threshold=3, max_dropped=1),
)
ODDS: Final = (30, 12, 20, 16, 6, 4, 3, 6, 5, 2)
"""How often each plan is played, ACTIVE and CURIOUS in order: small ones are fast."""


@dataclass
class Report:
    """What a schedule came to.

    Attributes:
        finished: rounds with a sum.
        aborted: rounds of an honest server without one.
        cells: which cells it hit.
        digest: SHA-256 over everything clients were told and said, and how the rounds ended.
    """

    finished: int = 0
    aborted: int = 0
    cells: set[Cell] = field(default_factory=set)
    digest: bytes = b""


class Session:
    """One schedule.

    Args:
        choices: where its decisions come from.
        tape: installed, or one that records nothing.
        plans: plans against a lying server, in the place of ACTIVE.
    """

    def __init__(self, choices: Choices, tape: Tape, *, plans: Sequence[Plan] = ACTIVE) -> None:
        self.choices = choices
        self.tape = tape
        self.plans = plans
        self.report = Report()
        self._trace = hashlib.sha256()

    def play(self) -> Report:
        """Play it to its end.

        Raises:
            Breach: an invariant does not hold.
        """
        self.tape.forget()
        choices = self.choices
        adversary = ("network", "clients", "server")[choices.weighted((35, 30, 35), "who is against it")]
        lying = adversary == "server"
        plan = self._plan(adversary)
        corrupt = self._corrupt(plan, adversary)
        disks = {name: Disk() for name in client_names(plan.clients)}
        bits, keep_input = choices.pick(BITS, "ring bits"), choices.flag(0.4, "keep input")
        calm = adversary == "clients" and choices.flag(0.5, "whether the network is sound")
        weights = [1] if lying or calm else draw_weights(choices)
        packets: list[Packet] = []
        told: list[tuple[str, bytes]] = []
        for number in range(1, 2 + choices.weighted((12, 2, 1), "further rounds")):
            cast = Cast(
                plan,
                self._inputs(plan, bits, number),
                disks=disks,
                corrupt=corrupt,
                tape=self.tape,
                label=f"round {number}",
                bits=bits,
                number=number,
                keep_input=keep_input,
            )
            self.tape.liars = cast.corrupt_names
            if lying:
                LyingRound(cast, choices, past=told, hits=self.report.cells.add).play()
            else:
                self._play_honest(cast, weights, packets)
            self._end(cast)
        self.report.digest = self._trace.digest()
        return self.report

    def _plan(self, adversary: str) -> Plan:
        """A plan that withstands who is against it."""
        if self.plans is not ACTIVE:
            return self.choices.pick(self.plans, "plan")
        plans = ACTIVE if adversary == "server" else (*ACTIVE, *CURIOUS)
        odds = [
            weight * (adversary != "clients" or plan.max_corrupt > 0) for plan, weight in zip(plans, ODDS, strict=False)
        ]
        return plans[self.choices.weighted(odds, "plan")]

    def _corrupt(self, plan: Plan, adversary: str) -> frozenset[int]:
        """Who works for the adversary: up to max_corrupt clients; a lying server takes all it may."""
        count = plan.max_corrupt if adversary == "server" else 0
        if adversary == "clients" and plan.max_corrupt:
            count = 1 + self.choices.choose(plan.max_corrupt, "more liars")
        left = list(range(plan.clients))
        return frozenset(left.pop(self.choices.choose(len(left), "who lies")) for _ in range(count))

    @staticmethod
    def _inputs(plan: Plan, bits: int, number: int) -> Words:
        """Words that differ in every place, near the top of the ring, so that every sum wraps and no two are equal."""
        ring = Ring(bits)
        rows = np.arange(plan.clients * LENGTH, dtype=np.uint64).reshape(plan.clients, LENGTH)
        spread = rows * np.uint64(0x9E3779B97F4A7C15) + np.uint64(number)
        words: Words = (spread & np.uint64(ring.modulus - 1)).astype(ring.word)
        return words

    def _play_honest(self, cast: Cast, weights: list[int], packets: list[Packet]) -> None:
        before = len(packets)
        round_ = HonestRound(cast, self.choices, weights=weights, past=packets, hits=self.report.cells.add)
        outcome = round_.play()
        for packet in packets[before:]:
            self._trace.update(packet.name.encode() + packet.data)
        if isinstance(outcome, Finished):
            self.report.finished += 1
        else:
            self.report.aborted += 1
            self._trace.update(str(outcome.error).encode())

    def _end(self, cast: Cast) -> None:
        """Whoever is still in the round leaves it; nothing of it stays on any disk but that its number is used."""
        for name in cast.names:
            for said in cast.witness.said_by(name):
                self._trace.update(said)
            if name in cast.down:
                cast.resume(name)
            cast.leave(name)
            cast.disks[name].past.clear()
            if name not in cast.corrupt_names and name not in cast.haunted:
                cast.require_forgotten(name)
