"""A large input passes in chunks: neither side holds it whole, and what is broken off half-way is never a wrong sum."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from benchmarks.spool import DirectorySpool
from protocols import run_client
from protocols.errors import DeadlinePassed
from secagg import ConfigError, InputError, MemoryStore, Plan, Ring, StorageError
from secagg.config import CHUNK_GRAIN
from secagg.errors import MisuseError
from secagg.pairwise.outgoing import MaskedMessages
from secagg.round.events import Failed, NeedInput, Send, Stream
from secagg.store import MemorySpool
from secagg.testing.table import Table, VectorInput, Words
from secagg.types import Leg

PLAN: Final = Plan.find(clients=4, max_dropped=1, max_corrupt=0)
BITS: Final = 27
NAME: Final = "client-0001"
CHUNKS: Final = 24
LENGTH: Final = (CHUNKS - 1) * CHUNK_GRAIN + 77
CHUNK_BYTES: Final = CHUNK_GRAIN * BITS // 8


class Counting:
    """An input of 0, 1, 2, ... that stands nowhere in memory."""

    ring = Ring(BITS)

    def __init__(self, length: int = LENGTH) -> None:
        self.length = length

    def read(self, start: int, stop: int) -> Words:
        return np.arange(start, stop, dtype=np.uint32)


class StreamingTable(Table):
    """A table whose clients hand over their input message by message."""

    def __init__(self, length: int, **arguments: object) -> None:
        inputs = np.broadcast_to(np.arange(length, dtype=np.uint32), (PLAN.clients, length))
        super().__init__(PLAN, inputs, bits=BITS, **arguments)  # type: ignore[arg-type]  # exactly Table's
        for name in self.names:
            self.clients[name] = self.new_client(name, stream=True)

    def input_of(self, name: str) -> VectorInput:
        del name
        return Counting(self.config.length)  # type: ignore[return-value]  # a MaskSource, which is all that is asked

    def outgoing(self, name: str) -> Iterator[bytearray]:
        """Open a client's inbox, provide its input and return its masked input, nothing of it made yet."""
        (data,) = self.pending.pop(name)
        assert any(isinstance(event, NeedInput) for event in self.clients[name].receive(data))
        (event,) = self.clients[name].provide(self.input_of(name))
        assert isinstance(event, Stream)
        return event.messages

    def upload(self, names: list[str]) -> None:
        """Let clients hand over their inputs in turn, a message each."""
        for messages in zip(*[self.outgoing(name) for name in names], strict=True):
            for name, message in zip(names, messages, strict=True):
                assert self.submit(name, bytes(message)) == ()


def at_masking(length: int = LENGTH, **arguments: object) -> StreamingTable:
    table = StreamingTable(length, **arguments)
    table.advance(Leg.MASK)
    return table


