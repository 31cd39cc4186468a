"""Sampler for noise too wide to list: blocks of equal width under an envelope, and an acceptance settled exactly.

Promise: the law is that of the exact weights, whatever float64 makes of them. A value is a block, drawn in proportion
to a bound on the weights in it, and a uniform place in the block; it is accepted in proportion to its own weight. The
block masses are integers that sum to 2^64, so the envelope has no error. Acceptance is decided in float64 only where
that is further than BAND from the boundary, and in integers else. So the samples that a stream of words gives are the
same on every machine, also where the exponentials of two libraries differ in their last bits.

Almost all places lie below the least acceptance in any block and are accepted unseen. Beyond six standard deviations
all is one more block, of a width of its own, drawn about once in 10^7. How long a vector takes tells how many
proposals were rejected; table reads are at addresses that depend on the noise, as in `tables.AliasTable`.

Imports numpy, this package's `randomness`, and of this folder `exact`, `pmf`, `sampler` and `tables`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from itertools import islice
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from dp.law import Integers
from dp.noise import exact
from dp.noise.pmf import gaussian_weights
from dp.noise.tables import WORD_BITS, AliasTable
from dp.randomness import Randomness, Words, new_words, uniform_below, uniform_bits

Floats = npt.NDArray[np.float64]

BAND: Final = 2.0**-32
"""Float64 decides where it is further than this from the boundary: 2^6 times the error a weight may have."""

LEAST_VARIANCE: Final = 1 << 20
"""Below it the law is listed instead, and the approximation of Skellam weights is too coarse."""

_BLOCKS_PER_DEVIATION_BITS: Final = 8
_HEIGHT_BITS: Final = 160
_WEIGHT_BITS: Final = 416
_MORE_BITS: Final = 128


class Weights(Protocol):
    """A symmetric law that falls off from 0: its probabilities times sqrt(2 pi variance).

    Up to 6.1 standard deviations a weight differs from exp(-k^2 / (2 variance)) by less than 2^-12 of it, and beyond
    sqrt(180 variance) there is less than 2^-128 of the law.
    """

    @property
    def variance(self) -> Fraction:
        """The variance, at least LEAST_VARIANCE."""

    def approximate(self, k: Floats) -> Floats:
        """The weights of the values k, up to sqrt(180 variance), each off by less than 2^-38 of it."""

    def precise(self, k: int, bits: int) -> int:
        """The weight of k in units of 2**-bits, off by less than 2^30 of them."""


class EnvelopeSampler:
    """Draws from a law of large variance, by rejection from blocks."""

    __slots__ = ("_block_bits", "_blocks", "_edge", "_scale", "_scales", "_tail_scale", "_unseen", "_weights", "radius")

    total_variation = Fraction(1, 1 << 127)
    """Of a sample: at most 2^-128 of the law lies beyond the radius; the last comparison adds less than 2^-160."""

    def __init__(self, weights: Weights) -> None:
        """Build the table of blocks."""
        self._weights = weights
        self.radius = exact.square_root(180 * weights.variance, 0)
        deviation = exact.square_root(weights.variance, 0)
        self._block_bits = deviation.bit_length() - 1 - _BLOCKS_PER_DEVIATION_BITS
        self._edge = -(-6 * deviation >> self._block_bits)
        squared_width = 1 << 2 * self._block_bits
        steps = gaussian_weights(weights.variance / squared_width, _HEIGHT_BITS)
        self._build(list(islice(steps, self._edge + 1)))

    def _build(self, steps: Sequence[int]) -> None:
        """Turn exp(-k^2 / (2 variance)) at the multiples of the width into masses and acceptances.

        A weight w is proposed in its block with odds mass / (2^64 width) and accepted with odds unit w / mass; so w
        comes out with odds unit w / (2^64 width), the same multiple of w in every block and, scaled, in the tail.
        """
        above = [step + (step >> 11) for step in steps]
        tail_area = (above[-1] * self._tail_values >> self._block_bits) + 1
        areas = [*above[-2::-1], *above[:-1], tail_area]
        unit = ((1 << WORD_BITS) - len(areas) << _HEIGHT_BITS) // sum(areas)
        masses = [(area * unit >> _HEIGHT_BITS) + 1 for area in areas]
        masses[self._edge] += (1 << WORD_BITS) - sum(masses)  # what rounding left goes to a block in the middle
        self._blocks = AliasTable(range(-self._edge, self._edge + 1), masses)
        self._scale = [Fraction(unit, mass) for mass in masses[:-1]]
        self._scales: Floats = np.array([*map(float, self._scale), 0.0])
        self._tail_scale = Fraction(unit * self._tail_values, masses[-1] << self._block_bits)
        below = [step - (step >> 11) for step in steps[1:]]
        least = min(Fraction(low * unit, mass) for low, mass in zip(below, masses[self._edge :], strict=False))
        self._unseen = np.uint64(exact.scaled(least, WORD_BITS - self._block_bits - _HEIGHT_BITS) << self._block_bits)

    @property
    def _tail_values(self) -> int:
        """How many values there are from the edge to the radius, on both sides; the block at -edge holds -edge."""
        return 2 * (self.radius - (self._edge << self._block_bits)) + 1

    def probability(self, k: int) -> float:
        """Return the probability of k, rounded to float64; 0.0 beyond the radius."""
        if abs(k) > self.radius:
            return 0.0
        norm = math.sqrt(2 * math.pi * self._weights.variance)
        return self._weights.precise(k, _WEIGHT_BITS) / (1 << _WEIGHT_BITS) / norm

    def sample_into(self, out: Integers, randomness: Randomness) -> None:
        """Overwrite a contiguous vector with independent samples; what is rejected is drawn again, all together."""
        rejected = self._propose(out, randomness)
        while rejected.size:
            again: Integers = np.empty(rejected.size, dtype=np.int64)
            rejected_again = self._propose(again, randomness)
            out[rejected] = again
            rejected = rejected[rejected_again]

    def _propose(self, out: Integers, randomness: Randomness) -> npt.NDArray[np.intp]:
        """Fill in one proposal each and return the positions of those that were not accepted."""
        block = self._blocks.lookup(new_words(randomness, len(out)))
        place = new_words(randomness, len(out))
        out[:] = block
        out <<= self._block_bits
        out |= (place & np.uint64((1 << self._block_bits) - 1)).view(np.int64)
        seen = np.flatnonzero((place >= self._unseen) | (block == self._edge))
        levels = place[seen] >> np.uint64(self._block_bits)
        return seen[~self._judge(out, seen, block[seen], levels, randomness)]

    def _judge(
        self,
        out: Integers,
        seen: npt.NDArray[np.intp],
        block: npt.NDArray[np.signedinteger[Any]],
        levels: Words,
        randomness: Randomness,
    ) -> npt.NDArray[np.bool_]:
        """Decide on the proposals at `seen`: a level, as a fraction of all levels, must be below the acceptance."""
        level_bits = WORD_BITS - self._block_bits
        chance = self._weights.approximate(out[seen].astype(np.float64)) * self._scales[block + self._edge]
        gap = chance - levels.astype(np.float64) * 2.0**-level_bits
        accepted: npt.NDArray[np.bool_] = gap > 0.0
        for i in np.flatnonzero((abs(gap) <= BAND) | (block == self._edge)):
            if block[i] == self._edge:
                out[seen[i]], accepted[i] = self._propose_tail(randomness)
            else:
                scale = self._scale[int(block[i]) + self._edge]
                accepted[i] = self._settle(int(out[seen[i]]), scale, int(levels[i]), level_bits, randomness)
        return accepted

    def _propose_tail(self, randomness: Randomness) -> tuple[int, bool]:
        """A uniform value beyond the edge, and whether it is accepted."""
        edge = self._edge << self._block_bits
        index = uniform_below(randomness, self._tail_values)
        right = self.radius + 1 - edge
        k = edge + index if index < right else right - 1 - edge - index
        level = uniform_bits(randomness, WORD_BITS)
        return k, self._settle(k, self._tail_scale, level, WORD_BITS, randomness)

    def _settle(self, k: int, scale: Fraction, level: int, level_bits: int, randomness: Randomness) -> bool:
        """Whether a level is below the acceptance, with 128 more bits of level and in integers where it is close."""
        chance = float(scale) * float(self._weights.approximate(np.array([k], dtype=np.float64))[0])
        gap = chance - math.ldexp(level, -level_bits)
        if abs(gap) > BAND:
            return gap > 0.0
        level = (level << _MORE_BITS) + uniform_bits(randomness, _MORE_BITS)
        weight = self._weights.precise(k, _WEIGHT_BITS)
        return level * scale.denominator << _WEIGHT_BITS < weight * scale.numerator << level_bits + _MORE_BITS
