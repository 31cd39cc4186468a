"""The config of a round: every field counts in its digest, and what another party wrote is in range or refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.config import (
    CHUNK_GRAIN,
    DEFAULT_CHUNK_WORDS,
    MAX_CHUNK_WORDS,
    MAX_LENGTH,
    MAX_ROUND,
    RoundConfig,
    instructions_digest,
    invited_digest,
    sorted_invited,
)
from secagg.errors import ConfigError, Malformed, Violation
from secagg.plan import Plan
from secagg.primitives import labels
from secagg.primitives.kdf import digest
from secagg.ring import Ring
from secagg.rules import Rule
from secagg.testing.plans import UncertifiedPlan
from secagg.testing.table import VectorRecipe
from secagg.types import Adversary

PLAN: Final = Plan.find(clients=20, max_dropped=3, max_corrupt=4)
SPARSE: Final = Plan.find(clients=300, max_dropped=15, max_corrupt=15, adversary=Adversary.SEMI_HONEST)
NAMES: Final = [f"phone-{number}" for number in range(20)]
CONFIG: Final = RoundConfig(
    session=bytes(range(16)),
    round=7,
    plan=PLAN,
    invited_digest=b"i" * 32,
    recipe_digest=b"r" * 32,
    instructions_digest=b"x" * 32,
    ring_bits=32,
    length=1000,
)
WIRE_FIELDS: Final = (
    "version",
    "suite",
    "session",
    "round",
    "clients",
    "max_dropped",
    "max_corrupt",
    "adversary",
    "degree",
    "threshold",
    "quorum",
    "security_bits",
    "correctness_bits",
    "invited_digest",
    "recipe_digest",
    "instructions_digest",
    "ring_bits",
    "length",
    "chunk_words",
)
unhurried = settings(deadline=None)


def written(config: RoundConfig = CONFIG, /, **changes: Any) -> bytes:
    """The config's bytes as another party would write them, some fields changed."""
    fields = dict(zip(WIRE_FIELDS, msgspec.msgpack.decode(config.encoded), strict=True))
    assert changes.keys() <= fields.keys()
    return msgspec.msgpack.encode(list((fields | changes).values()))


def broken_rule(data: bytes) -> Rule:
    with pytest.raises(Violation) as refusal:
        RoundConfig.decode(data)
    return refusal.value.rule


# The digest.


def test_the_encoding_is_every_field_in_order() -> None:
    assert dict(zip(WIRE_FIELDS, msgspec.msgpack.decode(CONFIG.encoded), strict=True)) == {
        "version": 1,
        "suite": 2,
        "session": bytes(range(16)),
        "round": 7,
        "clients": 20,
        "max_dropped": 3,
        "max_corrupt": 4,
        "adversary": "active",
        "degree": 19,
        "threshold": 13,
        "quorum": 13,
        "security_bits": 40,
        "correctness_bits": 30,
        "invited_digest": b"i" * 32,
        "recipe_digest": b"r" * 32,
        "instructions_digest": b"x" * 32,
        "ring_bits": 32,
        "length": 1000,
        "chunk_words": DEFAULT_CHUNK_WORDS,
    }
    assert CONFIG.digest == digest(labels.CONFIG_DIGEST, CONFIG.encoded)


OTHER: Final[dict[str, Any]] = {
    "session": bytes(16),
    "round": 8,
    "plan": dataclasses.replace(PLAN, threshold=14),
    "invited_digest": b"j" * 32,
    "recipe_digest": b"s" * 32,
    "instructions_digest": b"y" * 32,
    "ring_bits": 33,
    "length": 1001,
    "chunk_words": 2 * CHUNK_GRAIN,
}
OTHER_PLAN: Final[dict[str, Any]] = {
    "clients": 21,
    "max_dropped": 4,
    "max_corrupt": 3,
    "adversary": Adversary.SEMI_HONEST,
    "degree": 16,
    "threshold": 14,
    "quorum": 14,
    "security_bits": 41,
    "correctness_bits": 31,
}


def test_changing_any_field_changes_the_digest() -> None:
    assert OTHER.keys() == {field.name for field in dataclasses.fields(RoundConfig)}
    changed = [dataclasses.replace(CONFIG, **{name: value}) for name, value in OTHER.items()]
    assert len({CONFIG.digest, *(config.digest for config in changed)}) == 1 + len(OTHER)


