"""Accountants against published values, brute force and each other.

The reference values were computed with the libraries named in the last column of each file. "Exact" ones are sums at
40 digits; the neighboring relation of the libraries' REPLACE_ONE rows is theirs, and stated where it is not ours.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from dp.accountants import Against, Guarantee, discrete_gaussian, epsilon, gaussian, renyi_curve, sampling, skellam
from dp.accountants.orders import ORDERS, WHOLE, chords, to_epsilon
from dp.errors import ParameterError
from dp.events import (
    Composed,
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

Floats = npt.NDArray[np.float64]

ZERO_OUT, REPLACE_ONE, ADD_OR_REMOVE = Neighboring
VECTORS = Path(__file__).parents[1] / "vectors"


def rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader((VECTORS / name).read_text(encoding="ascii").splitlines()))


GAUSSIANS = rows("dp_reference.csv")
EXACT = rows("dp_reference_exact.csv")
OTHER = {row["event"]: row for row in rows("dp_reference_other.csv")}
DISCRETE = rows("dp_reference_discrete.csv")


def of_family(table: list[dict[str, str]], family: str, quantity: str) -> list[dict[str, Any]]:
    """Rows of a family with their parameters as numbers, and the value under "value"."""
    picked = [row for row in table if row["family"] == family and row["quantity"] == quantity]
    return [
        {name: eval_number(text) for name, _, text in (part.partition("=") for part in row["parameters"].split())}
        | {"value": float(row["value"])}
        for row in picked
    ]


def eval_number(text: str) -> float:
    return math.exp(float(text[4:-1])) if text.startswith("exp") else float(text)


def sensitivity(row: dict[str, float]) -> float:
    """The L2 bound in integer units after conditional rounding (Kairouz, Liu, Steinke, ICML 2021)."""
    c, d = row["c"] * row["scale"], row["d"]
    rounded = c * c + d / 4 + math.sqrt(2 * math.log(1 / row["beta"])) * (c + math.sqrt(d) / 2)
    return math.sqrt(min(rounded, (c + math.sqrt(d)) ** 2))


def skellam_of(row: dict[str, float]) -> Event:
    variance = (row["z"] * row["c"] * row["scale"]) ** 2
    return Repeated(event=SkellamSum(variance=variance, sensitivity=sensitivity(row)), count=int(row["T"]))


def eps(event: Event, delta: float, neighboring: Neighboring = ZERO_OUT) -> float:
    return epsilon([event], delta=delta, neighboring=neighboring, against=Against.PUBLISHED).epsilon


def sampled_gaussian(row: dict[str, str]) -> float:
    release = Gaussian(noise_multiplier=float(row["noise_multiplier"]))
    event = PoissonSampled(release=release, rate=float(row["sampling_rate"]))
    return eps(Repeated(event=event, count=int(row["steps"])), float(row["delta"]), ADD_OR_REMOVE)


# The Gaussian, not sampled.


@pytest.mark.parametrize("row", [row for row in GAUSSIANS if row["exact_gaussian"] != "nan"])
def test_gaussian_releases_are_exact(row: dict[str, str]) -> None:
    event = Repeated(event=Gaussian(noise_multiplier=float(row["noise_multiplier"])), count=int(row["steps"]))
    found = epsilon([event], delta=float(row["delta"]), neighboring=ADD_OR_REMOVE, against=Against.SERVER)
    assert found.accountant == "gaussian"
    assert 0.0 <= found.epsilon / float(row["exact_gaussian"]) - 1.0 < 1e-11


@pytest.mark.parametrize("row", of_family(EXACT, "survivors", "eps_gaussian_exact"))
def test_fewer_honest_survivors_are_charged_exactly(row: dict[str, Any]) -> None:
    z = row["z"] * math.sqrt((row["survivors"] - row["colluders"]) / row["n"])
    assert eps(Gaussian(noise_multiplier=z), row["delta"]) == pytest.approx(row["value"], rel=1e-9)


def test_replacing_moves_twice_as_far() -> None:
    row = OTHER["replace-one gaussian nm=2 T=10"]
    event = Repeated(event=Gaussian(noise_multiplier=2.0), count=10)
    assert eps(event, 1e-6, REPLACE_ONE) == pytest.approx(float(row["dp_accounting_pld"]), rel=1e-6)
    assert eps(event, 1e-6, REPLACE_ONE) == eps(Repeated(event=Gaussian(noise_multiplier=1.0), count=10), 1e-6)
    for release in (
        SkellamSum(variance=50.0, sensitivity=3.0),
        DiscreteGaussianSum(sigma=1.0, parties=9, sensitivity=3.0),
    ):
        twice = type(release)(**{name: getattr(release, name) for name in release.__slots__} | {"sensitivity": 6.0})
        assert eps(release, 1e-6, REPLACE_ONE) == eps(twice, 1e-6)


@pytest.mark.parametrize("distance", [1e-3, 0.1, 1.0, 5.0, 40.0, 300.0])
def test_delta_of_the_gaussian_is_its_integral(distance: float) -> None:
    for epsilon_ in (0.0, distance**2 / 2, distance**2 / 2 + 2 * distance):
        start = epsilon_ / distance + distance / 2
        x = np.linspace(start, max(start, distance) + 40.0, 400_001)
        density = np.exp(-((x - distance) ** 2) / 2) - np.exp(epsilon_ - x * x / 2)
        integral = float(density.sum() - density[0] / 2) * (x[1] - x[0])
        found = gaussian.gaussian_delta(epsilon_, distance)
        assert found == pytest.approx(integral / math.sqrt(2 * math.pi), rel=1e-3 if distance < 0.1 else 1e-6)


def test_the_normal_tail_has_no_seam() -> None:
    for x in (-35.9999, -36.0, -36.0001, -5.0, -1e-9, 0.0, 1e-9, 3.0):
        step = gaussian.log_ndtr(x + 1e-4) - gaussian.log_ndtr(x - 1e-4)
        slope = math.exp(-x * x / 2 - gaussian.log_ndtr(x)) / math.sqrt(2 * math.pi)
        assert step == pytest.approx(2e-4 * slope, rel=1e-5)


def test_nothing_is_guaranteed_by_next_to_no_noise() -> None:
    for release in (Gaussian(noise_multiplier=1e-20), SkellamSum(variance=1e-20, sensitivity=1e20)):
        assert eps(Repeated(event=release, count=1 << 52), 1e-5) > 1e30
    huge: Event = Gaussian(noise_multiplier=1e-24)
    for _ in range(30):
        huge = Repeated(event=huge, count=(1 << 53) - 1)
    assert eps(huge, 1e-5) == math.inf


# Sampled releases.


@pytest.mark.parametrize("row", [row for row in GAUSSIANS if row["exact_gaussian"] == "nan"])
def test_sampled_gaussians_agree_with_the_libraries(row: dict[str, str]) -> None:
    found = sampled_gaussian(row)
    ours_and_theirs = sorted([float(row["opacus_rdp"]), float(row["dp_accounting_rdp"])])
    assert found <= ours_and_theirs[0] * (1.0 + 1e-9)  # the libraries differ where they try fewer orders
    if ours_and_theirs[1] < ours_and_theirs[0] * 1.001:
        assert found == pytest.approx(ours_and_theirs[0], rel=1e-3)
    assert found >= float(row["dp_accounting_pld"])


@pytest.mark.parametrize(
    ("name", "release", "population", "sample", "rounds", "delta"),
    [
        ("WOR n=100 of N=10000 gaussian nm=1 T=1000", Gaussian(noise_multiplier=2.0), 10_000, 100, 1000, 1e-5),
        ("WOR n=1000 of N=1e6 gaussian nm=2 T=1600", Gaussian(noise_multiplier=4.0), 10**6, 1000, 1600, 1e-6),
    ],
)
def test_cohorts_of_fixed_size_agree_with_the_library(
    name: str, release: Gaussian, population: int, sample: int, rounds: int, delta: float
) -> None:
    """Its multiplier is over the distance between two clients' vectors, half of ours."""
    event = FixedSizeSampled(release=release, population=population, sample=sample)
    found = eps(Repeated(event=event, count=rounds), delta, REPLACE_ONE)
    assert found == pytest.approx(float(OTHER[name]["dp_accounting_rdp"]), rel=1e-3)


