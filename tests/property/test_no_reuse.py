"""No key is used twice, every key is bound to all it depends on, and masked inputs tell nothing.

The first part records every keystream and every sealed byte of several rounds, white-box, and looks for a repetition.
It is played in the worst case: the fixed entropy hands every round the same round secrets, so whatever differs between
rounds differs by what the keys are bound to.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.faults import flip
from secagg import masking, wire
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
from secagg.store import MemoryStore
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
    """A keystream written: 16 bytes of AES key, 12 of nonce, and from which position."""

    party: str
    key: bytes
    position: int


class Sealing(NamedTuple):
    """One box or tag."""

    party: str
    key: bytes
    nonce: bytes
    plaintext: bytes
    context: bytes


@dataclass
class Tape:
    """Everything a recording saw; `party` is who is at work."""

    party: str = SERVER
    openings: list[Opening] = field(default_factory=list)
    sealings: list[Sealing] = field(default_factory=list)

    def forget(self) -> None:
        self.openings.clear()
        self.sealings.clear()


@pytest.fixture
def tape(monkeypatch: pytest.MonkeyPatch) -> Tape:
    """Record at the two places where the suite meets a cipher."""
    tape = Tape()

    class RecordingStream(prg.Stream):
        __slots__ = ("_name",)

        def __init__(self, key: Secret, *, in_pieces: bool) -> None:
            self._name = key.reveal()
            super().__init__(key, in_pieces=in_pieces)

        def write(self, position: int, size: int, buffer: memoryview) -> None:
            tape.openings.append(Opening(tape.party, self._name, position))
            super().write(position, size, buffer)

    class Recorder:
        def __init__(self, key: bytes) -> None:
            self._key, self._cipher = key, AESGCM(key)

        def encrypt(self, nonce: bytes, data: bytes, context: bytes | memoryview) -> bytes:
            tape.sealings.append(Sealing(tape.party, self._key, nonce, bytes(data), bytes(context)))
            return self._cipher.encrypt(nonce, data, context)

        def decrypt(self, nonce: bytes, data: bytes | memoryview, context: bytes | memoryview) -> bytes:
            return self._cipher.decrypt(nonce, data, context)

    monkeypatch.setattr(prg, "Stream", RecordingStream)
    monkeypatch.setattr(aead, "AESGCM", Recorder)
    return tape


class TapedTable(Table):
    """A table that says who is at work."""

    def __init__(self, tape: Tape, plan: Plan, *, length: int = 3, **changes: Any) -> None:
        self.tape = tape
        super().__init__(plan, np.full((plan.clients, length), 7, dtype=np.uint32), **changes)

    def hand(self, name: str, data: bytes) -> list[bytes]:
        self.tape.party = name
        try:
            return super().hand(name, data)
        finally:
            self.tape.party = SERVER


NAMES = client_names(6)
ROUNDS: list[tuple[Plan, dict[Leg, list[str]], dict[str, Any]]] = [
    (ACTIVE, {}, {}),
    (ACTIVE, {}, {"number": 2}),
    (ACTIVE, {}, {"number": 2, "session": b"another session!"}),
    (ACTIVE, {}, {"instructions": b"another model"}),
    (ACTIVE, {}, {"length": 4}),
    (ACTIVE, {}, {"length": CHUNK_GRAIN + 9}),
    (ACTIVE, {Leg.MASK: NAMES[:1], Leg.UNMASK: NAMES[1:2]}, {"number": 3}),
    (ACTIVE, {Leg.SHARE: NAMES[:1], Leg.MASK: NAMES[1:2]}, {"number": 4}),
    (CURIOUS, {Leg.MASK: NAMES[2:3]}, {}),
    (REGULAR, {Leg.MASK: NAMES[3:4]}, {}),
]
"""Rounds that differ in one thing each: number, session, instructions, length, plan, who drops out; not in label."""


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
            own = keys.self_mask_key(liar.secrets.self_mask_seed, config_digest=salt, position=liar.position)
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


def test_each_keystream_has_one_purpose_and_serves_no_other(tape: Tape) -> None:
    """What was opened, by whom and how often, is what the schedule says; no two purposes share a key, ever."""
    seen: set[bytes] = set()
    for table, total, silent in played(tape):
        schedule = Schedule(table)
        aes_keys = {name[:16] for name in schedule.names}
        assert len(aes_keys) == len(schedule.names), "two streams under one AES key"
        assert not seen & aes_keys, "a stream of an earlier round"
        seen |= aes_keys
        assert set(collections.Counter(tape.openings).values()) == {1}, "a stream opened twice at one place"
        opened = {(opening.party, opening.key) for opening in tape.openings if opening.key != schedule.graph}
        sharers = set(total.joined).difference(silent.get(Leg.SHARE, ()))
        expected = schedule.uses(table, sharers=sharers, survivors=total.survivors)
        assert {(party, schedule.names[key]) for party, key in opened} == expected


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
    masks = [opening for opening in tape.openings if schedule.names[opening.key][0] != "coefficients"]
    assert len([opening for opening in masks if opening.party == name]) == ACTIVE.clients
    assert len(set(masks)) == len(masks)


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
    total = masking.pairwise_mask(ours, ring=ring, length=32, sign=1)
    total += masking.pairwise_mask(theirs, ring=ring, length=32, sign=-1)
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
        private = keys.mask_private(SEED, config_digest=CONFIG, position=3)
        assert private != keys.mask_private(SEED, config_digest=config, position=position)
        one = keys.self_mask_key(SEED, config_digest=CONFIG, position=3)
        assert one != keys.self_mask_key(SEED, config_digest=config, position=position)
        commitment = keys.seed_commitment(SEED, config_digest=CONFIG, position=3)
        assert commitment != keys.seed_commitment(SEED, config_digest=config, position=position)
    assert here.mask_private != here.box_private
    assert here.mask_key_seed != here.self_mask_seed


@unhurried
@given(st.binary(min_size=SEED_SIZE, max_size=SEED_SIZE), st.integers(0, 8 * SEED_SIZE - 1))
def test_a_mask_key_is_a_function_of_seed_round_and_position(seed: bytes, bit: int) -> None:
    named: dict[str, Any] = {"config_digest": CONFIG, "position": 3}
    private = keys.mask_private(Secret(seed), **named)
    assert private == keys.mask_private(Secret(seed), **named)
    assert len(private) == PRIVATE_KEY_SIZE
    others = [
        keys.mask_private(Secret(flip(seed, bit)), **named),
        keys.mask_private(Secret(seed), config_digest=flip(CONFIG, bit), position=3),
        keys.mask_private(Secret(seed), config_digest=CONFIG, position=3 ^ 1 << bit % 16),
        keys.self_mask_key(Secret(seed), **named),
    ]
    assert private not in others
    made = keys.round_secrets(PRIVATE, **named)
    assert (len(made.mask_key_seed), len(made.self_mask_seed)) == (SEED_SIZE, SEED_SIZE)
    assert made.mask_private == keys.mask_private(made.mask_key_seed, **named)


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
