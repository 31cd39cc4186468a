"""A client that stops anywhere: it resumes from its disk to the exact sum, or drops out; it never answers twice."""

from __future__ import annotations

import collections
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pytest

from secagg import config, wire
from secagg.config import CHUNK_GRAIN
from secagg.errors import MisuseError, StorageError, Violation
from secagg.identity import Identity, MemoryDirectory
from secagg.pairwise.channel import TAG_SIZE, Direction
from secagg.pairwise.messages import BOX_SIZE, Inbox, MaskedInput, Roster, SurvivorSet, UnmaskRequest
from secagg.plan import Plan
from secagg.primitives.secret import Secret
from secagg.round.client import ClientRound
from secagg.round.events import Event, Failed, Finished, NeedInput, Send
from secagg.round.journal import Kind
from secagg.rules import Rule
from secagg.store import FileStore, MemoryStore, RoundStore
from secagg.testing.table import Table
from secagg.types import SERVER, Adversary, Leg
from secagg.wire import Message, pack_positions, unpack_positions

PLAN: Final = Plan.find(clients=5, max_dropped=1, max_corrupt=0)
SEMI_HONEST: Final = Plan.find(clients=5, max_dropped=1, max_corrupt=0, adversary=Adversary.SEMI_HONEST)
NAME: Final = "client-0002"
POSITION: Final = 2
SESSION: Final = bytes(16)
KEY: Final = b"k" * 32

# The operations of a whole round, in order; a record is an append.
OPERATIONS: Final = (
    "reserve",
    "secret",
    "offer",
    "advert",
    "roster",
    "shares",
    "inbox",
    "masked",
    "survivors",
    "signature",
    "request",
    "unmasked",
    "erase",
)


