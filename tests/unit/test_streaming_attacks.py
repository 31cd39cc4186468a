"""What somebody would try against an input that leaves message by message, and what becomes of it.

No mask may cover two inputs, no secret may outlive its use, no part of an input may count, and nothing may be believed
of a source, an array, a spool or an offer that was not looked at in time.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp import Budget, Ledger, MemoryStorage, Neighboring, Skellam
from protocols import Recipe, drop
from protocols.simulate import Party, play_round
from secagg import (
    Adversary,
    ConfigError,
    Identity,
    InputError,
    Layout,
    MemoryStore,
    MisuseError,
    Plan,
    Policy,
    Ring,
    StorageError,
    wire,
)
from secagg.config import CHUNK_GRAIN, _Fields
from secagg.errors import RemoteError, Violation
from secagg.fixedpoint import FixedPoint
from secagg.pairwise import checks, keys
from secagg.pairwise.keys import pairwise_mask_key
from secagg.pairwise.messages import RoundOffer
from secagg.pairwise.outgoing import InstructedSource, MaskedMessages, MaskSource
from secagg.primitives.secret import Secret
from secagg.round.client import ClientRound
from secagg.round.events import Event, Failed, NeedInput, Rejected, Send, Stream
from secagg.round.journal import Journal, Kind
from secagg.rules import Rule
from secagg.slot import Slot
from secagg.store import MemorySpool
from secagg.testing.plans import UncertifiedPlan
from secagg.testing.table import Table, VectorInput, Words
from secagg.types import Leg
from tests.support.whitebox import is_wiped, round_secrets_of, unwiped

PLAN: Final = Plan.find(clients=4, max_dropped=1, max_corrupt=0)
BITS: Final = 27
CHUNKS: Final = 3
LENGTH: Final = (CHUNKS - 1) * CHUNK_GRAIN + 77
NAME: Final = "client-0001"


class Ramp:
    """An input of 0, 1, 2, ... that remembers what was asked of it."""

    ring = Ring(BITS)

    def __init__(self, length: int = LENGTH) -> None:
        self.length = length
        self.asked: list[tuple[int, int]] = []

    def read(self, start: int, stop: int) -> Words:
        self.asked.append((start, stop))
        return np.arange(start, stop, dtype=np.uint32)


class Hooked(Ramp):
    """A ramp that does something of its own once, when a coordinate is asked for."""

    def __init__(self, hook: Callable[[], object], *, at: int = 0, length: int = LENGTH) -> None:
        super().__init__(length)
        self._hook: Callable[[], object] | None = hook
        self._at = at

    def read(self, start: int, stop: int) -> Words:
        words = super().read(start, stop)
        if start <= self._at < stop and self._hook is not None:
            hook, self._hook = self._hook, None
            hook()
        return words


class Uploads(Table):
    """A table whose inputs are ramps of three chunks, and whose clients stream them."""

    def __init__(self, length: int = LENGTH, **arguments: object) -> None:
        inputs = np.broadcast_to(np.arange(length, dtype=np.uint32), (PLAN.clients, length))
        super().__init__(PLAN, inputs, bits=BITS, **arguments)  # type: ignore[arg-type]  # exactly Table's
        for name in self.names:
            self.clients[name] = self.new_client(name, stream=True)

    def input_of(self, name: str) -> VectorInput:
        del name
        return Ramp(self.config.length)  # type: ignore[return-value]  # a MaskSource, which is all that is asked

    def open(self, name: str = NAME) -> ClientRound:
        """Hand a client its inbox."""
        client = self.clients[name]
        (data,) = self.pending.pop(name)
        assert [type(event) for event in client.receive(data)] == [NeedInput]
        return client

    def outgoing(self, name: str = NAME, source: MaskSource | None = None) -> Iterator[bytearray]:
        """Hand a client its inbox and its input; nothing is made yet."""
        return stream_of(self.open(name).provide(self.input_of(name) if source is None else source))

    def upload(self, names: list[str]) -> None:
        for name in names:
            for message in self.outgoing(name):
                assert self.submit(name, bytes(message)) == ()

    def others(self, *names: str) -> list[str]:
        return [name for name in self.names if name not in (names or (NAME,))]


def at_masking(length: int = LENGTH, **arguments: object) -> Uploads:
    table = Uploads(length, **arguments)
    table.advance(Leg.MASK)
    return table


def stream_of(events: tuple[Event, ...]) -> Iterator[bytearray]:
    (event,) = events
    assert isinstance(event, Stream)
    return event.messages


def refused(events: tuple[Event, ...]) -> Rule:
    """The rule by which a client left, or a server refused."""
    (event,) = events
    assert isinstance(event, Failed | Rejected)
    assert isinstance(event.error, RemoteError)
    return event.error.rule


def mask_keys_of(client: ClientRound) -> list[Secret]:
    assert isinstance(client._outgoing, MaskedMessages)
    return [key for side in client._outgoing._masks for key in side]


def ramp_sum(clients: int) -> list[int]:
    return [clients * value for value in range(LENGTH)]


# No chunk is made twice.


def exhaust(messages: Iterator[object]) -> None:
    """Ask until there is an end, of whichever kind."""
    collections.deque(messages, maxlen=0)


def messages_from(source: Ramp, made: list[int]) -> MaskedMessages:
    """The messages of a round of three chunks under keys of zeros; `made` hears each chunk that is made."""
    return MaskedMessages(
        source,
        config=Uploads().config,
        plus=[Secret(bytes(28))],
        minus=[Secret(bytes(28))],
        fronts=[b"front"] * CHUNKS,
        seal=lambda index, _: made.append(index),
    )


def test_a_source_that_asks_for_messages_meanwhile_has_no_chunk_made_twice() -> None:
    made: list[int] = []
    messages = messages_from(Hooked(lambda: next(messages)), made)
    exhaust(messages)
    assert sorted(made) == list(range(CHUNKS))
    assert all(is_wiped(key) for side in messages._masks for key in side)


@pytest.mark.parametrize("at", [0, CHUNK_GRAIN, LENGTH - 1])
def test_a_thread_that_asks_while_a_chunk_is_made_gets_no_second_one_of_it(at: int) -> None:
    made: list[int] = []
    second: list[object] = []

    def ask() -> None:
        try:
            second.append(next(messages))
        except (MisuseError, StopIteration) as refusal:
            second.append(refusal)

    def elsewhere() -> None:
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()

    messages = messages_from(Hooked(elsewhere, at=at), made)
    with contextlib.suppress(MisuseError):
        exhaust(messages)
    assert len(second) == 1
    assert len(made) == len(set(made))


def test_a_chunk_that_fails_ends_the_messages_by_itself() -> None:
    def fail() -> None:
        raise OSError("the file is gone")

    made: list[int] = []
    source = Hooked(fail, at=CHUNK_GRAIN)
    messages = messages_from(source, made)
    with pytest.raises(OSError, match="gone"):
        exhaust(messages)
    assert all(is_wiped(key) for side in messages._masks for key in side)
    asked = len(source.asked)
    for _ in range(CHUNKS + 1):
        with pytest.raises(MisuseError, match="given up"):  # and never an end that looks like the last message
            next(messages)
    assert (made, len(source.asked)) == ([0], asked)


def test_a_source_that_asks_its_own_stream_for_more_ends_it() -> None:
    table = at_masking()
    heard: list[object] = []
    messages = table.outgoing(source=Hooked(lambda: heard.append(next(messages))))
    client = table.clients[NAME]
    masks = mask_keys_of(client)
    with pytest.raises(ValueError, match="already executing"):  # Python's own word for it
        next(messages)
    assert (heard, client.closed, unwiped(masks)) == ([], True, [])
    assert not unwiped(round_secrets_of(client))


def test_two_iterators_share_one_way_through() -> None:
    table = at_masking()
    source = Ramp()
    messages = table.outgoing(source=source)
    taken = [bytes(message) for pair in zip(iter(messages), iter(messages), strict=False) for message in pair]
    assert list(messages) == []  # the third was drawn, and its pair was missing
    assert len(taken) == CHUNKS - 1
    assert [start for start, _ in source.asked] == sorted({start for start, _ in source.asked})
    assert sum(stop - start for start, stop in source.asked) == LENGTH


FAULTS: Final = [OSError("the file is gone"), MisuseError("a caller's"), InputError("not fit"), KeyboardInterrupt()]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("at", [0, CHUNK_GRAIN])
def test_a_source_that_raises_ends_the_stream_for_good(fault: BaseException, at: int) -> None:
    store = MemoryStore()
    table = Uploads()
    table.clients[NAME] = table.new_client(NAME, store, stream=True)
    table.advance(Leg.MASK)

    def fail() -> None:
        raise fault

    source = Hooked(fail, at=at)
    messages = table.outgoing(source=source)
    client = table.clients[NAME]
    masks = mask_keys_of(client)
    with pytest.raises(type(fault)):
        exhaust(messages)
    assert client.closed
    assert not unwiped(masks)
    assert not unwiped(round_secrets_of(client))
    assert not list(store.records())
    asked = len(source.asked)
    for again in (lambda: next(messages, None), lambda: client.provide(Ramp())):
        with contextlib.suppress(MisuseError):
            assert again() is None
    assert len(source.asked) == asked


@pytest.mark.parametrize("how", ["close", "throw", "drop"])
def test_a_stream_given_up_half_way_is_a_client_that_left(how: str) -> None:
    store = MemoryStore()
    table = Uploads()
    table.clients[NAME] = table.new_client(NAME, store, stream=True)
    table.advance(Leg.MASK)
    messages = table.outgoing()
    client = table.clients[NAME]
    masks = mask_keys_of(client)
    next(messages)
    if how == "throw":
        with pytest.raises(TimeoutError):
            messages.throw(TimeoutError)  # type: ignore[attr-defined]  # it is a generator
    elif how == "close":
        messages.close()  # type: ignore[attr-defined]  # it is a generator
    del messages
    assert client.closed
    assert not unwiped(masks)
    assert not list(store.records())


@pytest.mark.parametrize("ending", ["abort", "speech"])
def test_a_stream_nobody_began_to_read_leaves_no_key_behind(ending: str) -> None:
    table = at_masking()
    table.outgoing()
    client = table.clients[NAME]
    masks = mask_keys_of(client)
    if ending == "abort":
        client.abort()
    else:
        table.upload(table.others())
        table.close()
        assert refused(client.receive(table.pending[table.names[0]][0])) is Rule.WIRE_TAG
    assert client.closed
    assert not unwiped(masks)


def test_a_client_that_stopped_mid_stream_masks_nothing_again() -> None:
    store = MemoryStore()
    table = Uploads()
    table.clients[NAME] = table.new_client(NAME, store, stream=True)
    table.advance(Leg.MASK)
    messages = table.outgoing()
    next(messages)
    kinds = [entry.kind for entry in Journal(store).entries()]
    assert kinds[-1] is Kind.MASKED
    for stream in (True, False):
        resumed = table.new_client(NAME, store, stream=stream)
        assert resumed.resume() == ()
        other = Ramp()
        with pytest.raises(MisuseError, match="one round masks one input"):
            resumed.provide(other)
        assert other.asked == []
        assert resumed._outgoing is None
    del messages


def test_a_client_that_stopped_before_the_mark_has_let_nothing_out() -> None:
    """The mark is on record before the iterator exists, so a record without it is one of which nothing left."""
    store = MemoryStore()
    table = Uploads()
    table.clients[NAME] = table.new_client(NAME, store, stream=True)
    table.advance(Leg.MASK)
    table.open()
    before = len(list(store.records()))
    resumed = table.new_client(NAME, store, stream=True)
    assert [type(event) for event in resumed.resume()] == [NeedInput]
    stream_of(resumed.provide(Ramp()))
    assert len(list(store.records())) == before + 1


class FullStore(MemoryStore):
    """A store that takes no mark."""

    def append(self, record: bytes) -> None:
        if record[0] == Kind.MASKED:
            raise StorageError("the disk is full")
        super().append(record)


def test_a_mark_that_cannot_be_written_lets_nothing_out() -> None:
    table = Uploads()
    table.clients[NAME] = table.new_client(NAME, FullStore(), stream=True)
    table.advance(Leg.MASK)
    client, source = table.open(), Ramp()
    held = round_secrets_of(client)
    with pytest.raises(StorageError, match="full"):
        client.provide(source)
    assert (source.asked, client.closed, unwiped(held)) == ([], True, [])


def test_every_coordinate_is_read_once_and_in_order() -> None:
    table = at_masking()
    source = Ramp()
    for message in table.outgoing(source=source):
        assert table.submit(NAME, bytes(message)) == ()
    edges = [0, *(stop for _, stop in source.asked)]
    assert [start for start, _ in source.asked] == edges[:-1]
    assert edges[-1] == LENGTH


def test_streams_made_by_one_thread_or_several_meet_in_one_sum() -> None:
    """A window, a worker or a chunk that began its mask a block off would leave it in the sum."""
    length = 5 * CHUNK_GRAIN + 77
    table = Uploads(length, chunk_words=4 * CHUNK_GRAIN)
    with ThreadPoolExecutor(2) as executor:
        for name, workers in zip(table.names, (1, 2, 2, 3), strict=True):
            pool = None if workers == 1 else executor
            table.clients[name] = table.new_client(name, stream=workers < 3, executor=pool, workers=workers)
        table.advance(Leg.MASK)
        table.upload(table.names[:3])
        for answer in table.deliver(table.names[3]):
            assert table.submit(table.names[3], answer) == ()
    table.close()
    assert table.finish().values.tolist() == [4 * value for value in range(length)]


# A round that is left while its input is read.


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("at", [0, LENGTH - 1])
def test_a_round_left_by_its_own_source_keeps_no_secret(stream: bool, at: int) -> None:  # noqa: FBT001  # parametrized
    store = MemoryStore()
    table = Uploads()
    table.clients[NAME] = client = table.new_client(NAME, store, stream=stream)
    table.advance(Leg.MASK)
    table.open()
    held = round_secrets_of(client)
    source = Hooked(client.abort, at=at)
    with pytest.raises(MisuseError):
        exhaust(message for event in client.provide(source) if isinstance(event, Stream) for message in event.messages)
    assert client.closed
    assert not unwiped(held)
    assert not list(store.records())


class Fickle(Ramp):
    """A source that leaves the round when it is asked for its ring, the last thing before the masks are derived."""

    def __init__(self, leave: Callable[[], None]) -> None:
        super().__init__()
        self._leave = leave

    @property
    def ring(self) -> Ring:  # type: ignore[override]  # a property instead of a constant
        self._leave()
        return Ring(BITS)


@pytest.mark.parametrize("stream", [True, False])
def test_a_round_left_before_its_masks_are_derived_stays_left(
    stream: bool,  # noqa: FBT001  # parametrized
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    derived: list[Secret] = []

    def derive(*args: Any, **context: Any) -> Secret:
        derived.append(pairwise_mask_key(*args, **context))
        return derived[-1]

    monkeypatch.setattr(keys, "pairwise_mask_key", derive)
    store = MemoryStore()
    table = Uploads()
    table.clients[NAME] = client = table.new_client(NAME, store, stream=stream)
    table.advance(Leg.MASK)
    table.open()
    held = round_secrets_of(client)
    with pytest.raises(MisuseError):
        client.provide(Fickle(client.abort))
    assert client.closed
    assert len(derived) == PLAN.clients - 1
    assert not unwiped(derived)
    assert not unwiped(held)
    assert not unwiped(round_secrets_of(client))
    assert not list(store.records())


def test_a_source_that_provides_another_input_meanwhile_is_the_only_one() -> None:
    table = Uploads()
    table.clients[NAME] = client = table.new_client(NAME)
    table.advance(Leg.MASK)
    table.open()
    other = Ramp()
    with pytest.raises(MisuseError):
        client.provide(Hooked(lambda: client.provide(other)))
    assert other.asked == []


# A server that speaks in the middle.


def test_bytes_in_the_middle_end_the_round_and_the_stream() -> None:
    table = at_masking()
    messages = table.outgoing()
    client = table.clients[NAME]
    masks = mask_keys_of(client)
    next(messages)
    assert refused(client.receive(b"anything")) is Rule.WIRE_FORMAT
    assert not unwiped(masks)
    with pytest.raises(MisuseError, match="given up"):
        next(messages)


def test_the_inbox_once_more_in_the_middle_ends_the_round() -> None:
    table = at_masking()
    inbox = table.pending[NAME][0]
    messages = table.outgoing()
    first = bytes(next(messages))
    assert refused(table.clients[NAME].receive(inbox)) is Rule.WIRE_ORDER
    with pytest.raises(MisuseError, match="given up"):
        next(messages)
    assert table.submit(NAME, first) == ()
    table.upload(table.others())
    table.close()
    assert table.finish().values.tolist() == ramp_sum(3)


def test_an_earlier_request_once_more_in_the_middle_changes_nothing() -> None:
    table = Uploads()
    table.start()
    (offer,) = table.pending[NAME]
    while table.server.leg < Leg.MASK:
        table.play_leg()
    messages = table.outgoing()
    first = next(messages)
    (answer,) = table.clients[NAME].receive(offer)
    assert isinstance(answer, Send)
    for message in (first, *messages):
        assert table.submit(NAME, bytes(message)) == ()
    table.upload(table.others())
    table.close()
    assert table.finish().values.tolist() == ramp_sum(4)


def test_a_survivor_set_told_in_the_middle_of_a_chunk_leaves_that_chunk_unmade() -> None:
    """The server answers while the last chunk is made: the chunk is thrown away, the keys are gone."""
    table = at_masking()
    twin = Uploads()  # of the same secrets; there this client is silent about nothing, so its set is one it would sign
    twin.advance(Leg.MASK)
    twin.upload(twin.names)
    twin.close()
    (told,) = twin.pending[NAME]
    client = table.clients[NAME]
    heard: list[tuple[Event, ...]] = []
    messages = table.outgoing(source=Hooked(lambda: heard.append(client.receive(told)), at=LENGTH - 1))
    masks = mask_keys_of(client)
    assert len([next(messages), next(messages)]) == CHUNKS - 1
    with pytest.raises(MisuseError):
        next(messages)
    ((confirmation,),) = heard
    assert isinstance(confirmation, Send)
    assert client.closed
    assert not unwiped(masks)
    assert not unwiped(round_secrets_of(client))


# What the server admits, and what it adds.


def test_a_part_of_an_input_never_counts_and_never_stays() -> None:
    table = at_masking()
    spool = MemorySpool()
    table.server._spool = spool
    messages = table.outgoing()
    for _ in range(CHUNKS - 1):
        assert table.submit(NAME, bytes(next(messages))) == ()
    table.upload(table.others())
    table.close()
    assert spool._chunks == {}
    assert table.submit(NAME, bytes(next(messages))) != ()  # too late, by one message
    total = table.finish()
    assert NAME not in total.survivors
    assert total.values.tolist() == ramp_sum(3)


def changed(data: bytes, at: int) -> bytes:
    copy = bytearray(data)
    copy[at] ^= 1
    return bytes(copy)


def test_chunks_are_taken_as_they_were_sent_or_not_at_all() -> None:
    table = at_masking()
    mine = [bytes(message) for message in table.outgoing()]
    theirs = [bytes(message) for message in table.outgoing(table.names[0])]
    tries = [
        (mine[1], Rule.INPUT_CHUNK),  # not the next one
        (mine[0], None),
        (mine[0], Rule.INPUT_CHUNK),  # twice
        (theirs[1], Rule.WIRE_SENDER),
        (changed(mine[1], -20), Rule.WIRE_TAG),
        (changed(mine[1], 45 + 3), None),  # below: whatever it says, it is refused
        (mine[2], Rule.INPUT_CHUNK),
        (mine[1], None),
        (mine[2], None),
        (mine[2], Rule.WIRE_ORDER),  # after the last one
    ]
    for data, rule in tries:
        events = table.submit(NAME, data)
        if rule is not None:
            assert refused(events) is rule
        elif data in mine:
            assert events == ()
        else:
            assert events
    for data in theirs:
        assert table.submit(table.names[0], data) == ()
    table.upload(table.others(NAME, table.names[0]))
    table.close()
    assert table.finish().values.tolist() == ramp_sum(4)


def test_a_buffer_that_is_used_again_after_it_was_received_changes_nothing() -> None:
    """A driver may read every message into one buffer; what was validated is what is added."""
    table = at_masking()
    for name in table.names:
        for message in table.outgoing(name):
            assert table.server.receive(name, message) == ()  # type: ignore[arg-type]  # bytes, or what reads like it
            message[:] = bytes(len(message))
    table.close()
    assert table.finish().values.tolist() == ramp_sum(4)


@pytest.mark.parametrize("length", [77, LENGTH])
def test_what_an_earlier_round_left_in_a_spool_is_in_no_sum_and_stops_none(length: int) -> None:
    """A spool on disk outlives an aborted round or a crash; its positions are those of the next round too."""
    table = at_masking(length)
    table.server._spool = MemorySpool()
    size = table.config.ring.packed_size(min(length, CHUNK_GRAIN))
    for position in range(PLAN.clients):
        table.server._spool.append(position, b"\xff" * size)
    table.upload(table.names)
    table.close()
    assert table.finish().values.tolist() == [4 * value for value in range(length)]


class Lossy(MemorySpool):
    """A spool that gives back other chunks than it was given."""

    def __init__(self, give: Callable[[list[bytes]], list[bytes]]) -> None:
        super().__init__()
        self._give = give

    def take(self, position: int) -> Iterator[bytes]:
        yield from self._give(list(super().take(position)))


GIVEN: Final[Mapping[str, Callable[[list[bytes]], list[bytes]]]] = {
    "none": lambda _: [],
    "one less": lambda chunks: chunks[:-1],
    "one more": lambda chunks: [*chunks, chunks[0]],
    "a cut one": lambda chunks: [chunks[0][:-1], *chunks[1:]],
}


@pytest.mark.parametrize("how", GIVEN)
def test_a_spool_that_gives_back_something_else_ends_the_round(how: str) -> None:
    table = at_masking()
    table.server._spool = Lossy(GIVEN[how])
    *most, last = [bytes(message) for message in table.outgoing()]
    for message in most:
        table.submit(NAME, message)
    with pytest.raises(StorageError):
        table.submit(NAME, last)
    assert isinstance(table.server.outcome, Failed)
    with pytest.raises(MisuseError):
        table.server.close_leg()


# What is checked of an update, and when.

FLOATS: Final = ("<f2", ">f2", "<f4", ">f4", "<f8", ">f8")
ODD: Final = (np.nan, np.inf, -np.inf, 3.0, -3.0, 2.0005, -2.0005, 2.0, -2.0, 0.0, -0.0, 1e-310)


def takes(check: Callable[[], object]) -> bool:
    try:
        check()
    except InputError:
        return False
    return True


@settings(max_examples=300, deadline=None)
@given(
    dtype=st.sampled_from(FLOATS),
    size=st.integers(1, 70),
    step=st.sampled_from([1, 3, -1]),
    odd=st.lists(st.tuples(st.integers(0, 69), st.sampled_from(ODD)), max_size=3),
    scale=st.sampled_from([0.0, 0.3, 1.0 - 2.0**-53, 1.0]),
)
def test_the_least_and_the_greatest_speak_for_all(
    dtype: str, size: int, step: int, odd: list[tuple[int, float]], scale: float
) -> None:
    array = np.linspace(-1.0, 1.0, size * abs(step)).astype(dtype)[::step]
    for place, value in odd:
        array[place % len(array)] = value
    slot = Slot.tensor("x", array, FixedPoint(bound=2.0, step=2.0**-10))
    whole = takes(lambda: slot.convert(array, 0, array.size, scale=scale))
    assert takes(lambda: slot.check_values(array, scale=scale)) is whole
    if not np.isfinite(array).all():
        assert not whole


def layout_of(**shapes: int) -> Layout:
    tensors = {name: np.zeros(size, dtype=np.float32) for name, size in shapes.items()}
    return Layout.like(tensors, bound=1.0, step=2.0**-16)


SPOILED: Final = [np.nan, np.inf, 1.5]


@pytest.mark.parametrize("value", SPOILED)
@pytest.mark.parametrize("place", [0, CHUNK_GRAIN + 5, LENGTH - 1])
def test_an_array_changed_while_it_is_streamed_never_brings_in_what_was_refused(value: float, place: int) -> None:
    layout = layout_of(a=LENGTH)
    update = np.zeros(LENGTH, dtype=np.float32)
    source = layout.encode({"a": update}, ring=Ring(BITS))
    table = at_masking()
    messages = table.outgoing(source=source)
    update[place] = value
    answers = (table.submit(NAME, bytes(message)) for message in messages)
    for _ in range(place // CHUNK_GRAIN):
        assert next(answers) == ()
    with pytest.raises(InputError):
        next(answers)
    assert table.clients[NAME].closed
    table.upload(table.others())
    table.close()
    assert table.finish().values.tolist() == ramp_sum(3)


def test_each_tensor_has_its_own_scale_and_scalars_have_none() -> None:
    tensors = {"a": np.ones(2, np.float32), "b": np.ones(3, np.float32), "n": np.ones(1, np.float32)}
    fixed = FixedPoint(bound=1.0, step=2.0**-4)
    layout = Layout.like(tensors, bound=1.0, step=2.0**-4, scalars={"n": fixed})
    ring = Ring(16)
    encoded = layout.encode(tensors, {"n": 1.0}, scale={"n": 0.25, "b": 0.5, "a": 0.0}, ring=ring)
    assert ring.center(encoded.read(0, 7)).tolist() == [0, 0, 8, 8, 8, 4, 16]
    for wrong in ({"a": 1.0, "b": 1.0}, {"a": 1.0, "b": 1.0, "n": 1.0, "c": 1.0}):
        with pytest.raises(InputError, match="scale"):
            layout.encode(tensors, {"n": 1.0}, scale=wrong, ring=ring)
    for factor in (np.nan, -0.1, 1.1, np.inf):
        with pytest.raises(ConfigError, match="scale"):
            layout.encode(tensors, {"n": 1.0}, scale={"a": 1.0, "b": factor, "n": 1.0}, ring=ring)


# By what an input was made.


class Made(Ramp):
    """A ramp that says by which instructions and which recipe it was made."""

    def __init__(self, *, instructions: bytes | None, recipe: bytes) -> None:
        super().__init__()
        self.instructions_digest = instructions
        self.recipe_digest = recipe


@pytest.mark.parametrize("early", [False, True])
def test_an_input_made_by_another_recipe_or_other_instructions_is_refused(
    early: bool,  # noqa: FBT001  # parametrized
) -> None:
    table = at_masking(instructions=b"the model")
    client = table.new_client(NAME, stream=True) if early else table.open()
    own, right = table.config.instructions_digest, table.recipe.digest
    assert isinstance(Made(instructions=None, recipe=right), InstructedSource)
    for wrong in (Made(instructions=bytes(32), recipe=right), Made(instructions=b"", recipe=right)):
        with pytest.raises(MisuseError, match="other instructions"):
            client.provide(wrong)
        assert wrong.asked == []
    for by in (own, None):
        with pytest.raises(MisuseError, match="another recipe"):
            client.provide(Made(instructions=by, recipe=bytes(32)))
    events = client.provide(Made(instructions=own, recipe=right))
    assert [type(event) for event in events] == ([] if early else [Stream])


EXAMPLE: Final = {"w": np.zeros(LENGTH, dtype=np.float32)}


def test_a_noised_input_that_left_in_part_goes_into_no_other_round() -> None:
    """Its noise would stand in two sums, and cancel in their difference: both are charged as if each had its own."""
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=Skellam(variance=1e6))
    source = recipe.encode(EXAMPLE, ring=recipe.ring(PLAN), instructions=b"")
    first = source.read(0, CHUNK_GRAIN)
    assert len(first) == CHUNK_GRAIN
    with pytest.raises(MisuseError, match="goes into one round"):
        source.read(0, CHUNK_GRAIN)


# A client without a budget.


def test_a_client_without_budget_leaves_before_a_word_of_its_input_is_masked() -> None:
    """It has dealt its shares by then, as any client that drops out before leg 2; they open a mask it never used."""
    plan = Plan.find(clients=5, max_dropped=2, max_corrupt=0)
    names = [f"phone-{number}" for number in range(5)]
    updates = {name: {"w": np.ones(4, dtype=np.float32)} for name in names}
    recipe = Recipe.like(updates[names[0]], clip=4.0, noise=Skellam(variance=1e9))
    stores = {name: MemoryStore() for name in names}
    parties = {name: Party(identity=Identity.generate(), store=stores[name]) for name in names}
    budget = Budget(epsilon=0.03, delta=1e-9, neighboring=Neighboring.ZERO_OUT)
    with Ledger.create(MemoryStorage(), budget=budget) as empty:
        parties[names[2]] = dataclasses.replace(parties[names[2]], ledger=empty)
        reached: list[tuple[str, Leg]] = []
        report = play_round(
            updates,
            plan,
            recipe,
            parties=parties,
            faults=[drop(names[4], before="mask")],
            tap=lambda name, leg, _: reached.append((name, leg)),
        )
        assert [entry for entry in empty.entries if entry.name] == []
    assert report.over_budget == (names[2],)
    assert report.total.survivors == (names[0], names[1], names[3])
    assert [leg for name, leg in reached if name == names[2]] == [Leg.ADVERTISE, Leg.SHARE]
    assert not list(stores[names[2]].records())
    assert not report.refused


def test_a_client_that_leaves_when_its_input_is_asked_for_is_wiped_and_the_others_sum_is_exact() -> None:
    table = at_masking()
    client = table.open()
    held = round_secrets_of(client)
    client.abort()
    assert not unwiped(held)
    table.upload(table.others())
    table.close()
    assert table.finish().values.tolist() == ramp_sum(3)


# An offer that costs more than it is worth.


class Uncounted(UncertifiedPlan):
    """A plan that nobody may even begin to certify."""

    def __post_init__(self) -> None:
        raise AssertionError("the odds of a plan of a refused class were computed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Thrifty(Policy):
    """The default floors, and a plan that shows when it is looked at."""

    @property
    def plan_type(self) -> type[Plan]:
        return Uncounted


COSTLY: Final[list[dict[str, Any]]] = [
    {},
    {"max_dropped": 40_000, "max_corrupt": 20_000},  # unsafe, and a remedy would be looked for
    {"max_dropped": 65_535},
    {"threshold": 0},
]


def offer_of(**changes: object) -> RoundOffer:
    """An offer of a semi-honest round of as many clients as there can be."""
    fields = wire.decode_body(_Fields, Uploads().config.encoded)
    plan: dict[str, object] = {"clients": 65_536, "max_dropped": 6_000, "max_corrupt": 6_000, "degree": 300}
    plan |= {"adversary": Adversary.SEMI_HONEST.value, "threshold": 150, "quorum": 0}
    known = {name: getattr(fields, name) for name in _Fields.__struct_fields__}
    return RoundOffer(config=wire.encode_body(_Fields(**(known | plan | changes))), invited=[], server_key=bytes(32))


def verdict(policy: Policy, **changes: object) -> Rule:
    recipe: Any = Uploads().recipe
    with pytest.raises(Violation) as refusal:
        checks.check_offer(
            offer_of(**changes), client=Uploads().clients[NAME].client, policy=policy, recipe=recipe,
            instructions_digest=bytes(32),
        )  # fmt: skip
    return refusal.value.rule


@pytest.mark.parametrize("changes", COSTLY)
def test_a_class_the_client_does_not_allow_is_refused_before_its_odds_are_computed(changes: dict[str, Any]) -> None:
    assert verdict(Thrifty(), **changes) is Rule.OFFER_POLICY


def test_a_class_the_client_allows_is_certified_and_one_nobody_knows_is_no_plan() -> None:
    allowing = Policy(adversaries=frozenset(Adversary))
    assert verdict(allowing, threshold=1) is Rule.OFFER_PLAN
    assert verdict(allowing) is Rule.OFFER_INVITED  # the plan is safe; the list is not there
    assert verdict(Policy(), adversary="none") is Rule.OFFER_PLAN
    assert verdict(Policy(adversaries=frozenset({Adversary.SEMI_HONEST})), adversary="active") is Rule.OFFER_POLICY
