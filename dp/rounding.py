"""From real vectors to integer vectors whose norm is certain.

Promise: what `round_within` returns has a squared L2 norm of at most its limit, checked on the integers themselves, in
integer arithmetic that cannot wrap. An accountant may therefore use the limit, whatever floats did before: clipping,
rotation and scaling are not trusted (Mironov, "On significance of the least significant bits for differential
privacy", CCS 2012, is why). It also never refuses: nothing about the numbers decides who takes part.

Rounding is to one of the two nearest integers, at random, so that its mean is the number itself. It is drawn again
until the norm fits (Kairouz, Liu, Steinke, "The distributed discrete Gaussian mechanism for federated learning with
secure aggregation", ICML 2021).

Imports numpy and, of this package, `randomness` and the errors.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from dp.errors import ParameterError, UpdateError
from dp.randomness import WORD, Randomness, SystemRandomness, new_words

Integers = npt.NDArray[np.int64]

MISS: Final = 2.0**-10
"""Odds that one drawing of the roundings does not fit. Smaller ones would buy less bias with a larger limit."""

TRIES: Final = 16
"""Drawings before rounding toward zero, which always fits; all of them miss with odds below 2^-160."""

_LARGEST_SUM: Final = 1 << 63
_BLOCK: Final = 1 << 16


class Rounded(NamedTuple):
    """A vector of integers that fits.

    Attributes:
        values: int64, (length,).
        faithful: whether it stands for the vector that was given; False where that was not finite or longer than was
            said, so that zeros stand in for it. Known to the client alone: it must not change what the client sends.
    """

    values: Integers
    faithful: bool


def rounded_limit(norm: float, length: int) -> int:
    """Return the squared L2 norm that a vector of norm at most `norm` keeps when rounded, with odds 1 - MISS.

    For |x| <= C in d dimensions the rounded vector's squared norm is a sum of independent terms, each of which takes
    two values no more than 2 |x_i| + 1 apart, and its mean is at most C^2 + d / 4. By Hoeffding's inequality (1963) it
    is above C^2 + d / 4 + sqrt(2 ln(1 / MISS)) (C + sqrt(d) / 2) with odds of at most MISS. It is never above
    (C + sqrt(d))^2. The smaller of the two is the limit.

    Args:
        norm: C, in integer units; at least 1, below which rounding drowns the vector.
        length: d.

    Raises:
        ParameterError: norm or length is out of range, or d times the limit does not fit 63 bits.
    """
    if isinstance(length, bool) or not isinstance(length, int) or length < 1:
        raise ParameterError(f"length={length!r:.40} must be an integer from 1 on")
    if not 1.0 <= norm <= 2.0**31:
        raise ParameterError(
            f"clip / step = {norm!r} must be from 1 to 2^31: a finer step raises it, a coarser one lowers it"
        )
    root = math.sqrt(length)
    likely = norm**2 + length / 4 + math.sqrt(2.0 * math.log(1.0 / MISS)) * (norm + root / 2)
    limit = math.floor(min(likely, (norm + root) ** 2))
    if length * limit >= _LARGEST_SUM:
        most = math.sqrt(_LARGEST_SUM / length) - root - 8.0
        raise ParameterError(
            f"clip / step = {norm!r} over length={length} leaves squares that do not fit 63 bits: "
            + (f"take a step of at least clip / {math.floor(most)}" if most >= 1.0 else "sum fewer coordinates")
        )
    return limit


def fits(values: Integers, limit: int) -> bool:
    """Whether the squared L2 norm of integers is at most `limit`; exact.

    Every coordinate is bounded first, by the root of the limit, so that the sum of squares is below 2^63 and does not
    wrap on its way: without that bound, a single 2^32 or four times 2^31 would pass for zero.

    Raises:
        ParameterError: values is no vector of int64, limit is negative, or the length times the limit reaches 2^63.
    """
    if not isinstance(values, np.ndarray) or values.dtype != np.int64 or values.ndim != 1:
        raise ParameterError("a norm is checked on a vector of int64")
    if not 0 <= limit * max(len(values), 1) < _LARGEST_SUM:
        raise ParameterError(f"limit={limit} over {len(values)} coordinates is negative or does not fit 63 bits")
    most = math.isqrt(limit)
    if values.size and (int(values.max()) > most or int(values.min()) < -most):
        return False
    return int(np.dot(values, values)) <= limit


def round_within(vector: npt.NDArray[np.float64], limit: int, *, randomness: Randomness | None = None) -> Rounded:
    """Round a vector to integers whose squared L2 norm is at most `limit`.

    Args:
        vector: float64, (length,), in integer units; not changed.
        limit: from `rounded_limit`, of a norm that the vector keeps.
        randomness: where the roundings come from; a fresh `SystemRandomness` unless given.

    Returns:
        The integers. A vector that is not finite, or does not fit even when rounded toward zero, becomes zeros.

    Raises:
        UpdateError: vector is no vector of float64. Its numbers are never a reason.
        ParameterError: see `fits`.
    """
    if not isinstance(vector, np.ndarray) or vector.dtype != np.float64 or vector.ndim != 1:
        raise UpdateError("a vector to round is a numpy vector of float64: convert it")
    zeros = Rounded(np.zeros(len(vector), dtype=np.int64), faithful=False)
    fits(zeros.values, limit)  # refuses a limit that no vector could be checked against
    largest = math.isqrt(limit) + 1.0
    # One comparison guards every cast below: it is false for NaN, which max and min hand through, and for infinities.
    if vector.size and not (vector.max() <= largest and vector.min() >= -largest):
        return zeros
    source = SystemRandomness() if randomness is None else randomness
    for _ in range(TRIES):
        values = _round_once(vector, source)
        if fits(values, limit):
            return Rounded(values, faithful=True)
    toward_zero = vector.astype(np.int64)
    return Rounded(toward_zero, faithful=True) if fits(toward_zero, limit) else zeros


def _round_once(vector: npt.NDArray[np.float64], randomness: Randomness) -> Integers:
    """Round every coordinate down or up, up with odds of its fraction, to 53 bits."""
    values: Integers = np.empty(len(vector), dtype=np.int64)
    for start in range(0, len(vector), _BLOCK):
        block = vector[start : start + _BLOCK]
        floors = np.floor(block)
        words = new_words(randomness, len(block)) >> WORD.type(11)
        ups = words * 2.0**-53 < block - floors
        values[start : start + _BLOCK] = floors.astype(np.int64) + ups
    return values
