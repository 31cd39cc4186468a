"""The arithmetic that safety rests on, proved by z3 for every size, and held against the product where it computes it.

Each lemma is proved by finding that nothing satisfies its premises and breaks its claim. That search could fail to
find anything for a bad reason, so each lemma comes with weakened copies, a premise off by one or a rule left out, and
each copy must have a counterexample. Variables are integers without bound; where widths of words matter, every width
is proved by itself.

What a lemma says of a formula is worth what the product computes: the second half walks all plans of up to 12 clients
and the rings and lanes themselves.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import z3  # type: ignore[import-untyped]  # z3 ships no types

from secagg import bounds, field
from secagg.errors import ConfigError
from secagg.layout import Layout
from secagg.packing import pack_rows, unpack_rows
from secagg.plan import MIN_ACTIVE_CLIENTS, Plan
from secagg.ring import GROUP, MAX_BITS, MIN_BITS, Ring
from secagg.shamir import LIMBS
from secagg.types import Adversary
from tests.proof.lemmas import LEMMAS, Formula, answer

LANE = 64
NARROW = 32

WEAKENED = [(name, mutant) for name, lemma in LEMMAS.items() for mutant in lemma.weakened]


@pytest.mark.parametrize("name", LEMMAS)
def test_nothing_satisfies_the_premises_and_breaks_the_claim(name: str) -> None:
    lemma = LEMMAS[name]
    assert answer([*lemma.premises.values()]) == "sat"  # they do not contradict each other
    assert answer([*lemma.premises.values(), z3.Not(lemma.claim)]) == "unsat"


@pytest.mark.parametrize(("name", "mutant"), WEAKENED)
def test_a_weakened_lemma_has_a_counterexample(name: str, mutant: str) -> None:
    lemma = LEMMAS[name]
    changes = lemma.weakened[mutant]
    assert changes.keys() <= lemma.premises.keys()
    premises = {**lemma.premises, **changes}.values()
    assert answer([*premises, z3.Not(lemma.claim)]) == "sat"


# Words: rings of every width.

WIDTHS = range(MIN_BITS, MAX_BITS + 1)


def word_bits(bits: int) -> int:
    return NARROW if bits <= NARROW else LANE


def centered(word: Formula, bits: int) -> Formula:
    """`Ring.center`, on 64-bit lanes: add half, reduce, take half off."""
    half = z3.BitVecVal(1 << (bits - 1), LANE)
    return ((word + half) & z3.BitVecVal((1 << bits) - 1, LANE)) - half


def lifted(value: Formula, bits: int) -> Formula:
    return value & z3.BitVecVal((1 << bits) - 1, LANE)


def in_range(value: Formula, bits: int, *, wider: int = 0) -> Formula:
    half = 1 << (bits - 1)
    upper = min(half - 1 + wider, (1 << 63) - 1)
    return z3.And(value >= z3.BitVecVal(-half, LANE), value <= z3.BitVecVal(upper, LANE))


def test_centering_undoes_lifting_in_every_ring() -> None:
    value = z3.BitVec("value", LANE)
    for bits in WIDTHS:
        differs = centered(lifted(value, bits), bits) != value
        assert answer([in_range(value, bits), differs]) == "unsat"
        if bits < MAX_BITS:  # one value more and two of them share a word
            assert answer([in_range(value, bits, wider=1), differs]) == "sat"


def test_sums_that_wrap_at_the_word_reduce_to_the_sum_in_every_ring() -> None:
    """What lets an accumulator be reduced once, at the end: 2^b divides the word's modulus."""
    one, other = z3.BitVecs("one other", LANE)
    for bits in WIDTHS:
        word = word_bits(bits)
        a, b = z3.Extract(word - 1, 0, one), z3.Extract(word - 1, 0, other)
        mask = z3.BitVecVal((1 << bits) - 1, word)
        assert answer([(a + b) & mask != ((a & mask) + (b & mask)) & mask]) == "unsat"
        if bits > MIN_BITS:  # in a word that is too short the top bits are lost
            short = z3.Extract(bits - 2, 0, one) + z3.Extract(bits - 2, 0, other)
            assert answer([z3.ZeroExt(1, short) != z3.Extract(bits - 1, 0, one + other)]) == "sat"


