"""No key is used twice, every key is bound to all it depends on, and masked inputs tell nothing.

The first part records every counter block and every sealed byte of several rounds, white-box, and looks for a
repetition. It is played in the worst case: the fixed entropy hands every round the same round secrets, so whatever
differs between rounds differs by what the keys are bound to. And it is played twice: streams are made by GCM where they
can be, and in counter mode alone.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR, ECB, GCM
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.faults import flip
from secagg import graph, wire
from secagg.aggregate import Aggregate
from secagg.config import CHUNK_GRAIN
from secagg.pairwise import keys
from secagg.pairwise.channel import TAG_SIZE, Channel, Direction
from secagg.plan import Plan
from secagg.primitives import aead, agreement, labels, prg
from secagg.primitives.kdf import derive, digest
from secagg.primitives.secret import Secret
from secagg.primitives.suite import PRIVATE_KEY_SIZE, SEED_SIZE
from secagg.ring import Ring, Words
from secagg.round.events import Event, NeedInput, Send, Stream
from secagg.store import MemoryStore
from secagg.testing import masks
from secagg.testing.plans import small_regular_plan
from secagg.testing.table import Table, client_names
from secagg.types import Adversary, Leg
from tests.support.liars import LyingClient, LyingServer

SERVER = "the server"
unhurried = settings(deadline=None)  # a busy machine is no failure
ACTIVE = Plan.find(clients=5, max_dropped=2, max_corrupt=0)
CURIOUS = Plan.find(clients=4, max_dropped=1, max_corrupt=0, adversary=Adversary.SEMI_HONEST)
REGULAR = small_regular_plan(clients=6, degree=2, threshold=2, max_dropped=1)


# What was opened and what was sealed.


class Opening(NamedTuple):
    """A piece of a stream, written: 16 bytes of AES key and 12 of nonce name the stream."""

    party: str
    name: bytes
    position: int
    size: int


class Run(NamedTuple):
    """Counter blocks that a cipher encrypted: one AES key, the 12 bytes they share, and the first and last counter.

    `name` is the stream's or the sealing's 28 bytes, which need not be the key and nonce the cipher was given.
    """

    party: str
    name: bytes
    key: bytes
    nonce: bytes
    first: int
    last: int

    def encrypted(self) -> bytes:
        blocks = (self.nonce + counter.to_bytes(4, "big") for counter in range(self.first, self.last + 1))
        return Cipher(AES128(self.key), ECB()).encryptor().update(b"".join(blocks))  # noqa: S305  # the bare cipher


class Sealing(NamedTuple):
    """One box or tag."""

    party: str
    key: bytes
    nonce: bytes
    plaintext: bytes
    context: bytes

    @property
    def run(self) -> Run:
        """GCM takes block 1 for the tag and those from 2 on for the text."""
        return Run(self.party, self.key + self.nonce, self.key, self.nonce, 1, 1 + blocks_of(len(self.plaintext)))


def blocks_of(size: int) -> int:
    """How many blocks `size` bytes take; one that is begun counts whole."""
    return -(-size // prg.BLOCK_SIZE)


def repeated(runs: Iterable[Run]) -> list[tuple[Run, Run]]:
    """Runs by one party, under one AES key and nonce, that share a counter block; none if no block was used twice."""
    together: dict[tuple[str, bytes, bytes], list[Run]] = collections.defaultdict(list)
    for run in runs:
        together[run.party, run.key, run.nonce].append(run)
    ordered = (sorted(under, key=lambda run: run.first) for under in together.values())
    neighbors = itertools.chain.from_iterable(map(itertools.pairwise, ordered))
    return [(one, other) for one, other in neighbors if other.first <= one.last]


@dataclass
class Tape:
    """Everything a recording saw; `party` is who is at work."""

    party: str = SERVER
    openings: list[Opening] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    sealings: list[Sealing] = field(default_factory=list)

    def forget(self) -> None:
        self.openings.clear()
        self.runs.clear()
        self.sealings.clear()


class RecordingContext:
    """A cipher at work: what it was begun with, and the blocks each piece made it encrypt."""

    def __init__(self, tape: Tape, key: bytes, mode: GCM | CTR, context: CipherContext) -> None:
        counts_itself = isinstance(mode, CTR)
        begun = bytes(mode.nonce if isinstance(mode, CTR) else mode.initialization_vector)
        assert len(begun) == 12 + 4 * counts_itself
        self._tape, self._key, self._context = tape, key, context
        self._nonce, self._first = begun[:12], int.from_bytes(begun[12:], "big") if counts_itself else 2
        self._made = 0

    def update_into(self, data: memoryview, buffer: memoryview) -> int:
        """A piece that begins inside a block takes the rest of it: that block was encrypted for the piece before."""
        first, self._made = self._first + blocks_of(self._made), self._made + len(data)
        last = self._first + blocks_of(self._made) - 1
        if first <= last:
            opening = self._tape.openings[-1]
            self._tape.runs.append(Run(opening.party, opening.name, self._key, self._nonce, first, last))
        return self._context.update_into(data, buffer)


@pytest.fixture(params=["by GCM", "in counter mode"])
def tape(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Tape:
    """Record at the two places where the suite meets a cipher; the streams are made in either way."""
    tape = Tape()

    class RecordingStream(prg.Stream):
        __slots__ = ("_name",)

        def __init__(self, key: Secret) -> None:
            self._name = key.reveal()
            super().__init__(key)

        def write(self, position: int, buffer: memoryview) -> None:
            tape.openings.append(Opening(tape.party, self._name, position, len(buffer)))
            super().write(position, buffer)

    class RecordingCipher:
        def __init__(self, algorithm: AES128, mode: GCM | CTR) -> None:
            self._key, self._mode = bytes(algorithm.key), mode
            self._cipher = Cipher(algorithm, mode)

        def encryptor(self) -> RecordingContext:
            return RecordingContext(tape, self._key, self._mode, self._cipher.encryptor())

    class Recorder:
        def __init__(self, key: bytes) -> None:
            self._key, self._cipher = key, AESGCM(key)

        def encrypt(self, nonce: bytes, data: bytes, context: bytes | memoryview) -> bytes:
            tape.sealings.append(Sealing(tape.party, self._key, nonce, bytes(data), bytes(context)))
            return self._cipher.encrypt(nonce, data, context)

        def decrypt(self, nonce: bytes, data: bytes | memoryview, context: bytes | memoryview) -> bytes:
            return self._cipher.decrypt(nonce, data, context)

    monkeypatch.setattr(prg, "gcm_is_faster", lambda: request.param == "by GCM")
    monkeypatch.setattr(prg, "Stream", RecordingStream)
    monkeypatch.setattr(prg, "Cipher", RecordingCipher)
    monkeypatch.setattr(aead, "AESGCM", Recorder)
    graph.regular.cache_clear()  # a graph that is remembered opens no stream
    return tape


class TapedTable(Table):
    """A table that says who is at work; its clients may hand over their input message by message."""

    def __init__(self, tape: Tape, plan: Plan, *, length: int = 3, streamed: bool = False, **changes: Any) -> None:
        self.tape = tape
        super().__init__(plan, np.full((plan.clients, length), 7, dtype=np.uint32), **changes)
        if streamed:
            self.clients = {name: self.new_client(name, stream=True) for name in self.names}

    def hand(self, name: str, data: bytes) -> list[bytes]:
        self.tape.party = name
        try:
            events = self.clients[name].receive(data)
            if any(isinstance(event, NeedInput) for event in events):
                events = self.clients[name].provide(self.input_of(name))
            return [bytes(message) for event in events for message in messages_of(event)]
        finally:
            self.tape.party = SERVER


def messages_of(event: Event) -> Iterable[bytes | bytearray]:
    if isinstance(event, Stream):
        return event.messages
    return (event.data,) if isinstance(event, Send) else ()


NAMES = client_names(6)
LONG = prg.SEGMENT // 4 + CHUNK_GRAIN + 9
"""Words of 32 bits in more than one segment: a chunk of CHUNK_GRAIN begins inside each, one of thrice that crosses."""

ROUNDS: list[tuple[Plan, dict[Leg, list[str]], dict[str, Any]]] = [
    (ACTIVE, {}, {}),
    (ACTIVE, {}, {"number": 2}),
    (ACTIVE, {}, {"number": 2, "session": b"another session!"}),
    (ACTIVE, {}, {"instructions": b"another model"}),
    (ACTIVE, {}, {"length": 4}),
    (ACTIVE, {}, {"length": CHUNK_GRAIN + 9}),
    (ACTIVE, {}, {"length": LONG, "streamed": True}),
    (CURIOUS, {Leg.MASK: NAMES[2:3]}, {"length": LONG, "streamed": True, "chunk_words": 3 * CHUNK_GRAIN}),
    (ACTIVE, {Leg.MASK: NAMES[:1], Leg.UNMASK: NAMES[1:2]}, {"number": 3}),
    (ACTIVE, {Leg.SHARE: NAMES[:1], Leg.MASK: NAMES[1:2]}, {"number": 4}),
    (CURIOUS, {Leg.MASK: NAMES[2:3]}, {}),
    (REGULAR, {Leg.MASK: NAMES[3:4]}, {}),
]
"""Rounds that differ in a thing each: number, session, instructions, length, chunks, plan, drop-outs; not in label."""


def played(tape: Tape) -> Iterator[tuple[TapedTable, Aggregate, dict[Leg, list[str]]]]:
    for plan, silent, changes in ROUNDS:
        tape.forget()
        table = TapedTable(tape, plan, **changes)
        yield table, table.finish(silent), silent


Purpose = tuple[str, ...]


class Schedule:
    """The keystreams of a round, worked out from everyone's secrets by keys.py: the name of each -> what it is for."""

    def __init__(self, table: Table) -> None:
        liars = [LyingClient(table, name) for name in table.names]
        server = LyingServer(table)
        server.adverts = {liar.position: liar.advert() for liar in liars}
        self.joined = server.joined
        self.names: dict[bytes, Purpose] = {}
        salt, roster = table.config.digest, self.joined.digest
        for liar in liars:
            own = keys.self_mask_key(liar.secrets.self_mask_seed, config_digest=salt, box=liar.secrets.box)
            coefficients = derive(
                liar.root, salt=salt, label=labels.SHAMIR_COEFFICIENTS, context=roster, length=prg.STREAM_KEY_SIZE
            )
            self.names |= {own.reveal(): ("self", liar.name), coefficients.reveal(): ("coefficients", liar.name)}
            for peer in self.joined.neighbors(liar.position):
                ends = self.joined.mask_endpoint(liar.position), self.joined.mask_endpoint(peer)
                shared = keys.pairwise_mask_key(
                    liar.secrets.mask_private, *ends, config_digest=salt, roster_digest=roster
                )
                self.names[shared.reveal()] = pair(liar.name, table.names[peer])
        seed = Secret(digest(labels.GRAPH_SEED, salt, roster))
        self.graph = derive(seed, salt=b"", label=labels.GRAPH, length=prg.STREAM_KEY_SIZE).reveal()

    def uses(self, table: Table, *, sharers: Collection[str], survivors: Collection[str]) -> set[tuple[str, Purpose]]:
        """Who must have opened what for what, when these clients shared and those survived."""
        used: set[tuple[str, Purpose]] = {(name, ("coefficients", name)) for name in sharers}
        for name in survivors:
            near = {table.names[peer] for peer in self.joined.neighbors(table.names.index(name))} & {*sharers}
            used |= {(name, ("self", name))} | {(name, pair(name, peer)) for peer in near}
            used |= {(SERVER, ("self", name))} | {(SERVER, pair(name, peer)) for peer in near - {*survivors}}
        return used


