"""Two rounds at full size: the sum is exact where the plan's odds, not a test's small numbers, hold the graph up."""

from __future__ import annotations

import numpy as np
import pytest

from secagg import Adversary, Leg, Plan
from secagg.testing.table import Table


@pytest.mark.slow
@pytest.mark.parametrize(
    ("clients", "adversary", "complete"),
    [(1000, Adversary.SEMI_HONEST, False), (300, Adversary.ACTIVE, True)],
)
def test_a_full_size_round_sums_exactly(clients: int, adversary: Adversary, *, complete: bool) -> None:
    plan = Plan.find(clients=clients, max_dropped=clients // 10, max_corrupt=clients // 20, adversary=adversary)
    assert plan.complete is complete
    rng = np.random.default_rng(clients)
    inputs = rng.integers(0, 1 << 32, size=(clients, 33), dtype=np.uint32)
    table = Table(plan, inputs, bits=32)
    each = clients // 50
    silent = {
        leg: [table.names[index] for index in range(place, clients, clients // each)]
        for place, leg in enumerate((Leg.ADVERTISE, Leg.SHARE, Leg.MASK, Leg.CONFIRM, Leg.UNMASK))
    }
    aggregate = table.finish(silent)
    assert len(aggregate.survivors) == clients - 3 * each
    assert np.array_equal(aggregate.values, table.expected(aggregate.survivors))
    assert not table.failures
