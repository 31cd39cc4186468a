"""Ledgers on both sides of a round: charged before its data is touched, once, and never less than what left."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar, Final, NoReturn

import numpy as np
import pytest

from dp import Against, Budget, BudgetExceeded, Ledger, LedgerError, MemoryStorage, Neighboring, Skellam, epsilon
from dp.errors import DuplicateRelease
from dp.events import SkellamSum
from dp.ledger import State
from protocols import DeadlinePassed, PrivateRounds, Recipe, RecipeError, drop
from protocols.driver import arun_client, arun_server, run_client, run_server
from protocols.simulate import Party, play_round
from protocols.spending import Spending, round_name, settle_aborted
from protocols.transport import AsyncMemoryNetwork, MemoryNetwork
from secagg import (
    Adversary,
    Aggregate,
    ClientRound,
    Failed,
    Identity,
    InputError,
    MemoryDirectory,
    MemoryStore,
    MisuseError,
    NeedInput,
    Plan,
    Policy,
    RoundAborted,
    RoundConfig,
    RoundStore,
    Send,
    ServerRound,
)
from secagg.identity import client_id
from secagg.types import Leg

PLAN: Final = Plan.find(clients=8, max_dropped=2, max_corrupt=1)
NAMES: Final = [f"c{number}" for number in range(8)]
SHAPE: Final = {"w": np.zeros(6)}
ROUNDS: Final = 3
BUDGET: Final = Budget(epsilon=4.0, delta=1e-6, neighboring=Neighboring.ZERO_OUT)
PATIENCE: Final = 60.0
"""Seconds to wait where a message always comes."""

Update = Mapping[str, Any]


@functools.cache
def private() -> Recipe:
    """The least noise for ROUNDS rounds of PLAN."""
    noise = Skellam.for_budget(
        clip=1.0, epsilon=4.0, delta=1e-6, rounds=ROUNDS, honest=PLAN.min_survivors - PLAN.max_corrupt, length=6
    )
    return Recipe.like(SHAPE, clip=1.0, noise=noise)


def new_ledger(budget: Budget = BUDGET) -> Ledger:
    return Ledger.create(MemoryStorage(), budget=budget, planned=private().planned(PLAN, rounds=ROUNDS))


def full_ledger() -> Ledger:
    ledger = new_ledger()
    for number in range(ROUNDS):
        ledger.reserve(f"before {number}", private().charge(PLAN))
    assert not ledger.would_allow(private().charge(PLAN))
    return ledger


def updates() -> dict[str, Update]:
    return {name: {"w": np.full(6, 0.1)} for name in NAMES}


def config(recipe: Recipe | None = None, *, plan: Plan = PLAN, number: int = 1, session: bytes = bytes(16)) -> Any:
    return RoundConfig.create(
        session=session, round=number, plan=plan, invited=tuple(NAMES), recipe=recipe or private(), instructions=b""
    )


def states(ledger: Ledger) -> list[State]:
    return [entry.state for entry in ledger.entries]


def noise_of(ledger: Ledger) -> list[float]:
    """Of each entry, how many clients' noise it counts."""
    events = [entry.charge.server for entry in ledger.entries]
    assert all(isinstance(event, SkellamSum) for event in events)
    one = float(private().noise.variance)  # type: ignore[union-attr]  # it has noise
    return [round(event.variance / one, 6) for event in events]  # type: ignore[union-attr]  # see above


class Untouchable(Mapping[str, Any]):
    """An update that tells when it is looked at."""

    def __getitem__(self, key: str) -> NoReturn:
        raise AssertionError("the update was looked at")

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("the update was looked at")

    def __len__(self) -> int:
        raise AssertionError("the update was looked at")


# Spending itself.


def test_a_round_is_charged_at_the_fewest_and_then_at_those_there_were() -> None:
    with new_ledger() as ledger:
        spending = Spending(ledger=ledger, recipe=private())
        spending.reserve(config())
        assert [entry.name for entry in ledger.entries] == [f"{'00' * 16} 1"]
        assert states(ledger) == [State.RESERVED]
        assert noise_of(ledger) == [5.0]
        reserved = ledger.guarantee(Against.SERVER).epsilon
        spending.commit(config(), survivors=8)
        assert states(ledger) == [State.COMMITTED]
        assert noise_of(ledger) == [7.0]
        assert 0.0 < ledger.guarantee(Against.SERVER).epsilon < reserved


