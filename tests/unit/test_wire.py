"""The wire: one encoding of each message, everything consumed, nothing larger than its kind can be."""

from __future__ import annotations

import dataclasses
import pickle
import struct
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.config import CHUNK_GRAIN, MAX_CHUNK_WORDS, MAX_LENGTH, MAX_ROUND, RoundConfig
from secagg.errors import Malformed, MisuseError
from secagg.pairwise.channel import TAG_SIZE
from secagg.pairwise.messages import (
    BOX_SIZE,
    FROM_CLIENT,
    FROM_SERVER,
    MAX_CONFIG_SIZE,
    MAX_OFFER_SIZE,
    NAMES,
    Inbox,
    KeyAdvert,
    MaskedInput,
    Roster,
    RoundOffer,
    SealedShares,
    SurvivorSet,
    SurvivorSignature,
    UnmaskRequest,
    UnmaskShares,
    max_size,
)
from secagg.plan import Plan
from secagg.rules import Rule
from secagg.shamir import SHARE_SIZE
from secagg.testing.plans import UncertifiedPlan
from secagg.types import MAX_CLIENT_ID, MAX_CLIENTS, SERVER, Adversary
from secagg.wire import (
    ALIGNMENT,
    HEADER_SIZE,
    MAGIC,
    Bytes16,
    Message,
    aligned,
    decode_body,
    encode_body,
    front,
    kind_of,
    open_envelope,
    pack_positions,
    unpack_positions,
)

DIGEST: Final = bytes(range(32))
MAX_CHUNKS: Final = MAX_LENGTH // CHUNK_GRAIN
KINDS: Final = (*FROM_SERVER, *FROM_CLIENT)
unhurried = settings(deadline=None)


