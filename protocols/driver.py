"""Drivers: they bring the clock and the transport to rounds that own neither.

    run_server(server_round, transport, leg_timeout=30)            -> Aggregate
    run_client(client_round, transport, make_input, timeout=300)   -> None

and the same two with an `a` in front for asyncio. Promise: a leg closes when everyone it can wait for has answered or
its time is up, whichever is first; a client that hears nothing for its timeout, or refuses what it hears, leaves
wiped; every end is a return or a typed error, never a hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from concurrent.futures import Executor

from protocols.errors import DeadlinePassed
from protocols.spending import Spending, settle_aborted
from protocols.transport import AsyncClientTransport, AsyncServerTransport, ClientTransport, ServerTransport
from secagg import (
    Aggregate,
    ClientRound,
    Event,
    Failed,
    Finished,
    Leg,
    MisuseError,
    NeedInput,
    Ring,
    RoundAborted,
    Send,
    ServerRound,
    StorageError,
)
from secagg.pairwise.outgoing import MaskSource
from secagg.round.events import Stream

Clock = Callable[[], float]


def run_server(
    round_: ServerRound,
    transport: ServerTransport,
    *,
    leg_timeout: float,
    executor: Executor | None = None,
    workers: int = 1,
    clock: Clock = time.monotonic,
    spending: Spending | None = None,
) -> Aggregate:
    """Drive a server's round to its aggregate.

    Args:
        round_: a round not yet started.
        transport: the server's end of the network.
        leg_timeout: seconds to wait for the slowest client of each leg.
        executor: threads to expand masks on, `workers` of them.
        workers: see `executor`.
        clock: monotonic seconds.
        spending: the server's privacy ledger and the recipe; the round is charged before it is offered.

    Raises:
        RoundAborted: a leg closed below its floor, or a secret could not be rebuilt.
        dp.BudgetExceeded: the ledger has no room for the round; nothing was sent.
        dp.LedgerError: the ledger cannot be used.
    """
    with _charged(round_, spending) as settle:
        events = round_.start()
        while not round_.ready:
            for send in _sends(events):
                if send.to is not None:
                    transport.send(send.to, bytes(send.data))
            deadline = clock() + leg_timeout
            while round_.waiting_for and (left := deadline - clock()) > 0:
                incoming = transport.receive(left)
                if incoming is not None:
                    round_.receive(*incoming)
            events = _checked(round_.close_leg())
        return settle(_aggregate(round_.recover(executor, workers=workers)))


def run_client(
    round_: ClientRound,
    transport: ClientTransport,
    make_input: Callable[[Ring], MaskSource],
    *,
    timeout: float,
    spending: Spending | None = None,
) -> None:
    """Drive a client's round to its end.

    Args:
        round_: a fresh round, or one just resumed whose events were sent.
        transport: the client's end of the network.
        make_input: called once with the round's ring, when the input is needed: train there, and return
            `recipe.encode(update, ..., ring=ring)`, under noise with `instructions=` as this round was made with.
        timeout: seconds of silence after which the client leaves.
        spending: this client's own privacy ledger and the recipe; the round is charged before make_input is called, or
            before an input leaves that was provided already.

    Raises:
        RemoteError: the server broke a rule; the round is closed and wiped.
        DeadlinePassed: the server said nothing in time; the round is closed and wiped.
        dp.BudgetExceeded: the ledger has no room for the round; the client left it.
        dp.LedgerError: the ledger cannot be used; the client left, or has done its part.
    """
    charged = False
    while True:
        data = transport.receive(timeout)
        if data is None:
            round_.abort()
            raise DeadlinePassed(f"no message of the server within {timeout} s; the client left the round")
        events = _checked(round_.receive(data))
        if (needed := _needed(events)) is not None:
            charged = True
            with _leaving(round_), _affording(round_, spending):
                events = _checked(round_.provide(make_input(needed.ring)))
        elif spending is not None and not charged and round_.leg >= Leg.MASK:
            charged = True  # the input was there before it was asked for; it is still here
            with _leaving(round_):
                spending.reserve(round_.config, resumed=round_.resumed)
        with contextlib.closing(_sends(events)) as sends:
            for send in sends:
                transport.send(bytes(send.data))
        if _is_finished(events):
            if spending is not None:
                spending.commit(round_.config, survivors=round_.confirmed)
            return


async def arun_server(
    round_: ServerRound,
    transport: AsyncServerTransport,
    *,
    leg_timeout: float,
    executor: Executor | None = None,
    workers: int = 1,
    spending: Spending | None = None,
) -> Aggregate:
    """Drive a server's round within asyncio; as `run_server`.

    The recovery runs in the default thread pool of the loop, so the loop stays free while masks are expanded.

    Raises:
        as `run_server`.
    """
    with _charged(round_, spending) as settle:
        events = round_.start()
        while not round_.ready:
            for send in _sends(events):
                if send.to is not None:
                    await transport.send(send.to, bytes(send.data))
            deadline = asyncio.timeout(leg_timeout)
            try:
                async with deadline:
                    while round_.waiting_for:
                        round_.receive(*await transport.receive())
            except TimeoutError:
                if not deadline.expired():
                    raise  # the transport's own; the deadline is an ordinary end of a leg: close_leg gives the verdict
            events = _checked(round_.close_leg())
        return settle(_aggregate(await asyncio.to_thread(round_.recover, executor, workers=workers)))


async def arun_client(
    round_: ClientRound,
    transport: AsyncClientTransport,
    make_input: Callable[[Ring], Awaitable[MaskSource]],
    *,
    timeout: float,  # seconds of silence between messages, not a bound on the whole call
    spending: Spending | None = None,
) -> None:
    """Drive a client's round within asyncio; as `run_client`.

    Raises:
        as `run_client`.
    """
    charged = False
    while True:
        deadline = asyncio.timeout(timeout)
        try:
            async with deadline:
                data = await transport.receive()
        except TimeoutError as error:
            round_.abort()
            if not deadline.expired():
                raise
            raise DeadlinePassed(f"no message of the server within {timeout} s; the client left the round") from error
        events = _checked(round_.receive(data))
        if (needed := _needed(events)) is not None:
            charged = True
            with _leaving(round_), _affording(round_, spending):
                events = _checked(round_.provide(await make_input(needed.ring)))
        elif spending is not None and not charged and round_.leg >= Leg.MASK:
            charged = True  # the input was there before it was asked for; it is still here
            with _leaving(round_):
                spending.reserve(round_.config, resumed=round_.resumed)
        with contextlib.closing(_sends(events)) as sends:
            for send in sends:
                await transport.send(bytes(send.data))
        if _is_finished(events):
            if spending is not None:
                spending.commit(round_.config, survivors=round_.confirmed)
            return


@contextlib.contextmanager
def _charged(round_: ServerRound, spending: Spending | None) -> Iterator[Callable[[Aggregate], Aggregate]]:
    """Charge a server's round before it begins, and settle the charge by how it ends.

    A round that ends in any other way than a sum or an abort keeps its reservation, which counts as spent.
    """
    if spending is None:
        yield lambda aggregate: aggregate
        return
    spending.reserve(round_.config)

    def settle(aggregate: Aggregate) -> Aggregate:
        spending.commit(round_.config, survivors=len(aggregate.survivors))
        return aggregate

    try:
        yield settle
    except RoundAborted:
        settle_aborted(spending, round_)
        raise


@contextlib.contextmanager
def _affording(round_: ClientRound, spending: Spending | None) -> Iterator[None]:
    """Charge a client's round before its input is made; lift the charge where none was, so that none can have left.

    After a failure of the store it is not known what is on the disk, so the charge stays.
    """
    if spending is None:
        yield
        return
    spending.reserve(round_.config, resumed=round_.resumed)
    try:
        yield
    except StorageError:
        raise
    except BaseException:
        spending.release(round_.config)
        raise


@contextlib.contextmanager
def _leaving(round_: ClientRound) -> Iterator[None]:
    """Leave the round, wiped, where the caller's own training fails."""
    try:
        yield
    except BaseException:
        round_.abort()
        raise


def _sends(events: tuple[Event, ...]) -> Generator[Send, None, None]:
    """What is to be sent, each message of a streamed input made when the one before it has left.

    Whoever stops in between closes this, and so the stream, whose keys are wiped with it.
    """
    for event in events:
        if isinstance(event, Send):
            yield event
        elif isinstance(event, Stream):
            with contextlib.closing(event.messages) as messages:
                yield from (Send(None, message) for message in messages)


def _needed(events: tuple[Event, ...]) -> NeedInput | None:
    return next((event for event in events if isinstance(event, NeedInput)), None)


def _is_finished(events: tuple[Event, ...]) -> bool:
    return any(isinstance(event, Finished) for event in events)


def _checked(events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Raise where the round failed; its error is typed already."""
    for event in events:
        if isinstance(event, Failed):
            raise event.error
    return events


def _aggregate(events: tuple[Event, ...]) -> Aggregate:
    for event in _checked(events):
        if isinstance(event, Finished) and event.aggregate is not None:
            return event.aggregate
    raise MisuseError("the round has no aggregate to return")
