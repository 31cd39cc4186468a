"""Drivers bring a round to its end over any network: threads, asyncio, silence, repeats, noise, and deadlines."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import pytest

from protocols.driver import arun_client, arun_server, run_client, run_server
from protocols.errors import DeadlinePassed, ProtocolError
from protocols.transport import AsyncMemoryNetwork, ClientTransport, MemoryNetwork
from secagg import (
    Adversary,
    Aggregate,
    ClientRound,
    MemoryStore,
    MisuseError,
    Plan,
    Policy,
    Ring,
    Send,
    TooFewClients,
    Unrecoverable,
    Violation,
)
from secagg.pairwise.server import CollectingUnmaskShares
from secagg.testing.table import Table, VectorInput
from secagg.types import ClientId, Leg

PLAN: Final = Plan.find(clients=5, max_dropped=1, max_corrupt=0)
SEMI_HONEST: Final = Plan.find(clients=5, max_dropped=1, max_corrupt=0, adversary=Adversary.SEMI_HONEST)
SILENCE: Final = 2.0
"""Seconds to wait for a party that says nothing, while all others answer at once."""
BRIEF: Final = 0.1
"""Seconds to wait where nothing of use can come."""
PATIENCE: Final = 60.0
"""Seconds to wait where a message always comes."""


def table_of(plan: Plan = PLAN, **arguments: Any) -> Table:
    inputs = np.random.default_rng(8).integers(0, 2**32, (plan.clients, 9), dtype=np.uint32)
    return Table(plan, inputs, **arguments)


def assert_exact(table: Table, aggregate: Aggregate, survivors: Iterable[str]) -> None:
    assert list(aggregate.survivors) == sorted(survivors)
    assert np.array_equal(aggregate.values, table.expected(aggregate.survivors))


# In threads.


def in_threads(
    table: Table,
    network: MemoryNetwork,
    *,
    clients: dict[str, ClientTransport],
    leg_timeout: float = PATIENCE,
    timeout: float = PATIENCE,
) -> tuple[Future[Aggregate], dict[str, Future[None]]]:
    """Run a server and some clients, each in a thread of its own, to their ends."""
    with ThreadPoolExecutor(1 + len(clients)) as pool:
        served = pool.submit(run_server, table.server, network.server, leg_timeout=leg_timeout)
        driven = {
            name: pool.submit(run_client, table.clients[name], transport, source_of(table, name), timeout=timeout)
            for name, transport in clients.items()
        }
    return served, driven


def source_of(table: Table, name: str) -> Callable[[Ring], VectorInput]:
    return lambda ring: table.input_of(name)


def transports(network: MemoryNetwork, names: Iterable[str]) -> dict[str, ClientTransport]:
    return {name: network.client(name) for name in names}


@pytest.mark.parametrize("plan", [PLAN, SEMI_HONEST], ids=["active", "semi-honest"])
def test_a_round_in_threads(plan: Plan) -> None:
    table = table_of(plan)
    network = MemoryNetwork(table.names)
    served, driven = in_threads(table, network, clients=transports(network, table.names))
    assert_exact(table, served.result(), table.names)
    assert all(future.result() is None for future in driven.values())
    assert all(client.closed for client in table.clients.values())


def test_a_client_that_never_answers_costs_one_deadline() -> None:
    table = table_of()
    network = MemoryNetwork(table.names)
    served, driven = in_threads(table, network, clients=transports(network, table.names[:4]), leg_timeout=SILENCE)
    assert_exact(table, served.result(), table.names[:4])
    assert list(served.result().joined) == table.names[:4]
    assert all(future.exception() is None for future in driven.values())


class FallsSilent:
    """A client's transport that loses everything sent after the first few messages."""

    def __init__(self, transport: ClientTransport, sends: int) -> None:
        self._transport = transport
        self._left = sends

    def send(self, data: bytes) -> None:
        if self._left > 0:
            self._transport.send(data)
        self._left -= 1

    def receive(self, timeout: float) -> bytes | None:
        return self._transport.receive(timeout)


def test_a_client_that_falls_silent_is_left_behind_and_leaves() -> None:
    table = table_of()
    network = MemoryNetwork(table.names)
    clients = transports(network, table.names)
    clients["client-0002"] = FallsSilent(clients["client-0002"], 2)
    served, driven = in_threads(table, network, clients=clients, leg_timeout=SILENCE, timeout=2 * SILENCE)
    assert_exact(table, served.result(), [name for name in table.names if name != "client-0002"])
    assert isinstance(driven.pop("client-0002").exception(), DeadlinePassed)
    assert [future.exception() for future in driven.values()] == [None] * 4
    assert table.clients["client-0002"].closed


