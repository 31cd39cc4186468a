"""A client's round from outside: bytes in, events out; one answer a request, and the end of it after anything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pytest

from secagg import wire
from secagg.config import CHUNK_GRAIN
from secagg.errors import (
    ConfigError,
    InputError,
    MisuseError,
    RemoteError,
    StorageError,
    Unauthentic,
    Unexpected,
    Violation,
)
from secagg.pairwise.channel import TAG_SIZE
from secagg.pairwise.messages import FROM_CLIENT, FROM_SERVER, MaskedInput, RoundOffer, max_size
from secagg.plan import Plan
from secagg.policy import Policy
from secagg.ring import Words
from secagg.round.client import ClientRound
from secagg.round.events import Event, Failed, Finished, NeedInput, Send
from secagg.rules import Rule
from secagg.store import MemoryStore
from secagg.testing.plans import small_regular_plan
from secagg.testing.table import Table, VectorInput
from secagg.types import SERVER, Adversary, Leg

PLAN: Final = Plan.find(clients=5, max_dropped=1, max_corrupt=0)
SEMI_HONEST: Final = Plan.find(clients=5, max_dropped=1, max_corrupt=0, adversary=Adversary.SEMI_HONEST)
SPARSE: Final = small_regular_plan(clients=7, degree=4, threshold=3, max_dropped=1)
NAME: Final = "client-0002"
POSITION: Final = 2
REQUESTS: Final = ("RoundOffer", "Roster", "Inbox", "SurvivorSet", "UnmaskRequest")


def table_of(plan: Plan = PLAN, **arguments: Any) -> Table:
    inputs = np.arange(plan.clients * 9, dtype=np.uint32).reshape(plan.clients, 9) * 300_007
    return Table(plan, inputs, **arguments)


def sent(events: tuple[Event, ...]) -> list[bytes]:
    return [bytes(event.data) for event in events if isinstance(event, Send)]


def error_of(events: tuple[Event, ...]) -> RemoteError:
    (failed,) = events
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, RemoteError)
    return failed.error


def requests_of(plan: Plan = PLAN, **arguments: Any) -> dict[str, bytes]:
    """Every message that a client of a whole round is sent; tables of one label repeat each other exactly."""
    table, found = table_of(plan, **arguments), {}
    table.start()
    while table.outcome is None and not table.server.ready:
        for data in table.pending[NAME]:
            found[wire_name(data)] = data
        table.play_leg()
    return found


def wire_name(data: bytes) -> str:
    kinds = {kind.KIND: kind.__name__ for kind in (*FROM_SERVER, *FROM_CLIENT)}
    return kinds[data[4]]


MESSAGES: Final = requests_of()


def walk(client: ClientRound, source: VectorInput, messages: dict[str, bytes]) -> Iterator[tuple[str, list[bytes]]]:
    """Hand a client its messages in order, and yield each with what it answers."""
    for name in REQUESTS:
        events = client.receive(messages[name])
        if any(isinstance(event, NeedInput) for event in events):
            events = client.provide(source)
        assert not any(isinstance(event, Failed) for event in events)
        yield name, sent(events)


def after(due: int, **arguments: Any) -> tuple[Table, ClientRound]:
    """A table at which one client has answered its first `due` requests."""
    table = table_of(**arguments)
    client = table.clients[NAME]
    for _ in zip(range(due), walk(client, table.input_of(NAME), MESSAGES), strict=False):
        pass
    return table, client


# A whole round.


def test_a_round_is_five_requests_and_five_answers() -> None:
    table = table_of()
    client = table.clients[NAME]
    assert (client.leg, client.closed) == (Leg.OFFER, False)
    answered = []
    legs = []
    for name, answers in walk(client, table.input_of(NAME), MESSAGES):
        answered.append((name, [wire_name(answer) for answer in answers]))
        legs.append(client.leg)
    assert answered == [
        ("RoundOffer", ["KeyAdvert"]),
        ("Roster", ["SealedShares"]),
        ("Inbox", ["MaskedInput"]),
        ("SurvivorSet", ["SurvivorSignature"]),
        ("UnmaskRequest", ["UnmaskShares"]),
    ]
    assert legs[:-1] == [Leg.ADVERTISE, Leg.SHARE, Leg.MASK, Leg.CONFIRM]
    assert client.closed


def test_the_inbox_asks_for_the_input_and_the_last_answer_comes_with_the_end() -> None:
    table = table_of()
    client = table.clients[NAME]
    for name in REQUESTS[:2]:
        client.receive(MESSAGES[name])
    assert [type(event) for event in client.receive(MESSAGES["Inbox"])] == [NeedInput]
    client.provide(table.input_of(NAME))
    client.receive(MESSAGES["SurvivorSet"])
    last = client.receive(MESSAGES["UnmaskRequest"])
    assert [type(event) for event in last] == [Send, Finished]
    assert last[1] == Finished(None)
    assert repr(client) == f"<ClientRound {NAME}, offer, closed>"


def test_where_no_quorum_is_needed_the_confirmation_stays_at_home() -> None:
    table = table_of(SEMI_HONEST)
    table.advance(Leg.UNMASK)
    pending = table.pending.pop(NAME)
    assert [wire_name(data) for data in pending] == ["SurvivorSet", "UnmaskRequest"]
    client = table.clients[NAME]
    assert client.receive(pending[0]) == ()
    assert [type(event) for event in client.receive(pending[1])] == [Send, Finished]
    assert client.receive(pending[0]) == ()


@pytest.mark.parametrize("plan", [PLAN, SEMI_HONEST, SPARSE], ids=["active", "semi-honest", "sparse"])
def test_a_round_of_three_chunks_is_exact(plan: Plan) -> None:
    rng = np.random.default_rng(3)
    inputs = rng.integers(0, 2**20, (plan.clients, 2 * CHUNK_GRAIN + 5), dtype=np.uint32)
    table = Table(plan, inputs, bits=20, chunk_words=CHUNK_GRAIN)
    aggregate = table.finish()
    assert np.array_equal(aggregate.values, table.expected(table.names))


def test_a_chunk_carries_its_number_and_the_report_travels_with_the_first() -> None:
    table = Table(PLAN, np.zeros((5, 2 * CHUNK_GRAIN + 5), dtype=np.uint32), chunk_words=CHUNK_GRAIN)
    table.advance(Leg.MASK)
    bodies = []
    for data in table.deliver(NAME):
        envelope = wire.open_envelope(data, max_size=max_size(MaskedInput, table.config), tag_size=TAG_SIZE)
        message = wire.decode_body(MaskedInput, envelope.body)
        bodies.append((message.chunk, message.unopened, len(envelope.tail)))
    assert bodies == [(0, b"\0", 4 * CHUNK_GRAIN), (1, b"", 4 * CHUNK_GRAIN), (2, b"", 20)]


# Repeats.


def test_an_identical_repeat_gets_identical_bytes_also_after_the_end() -> None:
    table = table_of(keep_input=True)
    client = table.clients[NAME]
    given: dict[str, list[bytes]] = {}
    for name, answers in walk(client, table.input_of(NAME), MESSAGES):
        given[name] = answers
        for earlier, before in given.items():
            assert sent(client.receive(MESSAGES[earlier])) == before, (name, earlier)
            assert sent(client.receive(bytes(bytearray(MESSAGES[earlier])))) == before
    assert client.closed


def test_a_repeated_inbox_asks_again_until_the_input_is_there() -> None:
    client = table_of().clients[NAME]
    for name in REQUESTS[:3]:
        client.receive(MESSAGES[name])
    assert [type(event) for event in client.receive(MESSAGES["Inbox"])] == [NeedInput]


def test_without_keeping_the_input_a_repeated_inbox_is_a_drop_out() -> None:
    _, client = after(3)
    error = error_of(client.receive(MESSAGES["Inbox"]))
    assert isinstance(error, Unexpected)
    assert error.rule is Rule.WIRE_ORDER
    assert client.closed


def test_a_repeat_draws_no_second_secret_and_uses_no_second_number() -> None:
    store = MemoryStore()
    client = table_of(stores={NAME: store}).clients[NAME]
    client.receive(MESSAGES["RoundOffer"])
    before = tuple(store.records())
    client.receive(MESSAGES["RoundOffer"])
    assert tuple(store.records()) == before


# Everything else ends the round.

EVERY_PAIR: Final = [(due, other) for due in range(5) for other in REQUESTS if REQUESTS.index(other) > due]


@pytest.mark.parametrize(("due", "other"), EVERY_PAIR, ids=str)
def test_a_message_of_a_later_leg_ends_the_round(due: int, other: str) -> None:
    _, client = after(due)
    leg = client.leg
    error = error_of(client.receive(MESSAGES[other]))
    assert error.rule in (Rule.WIRE_ORDER, Rule.WIRE_SIZE)  # some are longer than the one that is due can be
    assert not isinstance(error, Unexpected) or error.got == other
    assert (error.peer, error.leg) == (None, leg)
    assert_left(client)


@pytest.mark.parametrize("due", range(5))
def test_another_message_of_an_answered_leg_ends_the_round(due: int) -> None:
    others = requests_of(label="another server")
    _, client = after(due + 1)
    if due == 4:
        with pytest.raises(MisuseError, match="closed"):
            client.receive(others[REQUESTS[due]])
        return
    error_of(client.receive(others[REQUESTS[due]]))
    assert_left(client)


def test_a_message_while_the_input_is_missing_ends_the_round() -> None:
    client = table_of().clients[NAME]
    for name in REQUESTS[:3]:
        client.receive(MESSAGES[name])
    error = error_of(client.receive(MESSAGES["SurvivorSet"]))
    assert isinstance(error, Unexpected)
    assert_left(client)


def assert_left(client: ClientRound) -> None:
    """Closed, its record gone, its secrets wiped; and it answers nothing any more."""
    assert client.closed
    assert tuple(client._journal.entries()) == ()
    assert client._phase is None
    if client._root is not None:
        with pytest.raises(MisuseError, match="wiped"):
            client._root.reveal()
    for data in MESSAGES.values():
        with pytest.raises(MisuseError, match="closed"):
            client.receive(data)
    with pytest.raises(MisuseError, match="closed"):
        client.provide(VectorInput(np.zeros(9, dtype=np.uint32), bits=20))


def altered(
    data: bytes, *, config_digest: bytes | None = None, sender: int = SERVER, magic: bytes = wire.MAGIC
) -> bytes:
    given = data[5:37] if config_digest is None else config_digest
    return magic + data[4:5] + given + sender.to_bytes(4, "big") + data[41:]


TAMPERED: Final[dict[str, tuple[Callable[[bytes], bytes], Rule]]] = {
    "another magic": (lambda data: altered(data, magic=b"SAG1"), Rule.WIRE_FORMAT),
    "of another round": (lambda data: altered(data, config_digest=bytes(32)), Rule.WIRE_ROUND),
    "of a client": (lambda data: altered(data, sender=0), Rule.WIRE_SENDER),
    "an unknown kind": (lambda data: data[:4] + b"\x7f" + data[5:], Rule.WIRE_ORDER),
    "too long": (lambda data: data + bytes(10**7), Rule.WIRE_SIZE),
    "nothing": (lambda data: b"", Rule.WIRE_FORMAT),
    "a torn one": (lambda data: data[:44], Rule.WIRE_FORMAT),
}


@pytest.mark.parametrize("due", range(5), ids=REQUESTS)
@pytest.mark.parametrize(("change", "rule"), TAMPERED.values(), ids=TAMPERED)
def test_a_tampered_message_ends_the_round(due: int, change: Callable[[bytes], bytes], rule: Rule) -> None:
    _, client = after(due)
    error = error_of(client.receive(change(MESSAGES[REQUESTS[due]])))
    assert error.rule is rule
    assert_left(client)


@pytest.mark.parametrize("due", range(1, 5), ids=REQUESTS[1:])
def test_a_message_whose_tag_is_not_the_channels_ends_the_round(due: int) -> None:
    for bit in (0, 8 * (TAG_SIZE - 1)):
        _, client = after(due)
        data = bytearray(MESSAGES[REQUESTS[due]])
        data[-1 - bit // 8] ^= 1
        error = error_of(client.receive(bytes(data)))
        assert isinstance(error, Unauthentic)
        assert error.rule is Rule.WIRE_TAG


def test_bytes_behind_a_message_are_refused() -> None:
    client = table_of().clients[NAME]
    error = error_of(client.receive(MESSAGES["RoundOffer"] + b"\0"))
    assert error.rule is Rule.WIRE_FORMAT


def test_the_message_of_another_client_is_refused() -> None:
    table = table_of()
    table.advance(Leg.MASK)
    error = error_of(table.clients[NAME].receive(table.pending["client-0003"][0]))
    assert error.rule is Rule.WIRE_TAG


def test_an_offer_that_the_policy_refuses_uses_no_number() -> None:
    store = MemoryStore()
    client = table_of().new_client(NAME, store, policy=Policy(min_survivors=6))
    assert error_of(client.receive(MESSAGES["RoundOffer"])).rule is Rule.OFFER_POLICY
    assert store.last_round(bytes(16)) == 0


# Input.


def test_an_input_can_be_there_before_it_is_asked_for() -> None:
    late, early = table_of(), table_of()
    client = early.clients[NAME]
    assert client.provide(early.input_of(NAME)) == ()
    for name, answers in walk(late.clients[NAME], late.input_of(NAME), MESSAGES):
        assert sent(client.receive(MESSAGES[name])) == answers


@pytest.mark.parametrize("due", range(6))
def test_an_input_is_provided_once(due: int) -> None:
    table, client = after(due)
    if due < 3:
        client.provide(table.input_of(NAME))
    with pytest.raises(MisuseError, match="closed" if due == 5 else "one round masks one input"):
        client.provide(table.input_of(NAME))
    assert client.closed is (due == 5)


@pytest.mark.parametrize("length", [0, 8, 10])
def test_an_input_of_another_length_is_our_own_mistake(length: int) -> None:
    table = table_of()
    client = table.clients[NAME]
    with pytest.raises(MisuseError, match=f"length 9, got {length}"):
        client.provide(VectorInput(np.zeros(length, dtype=np.uint32)))
    assert client.provide(table.input_of(NAME)) == ()


class BadInput(VectorInput):
    """An input whose words do not fit."""

    def read(self, start: int, stop: int) -> Words:
        words = super().read(start, stop)
        words[-1] = 2**24
        return words


@pytest.mark.parametrize("early", [False, True])
def test_an_input_outside_the_ring_leaves_the_round_open_for_a_right_one(
    early: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    messages = requests_of(bits=24)
    table = table_of(bits=24)
    client, right = table.clients[NAME], table.input_of(NAME)
    bad = BadInput(np.zeros(9, dtype=np.uint32), bits=24)
    if early:
        client.provide(bad)
    for name in REQUESTS[:2]:
        client.receive(messages[name])
    if early:
        with pytest.raises(InputError, match="not below the ring"):
            client.receive(messages["Inbox"])
    else:
        assert [type(event) for event in client.receive(messages["Inbox"])] == [NeedInput]
        with pytest.raises(InputError, match="not below the ring"):
            client.provide(bad)
    assert [type(event) for event in client.receive(messages["Inbox"])] == [NeedInput]
    assert [wire_name(answer) for answer in sent(client.provide(right))] == ["MaskedInput"]


def test_the_input_is_read_only_after_the_inbox_is_open() -> None:
    table = table_of()
    client = table.clients[NAME]
    reads: list[tuple[int, int]] = []

    class Watched(VectorInput):
        def read(self, start: int, stop: int) -> Words:
            reads.append((start, stop))
            return super().read(start, stop)

    client.provide(Watched(table.inputs[POSITION]))
    for name in REQUESTS[:2]:
        client.receive(MESSAGES[name])
    assert not reads
    client.receive(MESSAGES["Inbox"])
    assert reads == [(0, 9)]


# Our own mistakes.


def test_a_name_that_is_none_makes_no_round() -> None:
    for name in ("", "a b", "x" * 65):
        with pytest.raises(ConfigError, match="client id"):
            table_of().new_client(NAME, client=name)


def test_leaving_wipes_and_erases_and_twice_is_harmless() -> None:
    table = table_of()
    client = table.clients[NAME]
    client.receive(MESSAGES["RoundOffer"])
    client.abort()
    client.abort()
    assert_left(client)


@pytest.mark.parametrize("due", range(5))
def test_a_client_can_leave_at_any_time(due: int) -> None:
    store = MemoryStore()
    _, client = after(due, stores={NAME: store})
    client.abort()
    assert_left(client)
    assert store.last_round(bytes(16)) == (1 if due else 0)


def test_resuming_comes_first() -> None:
    client = table_of().clients[NAME]
    client.receive(MESSAGES["RoundOffer"])
    with pytest.raises(MisuseError, match="resume"):
        client.resume()
    client.abort()
    with pytest.raises(MisuseError, match="resume"):
        client.resume()


def test_an_open_record_is_resumed_or_erased_never_written_over() -> None:
    store = MemoryStore()
    table = table_of(stores={NAME: store})
    table.clients[NAME].receive(MESSAGES["RoundOffer"])
    before = tuple(store.records())
    with pytest.raises(MisuseError, match="resume"):
        table.new_client(NAME, store).receive(MESSAGES["RoundOffer"])
    assert tuple(store.records()) == before


# A store that fails.


class FailingStore(MemoryStore):
    """A store whose operations fail from the `count`-th on."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left = count

    def _use(self) -> None:
        if self.left == 0:
            raise StorageError("the disk is full")
        self.left -= 1

    def reserve(self, session: bytes, number: int) -> None:
        self._use()
        super().reserve(session, number)

    def append(self, record: bytes) -> None:
        self._use()
        super().append(record)


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("count", range(12))
def test_a_record_that_cannot_be_written_ends_the_round_unanswered(
    count: int,
    early: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    whole = table_of()
    expected = [answers for _, answers in walk(whole.clients[NAME], whole.input_of(NAME), MESSAGES)]
    store = FailingStore(count)
    table = table_of(stores={NAME: store})
    client = table.clients[NAME]
    if early:
        client.provide(table.input_of(NAME))
    answered: list[list[bytes]] = []
    rest = walk(client, table.input_of(NAME), MESSAGES)
    with pytest.raises(StorageError, match="full"):
        answered.extend(answers for _, answers in rest)
    # Operations: number, secret, then request and answer of each leg; the input stands for the inbox's answer.
    assert len(answered) == max(0, count - 2) // 2
    assert answered == expected[: len(answered)]
    store.left = -1
    assert_left(client)


def test_a_round_needs_twelve_records() -> None:
    store = FailingStore(12)
    table = table_of(stores={NAME: store})
    assert len(list(walk(table.clients[NAME], table.input_of(NAME), MESSAGES))) == 5
    assert store.left == 0


def test_a_round_leaves_no_record_behind() -> None:
    store = MemoryStore()
    table = table_of(stores={NAME: store})
    for _ in walk(table.clients[NAME], table.input_of(NAME), MESSAGES):
        assert table.clients[NAME].closed or tuple(store.records())
    assert tuple(store.records()) == ()
    assert store.last_round(bytes(16)) == 1


# Round numbers.


@pytest.mark.parametrize("number", [1, 4, 5])
def test_a_number_at_or_below_the_last_one_is_refused(number: int) -> None:
    store = MemoryStore()
    store.reserve(bytes(16), 5)
    table = table_of(stores={NAME: store}, number=number)
    table.start()
    error = error_of(table.clients[NAME].receive(table.pending[NAME][0]))
    assert isinstance(error, Violation)
    assert error.rule is Rule.OFFER_FRESH


def test_a_number_above_the_last_one_is_served_and_then_used() -> None:
    store = MemoryStore()
    store.reserve(bytes(16), 5)
    table = table_of(stores={NAME: store}, number=9)
    table.finish()
    assert store.last_round(bytes(16)) == 9


def test_an_offer_is_the_only_message_without_a_tag() -> None:
    data = MESSAGES["RoundOffer"]
    envelope = wire.open_envelope(data, max_size=len(data))
    assert not len(envelope.tail)
    offer = wire.decode_body(RoundOffer, envelope.body)
    assert offer.invited == table_of().names
    assert envelope.config_digest == table_of().config.digest