def test_changing_any_field_of_the_plan_changes_the_digest() -> None:
    assert OTHER_PLAN.keys() == {field.name for field in dataclasses.fields(Plan)}
    base = {field.name: getattr(PLAN, field.name) for field in dataclasses.fields(PLAN)} | {"degree": 18}
    plans = [UncertifiedPlan(**(base | change)) for change in ({}, *({name: OTHER_PLAN[name]} for name in OTHER_PLAN))]
    assert len({dataclasses.replace(CONFIG, plan=plan).digest for plan in plans}) == 1 + len(OTHER_PLAN)


def test_the_wire_holds_every_field_once() -> None:
    ours = {field.name for field in dataclasses.fields(RoundConfig)} - {"plan"}
    plans = {field.name for field in dataclasses.fields(Plan)}
    assert sorted(WIRE_FIELDS) == sorted({"version", "suite"} | ours | plans)
    assert len(WIRE_FIELDS) == 2 + len(ours) + len(plans)


# Decoding.


@st.composite
def configs(draw: st.DrawFn) -> RoundConfig:
    return RoundConfig(
        session=draw(st.binary(min_size=16, max_size=16)),
        round=draw(st.integers(1, MAX_ROUND)),
        plan=draw(st.sampled_from((PLAN, SPARSE, Plan.find(clients=3, max_dropped=0, max_corrupt=0)))),
        invited_digest=draw(st.binary(min_size=32, max_size=32)),
        recipe_digest=draw(st.binary(min_size=32, max_size=32)),
        instructions_digest=draw(st.binary(min_size=32, max_size=32)),
        ring_bits=draw(st.integers(8, 64)),
        length=draw(st.integers(1, MAX_LENGTH)),
        chunk_words=CHUNK_GRAIN * draw(st.integers(1, MAX_CHUNK_WORDS // CHUNK_GRAIN)),
    )


@unhurried
@given(configs())
def test_what_is_encoded_decodes_to_the_same(config: RoundConfig) -> None:
    decoded = RoundConfig.decode(config.encoded)
    assert decoded == config
    assert (decoded.encoded, decoded.digest) == (config.encoded, config.digest)


@pytest.mark.parametrize("plan", [PLAN, SPARSE], ids=["complete", "sparse"])
def test_the_plan_comes_back_certified(plan: Plan) -> None:
    decoded = RoundConfig.decode(dataclasses.replace(CONFIG, plan=plan).encoded)
    assert decoded.plan == plan
    assert type(decoded.plan) is Plan


OUT_OF_RANGE: Final[list[tuple[str, Any]]] = [
    ("version", 0),
    ("version", 2),
    ("suite", 0),
    ("suite", 1),
    ("suite", 3),
    ("round", 0),
    ("ring_bits", 0),
    ("ring_bits", 7),
    ("ring_bits", 65),
    ("length", 0),
    ("length", MAX_LENGTH + 1),
    ("length", MAX_ROUND),
    ("chunk_words", 0),
    ("chunk_words", CHUNK_GRAIN - 1),
    ("chunk_words", CHUNK_GRAIN + 1),
    ("chunk_words", MAX_CHUNK_WORDS + CHUNK_GRAIN),
]


@pytest.mark.parametrize(("name", "value"), OUT_OF_RANGE)
def test_a_field_out_of_range_is_refused(name: str, value: Any) -> None:
    assert broken_rule(written(**{name: value})) is Rule.OFFER_CONFIG


UNSAFE: Final[list[dict[str, Any]]] = [
    {"clients": 0},
    {"clients": 2},
    {"clients": 19},  # the degree is then none of the graph's
    {"clients": 2049, "degree": 2048},
    {"clients": 10**12},
    {"max_dropped": 20},
    {"max_dropped": 8},  # 2 * 13 > 20 + 4, but no more than 12 are left to reach it
    {"max_corrupt": 20},
    {"max_corrupt": 6},  # 2 * 13 = 20 + 6
    {"max_corrupt": MAX_ROUND},
    {"adversary": "lazy"},
    {"adversary": ""},
    {"adversary": "ACTIVE"},
    {"adversary": "semi-honest"},  # with a quorum that means nothing
    {"degree": 0},
    {"degree": 17},
    {"degree": 18},  # a k-regular graph against a lying server
    {"degree": 20},
    {"threshold": 0},
    {"threshold": 12},  # 2 * 12 = 20 + 4: two unmaskings of one client
    {"threshold": 18},
    {"threshold": MAX_ROUND},
    {"quorum": 0},
    {"quorum": 12},  # 2 * 12 = 20 + 4: two survivor sets
    {"quorum": 18},
    {"quorum": 21},
    {"security_bits": 39},
    {"security_bits": 129},
    {"correctness_bits": 29},
    {"correctness_bits": 129},
]


@pytest.mark.parametrize("changes", UNSAFE, ids=str)
def test_an_unsafe_plan_is_refused(changes: dict[str, Any]) -> None:
    assert broken_rule(written(**changes)) is Rule.OFFER_PLAN


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": 1},
        {"threshold": SPARSE.threshold - 1},
        {"threshold": SPARSE.degree},
        {"degree": SPARSE.degree - 1},
        {"degree": SPARSE.degree - 2},
        {"quorum": 1},
        {"security_bits": SPARSE.security_bits + 8},
    ],
    ids=str,
)
def test_an_unsafe_sparse_plan_is_refused(changes: dict[str, Any]) -> None:
    assert broken_rule(written(dataclasses.replace(CONFIG, plan=SPARSE), **changes)) is Rule.OFFER_PLAN