def test_a_round_that_nothing_left_of_costs_nothing_and_its_name_stays_used() -> None:
    with new_ledger() as ledger:
        spending = Spending(ledger=ledger, recipe=private())
        spending.reserve(config())
        spending.release(config())
        assert ledger.guarantee(Against.SERVER).epsilon == 0.0
        for resumed in (False, True):
            with pytest.raises(DuplicateRelease):
                spending.reserve(config(), resumed=resumed)


def test_a_round_is_reserved_once_and_only_a_resumed_client_comes_back_to_it() -> None:
    with new_ledger() as ledger:
        spending = Spending(ledger=ledger, recipe=private())
        spending.reserve(config())
        spent = ledger.guarantee(Against.SERVER)
        with pytest.raises(DuplicateRelease):
            spending.reserve(config())
        spending.reserve(config(), resumed=True)
        assert ledger.guarantee(Against.SERVER) == spent
        assert len(ledger.entries) == 1
        # The same number with other floors is another round.
        with pytest.raises(DuplicateRelease):
            spending.reserve(config(plan=Plan.find(clients=8, max_dropped=1, max_corrupt=1)), resumed=True)
        spending.commit(config())
        with pytest.raises(DuplicateRelease):
            spending.reserve(config(), resumed=True)


def test_a_resumed_client_that_had_reserved_nothing_is_charged() -> None:
    with new_ledger() as ledger:
        Spending(ledger=ledger, recipe=private()).reserve(config(), resumed=True)
        assert states(ledger) == [State.RESERVED]
    with full_ledger() as ledger, pytest.raises(BudgetExceeded):
        Spending(ledger=ledger, recipe=private()).reserve(config(), resumed=True)


def test_a_round_of_another_recipe_is_not_charged_for_this_one() -> None:
    faint = Recipe.like(SHAPE, clip=1.0, noise=Skellam(variance=1.0, step=private().step))
    with new_ledger() as ledger:
        spending = Spending(ledger=ledger, recipe=private())
        with pytest.raises(RecipeError, match="another recipe"):
            spending.reserve(config(faint))
        spending.reserve(config())
        with pytest.raises(RecipeError, match="another recipe"):
            spending.commit(config(faint))
        assert states(ledger) == [State.RESERVED]


def test_several_recipes_on_one_ledger_add_up() -> None:
    more = Recipe.like(SHAPE, clip=1.0, noise=Skellam(variance=private().noise.variance * 2, step=private().step))  # type: ignore[union-attr]  # it has noise
    with new_ledger() as ledger:
        Spending(ledger=ledger, recipe=private()).reserve(config(number=1))
        first = ledger.guarantee(Against.SERVER).epsilon
        Spending(ledger=ledger, recipe=more).reserve(config(more, number=2))
        both = ledger.guarantee(Against.SERVER).epsilon
        Spending(ledger=ledger, recipe=private()).reserve(config(number=3))
        assert first < both < ledger.guarantee(Against.SERVER).epsilon <= 4.0
        assert noise_of(ledger) == [5.0, 10.0, 5.0]


def test_a_ledger_that_protects_replaced_updates_charges_for_twice_the_distance() -> None:
    """As much as zeroed updates would cost under a quarter of the variance."""
    charge = private().charge(PLAN).server
    assert isinstance(charge, SkellamSum)
    quarter = SkellamSum(variance=charge.variance / 4, sensitivity=charge.sensitivity)
    zeroed = epsilon(
        [quarter], delta=BUDGET.noise_delta, neighboring=Neighboring.ZERO_OUT, against=Against.SERVER
    ).epsilon
    with new_ledger(Budget(epsilon=40.0, delta=1e-6, neighboring=Neighboring.REPLACE_ONE)) as ledger:
        Spending(ledger=ledger, recipe=private()).reserve(config())
        assert ledger.guarantee(Against.SERVER).epsilon == pytest.approx(zeroed, rel=1e-6)


def test_commit_refuses_survivors_that_the_plan_excludes() -> None:
    with new_ledger() as ledger:
        spending = Spending(ledger=ledger, recipe=private())
        spending.reserve(config())
        for survivors in (5, 9):
            with pytest.raises(RecipeError, match="survivors="):
                spending.commit(config(), survivors=survivors)
        assert states(ledger) == [State.RESERVED]