@pytest.fixture(autouse=True)
def swift(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here pulls a plug, so nothing is gained by waiting for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


class CrashError(BaseException):
    """The process ended here; no handler of the code under test is meant to see it."""


@dataclass(frozen=True)
class Crash:
    """Where a process ends: at its `operation`-th use of the store, before, in the middle of or after it."""

    operation: int
    when: str

    def __str__(self) -> str:
        name = OPERATIONS[self.operation] if self.operation < len(OPERATIONS) else self.operation
        return f"{self.when} {name}"


class FragileStore:
    """A file store whose process dies at a given operation, and does nothing to the disk afterwards."""

    def __init__(self, path: Path, crash: Crash | None) -> None:
        self._store = FileStore(path, key=Secret(KEY))
        self._crash = crash
        self._used = 0
        self.dead = False

    def last_round(self, session: bytes) -> int:
        self._live()
        return self._store.last_round(session)

    def records(self) -> Iterator[bytes]:
        self._live()
        return self._store.records()

    def reserve(self, session: bytes, number: int) -> None:
        self._change(lambda: self._store.reserve(session, number))

    def append(self, record: bytes) -> None:
        self._change(lambda: self._store.append(record))

    def erase(self) -> None:
        self._change(self._store.erase)

    def _live(self) -> None:
        if self.dead:
            raise CrashError

    def _change(self, act: Callable[[], None]) -> None:
        self._live()
        dies = self._crash is not None and self._used == self._crash.operation
        when = self._crash.when if self._crash is not None and dies else ""
        self._used += 1
        self.dead = dies
        if when == "before":
            raise CrashError
        if when == "amid":
            half_written(act)
        else:
            act()
        if dies:
            raise CrashError


def half_written(act: Callable[[], None]) -> None:
    """Stop the machine when half of the first write is on the disk; what writes nothing, as an erasure, is whole."""
    real = os.pwrite

    def write(descriptor: int, data: bytes, offset: int) -> int:
        real(descriptor, data[: len(data) // 2], offset)
        raise CrashError

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(CrashError):
        patch.setattr(os, "pwrite", write)
        act()


class Victim:
    """A client that is started again after every crash, and everything it ever said.

    Args:
        table: the round; its own client of that name is not used.
        path: the client's disk.
        crashes: where its processes end, one after the other; the last one lives.
        keep_input: as for `ClientRound`.
        early: whether the input is provided before it is asked for.
    """

    def __init__(
        self, table: Table, path: Path, crashes: tuple[Crash, ...], *, keep_input: bool = True, early: bool = False
    ) -> None:
        self.table = table
        self.said: dict[tuple[int, int], set[bytes]] = collections.defaultdict(set)
        self.failed: Failed | None = None
        self.finished = False
        self._path = path
        self._crashes = list(crashes)
        self._keep_input = keep_input
        self._early = early
        self.client = self._start()
        if early:
            self.client.provide(table.input_of(NAME))

    def take(self, data: bytes) -> None:
        """Hand it one message, again after each crash, as a network that delivers at least once does."""
        waiting: list[bytes | None] = [data]
        while waiting:
            message = waiting.pop()
            if message is not None and self.client.closed:
                continue
            try:
                self._act(self.client.resume() if message is None else self.client.receive(message))
            except CrashError:
                self.client = self._start()
                waiting += [data, None]

    def _start(self) -> ClientRound:
        """A new process: nothing of the old one is left but the disk; its secrets come from the operating system."""
        table = self.table
        return ClientRound(
            client=NAME,
            identity=table.identities[NAME],
            directory=table.directory,
            recipe=table.recipe,
            policy=table.policy,
            store=FragileStore(self._path, self._crashes.pop(0) if self._crashes else None),
            keep_input=self._keep_input,
        )

    def _act(self, events: tuple[Event, ...]) -> None:
        for event in events:
            match event:
                case Send():
                    self._send(bytes(event.data))
                case NeedInput():
                    self._act(self.client.provide(self.table.input_of(NAME)))
                case Failed():
                    self.failed = event
                case Finished():
                    self.finished = True

    def _send(self, data: bytes) -> None:
        kind = data[4]
        body = wire.open_envelope(data, max_size=len(data), tag_size=0).body
        chunk = wire.decode_body(MaskedInput, body).chunk if kind == MaskedInput.KIND else 0
        self.said[kind, chunk].add(data)
        self.table.submit(NAME, data)

    def assert_said_one_thing(self) -> None:
        assert {key: len(answers) for key, answers in self.said.items()} == dict.fromkeys(self.said, 1)


def table_of(plan: Plan = PLAN, *, length: int = 9, number: int = 1) -> Table:
    inputs = np.random.default_rng(8).integers(0, 2**32, (plan.clients, length), dtype=np.uint32)
    return Table(plan, inputs, number=number)


def play(victim: Victim) -> None:
    """The whole round, the victim among the others."""
    table = victim.table
    table.start()
    while table.outcome is None and not table.server.ready:
        for data in table.pending.pop(NAME, []):
            victim.take(data)
        table.play_leg(silent=[NAME])
    aggregate = table.finish()
    assert np.array_equal(aggregate.values, table.expected(aggregate.survivors))
    assert set(aggregate.survivors) >= set(table.names) - {NAME}


def survived(victim: Victim) -> bool:
    outcome = victim.table.outcome
    assert isinstance(outcome, Finished)
    assert outcome.aggregate is not None
    return NAME in outcome.aggregate.survivors


CRASHES: Final = [Crash(operation, when) for operation in range(13) for when in ("before", "amid", "after")]


NUMBER_LOST: Final = {"after reserve", "before secret", "amid secret", "after secret", "before offer", "amid offer"}
"""The number was used up and no offer is on record: this round is over for the client."""

INPUT_LOST: Final = "after masked"
"""The input was masked, and whether it left is not known: it is never masked again."""


def left_early(crash: Crash, *, keep_input: bool) -> bool:
    """Its input counts, and it answers no more: the inbox came again after it masked, or the record was gone."""
    repeated = ("after inbox", "before masked", "amid masked")
    return str(crash) in ("amid erase", "after erase") or (str(crash) in repeated and not keep_input)


@pytest.mark.parametrize("early", [False, True], ids=["asked", "early"])
@pytest.mark.parametrize("keep_input", [True, False], ids=["kept", "not kept"])
@pytest.mark.parametrize("crash", CRASHES, ids=str)
def test_a_crash_anywhere_ends_in_the_exact_sum_or_a_drop_out(
    tmp_path: Path,
    crash: Crash,
    keep_input: bool,  # noqa: FBT001  # a parameter of the test
    early: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    victim = Victim(table_of(), tmp_path, (crash,), keep_input=keep_input, early=early)
    play(victim)
    victim.assert_said_one_thing()
    assert survived(victim) is not (str(crash) in NUMBER_LOST or (str(crash) == INPUT_LOST and not keep_input))
    assert victim.finished is (survived(victim) and not left_early(crash, keep_input=keep_input))
    assert FileStore(tmp_path, key=Secret(KEY)).last_round(SESSION) == 1


@pytest.mark.parametrize("crash", CRASHES, ids=str)
def test_after_a_crash_anywhere_the_client_can_serve_the_next_round(tmp_path: Path, crash: Crash) -> None:
    play(Victim(table_of(), tmp_path, (crash,)))
    following = Victim(table_of(number=2), tmp_path, ())
    play(following)
    assert survived(following)


SECOND: Final = [Crash(operation, when) for operation in (0, 1) for when in ("before", "amid", "after")]


@pytest.mark.parametrize("crash", CRASHES, ids=str)
def test_a_second_crash_while_resuming_or_soon_after_changes_nothing(tmp_path: Path, crash: Crash) -> None:
    for index, second in enumerate(SECOND):
        victim = Victim(table_of(), tmp_path / str(index), (crash, second, Crash(0, "before")))
        play(victim)
        victim.assert_said_one_thing()
        assert survived(victim) or NUMBER_LOST & {str(crash), str(second)}


@pytest.mark.parametrize("crash", CRASHES, ids=str)
def test_a_crash_anywhere_without_a_quorum(tmp_path: Path, crash: Crash) -> None:
    victim = Victim(table_of(SEMI_HONEST), tmp_path, (crash,))
    play(victim)
    victim.assert_said_one_thing()
    assert survived(victim) is not (str(crash) in NUMBER_LOST)


@pytest.mark.parametrize("crash", [Crash(7, when) for when in ("before", "amid", "after")], ids=str)
@pytest.mark.parametrize("keep_input", [True, False])
def test_an_input_of_several_chunks_leaves_whole_or_not_at_all(
    tmp_path: Path,
    crash: Crash,
    keep_input: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    victim = Victim(table_of(length=2 * CHUNK_GRAIN + 3), tmp_path, (crash,), keep_input=keep_input)
    play(victim)
    victim.assert_said_one_thing()
    chunks = {chunk for kind, chunk in victim.said if kind == MaskedInput.KIND}
    assert chunks == ({0, 1, 2} if survived(victim) else set())
    assert survived(victim) is (keep_input or str(crash) != INPUT_LOST)


# A server that asks differently after the crash.


def tagged(table: Table, message: Message) -> bytes:
    """A message of the server to the victim, as only the server can write it."""
    data = wire.front(message, config_digest=table.config.digest, sender=SERVER)
    return data + table.server._channels[POSITION].tag(Direction.DOWN, message.KIND, data)


def fewer(bitmap: bytes) -> bytes:
    """A set of positions without its last one."""
    return pack_positions(unpack_positions(bitmap, PLAN.clients, Rule.WIRE_FORMAT)[:-1], PLAN.clients)


def another(table: Table, data: bytes, signatures: Mapping[int, bytes]) -> bytes:
    """Another message of the same leg that an honest server could have sent."""
    body = wire.open_envelope(data, max_size=len(data), tag_size=TAG_SIZE).body
    match data[4]:
        case Roster.KIND:
            roster = wire.decode_body(Roster, body)
            return tagged(table, Roster(joined=fewer(roster.joined), adverts=roster.adverts[:-1]))
        case Inbox.KIND:
            inbox = wire.decode_body(Inbox, body)
            return tagged(table, Inbox(senders=fewer(inbox.senders), boxes=inbox.boxes[:-BOX_SIZE]))
        case SurvivorSet.KIND:
            survivors = wire.decode_body(SurvivorSet, body).survivors
            return tagged(table, SurvivorSet(survivors=fewer(survivors)))
    last = sorted(signatures)[-PLAN.quorum :]
    signed = b"".join(signatures[position] for position in last)
    return tagged(table, UnmaskRequest(signers=pack_positions(last, PLAN.clients), signatures=signed))


FIRST_OF: Final = {Leg.SHARE: 4, Leg.MASK: 6, Leg.CONFIRM: 8, Leg.UNMASK: 10}
"""The operation that records the request of each leg; the next one records the answer."""


@pytest.mark.parametrize("when", ["before", "amid", "after"])
@pytest.mark.parametrize("step", [0, 1], ids=["request", "answer"])
@pytest.mark.parametrize("leg", FIRST_OF, ids=lambda leg: leg.name.lower())
@pytest.mark.parametrize("keep_input", [True, False], ids=["kept", "not kept"])
def test_a_server_that_asks_differently_after_a_crash_gets_one_answer(
    tmp_path: Path,
    leg: Leg,
    step: int,
    when: str,
    keep_input: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    table = table_of()
    victim = Victim(table, tmp_path, (Crash(FIRST_OF[leg] + step, when),), keep_input=keep_input)
    signatures: dict[int, bytes] = {}
    table.start()
    while table.server.leg < leg:
        for data in table.pending.pop(NAME, []):
            victim.take(data)
        for other in table.names:
            for data in table.deliver(other):
                table.submit(other, data)
        signatures |= getattr(table.server._phase, "_signatures", {})
        table.close()
    (asked,) = table.pending.pop(NAME)
    differently = another(table, asked, signatures)
    assert differently != asked
    said_before = set(victim.said)
    with pytest.raises(CrashError):
        victim._act(victim.client.receive(asked))
    victim.client = victim._start()
    victim._act(victim.client.resume())
    answered_first = set(victim.said) != said_before
    recorded = step == 1 or when == "after"
    assert answered_first is (recorded and (keep_input or (leg, step, when) != (Leg.MASK, 1, "after")))
    if leg is Leg.UNMASK and recorded:  # it is finished
        with pytest.raises(MisuseError, match="closed"):
            victim.client.receive(differently)
    else:
        victim._act(victim.client.receive(differently))
        assert (victim.failed is not None) is recorded
    victim.assert_said_one_thing()


# Records.


def stopped(leg: Leg, store: RoundStore, *, keep_input: bool = True) -> tuple[Table, list[bytes]]:
    """A table whose client has answered every leg before `leg`, and all it said."""
    table = table_of()
    table.clients[NAME] = table.new_client(NAME, store, keep_input=keep_input)
    said: list[bytes] = []
    table.start()
    while table.server.leg < leg:
        for answer in table.deliver(NAME):
            said.append(answer)
            table.submit(NAME, answer)
        table.play_leg()
    return table, said


def store_of(records: Iterable[bytes]) -> MemoryStore:
    store = MemoryStore()
    store.reserve(SESSION, 1)
    for record in records:
        store.append(record)
    return store


LEGS: Final = (Leg.SHARE, Leg.MASK, Leg.CONFIRM, Leg.UNMASK)


@pytest.mark.parametrize("leg", LEGS, ids=lambda leg: leg.name.lower())
def test_resuming_repeats_the_last_answer_and_stands_where_it_stood(leg: Leg) -> None:
    store = MemoryStore()
    table, said = stopped(leg, store)
    resumed = table.new_client(NAME, store_of(store.records()))
    (last,) = resumed.resume()
    assert isinstance(last, Send)
    assert bytes(last.data) == said[-1]
    assert resumed.leg is table.clients[NAME].leg
    table.clients[NAME] = resumed
    aggregate = table.finish()
    assert np.array_equal(aggregate.values, table.expected(table.names))


def test_a_resumed_client_answers_every_earlier_request_as_before() -> None:
    store = MemoryStore()
    first = table_of()
    first.clients[NAME] = first.new_client(NAME, store, keep_input=True)
    heard: list[tuple[bytes, list[bytes]]] = []
    first.start()
    while first.server.leg < Leg.UNMASK:
        for data in first.pending.pop(NAME, []):
            heard.append((data, first.hand(NAME, data)))
            for answer in heard[-1][1]:
                first.submit(NAME, answer)
        first.play_leg(silent=[NAME])
    resumed = first.new_client(NAME, store)
    resumed.resume()
    for data, answers in heard:
        assert [bytes(event.data) for event in resumed.receive(data) if isinstance(event, Send)] == answers


def test_without_the_input_kept_resuming_repeats_nothing_and_a_repeat_drops_out() -> None:
    store = MemoryStore()
    table = table_of()
    table.clients[NAME] = table.new_client(NAME, store)
    table.advance(Leg.MASK)
    (inbox,) = table.pending[NAME]
    table.deliver(NAME)
    resumed = table.new_client(NAME, store)
    assert resumed.resume() == ()
    with pytest.raises(MisuseError, match="one round masks one input"):
        resumed.provide(table.input_of(NAME))
    (failed,) = resumed.receive(inbox)
    assert isinstance(failed, Failed)


def test_an_empty_record_is_resumed_to_nothing_and_the_round_can_begin() -> None:
    table = table_of()
    client = table.clients[NAME]
    assert client.resume() == ()
    aggregate = table.finish()
    assert NAME in aggregate.survivors


def test_a_number_without_an_offer_stays_used() -> None:
    store = store_of(())
    table = table_of()
    client = table.new_client(NAME, store)
    assert client.resume() == ()
    table.start()
    (failed,) = client.receive(table.pending[NAME][0])
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, Violation)
    assert failed.error.rule is Rule.OFFER_FRESH


def test_the_record_of_another_client_does_not_replay() -> None:
    store = MemoryStore()
    table, _ = stopped(Leg.CONFIRM, store)
    other = table.new_client("client-0003", store)
    with pytest.raises(StorageError, match="does not replay"):
        other.resume()
    assert other.closed
    with pytest.raises(MisuseError, match="closed"):
        other.receive(b"")
    # It is not the record's fault: whose it is can still resume it.
    (last,) = table.new_client(NAME, store, keep_input=True).resume()
    assert isinstance(last, Send)


@pytest.mark.parametrize("change", ["identity", "instructions"])
def test_a_client_that_changed_does_not_replay_its_record(change: str) -> None:
    store = MemoryStore()
    table, _ = stopped(Leg.CONFIRM, store)
    stranger = Identity.generate()
    pinned = {name: identity.public for name, identity in table.identities.items()} | {NAME: stranger.public}
    changes: dict[str, dict[str, object]] = {
        "identity": {"identity": stranger, "directory": MemoryDirectory(pinned)},
        "instructions": {"instructions": b"another model"},
    }
    with pytest.raises(StorageError, match="does not replay"):
        table.new_client(NAME, store, **changes[change]).resume()


def replays(table: Table, records: Iterable[bytes]) -> tuple[Event, ...] | None:
    """What a client says when it resumes these records; None where it refuses them and leaves them as they are."""
    given = tuple(records)
    store = store_of(given)
    try:
        return table.new_client(NAME, store, keep_input=True).resume()
    except StorageError:
        assert tuple(store.records()) == given
        return None


def test_a_record_of_another_suite_is_left_as_it_is_until_it_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore()
    with monkeypatch.context() as older:
        older.setattr(config, "SUITE", 1)
        table, _ = stopped(Leg.CONFIRM, store)
    records = tuple(store.records())
    with pytest.raises(StorageError, match="suite 1"):
        table.new_client(NAME, store).resume()
    assert tuple(store.records()) == records
    later = table_of(number=2)
    later.start()
    with pytest.raises(MisuseError, match="resume"):
        later.new_client(NAME, store).receive(later.pending[NAME][0])
    table.new_client(NAME, store).abort()
    assert tuple(store.records()) == ()
    later.clients[NAME] = later.new_client(NAME, store)
    assert NAME in later.finish().survivors


def test_a_record_of_no_known_kind_does_not_replay() -> None:
    store = MemoryStore()
    table, _ = stopped(Leg.CONFIRM, store)
    records = tuple(store.records())
    assert replays(table, records) is not None
    for bad in (b"", b"\0", b"\5", b"\xff" + records[0][1:]):
        for place in range(len(records) + 1):
            assert replays(table, (*records[:place], bad, *records[place:])) is None


def test_records_left_out_moved_or_repeated_say_nothing_new() -> None:
    store = MemoryStore()
    table, said = stopped(Leg.UNMASK, store)
    records = tuple(store.records())
    orders = [
        [index for index in range(len(records)) if index != left_out] for left_out in range(len(records))
    ]  # fmt: skip  # one list a kind of change
    orders += [[*range(place), place, *range(place, len(records))] for place in range(len(records))]
    orders += [
        [*range(place), place + 1, place, *range(place + 2, len(records))] for place in range(len(records) - 1)
    ]  # fmt: skip  # one list a kind of change
    assert_says_nothing_new(table, said, [[records[index] for index in order] for order in orders])


def test_a_changed_record_says_nothing_new() -> None:
    store = MemoryStore()
    table, said = stopped(Leg.UNMASK, store)
    records = tuple(store.records())
    variants = []
    for index, record in enumerate(records):
        if record[0] == 4:  # a kept input is as safe as the store; a file store seals it
            continue
        for place in (1, len(record) // 2, len(record) - 1):
            changed = bytearray(record)
            changed[place] ^= 1
            variants.append([*records[:index], bytes(changed), *records[index + 1 :]])
    assert_says_nothing_new(table, said, variants)


def assert_says_nothing_new(table: Table, said: list[bytes], variants: list[list[bytes]]) -> None:
    refusals = 0
    for records in variants:
        events = replays(table, records)
        refusals += events is None
        for event in events or ():
            assert not isinstance(event, Send) or bytes(event.data) in said
    assert refusals > len(variants) // 2


BROKEN: Final[Mapping[Leg, Message]] = {
    Leg.SHARE: Roster(joined=b"\0", adverts=[]),
    Leg.MASK: Inbox(senders=b"\0", boxes=b""),
    Leg.CONFIRM: SurvivorSet(survivors=b"\0"),
    Leg.UNMASK: UnmaskRequest(signers=b"\0", signatures=b""),
}
"""A message that a client takes at each leg for the server's own, records, and refuses for what is in it."""


@pytest.mark.parametrize("leg", BROKEN)
def test_a_client_that_stopped_while_it_refused_refuses_again_and_leaves(leg: Leg) -> None:
    store = MemoryStore()
    table, _ = stopped(leg, store)
    records = [*store.records(), bytes((Kind.REQUEST,)) + tagged(table, BROKEN[leg])]
    (refusal,) = table.clients[NAME].receive(tagged(table, BROKEN[leg]))
    assert isinstance(refusal, Failed)
    again = store_of(records)
    client = table.new_client(NAME, again, keep_input=True)
    (event,) = client.resume()
    assert isinstance(event, Failed)
    assert str(event.error) == str(refusal.error)
    assert client.closed
    assert not tuple(again.records())
    assert again.last_round(SESSION) == 1


@pytest.mark.parametrize("leg", [Leg.SHARE, Leg.CONFIRM])
def test_a_refused_message_before_others_is_a_record_that_does_not_replay(leg: Leg) -> None:
    store = MemoryStore()
    table, _ = stopped(leg, store)
    records = [*store.records(), bytes((Kind.REQUEST,)) + tagged(table, BROKEN[leg])]
    assert replays(table, [*records, bytes((Kind.ANSWERED,)) + bytes(32)]) is None
