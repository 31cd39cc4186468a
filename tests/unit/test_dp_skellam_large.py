"""Skellam noise of large variance: the lemmas of the proof, high-precision values, and no step where formulas begin."""

from __future__ import annotations

import csv
import itertools
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.accountants import Against, epsilon, skellam, skellam_large
from dp.accountants.gaussian import gaussian_curve, gaussian_epsilon
from dp.accountants.orders import BEYOND, ORDERS, WHOLE, to_epsilon
from dp.events import Neighboring, Repeated, SkellamSum

Floats = npt.NDArray[np.float64]

VECTORS = Path(__file__).parents[1] / "vectors" / "dp_skellam_large.csv"
SLACK = 1.0 + 1e-11
LOW = ORDERS <= 11.0


def truths() -> dict[tuple[int, float], dict[int, float]]:
    """High-precision R_a(D): by variance and order, then by shift. Each variance has three shifts, 1, s/16 and s."""
    lines = [line for line in VECTORS.read_text(encoding="ascii").splitlines() if not line.startswith("#")]
    found: dict[tuple[int, float], dict[int, float]] = {}
    for row in csv.DictReader(lines):
        key = int(row["variance"]), float(row["order"])
        found.setdefault(key, {})[int(row["shift"])] = float(row["divergence"])
    return found


TRUTHS = truths()


def at(order: float, curve: Floats) -> float:
    return float(curve[np.equal(ORDERS, order)][0])


def root(variance: float) -> float:
    return math.sqrt(variance * variance - 1.0)


# The lemmas, where the noise can be evaluated.


@pytest.mark.parametrize("variance", [3.0, 3.5, 10.0, 60.0, 400.0])
def test_the_curvature_of_the_probabilities(variance: float) -> None:
    fall = skellam._fall(variance, 301)
    log_p = -np.concatenate([fall[1:2], fall])  # from -1 on
    curvature = 2 * log_p[1:-1] - log_p[2:] - log_p[:-2]
    j = np.arange(len(curvature))
    bound = -np.log1p(-1.0 / np.sqrt(root(variance) ** 2 + j * j))
    assert (curvature <= bound + 1e-12).all()
    assert curvature[0] == pytest.approx(bound[0], rel=0.3 / variance)  # and near it in the middle


@pytest.mark.parametrize("variance", [14.1, 20.0, 90.0, 700.0])
def test_the_ends_of_the_chords(variance: float) -> None:
    """R_n(1) <= n u / 2, and the divergence at orders towards one is at most u / 2."""
    s = root(variance)
    u = 1 / s + 1.2 / s**3
    orders = np.array([1.0 + 1e-3, *(n for n in range(2, 40) if n * (n - 1) / 2 <= s)])
    exact = skellam.skellam_shift(variance, np.array([1]), orders)[:, 0]
    assert (exact <= orders * u / 2).all()
    assert exact[0] == pytest.approx(orders[0] * u / 2, rel=3 / variance**2)


def test_the_displayed_bound_is_at_most_u_with_room_to_spare() -> None:
    """Also for S a little below 14 and w beyond S, as floats decide at the edge."""
    s = np.geomspace(13.0, 1e3, 200)
    v, tail = np.sqrt(s * s + 1.0), s * s * (s - 1.0)
    for part in (0.0, 0.01, 0.3, 0.7, 1.0, 1.5, 2.0):
        w = part * s
        fourth = 3 * v * v + v + 6 * w * v + 4 * w * w / 3
        found = -np.log1p(-1.0 / s) - (v + w) / (2 * tail) + (3 * s - 2 + w) * fourth / (8 * tail * tail)
        assert (found <= 1.0 / s + 1.2 / s**3).all()
        assert part != 1.0 or (found <= 1.0 / s).all()


@pytest.mark.parametrize("variance", [4.0, 50.0])
def test_the_moment_by_a_times_a_minus_one_is_convex(variance: float) -> None:
    a = np.linspace(1.001, 6.0, 400)
    t = a * (a - 1.0)
    slope = np.expm1((a - 1.0) * skellam.skellam_shift(variance, np.array([1]), a)[:, 0]) / t
    assert (np.diff(np.diff(slope) / np.diff(t)) > -1e-9).all()
    assert (np.diff(slope) > 0.0).all()