def test_a_recipe_without_noise_refuses_a_ledger() -> None:
    exact = Recipe.like(SHAPE, clip=1.0)
    names = {name: Untouchable() for name in NAMES}
    with new_ledger() as ledger:
        with pytest.raises(RecipeError, match="no noise"):
            Spending(ledger=ledger, recipe=exact).reserve(config(exact))
        with pytest.raises(RecipeError, match="no noise"):
            PrivateRounds(exact, max_dropped=2, max_corrupt=1, ledger=ledger).sum(names)
        world = World(exact)
        with pytest.raises(RecipeError, match="no noise"):
            run_server(world.server(), MemoryNetwork(NAMES).server, leg_timeout=1.0, spending=world.spending(ledger))
        assert ledger.entries == ()


# Simulated rounds.


def parties(**ledgers: Ledger) -> dict[str, Party]:
    return {name: Party(identity=Identity.generate(), ledger=ledgers.get(name)) for name in NAMES}


@pytest.mark.parametrize(("faults", "survivors"), [((), 8), ((drop("c1", before="mask"),), 7)])
def test_both_sides_are_charged_for_who_survived(faults: Any, survivors: int) -> None:
    with new_ledger() as server, new_ledger() as own:
        late = drop("c2", before="unmask")  # its input counts, and so does its noise
        report = play_round(updates(), PLAN, private(), parties=parties(c0=own), faults=(*faults, late), ledger=server)
        assert len(report.aggregate.survivors) == survivors
        for ledger in (server, own):
            assert states(ledger) == [State.COMMITTED]
            assert noise_of(ledger) == [survivors - 1]
        assert server.entries == own.entries
        assert server.entries[0].name == round_name(report.config)


@pytest.mark.parametrize(
    ("leg", "state", "counted"),
    [("mask", State.RESERVED, 0), ("confirm", State.RESERVED, 1), ("unmask", State.RESERVED, 1)],
)
def test_a_client_that_left_stays_charged_once_its_input_left(leg: str, state: State, counted: int) -> None:
    with new_ledger() as own:
        play_round(updates(), PLAN, private(), parties=parties(c3=own), faults=[drop("c3", before=leg)])
        assert states(own) == [state] * counted
        assert noise_of(own) == [5.0] * counted  # as planned: it never saw the set confirmed


@pytest.mark.parametrize(
    ("leg", "state"),
    [
        ("advertise", State.RELEASED),
        ("share", State.RELEASED),
        ("mask", State.COMMITTED),
        ("confirm", State.COMMITTED),
        ("unmask", State.COMMITTED),
    ],
)
def test_an_aborted_round_costs_what_may_have_left(leg: str, state: State) -> None:
    with new_ledger() as server, new_ledger() as own:
        faults = [drop(name, before=leg) for name in NAMES[2:]]
        with pytest.raises(RoundAborted) as caught:
            play_round(updates(), PLAN, private(), parties=parties(c0=own), faults=faults, ledger=server)
        assert caught.value.leg is Leg[leg.upper()]
        assert states(server) == [state]
        asked = state is State.COMMITTED
        assert noise_of(server) == [5.0]
        assert (server.guarantee(Against.SERVER).epsilon > 0.0) is asked
        assert bool(own.entries) is asked
        # Who signed the set knows how many are in it, and is charged for that.
        assert noise_of(own) == [] or noise_of(own)[0] == (7.0 if leg == "unmask" else 5.0)


def test_an_update_that_does_not_fit_costs_nothing() -> None:
    with new_ledger() as server:
        wrong = updates() | {"c1": {"w": np.zeros(1)}}
        with pytest.raises(InputError, match="c1"):
            play_round(wrong, PLAN, private(), parties=parties(), ledger=server)
        assert states(server) == [State.RELEASED]


def test_a_round_over_budget_is_refused_before_any_update_is_looked_at() -> None:
    with full_ledger() as ledger:
        rounds = PrivateRounds(private(), max_dropped=2, max_corrupt=1, ledger=ledger)
        before = ledger.anchor
        with pytest.raises(BudgetExceeded):
            rounds.sum({name: Untouchable() for name in NAMES})
        assert ledger.anchor == before
        assert rounds.last is None
    with new_ledger() as ledger, pytest.raises(AssertionError, match="looked at"):  # it does tell
        PrivateRounds(private(), max_dropped=2, max_corrupt=1, ledger=ledger).sum(
            {name: Untouchable() for name in NAMES}
        )