# Lanes: `pack_rows` and `unpack_rows` as formulas, the loop of each unrolled.


def packed_lanes(fields: Sequence[Formula], width: int, *, spills_above: int = LANE) -> list[Formula]:
    lanes = [z3.BitVecVal(0, LANE)] * -(-len(fields) * width // LANE)
    for index, value in enumerate(fields):
        lane, shift = divmod(index * width, LANE)
        lanes[lane] |= value << shift
        if shift + width > spills_above:
            lanes[lane + 1] |= z3.LShR(value, LANE - shift)
    return lanes


def unpacked_fields(lanes: Sequence[Formula], width: int, count: int, *, spills_above: int = LANE) -> list[Formula]:
    fields = []
    for index in range(count):
        lane, shift = divmod(index * width, LANE)
        value = z3.LShR(lanes[lane], shift)
        if shift + width > spills_above:
            value |= lanes[lane + 1] << (LANE - shift)
        fields.append(value & z3.BitVecVal((1 << width) - 1, LANE))
    return fields


def layouts() -> Iterator[tuple[int, int]]:
    """(width, count) of every row that rings and shares pack."""
    for bits in WIDTHS:
        yield (bits, GROUP) if bits > NARROW else (2 * bits, GROUP // 2)
    yield field.ELEMENT_BITS, LIMBS


def as_one_number(fields: Sequence[Formula], width: int) -> Formula:
    """Field i in bits [i*width, (i+1)*width): the promise of `packing`, written down."""
    return z3.Concat(*(z3.Extract(width - 1, 0, value) for value in reversed(fields)))


def narrow(fields: Sequence[Formula], width: int) -> Formula:
    return z3.And(*(z3.ULE(value, z3.BitVecVal((1 << width) - 1, LANE)) for value in fields))


def lane_mismatch(width: int, count: int, *, spills_above: int = LANE) -> list[Formula]:
    """Fields that some lane does not hold where the promise puts them."""
    fields = [z3.BitVec(f"field{index}", LANE) for index in range(count)]
    lanes = packed_lanes(fields, width, spills_above=spills_above)
    number = as_one_number(fields, width)
    held = z3.Concat(*reversed(lanes)) if len(lanes) > 1 else lanes[0]
    return [narrow(fields, width), z3.Extract(count * width - 1, 0, held) != number]


def round_trip_mismatch(width: int, count: int, *, spills_above: int = LANE) -> list[Formula]:
    fields = [z3.BitVec(f"field{index}", LANE) for index in range(count)]
    back = unpacked_fields(packed_lanes(fields, width), width, count, spills_above=spills_above)
    return [narrow(fields, width), z3.Or(*(one != other for one, other in zip(fields, back, strict=True)))]


@pytest.mark.parametrize("mismatch", [lane_mismatch, round_trip_mismatch])
def test_fields_of_every_width_stand_where_they_should_and_come_back(
    mismatch: Callable[..., list[Formula]],
) -> None:
    for width, count in layouts():
        assert answer(mismatch(width, count)) == "unsat", (width, count)


@pytest.mark.parametrize("mismatch", [lane_mismatch, round_trip_mismatch])
def test_a_spill_that_begins_a_bit_late_loses_a_bit_of_some_width(mismatch: Callable[..., list[Formula]]) -> None:
    """A field that ends one bit beyond its lane is the only one that shows it; some width has one."""
    late = [(width, count) for width, count in layouts() if has_spill_of_one(width, count)]
    assert late
    for width, count in late:
        assert answer(mismatch(width, count, spills_above=LANE + 1)) == "sat", (width, count)


def has_spill_of_one(width: int, count: int) -> bool:
    return any(index * width % LANE + width == LANE + 1 for index in range(count))


# The product computes what the lemmas speak of.

SMALL = range(1, 13)


def certified(**fields: Any) -> bool:
    try:
        Plan(adversary=Adversary.ACTIVE, degree=fields["clients"] - 1, **fields)
    except ConfigError:
        return False
    return True


def safe(n: int, d: int, m: int, t: int, q: int) -> bool:
    """The premises of the lemmas above, in Python."""
    counts = 2 * t > n + m and 2 * q > n + m and max(t, q) <= n - d
    return n >= MIN_ACTIVE_CLIENTS and d >= 0 and m >= 0 and n - d - m >= 2 and counts


@pytest.mark.parametrize("n", [n for n in SMALL if n >= MIN_ACTIVE_CLIENTS])
def test_a_plan_against_a_lying_server_exists_exactly_where_the_lemmas_hold(n: int) -> None:
    """Every dropped, corrupt and threshold, with the quorum at the edge of its range, and the other way round."""
    seen = set()
    for d, m, free in itertools.product(range(n), range(n), range(1, n + 1)):
        edges = {max(1, (n + m) // 2), (n + m) // 2 + 1, max(1, n - d), n - d + 1} & set(range(1, n + 1))
        for edge, swapped in itertools.product(edges, (False, True)):
            t, q = (edge, free) if swapped else (free, edge)
            exists = certified(clients=n, max_dropped=d, max_corrupt=m, threshold=t, quorum=q)
            assert exists == safe(n, d, m, t, q), (n, d, m, t, q)
            seen.add(exists)
    assert seen == {True, False}


def test_the_smallest_threshold_and_quorum_are_those_of_the_lemma() -> None:
    for n, m in itertools.product(SMALL, range(13)):
        least = next(t for t in itertools.count(1) if 2 * t > n + m)
        assert bounds.smallest_active_threshold(clients=n, corrupt=m) == least
        assert bounds.smallest_quorum(clients=n, corrupt=m) == least


def limits() -> list[int]:
    near = {(1 << bits) + by for bits in range(53) for by in (-1, 0, 1)}
    return sorted(limit for limit in near if 1 <= limit <= 1 << 52)


def test_a_ring_is_the_smallest_that_the_lemma_allows() -> None:
    """The centered range holds n * limit on either side, and a bit less would not."""
    for limit in limits():
        layout = Layout.like({"w": np.zeros(1)}, bound=float(limit), step=1.0)
        assert layout.limit == limit
        for n in SMALL:
            half = 1 << (layout.ring_for(n).bits - 1)
            assert n * limit < half
            assert half == 1 << (MIN_BITS - 1) or n * limit >= half // 2


def extremes(width: int, count: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Rows of fields that show a lost bit: all ones, single bits at either end, alternating."""
    top = (1 << width) - 1
    rows = [[top] * count, [1] * count, [1 << (width - 1)] * count, [top if i % 2 else 0 for i in range(count)]]
    rows += [[(index * 0x9E3779B97F4A7C15) & top for index in range(row, row + count)] for row in range(1, 9)]
    return np.array(rows, dtype=np.uint64)


def test_rows_are_packed_as_the_formulas_say() -> None:
    for width, count in layouts():
        fields = extremes(width, count)
        rows = np.ascontiguousarray(pack_rows(fields, width))
        for row, values in zip(rows, fields.tolist(), strict=True):
            number = sum(value << index * width for index, value in enumerate(values))
            assert row.tobytes() == number.to_bytes(-(-count * width // 8), "little")
        assert (unpack_rows(rows, width, count) == fields).all()


def test_rings_center_and_lift_as_the_formulas_say() -> None:
    for bits in WIDTHS:
        ring, half = Ring(bits), 1 << (bits - 1)
        values = np.array([-half, -half + 1, -1, 0, 1, half - 2, half - 1], dtype=np.int64)
        words = ring.lift(values)
        assert words.dtype.itemsize * 8 == word_bits(bits)
        assert words.tolist() == [value % (1 << bits) for value in values.tolist()]
        assert (ring.center(words) == values).all()