def test_a_plan_is_certified_by_the_class_that_the_receiver_names() -> None:
    unsafe = written(threshold=12)
    assert RoundConfig.decode(unsafe, plan_type=UncertifiedPlan).plan.threshold == 12
    assert broken_rule(unsafe) is Rule.OFFER_PLAN


MALFORMED: Final[list[tuple[str, Any]]] = [
    ("session", bytes(15)),
    ("session", bytes(17)),
    ("session", "0123456789abcdef"),
    ("round", -1),
    ("round", MAX_ROUND + 1),
    ("round", 1.0),
    ("round", True),
    ("invited_digest", bytes(31)),
    ("recipe_digest", bytes(33)),
    ("instructions_digest", b""),
    ("adversary", b"active"),
    ("clients", -20),
    ("threshold", "13"),
    ("ring_bits", None),
    ("length", 2**64 - 1),
    ("chunk_words", [CHUNK_GRAIN]),
    ("version", "1"),
]


@pytest.mark.parametrize(("name", "value"), MALFORMED)
def test_a_field_of_another_shape_is_malformed(name: str, value: Any) -> None:
    with pytest.raises(Malformed) as refusal:
        RoundConfig.decode(written(**{name: value}))
    assert refusal.value.rule is Rule.WIRE_FORMAT


def test_a_config_has_one_encoding() -> None:
    encoded = CONFIG.encoded
    for data in (encoded + b"\0", encoded[:-1], b"", msgspec.msgpack.encode([*msgspec.msgpack.decode(encoded), 0])):
        with pytest.raises(Malformed):
            RoundConfig.decode(data)
    assert encoded[:5] == b"\xdc\x00\x13\x01\x02"  # nineteen fields, of which the first two are one and two
    longer = b"\xdc\x00\x13\xcc\x01" + encoded[4:]
    assert msgspec.msgpack.decode(longer) == msgspec.msgpack.decode(encoded)
    with pytest.raises(Malformed, match="canonical"):
        RoundConfig.decode(longer)


