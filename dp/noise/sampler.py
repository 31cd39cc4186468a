"""What the samplers have in common: the shape of one, the way to call it, and numbers read exactly.

Promise: whoever passes no randomness gets noise from a generator that is keyed for this one vector and then forgotten.

Imports numpy and, of this package, the errors, `law` and `randomness`.
"""

from __future__ import annotations

import abc
import math
import operator
from fractions import Fraction
from typing import Any, Final, Protocol

import numpy as np

from dp.errors import ParameterError
from dp.law import Integers, Number
from dp.randomness import Randomness, SystemRandomness

CHUNK: Final = 1 << 15
"""Samples made at a time: their words and tables together fit a second-level cache of 1 MiB."""


class Sampler(Protocol):
    """Draws from one law."""

    @property
    def radius(self) -> int:
        """As in `IntegerNoise`."""

    @property
    def total_variation(self) -> Fraction:
        """As in `IntegerNoise`."""

    def probability(self, k: int) -> float:
        """Return the probability of k, rounded to float64; 0.0 beyond the radius."""

    def sample_into(self, out: Integers, randomness: Randomness) -> None:
        """Overwrite a contiguous vector of at most CHUNK with independent samples."""


class Sampled(abc.ABC):
    """What a law can do once there is a sampler for it."""

    __slots__ = ()

    @abc.abstractmethod
    def _sampler(self, *, constant_time: bool = False) -> Sampler:
        """Return the law's sampler, built once."""

    @property
    def radius(self) -> int:
        """The largest magnitude of a sample, about 13 standard deviations of a wide law and more of a narrow one."""
        return self._sampler().radius

    @property
    def total_variation(self) -> Fraction:
        """A bound on the total variation distance of one sample from the law, given uniform words: below 2^-126.

        A vector of d samples is within d times that. A mechanism that is (epsilon, delta) private with noise from the
        law itself is (epsilon, delta + (1 + e^epsilon) d total_variation) private with these samples; where n parties
        each add a share, with n d for d.
        """
        return self._sampler().total_variation

    def pmf(self, k: int) -> float:
        """Return the probability of k, to float64; 0.0 beyond the radius, where all of them are below 2^-128."""
        return self._sampler().probability(k)

    def sample(self, count: int, *, randomness: Randomness | None = None, constant_time: bool = False) -> Integers:
        """Return independent samples, shape (count,).

        Args:
            count: how many.
            randomness: where the words come from; a fresh `SystemRandomness` for these samples unless given.
            constant_time: read no memory at an address that depends on the noise; for a variance up to 169.

        Raises:
            ParameterError: count is no integer from 0 on, or the law is too wide for constant_time.
        """
        return draw(self._sampler(constant_time=constant_time), count, randomness)


def draw(sampler: Sampler, count: int, randomness: Randomness | None) -> Integers:
    """Return `count` independent samples, shape (count,).

    Raises:
        ParameterError: count is no integer from 0 on.
    """
    out: Integers = np.empty(_count(count), dtype=np.int64)
    source = SystemRandomness() if randomness is None else randomness
    for start in range(0, len(out), CHUNK):
        sampler.sample_into(out[start : start + CHUNK], source)
    return out


def number(value: Any, *, name: str, least: Number, most: Number, fix: str) -> Number:
    """Return a parameter as the number of Python it is equal to.

    Args:
        value: an int, float, Fraction or number of numpy.
        name: what the error calls it.
        least: the smallest value allowed.
        most: the largest value allowed.
        fix: what to do about a value that is not; the error ends with it.

    Raises:
        ParameterError: value is no real number or is out of range.
    """
    plain = value.item() if isinstance(value, np.integer | np.floating) else value
    if isinstance(plain, bool) or not isinstance(plain, int | float | Fraction):
        raise ParameterError(f"{name} is of type {type(value).__name__}: give a number from {least} to {most}")
    if not (math.isfinite(plain) and least <= plain <= most):
        raise ParameterError(f"{name}={_shown(plain)} must be from {least} to {most}: {fix}")
    return plain


def positive_step(step: Any) -> float | None:
    """Return a step as a float, or None as it is.

    Raises:
        ParameterError: step is no positive finite number.
    """
    if step is None:
        return None
    plain = number(step, name="step", least=2.0**-1000, most=2.0**1000, fix="give clip / 2**16, or leave it out")
    return float(plain)


def _shown(value: Number) -> str:
    return str(value) if isinstance(value, Fraction) else repr(value)


def _count(count: Any) -> int:
    try:
        number = operator.index(count)
    except TypeError as error:
        raise ParameterError(f"count is of type {type(count).__name__}: give an integer from 0 on") from error
    if number < 0 or isinstance(count, bool):
        raise ParameterError(f"count={count} must be an integer from 0 on")
    return number