def test_the_moment_per_u_rises_with_u() -> None:
    """Which carries the bound from one step to shifts of any size."""
    a = np.array([1.0001, 1.3, 1.999, 2.001, 2.7, 3.5, 6.2])
    u = np.geomspace(1e-3, 1.0, 200)
    rate = np.array([skellam_large._log_moment(a, np.ceil(a), float(each)) / each for each in u])
    assert (np.diff(rate, axis=0) > 0.0).all()
    assert rate[0] == pytest.approx(a * (a - 1.0) / 2.0, rel=1e-4)


def test_whole_orders_at_any_shift() -> None:
    for variance, shift in itertools.product((3.0, 17.0, 256.0, 4096.0), (1, 5, 32)):
        orders = np.array([2.0, 3.0, 7.0])
        exact = skellam.skellam_shift(variance, np.array([shift]), orders)[:, 0]
        assert (exact <= skellam_large.curved(variance, shift, orders)).all()


def test_the_formulas_as_the_text_has_them() -> None:
    """The parabola in a (a - 1) by Lagrange, where the module has a chord."""
    assert skellam_large.curved(10.0, 3.0, np.array([4.0]))[0] == pytest.approx(-18 * math.log(1 - 1 / math.sqrt(99)))
    s = root(20.0)
    u = 1 / s + 6 / (5 * s**3)
    for a, n in ((2.5, 2), (4.1, 4), (3.0, 2), (3.0, 3)):
        t, nodes = a * (a - 1), (0, n * (n - 1), n * (n + 1))
        weights = [math.prod((t - y) / (x - y) for y in nodes if y != x) for x in nodes]
        moment = math.fsum(weight * math.exp(u * x / 2) for weight, x in zip(weights, nodes, strict=True))
        found = skellam_large.steps_of_one(100.0, 5.0, np.array([a]))[0]
        assert found == pytest.approx(5 * math.log(moment) / (a - 1), rel=1e-12)
    for a in (1.02, 1.5, 2.0):
        half = a * (a - 1) / 2
        moment = 1 + half * (1 - half) * u + half**2 * math.expm1(u)
        found = skellam_large.steps_of_one(100.0, 5.0, np.array([a]))[0]
        assert found == pytest.approx(5 * math.log(moment) / (a - 1), rel=1e-12)


def test_skellam_noise_near_order_one_is_worse_than_gaussian_noise() -> None:
    """So that the Gaussian's own curve would be no bound."""
    for variance in (16.0, 64.0):
        found = skellam.skellam_shift(variance, np.array([1]), np.array([1.02]))[0, 0]
        assert 0.05 < (found / (1.02 / (2 * variance)) - 1.0) * variance**2 < 0.09


# The order, on the grid of values at high precision.


def published(variance: float, sensitivity: float, order: int) -> float:
    square = sensitivity**2
    extra = min(((2 * order - 1) * square + 6 * square) / (4 * variance**2), 3 * square / (2 * variance))
    return order * square / (2 * variance) + extra


def test_there_are_enough_values() -> None:
    assert sum(map(len, TRUTHS.values())) == 165
    assert {max(shifts) for shifts in TRUTHS.values()} == {2**8, 2**10, 2**12, 2**16, 2**20}


