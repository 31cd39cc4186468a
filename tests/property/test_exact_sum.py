"""The theorem: whoever drops out when, the aggregate is the exact sum of the survivors, or there is none at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secagg.aggregate import Aggregate
from secagg.config import CHUNK_GRAIN
from secagg.errors import RoundAborted, TooFewClients, Unrecoverable
from secagg.graph import Graph
from secagg.pairwise.messages import UnmaskShares
from secagg.plan import Plan
from secagg.ring import Ring
from secagg.round.events import Rejected
from secagg.rules import Rule
from secagg.testing import strategies
from secagg.testing.plans import small_regular_plan
from secagg.testing.strategies import Case, Schedule, silent_before
from secagg.testing.table import Table, client_names
from secagg.types import Adversary, Leg
from tests.support.whitebox import reachable_from

unhurried = settings(deadline=None)


def table_of(case: Case, **changes: Any) -> Table:
    return Table(case.plan, case.inputs, bits=case.bits, **changes)


def assert_exact(case: Case, total: Aggregate) -> None:
    """Values against plain integers, names against the schedule."""
    missing = silent_before(case.schedule, Leg.SHARE)
    assert total.survivors == case.survivors
    assert total.joined == tuple(name for name in case.names if name not in missing)
    assert total.values.dtype == np.int64
    assert np.array_equal(total.values, case.expected(case.survivors))
    assert total.blamed == ()


def a_case(plan: Plan, *, bits: int, length: int, schedule: Mapping[Leg, list[int]]) -> Case:
    """A case written by hand: `schedule` names positions."""
    words = np.random.default_rng(bits).integers(0, 2**64, (plan.clients, length), dtype=np.uint64)
    ring = Ring(bits)
    names = client_names(plan.clients)
    return Case(
        plan=plan,
        bits=bits,
        inputs=(words & np.uint64(ring.modulus - 1)).astype(ring.word),
        schedule={leg: frozenset(names[position] for position in gone) for leg, gone in schedule.items()},
    )


# Within the plan.


@settings(unhurried, max_examples=200)
@given(strategies.rounds())
def test_a_round_within_its_plan_sums_its_survivors_exactly(case: Case) -> None:
    table = table_of(case)
    assert_exact(case, table.finish(case.schedule))
    assert not table.server.rejected
    assert not table.failures


EVERY_LEG = {Leg.ADVERTISE: [0, 9], Leg.SHARE: [4, 11], Leg.MASK: [5, 17], Leg.CONFIRM: [21, 3], Leg.UNMASK: [40, 41]}


@pytest.mark.parametrize(
    ("plan", "bits"),
    [
        (Plan.find(clients=60, max_dropped=12, max_corrupt=8), 21),
        (Plan.find(clients=48, max_dropped=20, max_corrupt=0), 64),
        (Plan.find(clients=60, max_dropped=25, max_corrupt=10, adversary=Adversary.SEMI_HONEST), 8),
        (small_regular_plan(clients=60, degree=16, threshold=7, max_dropped=10), 33),
    ],
    ids=["active", "active, nobody corrupt", "semi-honest", "k-regular"],
)
def test_large_rounds_with_drop_outs_at_every_leg_are_exact(plan: Plan, bits: int) -> None:
    case = a_case(plan, bits=bits, length=9, schedule=EVERY_LEG)
    assert_exact(case, table_of(case).finish(case.schedule))


@settings(unhurried, max_examples=25)
@given(
    strategies.rounds(
        plans=strategies.active_plans(max_clients=4) | strategies.regular_plans(max_clients=4),
        lengths=st.sampled_from((CHUNK_GRAIN - 1, CHUNK_GRAIN, CHUNK_GRAIN + 1, 2 * CHUNK_GRAIN + 7)),
    )
)
def test_inputs_of_several_chunks_are_exact(case: Case) -> None:
    assert_exact(case, table_of(case).finish(case.schedule))


def test_chunks_of_several_clients_may_arrive_interleaved() -> None:
    case = a_case(Plan.find(clients=4, max_dropped=1, max_corrupt=0), bits=33, length=2 * CHUNK_GRAIN + 1, schedule={})
    table = table_of(case)
    table.advance(Leg.MASK)
    uploads = [[(name, chunk) for chunk in table.deliver(name)] for name in case.names]
    for turn in zip(*uploads, strict=True):
        for name, chunk in turn:
            assert table.submit(name, chunk) == ()
    table.close()
    assert_exact(case, table.finish())


def test_an_upload_without_its_last_chunk_is_a_drop_out() -> None:
    """An input counts when its last chunk is in; nothing of an unfinished one stays in the sum."""
    case = a_case(
        Plan.find(clients=4, max_dropped=1, max_corrupt=0), bits=20, length=CHUNK_GRAIN + 5, schedule={Leg.MASK: [2]}
    )
    table = table_of(case)
    table.advance(Leg.MASK)
    cut_off = client_names(4)[2]
    for name in case.names:
        first, last = table.deliver(name)
        assert table.submit(name, first) == ()
        if name != cut_off:
            assert table.submit(name, last) == ()
    table.close()
    assert_exact(case, table.finish({Leg.CONFIRM: [cut_off]}))


def test_coordinates_of_one_client_alone_do_not_leak_into_its_neighbors() -> None:
    """A unit vector a client: a mask that is off by one word or one client cannot go unseen."""
    plan = Plan.find(clients=5, max_dropped=1, max_corrupt=0)
    case = Case(
        plan=plan, bits=8, inputs=np.eye(5, dtype=np.uint32), schedule={Leg.MASK: frozenset(client_names(5)[1:2])}
    )
    total = table_of(case).finish(case.schedule)
    assert total.values.tolist() == [1, 0, 1, 1, 1]


# Below a floor.


@dataclass(frozen=True)
class Verdict:
    """What must come of a round: the leg that ends it and its numbers, or None where it comes to a sum."""

    leg: Leg
    got: int
    need: int


def foretell(plan: Plan, graph: Graph, schedule: Schedule) -> Verdict | None:
    """Who stands at each leg and what each floor says, in sets alone: nothing of the protocol's code.

    A client goes by itself where it sees too few: a roster with less than a threshold of its neighbors and itself in
    it, or such an inbox.
    """
    joining = max(plan.threshold, plan.min_survivors)

    def gone(leg: Leg) -> frozenset[int]:
        return frozenset(int(name.removeprefix("client-")) for name in schedule.get(leg, ()))

    def around(client: int, others: frozenset[int]) -> frozenset[int]:
        return others & {client, *graph.neighbors(client)}

    joined = frozenset(range(plan.clients)) - gone(Leg.ADVERTISE)
    if len(joined) < joining:
        return Verdict(Leg.ADVERTISE, len(joined), joining)
    content = frozenset(client for client in joined if len(around(client, joined)) >= plan.threshold)
    shared = content - gone(Leg.SHARE)
    if len(shared) < joining:
        return Verdict(Leg.SHARE, len(shared), joining)
    served = frozenset(client for client in shared if len(around(client, shared)) >= plan.threshold)
    survivors = served - gone(Leg.MASK)
    if len(survivors) < plan.min_survivors:
        return Verdict(Leg.MASK, len(survivors), plan.min_survivors)
    confirmed = survivors - gone(Leg.CONFIRM)
    if plan.quorum and len(confirmed) < plan.quorum:
        return Verdict(Leg.CONFIRM, len(confirmed), plan.quorum)
    unmasking = confirmed - gone(Leg.UNMASK)
    if len(unmasking) < plan.threshold:
        return Verdict(Leg.UNMASK, len(unmasking), plan.threshold)
    needed = frozenset[int]().union(*(around(survivor, shared) for survivor in survivors))
    for dealer in sorted(needed):
        holders = around(dealer, unmasking)
        if len(holders) < plan.threshold:
            return Verdict(Leg.UNMASK, len(holders), plan.threshold)
    return None


@st.composite
def doomed_or_not(draw: st.DrawFn) -> Case:
    plan = draw(strategies.small_plans())
    return Case(
        plan=plan,
        bits=16,
        inputs=draw(strategies.inputs(plan.clients, bits=16, length=1237)),
        schedule=draw(strategies.schedules(plan, most=plan.clients)),
    )


@settings(unhurried, max_examples=250)
@given(doomed_or_not())
@example(
    a_case(Plan.find(clients=4, max_dropped=1, max_corrupt=0), bits=16, length=1237, schedule={Leg.UNMASK: [1, 2]})
)
def test_a_round_comes_to_a_sum_exactly_where_the_floors_say_so(case: Case) -> None:
    table = table_of(case)
    table.advance(Leg.SHARE, case.schedule)
    graph = Graph(clients=case.plan.clients, degree=case.plan.degree)
    if table.outcome is None:
        graph = table.server._phase._joined.graph  # type: ignore[union-attr]  # drawn from keys: no test can know it
    verdict = foretell(case.plan, graph, case.schedule)
    if verdict is None:
        total = table.finish(case.schedule)
        assert np.array_equal(total.values, case.expected(total.survivors))
        return
    with pytest.raises(RoundAborted) as caught:
        table.finish(case.schedule)
    assert_names(caught.value, verdict)
    assert_nothing_released(table, case)


def assert_names(error: RoundAborted, verdict: Verdict) -> None:
    """The leg and both counts, in fields and in words."""
    assert error.leg is verdict.leg
    assert error.suspects == ()
    assert isinstance(error, TooFewClients | Unrecoverable)
    if isinstance(error, TooFewClients):
        assert (error.got, error.need) == (verdict.got, verdict.need)
    assert str(verdict.got) in str(error)
    assert f"{verdict.need} needed" in str(error)


def assert_nothing_released(table: Table, case: Case) -> None:
    """No aggregate, and no array as long as an input left anywhere on the server's side."""
    server = table.server
    assert server.outcome is table.outcome
    assert not hasattr(table.outcome, "aggregate")
    assert server.waiting_for == frozenset()
    assert not server.ready
    arrays = [thing for thing in reachable_from(server) if isinstance(thing, np.ndarray)]
    assert not [array for array in arrays if array.size >= case.inputs.shape[1]]