def pair(one: str, other: str) -> Purpose:
    return ("pair", *sorted((one, other)))


def test_runs_that_share_a_block_are_found_whatever_else_they_share() -> None:
    """The ledger itself: one block in common is enough, and key, nonce and party must all be the same."""
    run = Run("one", b"name", b"key", b"nonce", 2, 5)
    for first, last in ((2, 5), (1, 2), (5, 9), (3, 3), (1, 9)):
        other = run._replace(name=b"other", first=first, last=last)
        assert len(repeated([run, other])) == len(repeated([other, run])) == 1
        apart = [other._replace(party="other"), other._replace(key=b"other"), other._replace(nonce=b"other")]
        assert repeated([run, *apart]) == []
    assert repeated([run, run._replace(first=6, last=9), run._replace(first=1, last=1)]) == []


def test_the_tape_names_the_blocks_that_made_the_bytes(tape: Tape) -> None:
    """Each piece is made of the blocks on record; one that ends inside a block leaves its rest to the next piece."""
    stream = prg.open_stream(Secret(bytes(range(28))))
    for start, sizes in ((0, (5, 3, 40)), (64, (16, 7)), (prg.SEGMENT - 32, (32,)), (prg.SEGMENT, (20, 12))):
        before, written = len(tape.runs), b""
        for size in sizes:
            buffer = bytearray(size)
            stream.write(start + len(written), memoryview(buffer))
            assert tape.openings[-1][2:] == (start + len(written), size)
            written += buffer
        made = b"".join(run.encrypted() for run in tape.runs[before:])
        assert made[: len(written)] == written
        assert len(made) == prg.BLOCK_SIZE * blocks_of(len(written))
    assert repeated(tape.runs) == []
    stream.write(32, memoryview(bytearray(1)))
    assert len(repeated(tape.runs)) == 1


