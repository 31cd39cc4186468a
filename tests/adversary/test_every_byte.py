"""Every byte of every message, and every message at the wrong time: refused by name, and nothing has changed.

A server that refused comes to the exact sum afterwards. A client that refused is closed and wiped and has erased its
record. Whoever can write valid tags, and changes the bytes under them, gets a typed answer too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

import numpy as np
import pytest

from protocols.faults import flip
from secagg.errors import Malformed, MisuseError, RoundAborted, Unauthentic, Unexpected, Violation
from secagg.pairwise.channel import TAG_SIZE
from secagg.pairwise.messages import FROM_CLIENT, FROM_SERVER, NAMES, KeyAdvert
from secagg.plan import Plan
from secagg.primitives.suite import PUBLIC_KEY_SIZE
from secagg.round.client import ClientRound
from secagg.round.events import Events, Failed, Finished, NeedInput, Rejected, Send
from secagg.rules import Rule
from secagg.store import MemoryStore
from secagg.testing.strategies import LEGS
from secagg.testing.table import Table
from secagg.types import Leg
from secagg.wire import HEADER_SIZE, open_envelope
from tests.support.liars import LyingClient, LyingServer
from tests.support.whitebox import round_secrets_of, unwiped

PLAN = Plan.find(clients=3, max_dropped=0, max_corrupt=0)
BITS = 20  # five words end inside a byte
NAME = "client-0001"

REFUSALS = Malformed | Unexpected | Unauthentic | Violation


def new_table(plan: Plan = PLAN) -> Table:
    inputs = np.random.default_rng(3).integers(0, 1 << BITS, (plan.clients, 5), dtype=np.uint32)
    return Table(plan, inputs, bits=BITS)


def recorded() -> LyingServer:
    """A whole round on tape; the fixed entropy repeats it byte for byte."""
    server = LyingServer(new_table())
    server.play(Leg.UNMASK)
    return server


TAPE: Final = recorded()
TOLD: Final = TAPE.told[1]
"""What client 1 is told in the round, by the leg it then answers: the offer is TOLD[Leg.ADVERTISE]."""
SAID: Final = TAPE.heard[1]
"""What client 1 answers, by leg."""


def tampered(data: bytes) -> Iterator[bytes]:
    """One bit of every byte flipped, every bit of the first and last byte, every cut, and some additions."""
    for position in range(len(data)):
        yield flip(data, 8 * position + position % 8)
    for bit in range(8):
        yield flip(data, bit)
        yield flip(data, 8 * len(data) - 1 - bit)
    for length in range(len(data)):
        yield data[:length]
    for more in (b"\0", b"\xff", data[:1], data, bytes(TAG_SIZE)):
        yield data + more
        yield more + data


def waiting_client(leg: Leg) -> tuple[ClientRound, MemoryStore]:
    """Client 1, having answered `leg` and waiting for what comes next."""
    store = MemoryStore()
    client = new_table().new_client(NAME, store)
    for data in TOLD[: leg + 1]:
        take(client, data)
    return client, store


def take(client: ClientRound, data: bytes) -> Events:
    events = client.receive(data)
    needed = any(isinstance(event, NeedInput) for event in events)
    return client.provide(TAPE.table.input_of(NAME)) if needed else events


def assert_left(client: ClientRound, store: MemoryStore, events: Events) -> Rule:
    """The client is out of the round, and nothing of it is left; returns the rule it left by."""
    (event,) = events
    assert isinstance(event, Failed)
    assert isinstance(event.error, REFUSALS)
    assert client.closed
    assert not unwiped(round_secrets_of(client))
    assert not list(store.records())
    return event.error.rule


# Tampering on the way.


@pytest.mark.parametrize("leg", LEGS, ids=lambda leg: FROM_CLIENT[leg].__name__)
def test_a_server_refuses_every_tampered_answer_and_comes_to_the_exact_sum(leg: Leg) -> None:
    table = new_table()
    table.advance(leg)
    answers = {name: table.deliver(name) for name in table.names}
    (genuine,) = answers[NAME]
    assert genuine == SAID[leg]
    state = table.server.waiting_for
    for data in tampered(genuine):
        (event,) = table.submit(NAME, data)
        assert isinstance(event, Rejected)
        assert isinstance(event.error, REFUSALS)
        assert table.server.waiting_for == state
    for name, (answer,) in answers.items():
        assert table.submit(name, answer) == ()
    table.close()
    assert np.array_equal(table.finish().values, table.expected(table.names))


@pytest.mark.parametrize("leg", [leg for leg in LEGS if leg > Leg.ADVERTISE], ids=lambda leg: FROM_SERVER[leg].__name__)
def test_a_client_leaves_over_every_tampered_request(leg: Leg) -> None:
    for data in tampered(TOLD[leg]):
        client, store = waiting_client(Leg(leg - 1))
        held = round_secrets_of(client)
        assert_left(client, store, client.receive(data))
        assert not unwiped(held)


def test_a_client_leaves_over_every_tampered_offer_or_over_what_follows() -> None:
    """The offer has no tag yet. What does not show at once is the server's key, and then no tag of this server fits."""
    genuine = TOLD[Leg.ADVERTISE]
    end = HEADER_SIZE + len(open_envelope(genuine, max_size=len(genuine)).body)
    assert end < len(genuine)  # and behind it stands a gap, in which nothing may change
    key = end - PUBLIC_KEY_SIZE  # the last field
    late = set()
    for data in tampered(genuine):
        client, store = waiting_client(Leg.OFFER)
        events = client.receive(data)
        if isinstance(events[0], Send):
            assert len(data) == len(genuine)
            late |= {place for place, (one, other) in enumerate(zip(data, genuine, strict=True)) if one != other}
            assert bytes(events[0].data) == SAID[Leg.ADVERTISE]
            events = client.receive(TOLD[Leg.SHARE])
            assert assert_left(client, store, events) is Rule.WIRE_TAG
        else:
            assert_left(client, store, events)
    assert late == set(range(key, end))


