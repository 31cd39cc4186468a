"""Ten million samples of each law against its probabilities, with fresh randomness on every run.

False alarms: each comparison below goes off by chance in less than 1 run of 10^12, and there are fewer than 200 of
them, so the whole file is red by chance in less than 1 run of 10^9. A sum of squares of independent standard normals is
beyond d + 2 sqrt(28 d) + 56 with odds below exp(-28) < 10^-12 (Laurent and Massart, Annals of Statistics 28, 2000,
lemma 1), and a standard normal beyond 7.5 either way with odds below 10^-13. The counts and sums compared are those of
thousands of samples or more a cell, where both are close to normal.

What is compared is said without the code under test where that can be: float64 formulas of the probabilities and, for
Skellam, backward recurrence in the plain oracle.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import localcontext
from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from dp.noise import DiscreteGaussian, IntegerNoise, Skellam
from tests.reference import dp_noise_oracle as oracle

Integers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

COUNT = 10_000_000
PER_CELL = 2_000
EXPONENT = 28.0
SIGMAS = 7.5

LISTED = [
    DiscreteGaussian(sigma=0.5),
    DiscreteGaussian(sigma=1),
    DiscreteGaussian(sigma=30),
    DiscreteGaussian(sigma=800),
    Skellam(variance=0.5),
    Skellam(variance=2),
    Skellam(variance=900),
    Skellam(variance=640_000),
]
ENVELOPED = [DiscreteGaussian(sigma=2_000), Skellam(variance=1_500_000)]
WIDE = [DiscreteGaussian(sigma=1e6), DiscreteGaussian(sigma=5e7), Skellam(variance=1e10), Skellam(variance=2.5e15)]


def name(noise: IntegerNoise) -> str:
    return f"{type(noise).__name__} {math.sqrt(noise.variance):.4g}"


def check_fit(counts: Integers, odds: Floats) -> None:
    """Pearson's statistic of counts against odds is not beyond chance; cells are merged until each expects PER_CELL."""
    expected = odds * counts.sum()
    cell = (np.cumsum(expected) / PER_CELL).astype(np.int64)
    cell[cell == cell[-1]] = max(cell[-1] - 1, 0)  # the last cell may be short: it joins the one before
    want, got = np.bincount(cell, expected), np.bincount(cell, counts)
    want, got = want[want > 0], got[want > 0]
    freedom = len(want) - 1
    assert freedom > 0
    assert want.sum() == pytest.approx(counts.sum(), rel=1e-9)
    statistic = float(((got - want) ** 2 / want).sum())
    assert statistic < freedom + 2 * math.sqrt(EXPONENT * freedom) + 2 * EXPONENT


def check_moments(samples: Integers, noise: IntegerNoise) -> None:
    """The mean is 0 and the variance is the law's, to within what so many samples tell; so is the symmetry."""
    units = samples / math.sqrt(noise.variance)
    spread = 2 + 1 / float(noise.variance)  # of squares of Skellam units; those of discrete Gaussian ones spread less
    assert abs(units.mean()) < SIGMAS / math.sqrt(len(samples))
    assert abs((units**2).mean() - 1) < SIGMAS * math.sqrt(spread / len(samples))
    lopsided = np.count_nonzero(samples > 0) - np.count_nonzero(samples < 0)
    assert abs(lopsided) < SIGMAS * math.sqrt(len(samples))


def check_independence(samples: Integers, noise: IntegerNoise) -> None:
    """Samples 1, 2 and 1000 places apart are uncorrelated, and so are their kinds: five classes of sign and size."""
    units = samples / math.sqrt(noise.variance)
    kinds = np.digitize(units, (-1.0, -0.2, 0.2, 1.0))
    shares = np.bincount(kinds, minlength=5) / len(kinds)
    for lag in (1, 2, 1000):
        first, second = units[:-lag], units[lag:]
        assert abs((first * second).mean()) < SIGMAS / math.sqrt(len(first))
        pairs = np.bincount(5 * kinds[:-lag] + kinds[lag:], minlength=25)
        expected = np.outer(shares, shares).ravel() * len(first)
        cells = expected > PER_CELL
        statistic = float(((pairs - expected) ** 2 / np.where(cells, expected, 1))[cells].sum())  # of 16 freedoms
        assert statistic < 16 + 2 * math.sqrt(EXPONENT * 16) + 2 * EXPONENT


