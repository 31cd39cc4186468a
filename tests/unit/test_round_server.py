"""A server's round from outside: a client's bad message changes nothing, and only a leg below its floor ends it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import numpy as np
import pytest

from secagg import wire
from secagg.config import CHUNK_GRAIN
from secagg.errors import (
    ConfigError,
    MisuseError,
    RemoteError,
    RoundAborted,
    StorageError,
    TooFewClients,
    Unauthentic,
    Unexpected,
)
from secagg.identity import Directory
from secagg.pairwise.channel import TAG_SIZE
from secagg.pairwise.messages import FROM_CLIENT, FROM_SERVER, MaskedInput
from secagg.plan import Plan
from secagg.round.events import Event, Failed, Finished, Rejected, Send
from secagg.round.server import ServerRound
from secagg.rules import Rule
from secagg.store import MemorySpool
from secagg.testing.plans import small_regular_plan
from secagg.testing.table import Table
from secagg.types import Adversary, Leg
from secagg.wire import Message

PLAN: Final = Plan.find(clients=5, max_dropped=1, max_corrupt=0)  # threshold and quorum 3, four survivors or more
SEMI_HONEST: Final = Plan.find(clients=5, max_dropped=1, max_corrupt=0, adversary=Adversary.SEMI_HONEST)
SPARSE: Final = small_regular_plan(clients=7, degree=4, threshold=3, max_dropped=2)
LEGS: Final = (Leg.ADVERTISE, Leg.SHARE, Leg.MASK, Leg.CONFIRM, Leg.UNMASK)
NAME: Final = "client-0002"
by_leg = pytest.mark.parametrize("leg", LEGS, ids=lambda leg: leg.name.lower())


def table_of(plan: Plan = PLAN, *, length: int = 9, **arguments: Any) -> Table:
    inputs = np.random.default_rng(8).integers(0, 2**32, (plan.clients, length), dtype=np.uint32)
    return Table(plan, inputs, **arguments)


def at(leg: Leg, plan: Plan = PLAN, **arguments: Any) -> tuple[Table, dict[str, list[bytes]]]:
    """A table whose server collects `leg`, and everyone's answers to it, none of them submitted yet."""
    table = table_of(plan, **arguments)
    table.start()
    table.advance(leg)
    return table, {name: table.deliver(name) for name in table.names}


def rule_of(events: Sequence[Event]) -> Rule:
    (rejected,) = events
    assert isinstance(rejected, Rejected)
    return rejected.error.rule


def failure_of(events: Sequence[Event]) -> RoundAborted:
    (failed,) = events
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, RoundAborted)
    return failed.error


def submit_all(table: Table, answers: dict[str, list[bytes]], *, but: Sequence[str] = ()) -> None:
    for name, messages in answers.items():
        for data in () if name in but else messages:
            assert table.submit(name, data) == ()


def assert_exact(table: Table, survivors: Sequence[str] | None = None) -> None:
    aggregate = table.finish()
    assert list(aggregate.survivors) == list(table.names if survivors is None else survivors)
    assert np.array_equal(aggregate.values, table.expected(aggregate.survivors))


# How a round goes.


def test_the_list_is_the_one_the_config_was_written_for() -> None:
    table = table_of()
    for names in (table.names[:-1], [*table.names, "one-more"], [*table.names[:-1], "another"]):
        with pytest.raises(ConfigError, match="invited"):
            ServerRound(table.config, invited=names, directory=table.directory)
    shuffled = ServerRound(table.config, invited=table.names[::-1], directory=table.directory)
    assert shuffled.invited == tuple(table.names)


def test_an_offer_goes_to_everyone_and_its_bytes_are_held_once() -> None:
    events = table_of().server.start()
    assert [event.to for event in events if isinstance(event, Send)] == table_of().names
    assert len({id(event.shared) for event in events if isinstance(event, Send)}) == 1


def test_requests_share_their_bytes_and_differ_in_their_tags() -> None:
    table, answers = at(Leg.ADVERTISE)
    submit_all(table, answers)
    sends = [event for event in table.server.close_leg() if isinstance(event, Send)]
    assert len({id(send.shared) for send in sends}) == 1
    assert len({send.tag for send in sends}) == len(sends) == 5
    assert all(send.data == send.shared + send.tag for send in sends)