# Changed by someone who can write tags.


def content(untagged: bytes, tag_size: int) -> set[int]:
    """Where a message says more than how it is to be read: its body and its tail, but not header and gap."""
    envelope = open_envelope(untagged + bytes(tag_size), max_size=len(untagged) + tag_size, tag_size=tag_size)
    body, tail = len(envelope.body), len(envelope.tail)
    return {*range(HEADER_SIZE, HEADER_SIZE + body), *range(len(untagged) - tail, len(untagged))}


@pytest.mark.parametrize("leg", [leg for leg in LEGS if leg > Leg.ADVERTISE], ids=lambda leg: FROM_SERVER[leg].__name__)
def test_a_client_takes_or_refuses_by_name_whatever_a_lying_server_tags(leg: Leg) -> None:
    genuine = TOLD[leg][:-TAG_SIZE]
    for position in range(len(genuine)):
        data = flip(genuine, 8 * position + (position + 3) % 8)
        client, store = waiting_client(Leg(leg - 1))
        events = take(client, data + TAPE.tag(NAME, data[4], data))
        if isinstance(events[0], Failed):
            assert_left(client, store, events)
        else:
            assert position in content(genuine, TAG_SIZE)
            assert leg in {Leg.MASK, Leg.CONFIRM}  # another box, which is reported, or another set of survivors


@pytest.mark.parametrize("leg", LEGS, ids=lambda leg: FROM_CLIENT[leg].__name__)
def test_a_server_takes_or_refuses_by_name_whatever_a_lying_client_tags(leg: Leg) -> None:
    """What it takes is garbage of the right form; the round then ends as rounds end."""
    genuine = SAID[leg] if leg is Leg.ADVERTISE else SAID[leg][:-TAG_SIZE]
    refused = 0
    table = at_leg(leg)
    for position in range(len(genuine)):
        data = flip(genuine, 8 * position + (position + 5) % 8)
        kind = FROM_CLIENT[leg]
        tag = b"" if kind is KeyAdvert else LyingClient(table, NAME).tag(data[4], data)
        events = table.submit(NAME, data + tag)
        if events:
            (event,) = events
            assert isinstance(event, Rejected)
            assert isinstance(event.error, REFUSALS)
            refused += 1
        else:
            assert position in content(genuine, 0 if leg is Leg.ADVERTISE else TAG_SIZE)
            assert_ends(table)
            table = at_leg(leg)
    assert refused >= HEADER_SIZE
    if leg in {Leg.ADVERTISE, Leg.CONFIRM}:  # signed through and through
        assert refused == len(genuine)


def at_leg(leg: Leg) -> Table:
    table = new_table()
    table.advance(leg)
    return table


def assert_ends(table: Table) -> None:
    """Client 1 has answered; everyone else does, and the round ends with a sum or with a typed reason."""
    for name in table.names:
        for answer in table.deliver(name):
            table.submit(name, answer)
    table.close()
    with contextlib.suppress(RoundAborted):
        table.finish()
    assert isinstance(table.outcome, Finished | Failed)


