"""Probabilities of discrete Gaussian and Skellam noise, in integers, with their errors stated.

Promise: every probability is a multiple of 2**-bits, less than two of them from the truth, and what lies beyond the
radius is below 2**-tail_bits in total. No floating-point number has a part in it but in choosing where to begin.

Both laws are symmetric and log-concave: from each probability to the next the ratio falls. That is all the tail bound
needs.

Imports this package's errors and `exact`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise, takewhile
from typing import Final

from dp.errors import ParameterError
from dp.noise import exact

TAIL_BITS: Final = 128
_FINENESS: Final = 192
"""How many bits finer than the bound on the tail a probability is."""

_GUARD: Final = 64
"""Extra bits inside the recurrences: k steps lose less than k^2 of their units, and no k reaches 2^28."""

LARGEST_VARIANCE: Final = 1 << 32
"""The widest law listed one probability at a time: under a million of them on either side."""


@dataclass(frozen=True)
class Pmf:
    """A symmetric law on the integers from -radius to radius.

    Attributes:
        half: the probability of k, and of -k, for k = 0 to radius, in units of 2**-bits.
        bits: the unit.
        omitted: a bound on the probability beyond the radius.
    """

    half: tuple[int, ...]
    bits: int
    omitted: Fraction

    @property
    def radius(self) -> int:
        """The largest magnitude."""
        return len(self.half) - 1

    def probability(self, k: int) -> float:
        """Return the probability of k, rounded to float64; 0.0 beyond the radius."""
        return self.half[abs(k)] / (1 << self.bits) if abs(k) <= self.radius else 0.0

    @cached_property
    def variance(self) -> float:
        """The variance, rounded to float64 once."""
        return 2 * sum(k * k * mass for k, mass in enumerate(self.half)) / (1 << self.bits)

    @cached_property
    def entropy(self) -> float:
        """The Shannon entropy in bits."""
        terms = [_surprise(mass, 1 << self.bits) for mass in self.half]
        return math.fsum([terms[0], *(2 * term for term in terms[1:])])

    def grid(self, bits: int) -> list[int]:
        """Return the probabilities of -radius to radius in units of 2**-bits, rounded to sum to 1 exactly.

        All are rounded down and 0 gets what is left, so that every other one is less than a unit below the law's and
        that of 0 less than 2 * radius + 2 units above, besides what it gets of the omitted tail.
        """
        down = [mass << bits >> self.bits for mass in self.half]
        down[0] = (1 << bits) - 2 * sum(down[1:])
        return [*reversed(down[1:]), *down]


def discrete_gaussian(sigma2: Fraction, *, tail_bits: int = TAIL_BITS) -> Pmf:
    """Return the law with probabilities proportional to exp(-k^2 / (2 sigma2)) on the integers.

    (Canonne, Kamath, Steinke, "The discrete Gaussian for differential privacy", NeurIPS 2020, definition 1.)

    Raises:
        ParameterError: sigma2 or tail_bits is out of range.
    """
    _require_listable(sigma2, name="sigma2", tail_bits=tail_bits)
    bits = tail_bits + _FINENESS
    weights = gaussian_weights(sigma2, bits + _GUARD)
    negligible = 1 << (_GUARD // 4)  # all weights below it together are far below one unit of the answer
    return _normalized([*takewhile(lambda weight: weight >= negligible, weights), 0], bits, tail_bits)


def gaussian_weights(sigma2: Fraction, bits: int) -> Iterator[int]:
    """Yield exp(-k^2 / (2 sigma2)) for k = 0, 1, ... in units of 2**-bits.

    From each k to the next the weight is multiplied by exp(-(2k + 1) / (2 sigma2)), and that by exp(-1 / sigma2).
    """
    ratio = exact.exp_negative(exact.scaled(1 / (2 * sigma2), bits), bits)
    square = ratio * ratio >> bits
    weight = 1 << bits
    while True:
        yield weight
        weight = weight * ratio >> bits
        ratio = ratio * square >> bits


def skellam(variance: Fraction, *, tail_bits: int = TAIL_BITS) -> Pmf:
    """Return the law of Poisson(variance / 2) minus Poisson(variance / 2): exp(-v) I_k(v) for the variance v.

    Backward recurrence from far in the tail, I_(k-1) = I_(k+1) + (2k / v) I_k, normalized by the sum (Miller's
    algorithm; Gautschi, "Computational aspects of three-term recurrence relations", SIAM Review 9, 1967). All terms
    are positive, so rounding errors only add up, and the error of the start falls by I_(k+1) / I_(k-1) a step.

    Raises:
        ParameterError: variance or tail_bits is out of range.
    """
    _require_listable(variance, name="variance", tail_bits=tail_bits)
    bits = tail_bits + _FINENESS
    start = _skellam_reach(float(variance), bits + _GUARD)
    above, here = 0, 1 << (bits + _GUARD)
    weights = [here]
    for k in range(start, 0, -1):
        above, here = here, above + 2 * k * variance.denominator * here // variance.numerator
        weights.append(here)
    weights.reverse()
    return _normalized(weights, bits, tail_bits)


def _skellam_reach(variance: float, bits: int) -> int:
    """A k beyond which each probability is below 2**-bits, by the bound exp(s - v - k asinh(k / v)), s^2 = k^2 + v^2.

    It is the least of E[e^(rX)] e^(-rk) over r (Chernoff); the numbers in it are far from where rounding matters.
    """

    def exponent(k: int) -> float:
        return k * k / (math.hypot(k, variance) + variance) - k * math.asinh(k / variance)

    reach = 8
    while exponent(reach) > -bits * math.log(2):
        reach += reach // 4
    return reach


def _normalized(weights: Sequence[int], bits: int, tail_bits: int) -> Pmf:
    """Divide by the sum, and cut where what is beyond stays below 2**-tail_bits."""
    total = weights[0] + 2 * sum(weights[1:])
    pairs = enumerate(pairwise(weights))
    radius = next(k for k, (here, beyond) in pairs if _is_tail_light(here, beyond + 1, total, tail_bits))
    half = tuple((weight << bits) // total for weight in weights[: radius + 1])
    return Pmf(half, bits, Fraction(1, 1 << tail_bits))


def _is_tail_light(here: int, beyond: int, total: int, tail_bits: int) -> bool:
    """Whether both tails beyond k sum to at most 2**-tail_bits of the total.

    The weights beyond k fall at least as fast as from w(k) to w(k+1): they sum to at most w(k+1) / (1 - w(k+1) / w(k))
    on either side. The caller adds the unit that rounding took from w(k+1).
    """
    return here > beyond and (2 * here * beyond << tail_bits) <= (here - beyond) * total


def _surprise(mass: int, one: int) -> float:
    """-p log2 p, with no digit lost where p is close to 1."""
    if mass == 0:
        return 0.0
    log = math.log1p(-((one - mass) / one)) if 2 * mass > one else math.log(mass / one)
    return -(mass / one) * log / math.log(2)


def _require_listable(value: Fraction, *, name: str, tail_bits: int) -> None:
    if not 0 < value <= LARGEST_VARIANCE:
        raise ParameterError(f"{name}={float(value)!r} must be positive and at most {LARGEST_VARIANCE} to be listed")
    if not 16 <= tail_bits <= 1024:
        raise ParameterError(f"tail_bits={tail_bits} must be from 16 to 1024; {TAIL_BITS} is what the samplers use")