@unhurried
@given(st.integers(0, len(CONFIG.encoded) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_another_round(index: int, change: int) -> None:
    data = bytearray(CONFIG.encoded)
    data[index] ^= change
    try:
        decoded = RoundConfig.decode(bytes(data))
    except (Malformed, Violation):
        return
    assert decoded != CONFIG
    assert decoded.encoded == data
    assert decoded.digest != CONFIG.digest


# Writing one.


BAD: Final[list[tuple[str, Any]]] = [
    ("session", bytes(15)),
    ("session", bytearray(16)),
    ("invited_digest", bytes(31)),
    ("recipe_digest", "r" * 32),
    ("instructions_digest", None),
    ("round", 0),
    ("round", MAX_ROUND + 1),
    ("round", True),
    ("round", 1.0),
    ("length", 0),
    ("length", MAX_LENGTH + 1),
    ("chunk_words", CHUNK_GRAIN // 2),
    ("chunk_words", CHUNK_GRAIN + 8),
    ("chunk_words", MAX_CHUNK_WORDS * 2),
    ("ring_bits", 7),
    ("ring_bits", 65),
]


@pytest.mark.parametrize(("name", "value"), BAD)
def test_a_config_out_of_range_does_not_exist(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name.partition("_")[0]):
        dataclasses.replace(CONFIG, **{name: value})


def created(invited: Sequence[str] = NAMES, plan: Plan = PLAN, **changes: Any) -> RoundConfig:
    arguments: dict[str, Any] = {"session": bytes(16), "round": 1, "recipe": VectorRecipe(length=50, bits=24)}
    return RoundConfig.create(plan=plan, invited=invited, **(arguments | changes))


def test_a_config_is_written_for_a_recipe_and_a_list_in_any_order() -> None:
    config = created()
    assert created(invited=NAMES[::-1]) == config
    assert (config.length, config.ring, config.chunk_words) == (50, Ring(24), DEFAULT_CHUNK_WORDS)
    assert config.recipe_digest == VectorRecipe(length=50, bits=24).digest
    assert config.invited_digest == invited_digest(sorted_invited(NAMES))
    assert config.instructions_digest == instructions_digest(b"")
    assert created(instructions=b"model").instructions_digest == instructions_digest(b"model")
    assert created(instructions=b"model").digest != config.digest


@pytest.mark.parametrize("count", [0, 19, 21])
def test_the_list_has_the_length_of_the_plan(count: int) -> None:
    with pytest.raises(ConfigError, match=rf"{count} clients.*clients=20"):
        created(invited=[f"phone-{number}" for number in range(count)])


def test_a_name_is_invited_once() -> None:
    with pytest.raises(ConfigError, match="'phone-3' twice"):
        created(invited=[*NAMES[:-1], "phone-3"])


@pytest.mark.parametrize("name", ["", "a b", "é", "a\n", "x" * 65, "\x7f"])
def test_a_name_is_printable_ascii_without_spaces(name: str) -> None:
    with pytest.raises(ConfigError, match="client id"):
        created(invited=[*NAMES[:-1], name])


def test_positions_are_those_of_the_sorted_list() -> None:
    assert sorted_invited(["b", "a", "B", "10", "9"]) == ("10", "9", "B", "a", "b")


@unhurried
@given(st.lists(st.sampled_from("ab"), max_size=4), st.lists(st.sampled_from("ab"), max_size=4))
def test_two_lists_of_instructions_hash_alike_only_if_they_are_one(one: list[str], other: list[str]) -> None:
    hashes = [instructions_digest(*(part.encode() for part in parts)) for parts in (one, other)]
    assert (hashes[0] == hashes[1]) == (one == other)


def test_the_parts_of_instructions_keep_their_borders() -> None:
    assert instructions_digest(b"ab", b"c") != instructions_digest(b"a", b"bc") != instructions_digest(b"abc")
    assert invited_digest(sorted_invited(["ab", "c"])) != invited_digest(sorted_invited(["a", "bc"]))


# Chunks.


@pytest.mark.parametrize("length", [1, CHUNK_GRAIN - 1, CHUNK_GRAIN, CHUNK_GRAIN + 1, 5 * CHUNK_GRAIN - 3])
def test_chunks_cover_the_input_in_order(length: int) -> None:
    config = dataclasses.replace(CONFIG, length=length, chunk_words=CHUNK_GRAIN)
    ranges = [config.chunk_range(chunk) for chunk in range(config.chunks)]
    assert [start for start, _ in ranges] == list(range(0, length, CHUNK_GRAIN))
    assert [stop for _, stop in ranges] == [*(start for start, _ in ranges[1:]), length]


@pytest.mark.parametrize("bits", range(8, 65))
def test_every_chunk_but_the_last_ends_on_a_byte_and_a_cipher_block(bits: int) -> None:
    assert CHUNK_GRAIN * bits % 8 == 0
    assert CHUNK_GRAIN * Ring(bits).word_bytes % 16 == 0


def test_a_chunk_is_below_what_one_tag_can_cover() -> None:
    assert MAX_CHUNK_WORDS * 8 <= 2**30