def exactly(size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


bitmaps = st.binary(max_size=40)
adverts = st.builds(
    KeyAdvert, mask_key=exactly(32), box_key=exactly(32), seed_commitment=exactly(32), signature=exactly(64)
)
MESSAGES: Final[Mapping[type[Message], st.SearchStrategy[Any]]] = {
    RoundOffer: st.builds(
        RoundOffer, config=st.binary(max_size=300), invited=st.lists(st.text(max_size=40)), server_key=exactly(32)
    ),
    KeyAdvert: adverts,
    Roster: st.builds(Roster, joined=bitmaps, adverts=st.lists(adverts, max_size=20)),
    SealedShares: st.builds(SealedShares, boxes=st.binary(max_size=300)),
    Inbox: st.builds(Inbox, senders=bitmaps, boxes=st.binary(max_size=300)),
    MaskedInput: st.builds(MaskedInput, chunk=st.integers(0, MAX_CHUNKS - 1), unopened=bitmaps),
    SurvivorSet: st.builds(SurvivorSet, survivors=bitmaps),
    SurvivorSignature: st.builds(SurvivorSignature, signature=exactly(64)),
    UnmaskRequest: st.builds(UnmaskRequest, signers=bitmaps, signatures=st.binary(max_size=300)),
    UnmaskShares: st.builds(UnmaskShares, shares=st.binary(max_size=300)),
}
messages: Final = st.one_of(*MESSAGES.values())
EXAMPLES: Final[Mapping[type[Message], Message]] = {
    RoundOffer: RoundOffer(config=b"config", invited=["a", "b" * 40], server_key=bytes(32)),
    KeyAdvert: KeyAdvert(mask_key=bytes(32), box_key=bytes(32), seed_commitment=bytes(32), signature=bytes(64)),
    Roster: Roster(joined=b"\1", adverts=[KeyAdvert(bytes(32), bytes(32), bytes(32), bytes(64))]),
    SealedShares: SealedShares(boxes=bytes(56)),
    Inbox: Inbox(senders=b"\1", boxes=bytes(56)),
    MaskedInput: MaskedInput(chunk=7, unopened=b"\1"),
    SurvivorSet: SurvivorSet(survivors=b"\1"),
    SurvivorSignature: SurvivorSignature(signature=bytes(64)),
    UnmaskRequest: UnmaskRequest(signers=b"\1", signatures=bytes(64)),
    UnmaskShares: UnmaskShares(shares=bytes(19)),
}
by_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def refused(kind: type[Message], data: bytes) -> None:
    with pytest.raises(Malformed) as refusal:
        decode_body(kind, data)
    assert refusal.value.rule is Rule.WIRE_FORMAT


def test_every_kind_has_a_number_a_name_and_one_sender() -> None:
    assert sorted(kind.KIND for kind in KINDS) == list(range(1, 11))
    assert {kind.KIND: kind.__name__ for kind in KINDS} == NAMES
    assert set(MESSAGES) == set(EXAMPLES) == set(KINDS)
    assert len(KINDS) == len(FROM_CLIENT) + len(FROM_SERVER)


# One encoding.


@unhurried
@given(messages)
def test_what_is_encoded_decodes_to_the_same(message: Message) -> None:
    data = encode_body(message)
    decoded = decode_body(type(message), data)
    assert decoded == message
    assert encode_body(decoded) == data
    assert decode_body(type(message), memoryview(bytearray(data))) == message


@unhurried
@given(messages, st.data())
def test_a_changed_byte_is_another_message_or_none(message: Message, data: st.DataObject) -> None:
    encoded = bytearray(encode_body(message))
    index = data.draw(st.integers(0, len(encoded) - 1))
    encoded[index] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_body(type(message), bytes(encoded))
    except Malformed:
        return
    assert decoded != message
    assert encode_body(decoded) == encoded


@unhurried
@given(st.sampled_from(KINDS), st.binary(max_size=200))
def test_whatever_the_bytes_they_decode_canonically_or_are_malformed(kind: type[Message], data: bytes) -> None:
    try:
        decoded = decode_body(kind, data)
    except Malformed:
        return
    assert encode_body(decoded) == data


@by_kind
def test_a_body_is_consumed_whole(kind: type[Message]) -> None:
    data = encode_body(EXAMPLES[kind])
    for length in range(len(data)):
        refused(kind, data[:length])
    for behind in (b"\0", b"\xc0", data):
        refused(kind, data + behind)


def packed(value: object, *, wide: str = "") -> bytes:
    """MessagePack by hand; what `wide` names is written in a longer form than it needs."""
    if isinstance(value, list):
        head = b"\xdc" + struct.pack(">H", len(value)) if wide == "array" else bytes((0x90 | len(value),))
        return head + b"".join(packed(item, wide="" if wide == "array" else wide) for item in value)
    if isinstance(value, bytes):
        return (b"\xc5" + struct.pack(">H", len(value)) if wide == "bytes" else b"\xc4" + bytes((len(value),))) + value
    if isinstance(value, str):
        text = value.encode()
        short = bytes((0xA0 | len(text),)) if len(text) < 32 else b"\xd9" + bytes((len(text),))
        return (b"\xda" + struct.pack(">H", len(text)) if wide == "str" else short) + text
    if isinstance(value, int):
        forms = {"": bytes((value,)), "uint8": b"\xcc" + bytes((value,)), "int64": b"\xd3" + struct.pack(">q", value)}
        forms |= {name: code + struct.pack(form, value) for name, code, form in WIDE_INTEGERS}
        return forms.get(wide, forms[""])
    raise AssertionError(value)


WIDE_INTEGERS: Final = (("uint16", b"\xcd", ">H"), ("uint64", b"\xcf", ">Q"), ("int8", b"\xd0", ">b"))


def plain(message: Message) -> list[Any]:
    values = (getattr(message, name) for name in message.__struct_fields__)
    return [[plain(item) if isinstance(item, Message) else item for item in value] if isinstance(value, list) else value
            for value in values]  # fmt: skip  # one line a level reads better


@by_kind
def test_a_longer_form_of_the_same_values_is_refused(kind: type[Message]) -> None:
    message = EXAMPLES[kind]
    assert packed(plain(message)) == encode_body(message)  # the writer above is right
    forms = 0
    for wide in ("array", "bytes", "str", "uint8", "uint16", "uint64", "int8", "int64"):
        data = packed(plain(message), wide=wide)
        if data != encode_body(message):
            assert msgspec.msgpack.decode(data, type=kind) == message, wide  # it says the same
            refused(kind, data)
            forms += 1
    assert forms >= 2


@by_kind
def test_one_field_more_or_less_is_refused(kind: type[Message]) -> None:
    fields = plain(EXAMPLES[kind])
    for extra in (None, 0, b""):
        refused(kind, msgspec.msgpack.encode([*fields, extra]))
    refused(kind, msgspec.msgpack.encode(fields[:-1]))
    refused(kind, msgspec.msgpack.encode([]))
    refused(kind, msgspec.msgpack.encode(dict(zip(EXAMPLES[kind].__struct_fields__, fields, strict=True))))


WRONG: Final[tuple[Any, ...]] = (
    None,
    True,
    1.0,
    -1.5,
    "text",
    2**70,
    {},
    [],
    [b""],
    msgspec.msgpack.Ext(1, b"x"),
    b"",
    b"x" * 31,
    0,
)


@by_kind
def test_a_field_of_another_type_is_refused(kind: type[Message]) -> None:
    fields = plain(EXAMPLES[kind])
    for index, value in enumerate(fields):
        for wrong in WRONG:
            data = msgspec_or_none([*fields[:index], wrong, *fields[index + 1 :]])
            if data is not None and type(wrong) is not type(value):
                refused(kind, data)


def msgspec_or_none(value: object) -> bytes | None:
    try:
        return msgspec.msgpack.encode(value)
    except OverflowError:  # an integer MessagePack cannot write
        return None


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_key_digest_or_signature_of_another_length_is_refused(size: int) -> None:
    for index in range(3):
        fields = [bytes(32), bytes(32), bytes(32), bytes(64)]
        fields[index] = bytes(size)
        refused(KeyAdvert, msgspec.msgpack.encode(fields))
    refused(RoundOffer, msgspec.msgpack.encode([b"", [], bytes(size)]))
    refused(SurvivorSignature, msgspec.msgpack.encode([bytes(size + size % 2)[:63]]))


@by_kind
def test_text_that_is_no_text_and_depth_without_end_are_refused(kind: type[Message]) -> None:
    refused(kind, b"\x91" * 100_000 + b"\xc0")
    refused(RoundOffer, b"\x93\xc4\0\x91\xa2\xff\xfe\xc4\x20" + bytes(32))


@pytest.mark.parametrize("chunk", [-1, MAX_CHUNKS, 2**32, 2**63, 2**64 - 1])
def test_a_chunk_number_no_input_has_is_refused(chunk: int) -> None:
    refused(MaskedInput, msgspec.msgpack.encode([chunk, b""]))
    assert decode_body(MaskedInput, msgspec.msgpack.encode([MAX_CHUNKS - 1, b""])).chunk == MAX_CHUNKS - 1


def test_a_name_or_config_longer_than_any_is_refused() -> None:
    fits = RoundOffer(config=bytes(MAX_CONFIG_SIZE), invited=["x" * MAX_CLIENT_ID], server_key=bytes(32))
    assert decode_body(RoundOffer, encode_body(fits)) == fits
    refused(RoundOffer, encode_body(msgspec.structs.replace(fits, config=bytes(MAX_CONFIG_SIZE + 1))))
    refused(RoundOffer, encode_body(msgspec.structs.replace(fits, invited=["x" * (MAX_CLIENT_ID + 1)])))
    refused(RoundOffer, encode_body(msgspec.structs.replace(fits, invited=["x"] * (MAX_CLIENTS + 1))))


def test_a_bitmap_is_at_most_one_bit_a_client() -> None:
    full = bytes(MAX_CLIENTS // 8)
    assert decode_body(SurvivorSet, encode_body(SurvivorSet(survivors=full))).survivors == full
    refused(SurvivorSet, encode_body(SurvivorSet(survivors=full + b"\0")))


# What a message shows.


@by_kind
def test_a_message_prints_sizes_and_no_contents(kind: type[Message]) -> None:
    text = repr(EXAMPLES[kind])
    assert text.startswith(f"<{kind.__name__} ")
    assert "\\x" not in text
    assert "b'" not in text


def test_a_message_prints_the_sizes_of_its_fields() -> None:
    assert repr(UnmaskShares(shares=b"abcdefg")) == "<UnmaskShares shares: 7>"
    assert repr(MaskedInput(chunk=12345, unopened=b"")) == "<MaskedInput chunk: int, unopened: 0>"


@by_kind
def test_a_message_is_never_pickled(kind: type[Message]) -> None:
    with pytest.raises(MisuseError, match="never pickled"):
        pickle.dumps(EXAMPLES[kind])


def test_a_message_shows_its_sizes_to_rich_too() -> None:
    assert SurvivorSet(survivors=b"abc").__rich_repr__() == [("survivors", "3")]


def test_a_body_that_never_travels_alone_has_no_kind() -> None:
    assert Message.KIND == 0
    assert all(kind.KIND for kind in KINDS)


@pytest.mark.parametrize("size", [15, 17])
def test_sixteen_bytes_are_neither_more_nor_less(size: int) -> None:
    assert msgspec.convert(bytes(16), Bytes16) == bytes(16)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(bytes(size), Bytes16)


# Envelopes.


def test_the_kind_of_too_few_bytes_is_none() -> None:
    whole = front(SurvivorSet(survivors=b""), config_digest=DIGEST, sender=0)
    assert [kind_of(whole[:size]) for size in range(7)] == [0, 0, 0, 0, 0, SurvivorSet.KIND, SurvivorSet.KIND]


def test_an_envelope_is_not_changed_and_shows_nothing() -> None:
    envelope = open_envelope(lied(4), max_size=10**6)
    with pytest.raises(dataclasses.FrozenInstanceError):
        envelope.sender = 1  # type: ignore[misc]  # what must not work
    assert not hasattr(envelope, "__dict__")
    assert "sender" not in repr(envelope)


@unhurried
@given(messages, exactly(32), st.integers(0, 2**32 - 1), st.binary(max_size=50), st.sampled_from((0, TAG_SIZE)))
def test_an_envelope_comes_apart_as_it_was_put_together(
    message: Message, config_digest: bytes, sender: int, tail: bytes, tag_size: int
) -> None:
    data = front(message, config_digest=config_digest, sender=sender)
    body_end = HEADER_SIZE + len(encode_body(message))
    assert data[HEADER_SIZE:body_end] == encode_body(message)
    assert data[body_end:] == bytes(-body_end % ALIGNMENT)
    whole = data + tail + b"t" * tag_size
    envelope = open_envelope(whole, max_size=len(whole), tag_size=tag_size)
    assert (envelope.kind, envelope.config_digest, envelope.sender) == (message.KIND, config_digest, sender)
    assert (bytes(envelope.tail), bytes(envelope.tag)) == (tail, b"t" * tag_size)
    assert bytes(envelope.tagged) == data + tail
    assert decode_body(type(message), envelope.body) == message


def test_an_envelope_is_laid_out_as_the_specification_says() -> None:
    data = front(SurvivorSet(survivors=b"\5"), config_digest=DIGEST, sender=SERVER)
    body = b"\x91\xc4\1\5"
    gap = b"\0" * 7
    assert data == b"SAG2" + b"\7" + DIGEST + b"\xff\xff\xff\xff" + b"\0\0\0\4" + body + gap
    assert HEADER_SIZE == 4 + 1 + 32 + 4 + 4
    assert ALIGNMENT == 8


def lied(length: int, body: bytes = b"\x91\xc4\1\5", gap: bytes = b"\0" * 7, tail: bytes = b"") -> bytes:
    return MAGIC + b"\7" + DIGEST + struct.pack(">II", 0, length) + body + gap + tail


@pytest.mark.parametrize("length", [12, 20, 21, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_body_longer_than_its_message_is_refused(length: int) -> None:
    with pytest.raises(Malformed, match="past the end") as refusal:
        open_envelope(lied(length), max_size=10**6)
    assert refusal.value.rule is Rule.WIRE_FORMAT


def test_a_body_that_reaches_into_the_tag_is_refused() -> None:
    whole = lied(4, tail=b"t" * TAG_SIZE)
    assert open_envelope(whole, max_size=10**6, tag_size=TAG_SIZE).tag == b"t" * TAG_SIZE
    with pytest.raises(Malformed, match="past the end"):
        open_envelope(lied(12, tail=b"t" * TAG_SIZE), max_size=10**6, tag_size=TAG_SIZE)


def test_a_gap_that_reaches_into_the_tag_is_refused() -> None:
    for size in range(7):
        with pytest.raises(Malformed, match="past the end"):
            open_envelope(lied(4, gap=bytes(size), tail=b"\0" * TAG_SIZE), max_size=10**6, tag_size=TAG_SIZE)


@pytest.mark.parametrize("bit", range(7 * 8))
def test_a_gap_that_is_not_zero_is_refused(bit: int) -> None:
    gap = (1 << bit).to_bytes(7, "little")
    for tail in (b"", b"tail"):
        with pytest.raises(Malformed, match="not zero") as refusal:
            open_envelope(lied(4, gap=gap, tail=tail), max_size=10**6)
        assert refusal.value.rule is Rule.WIRE_FORMAT


def test_no_gap_is_longer_than_it_must_be() -> None:
    """What a longer one adds is a tail, which every kind but one refuses, and that one measures."""
    assert bytes(open_envelope(lied(4, gap=bytes(15)), max_size=10**6).tail) == bytes(8)
    exact = lied(3 + 8, body=b"\x91" * 11, gap=b"")
    assert bytes(open_envelope(exact + b"tail", max_size=10**6).tail) == b"tail"


@given(st.integers(0, 2**40))
def test_a_gap_ends_at_the_next_aligned_byte(size: int) -> None:
    assert aligned(size) % ALIGNMENT == 0
    assert size <= aligned(size) < size + ALIGNMENT


@pytest.mark.parametrize("length", [0, 1, 2])
def test_what_stands_behind_a_body_cut_short_is_no_gap(length: int) -> None:
    with pytest.raises(Malformed, match="not zero"):
        open_envelope(lied(length), max_size=10**6)


@pytest.mark.parametrize("length", [0, 1, 3])
def test_a_body_is_not_read_past_its_end(length: int) -> None:
    body = b"\x91\xc4\1"[:length]
    envelope = open_envelope(lied(length, body=body, gap=bytes(11 - length)), max_size=10**6)
    assert bytes(envelope.body) == body
    assert bytes(envelope.tail) == bytes(8)
    refused(SurvivorSet, bytes(envelope.body))


@pytest.mark.parametrize("length", range(5, 12))
def test_a_body_that_takes_in_its_gap_is_not_canonical(length: int) -> None:
    envelope = open_envelope(lied(length), max_size=10**6)
    assert bytes(envelope.body) == b"\x91\xc4\1\5".ljust(length, b"\0")
    refused(SurvivorSet, bytes(envelope.body))


@pytest.mark.parametrize("tag_size", [0, TAG_SIZE])
def test_a_message_shorter_than_an_envelope_is_refused(tag_size: int) -> None:
    whole = front(SurvivorSet(survivors=b""), config_digest=DIGEST, sender=0) + bytes(tag_size)
    for length in range(HEADER_SIZE + tag_size):
        with pytest.raises(Malformed, match="too few"):
            open_envelope(whole[:length], max_size=10**6, tag_size=tag_size)
    with pytest.raises(Malformed, match="past the end"):  # a header, and not the gap that belongs behind it
        open_envelope(lied(0, body=b"", gap=b"", tail=bytes(tag_size)), max_size=10**6, tag_size=tag_size)


@pytest.mark.parametrize("magic", [b"SAG1", b"SAG3", b"SAG\0", b"sag1", b"\0\0\0\0"])
def test_another_version_is_refused(magic: bytes) -> None:
    with pytest.raises(Malformed, match="protocol version"):
        open_envelope(magic + lied(4)[4:], max_size=10**6)


def test_a_message_is_measured_before_it_is_read() -> None:
    whole = lied(4)
    assert open_envelope(whole, max_size=len(whole)).kind == SurvivorSet.KIND
    for data in (whole, bytes(len(whole)), b"\xff" * 10**6):
        with pytest.raises(Malformed) as refusal:
            open_envelope(data, max_size=len(whole) - 1)
        assert refusal.value.rule is Rule.WIRE_SIZE


def test_an_envelope_copies_nothing() -> None:
    whole = bytearray(lied(4, tail=b"tail"))
    envelope = open_envelope(whole, max_size=10**6)  # type: ignore[arg-type]  # a buffer whose changes show
    whole[-1] = ord("!")
    assert bytes(envelope.tail) == b"tai!"


# Sizes.


def config_of(plan: Plan, *, bits: int = 32, length: int = 100, chunk_words: int = CHUNK_GRAIN) -> RoundConfig:
    return RoundConfig(
        session=bytes(16),
        round=1,
        plan=plan,
        invited_digest=DIGEST,
        recipe_digest=DIGEST,
        instructions_digest=DIGEST,
        ring_bits=bits,
        length=length,
        chunk_words=chunk_words,
    )


def loose_plan(clients: int, degree: int | None = None) -> Plan:
    neighbors = clients - 1 if degree is None else degree
    return UncertifiedPlan(
        clients=clients,
        max_dropped=0,
        max_corrupt=0,
        adversary=Adversary.ACTIVE,
        degree=neighbors,
        threshold=min(neighbors, 2048),
        quorum=clients,
    )


PLANS: Final = [
    *(loose_plan(clients) for clients in (3, 7, 8, 9, 20, 85, 86, 255, 256, 257, 744, 745, 1000, 2048)),
    *(loose_plan(clients, degree) for clients, degree in ((64, 4), (1000, 34), (10_000, 136), (MAX_CLIENTS, 480))),
]


def largest(kind: type[Message], config: RoundConfig) -> Message:
    """The largest message of a kind that an honest party can write in a round."""
    n, degree = config.plan.clients, config.plan.degree
    advert = KeyAdvert(bytes(32), bytes(32), bytes(32), bytes(64))
    full = pack_positions(range(n), n)
    candidates: dict[type[Message], Message] = {
        KeyAdvert: advert,
        Roster: Roster(full, [advert] * n),
        SealedShares: SealedShares(bytes(BOX_SIZE * degree)),
        Inbox: Inbox(full, bytes(BOX_SIZE * degree)),
        MaskedInput: MaskedInput(config.chunks - 1, full),
        SurvivorSet: SurvivorSet(full),
        SurvivorSignature: SurvivorSignature(bytes(64)),
        UnmaskRequest: UnmaskRequest(full, bytes(64 * n)),
        UnmaskShares: UnmaskShares(bytes(SHARE_SIZE * (degree + 1))),
    }
    return candidates[kind]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: f"{plan.clients} clients, degree {plan.degree}")
def test_the_size_limit_of_every_kind_is_an_upper_bound_and_close(plan: Plan) -> None:
    config = config_of(plan)
    for kind in KINDS:
        if kind is RoundOffer:
            continue
        tail = config.ring.packed_size(config.length) if kind is MaskedInput else 0
        size = len(front(largest(kind, config), config_digest=DIGEST, sender=0)) + tail + TAG_SIZE
        limit = max_size(kind, config)
        assert size <= limit <= size + 16, kind.__name__


@pytest.mark.parametrize("bits", [8, 17, 32, 33, 64])
@pytest.mark.parametrize(("length", "words"), [(1, 1), (CHUNK_GRAIN, CHUNK_GRAIN), (3 * CHUNK_GRAIN + 1, CHUNK_GRAIN)])
def test_a_chunk_may_be_as_long_as_the_longest_chunk_and_no_longer(bits: int, length: int, words: int) -> None:
    config = config_of(loose_plan(20), bits=bits, length=length)
    size = len(front(largest(MaskedInput, config), config_digest=DIGEST, sender=0)) + TAG_SIZE
    assert size + -(-words * bits // 8) <= max_size(MaskedInput, config) <= size + -(-words * bits // 8) + 16


def test_a_message_of_the_largest_round_has_a_limit_the_header_can_state() -> None:
    config = config_of(loose_plan(MAX_CLIENTS, 480), bits=64, length=MAX_LENGTH, chunk_words=MAX_CHUNK_WORDS)
    for kind in KINDS[1:]:
        assert max_size(kind, config) < 2**31  # what one tag can cover, and below the header's four bytes


def test_an_offer_of_the_largest_round_fits_its_limit() -> None:
    plan = UncertifiedPlan(
        clients=MAX_CLIENTS,
        max_dropped=MAX_CLIENTS - 1,
        max_corrupt=MAX_CLIENTS - 1,
        adversary=Adversary.SEMI_HONEST,
        degree=MAX_CLIENTS - 2,
        threshold=2048,
        quorum=MAX_CLIENTS,
        security_bits=128,
        correctness_bits=128,
    )
    config = RoundConfig(
        session=b"\xff" * 16,
        round=MAX_ROUND,
        plan=plan,
        invited_digest=DIGEST,
        recipe_digest=DIGEST,
        instructions_digest=DIGEST,
        ring_bits=64,
        length=MAX_LENGTH,
        chunk_words=MAX_CHUNK_WORDS,
    )
    assert len(config.encoded) <= MAX_CONFIG_SIZE
    names = [f"{number:0{MAX_CLIENT_ID}}" for number in range(MAX_CLIENTS)]
    offer = RoundOffer(config=config.encoded, invited=names, server_key=bytes(32))
    size = len(front(offer, config_digest=DIGEST, sender=SERVER))
    assert size <= MAX_OFFER_SIZE <= size + MAX_CONFIG_SIZE


# Sets of positions.


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1)))))
def test_a_set_of_positions_survives_its_bitmap(case: tuple[int, set[int]]) -> None:
    clients, positions = case
    bitmap = pack_positions(positions, clients)
    assert len(bitmap) == -(-clients // 8)
    assert unpack_positions(bitmap, clients, Rule.SURVIVORS_FORM) == tuple(sorted(positions))
    assert pack_positions(iter(sorted(positions, reverse=True)), clients) == bitmap


@given(st.integers(1, 40), st.binary(max_size=6))
def test_a_bitmap_is_the_one_encoding_of_its_set_or_refused(clients: int, bitmap: bytes) -> None:
    try:
        positions = unpack_positions(bitmap, clients, Rule.QUORUM_ORDER)
    except Malformed as error:
        assert error.rule is Rule.QUORUM_ORDER  # noqa: PT017  # the other outcome is as good
        return
    assert pack_positions(positions, clients) == bitmap


def test_bitmaps_count_bits_from_the_least_of_the_first_byte() -> None:
    assert pack_positions((0, 3, 8), 12) == b"\x09\x01"
    assert unpack_positions(b"\x09\x01", 12, Rule.SURVIVORS_FORM) == (0, 3, 8)


@pytest.mark.parametrize("clients", [1, 7, 9, 12, 15, 17])
def test_every_padding_bit_of_a_bitmap_is_refused(clients: int) -> None:
    size = -(-clients // 8)
    for bit in range(clients, 8 * size):
        with pytest.raises(Malformed, match="padding") as refusal:
            unpack_positions((1 << bit).to_bytes(size, "little"), clients, Rule.INBOX_SENDERS)
        assert refusal.value.rule is Rule.INBOX_SENDERS


@pytest.mark.parametrize(("clients", "right"), [(12, 2), (16, 2), (17, 3)])
@pytest.mark.parametrize("size", [0, 1, 4])
def test_a_bitmap_of_another_length_is_refused(clients: int, right: int, size: int) -> None:
    with pytest.raises(Malformed, match=f"a bitmap of {clients} positions has {right} bytes, got {size}"):
        unpack_positions(bytes(size), clients, Rule.SURVIVORS_FORM)


def test_every_kind_is_a_closed_and_frozen_array() -> None:
    for kind in KINDS:
        assert kind.__struct_config__.array_like
        assert kind.__struct_config__.forbid_unknown_fields
        assert kind.__struct_config__.frozen
