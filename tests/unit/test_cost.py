"""The cost of a round, counted before it runs, is the cost of the round that runs."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from secagg import ConfigError, Plan, cost, masking
from secagg.config import CHUNK_GRAIN
from secagg.primitives import agreement, signature
from secagg.testing.plans import small_regular_plan
from secagg.testing.table import Table
from secagg.types import Leg

ACTIVE = Plan.find(clients=12, max_dropped=3, max_corrupt=2)
SEMI_HONEST = Plan.find(clients=9, max_dropped=3, max_corrupt=2, adversary="semi-honest")
REGULAR = small_regular_plan(clients=17, degree=6, threshold=3, max_dropped=2)
LENGTH = 2 * CHUNK_GRAIN + 77

Counts = dict[str, collections.Counter[str]]


class Tally(Table):
    """A table that weighs every message and says whose turn it is."""

    def __init__(self, plan: Plan, *, length: int = LENGTH, bits: int = 23) -> None:
        rng = np.random.default_rng(5)  # non-secret test data
        super().__init__(plan, rng.integers(0, 1 << 17, (plan.clients, length), dtype=np.uint32), bits=bits)
        self.up: collections.Counter[Leg] = collections.Counter()
        self.down: collections.Counter[Leg] = collections.Counter()
        self.actor = "server"

    def hand(self, name: str, data: bytes) -> list[bytes]:
        self.down[self.server.leg] += len(data)
        self.actor = "client"
        answers = super().hand(name, data)
        self.actor = "server"
        return answers

    def submit(self, name: str, data: bytes) -> tuple[Any, ...]:
        self.up[self.server.leg] += len(data)
        return super().submit(name, data)

    def price(self) -> cost.Cost:
        return cost.of(
            self.plan,
            length=self.config.length,
            ring_bits=self.config.ring_bits,
            chunk_words=CHUNK_GRAIN,
            name_size=len(self.names[0]),
        )


@pytest.mark.parametrize("plan", [ACTIVE, SEMI_HONEST, REGULAR], ids=["active", "semi-honest", "regular"])
def test_every_leg_of_a_round_carries_exactly_the_bytes_foretold(plan: Plan) -> None:
    table = Tally(plan)
    table.finish()
    price = table.price()
    assert {leg.leg: plan.clients * leg.downlink_bytes for leg in price.legs} == dict(table.down)
    assert {leg.leg: plan.clients * leg.uplink_bytes for leg in price.legs} == dict(table.up)
    assert price.server_uplink_bytes == sum(table.up.values()) == plan.clients * price.uplink_bytes
    assert price.server_downlink_bytes == sum(table.down.values()) == plan.clients * price.downlink_bytes
    assert price.payload_bytes == table.config.ring.packed_size(LENGTH)


def watch(monkeypatch: pytest.MonkeyPatch, table: Tally) -> Counts:
    """Count what either side does with keys while the table is played."""
    counts: Counts = {"client": collections.Counter(), "server": collections.Counter()}

    def spied(module: Any, name: str, kind: str, size: Callable[[dict[str, Any]], int] = lambda _: 1) -> None:
        real = getattr(module, name)

        def spy(*args: Any, **kwargs: Any) -> Any:
            counts[table.actor][kind] += size(kwargs)
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, spy)

    spied(agreement, "agree", "agreements")
    spied(signature, "verify", "verifications")
    spied(signature, "sign", "signatures")
    for name in ("mask_input", "accumulate"):
        spied(masking, name, "masks", lambda keys: len(keys["plus"]) + len(keys["minus"]))
    return counts


def work_of(counted: collections.Counter[str], share: int = 1) -> cost.Work:
    kinds = ("masks", "agreements", "verifications", "signatures")
    assert all(counted[kind] % share == 0 for kind in kinds)
    return cost.Work(**{kind: counted[kind] // share for kind in kinds})


@pytest.mark.parametrize("plan", [ACTIVE, SEMI_HONEST, REGULAR], ids=["active", "semi-honest", "regular"])
def test_a_round_does_exactly_the_work_foretold(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Tally(plan, length=40)
    counts = watch(monkeypatch, table)
    table.finish()
    price = table.price()
    assert work_of(counts["client"], plan.clients) == price.client
    assert work_of(counts["server"]) == price.server


def server_work(plan: Plan, gone: Iterable[int]) -> cost.Work:
    """What the server does when these positions fall silent once everyone masks towards them."""
    table = Tally(plan, length=40)
    with pytest.MonkeyPatch.context() as patched:
        counts = watch(patched, table)
        table.finish({Leg.MASK: [table.names[position] for position in gone]})
    return work_of(counts["server"])


@pytest.mark.parametrize("plan", [ACTIVE, SEMI_HONEST], ids=["active", "semi-honest"])
def test_the_worst_case_of_the_complete_graph_is_reached_and_never_passed(plan: Plan) -> None:
    worst = cost.of(plan, length=40, ring_bits=23).server_worst
    did = [server_work(plan, range(dropped)) for dropped in range(plan.max_dropped + 1)]
    assert max(each.masks for each in did) == worst.masks
    assert max(each.agreements for each in did) == worst.agreements
    assert max(each.verifications for each in did) == worst.verifications


def test_the_worst_case_of_a_regular_graph_is_reached_where_the_dropped_are_no_neighbors() -> None:
    worst = cost.of(REGULAR, length=40, ring_bits=23).server_worst
    masks = {server_work(REGULAR, (0, other)).masks for other in range(1, REGULAR.clients)}
    assert masks == {worst.masks, worst.masks - 2}


def test_the_worst_number_of_drop_outs_may_lie_below_the_most() -> None:
    # 7 of 10 may be missing; 4 or 5 of 10 missing leave the most masks: 6 + 24 or 5 + 25.
    plan = Plan.find(clients=10, max_dropped=7, max_corrupt=1, adversary="semi-honest")
    price = cost.of(plan, length=10, ring_bits=32)
    assert price.server_worst.masks == 30
    assert price.server_worst.agreements == 10 + 25


@given(st.integers(1, 1 << 36))
def test_chunks_cost_an_envelope_each_and_the_payload_nothing(length: int) -> None:
    small = cost.of(SEMI_HONEST, length=length, ring_bits=20, chunk_words=1 << 27)
    chunks = -(-length // (1 << 27))
    assert small.payload_bytes == -(-length * 20 // 8)
    one = cost.of(SEMI_HONEST, length=1, ring_bits=20)
    beyond = small.uplink_bytes - small.payload_bytes - (one.uplink_bytes - one.payload_bytes)
    # Header 45, a body of array head, number and empty bytes of 4 to 8, the gap up to 56, and the tag of 16.
    assert beyond == 72 * (chunks - 1)


def test_a_cohort_of_thousands_on_a_sparse_graph_is_cheap_to_price() -> None:
    plan = Plan.find(clients=1000, max_dropped=50, max_corrupt=50, adversary="semi-honest")
    price = cost.of(plan, length=1_000_000, ring_bits=32)
    assert price.payload_bytes == 4_000_000
    assert price.client.masks == plan.degree + 1
    assert price.server_worst.masks == 950 + 50 * plan.degree
    assert price.uplink_bytes / price.payload_bytes < 1.01


@pytest.mark.parametrize(
    ("bad", "names"),
    [
        ({"length": 0}, "length"),
        ({"length": (1 << 36) + 1}, "length"),
        ({"ring_bits": 7}, "ring bits=7"),
        ({"ring_bits": 65}, "ring bits=65"),
        ({"chunk_words": 100}, "chunk_words"),
        ({"name_size": 0}, "name_size=0"),
        ({"name_size": 65}, "name_size=65"),
    ],
)
def test_a_round_that_cannot_be_is_not_priced(bad: dict[str, int], names: str) -> None:
    with pytest.raises(ConfigError, match=names):
        cost.of(ACTIVE, **({"length": 10, "ring_bits": 32} | bad))