def test_a_cohort_of_everybody_is_not_sampled() -> None:
    for release in (Gaussian(noise_multiplier=3.0), SkellamSum(variance=90.0, sensitivity=3.0)):
        plain = eps(release, 1e-6)
        for event in (
            PoissonSampled(release=release, rate=1.0),
            FixedSizeSampled(release=release, population=7, sample=7),
        ):
            assert renyi(event) == pytest.approx(renyi(release), rel=1e-14)
        assert eps(PoissonSampled(release=release, rate=0.999999), 1e-6) == pytest.approx(plain, rel=0.2)


def renyi(event: Event, neighboring: Neighboring = ZERO_OUT) -> list[float]:
    curve = renyi_curve([event], neighboring=neighboring, against=Against.PUBLISHED)
    return [float(bound) for bound in curve]


@pytest.mark.parametrize("release", [Gaussian(noise_multiplier=0.2), SkellamSum(variance=3.0, sensitivity=4.0)])
def test_sampling_never_costs(release: Release) -> None:
    for rate in (1e-6, 0.1, 0.9, 1.0 - 1e-12):
        sample = max(1, round(rate * 1000))
        assert all(np.less_equal(renyi(PoissonSampled(release=release, rate=rate)), renyi(release)))
        for neighboring in (ZERO_OUT, REPLACE_ONE):
            event = FixedSizeSampled(release=release, population=1000, sample=sample)
            assert all(np.less_equal(renyi(event, neighboring), renyi(release, neighboring)))