def test_a_server_with_too_few_clients_says_so_and_they_leave() -> None:
    table = table_of()
    network = MemoryNetwork(table.names)
    clients = transports(network, table.names[:3])
    served, driven = in_threads(table, network, clients=clients, leg_timeout=BRIEF, timeout=2 * BRIEF)
    with pytest.raises(TooFewClients):
        served.result()
    for name, future in driven.items():
        with pytest.raises(DeadlinePassed, match=r"within 0\.2 s"):
            future.result()
        assert table.clients[name].closed


# Without any thread or clock: the network is a list, and time passes where nothing is left in it.


class Loop:
    """A server's transport whose clients answer at once, and whose time passes only in silence."""

    def __init__(self, table: Table, *, silent: Iterable[str] = ()) -> None:
        self.now = 1000.0
        self.waits: list[float] = []
        self.sent: collections.Counter[str] = collections.Counter()
        self.inbox: collections.deque[tuple[str, bytes]] = collections.deque()
        self._table = table
        self._silent = set(silent)

    def clock(self) -> float:
        return self.now

    def send(self, client: ClientId, data: bytes) -> None:
        self.sent[client] += 1
        if client not in self._silent:
            self.inbox.extend((client, answer) for answer in self._table.hand(client, data))

    def receive(self, timeout: float) -> tuple[str, bytes] | None:
        self.waits.append(timeout)
        if self.inbox:
            self.now += 1.0
            return self.inbox.popleft()
        self.now += timeout
        return None


def test_a_leg_closes_with_its_last_answer_and_the_clock_is_not_waited_for() -> None:
    table = table_of()
    loop = Loop(table)
    aggregate = run_server(table.server, loop, leg_timeout=30.0, clock=loop.clock)
    assert_exact(table, aggregate, table.names)
    assert loop.waits == [30.0, 29.0, 28.0, 27.0, 26.0] * 5
    assert set(loop.sent.values()) == {5}


def test_a_leg_closes_at_its_deadline() -> None:
    table = table_of()
    loop = Loop(table, silent=["client-0004"])
    aggregate = run_server(table.server, loop, leg_timeout=30.0, clock=loop.clock)
    assert_exact(table, aggregate, table.names[:4])
    assert loop.waits == [30.0, 29.0, 28.0, 27.0, 26.0] + [30.0, 29.0, 28.0, 27.0] * 4
    assert loop.sent["client-0004"] == 1


def test_a_deadline_in_the_middle_of_a_crowd_is_kept() -> None:
    # Messages come without end, a second each, and none of them is of use: the leg ends all the same.
    table = table_of()
    loop = Loop(table, silent=["client-0004"])
    loop.inbox.extend(("client-0004", b"noise") for _ in range(1000))
    with pytest.raises(TooFewClients):
        run_server(table.server, loop, leg_timeout=30.0, clock=loop.clock)
    assert loop.now == 1030.0
    assert len(loop.waits) == 30


def test_repeats_noise_and_strangers_change_nothing() -> None:
    table = table_of()

    class Noisy(Loop):
        def send(self, client: ClientId, data: bytes) -> None:
            before = list(self.inbox)
            super().send(client, data)
            answers = list(self.inbox)[len(before) :]
            self.inbox.clear()
            self.inbox.extend(before)
            for name, answer in answers:
                noise = [(name, b""), (name, answer[:-1]), (name, answer + b"!"), ("stranger", answer)]
                self.inbox.extend([*noise, (name, answer), (name, answer)])

    loop = Noisy(table)
    aggregate = run_server(table.server, loop, leg_timeout=1e9, clock=loop.clock)
    assert_exact(table, aggregate, table.names)
    assert table.server.rejections >= 4 * 5 * 5


def test_an_executor_is_passed_on() -> None:
    table = table_of()
    loop = Loop(table)
    with ThreadPoolExecutor(1) as pool:
        aggregate = run_server(table.server, loop, leg_timeout=30.0, clock=loop.clock, executor=pool, workers=2)
    assert_exact(table, aggregate, table.names)


def test_a_server_round_is_driven_once() -> None:
    table = table_of()
    loop = Loop(table)
    run_server(table.server, loop, leg_timeout=30.0, clock=loop.clock)
    with pytest.raises(MisuseError, match="started already"):
        run_server(table.server, loop, leg_timeout=30.0, clock=loop.clock)


