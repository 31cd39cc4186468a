"""Bounds stand in their order - truth, ours, published - and move the right way with every parameter."""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.accountants import Against, epsilon, renyi_curve
from dp.accountants.discrete_gaussian import discrete_gaussian_curve
from dp.accountants.orders import ORDERS
from dp.accountants.skellam import skellam_curve, skellam_shift
from dp.events import (
    DiscreteGaussianSum,
    Event,
    FixedSizeSampled,
    Gaussian,
    Neighboring,
    PoissonSampled,
    Repeated,
    SkellamSum,
)

Floats = npt.NDArray[np.float64]

SLACK = 1.0 + 1e-9
"""Rounding goes up by more where more is added up, so equal things may differ by as much."""

few = settings(max_examples=25, deadline=None)


def eps(event: Event, delta: float = 1e-6, against: Against = Against.PUBLISHED) -> float:
    return epsilon([event], delta=delta, neighboring=Neighboring.ZERO_OUT, against=against).epsilon


# The order, on a grid.

VARIANCES = (0.5, 3.0, 20.0, 90.0, 400.0, 3000.0)
SENSITIVITIES = (1.0, 1.5, 3.0, 5.3, 9.0, 14.2)
TRIED = (1.5, 2.0, 3.0, 6.0, 16.0, 40.0)


@functools.cache
def log_skellam(variance: float) -> Floats:
    """Ln of the probabilities at 0, 1, ..., straight from the two Poisson variables."""
    k = np.arange(0, 1500)
    j = np.arange(0, int(variance) + int(12 * math.sqrt(variance)) + 40)
    lgamma = np.array([math.lgamma(i + 1.0) for i in range(len(j) + len(k))])
    logs = (2 * j + k[:, None]) * math.log(variance / 2) - lgamma[j] - lgamma[j + k[:, None]] - variance
    top = logs.max(axis=1)
    answer: Floats = top + np.log(np.exp(logs - top[:, None]).sum(axis=1))
    return answer


def true_divergence(log_p: Floats, shift: int, order: float) -> float:
    """Over all the probabilities there are; the sum ends where they do, so it is below the truth."""
    k = np.arange(shift + 1 - len(log_p), len(log_p))
    logs = order * log_p[np.abs(k - shift)] + (1 - order) * log_p[np.abs(k)]
    return float(np.logaddexp.reduce(logs)) / (order - 1)


def worst_of_two_shapes(log_p: Floats, sensitivity: float, order: float) -> float:
    """Everything in one coordinate, or one step in each of many."""
    one = true_divergence(log_p, math.floor(sensitivity), order)
    many = math.floor(sensitivity**2) * true_divergence(log_p, 1, order)
    return max(one, many)


def published_skellam(variance: float, sensitivity: float, order: int) -> float:
    """Agarwal, Kairouz, Liu (NeurIPS 2021), with the largest L1 norm an integer vector can have."""
    square = sensitivity**2
    extra = min(((2 * order - 1) * square + 6 * square) / (4 * variance**2), 3 * square / (2 * variance))
    return order * square / (2 * variance) + extra


@pytest.mark.parametrize("variance", VARIANCES)
def test_skellam_bounds_stand_in_order(variance: float) -> None:
    """Six times thirty-six points: a true divergence, our bound, the published one where it holds."""
    for sensitivity, order in itertools.product(SENSITIVITIES, TRIED):
        ours = float(skellam_curve(variance, sensitivity)[np.equal(ORDERS, order)][0])
        assert worst_of_two_shapes(log_skellam(variance), sensitivity, order) <= ours * SLACK
        assert ours <= published_skellam(variance, sensitivity, math.ceil(order)) * SLACK


def published_discrete(sigma: float, parties: int, sensitivity: float, order: float) -> float:
    """Kairouz, Liu, Steinke (ICML 2021), with no more coordinates than an integer vector of that norm can touch."""
    before = np.arange(1, parties)
    tau = 10 * float(np.exp(-2 * math.pi**2 * sigma**2 * before / (before + 1)).sum())
    square, variance = sensitivity**2, parties * sigma**2
    return order * square / (2 * variance) + tau * math.floor(square)