def test_below_the_threshold_no_client_that_was_not_asked_says_anything() -> None:
    """A round that ends at leg 3 leaves every share where it was."""
    case = a_case(Plan.find(clients=4, max_dropped=1, max_corrupt=0), bits=32, length=5, schedule={Leg.CONFIRM: [0, 3]})
    table = table_of(case)
    table.advance(Leg.UNMASK, case.schedule)
    assert table.outcome is not None
    assert table.pending == {}
    for name in case.names:
        for answer in table.clients[name]._answers.values():
            assert all(data[4] != UnmaskShares.KIND for data in sent(answer))


def sent(events: tuple[object, ...] | None) -> list[bytes]:
    return [bytes(event.data) for event in events or () if hasattr(event, "data")]


# Order, duplicates, replays.


@settings(unhurried, max_examples=60)
@given(strategies.rounds(), st.data())
def test_order_duplicates_and_replays_change_nothing(case: Case, data: st.DataObject) -> None:
    plain = table_of(case).finish(case.schedule)
    earlier = table_of(case, number=1, keep_input=True)
    recorded = play_shuffled(earlier, case, data, strangers={})
    replayed = table_of(case, number=2, keep_input=True)
    play_shuffled(replayed, case, data, strangers=recorded)
    for table in (earlier, replayed):
        total = table.finish()
        assert_exact(case, total)
        assert np.array_equal(total.values, plain.values)
        assert not table.failures


