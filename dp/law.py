"""What the code that sizes, adds or accounts for noise may use of a law of integer noise.

Imports numpy and, of this package, the events and `randomness`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from dp.events import Release
from dp.randomness import Randomness

Integers = npt.NDArray[np.int64]

Number = int | float | Fraction
"""How a parameter may be given; floats are read as the exact binary fraction they are."""


class IntegerNoise(Protocol):
    """A law of integer noise: what the code that adds or accounts for noise may use of it."""

    @property
    def variance(self) -> Number:
        """The variance of one sample."""

    @property
    def radius(self) -> int:
        """The largest magnitude of a sample, whatever the luck."""

    @property
    def total_variation(self) -> Fraction:
        """A bound on the total variation distance of one sample from the law, given uniform words."""

    @property
    def step(self) -> float | None:
        """What one integer unit is worth in the unit of the clip; None where the encoder says."""

    def at(self, step: float) -> Self:
        """Return the same integers on another step."""

    def pmf(self, k: int) -> float:
        """Return the probability of k."""

    def log_moment(self, tilt: float) -> float:
        """Return an upper bound on ln E[exp(tilt Z)]."""

    def event(self, *, parties: int, sensitivity: float) -> Release:
        """Return what an accountant charges for a sum that `parties` add a sample each to."""

    def sample(self, count: int, *, randomness: Randomness | None = None, constant_time: bool = False) -> Integers:
        """Return `count` independent samples, shape (count,)."""
