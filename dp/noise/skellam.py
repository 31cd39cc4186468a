"""Skellam noise: the difference of two equal Poisson variables.

Promise: integers with probabilities exp(-v) I_k(v) for the variance v, within a stated total variation, for every v
from 1e-6 to 2.5e15, and a share for each party such that the sum of the shares is this very law.

Imports numpy and, of this package, `budgeting`, `calibrate`, the events, the errors, `randomness` and the rest of
this folder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Final, Self

import numpy as np

from dp.budgeting import DEFAULT_LENGTH, Budgeted, below, usable
from dp.calibrate import skellam_variance
from dp.errors import ParameterError
from dp.events import Neighboring, SkellamSum
from dp.law import Number
from dp.noise import exact, pmf
from dp.noise.envelope import LEAST_VARIANCE, EnvelopeSampler, Floats
from dp.noise.sampler import Sampled, Sampler, number, positive_step
from dp.noise.tables import TableSampler, require_scannable
from dp.overflow import DEFAULT_PROBABILITY

LEAST_VARIANCE_GIVEN: Final = 1e-6
MOST_VARIANCE: Final = 50_000_000**2


@dataclass(frozen=True, kw_only=True, slots=True)
class Skellam(Sampled):
    """Poisson(variance / 2) minus Poisson(variance / 2), in units of the encoded integers.

    Sums of Skellam variables are Skellam, their variances added, however small each is (Agarwal, Kairouz, Liu, "The
    Skellam mechanism for differentially private federated learning", NeurIPS 2021): the noise for sums over parties.

    Attributes:
        variance: the variance of one sample, in integer units.
        step: what one integer unit is worth in the unit of the clip, where that is decided; an encoder takes it over.

    Raises:
        ParameterError: variance is no number from 1e-6 to 2.5e15, or step no positive finite number.
    """

    variance: Number
    step: float | None = None

    def __post_init__(self) -> None:
        fix = "encode with a finer step to raise it, a coarser one to lower it"
        plain = number(self.variance, name="variance", least=LEAST_VARIANCE_GIVEN, most=MOST_VARIANCE, fix=fix)
        object.__setattr__(self, "variance", plain)  # a frozen field takes no assignment
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
    ) -> Skellam:
        """Return the least noise that each client must add so that all rounds together keep (epsilon, delta).

        The guarantee is against the server and the clients it colludes with, whoever is sampled into a round.

        Args:
            clip: the L2 bound of one client's whole update.
            epsilon: above 0.
            delta: above 0 and below 1.
            rounds: in how many of them one client may take part.
            honest: survivors a round is sure to have, less the colluders: `plan.min_survivors - plan.max_corrupt`.
            neighboring: ZERO_OUT or REPLACE_ONE.
            step: what one integer unit is worth; by default clip / 2^16, or what `bits` leave room for.
            length: coordinates of an update, at most. Rounding a longer one would cost more than was paid for.
            bits: the ring that the sum must fit, 8 to 64; the finest step that does is taken.
            clients: how many are invited; needed with bits.
            overflow_probability: of a wrapped coordinate in one round; read with bits.

        Raises:
            ParameterError: a parameter is out of range, or no noise or no step will do; the text has numbers that do.
        """
        budget = Budgeted(clip=clip, length=length, bits=bits, clients=clients, probability=overflow_probability)

        def law(sensitivity: float) -> Skellam:
            variance = skellam_variance(
                sensitivity=sensitivity,
                epsilon=epsilon,
                delta=usable(delta),
                rounds=rounds,
                honest=honest,
                neighboring=neighboring,
                largest=float(MOST_VARIANCE),
            )
            return cls(variance=max(variance, LEAST_VARIANCE_GIVEN))

        return budget.sized(law, step=step)

    def at(self, step: float) -> Self:
        """Return the same integers on another step."""
        return replace(self, step=step)

    def log_moment(self, tilt: float) -> float:
        """Return ln E[exp(tilt Z)] = variance (cosh(tilt) - 1)."""
        return 2.0 * float(self.variance) * math.sinh(tilt / 2.0) ** 2

    def event(self, *, parties: int, sensitivity: float) -> SkellamSum:
        """Return the event of a sum that `parties` add this noise to; its variance is rounded down.

        Args:
            parties: how many whose noise the observer does not know; at least 1.
            sensitivity: the largest L2 norm of one client's integer vector.

        Raises:
            ParameterError: parties or sensitivity is out of range.
        """
        if isinstance(parties, bool) or not isinstance(parties, int) or parties < 1:
            raise ParameterError(f"parties={parties!r:.40}: nobody is left whose noise counts")
        return SkellamSum(variance=below(Fraction(self.variance) * parties), sensitivity=sensitivity)

    def split(self, parties: int) -> Skellam:
        """Return the noise each of `parties` adds, so that the sum of what they add is this noise, exactly.

        Size it for the honest survivors a round is sure to have, not for those invited: whoever drops out or colludes
        takes a share of the noise along.

        Raises:
            ParameterError: parties is no positive integer, or the variance of one share is below 1e-6.
        """
        if isinstance(parties, bool) or not isinstance(parties, int | np.integer) or parties < 1:
            raise ParameterError(f"parties={parties!r:.40} must be an integer from 1 on")
        return replace(self, variance=Fraction(self.variance) / int(parties))

    def _sampler(self, *, constant_time: bool = False) -> Sampler:
        return _sampler_of(Fraction(self.variance), constant_time=constant_time)


class SkellamWeights:
    """The probabilities exp(-v) I_k(v) times sqrt(2 pi v), for a variance v of at least 2^20."""

    __slots__ = ("variance",)

    def __init__(self, variance: Fraction) -> None:
        self.variance = variance

    def approximate(self, k: Floats) -> Floats:
        """The weights of k, by two terms of the uniform expansion of I_k (NIST DLMF, 10.41.3 and 10.41.10).

        With x = k / v and s = v sqrt(1 + x^2) the weight is (1 + x^2)^(-1/4) exp(s - v - k asinh x) times
        1 + (3 - 5 k^2 / s^2) / (24 s) + r, where |r| < 4 / s^2, at most 2^-38. The exponent, whose terms cancel, is
        summed as -v (x^2/2 - x^4/24 + x^6/80 - 5 x^8/896 + ...); |x| is below 0.014, so the next term is below 2^-50.
        """
        v = float(self.variance)
        square = (k / v) ** 2
        s = v * np.sqrt(1 + square)
        exponent = -0.5 * k * (k / v) * (1 - square / 12 * (1 - square * (3 / 10) * (1 - square * (25 / 56))))
        weights: Floats = np.exp(exponent) * np.sqrt(v / s) * (1 + (3 - 5 * (k / s) ** 2) / (24 * s))
        return weights

    def precise(self, k: int, bits: int) -> int:
        """The weight of k in units of 2**-bits, off by less than 2^30 of them.

        For every r > 0 and n, the mean of E[z^X] z^-k over the n points z = e^(r + i t), t = 2 pi j / n, is the sum of
        P[k + l n] e^(r l n) over all integers l: the probability of k and, for r near k / v and n = 32 standard
        deviations, less than 2^-700 of it besides. E[z^X] is exp(v (cosh(r + i t) - 1)), so the mean is that of

            exp(v (cosh r - 1) - k r) * exp(-v cosh r (1 - cos t)) * cos(v sinh r sin t - k t),

        where all but about a hundred points next to t = 0 are too small to write down.
        """
        v = self.variance
        work = bits + math.floor(v).bit_length() + 64
        points = 32 * exact.square_root(v, 0)
        tilt = exact.scaled(abs(k) / v, work)
        cosh, sinh = exact.cosine_pair(tilt, work, hyperbolic=True)
        wide = _times(v, cosh)
        height = exact.exp_negative(abs(k) * tilt - (wide - _times(v, 1 << work)), work)
        total = 1 << work
        for j in range(1, points // 2):
            angle = 2 * exact.pi(work) * j // points
            cos, sin = exact.cosine_pair(angle, work)
            decay = exact.exp_negative(wide - (wide * cos >> work), work)
            if not decay:
                break
            phase, _ = exact.cosine_pair((_times(v, sinh) * sin >> work) - abs(k) * angle, work)
            total += 2 * decay * phase >> work
        norm = exact.square_root(2 * v * Fraction(exact.pi(work), 1 << work), work)
        return (height * total >> work) * norm // points >> 2 * work - bits


def _times(factor: Fraction, value: int) -> int:
    return factor.numerator * value // factor.denominator


@lru_cache(maxsize=32)
def _sampler_of(variance: Fraction, *, constant_time: bool = False) -> Sampler:
    if constant_time:
        require_scannable(variance)
    if variance < LEAST_VARIANCE:
        return TableSampler(pmf.skellam(variance), constant_time=constant_time)
    return EnvelopeSampler(SkellamWeights(variance))
