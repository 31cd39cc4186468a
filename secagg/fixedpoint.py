"""`FixedPoint`: the one door between floats and the integers that are summed.

Promise: a number inside its bound becomes the nearest multiple of the step, a number outside is refused, and nothing
is ever clipped, saturated or wrapped here. Magnitudes stay at or below 2^52, where float64 holds every integer, so the
rounding is the only loss: |decode(encode(x)) - x| <= step / 2, up to the last bit of float64.

Imports numpy and this package's errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secagg.errors import ConfigError, InputError, MisuseError

MAX_LIMIT: Final = 1 << 52
"""Largest integer magnitude of one slot. Every half-integer below it is a float64 too, so rounding sees the truth."""

Integers = npt.NDArray[np.int32 | np.int64]

SMALLEST: Final = 2.0**-1000
LARGEST: Final = 2.0**1000
"""Bounds and steps stay in this range, so no quotient loses bits to underflow and no sum of clients overflows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedPoint:
    """Multiples of `step` up to `bound`, in the unit of the caller's numbers.

    Args:
        bound: the largest magnitude a number may have.
        step: the distance of two neighboring values; half of it is the largest rounding error.

    Raises:
        ConfigError: either is not a number from 2^-1000 to 2^1000, step > bound, or bound / step is above 2^52.
    """

    bound: float
    step: float

    def __post_init__(self) -> None:
        for name in ("bound", "step"):
            object.__setattr__(self, name, _magnitude(name, getattr(self, name)))
        if self.step > self.bound:
            raise ConfigError(f"step={self.step!r} is above bound={self.bound!r}: take a step of at most the bound")
        if self.bound / self.step > MAX_LIMIT:
            raise ConfigError(
                f"bound={self.bound!r} and step={self.step!r} need integers above 2^52, which float64 cannot hold: "
                f"take a step of at least {self.bound / MAX_LIMIT!r}"
            )

    @property
    def limit(self) -> int:
        """The largest integer magnitude: bound / step, rounded to the nearest integer, ties to even."""
        return round(self.bound / self.step)

    def encode(self, block: npt.NDArray[np.float64], *, out: Integers | None = None) -> Integers:
        """Round every number to the nearest multiple of the step, ties to even, and return the multiples.

        IEEE division and rounding are monotone, so a number within `bound` never lands beyond `limit`.

        Args:
            block: float64, any shape; it is not changed.
            out: where the multiples go, of the block's shape; new and int64 unless given.

        Raises:
            InputError: a number is not finite or lands beyond `limit`. The text holds no number of the block.
            MisuseError: out has another shape, or a type that does not hold `limit` and its negative.
        """
        if out is not None and (out.shape != block.shape or not self._fits(out.dtype)):
            raise MisuseError(
                f"multiples up to {self.limit} of {block.shape} do not fit an out of {out.dtype}, {out.shape}"
            )
        with np.errstate(all="ignore"):  # a quotient beyond float64 is infinite, and refused below
            quotients = np.asarray(self._divide(block))
            np.rint(quotients, out=quotients)
        # One comparison guards the cast: it is false for NaN, which min and max hand through, and for infinities.
        within = quotients.size == 0 or bool(quotients.max() <= self.limit and quotients.min() >= -self.limit)
        if not within:
            raise InputError(self._reason(block))
        if out is None:
            return quotients.astype(np.int64)
        np.copyto(out, quotients, casting="unsafe")
        return out

    def decode(self, values: Integers) -> npt.NDArray[np.float64]:
        """Return values * step as float64: exact up to 2^53, to one part in 2^52 beyond (sums of many clients)."""
        return np.asarray(values * np.float64(self.step))

    def _fits(self, dtype: np.dtype[Any]) -> bool:
        return dtype.kind == "i" and self.limit <= np.iinfo(dtype).max

    def _divide(self, block: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Divide by the step; where it is a power of two, by a product with its reciprocal, which is half the work.

        From 2^-1000 to 2^1000 the reciprocal of such a step is exact, so both ways round the same true result.
        """
        mantissa, _ = math.frexp(self.step)
        return block * (1.0 / self.step) if mantissa == 0.5 else block / self.step

    def _reason(self, block: npt.NDArray[np.float64]) -> str:
        if not bool(np.isfinite(block).all()):
            return "holds NaN or an infinity"
        return f"holds a number beyond its bound of {self.bound!r}"


def _magnitude(name: str, value: object) -> float:
    """Return `value` as a float, or refuse it."""
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
        raise ConfigError(f"{name} is of type {type(value).__name__}: give a positive finite number, for example 1.0")
    try:
        number = float(value)
    except OverflowError:  # an int beyond float64
        number = math.inf
    if not SMALLEST <= number <= LARGEST:
        raise ConfigError(f"{name}={number!r} must be positive and finite, from 2^-1000 to 2^1000; for example 1.0")
    return number
