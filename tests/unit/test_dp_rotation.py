"""Rotation: orthogonal at any length, the same for whoever knows the seed, and flat."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp import ParameterError, UpdateError
from dp.rotation import Rotation

SEED = hashlib.sha256(b"unit tests of rotation").digest()
RNG = np.random.default_rng(11)
SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)

lengths = st.integers(1, 700) | st.sampled_from([1, 2, 3, 1023, 1024, 1025, 4095, 8193])
seeds = st.binary(min_size=32, max_size=32)
dtypes = st.sampled_from([SINGLE, DOUBLE])


def vector(length: int, dtype: npt.DTypeLike = DOUBLE, *, number: int = 0) -> npt.NDArray[Any]:
    return np.random.default_rng([length, number]).normal(size=length).astype(dtype)


def norm(values: npt.NDArray[Any]) -> float:
    return float(np.linalg.norm(values.astype(np.float64)))


def matrix_of(rotation: Rotation) -> npt.NDArray[np.float64]:
    return np.stack([rotation.apply(unit) for unit in np.eye(rotation.length)], axis=1)


def plain_signs(label: bytes, seed: bytes, count: int) -> list[int]:
    digest = hashlib.shake_128(label + seed).digest(count // 8 + 1)
    return [-1 if digest[i // 8] >> (7 - i % 8) & 1 else 1 for i in range(count)]


def plain_image(values: list[float], seed: bytes) -> list[float]:
    """The definition: signs and the Hadamard matrix on the head, then, if the length is no power of two, the tail."""
    image, size = list(values), 1
    while 2 * size <= len(values):
        size *= 2
    starts = {b"secagg rotation signs: head": 0, b"secagg rotation signs: tail": len(values) - size}
    for label, start in starts.items():
        if label.endswith(b"tail") and start == 0:
            continue
        signs = plain_signs(label, seed, size)
        flipped = [sign * value for sign, value in zip(signs, image[start:], strict=False)]
        for i in range(size):
            terms = [(-1) ** (i & j).bit_count() * flipped[j] for j in range(size)]
            image[start + i] = math.fsum(terms) / math.sqrt(size)
    return image


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 13, 16, 17, 31, 32, 64, 100, 128, 200, 256, 300])
def test_the_image_is_that_of_the_definition(length: int) -> None:
    values = vector(length)
    image = Rotation(length=length, seed=SEED).apply(values)
    assert image == pytest.approx(plain_image(values.tolist(), SEED), abs=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3, 4, 7, 9, 16, 33, 63, 64, 96, 255, 320])
def test_the_matrix_is_orthogonal_and_the_inverse_is_its_transpose(length: int) -> None:
    rotation = Rotation(length=length, seed=SEED)
    matrix = matrix_of(rotation)
    assert np.allclose(matrix.T @ matrix, np.eye(length), rtol=0, atol=1e-13)
    inverse = np.stack([rotation.invert(unit) for unit in np.eye(length)], axis=1)
    assert np.allclose(inverse, matrix.T, rtol=0, atol=1e-13)


@settings(max_examples=150, deadline=None)
@given(length=lengths, seed=seeds, dtype=dtypes, number=st.integers(0, 99), exponent=st.integers(-25, 25))
def test_norms_stay_and_the_inverse_undoes(
    length: int, seed: bytes, dtype: np.dtype[Any], number: int, exponent: int
) -> None:
    rotation = Rotation(length=length, seed=seed)
    values = vector(length, dtype, number=number) * dtype.type(10.0**exponent)
    image = rotation.apply(values)
    assert image.dtype == dtype
    assert image.shape == (length,)
    assert norm(image) == pytest.approx(norm(values), rel=1e-6 if dtype == SINGLE else 1e-14)
    back = rotation.invert(image)
    assert back.dtype == dtype
    assert abs(back - values).max() <= (1e-5 if dtype == SINGLE else 1e-13) * abs(values).max()
    forth = rotation.apply(rotation.invert(values))
    assert abs(forth - values).max() <= (1e-5 if dtype == SINGLE else 1e-13) * abs(values).max()


@pytest.mark.parametrize("length", [1 << 17, (1 << 17) + 1, 100_003, (1 << 17) - 1])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e33])
def test_long_single_precision_vectors_keep_their_norm_and_come_back(length: int, scale: float) -> None:
    rotation = Rotation(length=length, seed=SEED)
    values = vector(length, SINGLE) * np.float32(scale)
    image = rotation.apply(values)
    assert norm(image) == pytest.approx(norm(values), rel=1e-6)
    assert abs(rotation.invert(image) - values).max() < 1e-5 * abs(values).max()


@settings(deadline=None)
@given(length=lengths, seed=seeds)
def test_inner_products_and_sums_stay(length: int, seed: bytes) -> None:
    rotation = Rotation(length=length, seed=seed)
    first, second = vector(length, number=1), vector(length, number=2)
    images = rotation.apply(first), rotation.apply(second)
    assert float(images[0] @ images[1]) == pytest.approx(float(first @ second), abs=1e-10)
    assert rotation.apply(3 * first - second) == pytest.approx(3 * images[0] - images[1], abs=1e-11)


@pytest.mark.parametrize("length", [64, 1000, 1024, 1025, 2047])
def test_no_coordinate_of_the_image_is_large(length: int) -> None:
    """z = 8 is passed by chance in 2 exp(-32) of the coordinates; the seeds are fixed, so this cannot flicker."""
    block = 1 << (length.bit_length() - 1)
    inputs = [np.eye(length)[i] for i in (0, length // 2, length - 1)]
    inputs += [np.ones(length), np.arange(length) % 2 - 0.5, vector(length), (np.arange(length) >= length - 3) * 1.0]
    for number in range(20):
        rotation = Rotation(length=length, seed=hashlib.sha256(bytes([number])).digest())
        assert rotation.block == block
        for values in inputs:
            assert abs(rotation.apply(values)).max() < 8 * norm(values) / math.sqrt(block)


def test_both_blocks_have_signs_of_their_own() -> None:
    head, tail = (plain_signs(b"secagg rotation signs: " + part, SEED, 256) for part in (b"head", b"tail"))
    assert abs(sum(a * b for a, b in zip(head, tail, strict=True))) < 100
    assert abs(sum(head)) < 100
    constant = Rotation(length=300, seed=SEED).apply(np.ones(300))
    assert abs(constant).max() < 6


def test_the_seed_names_the_rotation() -> None:
    values = vector(1000)
    image = Rotation(length=1000, seed=SEED).apply(values)
    assert np.array_equal(Rotation(length=1000, seed=SEED).apply(values), image)
    other = Rotation(length=1000, seed=bytes(32)).apply(values)
    assert abs(float(image @ other)) < 0.3 * norm(values) ** 2
    assert Rotation(length=5, seed=SEED) == Rotation(length=5, seed=SEED) != Rotation(length=5, seed=bytes(32))


def test_signs_go_on_across_their_blocks() -> None:
    length = 1 << 17
    signs = np.array(plain_signs(b"secagg rotation signs: head", SEED, length))
    image = Rotation(length=length, seed=SEED).apply(vector(length) * signs)  # the signs cancel: what is left is H
    assert image[0] == pytest.approx(vector(length).sum() / math.sqrt(length), abs=1e-9)


@settings(deadline=None)
@given(length=lengths, dtype=dtypes)
def test_strides_do_not_matter_and_the_input_is_left_alone(length: int, dtype: np.dtype[Any]) -> None:
    rotation = Rotation(length=length, seed=SEED)
    values = vector(length, dtype)
    kept, spread = values.copy(), np.repeat(values, 3)[::3]
    values.setflags(write=False)
    image = rotation.apply(values)
    assert np.array_equal(rotation.apply(spread), image)
    assert np.array_equal(rotation.invert(np.repeat(image, 2)[::2]), rotation.invert(image))
    assert np.array_equal(values, kept)
    assert image.flags.writeable
    assert not np.shares_memory(image, values)


@pytest.mark.parametrize("length", [0, -1, 1.0, True, None, (1 << 31) + 1])
def test_a_length_is_a_positive_integer(length: Any) -> None:
    with pytest.raises(ParameterError, match="length="):
        Rotation(length=length, seed=SEED)


@pytest.mark.parametrize("seed", [b"", bytes(31), bytes(33), "s" * 32, bytearray(32), None])
def test_a_seed_is_32_bytes(seed: Any) -> None:
    with pytest.raises(ParameterError, match=r"seed of .* must be 32 bytes"):
        Rotation(length=4, seed=seed)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ([0.0] * 4, "type list"),
        (np.ma.masked_array(np.zeros(4), [True] * 4), "type MaskedArray"),
        (np.zeros(4, dtype=int), "dtype int64"),
        (np.zeros(4, dtype=np.float16), "dtype float16"),
        (np.zeros(4, dtype=">f4"), "dtype >f4"),
        (np.zeros(5), r"shape \(5,\)"),
        (np.zeros((2, 2)), r"shape \(2, 2\)"),
    ],
)
def test_only_vectors_of_floats_are_rotated(bad: Any, reason: str) -> None:
    rotation = Rotation(length=4, seed=SEED)
    for turn in (rotation.apply, rotation.invert):
        with pytest.raises(UpdateError, match=f"a vector to rotate (has|is of) {reason}"):
            turn(bad)