@pytest.mark.parametrize(("variance", "order"), TRUTHS)
def test_truth_ours_and_published_stand_in_order(variance: int, order: float) -> None:
    shifts = TRUTHS[variance, order]
    for shift, truth in shifts.items():
        ours = at(order, skellam.skellam_curve(float(variance), float(shift)))
        assert truth <= ours
        assert ours <= published(variance, shift, math.ceil(order)) * SLACK
    whole = max(shifts)
    ours = at(order, skellam.skellam_curve(float(variance), float(whole)))
    for shift, truth in shifts.items():  # as many coordinates as fit, each shifted by so much
        assert (whole // shift) ** 2 * truth <= ours


@pytest.mark.parametrize(("variance", "order"), [key for key in TRUTHS if key[1] < 4.0])
def test_ours_is_next_to_the_worst_of_the_true_values(variance: int, order: float) -> None:
    shifts = TRUTHS[variance, order]
    whole = max(shifts)
    ours = at(order, skellam.skellam_curve(float(variance), float(whole)))
    worst = max((whole // shift) ** 2 * truth for shift, truth in shifts.items())
    assert ours <= worst * (1.0 + 2.0 * (whole / variance) ** 2 + 1e-11)


# Where formulas begin and end.


@pytest.mark.parametrize(("sensitivity", "largest"), [(64.0, 4096.0), (128.9, 1024.0), (20.0, 16384.0), (1.0, 16384.0)])
def test_no_step_where_exact_evaluation_ends(sensitivity: float, largest: float) -> None:
    """Exact bounds are charged up to twice the largest variance that is evaluated, and never beyond."""
    before, after = (v * skellam.skellam_curve(v, sensitivity) for v in (largest, 2.02 * largest))
    low = ORDERS < 3.0  # orders beyond gain by exact evaluation where shifts are many deviations
    assert after[low] == pytest.approx(before[low], rel=max(1e-5, 1.5 * (sensitivity / largest) ** 2))


def test_no_step_where_shifts_are_too_many_to_try() -> None:
    for variance in (2000.0, 1e4, 1e6):
        before, after = (skellam.skellam_curve(variance, b) / (b * b) for b in (128.999, 129.0))
        assert (after[LOW] <= before[LOW] * (1.0 + 1.5 * (129.0 / variance) ** 2)).all()


def test_nothing_is_said_beyond_what_is_proven() -> None:
    edge = math.sqrt(14.0**2 + 1.0)
    for b in (1.0, 1000.0):
        assert np.isinf(skellam_large.steps_of_one(edge * b * (1 - 1e-9), b, ORDERS)).all()
        proven = np.isfinite(skellam_large.steps_of_one(edge * b * (1 + 1e-9), b, ORDERS))
        assert proven.tolist() == (ORDERS <= 5.0).tolist()  # 5 * 4 / 2 <= 14 < 6 * 5 / 2
    assert np.isinf(skellam_large.curved(2.999, 1.0, WHOLE)).all()
    assert np.isfinite(skellam_large.curved(3.0, 1.0, WHOLE)).all()


def test_the_smallest_of_the_formulas_is_taken() -> None:
    variance, b = 2.0**30, 2.0**15
    curve, whole = skellam.skellam_curve(variance, b), skellam.skellam_whole(variance, b)
    assert curve[LOW] == pytest.approx(gaussian_curve(b * b / variance)[LOW], rel=7e-9)
    assert curve[BEYOND] == pytest.approx(gaussian_curve(b * b / variance)[BEYOND], rel=1e-9)
    assert whole == pytest.approx(WHOLE * b * b / (2 * variance), rel=1e-9)
    assert (curve >= gaussian_curve(b * b / variance) * (1.0 - 1e-15)).all()


@settings(max_examples=40, deadline=None)
@given(st.floats(2.0, 200.0), st.floats(1.0, 2.0), st.floats(0.0, 50.0), st.floats(1.0, 2.0))
def test_more_noise_costs_less_and_a_larger_shift_more(bits: float, more: float, norm: float, longer: float) -> None:
    variance, b = 2.0**bits, 2.0**norm
    for formula in (skellam_large.steps_of_one, skellam_large.curved):
        here = formula(variance, b, ORDERS)
        assert (formula(variance * more, b, ORDERS) <= here * SLACK).all()
        assert (formula(variance, b * longer, ORDERS) * SLACK >= here).all()


# What it is worth.


@pytest.mark.parametrize("rounds", [1, 10, 100])
@pytest.mark.parametrize("z", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("scale", [2.0**10, 2.0**16, 2.0**30])
def test_epsilon_is_the_one_of_gaussian_noise_by_renyi(z: float, rounds: int, scale: float) -> None:
    event = Repeated(event=SkellamSum(variance=(z * scale) ** 2, sensitivity=scale), count=rounds)
    ours = epsilon([event], delta=1e-5, neighboring=Neighboring.ZERO_OUT, against=Against.SERVER).epsilon
    gaussian = to_epsilon(gaussian_curve(rounds / z**2), 1e-5)
    assert gaussian_epsilon(1e-5, math.sqrt(rounds) / z) < gaussian <= ours <= gaussian * 1.0001
