"""Discrete Gaussian noise.

Promise: integers k with probabilities proportional to exp(-k^2 / (2 sigma^2)), within a stated total variation, for
every sigma from 0.5 to 5e7.

Imports numpy and, of this package, `budgeting`, `calibrate`, the events, `randomness` and the rest of this folder.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Final, Self

import numpy as np

from dp.budgeting import DEFAULT_LENGTH, Budgeted, below, usable
from dp.calibrate import discrete_gaussian_sigma
from dp.events import DiscreteGaussianSum, Neighboring
from dp.law import Number
from dp.noise import exact, pmf
from dp.noise.envelope import LEAST_VARIANCE, EnvelopeSampler, Floats
from dp.noise.sampler import Sampled, Sampler, number, positive_step
from dp.noise.tables import TableSampler, require_scannable
from dp.overflow import DEFAULT_PROBABILITY

LEAST_SIGMA: Final = 0.5
MOST_SIGMA: Final = 50_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class DiscreteGaussian(Sampled):
    """The discrete Gaussian N_Z(0, sigma^2), in units of the encoded integers.

    Sums of discrete Gaussians are no discrete Gaussian but close to one, the closer the wider each is (Kairouz, Liu,
    Steinke, "The distributed discrete Gaussian mechanism for federated learning with secure aggregation", ICML 2021).
    Below sigma 0.5 they are far from it, and what a sum of them protects collapses: that is refused, and `Skellam` is
    the noise to use there.

    Attributes:
        sigma: the parameter of the law; also its standard deviation, within a part in 10^6 from sigma 1 on.
        step: what one integer unit is worth in the unit of the clip, where that is decided; an encoder takes it over.

    Raises:
        ParameterError: sigma is no number from 0.5 to 5e7, or step no positive finite number.
    """

    sigma: Number
    step: float | None = None

    def __post_init__(self) -> None:
        fix = "it is in integer units of the step, not of the clip; a finer step raises it, or use Skellam"
        plain = number(self.sigma, name="sigma", least=LEAST_SIGMA, most=MOST_SIGMA, fix=fix)
        object.__setattr__(self, "sigma", plain)  # a frozen field takes no assignment
        object.__setattr__(self, "step", positive_step(self.step))

    @classmethod
    def for_budget(
        cls,
        *,
        clip: float,
        epsilon: float,
        delta: float,
        rounds: int,
        honest: int,
        neighboring: Neighboring = Neighboring.ZERO_OUT,
        step: float | None = None,
        length: int = DEFAULT_LENGTH,
        bits: int | None = None,
        clients: int | None = None,
        overflow_probability: float = DEFAULT_PROBABILITY,
    ) -> DiscreteGaussian:
        """Return the least noise that each client must add so that all rounds together keep (epsilon, delta).

        For the parameters see `dp.noise.Skellam.for_budget`. A sigma below 0.5 is never returned.

        Raises:
            ParameterError: a parameter is out of range, or no noise or no step will do; the text has numbers that do.
        """
        budget = Budgeted(clip=clip, length=length, bits=bits, clients=clients, probability=overflow_probability)

        def law(sensitivity: float) -> DiscreteGaussian:
            sigma = discrete_gaussian_sigma(
                sensitivity=sensitivity,
                epsilon=epsilon,
                delta=usable(delta),
                rounds=rounds,
                honest=honest,
                neighboring=neighboring,
                largest=float(MOST_SIGMA),
            )
            return cls(sigma=sigma)

        return budget.sized(law, step=step)

    def at(self, step: float) -> Self:
        """Return the same integers on another step."""
        return replace(self, step=step)

    def log_moment(self, tilt: float) -> float:
        """Return sigma^2 tilt^2 / 2, which ln E[exp(tilt Z)] never exceeds (Canonne, Kamath, Steinke, NeurIPS 2020)."""
        return (float(self.sigma) * tilt) ** 2 / 2.0

    def event(self, *, parties: int, sensitivity: float) -> DiscreteGaussianSum:
        """Return the event of a sum that `parties` add this noise to; its sigma is rounded down.

        Args:
            parties: how many whose noise the observer does not know; at least 1.
            sensitivity: the largest L2 norm of one client's integer vector.

        Raises:
            ParameterError: parties or sensitivity is out of range.
        """
        return DiscreteGaussianSum(sigma=below(Fraction(self.sigma)), parties=parties, sensitivity=sensitivity)

    @property
    def variance(self) -> float:
        """The variance of one sample: below sigma^2 by a share of about 8 (pi sigma)^2 exp(-2 (pi sigma)^2)."""
        sigma2 = _square(self.sigma)
        return _listed(sigma2).variance if sigma2 < LEAST_VARIANCE else float(sigma2)

    def _sampler(self, *, constant_time: bool = False) -> Sampler:
        return _sampler_of(_square(self.sigma), constant_time=constant_time)


class GaussianWeights:
    """The weights exp(-k^2 / (2 variance))."""

    __slots__ = ("variance",)

    def __init__(self, variance: Fraction) -> None:
        self.variance = variance

    def approximate(self, k: Floats) -> Floats:
        """The weights of k: three roundings of an exponent of at most 90, and that of the exponential."""
        weights: Floats = np.exp(k * k * (-0.5 / float(self.variance)))
        return weights

    def precise(self, k: int, bits: int) -> int:
        """The weight of k in units of 2**-bits, off by less than three of them."""
        return exact.exp_negative(exact.scaled(k * k / (2 * self.variance), bits), bits)


def _square(sigma: Number) -> Fraction:
    return Fraction(sigma) ** 2


@lru_cache(maxsize=32)
def _listed(sigma2: Fraction) -> pmf.Pmf:
    return pmf.discrete_gaussian(sigma2)


@lru_cache(maxsize=32)
def _sampler_of(sigma2: Fraction, *, constant_time: bool = False) -> Sampler:
    if constant_time:
        require_scannable(sigma2)
    if sigma2 < LEAST_VARIANCE:
        return TableSampler(_listed(sigma2), constant_time=constant_time)
    return EnvelopeSampler(GaussianWeights(sigma2))