def oracle_log_skellam(variance: float, k: npt.NDArray[np.int64]) -> Floats:
    """Ln of the probabilities, straight from the two Poisson variables."""
    j = np.arange(0, int(4 * variance) + 200)
    lgamma = np.array([math.lgamma(i + 1.0) for i in range(int(j.max() + np.abs(k).max()) + 1)])
    size = np.abs(k)[:, None]
    logs = (2 * j + size) * math.log(variance / 2) - lgamma[j] - lgamma[j + size] - variance
    top = logs.max(axis=1)
    answer: Floats = top + np.log(np.exp(logs - top[:, None]).sum(axis=1))
    return answer


@pytest.mark.parametrize("rate", [0.01, 0.3, 0.9])
def test_sampled_skellam_noise_against_brute_force(rate: float) -> None:
    """One coordinate, shift 1: the worse direction is the one the text proves, and integer orders are exact."""
    base = oracle_log_skellam(9.0, np.arange(-401, 401))
    stays, moves = base[1:], base[:-1]
    mixed = np.logaddexp(math.log1p(-rate) + stays, math.log(rate) + moves)
    curve = renyi(PoissonSampled(release=SkellamSum(variance=9.0, sensitivity=1.0), rate=rate))
    for order, bound in zip(ORDERS.tolist(), curve, strict=True):
        if order > 12.0:
            continue
        forth = np.logaddexp.reduce(order * mixed + (1 - order) * stays) / (order - 1)
        back = np.logaddexp.reduce(order * stays + (1 - order) * mixed) / (order - 1)
        assert back <= forth * (1.0 + 1e-9)
        assert forth <= bound * (1.0 + 1e-9)
        if order.is_integer():
            assert bound == pytest.approx(forth, rel=1e-7)


def test_sampled_symmetric_noise_stays_below_the_general_bound() -> None:
    """Zhu and Wang (ICML 2019), Theorem 5, has a factor of three from the third term on."""
    variance, rate = 64.0, 0.05
    release = SkellamSum(variance=variance, sensitivity=8.0)
    whole = skellam.skellam_whole(variance, 8.0)
    ours = dict(zip(ORDERS.tolist(), renyi(PoissonSampled(release=release, rate=rate)), strict=True))
    for order in (2, 3, 8, 20):
        terms = [(1 - rate) ** (order - 1) * (order * rate - rate + 1)]
        for j in range(2, order + 1):
            weight = math.comb(order, j) * rate**j * (1 - rate) ** (order - j)
            terms.append((3 if j > 2 else 1) * weight * math.exp((j - 1) * whole[j - 2]))
        general = math.log(math.fsum(terms)) / (order - 1)
        assert ours[float(order)] <= general * (1.0 + 1e-9)
        assert ours[float(order)] >= general / 3.1