@pytest.mark.parametrize("plan", [PLAN, SEMI_HONEST, SPARSE], ids=["active", "semi-honest", "sparse"])
def test_the_server_waits_for_those_that_can_still_answer(plan: Plan) -> None:
    table = table_of(plan)
    assert table.server.waiting_for == set(table.names)
    table.start()
    while not table.server.ready:
        assert table.server.waiting_for == set(table.names)
        waiting = set(table.names)
        for name in table.names:
            for data in table.deliver(name):
                assert table.submit(name, data) == ()
            waiting.discard(name)
            assert table.server.waiting_for == waiting
        table.close()
    assert table.server.waiting_for == set()
    assert table.server.leg is Leg.UNMASK
    assert_exact(table)


def test_only_those_that_can_answer_are_waited_for() -> None:
    silent = {Leg.ADVERTISE: ["client-0004"]}
    table = table_of()
    seen = {}
    for leg in LEGS:
        table.advance(leg, silent)
        seen[leg] = len(table.server.waiting_for)
    assert list(seen.values()) == [5, 4, 4, 4, 4]


def test_only_those_that_confirmed_are_asked_to_unmask() -> None:
    table, answers = at(Leg.CONFIRM)
    submit_all(table, answers, but=[NAME])
    table.close()
    assert table.server.waiting_for == set(table.names) - {NAME}
    assert NAME not in table.pending
    assert_exact(table)


def test_only_a_quorum_of_signatures_travels() -> None:
    table, answers = at(Leg.CONFIRM)
    submit_all(table, answers)
    (request,) = {send.shared for send in table.server.close_leg() if isinstance(send, Send)}
    body = wire.open_envelope(bytes(request), max_size=10**6).body
    assert len(body) == 1 + 3 + 2 + PLAN.quorum * 64


def test_where_no_quorum_is_needed_set_and_request_go_out_together() -> None:
    table, answers = at(Leg.MASK, SEMI_HONEST)
    submit_all(table, answers)
    kinds = [event.data[4] for event in table.server.close_leg() if isinstance(event, Send)]
    assert kinds == [7] * 5 + [9] * 5
    assert table.server.leg is Leg.UNMASK


def test_legs_are_closed_in_order_and_the_round_recovered_once() -> None:
    table = table_of()
    server = table.server
    for call in (server.close_leg, server.recover):
        with pytest.raises(MisuseError):
            call()
    table.start()
    with pytest.raises(MisuseError, match="started already"):
        server.start()
    for leg in LEGS:
        assert server.leg is leg
        assert (server.ready, server.outcome) == (False, None)
        with pytest.raises(MisuseError, match="nothing to recover"):
            server.recover()
        table.play_leg()
    assert server.ready
    with pytest.raises(MisuseError, match="no leg is open"):
        server.close_leg()
    (finished,) = server.recover()
    assert isinstance(finished, Finished)
    assert server.outcome == finished
    assert not server.ready
    for call in (server.close_leg, server.recover):
        with pytest.raises(MisuseError):
            call()
    with pytest.raises(MisuseError, match="started already"):
        server.start()
    assert server.outcome == finished


def test_workers_that_cannot_be_had_cost_nothing() -> None:
    table = table_of()
    table.advance(Leg.UNMASK)
    table.play_leg()
    for workers in (0, 2):
        with pytest.raises(ConfigError, match="workers"):
            table.server.recover(workers=workers)
        assert table.server.ready
    assert_exact(table)


def test_the_aggregate_says_who_is_in_it() -> None:
    table = table_of(Plan.find(clients=8, max_dropped=3, max_corrupt=0))
    aggregate = table.finish({Leg.ADVERTISE: ["client-0000"], Leg.MASK: ["client-0003"], Leg.UNMASK: ["client-0005"]})
    assert list(aggregate.invited) == table.names
    assert list(aggregate.joined) == table.names[1:]
    assert list(aggregate.dropped) == ["client-0003"]
    assert list(aggregate.survivors) == [*table.names[1:3], *table.names[4:]]
    assert aggregate.config_digest == table.config.digest
    assert aggregate.blamed == ()
    assert aggregate.values.dtype == np.int64
    assert np.array_equal(aggregate.values, table.expected(aggregate.survivors))


def test_threads_change_nothing() -> None:
    alone, shared = table_of(length=200_000), table_of(length=200_000)
    for table in (alone, shared):
        table.advance(Leg.UNMASK)
        table.play_leg()
    with ThreadPoolExecutor(2) as executor:
        (finished,) = shared.server.recover(executor, workers=3)
    assert isinstance(finished, Finished)
    assert finished.aggregate is not None
    assert np.array_equal(finished.aggregate.values, alone.finish().values)