def test_a_client_over_budget_drops_out_and_the_round_goes_on() -> None:
    with new_ledger() as server, full_ledger() as poor, new_ledger() as rich:
        before = poor.anchor
        report = play_round(updates(), PLAN, private(), parties=parties(c4=poor, c5=rich), ledger=server)
        assert report.over_budget == ("c4",)
        assert report.aggregate.dropped == ("c4",)
        assert poor.anchor == before
        assert noise_of(server) == noise_of(rich) == [6.0]


def test_clients_over_budget_can_be_too_many() -> None:
    with new_ledger() as server, full_ledger() as poor:
        everyone = parties(**dict.fromkeys(NAMES[:3], poor))
        with pytest.raises(RoundAborted):
            play_round(updates(), PLAN, private(), parties=everyone, ledger=server)
        assert states(server) == [State.COMMITTED]  # the others' inputs came


def test_a_session_runs_as_many_rounds_as_were_planned_and_its_clients_agree() -> None:
    ledgers: dict[str, Ledger] = {}

    def keep(name: str) -> Ledger:
        assert name not in ledgers
        return ledgers.setdefault(name, new_ledger())

    with new_ledger() as server:
        rounds = PrivateRounds(private(), max_dropped=2, max_corrupt=1, ledger=server, client_ledger=keep)
        spent = []
        for _ in range(ROUNDS):
            rounds.sum(updates(), faults=[drop("c6", before="mask"), drop("c7", before="mask")])
            spent.append(server.guarantee(Against.SERVER).epsilon)
        assert spent == sorted(spent)
        assert len(set(spent)) == ROUNDS
        assert spent[-1] <= 4.0
        with pytest.raises(BudgetExceeded):
            rounds.sum(updates())
        assert rounds.rounds == ROUNDS + 1
        assert noise_of(server) == [5.0] * ROUNDS
        assert sorted(ledgers) == NAMES
        for name, ledger in ledgers.items():
            assert len(ledger.entries) == (0 if name in ("c6", "c7") else ROUNDS)
            ledger.close()


def test_an_aborted_round_of_a_session_is_charged_and_the_next_has_a_name_of_its_own() -> None:
    with new_ledger() as server:
        rounds = PrivateRounds(private(), max_dropped=2, max_corrupt=1, ledger=server)
        with pytest.raises(RoundAborted):
            rounds.sum(updates(), faults=[drop(name, before="confirm") for name in NAMES[:4]])
        with pytest.raises(RoundAborted):
            rounds.sum(updates(), faults=[drop(name, before="share") for name in NAMES[:4]])
        rounds.sum(updates())
        assert states(server) == [State.COMMITTED, State.RELEASED, State.COMMITTED]
        assert noise_of(server) == [5.0, 5.0, 7.0]
        assert len({entry.name for entry in server.entries}) == 3


# Rounds over a network.


class World:
    """Identities and a directory that last, and the two ends of rounds of one recipe."""

    def __init__(self, recipe: Recipe | None = None, *, plan: Plan = PLAN) -> None:
        self.recipe = recipe or private()
        self.plan = plan
        self.identities = {name: Identity.generate() for name in NAMES}
        self.directory = MemoryDirectory({name: each.public for name, each in self.identities.items()})
        self.looked_at: list[str] = []

    def server(self, number: int = 1) -> ServerRound:
        return ServerRound(config(self.recipe, plan=self.plan, number=number), invited=NAMES, directory=self.directory)

    def client(self, name: str, store: RoundStore | None = None) -> ClientRound:
        return ClientRound(
            client=name,
            identity=self.identities[name],
            directory=self.directory,
            recipe=self.recipe,
            policy=Policy(adversaries=frozenset({self.plan.adversary})),
            store=store,
        )

    def spending(self, ledger: Ledger) -> Spending:
        return Spending(ledger=ledger, recipe=self.recipe)

    def source(self, name: str) -> Callable[[Any], Any]:
        def make_input(ring: Any) -> Any:
            self.looked_at.append(name)
            return self.recipe.encode({"w": np.full(6, 0.1)}, ring=ring, instructions=b"")

        return make_input

    def awaiting(self, name: str) -> Callable[[Any], Any]:
        async def make_input(ring: Any) -> Any:
            await asyncio.sleep(0)
            return self.source(name)(ring)

        return make_input