def test_the_refined_bound_for_fixed_cohorts_is_the_smaller() -> None:
    for z in (0.3, 1.0, 10.0, 1e5):
        unsampled = ORDERS / (2 * z * z)
        coarse = sampling.fixed_size(WHOLE / (2 * z * z), unsampled, 0.02)
        fine = sampling.fixed_size_gaussian(z, 0.02)
        assert (fine <= coarse * (1.0 + 1e-9)).all()
    assert sampling.fixed_size_gaussian(0.1, 0.02) == pytest.approx(ORDERS / 0.02)


def test_a_cohort_of_fixed_size_by_the_formula() -> None:
    """Wang, Balle, Kasiviswanathan (AISTATS 2019), for noise without a largest divergence."""
    rate, whole = 0.01, skellam.skellam_whole(400.0, 6.0)
    event = FixedSizeSampled(release=SkellamSum(variance=400.0, sensitivity=3.0), population=1000, sample=10)
    found = dict(zip(ORDERS.tolist(), renyi(event, REPLACE_ONE), strict=True))
    for order in (2, 3, 9):
        terms = [math.comb(order, 2) * rate**2 * min(4 * math.expm1(whole[0]), 2 * math.exp(whole[0]))]
        terms += [math.comb(order, j) * rate**j * 2 * math.exp((j - 1) * whole[j - 2]) for j in range(3, order + 1)]
        assert found[float(order)] == pytest.approx(math.log1p(math.fsum(terms)) / (order - 1), rel=1e-9)


@pytest.mark.parametrize("release", [Gaussian(noise_multiplier=3.0), SkellamSum(variance=81.0, sensitivity=3.0)])
def test_zeroing_in_a_cohort_of_fixed_size_is_charged_as_replacing(release: Release) -> None:
    """Whoever takes the place of a client in the draw has a vector of its own, so the proof needs both to move."""
    event = FixedSizeSampled(release=release, population=1000, sample=3)
    low = ORDERS < 5
    assert np.array(renyi(event, ZERO_OUT))[low].tolist() == np.array(renyi(event, REPLACE_ONE))[low].tolist()