def test_a_round_shows_its_number_and_leg() -> None:
    table = table_of(number=7)
    assert repr(table.server) == "<ServerRound 7, advertise>"
    table.start()
    table.server.abort("a test")
    assert repr(table.server) == "<ServerRound 7, unmask, over>"


# How a round ends.

FLOORS: Final = {Leg.ADVERTISE: 4, Leg.SHARE: 4, Leg.MASK: 4, Leg.CONFIRM: 3, Leg.UNMASK: 3}


@by_leg
def test_a_leg_at_its_floor_goes_on_and_one_below_ends_the_round(leg: Leg) -> None:
    for answering in (FLOORS[leg], FLOORS[leg] - 1):
        table, answers = at(leg)
        submit_all(table, answers, but=table.names[answering:])
        if answering == FLOORS[leg]:
            table.close()
            assert table.server.outcome is None
            assert_exact(table, table.names[:answering] if leg <= Leg.MASK else None)
            continue
        error = failure_of(table.server.close_leg())
        assert isinstance(error, TooFewClients)
        assert (error.leg, error.got, error.need) == (leg, answering, FLOORS[leg])
        assert table.server.outcome == Failed(error)
        assert_over(table)


@by_leg
def test_a_leg_nobody_answers_ends_the_round(leg: Leg) -> None:
    table, _ = at(leg)
    error = failure_of(table.server.close_leg())
    assert isinstance(error, TooFewClients)
    assert error.got == 0


@by_leg
def test_a_round_can_be_ended_at_any_leg(leg: Leg) -> None:
    table, answers = at(leg)
    table.submit(NAME, answers[NAME][0])
    error = failure_of(table.server.abort("the building is on fire"))
    assert error.leg is leg
    assert "on fire" in str(error)
    assert table.server.abort("again") == ()
    assert_over(table)
    for name in table.names:
        assert rule_of(table.submit(name, answers[name][0])) is Rule.WIRE_ORDER


def test_a_round_can_be_ended_before_it_starts_and_before_it_recovers() -> None:
    early = table_of().server
    failure_of(early.abort("no need"))
    table = table_of()
    table.advance(Leg.UNMASK)
    table.play_leg()
    assert table.server.ready
    failure_of(table.server.abort("no need"))
    assert_over(table)


def test_a_finished_round_is_not_ended_again() -> None:
    table = table_of()
    table.finish()
    before = table.server.outcome
    assert table.server.abort("too late") == ()
    assert table.server.outcome is before


def assert_over(table: Table) -> None:
    server = table.server
    assert isinstance(server.outcome, Failed)
    assert not server.ready
    assert not server.waiting_for
    for call in (server.close_leg, server.recover):
        with pytest.raises(MisuseError):
            call()


# Bad messages.


def state(server: ServerRound) -> tuple[object, ...]:
    return server.leg, server.waiting_for, server.ready, server.outcome


def assert_rejected(table: Table, sender: str, data: bytes, *rules: Rule) -> RemoteError:
    """The message is refused by one of the rules and counted, and nothing else has changed."""
    server = table.server
    before, count = state(server), server.rejections
    (rejected,) = table.submit(sender, data)
    assert isinstance(rejected, Rejected)
    assert rules == () or rejected.error.rule in rules, rejected.error
    assert (rejected.peer, rejected.error.peer, rejected.error.leg) == (sender, sender, server.leg)
    assert state(server) == before
    assert server.rejections == count + 1
    on_record = [(kept.peer, kept.error.rule) for kept in server.rejected]
    assert on_record.count((sender, rejected.error.rule)) == (1 if sender in table.names else 0)
    return rejected.error


def test_nothing_is_admitted_before_the_round_starts() -> None:
    _, answers = at(Leg.ADVERTISE)
    table = table_of()
    assert_rejected(table, NAME, answers[NAME][0], Rule.WIRE_ORDER)
    assert table.server.waiting_for == set(table.names)
    assert_exact(table)


def test_a_client_cannot_fill_the_servers_memory_with_refusals() -> None:
    table, _ = at(Leg.SHARE)
    for size in range(500):
        assert_rejected(table, NAME, bytes(size))
        assert_rejected(table, f"stranger-{size}", bytes(size))
    assert table.server.rejections == 1000
    assert len(table.server.rejected) <= len(Rule)