def in_threads(world: World, server: Ledger, **own: Ledger) -> tuple[Future[Aggregate], dict[str, Future[None]]]:
    network = MemoryNetwork(NAMES)
    with ThreadPoolExecutor(1 + len(NAMES)) as pool:
        served = pool.submit(
            run_server, world.server(), network.server, leg_timeout=PATIENCE, spending=world.spending(server)
        )
        driven = {
            name: pool.submit(
                run_client,
                world.client(name),
                network.client(name),
                world.source(name),
                timeout=PATIENCE,
                spending=world.spending(own[name]) if name in own else None,
            )
            for name in NAMES
        }
    return served, driven


async def in_tasks(world: World, server: Ledger, **own: Ledger) -> tuple[Any, list[Any]]:
    network = AsyncMemoryNetwork(NAMES)
    clients = [
        arun_client(
            world.client(name),
            network.client(name),
            world.awaiting(name),
            timeout=PATIENCE,
            spending=world.spending(own[name]) if name in own else None,
        )
        for name in NAMES
    ]
    served, driven = await asyncio.gather(
        arun_server(world.server(), network.server, leg_timeout=PATIENCE, spending=world.spending(server)),
        asyncio.gather(*clients, return_exceptions=True),
    )
    return served, driven


@pytest.mark.parametrize("adversary", list(Adversary))
def test_drivers_in_threads_charge_both_sides(adversary: Adversary) -> None:
    plan = Plan.find(clients=8, max_dropped=2, max_corrupt=1, adversary=adversary)
    with new_ledger() as server, new_ledger() as own, new_ledger() as other:
        served, driven = in_threads(World(plan=plan), server, c0=own, c7=other)
        assert len(served.result().survivors) == 8
        assert [future.exception() for future in driven.values()] == [None] * 8
        for ledger in (server, own, other):
            assert states(ledger) == [State.COMMITTED]
            assert noise_of(ledger) == [7.0]


def test_drivers_in_tasks_charge_both_sides() -> None:
    with new_ledger() as server, new_ledger() as own:
        served, driven = asyncio.run(in_tasks(World(), server, c0=own))
        assert len(served.survivors) == 8
        assert driven == [None] * 8
        assert server.entries == own.entries
        assert noise_of(own) == [7.0]


def test_a_server_over_budget_sends_nothing() -> None:
    world, network = World(), MemoryNetwork(NAMES)
    with full_ledger() as ledger:
        with pytest.raises(BudgetExceeded):
            run_server(world.server(), network.server, leg_timeout=1.0, spending=world.spending(ledger))
        with pytest.raises(BudgetExceeded):
            asyncio.run(
                arun_server(
                    world.server(), AsyncMemoryNetwork(NAMES).server, leg_timeout=1.0, spending=world.spending(ledger)
                )
            )
    assert network.client("c0").receive(0.001) is None


@pytest.mark.parametrize("color", ["threads", "tasks"])
def test_a_driven_client_over_budget_leaves_before_it_trains(color: str) -> None:
    """The server is not told: it waits for its input until the leg is over."""
    world = World()
    # Seven ends are played by hand so that nobody waits for a clock.
    with full_ledger() as poor:
        table = Hands(world)
        inbox = table.up_to_the_inbox()["c2"]
        client = table.clients["c2"]
        before = poor.anchor
        if color == "threads":
            network = MemoryNetwork(NAMES)
            network.server.send(client_id("c2"), inbox)
            with pytest.raises(BudgetExceeded):
                run_client(client, network.client("c2"), world.source("c2"), timeout=1.0, spending=world.spending(poor))
        else:

            async def drive() -> None:
                network = AsyncMemoryNetwork(NAMES)
                await network.server.send(client_id("c2"), inbox)
                await arun_client(
                    client, network.client("c2"), world.awaiting("c2"), timeout=1.0, spending=world.spending(poor)
                )

            with pytest.raises(BudgetExceeded):
                asyncio.run(drive())
        assert client.closed
        assert world.looked_at == []
        assert poor.anchor == before


