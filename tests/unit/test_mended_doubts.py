"""Small promises that a review asked for: each was broken once."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import numpy as np
import pytest

from protocols import AsyncMemoryNetwork, MemoryNetwork, Recipe, RecipeError, arun_client, run_client, simulate
from secagg import (
    Aggregate,
    ConfigError,
    Failed,
    FileStore,
    Identity,
    InputError,
    Leg,
    MemoryStore,
    MisuseError,
    NeedInput,
    Plan,
    Rejected,
    Ring,
    Rule,
    Secret,
    StorageError,
    Violation,
)
from secagg.pairwise.outgoing import MaskSource
from secagg.pairwise.recover import Recovery
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
    def fail(ring: Ring) -> MaskSource:
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
    async def fail(ring: Ring) -> MaskSource:
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


def test_an_input_made_for_another_ring_is_refused() -> None:
    table = Table(PLAN, INPUTS)
    table.advance(Leg.MASK)
    client = table.clients["client-0000"]
    (inbox,) = table.pending["client-0000"]
    (needed,) = client.receive(inbox)
    assert needed == NeedInput(Ring(32))
    with pytest.raises(MisuseError, match="made for"):
        client.provide(VectorInput(INPUTS[0], bits=16))
    assert client.provide(table.input_of("client-0000"))


def test_a_sum_that_honest_clients_cannot_reach_is_refused() -> None:
    updates = {f"c{number}": {"w": np.ones(2)} for number in range(4)}
    recipe = Recipe.like(updates["c0"], clip=2.0)
    limit = recipe.layout.limit
    honest = Aggregate(
        values=np.asarray([3 * limit, -3 * limit]),
        invited=("a", "b", "c"),  # type: ignore[arg-type]  # names are branded where they come from outside
        joined=("a", "b", "c"),  # type: ignore[arg-type]  # the same
        survivors=("a", "b", "c"),  # type: ignore[arg-type]  # the same
        config_digest=bytes(32),
    )
    assert recipe.decode(honest).mean()["w"].tolist() == [2.0, -2.0]
    for beyond in ([3 * limit + 1, 0], [0, -3 * limit - 1]):
        with pytest.raises(RecipeError, match="can reach"):
            recipe.decode(dataclasses.replace(honest, values=np.asarray(beyond)))


def test_a_client_is_the_one_its_directory_pins() -> None:
    table = Table(PLAN, INPUTS)
    for name in ("client-0001", "nobody"):
        with pytest.raises(ConfigError, match="pin"):
            table.new_client("client-0000", client=name)


def test_an_identity_comes_back_from_its_seed() -> None:
    identity = Identity.generate()
    assert Identity(identity.export_seed()).public == identity.public
    with pytest.raises(ConfigError, match="Secret"):
        Identity(bytes(32))  # type: ignore[arg-type]  # the mistake under test
    with pytest.raises(ConfigError, match="Secret"):
        FileStore("nowhere", key=bytes(32))  # type: ignore[arg-type]  # the mistake under test


def test_one_offer_cannot_use_up_a_session() -> None:
    table = Table(PLAN, INPUTS, number=2**63 - 1)
    table.start()
    assert table.deliver("client-0000") == []
    error = table.failures["client-0000"].error
    assert isinstance(error, Violation)
    assert error.rule is Rule.OFFER_FRESH


def test_whose_update_does_not_fit_is_said() -> None:
    updates = {f"c{number}": {"w": np.zeros(2)} for number in range(4)}
    updates["c2"]["w"][0] = np.nan
    with pytest.raises(InputError, match="c2: tensor"):
        simulate(updates, PLAN, Recipe.like(updates["c0"], clip=1.0))


def test_a_record_cut_by_one_byte_is_refused_and_masks_nothing_again(tmp_path: Path) -> None:
    key = Secret(bytes(range(32)))
    table = Table(PLAN, INPUTS, stores={"client-0000": FileStore(tmp_path, key=key)})
    table.advance(Leg.CONFIRM)
    file = tmp_path / "open-round"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(StorageError, match="does not open"):
        table.new_client("client-0000", FileStore(tmp_path, key=key)).resume()


def test_a_recovery_that_broke_off_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(PLAN, INPUTS)
    table.advance(Leg.UNMASK)
    table.play_leg()
    real = Recovery._remove_some

    def broken(self: Recovery, *args: object) -> bool:
        real(self, *args)  # type: ignore[arg-type]  # handed on as it came
        raise MemoryError

    monkeypatch.setattr(Recovery, "_remove_some", broken)
    with pytest.raises(MemoryError):
        table.server.recover()
    monkeypatch.setattr(Recovery, "_remove_some", real)
    assert isinstance(table.server.outcome, Failed)
    with pytest.raises(MisuseError):
        table.server.recover()


def test_an_input_that_does_not_fit_leaves_the_driven_round() -> None:
    table = Table(PLAN, INPUTS)
    table.advance(Leg.MASK)
    client, network = table.clients["client-0000"], MemoryNetwork(table.names)
    for data in table.pending["client-0000"]:
        network.server.send(client.client, data)
    with pytest.raises(MisuseError, match="made for"):
        run_client(client, network.client("client-0000"), lambda _: VectorInput(INPUTS[0], bits=8), timeout=5)
    assert client.closed