@pytest.mark.parametrize("sends", range(6))
def test_a_client_that_falls_silent_counts_once_its_input_is_in(sends: int) -> None:
    table = table_of()

    class Fading(Loop):
        def send(self, client: ClientId, data: bytes) -> None:
            if client != "client-0002" or self.sent[client] < sends:
                super().send(client, data)

    loop = Fading(table)
    aggregate = run_server(table.server, loop, leg_timeout=30.0, clock=loop.clock)
    assert_exact(table, aggregate, [name for name in table.names if name != "client-0002" or sends >= 3])


def test_a_secret_that_cannot_be_rebuilt_is_a_typed_error() -> None:
    table = table_of()

    class Lying(Loop):
        def receive(self, timeout: float) -> tuple[str, bytes] | None:
            phase = table.server._phase
            if isinstance(phase, CollectingUnmaskShares):
                for shares in phase._revealed.values():
                    shares[0][:] = 0  # nobody's share of the first client's seed is right
            return super().receive(timeout)

    loop = Lying(table, silent=())
    loop.inbox.clear()
    with pytest.raises(Unrecoverable):
        run_server(table.server, loop, leg_timeout=30.0, clock=loop.clock)


class Script:
    """A client's transport that says what it is told to, and keeps what it hears."""

    def __init__(self, messages: Iterable[bytes | None]) -> None:
        self._messages = iter(messages)
        self.sent: list[bytes] = []
        self.timeouts: list[float] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)

    def receive(self, timeout: float) -> bytes | None:
        self.timeouts.append(timeout)
        return next(self._messages)


def heard_by(name: str, **arguments: Any) -> list[bytes]:
    """Every message a client of a whole round is sent."""
    table, heard = table_of(**arguments), []
    table.start()
    while table.outcome is None and not table.server.ready:
        heard += table.pending[name]
        table.play_leg()
    return heard


def test_a_client_asks_for_its_input_once_and_when_it_is_needed() -> None:
    table = table_of()
    script = Script(heard_by("client-0002"))
    asked: list[int] = []

    def make_input(ring: Ring) -> VectorInput:
        asked.append(len(script.sent))
        return table.input_of("client-0002")

    run_client(table.clients["client-0002"], script, make_input, timeout=7.0)
    assert asked == [2]  # the advert and the shares are out
    assert len(script.sent) == 5
    assert script.timeouts == [7.0] * 5


def test_a_client_answers_repeats_alike() -> None:
    table = table_of(keep_input=True)
    heard = heard_by("client-0002")
    script = Script([data for data in heard for _ in range(2)])
    run_client(table.clients["client-0002"], script, source_of(table, "client-0002"), timeout=7.0)
    assert script.sent[0] == script.sent[1]
    assert len(script.sent) == 9
    assert len(set(script.sent)) == 5


@pytest.mark.parametrize("heard", range(5))
def test_a_client_that_hears_no_more_leaves_wiped(heard: int) -> None:
    table = table_of()
    client = table.clients["client-0002"]
    script = Script([*heard_by("client-0002")[:heard], None])
    with pytest.raises(DeadlinePassed, match=r"no message of the server within 7\.0 s") as passed:
        run_client(client, script, source_of(table, "client-0002"), timeout=7.0)
    assert isinstance(passed.value, ProtocolError)
    assert isinstance(passed.value, TimeoutError)
    assert client.closed
    assert len(script.sent) == heard
    if client._root is not None:
        with pytest.raises(MisuseError, match="wiped"):
            client._root.reveal()


def test_a_client_that_refuses_raises_what_was_wrong() -> None:
    table = table_of()
    client = table.new_client("client-0002", policy=Policy(min_survivors=5))
    with pytest.raises(Violation, match="offer-policy"):
        run_client(client, Script(heard_by("client-0002")), source_of(table, "client-0002"), timeout=7.0)
    assert client.closed


@pytest.mark.parametrize("leg", [Leg.SHARE, Leg.MASK, Leg.CONFIRM, Leg.UNMASK], ids=lambda leg: leg.name.lower())
def test_a_resumed_client_is_driven_on(leg: Leg) -> None:
    name, store = "client-0002", MemoryStore()
    table = table_of(stores={name: store}, keep_input=True)
    table.advance(leg)
    resumed: ClientRound = table.new_client(name, store)
    script = Script(heard_by(name)[int(leg) :])
    for event in resumed.resume():
        if isinstance(event, Send):
            script.send(bytes(event.data))
    run_client(resumed, script, source_of(table, name), timeout=7.0)
    assert len(script.sent) == 1 + 5 - int(leg)
    assert tuple(store.records()) == ()


