"""Exponentials, cosines and pi in integers: numbers as multiples of 2**-bits, without floating point.

Promise: an answer is within two units of the truth, on every machine the same, and its cost does not matter: these
build tables and settle the one comparison in billions that float64 leaves open.

Imports nothing.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import Final

_GUARD: Final = 64
"""Extra bits inside: the at most 2^9 operations of one call, and the squarings, lose less than 2^40 of their units."""


def scaled(value: Fraction, bits: int) -> int:
    """The value in units of 2**-bits, rounded down; bits may be negative."""
    return math.floor(value * Fraction(2) ** bits)


def exp_negative(x: int, bits: int) -> int:
    """e**-x for x >= 0; argument and answer in units of 2**-bits.

    A power series at x / 2**s, where that is below 2**-8, squared s times. Squaring doubles the relative error, and
    since x beyond bits * ln 2 is answered with zero, s stays below log2(bits) + 9.
    """
    if x * 10 > bits * 7 << bits:  # 0.7 > ln 2
        return 0
    work = bits + _GUARD
    halvings = max((x >> bits).bit_length() + 8, 0)
    small = (x << _GUARD) >> halvings
    total = term = 1 << work
    step = 1
    while term:
        term = (term * small >> work) // step
        total += -term if step & 1 else term
        step += 1
    for _ in range(halvings):
        total = total * total >> work
    return total >> _GUARD


def cosine_pair(x: int, bits: int, *, hyperbolic: bool = False) -> tuple[int, int]:
    """(cos x, sin x), or (cosh x, sinh x), for |x| <= 8; argument and answers in units of 2**-bits.

    Their power series differ in nothing but signs.
    """
    work = bits + _GUARD
    argument = abs(x) << _GUARD
    sums, term, step = [0, 0], 1 << work, 0
    while term:
        negative = not hyperbolic and step & 2
        sums[step & 1] += -term if negative else term
        step += 1
        term = (term * argument >> work) // step
    even, odd = (total >> _GUARD for total in sums)
    return even, odd if x >= 0 else -odd


@lru_cache(maxsize=16)
def pi(bits: int) -> int:
    """Pi in units of 2**-bits, by Machin's 16 arctan(1/5) - 4 arctan(1/239)."""
    work = bits + _GUARD
    return 4 * (4 * _arctan_inverse(5, work) - _arctan_inverse(239, work)) >> _GUARD


def square_root(value: Fraction, bits: int) -> int:
    """The square root of a value >= 0 in units of 2**-bits, rounded down."""
    return math.isqrt(scaled(value, 2 * bits))


def _arctan_inverse(n: int, bits: int) -> int:
    power = total = (1 << bits) // n
    divisor, sign = 1, 1
    while power:
        power //= n * n
        divisor += 2
        sign = -sign
        total += sign * (power // divisor)
    return total
