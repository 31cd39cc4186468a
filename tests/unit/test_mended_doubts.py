"""Small promises that a review asked for: each was broken once."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from protocols import AsyncMemoryNetwork, MemoryNetwork, Recipe, arun_client, run_client, simulate
from secagg import ConfigError, Leg, MemoryStore, MisuseError, Plan, Rejected, Rule
from secagg.pairwise.client import MaskSource
from secagg.testing.table import Table, VectorInput

PLAN = Plan.find(clients=4, max_dropped=1, max_corrupt=1)
INPUTS = np.arange(12, dtype=np.uint32).reshape(4, 3)


def test_a_late_advert_is_out_of_order_and_not_malformed() -> None:
    table = Table(PLAN, INPUTS)
    table.start()
    late = table.deliver("client-0003")[0]
    table.play_leg(silent=["client-0003"])
    (rejected,) = table.submit("client-0003", late)
    assert isinstance(rejected, Rejected)
    assert rejected.error.rule is Rule.WIRE_ORDER


def test_training_that_fails_leaves_the_round() -> None:
    def fail() -> MaskSource:
        raise ArithmeticError("the loss is not a number")

    table = Table(PLAN, INPUTS)
    table.advance(Leg.MASK)
    client = table.clients["client-0000"]
    network = MemoryNetwork(table.names)
    for data in table.pending["client-0000"]:
        network.server.send(client.client, data)
    with pytest.raises(ArithmeticError):
        run_client(client, network.client("client-0000"), fail, timeout=5)
    assert client.closed


def test_training_that_fails_leaves_the_round_in_asyncio_too() -> None:
    async def fail() -> MaskSource:
        raise ArithmeticError("the loss is not a number")

    async def run() -> None:
        network = AsyncMemoryNetwork(table.names)
        for data in table.pending["client-0000"]:
            await network.server.send(client.client, data)
        await arun_client(client, network.client("client-0000"), fail, timeout=5)

    table = Table(PLAN, INPUTS)
    table.advance(Leg.MASK)
    client = table.clients["client-0000"]
    with pytest.raises(ArithmeticError):
        asyncio.run(run())
    assert client.closed


def test_an_input_before_resume_is_refused_and_not_lost() -> None:
    store = MemoryStore()
    table = Table(PLAN, INPUTS, stores={"client-0000": store})
    table.start()
    table.deliver("client-0000")
    again = table.new_client("client-0000", store)
    with pytest.raises(MisuseError, match="resume"):
        again.provide(VectorInput(INPUTS[0]))
    again.resume()
    assert again.provide(VectorInput(INPUTS[0])) == ()


@pytest.mark.parametrize("what", ["weights", "metrics"])
def test_numbers_of_nobody_are_refused(what: str) -> None:
    updates = {f"c{number}": {"w": np.zeros(2)} for number in range(4)}
    recipe = Recipe.like(updates["c0"], clip=1.0, weight=2.0, metrics={"loss": 9.0})
    given: dict[str, dict[str, object]] = {
        "weights": dict.fromkeys(updates, 1.0),
        "metrics": {name: {"loss": 1.0} for name in updates},
    }
    given[what]["stranger"] = given[what]["c0"]
    with pytest.raises(ConfigError, match=f"{what} names 'stranger'"):
        simulate(updates, PLAN, recipe, **given)  # type: ignore[arg-type]  # built by name above
