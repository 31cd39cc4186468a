"""Calibration: what comes back keeps the promise, a little less would not, and refusals carry the number."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from dp.accountants import Against, epsilon
from dp.calibrate import discrete_gaussian_sigma, gaussian_multiplier, skellam_variance
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

ZERO_OUT, REPLACE_ONE, _ = Neighboring
LARGE: dict[str, Any] = {
    "sensitivity": 2e4,
    "epsilon": 3.0,
    "delta": 1e-6,
    "rounds": 20,
    "honest": 60,
    "neighboring": ZERO_OUT,
}


def cost(event: Event, rounds: int, delta: float, neighboring: Neighboring, against: Against) -> float:
    return epsilon([Repeated(event=event, count=rounds)], delta=delta, neighboring=neighboring, against=against).epsilon


def poisson(release: Release) -> PoissonSampled:
    return PoissonSampled(release=release, rate=0.01)


def fixed(release: Release) -> FixedSizeSampled:
    return FixedSizeSampled(release=release, population=1000, sample=10)


@pytest.mark.parametrize("neighboring", [ZERO_OUT, REPLACE_ONE])
@pytest.mark.parametrize(
    ("sensitivity", "target", "rounds", "honest"), [(4.0, 30.0, 1, 3), (4.0, 1.0, 2, 20), (2e4, 0.3, 100, 60)]
)
def test_the_least_skellam_variance(
    sensitivity: float, target: float, rounds: int, honest: int, neighboring: Neighboring
) -> None:
    found = skellam_variance(
        sensitivity=sensitivity, epsilon=target, delta=1e-6, rounds=rounds, honest=honest, neighboring=neighboring
    )

    def total(variance: float) -> float:
        event = SkellamSum(variance=variance * honest, sensitivity=sensitivity)
        return cost(event, rounds, 1e-6, neighboring, Against.SERVER)

    assert total(found) <= target < total(found * 0.998)


@pytest.mark.parametrize(("target", "parties"), [(8.0, 10), (1.0, 40)])
def test_the_least_sigma(target: float, parties: int) -> None:
    found = discrete_gaussian_sigma(
        sensitivity=9.0, epsilon=target, delta=1e-5, rounds=3, honest=parties, neighboring=ZERO_OUT
    )

    def total(sigma: float) -> float:
        event = DiscreteGaussianSum(sigma=sigma, parties=parties, sensitivity=9.0)
        return cost(event, 3, 1e-5, ZERO_OUT, Against.SERVER)

    assert total(found) <= target < total(found * 0.998)


def test_sigma_is_never_below_one_half() -> None:
    assert (
        discrete_gaussian_sigma(sensitivity=1.0, epsilon=50.0, delta=1e-5, rounds=1, honest=500, neighboring=ZERO_OUT)
        == 0.5
    )


def test_the_least_gaussian_multiplier() -> None:
    found = gaussian_multiplier(epsilon=4.377178095681225, delta=1e-5, rounds=1, neighboring=ZERO_OUT)
    assert 1.0 <= found * (1.0 + 1e-12) < 1.0011  # tests/vectors/dp_reference_exact.csv has this epsilon for 1
    twice = gaussian_multiplier(epsilon=4.377178095681225, delta=1e-5, rounds=4, neighboring=REPLACE_ONE)
    assert twice == pytest.approx(4.0, rel=2e-3)


def test_a_multiplier_for_sampled_cohorts() -> None:
    """A search with opacus 1.6.0's Renyi accountant gives 1.02295 for this, within its tolerance of 0.01 in epsilon."""
    found = gaussian_multiplier(epsilon=2.0, delta=1e-5, rounds=1000, neighboring=ZERO_OUT, sampling=poisson)
    assert found == pytest.approx(1.02295, rel=2e-3)
    event = poisson(Gaussian(noise_multiplier=found))
    assert cost(event, 1000, 1e-5, ZERO_OUT, Against.PUBLISHED) <= 2.0
    event = poisson(Gaussian(noise_multiplier=found * 0.998))
    assert cost(event, 1000, 1e-5, ZERO_OUT, Against.PUBLISHED) > 2.0
    replaced = gaussian_multiplier(epsilon=2.0, delta=1e-5, rounds=10, neighboring=REPLACE_ONE, sampling=fixed)
    assert cost(fixed(Gaussian(noise_multiplier=replaced)), 10, 1e-5, REPLACE_ONE, Against.PUBLISHED) <= 2.0


def test_the_number_that_would_do_is_in_the_refusal_and_does() -> None:
    needed = skellam_variance(**LARGE)
    with pytest.raises(ParameterError, match="largest=100000") as caught:
        skellam_variance(**LARGE, largest=100_000.0)
    numbers = re.search(r"allow ([\d.e+]+), or epsilon=([\d.e+]+)", str(caught.value))
    assert numbers is not None
    allowed, weaker = float(numbers[1]), float(numbers[2])
    assert allowed == pytest.approx(needed, rel=1e-4)
    assert skellam_variance(**LARGE, largest=allowed) <= allowed
    assert skellam_variance(**LARGE | {"epsilon": weaker}, largest=100_000.0) <= 100_000.0


def test_an_epsilon_out_of_reach_is_refused_with_one_that_is_not() -> None:
    with pytest.raises(ParameterError, match="out of reach") as caught:
        skellam_variance(**LARGE | {"epsilon": 1e-4})
    reachable = float(re.search(r"ask for epsilon=([\d.e+-]+)", str(caught.value))[1])  # type: ignore[index]  # matched
    assert math.isfinite(skellam_variance(**LARGE | {"epsilon": reachable}))


def test_more_is_needed_for_more() -> None:
    plain = skellam_variance(**LARGE)
    for harder in ({"epsilon": 2.0}, {"delta": 1e-8}, {"rounds": 30}, {"honest": 50}, {"neighboring": REPLACE_ONE}):
        assert skellam_variance(**LARGE | harder) > plain
    assert skellam_variance(**LARGE | {"honest": 120}) == pytest.approx(plain / 2, rel=2e-3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sensitivity": 0.5},
        {"sensitivity": math.nan},
        {"sensitivity": "1"},
        {"epsilon": 0.0},
        {"epsilon": -1.0},
        {"epsilon": math.inf},
        {"epsilon": math.nan},
        {"epsilon": "1"},
        {"epsilon": True},
        {"delta": 0.0},
        {"delta": 1.0},
        {"delta": math.nan},
        {"delta": "1"},
        {"rounds": 0},
        {"rounds": 1.0},
        {"rounds": True},
        {"rounds": 1 << 60},
        {"honest": 0},
        {"honest": 2.5},
        {"honest": -3},
        {"neighboring": Neighboring.ADD_OR_REMOVE},
        {"neighboring": "zero_out"},
        {"largest": 0.0},
        {"largest": math.inf},
        {"largest": math.nan},
        {"largest": "1"},
    ],
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        skellam_variance(**LARGE | wrong)
    with pytest.raises(ParameterError):
        discrete_gaussian_sigma(**LARGE | wrong)


def test_sampling_stands_under_its_relation() -> None:
    with pytest.raises(ParameterError, match="PoissonSampled"):
        gaussian_multiplier(epsilon=1.0, delta=1e-6, rounds=1, neighboring=REPLACE_ONE, sampling=poisson)