def peak_of(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_streamed_inputs_sum_exactly() -> None:
    length = 2 * CHUNK_GRAIN + 77
    table = at_masking(length)
    table.upload(table.names[:3])
    table.close()
    values = table.finish().values
    assert values.tolist() == [3 * index for index in range(length)]


def test_a_streamed_message_is_the_one_that_is_sent_at_once() -> None:
    streamed, whole = at_masking(CHUNK_GRAIN + 7), StreamingTable(CHUNK_GRAIN + 7)
    for name in whole.names:
        whole.clients[name] = whole.new_client(name)
    whole.advance(Leg.MASK)
    assert [bytes(message) for message in streamed.outgoing(NAME)] == whole.deliver(NAME)


def test_a_client_holds_a_few_chunks_of_a_streamed_input() -> None:
    table = at_masking()

    def hand_over() -> None:
        for message in table.outgoing(NAME):
            assert len(message) > 0

    # The chunk that left, the one being made, and the kernel's chunk of words, keystream and packing.
    assert peak_of(hand_over) < 5 * CHUNK_BYTES < LENGTH * BITS // 8 // 4


def test_a_server_holds_its_sum_and_a_few_chunks_while_inputs_arrive(tmp_path: Path) -> None:
    table = at_masking()
    table.server._spool = DirectorySpool(tmp_path)
    assert peak_of(lambda: table.upload(table.names)) < 12 * CHUNK_BYTES  # three chunks a client, the clients' too
    assert list(tmp_path.iterdir()) == []
    table.close()
    assert table.server.leg is Leg.CONFIRM


def test_nothing_is_made_after_the_server_speaks() -> None:
    table = at_masking()
    messages = table.outgoing(NAME)
    next(messages)
    others = [name for name in table.names if name != NAME]
    table.upload(others)
    table.close()
    assert NAME not in table.pending  # an honest server has nothing to say to a client that did not finish
    (event,) = table.clients[NAME].receive(table.pending[others[0]][0])
    assert isinstance(event, Failed)
    with pytest.raises(MisuseError, match="given up"):
        next(messages)


def test_what_the_server_says_too_early_ends_the_messages() -> None:
    table = StreamingTable(2 * CHUNK_GRAIN + 7)
    twin = table.new_client(NAME)  # of the same secrets, so what it sends is what NAME would have sent
    heard: list[bytes] = []
    table.start()
    while table.server.leg < Leg.MASK:
        heard += table.pending[NAME]
        table.play_leg()
    heard += table.pending[NAME]
    messages = table.outgoing(NAME)
    next(messages)
    for data in heard:
        twin.receive(data)
    for event in twin.provide(table.input_of(NAME)):
        assert isinstance(event, Send)
        assert table.submit(NAME, bytes(event.data)) == ()
    table.upload([name for name in table.names if name != NAME])
    table.close()
    (confirmation,) = table.clients[NAME].receive(table.pending[NAME][0])
    assert isinstance(confirmation, Send)  # the set is right, whoever sent the rest of the input
    with pytest.raises(MisuseError, match="given up"):
        next(messages)
    assert table.clients[NAME].closed


def test_a_client_that_leaves_stops_its_messages_and_wipes_their_keys() -> None:
    table = at_masking()
    messages = table.outgoing(NAME)
    next(messages)
    outgoing = table.clients[NAME]._outgoing
    assert isinstance(outgoing, MaskedMessages)
    keys = [key for side in outgoing._masks for key in side]
    assert len(keys) == 4
    table.clients[NAME].abort()
    with pytest.raises(MisuseError, match="given up"):
        next(messages)
    for key in keys:
        with pytest.raises(MisuseError):
            key.reveal()


def test_the_keys_are_wiped_with_the_last_message() -> None:
    table = at_masking(CHUNK_GRAIN + 7)
    messages = table.outgoing(NAME)
    outgoing = table.clients[NAME]._outgoing
    assert isinstance(outgoing, MaskedMessages)
    key = outgoing._masks[0][0]
    assert len(list(messages)) == 2
    assert not table.clients[NAME].closed
    with pytest.raises(MisuseError):
        key.reveal()


def test_a_client_whose_messages_are_dropped_half_way_has_left() -> None:
    table = at_masking()
    messages = table.outgoing(NAME)
    next(messages)
    del messages
    assert table.clients[NAME].closed


class Spoiled(Counting):
    """An input that is changed for a wrong one while it is handed over."""

    def read(self, start: int, stop: int) -> Words:
        words = super().read(start, stop)
        if start >= CHUNK_GRAIN:
            words[-1] = 1 << BITS
        return words


def test_a_word_outside_the_ring_in_a_later_chunk_ends_the_round_for_this_client() -> None:
    table = at_masking()
    (data,) = table.pending.pop(NAME)
    table.clients[NAME].receive(data)
    (event,) = table.clients[NAME].provide(Spoiled())
    assert isinstance(event, Stream)
    next(event.messages)
    outgoing = table.clients[NAME]._outgoing
    assert isinstance(outgoing, MaskedMessages)
    with pytest.raises(InputError):
        next(outgoing)
    with pytest.raises(MisuseError, match="given up"):  # by itself, before the round hears of it
        next(outgoing)
    with pytest.raises(MisuseError):
        next(event.messages)
    assert table.clients[NAME].closed


def test_a_streamed_input_is_on_record_before_its_first_message_and_is_never_made_again() -> None:
    store = MemoryStore()
    table = StreamingTable(CHUNK_GRAIN + 7)
    table.clients[NAME] = table.new_client(NAME, store, stream=True)
    table.advance(Leg.MASK)
    inbox = table.pending[NAME][0]
    messages = table.outgoing(NAME)
    resumed = table.new_client(NAME, store, stream=True)
    assert resumed.resume() == ()
    with pytest.raises(MisuseError):
        resumed.provide(Counting(CHUNK_GRAIN + 7))
    (event,) = resumed.receive(inbox)
    assert isinstance(event, Failed)
    del messages


def test_a_streamed_input_cannot_be_kept() -> None:
    table = StreamingTable(100)
    with pytest.raises(ConfigError, match="choose one"):
        table.new_client(NAME, stream=True, keep_input=True)


class TornSpool(MemorySpool):
    """A spool whose disk fails while it is read, in a way it does not explain."""

    def take(self, position: int) -> Iterator[bytes]:
        yield next(iter(super().take(position)))
        raise OSError("the disk is gone")


def test_a_spool_that_breaks_off_half_way_is_never_a_wrong_sum() -> None:
    table = at_masking(2 * CHUNK_GRAIN + 7)
    table.server._spool = TornSpool()
    first = table.names[0]
    messages = [bytes(message) for message in table.outgoing(first)]
    for message in messages[:-1]:
        table.submit(first, message)
    with pytest.raises(OSError, match="gone"):
        table.submit(first, messages[-1])
    with pytest.raises(StorageError, match="part of an input"):
        table.server.close_leg()
    assert isinstance(table.server.outcome, Failed)


class Line:
    """A client's end of a network that is a table."""

    def __init__(self, table: StreamingTable) -> None:
        self.table = table
        self.sent: list[int] = []

    def receive(self, timeout: float) -> bytes | None:
        del timeout
        return self.table.pending[NAME].pop(0) if self.table.pending[NAME] else None

    def send(self, data: bytes) -> None:
        self.sent.append(len(data))
        assert self.table.submit(NAME, data) == ()


def test_a_driven_client_hands_over_its_stream() -> None:
    table = at_masking(2 * CHUNK_GRAIN + 7)
    line = Line(table)
    with pytest.raises(DeadlinePassed):  # the table plays no further leg
        run_client(table.clients[NAME], line, lambda ring: Counting(2 * CHUNK_GRAIN + 7), timeout=1.0)
    assert len(line.sent) == 3
    assert NAME not in table.server.waiting_for


def test_events_of_a_stream_show_nothing() -> None:
    table = at_masking(100)
    (data,) = table.pending.pop(NAME)
    table.clients[NAME].receive(data)
    (event,) = table.clients[NAME].provide(Counting(100))
    assert isinstance(event, Stream)
    assert repr(event) == "Stream()"
    assert not isinstance(event, Send)