Recorded = dict[Leg, list[tuple[str, bytes]]]


def play_shuffled(table: Table, case: Case, data: st.DataObject, *, strangers: Recorded) -> Recorded:
    """Play every leg in an order of its own, each message twice, among those of earlier legs and of another round."""
    recorded: Recorded = {}
    table.start()
    while not table.server.ready:
        leg = table.server.leg
        gone = silent_before(case.schedule, leg) | case.schedule.get(leg, frozenset())
        answers: list[tuple[str, bytes]] = []
        for name in data.draw(st.permutations(sorted(table.pending))):
            requests = table.pending.pop(name)
            if name in gone:
                continue
            first = [answer for request in requests for answer in table.hand(name, request)]
            again = [answer for request in requests for answer in table.hand(name, request)]
            assert first == again
            answers += [(name, answer) for answer in first]
        for name, answer in data.draw(st.permutations(answers)):
            assert table.submit(name, answer) == ()
            assert refused_by(table, name, answer) is Rule.WIRE_ORDER
        for name, answer in strangers.get(leg, []):
            assert refused_by(table, name, answer) is Rule.WIRE_ROUND
        for stale in recorded.values():
            for name, answer in stale:
                assert refused_by(table, name, answer) is Rule.WIRE_ORDER
        recorded[leg] = answers
        table.close()
    return recorded


def refused_by(table: Table, name: str, answer: bytes) -> Rule:
    (event,) = table.submit(name, answer)
    assert isinstance(event, Rejected)
    assert event.peer == event.error.peer == name
    return event.error.rule