# The wrong time.

GENUINE: Final = {kind.__name__: TOLD[leg] for leg, kind in zip(LEGS, FROM_SERVER, strict=True)} | {
    kind.__name__: SAID[leg] for leg, kind in zip(LEGS, FROM_CLIENT, strict=True)
}
EXPECTED: Final = {Leg(leg - 1): FROM_SERVER[leg].__name__ for leg in LEGS}


@pytest.mark.parametrize("kind", GENUINE)
@pytest.mark.parametrize("answered", EXPECTED, ids=lambda leg: f"after {leg.name.lower()}")
def test_a_client_takes_only_the_message_it_waits_for(answered: Leg, kind: str) -> None:
    client, store = waiting_client(answered)
    held = round_secrets_of(client)
    data = GENUINE[kind]
    events = take(client, data)
    if kind == EXPECTED[answered]:
        assert not isinstance(events[0], Failed)
    elif data in TOLD[: answered + 1] and kind != "Inbox":
        assert [bytes(event.data) for event in events if isinstance(event, Send)] == [SAID[TOLD.index(data)]]
        assert not client.closed
    else:  # the inbox among them: its answer is not kept
        assert assert_left(client, store, events) is Rule.WIRE_ORDER
        assert not unwiped(held)


@pytest.mark.parametrize("kind", [kind for kind in GENUINE if kind != "Inbox"])
def test_a_client_whose_input_is_missing_takes_nothing_new(kind: str) -> None:
    """Between opening its boxes and masking it waits for its own caller, not for the server."""
    client, store = waiting_client(Leg.SHARE)
    (event,) = client.receive(TOLD[Leg.MASK])
    assert isinstance(event, NeedInput)
    held = round_secrets_of(client)
    events = client.receive(GENUINE[kind])
    if kind in {"RoundOffer", "Roster"}:
        assert not client.closed
    else:
        assert assert_left(client, store, events) is Rule.WIRE_ORDER
        assert not unwiped(held)


@pytest.mark.parametrize("kind", GENUINE)
def test_a_finished_client_repeats_its_answers_and_takes_nothing_else(kind: str) -> None:
    client, store = waiting_client(Leg.UNMASK)
    assert client.closed
    assert not unwiped(round_secrets_of(client))
    assert not list(store.records())
    data = GENUINE[kind]
    if data in TOLD and kind != "Inbox":
        sent = [bytes(event.data) for event in client.receive(data) if isinstance(event, Send)]
        assert sent == [SAID[TOLD.index(data)]]
    else:
        with pytest.raises(MisuseError):
            client.receive(data)


@pytest.mark.parametrize("kind", GENUINE)
def test_a_client_that_left_takes_nothing(kind: str) -> None:
    client, _ = waiting_client(Leg.CONFIRM)
    client.abort()
    with pytest.raises(MisuseError):
        client.receive(GENUINE[kind])


@pytest.mark.parametrize("kind", GENUINE)
@pytest.mark.parametrize("leg", LEGS, ids=lambda leg: f"collecting {leg.name.lower()}")
def test_a_server_takes_only_the_message_it_collects(leg: Leg, kind: str) -> None:
    """Before the sender's honest answer and after it, so that a second answer is tried as well."""
    table = at_leg(leg)
    answers = {name: table.deliver(name) for name in table.names}
    for answered in (False, True):
        if kind != FROM_CLIENT[leg].__name__ or answered:
            (event,) = table.submit(NAME, GENUINE[kind])
            assert isinstance(event, Rejected)
            assert event.error.rule is Rule.WIRE_ORDER
        if not answered:
            for name, (answer,) in answers.items():
                assert table.submit(name, answer) == ()
    table.close()
    assert np.array_equal(table.finish().values, table.expected(table.names))


@pytest.mark.parametrize("kind", GENUINE)
def test_a_server_takes_nothing_before_the_round_starts_or_after_it_ends(kind: str) -> None:
    table = new_table()
    for _ in range(2):
        (event,) = table.submit(NAME, GENUINE[kind])
        assert isinstance(event, Rejected)
        assert event.error.rule is Rule.WIRE_ORDER
        total = table.finish() if table.outcome is None else None
        assert total is None or np.array_equal(total.values, table.expected(table.names))
    assert table.server.waiting_for == frozenset()


def test_every_kind_of_message_is_among_those_played() -> None:
    assert set(GENUINE) == set(NAMES.values())