def test_a_reader_goes_on_where_it_stopped(tape: Tape) -> None:
    """Inside a block, at a block and over a segment's end: what it reads next, it has not read before."""
    sizes = (5, 11, 16, 3, prg.SEGMENT, 1, 40)
    read = prg.reader(Secret(bytes(range(28))))
    taken = b"".join(read(size) for size in sizes)
    assert b"".join(run.encrypted() for run in tape.runs)[: len(taken)] == taken
    assert len({run.nonce for run in tape.runs}) == 2
    assert repeated(tape.runs) == []


def test_each_keystream_has_one_purpose_and_serves_no_other(tape: Tape) -> None:
    """What was opened, and by whom, is what the schedule says; no two purposes share a key, ever."""
    seen: set[bytes] = set()
    for table, total, silent in played(tape):
        opened = {(opening.party, opening.name) for opening in tape.openings}
        schedule = Schedule(table)
        aes_keys = {name[:16] for name in (*schedule.names, schedule.graph)}
        assert len(aes_keys) == len(schedule.names) + 1, "two streams under one AES key"
        assert not seen & aes_keys, "a stream of an earlier round"
        seen |= aes_keys
        assert (schedule.graph in {name for _, name in opened}) == (table.plan is REGULAR)
        sharers = set(total.joined).difference(silent.get(Leg.SHARE, ()))
        expected = schedule.uses(table, sharers=sharers, survivors=total.survivors)
        assert {(party, schedule.names[name]) for party, name in opened if name != schedule.graph} == expected


