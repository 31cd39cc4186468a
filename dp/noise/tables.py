"""Samplers for noise narrow enough to list: one 64-bit word a sample, and the law reproduced on the grid of words.

Promise: of the 2^64 words, each value owns as many as its probability times 2^64, rounded down. The few words that
are left over ask for more bits, which are shared out by the next 128 bits of every probability. So a sample is from
the law but for a total variation that is stated, though it costs a word, two table reads and a comparison.

`AliasTable` reads memory at addresses that depend on the noise, which another program on the same processor can in
principle see in the caches; `ScanTable` compares each word with every threshold and reads no such address. Both do
the same for every word but those left over, whose number is below that of the values: one sample in 2^49 or fewer.

Imports numpy, this package's `randomness`, `pmf` and `sampler`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate, pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dp.errors import ParameterError
from dp.law import Integers
from dp.noise.pmf import Pmf
from dp.randomness import Randomness, Words, new_words, uniform_below

WORD_BITS: Final = 64
_REMAINDER_BITS: Final = 128
_MOST_SCANNED: Final = 256
"""Values of a scan: it counts thresholds in one byte."""

_MOST_SCANNED_VARIANCE: Final = 169
"""A variance up to which either law owns words for no more values than a scan has."""


class AliasTable:
    """Maps uniform 64-bit words to values with given integer masses (Walker 1977; built as by Vose, IEEE TSE 1991).

    The top bits of a word choose a slot, and the whole word against the slot's bound chooses one of its two values.
    """

    __slots__ = ("_bounds", "_pairs", "_shift")

    def __init__(self, values: Sequence[int], masses: Sequence[int]) -> None:
        """Build the table; its masses sum to 2^64.

        Args:
            values: the values, within 32 bits.
            masses: how many of the 2^64 words each value owns.
        """
        slot_bits = max((len(values) - 1).bit_length(), 1)
        self._shift = WORD_BITS - slot_bits
        thresholds, aliases = _pair_up(masses, 1 << slot_bits)
        self._bounds: Words = np.array([(i << self._shift) + low for i, low in enumerate(thresholds)], dtype=np.uint64)
        pairs = np.zeros((1 << slot_bits, 2), dtype=_narrowest(values))
        pairs[:, 0] = np.take(values, aliases)
        pairs[: len(values), 1] = values
        self._pairs = pairs.reshape(-1)

    def lookup(self, words: Words) -> npt.NDArray[np.signedinteger[Any]]:
        """Return the values that the words stand for, as int16 where they fit, else int32."""
        index = (words >> np.uint64(self._shift)).view(np.int64)
        below_bound = words < self._bounds.take(index, mode="clip")  # no index is outside; "clip" skips the check
        index <<= 1
        index += below_bound
        return self._pairs.take(index, mode="clip")

    def owned(self) -> dict[int, int]:
        """How many of the 2^64 words stand for each value, counted from what `lookup` reads."""
        counts: dict[int, int] = {}
        for slot, bound in enumerate(self._bounds.tolist()):
            low = bound - (slot << self._shift)
            for value, words in zip(self._pairs[2 * slot :], ((1 << self._shift) - low, low), strict=False):
                counts[int(value)] = counts.get(int(value), 0) + words
        return {value: words for value, words in counts.items() if words}


class ScanTable:
    """Maps uniform 64-bit words to consecutive values, comparing each word with every threshold."""

    __slots__ = ("_least", "_thresholds")

    def __init__(self, least: int, masses: Sequence[int]) -> None:
        """Build the table; its masses, of the at most 256 values from `least` on, sum to 2^64."""
        self._least = least
        self._thresholds = [np.uint64(bound) for bound in accumulate(masses[:-1])]

    def lookup(self, words: Words) -> npt.NDArray[np.signedinteger[Any]]:
        """Return the values that the words stand for."""
        count = np.zeros(len(words), dtype=np.uint8)
        for bound in self._thresholds:
            count += words >= bound
        return count + np.int16(self._least)

    def owned(self) -> dict[int, int]:
        """How many of the 2^64 words stand for each value."""
        edges = [0, *map(int, self._thresholds), 1 << WORD_BITS]
        return {self._least + i: high - low for i, (low, high) in enumerate(pairwise(edges))}


class TableSampler:
    """Draws from a law that is listed value by value."""

    __slots__ = ("_ask_again", "_pmf", "_table", "total_variation")

    def __init__(self, pmf: Pmf, *, constant_time: bool = False) -> None:
        self._pmf = pmf
        whole = [mass >> _REMAINDER_BITS for mass in self._grid()]
        reach = sum(1 for mass in whole[pmf.radius + 1 :] if mass)  # masses fall: what owns words is the middle
        values = range(-reach, reach + 1)
        masses = whole[pmf.radius - reach : pmf.radius + reach + 1]
        self._ask_again = reach + 1
        masses.append((1 << WORD_BITS) - sum(masses))
        self._table = ScanTable(-reach, masses) if constant_time else AliasTable([*values, self._ask_again], masses)
        rounding = Fraction(4 * len(whole), 1 << (WORD_BITS + _REMAINDER_BITS))
        self.total_variation = pmf.omitted + rounding

    @property
    def radius(self) -> int:
        """The largest magnitude it ever returns."""
        return self._pmf.radius

    def probability(self, k: int) -> float:
        """Return the probability of k, rounded to float64; 0.0 beyond the radius."""
        return self._pmf.probability(k)

    def sample_into(self, out: Integers, randomness: Randomness) -> None:
        """Overwrite a contiguous vector with independent samples: one word each, then what is asked for more."""
        values = self._table.lookup(new_words(randomness, len(out)))
        out[:] = values
        unsettled = values == self._ask_again
        if unsettled.any():
            for position in np.flatnonzero(unsettled):
                out[position] = self._settle(randomness)

    def _settle(self, randomness: Randomness) -> int:
        """Draw from what the words could not share out: the low bits of every probability, in proportion."""
        sums = list(accumulate(mass & ((1 << _REMAINDER_BITS) - 1) for mass in self._grid()))
        return bisect_right(sums, uniform_below(randomness, sums[-1])) - self.radius

    def _grid(self) -> list[int]:
        return self._pmf.grid(WORD_BITS + _REMAINDER_BITS)


def require_scannable(variance: Fraction) -> None:
    """Refuse a law too wide for a `ScanTable`.

    Raises:
        ParameterError: its variance is above 169.
    """
    if variance > _MOST_SCANNED_VARIANCE:
        raise ParameterError(
            f"constant_time=True compares every word with each of at most {_MOST_SCANNED} values: a variance of "
            f"{float(variance):.6g} is too wide, {_MOST_SCANNED_VARIANCE} is the most; leave constant_time off"
        )


def _pair_up(masses: Sequence[int], slots: int) -> tuple[list[int], list[int]]:
    """Share 2^64 words out over equal slots with at most two values each.

    Both stacks are filled in ascending order. While there is a value with less than a slot's worth left, the last
    such value gets the slot of its own number, which the last value with more than that fills up.

    Returns:
        For each slot, how many of its words are its own value's, and the number of the value of the others.
    """
    cell = (1 << WORD_BITS) // slots
    left = [*masses, *[0] * (slots - len(masses))]
    thresholds, aliases = [0] * slots, [min(i, len(masses) - 1) for i in range(slots)]
    light = [i for i, mass in enumerate(left) if mass < cell]
    heavy = [i for i, mass in enumerate(left) if mass > cell]
    while light:
        i, donor = light.pop(), heavy[-1]
        thresholds[i], aliases[i] = left[i], donor
        left[donor] -= cell - left[i]
        if left[donor] <= cell:
            heavy.pop()
            if left[donor] < cell:
                light.append(donor)
    return thresholds, aliases


def _narrowest(values: Sequence[int]) -> type[np.int16 | np.int32]:
    return np.int16 if max(map(abs, values)) < 1 << 15 else np.int32