@pytest.mark.parametrize(("sigma", "parties"), [(0.5, 12), (0.5, 40), (0.7, 20), (1.0, 9), (1.6, 4), (4.0, 1)])
def test_discrete_gaussian_bounds_stand_in_order(sigma: float, parties: int) -> None:
    k = np.arange(-math.ceil(30 * sigma), math.ceil(30 * sigma) + 1)
    one = np.exp(-k * k / (2 * sigma * sigma))
    total = functools.reduce(np.convolve, [one / one.sum()] * parties)
    reach = min(len(total) // 2, int(36 * sigma * math.sqrt(parties)))
    log_p = np.log(total[len(total) // 2 :][: reach + 1])
    for sensitivity, order in itertools.product((1.0, 1.5, 2.3, 3.0, 4.5), (1.5, 2.0, 3.0, 5.0)):
        ours = float(discrete_gaussian_curve(sigma, parties, sensitivity, ORDERS)[np.equal(ORDERS, order)][0])
        assert worst_of_two_shapes(log_p, sensitivity, order) <= ours * SLACK
        assert ours <= published_discrete(sigma, parties, sensitivity, order) * SLACK


@few
@given(st.lists(st.integers(-6, 6), min_size=1, max_size=6).filter(any), st.floats(1.0, 300.0))
def test_no_integer_vector_is_worse_than_the_bound(vector: list[int], variance: float) -> None:
    sensitivity = math.sqrt(sum(x * x for x in vector))
    shifts = np.abs([x for x in vector if x])
    cost = skellam_shift(variance, shifts, ORDERS[ORDERS < 9]).sum(axis=1)
    assert (cost <= skellam_curve(variance, sensitivity * (1.0 + 1e-15))[ORDERS < 9] * SLACK).all()


@pytest.mark.parametrize("order", [1.5, 2.0, 4.0])
def test_two_coordinates_by_enumeration(order: float) -> None:
    p = np.exp(log_skellam(3.0)[:60])
    line = np.concatenate([p[:0:-1], p])
    here = np.outer(line, line)[2:, 1:]
    there = np.outer(line, line)[:-2, :-1]
    truth = math.log(float((here * (there / here) ** order).sum())) / (order - 1)
    assert truth <= float(skellam_curve(3.0, math.sqrt(5.0) * (1.0 + 1e-15))[np.equal(ORDERS, order)][0])


@few
@given(st.floats(0.3, 50.0), st.floats(1e-4, 0.9), st.integers(1, 10_000))
def test_the_exact_accountant_is_below_renyi_and_sampling_below_both(z: float, rate: float, rounds: int) -> None:
    plain = Repeated(event=Gaussian(noise_multiplier=z), count=rounds)
    sampled = Repeated(event=PoissonSampled(release=plain.event, rate=rate), count=rounds)  # type: ignore[arg-type]  # it is one
    exact = eps(plain)
    ours = epsilon([plain], delta=1e-6, neighboring=Neighboring.ZERO_OUT, against=Against.PUBLISHED)
    assert ours.accountant == "gaussian"
    assert exact <= eps(sampled, against=Against.SERVER) * SLACK
    curves = [renyi_curve([e], neighboring=Neighboring.ZERO_OUT, against=Against.PUBLISHED) for e in (sampled, plain)]
    assert (curves[0] <= curves[1] * SLACK).all()


def test_integer_noise_tends_to_the_gaussian() -> None:
    for variance in (1e3, 1e6, 1e12):
        sensitivity = math.sqrt(variance)
        found = eps(SkellamSum(variance=variance, sensitivity=sensitivity))
        gaussian = renyi_curve(
            [Gaussian(noise_multiplier=1.0)], neighboring=Neighboring.ZERO_OUT, against=Against.PUBLISHED
        )
        mixed = epsilon(
            [Gaussian(noise_multiplier=1.0), SkellamSum(variance=1e24, sensitivity=1.0)],
            delta=1e-6,
            neighboring=Neighboring.ZERO_OUT,
            against=Against.PUBLISHED,
        )
        assert mixed.accountant == "renyi"
        assert found == pytest.approx(mixed.epsilon, rel=0.01)
        curve = skellam_curve(variance, sensitivity)
        whole = np.equal(ORDERS, np.floor(ORDERS))
        assert curve[whole] == pytest.approx(gaussian[whole], rel=30.0 / math.sqrt(variance))


# Every parameter moves epsilon the right way.


@few
@given(st.floats(0.5, 600.0), st.floats(1.0, 3.0), st.floats(1.0, 9.0), st.integers(1, 200))
def test_more_skellam_noise_costs_less(variance: float, factor: float, sensitivity: float, rounds: int) -> None:
    def cost(noise: float, norm: float, count: int) -> float:
        return eps(Repeated(event=SkellamSum(variance=noise, sensitivity=norm), count=count))

    here = cost(variance, sensitivity, rounds)
    assert cost(variance * factor, sensitivity, rounds) <= here * SLACK
    assert cost(variance, sensitivity * factor, rounds) * SLACK >= here
    assert cost(variance, sensitivity, rounds + 1) > here


@pytest.mark.parametrize("sensitivity", [1.0, 3.5, 20.0, 128.9, 129.0])
def test_no_step_where_exact_evaluation_ends(sensitivity: float) -> None:
    """Costs fall with the variance across the largest that is evaluated, and do not fall with the sensitivity."""
    largest = min(4096 / math.floor(sensitivity), 128.0) ** 2
    variances = [largest * factor for factor in (0.9, 0.9999, 1.0, 1.0001, 1.1, 1.8, 1.99, 2.0, 2.01, 5.0)]
    curves = [skellam_curve(variance, sensitivity) for variance in variances]
    for before, after in itertools.pairwise(curves):
        assert (after <= before * SLACK).all()
    assert (skellam_curve(largest, sensitivity) <= skellam_curve(largest, sensitivity + 0.2) * SLACK).all()


@few
@given(st.floats(0.5, 2.0), st.integers(1, 60), st.integers(1, 8), st.floats(1.0, 5.0))
def test_more_parties_and_more_of_each_cost_less(sigma: float, parties: int, more: int, sensitivity: float) -> None:
    def cost(scale: float, many: int) -> float:
        return eps(DiscreteGaussianSum(sigma=scale, parties=many, sensitivity=sensitivity))

    here = cost(sigma, parties)
    assert cost(sigma, parties + more) <= here * SLACK
    assert cost(sigma * 1.05, parties) <= here * SLACK


@few
@given(st.integers(20, 60), st.integers(0, 8), st.integers(1, 10))
def test_a_survivor_more_or_a_colluder_less_costs_less(survivors: int, colluders: int, more: int) -> None:
    def cost(honest: int) -> float:
        return eps(SkellamSum(variance=honest * 4.0, sensitivity=6.0), against=Against.SERVER)

    assert cost(survivors + more - colluders) <= cost(survivors - colluders) * SLACK


@few
@given(st.floats(0.3, 30.0), st.floats(1.01, 3.0), st.floats(1e-4, 0.5), st.integers(1, 3000))
def test_sampled_gaussians_move_the_right_way(z: float, factor: float, rate: float, rounds: int) -> None:
    def cost(multiplier: float, chance: float, count: int, delta: float = 1e-6) -> float:
        release = Gaussian(noise_multiplier=multiplier)
        return eps(Repeated(event=PoissonSampled(release=release, rate=chance), count=count), delta)

    here = cost(z, rate, rounds)
    assert cost(z * factor, rate, rounds) <= here * SLACK
    assert cost(z, rate * min(factor, 2.0), rounds) * SLACK >= here
    assert cost(z, rate, rounds + 1) >= here
    assert cost(z, rate, rounds, 1e-5) <= here


@few
@given(st.floats(0.6, 30.0), st.floats(1.01, 3.0), st.integers(1, 500))
def test_cohorts_of_fixed_size_move_the_right_way(z: float, factor: float, sample: int) -> None:
    def cost(multiplier: float, size: int) -> float:
        event = FixedSizeSampled(release=Gaussian(noise_multiplier=multiplier), population=1000, sample=size)
        return eps(Repeated(event=event, count=50))

    here = cost(z, sample)
    assert cost(z * factor, sample) <= here * SLACK
    assert cost(z, sample + 1) * SLACK >= here