@pytest.mark.parametrize("z", [0.5, 1.0, 3.0, 50.0])
def test_even_central_moments_are_forward_differences(z: float) -> None:
    found = sampling._even_central_moments(z)
    for j in (2, 4, 6):
        scaled = math.fsum(
            (-1) ** (j - i) * math.comb(j, i) * math.exp(i * (i - 1) / (2 * z * z)) for i in range(j + 1)
        )
        assert math.exp(found[j // 2 - 1]) == pytest.approx(scaled, rel=1e-9, abs=1e-13)


# Integer noise.


@pytest.mark.parametrize("row", of_family(EXACT, "skellam_exact_renyi", "R"))
def test_skellam_divergence_at_one_shift(row: dict[str, Any]) -> None:
    shift, order = np.array([int(row["shift"])]), np.array([row["alpha"]])
    found = float(skellam.skellam_shift(row["variance"], shift, order)[0, 0])
    assert -1e-12 < found / row["value"] - 1.0 < 1e-9


@pytest.mark.parametrize("row", of_family(EXACT, "ddg_exact_renyi", "R"))
def test_discrete_gaussian_divergence_at_one_shift(row: dict[str, Any]) -> None:
    shift, order = np.array([int(row["shift"])]), np.array([row["alpha"]])
    found = float(discrete_gaussian.discrete_gaussian_shift(row["sigma_local"], int(row["n"]), shift, order)[0, 0])
    assert -1e-12 < found / row["value"] - 1.0 < 1e-9


def test_the_tilted_tail_is_in_the_sum() -> None:
    """At sigma 10, shift 20, order 64 it sits 128 deviations out; a sum over the noise's own support gives 23.5."""
    shift, order = np.array([20]), np.array([64.0])
    found = discrete_gaussian.discrete_gaussian_shift(10.0, 1, shift, order)[0, 0]
    assert found == pytest.approx(128.0, rel=1e-12)
    k = np.arange(-200, 1200)
    logs = 64 * oracle_log_skellam(100.0, k - 20) - 63 * oracle_log_skellam(100.0, k)
    expected = np.logaddexp.reduce(logs) / 63
    assert int(k[logs.argmax()]) > 350  # far beyond the noise itself, whose deviation is 10
    assert skellam.skellam_shift(100.0, shift, order)[0, 0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("depth", [1.0, 3.0, 10.0])
def test_what_a_window_leaves_out_is_bounded(monkeypatch: pytest.MonkeyPatch, depth: float) -> None:
    """Narrow windows give larger bounds, never smaller ones: the remainder is no figure of speech."""
    shifts, orders = np.array([1, 2, 7]), np.array([1.1, 2.0, 9.5, 64.0])
    cases = [(0.5, 100), (0.6, 40), (1.0, 10), (3.0, 1)]
    skellams = [skellam.skellam_shift(v, shifts, orders) for v in (0.3, 4.0, 50.0, 900.0)]
    gaussians = [discrete_gaussian.discrete_gaussian_shift(s, n, shifts, orders) for s, n in cases]
    monkeypatch.setattr(skellam, "_DEPTH", depth)
    monkeypatch.setattr(discrete_gaussian, "_DEPTH", depth)  # the probabilities themselves are remembered
    for v, exact in zip((0.3, 4.0, 50.0, 900.0), skellams, strict=True):
        rough = skellam.skellam_shift(v, shifts, orders)
        assert (rough >= exact * (1.0 - 1e-11)).all()
        assert np.isfinite(rough).all()
    for (s, n), exact in zip(cases, gaussians, strict=True):
        rough = discrete_gaussian.discrete_gaussian_shift(s, n, shifts, orders)
        assert (rough >= exact * (1.0 - 1e-11)).all()
        assert (rough.max() < 1e4) == np.isfinite(rough).all()


@pytest.mark.parametrize("variance", [0.05, 1.0, 30.0, 700.0])
def test_skellam_probabilities_and_the_bounds_on_their_steps(variance: float) -> None:
    k = np.arange(0, 400)
    fall = skellam._fall(variance, 399)
    oracle = oracle_log_skellam(variance, k)
    assert fall == pytest.approx(oracle[0] - oracle, rel=1e-9, abs=1e-10)
    steps, j = np.diff(fall), np.arange(1, 400)
    assert (steps * (1.0 + 1e-12) >= np.arcsinh((j - 0.5) / variance)).all()
    assert (steps * (1.0 - 1e-12) <= np.arcsinh((j + 0.5) / variance)).all()
    assert (np.diff(steps) > 0.0).all()


def test_where_the_remainder_is_not_proven_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(skellam, "_windows", lambda v, shifts, orders: (shifts[None] - 3, shifts[None] + 1))
    assert np.isinf(skellam.skellam_shift(100.0, np.array([5]), np.array([30.0])))


def test_the_worst_shift_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """In every case tried it is a shift of one, but nobody has proven that."""

    def bump(variance: float, shifts: npt.NDArray[np.int64], orders: Floats) -> Floats:
        return np.outer(orders / (2 * variance), np.where(shifts == 3, 0.9, 0.5) * shifts**2)

    monkeypatch.setattr(skellam, "skellam_shift", bump)
    curve = skellam.skellam_curve(123.456, 4.5)  # a variance that no other test has asked about
    low = ORDERS < 100
    assert curve[low] == pytest.approx(0.9 * 4.5**2 * ORDERS[low] / (2 * 123.456), rel=1e-12)


@pytest.mark.parametrize(("variance", "square", "order"), [(100.0, 9.0, 2), (2.0, 5.0, 64), (0.5, 7.0, 3)])
def test_the_published_skellam_bound(variance: float, square: float, order: int) -> None:
    """With the L1 norm at its largest, the square of the L2 norm."""
    extra = min(((2 * order - 1) * square + 6 * square) / (4 * variance**2), 3 * square / (2 * variance))
    found = skellam.published_skellam(variance, math.sqrt(square), np.array([float(order)]))
    assert found[0] == pytest.approx(order * square / (2 * variance) + extra, rel=1e-12)


def oracle_sum(sigma: float, parties: int) -> Floats:
    """Probabilities of a sum of discrete Gaussians by plain convolution, from -m to m."""
    k = np.arange(-math.ceil(27 * sigma), math.ceil(27 * sigma) + 1)
    one = np.exp(-k * k / (2 * sigma * sigma))
    one /= one.sum()
    total = np.ones(1)
    for _ in range(parties):
        total = np.convolve(total, one)
    return total


@pytest.mark.parametrize(("sigma", "parties"), [(0.3, 5), (0.4, 63), (0.5, 64), (0.5, 129), (0.8, 200), (2.0, 31)])
def test_sums_of_discrete_gaussians_have_a_periodic_part(sigma: float, parties: int) -> None:
    total = oracle_sum(sigma, parties)
    middle, k = len(total) // 2, np.arange(0, min(2 * parties, int(12 * sigma * math.sqrt(parties))))
    h = np.log(total[middle + k] / total[middle]) + k * k / (2 * parties * sigma * sigma)
    ours = discrete_gaussian.periodic_part(sigma, parties)
    assert ours.log_h[k % parties] == pytest.approx(h, abs=1e-8)
    assert ours.wrong < 1e-11
    assert ours.spread <= discrete_gaussian.oscillation(sigma, parties) + 1e-15


def test_past_what_is_evaluated_the_oscillation_is_charged(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = discrete_gaussian.discrete_gaussian_curve(0.7, 50, 30.0, ORDERS)
    monkeypatch.setattr(discrete_gaussian, "_MOST_SHIFTS", 4)
    fewer = discrete_gaussian.discrete_gaussian_curve(0.7, 50, 30.0, ORDERS)
    monkeypatch.setattr(discrete_gaussian, "_MOST_SHIFTS", 0)
    none = discrete_gaussian.discrete_gaussian_curve(0.7, 50, 30.0, ORDERS)
    useful = 900 * ORDERS / 49 <= 128
    simple = ORDERS / 49 + discrete_gaussian.oscillation(0.7, 50) * ORDERS / (ORDERS - 1) / np.array([[1], [25]])
    assert none == pytest.approx(900 * simple[0], rel=1e-12)
    assert fewer[useful] == pytest.approx(900 * simple[1][useful], rel=1e-12)
    assert (exact <= fewer).all()
    assert (fewer <= none).all()
    assert (exact < fewer)[useful].all()
    assert (fewer < none)[useful].all()


@pytest.mark.parametrize("row", of_family(EXACT, "skellam_exact", "eps"))
def test_skellam_epsilon_from_exact_divergences(row: dict[str, Any]) -> None:
    """The reference tries integer orders alone."""
    curve = np.where(np.isin(ORDERS, WHOLE), renyi(skellam_of(row)), math.inf)
    assert to_epsilon(curve, row["delta"]) == pytest.approx(row["value"], rel=1e-6)
    assert 0.95 * row["value"] < eps(skellam_of(row), row["delta"]) <= row["value"] * (1.0 + 1e-9)


@pytest.mark.parametrize("row", of_family(DISCRETE, "skellam", "eps_rdp"))
def test_skellam_epsilon_is_at_most_what_is_published(row: dict[str, Any]) -> None:
    """The file's L1 norm is bounded by the dimension too, which is worth one part in the variance; ours by neither."""
    found = eps(skellam_of(row), row["delta"])
    variance = (row["z"] * row["c"] * row["scale"]) ** 2
    assert 0.7 * row["value"] < found <= row["value"] * (1.0 + 2.0 / variance)


@pytest.mark.parametrize("row", of_family(DISCRETE, "ddg", "eps_rdp"))
def test_discrete_gaussian_epsilon_is_at_most_what_is_published(row: dict[str, Any]) -> None:
    """The file tries integer orders alone."""
    sigma = row["z"] * row["c"] * row["scale"] / math.sqrt(row["n"])
    if sigma < 0.25:
        return
    release = DiscreteGaussianSum(sigma=sigma, parties=int(row["n"]), sensitivity=sensitivity(row))
    event = Repeated(event=release, count=int(row["T"]))
    found = eps(event, row["delta"])
    assert found <= row["value"] * (1.0 + 1e-9)
    curve = np.where(np.isin(ORDERS, WHOLE), renyi(event), math.inf)
    if row["value"] < 1000.0:
        assert to_epsilon(curve, row["delta"]) == pytest.approx(row["value"], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "sigma", "shift", "rounds", "delta"),
    [
        ("discrete_gaussian sigma=0.5 D=1 T=1", 0.5, 1, 1, 1e-5),
        ("discrete_gaussian sigma=10 D=4 T=10", 10.0, 4, 10, 1e-6),
    ],
)
def test_one_discrete_gaussian_between_the_libraries(
    name: str, sigma: float, shift: int, rounds: int, delta: float
) -> None:
    event = Repeated(event=DiscreteGaussianSum(sigma=sigma, parties=1, sensitivity=shift), count=rounds)
    found = eps(event, delta)
    theirs = OTHER[name]
    assert float(theirs["dp_accounting_pld"]) <= found <= float(theirs["dp_accounting_rdp"]) * (1.0 + 1e-9)
    assert found == pytest.approx(float(theirs["dp_accounting_rdp"]), rel=1e-2)


def test_many_parties_are_charged_as_fewer_not_as_more() -> None:
    few = discrete_gaussian.discrete_gaussian_curve(0.5, 1 << 14, 3.0, ORDERS)
    many = discrete_gaussian.discrete_gaussian_curve(0.5, 1 << 15, 3.0, ORDERS)
    assert (many <= few).all()


# Orders and conversion.


@pytest.mark.parametrize("row", of_family(DISCRETE, "zcdp_to_eps", "simple_rho+2sqrt"))
def test_the_conversion_beats_the_simple_one(row: dict[str, Any]) -> None:
    found = to_epsilon(ORDERS * row["rho"], row["delta"])
    assert 0.6 * row["value"] < found < row["value"]


def test_the_conversion_against_the_library() -> None:
    found = to_epsilon(ORDERS * 0.5, 1e-6)
    assert found == pytest.approx(float(OTHER["zcdp rho=0.5 xi=0"]["dp_accounting_rdp"]), rel=1e-3)


def test_no_divergence_costs_what_the_largest_order_costs() -> None:
    assert to_epsilon(np.zeros(len(ORDERS)), 0.5) == 0.0
    assert 0.0 < to_epsilon(np.zeros(len(ORDERS)), 1e-9) < 0.02
    assert to_epsilon(np.full(len(ORDERS), math.inf), 1e-5) == math.inf


def test_chords_lie_above_and_touch_at_integers() -> None:
    straight = chords(WHOLE * 0.25)
    inside = ORDERS <= 256
    assert (straight >= ORDERS * 0.25)[inside].all()
    assert np.isinf(straight[~inside]).all()
    at = np.isin(ORDERS, WHOLE)
    assert straight[at] == pytest.approx(ORDERS[at] * 0.25, rel=1e-14)
    half = float(straight[ORDERS == 2.5][0])
    assert half == pytest.approx((0.5 + 1.5) / 2 / 1.5, rel=1e-14)
    broken = np.full(len(WHOLE), 1.0)
    broken[3] = math.inf
    assert np.isinf(chords(broken)[(ORDERS > 4) & (ORDERS < 6)]).all()
    assert np.isfinite(chords(broken)[(ORDERS <= 4) | ((ORDERS >= 6) & inside)]).all()


# The question asked.


def test_a_guarantee_says_what_it_is() -> None:
    event = PoissonSampled(release=Gaussian(noise_multiplier=1.0), rate=0.01)
    seen = epsilon([event], delta=1e-5, neighboring=ZERO_OUT, against=Against.SERVER)
    read = epsilon([event], delta=1e-5, neighboring=ZERO_OUT, against=Against.PUBLISHED)
    plain = epsilon([event.release], delta=1e-5, neighboring=ZERO_OUT, against=Against.PUBLISHED)
    assert seen == Guarantee(
        epsilon=plain.epsilon, delta=1e-5, neighboring=ZERO_OUT, against=Against.SERVER, accountant="gaussian"
    )
    assert read.accountant == "renyi"
    assert read.epsilon < plain.epsilon / 2


def test_the_server_knows_the_cohort() -> None:
    noise = SkellamSum(variance=100.0, sensitivity=5.0)
    plain = epsilon([noise], delta=1e-6, neighboring=REPLACE_ONE, against=Against.SERVER)
    for event in (PoissonSampled(release=noise, rate=0.01), FixedSizeSampled(release=noise, population=99, sample=1)):
        assert epsilon([event], delta=1e-6, neighboring=REPLACE_ONE, against=Against.SERVER) == plain


def test_a_gaussian_beside_integer_noise_is_no_business_of_the_exact_accountant() -> None:
    mixed = (Gaussian(noise_multiplier=2.0), SkellamSum(variance=100.0, sensitivity=5.0))
    found = epsilon(mixed, delta=1e-6, neighboring=ZERO_OUT, against=Against.SERVER)
    assert found.accountant == "renyi"
    assert found.epsilon > eps(mixed[0], 1e-6)


def test_composing_is_adding() -> None:
    first, second = SkellamSum(variance=100.0, sensitivity=5.0), Gaussian(noise_multiplier=4.0)
    nested = Composed(events=(Repeated(event=Composed(events=(first, second)), count=3), first))
    apart: list[Event] = [
        second,
        first,
        first,
        Repeated(event=second, count=2),
        Repeated(event=Repeated(event=first, count=2), count=1),
    ]
    one = epsilon([nested], delta=1e-6, neighboring=ZERO_OUT, against=Against.SERVER)
    assert one.epsilon == pytest.approx(
        epsilon(apart, delta=1e-6, neighboring=ZERO_OUT, against=Against.SERVER).epsilon, rel=1e-13
    )
    curve = 4 * np.array(renyi(first)) + 3 * np.array(renyi(second))
    assert renyi(nested) == pytest.approx(curve.tolist(), rel=1e-13)


def test_nothing_released_costs_nothing() -> None:
    assert epsilon([], delta=1e-6, neighboring=ZERO_OUT, against=Against.SERVER).epsilon == 0.0


@pytest.mark.parametrize(
    ("event", "neighboring", "words"),
    [
        (SkellamSum(variance=9.0, sensitivity=1.0), ADD_OR_REMOVE, "takes its noise along"),
        (DiscreteGaussianSum(sigma=1.0, parties=9, sensitivity=1.0), ADD_OR_REMOVE, "takes its noise along"),
        (PoissonSampled(release=SkellamSum(variance=9.0, sensitivity=1.0), rate=0.1), ADD_OR_REMOVE, "noise along"),
        (PoissonSampled(release=Gaussian(noise_multiplier=1.0), rate=0.1), REPLACE_ONE, "PoissonSampled"),
        (FixedSizeSampled(release=Gaussian(noise_multiplier=1.0), population=9, sample=1), ADD_OR_REMOVE, "FixedSize"),
    ],
)
def test_what_is_not_proven_is_refused(event: Event, neighboring: Neighboring, words: str) -> None:
    with pytest.raises(ParameterError, match=words):
        epsilon([event], delta=1e-6, neighboring=neighboring, against=Against.PUBLISHED)
    with pytest.raises(ParameterError, match=words):
        renyi_curve([event], neighboring=neighboring, against=Against.PUBLISHED)


def test_what_is_not_an_event_is_refused() -> None:
    ask: Any = epsilon
    for strange in (None, "gaussian", 1.0, Gaussian):
        with pytest.raises(ParameterError, match="is not an event"):
            ask([strange], delta=1e-6, neighboring=ZERO_OUT, against=Against.SERVER)


def test_the_question_must_make_sense() -> None:
    event = Gaussian(noise_multiplier=1.0)
    delta: Any
    for delta in (0.0, 1.0, -1e-6, math.nan, math.inf, "1e-6", None, True):
        with pytest.raises(ParameterError, match="delta"):
            epsilon([event], delta=delta, neighboring=ZERO_OUT, against=Against.SERVER)
    wrong: Any = "zero_out"
    with pytest.raises(ParameterError, match="neighboring"):
        epsilon([event], delta=1e-6, neighboring=wrong, against=Against.SERVER)
    with pytest.raises(ParameterError, match="against"):
        epsilon([event], delta=1e-6, neighboring=ZERO_OUT, against=wrong)
    ask: Any = epsilon
    with pytest.raises(TypeError):
        ask([event], delta=1e-6, against=Against.SERVER)