def test_no_counter_block_is_encrypted_twice(tape: Tape) -> None:
    """Whatever for: no party takes a block again for another chunk, segment, stream, box, tag or round."""
    runs: list[Run] = []
    for _ in played(tape):
        runs += [*tape.runs, *(sealing.run for sealing in tape.sealings)]
    assert repeated(runs) == []


def test_no_aes_key_serves_two_streams_or_a_stream_and_a_sealing(tape: Tape) -> None:
    """The keys that reached a cipher, from whomever: were nonces to collide, the blocks would differ all the same."""
    named: dict[bytes, bytes] = {}
    sealed: set[bytes] = set()
    for _ in played(tape):
        sealed |= {sealing.key for sealing in tape.sealings}
        for run in tape.runs:
            assert named.setdefault(run.key, run.name) == run.name
    assert named
    assert not sealed & named.keys()


def test_a_mask_is_made_once_from_its_first_byte_to_its_last(tape: Tape) -> None:
    """By whoever makes it, in pieces that meet, and under a nonce of its own in each segment."""
    for table, _, _ in played(tape):
        size = 4 * table.config.length
        masks = {name for name, purpose in Schedule(table).names.items() if purpose[0] != "coefficients"}
        pieces, nonces = collections.defaultdict(list), collections.defaultdict(set)
        for opening in tape.openings:
            pieces[opening.party, opening.name].append((opening.position, opening.position + opening.size))
        for run in tape.runs:
            nonces[run.party, run.name].add(run.nonce)
        for made in [made for made in pieces if made[1] in masks]:
            starts, stops = zip(*sorted(pieces[made]), strict=True)
            assert (0, *stops) == (*starts, size)
            assert len(nonces[made]) == -(-size // prg.SEGMENT)


def test_each_box_and_each_tag_has_a_key_of_its_own(tape: Tape) -> None:
    """AES-GCM breaks when a key and nonce repeat; here not even a key does."""
    sealed: list[bytes] = []
    for table, total, silent in played(tape):
        sealed += [sealing.key for sealing in tape.sealings]
        if not silent:
            n, chunks = table.plan.clients, table.config.chunks
            assert total.survivors == tuple(table.names)
            assert len(tape.sealings) == n * (n - 1) + n * (3 + chunks) + 4 * n  # boxes, tags up, tags down
    assert len(set(sealed)) == len(sealed)


@pytest.mark.parametrize("keep_input", [False, True])
def test_a_client_that_stops_and_resumes_uses_no_key_for_anything_new(tape: Tape, *, keep_input: bool) -> None:
    """It seals again what it sealed before, byte for byte, and never opens a mask a second time."""
    store = MemoryStore()
    name = NAMES[0]
    table = TapedTable(tape, ACTIVE, stores={name: store}, keep_input=keep_input)
    table.start()
    while not table.server.ready:
        for answer in table.deliver(name):
            table.submit(name, answer)
        tape.party = name
        table.clients[name] = table.new_client(name, store, keep_input=keep_input)
        table.clients[name].resume()
        tape.party = SERVER
        table.play_leg()
    table.finish()
    said = {(sealing.key, sealing.nonce): sealing for sealing in tape.sealings}
    assert len(said) == len(set(tape.sealings)) < len(tape.sealings)
    schedule = Schedule(table)
    coefficients = {stream for stream, purpose in schedule.names.items() if purpose[0] == "coefficients"}
    masks = [opening for opening in tape.openings if opening.name not in coefficients]
    assert len([opening for opening in masks if opening.party == name]) == ACTIVE.clients
    assert repeated(run for run in tape.runs if run.name not in coefficients) == []


# What keys are bound to.

PRIVATE = Secret(bytes(range(32)))
SEED = Secret(bytes(range(16)))
PEER_PRIVATE = Secret(bytes(range(32, 64)))
OWN = keys.Endpoint(3, agreement.public_key(PRIVATE))
PEER = keys.Endpoint(9, agreement.public_key(PEER_PRIVATE))
CONFIG, ROSTER = bytes(32), bytes([255]) * 32


@dataclass(frozen=True)
class Context:
    """All that a pair's keys depend on, as one side sees it."""

    own: keys.Endpoint = OWN
    peer: keys.Endpoint = PEER
    config: bytes = CONFIG
    roster: bytes = ROSTER

    def mask_key(self, private: Secret) -> Secret:
        return keys.pairwise_mask_key(
            private, self.own, self.peer, config_digest=self.config, roster_digest=self.roster
        )

    def box_keys(self, private: Secret) -> keys.BoxKeys:
        return keys.box_keys(private, self.own, self.peer, config_digest=self.config, roster_digest=self.roster)

    @property
    def from_the_other_side(self) -> Context:
        return replace(self, own=self.peer, peer=self.own)


@st.composite
def other_contexts(draw: st.DrawFn) -> Context:
    """One bit of one thing is different. The peer uses its own private key all the same: the context alone differs."""
    changed = draw(st.sampled_from(("config", "roster", "own position", "peer position", "peer key")))
    bit = draw(st.integers(0, 255))
    if changed == "config":
        return Context(config=flip(CONFIG, bit))
    if changed == "roster":
        return Context(roster=flip(ROSTER, bit))
    if changed == "peer key":
        return Context(peer=replace(PEER, public=flip(PEER.public, bit)))
    if changed == "own position":
        return Context(own=replace(OWN, position=OWN.position ^ 1 << bit % 16))
    return Context(peer=replace(PEER, position=PEER.position ^ 1 << bit % 16))


def test_both_sides_of_a_pair_derive_the_same_keys() -> None:
    assert Context().mask_key(PRIVATE) == Context().from_the_other_side.mask_key(PEER_PRIVATE)
    ours, theirs = Context().box_keys(PRIVATE), Context().from_the_other_side.box_keys(PEER_PRIVATE)
    assert ours.sending == theirs.receiving
    assert ours.receiving == theirs.sending
    assert ours.sending != ours.receiving
    assert ours.context == theirs.context


@unhurried
@given(other_contexts(), st.integers(8, 64).map(Ring))
def test_masks_of_two_that_see_one_thing_differently_do_not_cancel(other: Context, ring: Ring) -> None:
    ours, theirs = Context().mask_key(PRIVATE), other.from_the_other_side.mask_key(PEER_PRIVATE)
    assert ours != theirs
    total = masks.pairwise_mask(ours, ring=ring, length=32, sign=1)
    total += masks.pairwise_mask(theirs, ring=ring, length=32, sign=-1)
    ring.reduce(total)
    assert total.any()  # 32 words of 8 bits are all zero once in 2^256 times


@unhurried
@given(other_contexts(), st.integers(0, 8 * 72 - 1))
def test_a_box_opens_in_its_own_context_only(other: Context, bit: int) -> None:
    ours = Context().box_keys(PRIVATE)
    box = aead.seal(ours.sending, b"shares", context=ours.context)
    for wrong in (other, Context(own=replace(OWN, position=PEER.position), peer=replace(PEER, position=OWN.position))):
        theirs = wrong.from_the_other_side.box_keys(PEER_PRIVATE)
        assert aead.open_box(theirs.receiving, box, context=theirs.context) is None
    theirs = Context().from_the_other_side.box_keys(PEER_PRIVATE)
    assert aead.open_box(theirs.sending, box, context=theirs.context) is None  # the other direction
    assert aead.open_box(theirs.receiving, flip(box, bit), context=theirs.context) is None
    assert aead.open_box(theirs.receiving, box, context=flip(theirs.context, bit)) is None
    assert aead.open_box(theirs.receiving, box, context=theirs.context) == b"shares"


def test_every_tag_of_a_channel_is_bound_to_direction_kind_and_chunk() -> None:
    channel = Channel.of_server(PRIVATE, public=OWN.public, client=keys.Endpoint(9, PEER.public), config_digest=CONFIG)
    places = list(itertools.product(Direction, range(1, 11), (0, 1, 2**31)))
    tags = {place: channel.tag(place[0], place[1], b"the same bytes", index=place[2]) for place in places}
    assert len(set(tags.values())) == len(places)
    for place, tag in tags.items():
        fits = [
            (direction, kind, index)
            for direction, kind, index in places
            if channel.verifies(direction, kind, b"the same bytes", tag, index=index)
        ]
        assert fits == [place]


@unhurried
@given(st.integers(0, 255))
def test_what_a_client_derives_alone_is_bound_to_round_and_position(bit: int) -> None:
    here = keys.round_secrets(PRIVATE, config_digest=CONFIG, position=3)
    for config, position in ((flip(CONFIG, bit), 3), (CONFIG, 3 ^ 1 << bit % 16)):
        there = keys.round_secrets(PRIVATE, config_digest=config, position=position)
        assert here.mask_key_seed != there.mask_key_seed
        assert here.mask_private != there.mask_private
        assert here.box_private != there.box_private
        assert here.self_mask_seed != there.self_mask_seed
    assert here.mask_private != here.box_private
    assert here.mask_key_seed != here.self_mask_seed


def other_places(bit: int) -> list[dict[str, Any]]:
    """Config digest and box endpoint, as what follows from a seed is bound to them: one bit of one is different."""
    return [
        {"config_digest": flip(CONFIG, bit), "box": OWN},
        {"config_digest": CONFIG, "box": replace(OWN, position=OWN.position ^ 1 << bit % 16)},
        {"config_digest": CONFIG, "box": replace(OWN, public=flip(OWN.public, bit))},
    ]


@unhurried
@given(st.integers(0, 255))
def test_what_follows_from_a_seed_is_bound_to_round_position_and_box_key(bit: int) -> None:
    for other in other_places(bit):
        private = keys.mask_private(SEED, config_digest=CONFIG, box=OWN)
        assert private != keys.mask_private(SEED, **other)
        one = keys.self_mask_key(SEED, config_digest=CONFIG, box=OWN)
        assert one != keys.self_mask_key(SEED, **other)
        commitment = keys.seed_commitment(SEED, config_digest=CONFIG, box=OWN)
        assert commitment != keys.seed_commitment(SEED, **other)


@unhurried
@given(st.binary(min_size=SEED_SIZE, max_size=SEED_SIZE), st.integers(0, 8 * SEED_SIZE - 1))
def test_a_mask_key_is_a_function_of_seed_round_position_and_box_key(seed: bytes, bit: int) -> None:
    named: dict[str, Any] = {"config_digest": CONFIG, "box": OWN}
    private = keys.mask_private(Secret(seed), **named)
    assert private == keys.mask_private(Secret(seed), **named)
    assert len(private) == PRIVATE_KEY_SIZE
    others = [
        keys.mask_private(Secret(flip(seed, bit)), **named),
        *(keys.mask_private(Secret(seed), **other) for other in other_places(bit)),
        keys.self_mask_key(Secret(seed), **named),
    ]
    assert private not in others
    made = keys.round_secrets(PRIVATE, config_digest=CONFIG, position=3)
    assert (len(made.mask_key_seed), len(made.self_mask_seed)) == (SEED_SIZE, SEED_SIZE)
    assert made.mask_private == keys.mask_private(made.mask_key_seed, config_digest=CONFIG, box=made.box)


# What masked inputs look like.

SIGMAS = 7.0
"""A count this far from its mean has odds below 2.6e-12; some thirty are taken here: below 1e-10 in all."""

LENGTH = 8_192


def masked_inputs(bits: int, inputs: int | Words, **changes: Any) -> npt.NDArray[np.uint64]:
    """What the server sees of three clients with these inputs, or one constant: shape (3, LENGTH)."""
    plan = Plan.find(clients=3, max_dropped=0, max_corrupt=0)
    ring = Ring(bits)
    table = Table(plan, np.broadcast_to(np.asarray(inputs, dtype=ring.word), (3, LENGTH)), bits=bits, **changes)
    table.advance(Leg.MASK)
    rows = []
    for name in table.names:
        (answer,) = table.deliver(name)
        tail = wire.open_envelope(answer, max_size=len(answer), tag_size=TAG_SIZE).tail
        rows.append(ring.unpack(tail, LENGTH).astype(np.uint64))
    return np.stack(rows)


def assert_fair(outcomes: npt.NDArray[np.bool_]) -> None:
    """As many true as false, within SIGMAS standard deviations of fair coins."""
    deviation = abs(int(outcomes.sum()) - outcomes.size / 2) / (outcomes.size**0.5 / 2)
    assert deviation < SIGMAS


def bit_of(words: npt.NDArray[np.uint64], bit: int) -> npt.NDArray[np.bool_]:
    return (words >> np.uint64(bit) & np.uint64(1)).astype(np.bool_)


@pytest.mark.parametrize("value", [0, 2**8 - 1])
@pytest.mark.parametrize("bits", [8, 20, 33, 64])
def test_low_middle_and_top_bits_of_a_constant_input_look_uniform(bits: int, value: int) -> None:
    words = masked_inputs(bits, value)
    for bit in (0, bits // 2, bits - 1):
        assert_fair(bit_of(words, bit))


def test_masked_words_fill_their_range_evenly() -> None:
    """Chi-squared over 256 values against the tail of Laurent and Massart (2000, lemma 1): odds below e^-28 = 1e-12."""
    words = masked_inputs(8, 5)
    counts = np.bincount(words.reshape(-1).astype(np.int64), minlength=256)
    expected = words.size / 256
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert statistic < 255 + 2 * (255 * 28) ** 0.5 + 2 * 28


def test_masked_inputs_of_one_round_are_independent_of_each_other() -> None:
    words = masked_inputs(32, 1_000)
    for one, other in itertools.combinations(words, 2):
        assert_fair(bit_of(one ^ other, 0))
        assert_fair(bit_of(one ^ other, 31))


OTHER_ROUNDS = [{"number": 2}, {"session": b"another session!"}, {"instructions": b"another model"}]


@pytest.mark.parametrize("changes", OTHER_ROUNDS, ids=["number", "session", "instructions"])
def test_one_input_masked_in_two_rounds_gives_unrelated_words(changes: dict[str, Any]) -> None:
    """With the same round secrets in both: no bit of the difference is likelier to be one than zero."""
    difference = masked_inputs(32, 1_000) - masked_inputs(32, 1_000, **changes)
    for bit in (0, 15, 31):
        assert_fair(bit_of(difference, bit))


@pytest.mark.parametrize("bits", [8, 32, 64])
def test_a_masked_word_agrees_with_its_input_as_often_as_not(bits: int) -> None:
    ring = Ring(bits)
    raw = np.random.default_rng(bits).integers(0, ring.modulus - 1, (3, LENGTH), dtype=np.uint64, endpoint=True)
    words = masked_inputs(bits, raw.astype(ring.word))
    for bit in (0, bits // 2, bits - 1):
        assert_fair(bit_of(words ^ raw, bit))
