"""Rounding under an integer norm check: what no vector, however chosen, gets past."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dp.errors import ParameterError, UpdateError
from dp.rounding import MISS, fits, round_within, rounded_limit
from dp.testing import FixedRandomness

RANDOMNESS = FixedRandomness(bytes(32))


@pytest.mark.parametrize("values", [[2**32], [2**31] * 4, [-(2**63)], [2**63 - 1], [-(2**31)] * 4, [3, 0], [2, 2]])
def test_integers_whose_squares_would_wrap_or_are_too_large_do_not_fit(values: list[int]) -> None:
    assert not fits(np.asarray(values, dtype=np.int64), 7)


def test_the_check_is_exact_at_its_limit() -> None:
    values = np.asarray([3, -4, 12], dtype=np.int64)
    assert fits(values, 169)
    assert not fits(values, 168)
    assert fits(np.zeros(0, dtype=np.int64), 0)
    # Near 2^31: the square of the largest coordinate alone nearly fills the room there is.
    large = np.asarray([2**31 - 1], dtype=np.int64)
    assert fits(large, (2**31 - 1) ** 2)
    assert not fits(large, (2**31 - 1) ** 2 - 1)


@pytest.mark.parametrize("limit", [-1, 2**63])
def test_a_limit_that_cannot_be_checked_is_refused(limit: int) -> None:
    with pytest.raises(ParameterError, match="limit="):
        fits(np.zeros(1, dtype=np.int64), limit)
    with pytest.raises(ParameterError, match="limit="):
        round_within(np.zeros(1), limit)


def test_only_vectors_of_int64_are_checked() -> None:
    for wrong in (np.zeros(2, dtype=np.int32), np.zeros((2, 2), dtype=np.int64), [1, 2]):
        with pytest.raises(ParameterError, match="int64"):
            fits(wrong, 10)  # type: ignore[arg-type]  # what is refused


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300, -1e19, 2.0**63])
@pytest.mark.parametrize("place", [0, 70_000])
def test_what_is_not_finite_or_far_too_long_becomes_zeros_and_says_so(bad: float, place: int) -> None:
    vector = np.full(70_001, 0.001)
    vector[place] = bad
    values, faithful = round_within(vector, 10_000)
    assert not faithful
    assert not values.any()
    assert values.dtype == np.int64


def test_a_vector_longer_than_its_limit_becomes_zeros() -> None:
    values, faithful = round_within(np.full(100, 3.0), 899)
    assert not faithful
    assert not values.any()


def test_rounding_that_always_misses_falls_back_toward_zero() -> None:
    vector = np.full(4, 1.5)  # up is 2: a limit of 4 allows (1, 1, 1, 1) alone, which one drawing hits in 1 of 16
    hits = [round_within(vector, 4) for _ in range(20)]
    assert all(hit.faithful and hit.values.tolist() == [1, 1, 1, 1] for hit in hits)
    negative, faithful = round_within(-vector, 4)
    assert faithful
    assert negative.tolist() == [-1, -1, -1, -1]


def test_the_mean_of_many_roundings_is_the_vector() -> None:
    vector = np.asarray([0.25, -0.25, 3.75, -2.5, 0.0, 7.0])
    count = 20_000
    total = np.zeros(6)
    for _ in range(count):
        total += round_within(vector, 10_000, randomness=RANDOMNESS).values
    # A rounding has variance of at most 1/4; six deviations of each of six means are off by chance in 1 of 10^8.
    assert np.abs(total / count - vector).max() < 6 * 0.5 / math.sqrt(count)
    assert (total / count)[4:].tolist() == [0.0, 7.0]


def test_every_integer_is_one_of_the_two_nearest() -> None:
    vector = np.random.default_rng(0).normal(0, 5, 100_000)
    values, faithful = round_within(vector, 10**9)
    assert faithful
    assert np.all((values == np.floor(vector)) | (values == np.ceil(vector)))


def test_the_vector_is_left_alone_and_other_types_are_refused() -> None:
    vector = np.full(3, 0.5)
    round_within(vector, 100)
    assert vector.tolist() == [0.5] * 3
    for wrong in (np.zeros(2, dtype=np.float32), np.zeros((2, 2)), [1.0]):
        with pytest.raises(UpdateError, match="float64"):
            round_within(wrong, 10)  # type: ignore[arg-type]  # what is refused


# The limit.


@pytest.mark.parametrize(("norm", "length"), [(1.0, 1), (10.0, 1), (16.0, 64), (100.0, 10_000), (65_536.0, 2**20)])
def test_the_limit_is_the_smaller_of_the_two_bounds(norm: float, length: int) -> None:
    likely = norm**2 + length / 4 + math.sqrt(2 * math.log(1 / MISS)) * (norm + math.sqrt(length) / 2)
    assert rounded_limit(norm, length) == math.floor(min(likely, (norm + math.sqrt(length)) ** 2))


def test_drawings_miss_the_limit_no_more_often_than_stated() -> None:
    rng = np.random.default_rng(1)
    length, norm, tries = 400, 30.0, 4000
    limit = rounded_limit(norm, length)
    missed = 0
    for _ in range(tries):
        vector = rng.normal(size=length)
        vector *= norm / np.linalg.norm(vector)
        ups = rng.random(length) < vector - np.floor(vector)
        missed += not fits((np.floor(vector) + ups).astype(np.int64), limit)
    # Odds of at most 2^-10 a drawing: above 25 of 4000 with odds below 10^-11.
    assert missed <= 25


@pytest.mark.parametrize("norm", [0.99, 0.0, math.nan, math.inf, 2.0**31 + 1])
def test_a_norm_out_of_range_is_refused(norm: float) -> None:
    with pytest.raises(ParameterError, match="clip / step"):
        rounded_limit(norm, 10)


@pytest.mark.parametrize("length", [0, -1, True, 1.5])
def test_a_length_out_of_range_is_refused(length: int) -> None:
    with pytest.raises(ParameterError, match="length="):
        rounded_limit(2.0, length)


def test_squares_that_do_not_fit_name_the_step_that_does() -> None:
    with pytest.raises(ParameterError, match=r"at least clip / (\d+)") as caught:
        rounded_limit(2.0**31, 2**20)
    most = int(str(caught.value).rpartition("/ ")[2])
    assert rounded_limit(float(most), 2**20) * 2**20 < 2**63
    with pytest.raises(ParameterError, match="fewer coordinates"):
        rounded_limit(1.0, 2**40)
