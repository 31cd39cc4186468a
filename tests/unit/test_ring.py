"""The ring: packed words against plain integers, for every width."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from secagg import ring as ring_module
from secagg.errors import ConfigError, InputError, MisuseError
from secagg.ring import GROUP, MAX_BITS, MIN_BITS, Ring, Words

ALL_BITS = range(MIN_BITS, MAX_BITS + 1)
LENGTHS = (0, 1, 2, 7, 8, 9, 13, 64, 131)

every_width = pytest.mark.parametrize("bits", ALL_BITS)
some_widths = pytest.mark.parametrize("bits", [8, 9, 16, 27, 31, 32, 33, 53, 63, 64])


def sample(bits: int, length: int) -> list[int]:
    """Words that are all ones, all zeros or neither, in no regular order."""
    rng = np.random.default_rng(1000 * bits + length)
    words = [int.from_bytes(rng.bytes(8), "little") % 2**bits for _ in range(length)]
    words[::5] = [2**bits - 1] * len(words[::5])
    words[3::7] = [0] * len(words[3::7])
    return words


def as_words(ring: Ring, values: list[int]) -> Words:
    words: Words = np.array(values, dtype=ring.word)
    return words


def oracle(bits: int, values: list[int]) -> bytes:
    number = sum(value << index * bits for index, value in enumerate(values))
    return number.to_bytes(-(-len(values) * bits // 8), "little")


@pytest.fixture(params=[16, 64], ids=["blocks of 16", "blocks of 64"])
def short_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring_module, "_BLOCK", request.param)


@pytest.mark.parametrize("bits", [7, 65, 0, -8, 8.0, True, "8", None])
def test_only_whole_widths_from_8_to_64_make_a_ring(bits: object) -> None:
    with pytest.raises(ConfigError, match="ring bits="):
        Ring(bits)  # type: ignore[arg-type]  # the wrong types are the point


@every_width
def test_a_word_is_the_smallest_type_that_holds_the_ring(bits: int) -> None:
    ring = Ring(bits)
    assert ring.modulus == 2**bits
    assert ring.word is (np.uint32 if bits <= 32 else np.uint64)
    assert ring.word_bytes == np.dtype(ring.word).itemsize


@every_width
def test_packed_words_are_one_little_endian_number(bits: int) -> None:
    ring = Ring(bits)
    for length in LENGTHS:
        values = sample(bits, length)
        packed = ring.pack(as_words(ring, values))
        assert packed == oracle(bits, values)
        assert len(packed) == ring.packed_size(length)
        assert ring.unpack(packed, length).tolist() == values
        assert ring.padding_is_zero(packed, length)


@every_width
@pytest.mark.usefixtures("short_blocks")
def test_the_layout_does_not_depend_on_the_blocks(bits: int) -> None:
    ring = Ring(bits)
    values = sample(bits, 131)
    packed = ring.pack(as_words(ring, values))
    assert packed == oracle(bits, values)
    assert ring.unpack(packed, 131).tolist() == values


@every_width
def test_packing_and_reduce_take_words_modulo_the_ring(bits: int) -> None:
    ring = Ring(bits)
    full = sample(8 * ring.word_bytes, 21)
    reduced = [value % 2**bits for value in full]
    words = as_words(ring, full)
    assert ring.pack(words) == oracle(bits, reduced)
    assert words.tolist() == full, "packing leaves its argument alone"
    ring.reduce(words)
    assert words.tolist() == reduced


@every_width
def test_pieces_packed_in_place_are_the_whole(bits: int) -> None:
    ring = Ring(bits)
    words = as_words(ring, sample(bits, 45))
    out = bytearray(b"\xff" * ring.packed_size(45))
    for first, last in [(16, 32), (0, 16), (40, 45), (32, 40)]:
        ring.pack_into(words[first:last], out, first)
    assert out == ring.pack(words)


@some_widths
def test_pack_into_refuses_what_would_damage_its_neighbors(bits: int) -> None:
    ring = Ring(bits)
    words = as_words(ring, sample(bits, 16))
    out = bytearray(ring.packed_size(32))
    with pytest.raises(MisuseError, match=f"multiple of {GROUP}"):
        ring.pack_into(words, out, 4)
    with pytest.raises(MisuseError, match=f"multiple of {GROUP}"):
        ring.pack_into(words, out, -8)
    with pytest.raises(MisuseError, match="end at byte"):
        ring.pack_into(words, out, 24)
    with pytest.raises(MisuseError, match="before the end of the vector"):
        ring.pack_into(words[:5], out, 8)
    with pytest.raises(MisuseError, match="read-only"):
        ring.pack_into(words, bytes(out), 0)
    with pytest.raises(MisuseError, match="strided"):
        ring.pack_into(words, memoryview(bytearray(2 * len(out)))[::2], 0)
    assert out == bytes(len(out))


@every_width
def test_every_padding_bit_is_seen(bits: int) -> None:
    ring = Ring(bits)
    for length in (1, 3, 5, 8):
        packed = ring.pack(as_words(ring, sample(bits, length)))
        for bit in range(length * bits, 8 * len(packed)):
            flipped = bytearray(packed)
            flipped[bit // 8] ^= 1 << bit % 8
            assert not ring.padding_is_zero(flipped, length)
            assert ring.unpack(flipped, length).tolist() == ring.unpack(packed, length).tolist()


@every_width
@pytest.mark.usefixtures("short_blocks")
def test_packed_words_add_to_their_place(bits: int) -> None:
    ring = Ring(bits)
    before, first, second = sample(8 * ring.word_bytes, 77), sample(bits, 77), sample(bits, 13)
    acc = as_words(ring, before)
    ring.add_packed(acc, ring.pack(as_words(ring, first)))
    ring.add_packed(acc, ring.pack(as_words(ring, second)), start=30)
    expected = [a + b for a, b in zip(before, first, strict=True)]
    expected[30:43] = [a + b for a, b in zip(expected[30:43], second, strict=True)]
    assert acc.tolist() == [value % 256**ring.word_bytes for value in expected]


@every_width
def test_packed_words_add_from_wherever_they_lie(bits: int) -> None:
    """Behind a message's header they are on no word's boundary."""
    ring, words = Ring(bits), sample(bits, 40)
    for before in range(9):
        acc = np.zeros(40, dtype=ring.word)
        message = bytes(before) + ring.pack(as_words(ring, words))
        ring.add_packed(acc, memoryview(message)[before:])
        assert acc.tolist() == words


@some_widths
def test_packed_words_of_another_size_are_refused(bits: int) -> None:
    ring = Ring(bits)
    packed = ring.pack(as_words(ring, sample(bits, 9)))
    for wrong in (packed[:-1], packed + b"\0"):
        with pytest.raises(MisuseError, match="take"):
            ring.unpack(wrong, 9)
        with pytest.raises(MisuseError, match="take"):
            ring.padding_is_zero(wrong, 9)
    acc = np.zeros(20, dtype=ring.word)
    for start in (-1, 12, 21):
        with pytest.raises(MisuseError, match="do not fit an accumulator of 20"):
            ring.add_packed(acc, packed, start=start)
    if bits >= 16:  # below, one byte more can be one word more
        with pytest.raises(MisuseError, match="take"):
            ring.add_packed(acc, packed + b"\0")
    with pytest.raises(MisuseError, match="length=-1"):
        ring.packed_size(-1)
    with pytest.raises(MisuseError, match="take"):
        ring.unpack(b"", 10**15)  # refused before memory is asked for
    assert not acc.any()


@every_width
def test_center_reads_the_signed_integer_and_lift_writes_it(bits: int) -> None:
    ring = Ring(bits)
    half = 2 ** (bits - 1)
    signed = [-half, 1 - half, -2, -1, 0, 1, 2, half - 1]
    words = ring.lift(np.array(signed, dtype=np.int64))
    assert words.dtype == ring.word
    assert words.tolist() == [value % 2**bits for value in signed]
    assert ring.center(words).tolist() == signed
    unreduced = as_words(ring, [value % 256**ring.word_bytes for value in signed])
    assert ring.center(unreduced).tolist() == signed
    empty: np.ndarray[tuple[int], np.dtype[np.int64]] = np.zeros(0, dtype=np.int64)
    assert ring.center(ring.lift(empty)).tolist() == []


@pytest.mark.parametrize("bits", range(MIN_BITS, MAX_BITS))
def test_lift_refuses_a_value_that_would_wrap_and_does_not_show_it(bits: int) -> None:
    half = 2 ** (bits - 1)
    for outside in (half, -half - 1):
        with pytest.raises(InputError, match="outside the ring") as refused:
            Ring(bits).lift(np.array([0, outside], dtype=np.int64))
        assert str(abs(outside)) not in str(refused.value)


@some_widths
def test_every_operation_refuses_other_arrays(bits: int) -> None:
    ring = Ring(bits)
    other = np.zeros(8, dtype=np.uint64 if bits <= 32 else np.uint32)
    for wrong in (other, np.zeros(8), np.zeros((2, 8), dtype=ring.word), [1, 2]):
        for operation in (ring.reduce, ring.pack, ring.center):
            with pytest.raises(MisuseError, match="takes a vector of uint"):
                operation(wrong)  # type: ignore[arg-type]  # the wrong types are the point
        with pytest.raises(MisuseError, match="takes a vector of uint"):
            ring.add_packed(wrong, b"")  # type: ignore[arg-type]  # the same
    with pytest.raises(MisuseError, match="vector of int64"):
        ring.lift(np.zeros(3, dtype=np.int32))
    frozen = np.zeros(8, dtype=ring.word)
    frozen.setflags(write=False)
    with pytest.raises(MisuseError, match="read-only"):
        ring.reduce(frozen)
    with pytest.raises(MisuseError, match="read-only"):
        ring.add_packed(frozen, b"")


@pytest.mark.parametrize("bits", [16, 27, 32, 40, 64])
def test_memory_beyond_the_result_does_not_grow_with_the_vector(bits: int) -> None:
    ring = Ring(bits)

    def peak(length: int) -> int:
        acc = np.zeros(length, dtype=ring.word)
        out = bytearray(ring.packed_size(length))
        tracemalloc.start()
        ring.pack_into(acc, out)
        ring.add_packed(acc, out)
        traced = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return traced

    assert peak(800_000) < peak(100_000) + 10_000
