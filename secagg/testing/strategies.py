"""Hypothesis strategies for whole rounds: plans, rings, inputs, graphs, and who drops out before which leg.

    @given(strategies.rounds())
    def test_my_transport_sums_exactly(case: strategies.Case) -> None:
        total = my_round(case.plan, case.inputs, case.bits, case.schedule)
        assert (total.values == case.expected(total.survivors)).all()

What is drawn lies within its plan, so a round that plays it by the protocol comes to a sum; ask for more drop-outs
than the plan allows with `schedules(plan, most=...)`. Nothing here is random enough to be secret, and all of it
shrinks: towards few clients, zero inputs and nobody dropped.

This is the only module of the distribution that imports hypothesis (extra `testing`); besides it, numpy and secagg.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from secagg import graph
from secagg.bounds import MIN_HONEST, MIN_THRESHOLD, smallest_active_threshold
from secagg.plan import MIN_ACTIVE_CLIENTS, MIN_CLIENTS, Plan
from secagg.ring import MAX_BITS, MIN_BITS, Ring, Words
from secagg.testing.entropy import FixedEntropy
from secagg.testing.plans import UncertifiedPlan, small_regular_plan
from secagg.testing.table import client_names
from secagg.types import Adversary, Leg

LEGS: Final = tuple(leg for leg in Leg if leg >= Leg.ADVERTISE)
"""The five legs a client answers, in order."""

MIN_REGULAR_CLIENTS: Final = 4
"""Fewest clients of a k-regular graph that is not complete: degree 2, in a circle of four."""

Schedule = Mapping[Leg, frozenset[str]]
"""Leg -> the clients that fall silent for good before they answer it; no client stands in two legs."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Case:
    """A whole round, drawn.

    Attributes:
        plan: who takes part; certified, or an `UncertifiedPlan` on a k-regular graph.
        bits: bits of the ring.
        inputs: ring words, shape (plan.clients, length); row i is the input of `names[i]`.
        schedule: who drops out when.
    """

    plan: Plan
    bits: int
    inputs: Words
    schedule: Schedule

    @property
    def names(self) -> list[str]:
        """The invited clients, those of `secagg.testing.table`, in the order of their positions."""
        return client_names(self.plan.clients)

    @property
    def survivors(self) -> tuple[str, ...]:
        """Whose input counts: everyone that answers leg 2."""
        gone = silent_before(self.schedule, Leg.CONFIRM)
        return tuple(name for name in self.names if name not in gone)

    def expected(self, names: Iterable[str]) -> npt.NDArray[np.int64]:
        """The exact centered sum of some clients' inputs."""
        rows = dict(zip(self.names, self.inputs, strict=True))
        return exact_sum([rows[name] for name in names], bits=self.bits)

    def __repr__(self) -> str:
        plan, shape = self.plan, self.inputs.shape
        sizes = f"clients={plan.clients}, degree={plan.degree}, threshold={plan.threshold}, quorum={plan.quorum}"
        gone = {leg.name.lower(): sorted(names) for leg, names in self.schedule.items()}
        return f"<Case {plan.adversary.value}, {sizes}, bits={self.bits}, inputs of {shape}, silent from {gone}>"


# Whole rounds.


@st.composite
def rounds(
    draw: st.DrawFn,
    *,
    plans: st.SearchStrategy[Plan] | None = None,
    bits: st.SearchStrategy[int] | None = None,
    lengths: st.SearchStrategy[int] | None = None,
) -> Case:
    """Whole rounds that come to a sum.

    Args:
        draw: given by hypothesis.
        plans: which plans; `small_plans()` unless given.
        bits: which rings; `ring_bits()` unless given.
        lengths: how many coordinates an input has; 1 to 40 unless given.
    """
    plan = draw(small_plans() if plans is None else plans)
    ring = draw(ring_bits() if bits is None else bits)
    length = draw(st.integers(1, 40) if lengths is None else lengths)
    return Case(
        plan=plan,
        bits=ring,
        inputs=draw(inputs(plan.clients, bits=ring, length=length)),
        schedule=draw(schedules(plan)),
    )


# Plans and graphs.


@st.composite
def active_plans(draw: st.DrawFn, *, max_clients: int = 8) -> Plan:
    """Certified plans against a lying server, from 3 clients on, every safe threshold and quorum among them."""
    clients = draw(st.integers(MIN_ACTIVE_CLIENTS, max_clients))
    corrupt = draw(st.integers(0, clients - MIN_HONEST))
    least = smallest_active_threshold(clients=clients, corrupt=corrupt)
    dropped = draw(st.integers(0, min(clients - least, clients - corrupt - MIN_HONEST)))
    return Plan(
        clients=clients,
        max_dropped=dropped,
        max_corrupt=corrupt,
        adversary=Adversary.ACTIVE,
        degree=clients - 1,
        threshold=draw(st.integers(least, clients - dropped)),
        quorum=draw(st.integers(least, clients - dropped)),
    )