@by_leg
def test_a_stranger_is_refused(leg: Leg) -> None:
    table, answers = at(leg)
    for stranger in ("", "client-9999", "CLIENT-0002", "client-0002 "):
        assert isinstance(assert_rejected(table, stranger, answers[NAME][0], Rule.WIRE_SENDER), Unauthentic)
    submit_all(table, answers)
    table.close()
    assert_exact(table)


@by_leg
def test_one_client_cannot_speak_for_another(leg: Leg) -> None:
    table, answers = at(leg)
    data = answers[NAME][0]
    assert_rejected(table, "client-0003", data, Rule.WIRE_SENDER)
    renamed = data[:37] + (3).to_bytes(4, "big") + data[41:]
    expected = Rule.ADVERT_SIGNATURE if leg is Leg.ADVERTISE else Rule.WIRE_TAG
    assert_rejected(table, "client-0003", renamed, expected)
    submit_all(table, answers)
    table.close()
    assert_exact(table)


@by_leg
def test_every_flipped_byte_is_refused_and_the_sum_is_exact(leg: Leg) -> None:
    table, answers = at(leg, length=5)
    for data in answers[NAME]:
        for index in range(len(data)):
            flipped = bytearray(data)
            flipped[index] ^= 1 << index % 8
            assert_rejected(table, NAME, bytes(flipped))
    submit_all(table, answers)
    table.close()
    assert_exact(table)


@by_leg
def test_a_message_of_any_other_length_is_refused(leg: Leg) -> None:
    table, answers = at(leg)
    (data,) = answers[NAME]
    for length in range(0, len(data), 3):
        assert_rejected(table, NAME, data[:length])
    for more in (1, 15, 16, 17):
        assert_rejected(table, NAME, data + bytes(more))
    assert_rejected(table, NAME, data + bytes(10**7), Rule.WIRE_SIZE)
    submit_all(table, answers)


@by_leg
def test_a_repeat_is_refused_and_counts_nothing_twice(leg: Leg) -> None:
    table, answers = at(leg)
    submit_all(table, answers)
    for name in table.names:
        assert isinstance(assert_rejected(table, name, answers[name][0], Rule.WIRE_ORDER), Unexpected)
    table.close()
    assert_exact(table)


OUT_OF_ORDER: Final = (Rule.WIRE_ORDER, Rule.WIRE_SIZE, Rule.WIRE_FORMAT)
"""Some answers are longer than the one that is due can be, and an advert has no tag where others have one."""


@by_leg
def test_a_late_answer_is_refused_and_counts_nothing(leg: Leg) -> None:
    table, answers = at(leg)
    submit_all(table, answers, but=[NAME])
    table.close()
    late = answers[NAME][0]
    assert_rejected(table, NAME, late, *OUT_OF_ORDER)
    aggregate = table.finish({Leg.ADVERTISE: [NAME]})
    assert np.array_equal(aggregate.values, table.expected(aggregate.survivors))
    assert (NAME in aggregate.survivors) is (leg > Leg.MASK)
    assert_rejected(table, NAME, late, Rule.WIRE_ORDER)


PAIRS: Final = [pair for pair in itertools.product(LEGS, LEGS) if pair[0] is not pair[1]]


@pytest.mark.parametrize(("leg", "other"), PAIRS, ids=lambda leg: leg.name.lower())
def test_an_answer_of_another_leg_is_refused(leg: Leg, other: Leg) -> None:
    _, theirs = at(other)
    table, answers = at(leg)
    error = assert_rejected(table, NAME, theirs[NAME][0], *OUT_OF_ORDER)
    if isinstance(error, Unexpected):
        assert (error.expected, error.got) == (FROM_CLIENT[leg].__name__, FROM_CLIENT[other].__name__)
    submit_all(table, answers)


def test_a_message_of_the_server_is_refused() -> None:
    table, _ = at(Leg.SHARE)
    for kind in (*FROM_SERVER, None):
        number = 99 if kind is None else kind.KIND
        header = wire.MAGIC + bytes((number,)) + table.config.digest + (2).to_bytes(4, "big") + bytes(4)
        data = header.ljust(wire.aligned(len(header)), b"\0") + bytes(TAG_SIZE)
        assert_rejected(table, NAME, data, Rule.WIRE_ORDER)


def test_a_message_of_another_round_is_refused() -> None:
    table, answers = at(Leg.ADVERTISE)
    _, theirs = at(Leg.ADVERTISE, number=2)
    assert_rejected(table, NAME, theirs[NAME][0], Rule.WIRE_ROUND)
    submit_all(table, answers)