@pytest.mark.parametrize("color", ["threads", "tasks"])
def test_an_input_that_was_there_before_it_was_asked_for_is_charged_before_it_leaves(color: str) -> None:
    world = World()

    def drive(ledger: Ledger, sent: list[bytes]) -> None:
        """Drive a client that holds its input already to its inbox; what leaves it is added to `sent`."""
        table = Hands(world)
        inbox = table.up_to_the_inbox()["c2"]
        client = table.clients["c2"]
        client.provide(world.source("c2")(client.config.ring))
        with contextlib.suppress(DeadlinePassed):
            if color == "threads":
                network = MemoryNetwork(NAMES)
                network.server.send(client_id("c2"), inbox)
                try:
                    run_client(client, network.client("c2"), never, timeout=0.01, spending=world.spending(ledger))
                finally:
                    while (message := network.server.receive(0.001)) is not None:
                        sent.append(message[1])
            else:

                class End:
                    inboxes: ClassVar[list[bytes]] = [inbox]

                    async def receive(self) -> bytes:
                        return self.inboxes.pop() if self.inboxes else await asyncio.sleep(10, b"")

                    async def send(self, data: bytes) -> None:
                        sent.append(data)

                asyncio.run(arun_client(client, End(), never, timeout=0.01, spending=world.spending(ledger)))

    rich_said: list[bytes] = []
    with new_ledger() as ledger:
        drive(ledger, rich_said)
        assert states(ledger) == [State.RESERVED]
    assert len(rich_said) == 1
    poor_said: list[bytes] = []
    with full_ledger() as poor, pytest.raises(BudgetExceeded):
        drive(poor, poor_said)
    assert not poor_said


def never(ring: object) -> NoReturn:
    """Make an input, where nobody may ask for one."""
    raise AssertionError(ring)


def test_a_driven_client_whose_training_fails_is_charged_nothing() -> None:
    world = World()
    table = Hands(world)
    inbox = table.up_to_the_inbox()["c2"]
    network = MemoryNetwork(NAMES)
    network.server.send(client_id("c2"), inbox)

    def fails(ring: object) -> NoReturn:
        raise RuntimeError

    with new_ledger() as ledger:
        with pytest.raises(RuntimeError):
            run_client(table.clients["c2"], network.client("c2"), fails, timeout=1.0, spending=world.spending(ledger))
        assert table.clients["c2"].closed
        assert states(ledger) == [State.RELEASED]


class Hands:
    """A round whose messages are carried by hand."""

    def __init__(self, world: World, stores: Mapping[str, RoundStore] | None = None) -> None:
        self.world = world
        self.clients = {name: world.client(name, (stores or {}).get(name)) for name in NAMES}
        self.server = world.server()

    def up_to_the_inbox(self) -> dict[str, bytes]:
        """Play legs 0 and 1 and return each client's inbox, undelivered."""
        events = self.server.start()
        for _ in range(2):
            for event in events:
                assert isinstance(event, Send)
                assert event.to is not None
                self.answer(event.to, bytes(event.data))
            events = self.server.close_leg()
        return {event.to: bytes(event.data) for event in events if isinstance(event, Send) and event.to is not None}

    def answer(self, name: str, data: bytes) -> None:
        self.pass_on(name, self.clients[name].receive(data))

    def pass_on(self, name: str, events: Any) -> None:
        for event in events:
            if isinstance(event, NeedInput):
                self.pass_on(name, self.clients[name].provide(self.world.source(name)(event.ring)))
            elif isinstance(event, Send):
                self.server.receive(name, bytes(event.data))

    def finish(self, events: Any) -> Aggregate:
        """Play what is left."""
        while not self.server.ready:
            for event in events:
                self.answer(event.to, bytes(event.data))
            events = self.server.close_leg()
        (finished,) = self.server.recover()
        assert finished.aggregate is not None  # type: ignore[union-attr]  # the round has a sum
        return finished.aggregate  # type: ignore[union-attr]  # see above