@st.composite
def semi_honest_plans(draw: st.DrawFn, *, max_clients: int = 8) -> Plan:
    """Certified plans against a curious server on the complete graph, from 2 clients on."""
    clients = draw(st.integers(MIN_CLIENTS, max_clients))
    corrupt = draw(st.integers(0, clients - MIN_HONEST))
    least = max(MIN_THRESHOLD, corrupt + 1)
    dropped = draw(st.integers(0, min(clients - least, clients - corrupt - MIN_HONEST)))
    return Plan(
        clients=clients,
        max_dropped=dropped,
        max_corrupt=corrupt,
        adversary=Adversary.SEMI_HONEST,
        degree=clients - 1,
        threshold=draw(st.integers(least, clients - dropped)),
        quorum=0,
    )


@st.composite
def regular_plans(draw: st.DrawFn, *, max_clients: int = 10) -> UncertifiedPlan:
    """Uncertified plans on small k-regular graphs, from 4 clients on.

    max_dropped is small enough that every secret keeps a threshold of holders wherever the drop-outs stand in the
    circle, so these rounds never fail by bad luck either.
    """
    clients = draw(st.integers(MIN_REGULAR_CLIENTS, max_clients))
    degree = 2 * draw(st.integers(1, (clients - 2) // 2))
    threshold = draw(st.integers(MIN_THRESHOLD, degree + 1))
    dropped = draw(st.integers(0, degree + 1 - threshold))
    return small_regular_plan(clients=clients, degree=degree, threshold=threshold, max_dropped=dropped)


def small_plans() -> st.SearchStrategy[Plan]:
    """Plans of every kind, of up to ten clients."""
    return st.one_of(active_plans(), semi_honest_plans(), regular_plans())


@st.composite
def graphs(draw: st.DrawFn, *, max_clients: int = 40) -> graph.Graph:
    """Graphs of either kind, the k-regular ones on any public seed."""
    clients = draw(st.integers(MIN_CLIENTS, max_clients))
    if clients < MIN_REGULAR_CLIENTS or draw(st.booleans()):
        return graph.complete(clients)
    degree = 2 * draw(st.integers(1, (clients - 2) // 2))
    return graph.regular(clients, degree, draw(st.binary(min_size=32, max_size=32)))


# Rings and inputs.


def ring_bits() -> st.SearchStrategy[int]:
    """Bits of a ring, 8 to 64, where words change their width or fill it more often than the rest."""
    return st.sampled_from((MIN_BITS, 32, 33, MAX_BITS)) | st.integers(MIN_BITS, MAX_BITS)


@st.composite
def inputs(draw: st.DrawFn, clients: int, *, bits: int, length: int) -> Words:
    """Ring words, shape (clients, length): a client's are all zero, all extreme, or mixed.

    Args:
        draw: given by hypothesis.
        clients: rows.
        bits: bits of the ring.
        length: columns; costs nothing to draw, so it may span several chunks.
    """
    ring = Ring(bits)
    extremes = (0, 1, ring.modulus // 2 - 1, ring.modulus // 2, ring.modulus - 1)
    rows = np.empty((clients, length), dtype=ring.word)
    for row in rows:
        source = draw(st.sampled_from(extremes) | st.binary(max_size=4))
        row[:] = source if isinstance(source, int) else _expand(source, ring, length)
    return rows


def _expand(seed: bytes, ring: Ring, length: int) -> Words:
    """Words that look random, the same for the same seed."""
    raw = np.frombuffer(FixedEntropy(f"input/{seed.hex()}")(8 * length), dtype="<u8")
    words: Words = (raw & np.uint64(ring.modulus - 1)).astype(ring.word)
    return words


def exact_sum(rows: Iterable[Words], *, bits: int) -> npt.NDArray[np.int64]:
    """The centered sum of equally long vectors modulo 2**bits, in plain Python integers."""
    modulus = 1 << bits
    totals = [sum(column) % modulus for column in zip(*(row.tolist() for row in rows), strict=True)]
    return np.asarray([total - modulus if 2 * total >= modulus else total for total in totals], dtype=np.int64)


# Drop-outs.


@st.composite
def schedules(draw: st.DrawFn, plan: Plan, *, most: int | None = None) -> Schedule:
    """Who falls silent before which leg.

    Args:
        draw: given by hypothesis.
        plan: names the clients.
        most: how many may drop in all; plan.max_dropped unless given, and then the round comes to a sum.
    """
    most = plan.max_dropped if most is None else min(most, plan.clients)
    gone = draw(st.lists(st.sampled_from(client_names(plan.clients)), unique=True, max_size=most))
    legs = draw(st.lists(st.sampled_from(LEGS), min_size=len(gone), max_size=len(gone)))
    last = dict(zip(gone, legs, strict=True))
    return {leg: frozenset(name for name in gone if last[name] is leg) for leg in LEGS if leg in legs}


def silent_before(schedule: Schedule, leg: Leg) -> frozenset[str]:
    """Everyone the schedule keeps from answering some leg before `leg`: gone by the time `leg` opens."""
    return frozenset[str]().union(*(names for dropped, names in schedule.items() if dropped < leg))