@by_leg
def test_the_order_of_arrival_changes_nothing(leg: Leg) -> None:
    table, answers = at(leg)
    submit_all(table, dict(reversed(answers.items())))
    table.close()
    assert_exact(table)


# Masked inputs in chunks.


class WatchedSpool(MemorySpool):
    """A spool that shows what is in it."""

    def held(self) -> dict[int, int]:
        return {position: len(chunks) for position, chunks in self._chunks.items()}


def uploads(spool: WatchedSpool, *, chunks: int = 3) -> tuple[Table, dict[str, list[bytes]]]:
    table, answers = at(Leg.ADVERTISE, length=(chunks - 1) * CHUNK_GRAIN + 7, chunk_words=CHUNK_GRAIN)
    table.server._spool = spool
    submit_all(table, answers)
    table.close()
    table.advance(Leg.MASK)
    return table, {name: table.deliver(name) for name in table.names}


@pytest.mark.parametrize("seed", range(4))
def test_chunks_of_many_uploads_may_come_between_one_another(seed: int) -> None:
    spool = WatchedSpool()
    table, answers = uploads(spool)
    left = {name: iter(chunks) for name, chunks in answers.items()}
    order = np.random.default_rng(seed).permutation(np.repeat(np.arange(5), 3)).tolist()
    for index in order:
        name = table.names[index]
        assert table.submit(name, next(left[name])) == ()
    assert spool.held() == {}
    table.close()
    assert_exact(table)


def test_an_input_counts_when_its_last_chunk_is_in() -> None:
    spool = WatchedSpool()
    table, answers = uploads(spool)
    for index, data in enumerate(answers[NAME], 1):
        assert NAME in table.server.waiting_for
        table.submit(NAME, data)
        assert spool.held() == ({2: index} if index < 3 else {})
    assert NAME not in table.server.waiting_for


@pytest.mark.parametrize("given", [0, 1, 2])
def test_an_upload_that_is_not_complete_is_a_drop_out(given: int) -> None:
    spool = WatchedSpool()
    table, answers = uploads(spool)
    submit_all(table, answers, but=[NAME])
    for data in answers[NAME][:given]:
        table.submit(NAME, data)
    table.close()
    assert spool.held() == {}
    assert_exact(table, [name for name in table.names if name != NAME])


def test_chunks_come_in_order_and_each_once() -> None:
    spool = WatchedSpool()
    table, answers = uploads(spool)
    first, second, third = answers[NAME]
    for data in (second, third):
        assert_rejected(table, NAME, data, Rule.INPUT_CHUNK)
    table.submit(NAME, first)
    for data in (first, third):
        assert_rejected(table, NAME, data, Rule.INPUT_CHUNK)
    table.submit(NAME, second)
    for data in (first, second):
        assert_rejected(table, NAME, data, Rule.INPUT_CHUNK)
    table.submit(NAME, third)
    for data in (first, second, third):
        assert_rejected(table, NAME, data, Rule.WIRE_ORDER)
    submit_all(table, answers, but=[NAME])
    table.close()
    assert_exact(table)


def test_the_chunk_of_another_place_has_another_tag() -> None:
    table, answers = uploads(WatchedSpool())
    first, second, _ = answers[NAME]
    table.submit(NAME, first)
    body = wire.open_envelope(second, max_size=len(second)).body
    front = second[: wire.aligned(wire.HEADER_SIZE + len(body))]
    relabelled = front + first[-TAG_SIZE - CHUNK_GRAIN * 4 :]
    assert_rejected(table, NAME, relabelled, Rule.WIRE_TAG)


def test_every_chunk_begins_at_a_multiple_of_eight_bytes() -> None:
    _, answers = uploads(WatchedSpool())
    fronts = [data[: len(data) - TAG_SIZE - len(tail_of(data))] for data in answers[NAME]]
    assert len(fronts) == 3
    assert all(len(front) % wire.ALIGNMENT == 0 for front in fronts)


def tail_of(data: bytes) -> memoryview:
    return wire.open_envelope(data, max_size=len(data), tag_size=TAG_SIZE).tail


def signed_by(table: Table, message: Message, tail: bytes = b"", *, index: int = 0) -> bytes:
    """A message of the client with a tag that verifies where one exists for that chunk number."""
    data = wire.front(message, config_digest=table.config.digest, sender=2) + tail
    try:
        return data + table.clients[NAME]._tag(message.KIND, data, index)
    except OverflowError:
        return data + bytes(TAG_SIZE)