# Within asyncio.


async def in_tasks(
    table: Table, *, answering: Iterable[str], leg_timeout: float = PATIENCE, timeout: float = PATIENCE
) -> tuple[Aggregate | BaseException, list[BaseException | None]]:
    network = AsyncMemoryNetwork(table.names)
    clients = [
        arun_client(table.clients[name], network.client(name), awaiting(table, name), timeout=timeout)
        for name in answering
    ]
    served, driven = await asyncio.gather(
        asyncio.gather(arun_server(table.server, network.server, leg_timeout=leg_timeout), return_exceptions=True),
        asyncio.gather(*clients, return_exceptions=True),
    )
    return served[0], driven


def awaiting(table: Table, name: str) -> Callable[[Ring], Any]:
    async def make_input(ring: Ring) -> VectorInput:
        await asyncio.sleep(0)
        return table.input_of(name)

    return make_input


@pytest.mark.parametrize("plan", [PLAN, SEMI_HONEST], ids=["active", "semi-honest"])
def test_a_round_in_tasks(plan: Plan) -> None:
    table = table_of(plan)
    served, driven = asyncio.run(in_tasks(table, answering=table.names))
    assert isinstance(served, Aggregate)
    assert_exact(table, served, table.names)
    assert driven == [None] * 5
    assert all(client.closed for client in table.clients.values())


def test_a_task_that_never_answers_costs_one_deadline() -> None:
    table = table_of()
    served, driven = asyncio.run(in_tasks(table, answering=table.names[:4], leg_timeout=SILENCE))
    assert isinstance(served, Aggregate)
    assert_exact(table, served, table.names[:4])
    assert driven == [None] * 4


def test_a_server_task_with_too_few_clients_says_so_and_they_leave() -> None:
    table = table_of()
    served, driven = asyncio.run(in_tasks(table, answering=table.names[:3], leg_timeout=BRIEF, timeout=2 * BRIEF))
    assert isinstance(served, TooFewClients)
    assert [type(error) for error in driven] == [DeadlinePassed] * 3
    assert all(table.clients[name].closed for name in table.names[:3])


def test_a_client_task_that_refuses_raises_what_was_wrong() -> None:
    table = table_of()
    table.clients["client-0002"] = table.new_client("client-0002", policy=Policy(min_survivors=5))
    served, driven = asyncio.run(in_tasks(table, answering=table.names, leg_timeout=SILENCE))
    assert isinstance(served, Aggregate)
    assert_exact(table, served, [name for name in table.names if name != "client-0002"])
    assert [type(error) for error in driven].count(Violation) == 1


class LostConnection:
    """A server's transport whose connection times out on its own."""

    async def send(self, client: ClientId, data: bytes) -> None:
        pass

    async def receive(self) -> tuple[str, bytes]:
        raise TimeoutError("the connection was lost")


def test_a_transports_own_timeout_is_not_the_deadline_of_a_leg() -> None:
    table = table_of()
    with pytest.raises(TimeoutError, match="connection was lost"):
        asyncio.run(arun_server(table.server, LostConnection(), leg_timeout=PATIENCE))


# The networks themselves.


def test_a_memory_network_keeps_order_and_names_the_sender() -> None:
    network = MemoryNetwork(["a", "b"])
    network.client("a").send(b"1")
    network.client("b").send(b"2")
    assert [network.server.receive(1.0), network.server.receive(1.0)] == [("a", b"1"), ("b", b"2")]
    assert network.server.receive(0.001) is None
    network.server.send(ClientId("b"), b"3")
    assert network.client("a").receive(0.001) is None
    assert network.client("b").receive(1.0) == b"3"


def test_an_async_network_keeps_order_and_names_the_sender() -> None:
    async def use() -> None:
        network = AsyncMemoryNetwork(["a", "b"])
        await network.client("a").send(b"1")
        await network.client("b").send(b"2")
        assert [await network.server.receive(), await network.server.receive()] == [("a", b"1"), ("b", b"2")]
        waiting = asyncio.ensure_future(network.client("b").receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await network.server.send(ClientId("b"), b"3")
        assert await network.client("b").receive() == b"3"  # a cancelled wait loses nothing

    asyncio.run(use())
