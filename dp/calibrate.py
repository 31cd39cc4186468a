"""The least noise that keeps a promise.

Promise: what is returned was accounted for and found within the epsilon asked for, while a thousandth less was not.
Where no noise within the limit would do, the error says which limit would, and which epsilon the limit can do.

Imports the accountants, the events and this package's errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dp import accountants
from dp.accountants import Against
from dp.accountants.gaussian import gaussian_epsilon
from dp.errors import ParameterError
from dp.events import (
    DiscreteGaussianSum,
    Event,
    FixedSizeSampled,
    Gaussian,
    Neighboring,
    PoissonSampled,
    Release,
    Repeated,
    SkellamSum,
)

_STEP: Final = 1e-3
"""By what fraction an answer may be too large."""

_LEAST: Final = 1e-9
_MOST: Final = 2.5e15
"""Where answers are looked for."""

_ROUND: Final = 1.0 + 1e-5
"""So that six digits in a message are enough."""

_SIGMA_FLOOR: Final = 0.5

Sampling = Callable[[Release], PoissonSampled | FixedSizeSampled]
"""How cohorts are drawn, for example `lambda release: PoissonSampled(release=release, rate=0.01)`."""


def skellam_variance(
    *,
    sensitivity: float,
    epsilon: float,
    delta: float,
    rounds: int,
    honest: int,
    neighboring: Neighboring,
    largest: float = _MOST,
) -> float:
    """Return the least variance that each client must add, against the server and its colluders.

    Args:
        sensitivity: the largest L2 norm of one client's integer vector, at least 1.
        epsilon: what all rounds together may cost, above 0.
        delta: above 0 and below 1.
        rounds: in how many of them one client may take part.
        honest: how many survivors there are at least, less the colluders: their noise alone is counted.
        neighboring: ZERO_OUT or REPLACE_ONE.
        largest: the largest variance that each client may add, for example what the ring has room for.

    Raises:
        ParameterError: a parameter is out of range, or no variance up to `largest` will do; the text has the numbers.
    """
    parties = _whole("honest", honest)

    def event(variance: float) -> Event:
        return SkellamSum(variance=variance * parties, sensitivity=sensitivity)

    search = _Search("variance", event, epsilon, delta, rounds, neighboring, Against.SERVER)
    return search.least((sensitivity / search.gaussian()) ** 2 / parties, largest)


def discrete_gaussian_sigma(
    *,
    sensitivity: float,
    epsilon: float,
    delta: float,
    rounds: int,
    honest: int,
    neighboring: Neighboring,
    largest: float = _MOST,
) -> float:
    """Return the least sigma of each client's discrete Gaussian against the server and its colluders, 0.5 at least.

    Below 0.5 the noise of the sum is far from what sigma says. For the parameters see `skellam_variance`, with sigma
    for the variance.

    Raises:
        ParameterError: a parameter is out of range, or no sigma up to `largest` will do; the text has the numbers.
    """
    parties = _whole("honest", honest)

    def event(sigma: float) -> Event:
        return DiscreteGaussianSum(sigma=sigma, parties=parties, sensitivity=sensitivity)

    search = _Search("sigma", event, epsilon, delta, rounds, neighboring, Against.SERVER, floor=_SIGMA_FLOOR)
    return search.least(sensitivity / search.gaussian() / math.sqrt(parties), largest)


def gaussian_multiplier(
    *,
    epsilon: float,
    delta: float,
    rounds: int,
    neighboring: Neighboring,
    sampling: Sampling | None = None,
    largest: float = _MOST,
) -> float:
    """Return the least noise multiplier of Gaussian releases; with `sampling`, against whoever sees what is published.

    Raises:
        ParameterError: a parameter is out of range, nothing is proven about the sampling under the relation, or no
            multiplier up to `largest` will do; the text has the numbers.
    """

    def event(multiplier: float) -> Event:
        release = Gaussian(noise_multiplier=multiplier)
        return release if sampling is None else sampling(release)

    against = Against.SERVER if sampling is None else Against.PUBLISHED
    search = _Search("noise_multiplier", event, epsilon, delta, rounds, neighboring, against)
    return search.least(1.0 / search.gaussian(), largest)


@dataclass(frozen=True, slots=True)
class _Search:
    """For the least parameter of an event whose cost falls as the parameter grows."""

    name: str
    event: Callable[[float], Event]
    target: float
    delta: float
    rounds: int
    neighboring: Neighboring
    against: Against
    floor: float = _LEAST

    def __post_init__(self) -> None:
        """Ask once, so that whatever is wrong with a parameter is said before the search begins."""
        if isinstance(self.target, bool) or not isinstance(self.target, int | float):
            raise ParameterError(f"epsilon is of type {type(self.target).__name__}: give a number, for example 1.0")
        if not 0.0 < self.target < math.inf:
            raise ParameterError(f"epsilon={self.target!r} must be positive and finite, for example 1.0")
        _whole("rounds", self.rounds)
        self.cost(max(1.0, self.floor))

    def cost(self, parameter: float) -> float:
        """Epsilon of all rounds."""
        events = [Repeated(event=self.event(parameter), count=self.rounds)]
        found = accountants.epsilon(events, delta=self.delta, neighboring=self.neighboring, against=self.against)
        return found.epsilon

    def gaussian(self) -> float:
        """Roughly, how many deviations one release may move, were it Gaussian and not sampled: where to begin."""
        low, high = 1e-9, 1e9
        while high > 1.01 * low:
            middle = math.sqrt(low * high)
            fits = gaussian_epsilon(self.delta, middle * math.sqrt(self.rounds)) <= self.target
            low, high = (middle, high) if fits else (low, middle)
        return low / (2.0 if self.neighboring is Neighboring.REPLACE_ONE else 1.0)

    def least(self, guess: float, largest: float) -> float:
        """Search from a guess outwards, then by halving the logarithm of what is left."""
        if isinstance(largest, bool) or not isinstance(largest, int | float) or not self.floor <= largest <= _MOST:
            raise ParameterError(f"largest={largest!r} must be a number from {self.floor!r} to {_MOST!r}")
        low, high = self._around(min(max(guess, self.floor), _MOST))
        while high > low * (1.0 + _STEP):
            middle = math.sqrt(low * high)
            low, high = (low, middle) if self.holds(middle) else (middle, high)
        if high > largest and self.holds(largest):
            return largest
        if high > largest:
            raise ParameterError(
                f"epsilon={self.target!r} at delta={self.delta!r} over rounds={self.rounds} needs {self.name} "
                f"{high * _ROUND:.6g}, above largest={largest!r}: allow {high * _ROUND:.6g}, or "
                f"epsilon={self.cost(largest) * _ROUND:.6g}"
            )
        return high

    def holds(self, parameter: float) -> bool:
        """Whether all rounds cost no more than the target."""
        return self.cost(parameter) <= self.target

    def _around(self, guess: float) -> tuple[float, float]:
        """A parameter that costs too much and a larger one that does not; the floor alone where that does not."""
        if self.holds(self.floor):
            return self.floor, self.floor
        low, high, factor = self.floor, guess, 1.1
        while not self.holds(high):
            if high == _MOST:
                raise ParameterError(
                    f"epsilon={self.target!r} at delta={self.delta!r} is out of reach of any {self.name}: "
                    f"ask for epsilon={self.cost(_MOST) * _ROUND:.6g}"
                )
            low, high, factor = high, min(high * factor, _MOST), factor * factor
        while low < high / 1.1 and self.holds(high / 1.1):
            high /= 1.1
        return max(low, high / 1.1), high


def _whole(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ParameterError(f"{name}={value!r} must be a whole number, 1 at least")
    return value