def test_a_resumed_client_comes_back_to_its_reservation() -> None:
    world, store = World(), MemoryStore()
    table = Hands(world, {"c2": store})
    inboxes = table.up_to_the_inbox()
    with new_ledger() as own:
        spending = world.spending(own)
        (needed,) = table.clients["c2"].receive(inboxes.pop("c2"))
        assert isinstance(needed, NeedInput)
        spending.reserve(table.clients["c2"].config)
        # It stops while it trains, and another process takes over its record and its ledger.
        table.clients["c2"] = resumed = world.client("c2", store)
        events = resumed.resume()
        assert [type(event) for event in events] == [NeedInput]
        spending.reserve(resumed.config, resumed=True)
        table.pass_on("c2", events)
        for name, inbox in inboxes.items():
            table.answer(name, inbox)
        aggregate = table.finish(table.server.close_leg())
        assert "c2" in aggregate.survivors
        spending.commit(resumed.config, survivors=resumed.confirmed)
        assert states(own) == [State.COMMITTED]
        assert noise_of(own) == [7.0]


def test_a_number_offered_again_to_a_client_that_forgot_its_record_is_not_free() -> None:
    """A server that offers a round again finds a new store, but not a new ledger: no second input leaves."""
    world = World()
    with new_ledger() as own:
        for attempt in range(2):
            table = Hands(world)
            inbox = table.up_to_the_inbox()["c2"]
            network = MemoryNetwork(NAMES)
            network.server.send(client_id("c2"), inbox)
            with pytest.raises(Exception) as caught:  # noqa: PT011  # which one is looked at below
                run_client(
                    table.clients["c2"],
                    network.client("c2"),
                    world.source("c2"),
                    timeout=0.01,
                    spending=world.spending(own),
                )
            assert type(caught.value).__name__ == ("DeadlinePassed", "DuplicateRelease")[attempt]
            assert len(own.entries) == 1
        assert world.looked_at == ["c2"]


def test_a_round_that_ends_otherwise_keeps_its_reservation() -> None:
    class Broken:
        def send(self, client: str, data: bytes) -> None:
            raise ConnectionError("no network")

        def receive(self, timeout: float) -> None:
            return None

    world = World()
    with new_ledger() as ledger:
        with pytest.raises(ConnectionError):
            run_server(world.server(), Broken(), leg_timeout=1.0, spending=world.spending(ledger))
        assert states(ledger) == [State.RESERVED]
        # And the same round cannot be served a second time for the one charge.
        with pytest.raises(LedgerError):
            run_server(world.server(), Broken(), leg_timeout=1.0, spending=world.spending(ledger))


def test_settling_goes_by_the_leg_that_ended_the_round() -> None:
    world = World()
    for give_up, state in ((Leg.ADVERTISE, State.RELEASED), (Leg.MASK, State.COMMITTED)):
        table = Hands(world)
        if give_up is Leg.MASK:
            table.up_to_the_inbox()
        else:
            table.server.start()
        with new_ledger() as ledger:
            world.spending(ledger).reserve(table.server.config)
            (failed,) = table.server.abort("the operator left")
            assert isinstance(failed, Failed)
            settle_aborted(world.spending(ledger), table.server)
            assert states(ledger) == [state]


# What is charged is what leaves.


def test_a_noised_input_goes_into_one_round() -> None:
    world = World()
    recipe = world.recipe
    made = recipe.encode({"w": np.full(6, 0.1)}, ring=recipe.ring(PLAN), instructions=b"")
    for again in (False, True):
        table = Hands(world)
        inbox = table.up_to_the_inbox()["c2"]
        client = table.clients["c2"]
        assert [type(event) for event in client.receive(inbox)] == [NeedInput]
        if again:
            with pytest.raises(MisuseError, match="goes into one round"):
                client.provide(made)
            fresh = recipe.encode({"w": np.full(6, 0.1)}, ring=recipe.ring(PLAN), instructions=b"")
            assert any(isinstance(event, Send) for event in client.provide(fresh))
        else:
            assert any(isinstance(event, Send) for event in client.provide(made))


@pytest.mark.parametrize("weaker", [None, Skellam(variance=1.0)])
def test_an_input_of_another_recipe_is_refused_by_the_round(weaker: Skellam | None) -> None:
    world = World()
    recipe = world.recipe
    other = Recipe.like(SHAPE, clip=1.0, noise=None if weaker is None else weaker.at(recipe.step), step=recipe.step)
    made = other.encode({"w": np.full(6, 0.1)}, ring=recipe.ring(PLAN), instructions=b"")
    assert made.recipe_digest != recipe.digest
    table = Hands(world)
    inbox = table.up_to_the_inbox()["c2"]
    table.clients["c2"].receive(inbox)
    with pytest.raises(MisuseError, match="another recipe"):
        table.clients["c2"].provide(made)