@pytest.mark.parametrize("chunk", [1, 2**32 - 1, 2**32, 2**63, 2**64 - 1, -1, -(2**31), -(2**63)])
def test_a_chunk_number_out_of_range_is_refused(chunk: int) -> None:
    table, answers = at(Leg.MASK)
    data = signed_by(table, MaskedInput(chunk=chunk, unopened=b""), bytes(36), index=chunk)
    assert_rejected(table, NAME, data, Rule.INPUT_CHUNK, Rule.WIRE_TAG, Rule.WIRE_FORMAT)
    submit_all(table, answers)
    table.close()
    assert_exact(table)


class LosesChunks(WatchedSpool):
    """A spool that forgets what it was given first."""

    def take(self, position: int) -> Iterator[bytes]:
        yield from list(super().take(position))[1:]


def test_a_spool_that_loses_a_chunk_ends_the_round_and_no_sum_is_wrong() -> None:
    table, answers = uploads(LosesChunks())
    for data in answers[NAME][:-1]:
        table.submit(NAME, data)
    with pytest.raises(StorageError, match="spool"):
        table.submit(NAME, answers[NAME][-1])
    assert_over(table)


BAD_INPUTS: Final[dict[str, tuple[Callable[[bytes], Message], bytes, Rule]]] = {
    "a word short": (lambda bitmap: MaskedInput(0, bitmap), bytes(32), Rule.INPUT_CHUNK),
    "nothing": (lambda bitmap: MaskedInput(0, bitmap), b"", Rule.INPUT_CHUNK),
    "no report": (lambda bitmap: MaskedInput(0, b""), bytes(36), Rule.INPUT_UNOPENED),
    "a longer report": (lambda bitmap: MaskedInput(0, bitmap + b"\0"), bytes(36), Rule.INPUT_UNOPENED),
    "a report with padding": (lambda bitmap: MaskedInput(0, b"\x20"), bytes(36), Rule.INPUT_UNOPENED),
    "a report of itself": (lambda bitmap: MaskedInput(0, b"\x04"), bytes(36), Rule.INPUT_UNOPENED),
    "a report of too many": (lambda bitmap: MaskedInput(0, b"\x03"), bytes(36), Rule.INPUT_UNOPENED),
}


@pytest.mark.parametrize(("message", "tail", "rule"), BAD_INPUTS.values(), ids=BAD_INPUTS)
def test_an_authentic_input_that_breaks_a_rule_is_refused(
    message: Callable[[bytes], Message], tail: bytes, rule: Rule
) -> None:
    table, answers = at(Leg.MASK)
    assert_rejected(table, NAME, signed_by(table, message(b"\0"), tail), rule)
    submit_all(table, answers)
    table.close()
    assert_exact(table)


def test_a_padding_bit_behind_the_last_word_is_refused() -> None:
    inputs = np.zeros((5, 5), dtype=np.uint32)
    table = Table(PLAN, inputs, bits=10)  # 50 bits in 7 bytes
    table.advance(Leg.MASK)
    for bit in range(2, 8):
        message = signed_by(table, MaskedInput(0, b"\0"), bytes(6) + bytes((1 << bit,)))
        assert_rejected(table, NAME, message, Rule.INPUT_RANGE)
    assert_exact(table)


class Refusing:
    """A directory that knows everyone but one."""

    def __init__(self, directory: Directory, but: str) -> None:
        self._directory = directory
        self._but = but

    def key_of(self, client: Any) -> bytes | None:
        return None if client == self._but else self._directory.key_of(client)


def test_a_client_the_directory_does_not_know_cannot_join() -> None:
    table, answers = at(Leg.ADVERTISE)
    server = ServerRound(table.config, invited=table.names, directory=Refusing(table.directory, NAME))
    server.start()
    assert rule_of(server.receive(NAME, answers[NAME][0])) is Rule.ADVERT_IDENTITY
    assert server.receive("client-0003", answers["client-0003"][0]) == ()
    assert server.waiting_for == set(table.names) - {"client-0003"}


def test_chunks_that_wait_do_not_wait_for_good() -> None:
    spool = WatchedSpool()
    table, answers = uploads(spool)
    for name in table.names[:3]:
        table.submit(name, answers[name][0])
    failure_of(table.server.close_leg())
    assert spool.held() == {}