def probabilities(noise: IntegerNoise) -> Floats:
    """Those of -radius to radius, from formulas that the code under test does not use."""
    if isinstance(noise, DiscreteGaussian):
        weights = np.exp(-(np.arange(noise.radius + 1.0) ** 2) / (2 * float(noise.sigma) ** 2))
        half = weights / (weights[0] + 2 * weights[1:].sum())
    else:
        with localcontext(prec=60):
            half = np.array(oracle.skellam(Fraction(noise.variance), noise.radius), dtype=np.float64)
    return np.concatenate([half[:0:-1], half])


@pytest.mark.parametrize("noise", [*LISTED, *ENVELOPED], ids=name)
def test_samples_follow_the_probabilities_of_the_law(noise: IntegerNoise) -> None:
    samples, radius = noise.sample(COUNT), noise.radius
    assert max(samples.max(), -samples.min()) <= radius
    counts, odds = np.bincount(samples + radius, minlength=2 * radius + 1), probabilities(noise)
    check_fit(counts, odds)
    check_moments(samples, noise)
    check_independence(samples, noise)
    likely = odds * COUNT > 40  # a value that is expected 40 times is missed with odds of exp(-40)
    assert counts[likely].all()


@pytest.mark.parametrize("noise", [DiscreteGaussian(sigma=1), Skellam(variance=10)], ids=name)
def test_scanned_samples_follow_the_probabilities_of_the_law(noise: IntegerNoise) -> None:
    samples, radius = noise.sample(COUNT, constant_time=True), noise.radius
    check_fit(np.bincount(samples + radius, minlength=2 * radius + 1), probabilities(noise))
    check_independence(samples, noise)


@pytest.mark.parametrize("noise", WIDE, ids=name)
def test_wide_samples_follow_the_normal_law_and_fill_their_blocks(noise: IntegerNoise) -> None:
    samples, sigma = noise.sample(COUNT), math.sqrt(noise.variance)
    assert max(samples.max(), -samples.min()) <= noise.radius
    edges = np.round(np.linspace(-5, 5, 4001) * sigma)  # cells between integers: (edge, next edge]
    counts = np.histogram(samples, np.concatenate([[-np.inf], edges + 0.5, [np.inf]]))[0]
    below = np.array([0.5 * math.erfc(-(edge + 0.5) / sigma / math.sqrt(2)) for edge in edges])
    check_fit(counts, np.diff(below, prepend=0.0, append=1.0))
    check_moments(samples, noise)
    check_independence(samples, noise)
    for bits in (4, 9):  # low bits are uniform, to within a part in sigma
        low = np.bincount(samples & ((1 << bits) - 1), minlength=1 << bits)
        check_fit(low, np.full(1 << bits, 2.0**-bits))


@pytest.mark.parametrize("noise", [DiscreteGaussian(sigma=16_400), Skellam(variance=16_400**2)], ids=name)
def test_within_a_block_samples_lean_as_the_law_does(noise: IntegerNoise) -> None:
    """At k the law falls by k width / sigma^2 of it over a block; were no proposal rejected, it would be even there.

    The place in the block, times where the block begins, averages to zero then, and else to ten deviations below.
    """
    sigma, width, rounds = math.sqrt(noise.variance), 64, 10
    k = np.arange(math.ceil(8 * sigma))
    place = k % width
    lean = (k - place) / sigma * (place / width - (width - 1) / (2 * width))
    odds = np.exp(-(k**2) / (2 * sigma**2))
    odds[0] /= 2
    odds /= odds.sum()
    expected = float(odds @ lean)
    deviation = math.sqrt(float(odds @ (lean - expected) ** 2) / (rounds * COUNT))
    assert expected < -10 * deviation
    observed = math.fsum(float(lean[np.abs(noise.sample(COUNT))].mean()) for _ in range(rounds)) / rounds
    assert abs(observed - expected) < SIGMAS * deviation


def test_these_checks_can_fail() -> None:
    """One sample in 300 out of place, one in 200 off by one or repeated: each is seen."""
    noise = Skellam(variance=2)
    samples, radius, odds = noise.sample(COUNT), noise.radius, probabilities(noise)
    spoilt = samples.copy()
    spoilt[::300] = 1
    stuck = samples.copy()
    stuck[1::200] = stuck[::200]
    checks: list[Callable[[], None]] = [
        lambda: check_fit(np.bincount(spoilt + radius, minlength=2 * radius + 1), odds),
        lambda: check_moments(samples + (np.arange(COUNT) % 200 == 0), noise),
        lambda: check_independence(stuck, noise),
    ]
    for check in checks:
        with pytest.raises(AssertionError):
            check()
