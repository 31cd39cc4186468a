"""Skellam noise: Renyi bounds from its exact probabilities, coordinate by coordinate.

Promise: every number is an upper bound, in floats too. What is left out of a sum is bounded by a geometric series that
the proof below starts, and each rounding goes up.

**Dimension-free.** The coordinates of the noise are independent, so that a shift by an integer vector s costs the sum
over i of R_a(|s_i|), where R_a(D) is the divergence of the noise shifted by D from the noise. Since the sum of s_i^2 is
at most B^2, and every non-zero |s_i| is an integer from 1 to B,

    R_a  <=  B^2 * max over 1 <= D <= B of R_a(D) / D^2.

What other clients add moves both sides alike, and rounding or reducing the sum is post-processing.

**Evaluation.** With p(k) = p(0) exp(-A(k)), exp((a - 1) R_a(D)) is p(0) times the sum over all integers k of
t(k) = exp(-a A(k - D) + (a - 1) A(k)). Its mass lies near the *tilted* mean, which for shifts of many standard
deviations is far outside the support that holds the noise itself. A(k) = c(1) + ... + c(k), where c(j) =
ln(I_(j-1)(v) / I_j(v)), with I the modified Bessel functions and v the variance, comes from the backward recurrence of
their ratios in integers of 160 fractional bits.

**Remainder.** c(j) grows with j, as the noise is log-concave, and for j >= 1 (Amos, "Computation of modified Bessel
functions and their ratios", Mathematics of Computation 28, 1974)

    asinh((j - 1/2) / v)  <=  c(j)  <=  asinh((j + 1/2) / v).

Right of k > D, ln t(k + 1) - ln t(k) <= -a asinh((k - D + 1/2) / v) + (a - 1) asinh((k + 3/2) / v), which falls as k
grows. Left, ln t(k) - ln t(k - 1) is at least -a asinh((k - D + 1/2) / v) + (a - 1) asinh((k - 1/2) / v) for k > D,
which falls as k grows, and at least c(1) for k <= D. So where these are positive at the ends of a window, what lies
beyond is at most the last term times a geometric series.

Variances that are too large to evaluate are bounded by formulas that tend to the Gaussian's curve (`skellam_large`).

Imports numpy, the orders and skellam_large.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dp.accountants.orders import BEYOND, ORDERS, UNIT, WHOLE, Curve, chords, up
from dp.accountants.skellam_large import curved, steps_of_one

Floats = npt.NDArray[np.float64]

_BITS: Final = 160
_DEPTH: Final = 42.0
"""How far, in nats, a window reaches below its highest term. Only speed depends on it: the rest is bounded."""

_WORK: Final = 1 << 12
_MOST_SHIFTS: Final = 128
_WIDEST: Final = 128.0
"""Evaluated are shifts up to _MOST_SHIFTS, and standard deviations up to _WIDEST and up to _WORK over the shifts."""

_HOPELESS: Final = 128.0
"""Orders at which one release costs about so many nats are left to the published bound: no epsilon comes from there."""


def skellam_curve(variance: float, sensitivity: float) -> Curve:
    """Return the Renyi curve at ORDERS for noise of this variance and shifts of L2 norm at most `sensitivity`.

    The smallest of the exact bound, those for large variances and the published one. More noise is post-processing of
    less, so a variance that is too large to evaluate exactly may be charged as the largest that is evaluated.
    """
    formula = chords(_at_whole_orders(variance, sensitivity, WHOLE))
    formula[BEYOND] = _at_whole_orders(variance, sensitivity, ORDERS[BEYOND])
    formula = np.minimum(formula, steps_of_one(variance, sensitivity, ORDERS))
    return np.minimum(formula, _exact(variance, sensitivity, whole=False))


def skellam_whole(variance: float, sensitivity: float) -> Curve:
    """As `skellam_curve`, at the orders WHOLE."""
    return np.minimum(_at_whole_orders(variance, sensitivity, WHOLE), _exact(variance, sensitivity, whole=True))


def _at_whole_orders(variance: float, sensitivity: float, orders: Curve) -> Curve:
    return np.minimum(published_skellam(variance, sensitivity, orders), curved(variance, sensitivity, orders))


def published_skellam(variance: float, sensitivity: float, orders: Curve) -> Curve:
    """Return the bound of Agarwal, Kairouz, Liu (NeurIPS 2021), which holds at integer orders.

    a B^2 / (2v) + min(((2a - 1) B^2 + 6 L) / (4 v^2), 3 L / (2v)), where the L1 norm L of an integer vector is at most
    its squared L2 norm.
    """
    square = sensitivity * sensitivity
    extra = np.minimum((2.0 * orders + 5.0) * square / (4.0 * variance) / variance, 1.5 * square / variance)
    return up(orders * square / (2.0 * variance) + extra, operations=16)


def skellam_shift(variance: float, shifts: npt.NDArray[np.int64], orders: Floats) -> Floats:
    """Return upper bounds on R_a(D), a row an order and a column a shift D >= 1; infinity where none was proven."""
    low, high = _windows(variance, shifts, orders)
    table = _Table.of(variance, 1 + int(max(high.max(), shifts.max() - low.min())))
    rows = [table.divergence(shifts, float(order), low[at], high[at]) for at, order in enumerate(orders)]
    return np.array(rows).reshape(len(orders), len(shifts))


def _exact(variance: float, sensitivity: float, *, whole: bool) -> Curve:
    """The bound of the module's text, at no more than the largest variance that is evaluated."""
    largest = min(_WORK / math.floor(sensitivity), _WIDEST) ** 2
    orders = WHOLE if whole else ORDERS
    if sensitivity >= _MOST_SHIFTS + 1 or variance > 2.0 * largest:  # a formula's bound is smaller
        return np.full(len(orders), math.inf)
    ratio = _worst_ratio(min(variance, largest), math.floor(sensitivity), whole)
    return up(ratio * sensitivity * sensitivity)


@functools.lru_cache(maxsize=64)
def _worst_ratio(variance: float, most: int, whole: bool) -> Curve:  # noqa: FBT001 (lru_cache: by position)
    orders = WHOLE if whole else ORDERS
    shifts = np.arange(1, most + 1)
    worth = orders * (most * most / (2.0 * variance)) <= _HOPELESS
    worst: Curve = np.full(len(orders), math.inf)
    if worth.any():
        worst[worth] = up((skellam_shift(variance, shifts, orders[worth]) / (shifts * shifts)).max(axis=1))
    worst.flags.writeable = False
    return worst


@dataclass(frozen=True, slots=True)
class _Table:
    """A(0), A(1), ..., right within a relative 2^-49, and a lower bound on 1 / p(0)."""

    variance: float
    fall: Floats
    total: float

    @classmethod
    def of(cls, variance: float, last: int) -> _Table:
        fall = _fall(variance, last)
        inside = np.exp(-fall[1:] * (1.0 + 16 * UNIT))
        return cls(variance, fall, (1.0 + 2.0 * float(inside.sum())) * (1.0 - 128 * UNIT))

    def divergence(
        self, shifts: npt.NDArray[np.int64], order: float, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]
    ) -> Floats:
        """Upper bounds on R_a(D), for each shift over its own window from low to high, the widest for all."""
        k = low[:, None] + np.arange(int((high - low).max()) + 1)
        k = np.minimum(k, high[:, None])
        logs = self._log_terms(k, shifts[:, None], order)
        top = logs.max(axis=1)
        terms = np.exp(logs - top[:, None])
        terms[np.arange(k.shape[1]) > (high - low)[:, None]] = 0.0  # the last term stands in for what is not there
        last = terms[np.arange(len(shifts)), high - low]
        inside = terms.sum(axis=1) + self._beyond(low, high, shifts, order, terms[:, 0], last)
        moment = np.log(inside) + 256 * UNIT + top * (1.0 + np.sign(top) * 4 * UNIT) - math.log(self.total)
        return up(np.maximum(moment + 16 * UNIT * (1.0 + math.log(self.total)), 0.0) / (order - 1.0))

    def _log_terms(self, k: npt.NDArray[np.int64], shift: npt.NDArray[np.int64], order: float) -> Floats:
        """Ln t(k), each of the two parts rounded up by more than its error."""
        minus, plus = self.fall[np.abs(k - shift)], self.fall[np.abs(k)]
        logs: Floats = plus * ((order - 1.0) * (1.0 + 16 * UNIT)) - minus * (order * (1.0 - 16 * UNIT))
        return logs

    def _beyond(
        self,
        low: npt.NDArray[np.int64],
        high: npt.NDArray[np.int64],
        shifts: npt.NDArray[np.int64],
        order: float,
        first: Floats,
        last: Floats,
    ) -> Floats:
        """What lies outside the windows, at most; infinity where the module's text does not prove it finite."""
        least = math.asinh(0.5 / self.variance) * (1.0 - 16 * UNIT)
        slack = 64 * UNIT * order * np.arcsinh((high + 1.5) / self.variance)
        right = _fall_right(high, shifts, order, self.variance) - slack
        left = np.where(low > shifts, np.minimum(_rise_left(low, shifts, order, self.variance) - slack, least), least)
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            rest = up(last / np.expm1(right) + first / np.expm1(left))
        return np.where((right > 0.0) & (left > 0.0) & (high > shifts), rest, math.inf)


def _fall_right(k: npt.NDArray[Any], shift: npt.NDArray[Any], order: Any, variance: float) -> Floats:
    """At least ln t(j) - ln t(j + 1) for all j >= k, where k > D."""
    a, v = order, variance
    answer: Floats = a * np.arcsinh((k - shift + 0.5) / v) - (a - 1.0) * np.arcsinh((k + 1.5) / v)
    return answer


def _rise_left(k: npt.NDArray[Any], shift: npt.NDArray[Any], order: Any, variance: float) -> Floats:
    """At least ln t(j) - ln t(j - 1) for all j from D + 1 to k."""
    a, v = order, variance
    answer: Floats = (a - 1.0) * np.arcsinh((k - 0.5) / v) - a * np.arcsinh((k - shift + 0.5) / v)
    return answer


@functools.lru_cache(maxsize=16)
def _fall(variance: float, last: int) -> Floats:
    """A(0) to A(last) of the module's text.

    r_(k-1) = 1 / (2k/v + r_k), with r_k = I_(k+1)(v) / I_k(v), started so far out that the start, which is within a
    factor of two, is forgotten: each step shrinks its error by r_k^2, and r_k < v / (k + 1/2 + hypot(v, k + 1/2)).
    The steps add up as integers, so that A(k) carries the relative error of one logarithm and no more.
    """
    one = 1 << _BITS
    numerator, denominator = variance.as_integer_ratio()
    start = last + 64 + 16 * math.isqrt(math.ceil(variance))
    ratio = int(math.ldexp(math.exp(-math.asinh((start + 1.0) / variance)), 100)) << (_BITS - 100)
    steps = []
    for k in range(start, 0, -1):
        ratio = (one << _BITS) // ((k * 2 * denominator << _BITS) // numerator + ratio)
        if k <= last:
            steps.append(ratio)
    falls, total = [0.0], 0
    for ratio in reversed(steps):
        step = -math.log1p((ratio - one) / one) if 2 * ratio > one else -math.log(ratio / one)
        total += int(math.ldexp(step, 100))
        falls.append(math.ldexp(float(total), -100))
    fall = np.array(falls)
    fall.flags.writeable = False
    return fall


def _windows(
    variance: float, shifts: npt.NDArray[np.int64], orders: Floats
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """For each order and shift, a window: its edges are about _DEPTH nats below the highest term, by a smooth A.

    Where the bounds on what lies beyond are not finite there yet, the window goes on until they are.
    """
    a, d = np.meshgrid(orders, shifts.astype(np.float64), indexing="ij")

    def rising(k: Floats) -> npt.NDArray[np.bool_]:
        return (a - 1.0) * np.arcsinh(k / variance) > a * np.arcsinh((k - d) / variance)

    def log_term(k: Floats) -> Floats:
        return (a - 1.0) * _smooth_fall(k, variance) - a * _smooth_fall(k - d, variance)

    step = math.sqrt(variance) + 1.0
    top = _last_true(rising, d, step)
    floor = log_term(top) - _DEPTH
    least = math.asinh(0.5 / variance)

    def too_high(k: Floats) -> npt.NDArray[np.bool_]:
        return (log_term(k) > floor) | (_fall_right(k, d, a, variance) < least)

    def too_low(k: Floats) -> npt.NDArray[np.bool_]:
        return (log_term(k) > floor) | ((k > d) & (_rise_left(k, d, a, variance) < least))

    low, high = _last_true(too_low, top, -step), _last_true(too_high, top, step)
    return np.floor(low).astype(np.int64) - 8, np.ceil(high).astype(np.int64) + 8


def _smooth_fall(k: Floats, variance: float) -> Floats:
    """The integral of asinh(x / v) from 0 to k, which A(k) follows closely."""
    answer: Floats = k * np.arcsinh(k / variance) - k * k / (np.hypot(k, variance) + variance)
    return answer


def _last_true(holds: Callable[[Floats], npt.NDArray[np.bool_]], start: Floats, step: float) -> Floats:
    """Roughly, and rather too far, the last point from `start` in the direction of `step` at which a test holds."""
    reach = np.full(start.shape, step)
    while (going := holds(start + reach)).any():
        reach[going] *= 2.0
    inside = np.where(reach == step, 0.0, reach / 2.0)
    for _ in range(8):
        middle = (inside + reach) / 2.0
        good = holds(start + middle)
        inside, reach = np.where(good, middle, inside), np.where(good, reach, middle)
    end: Floats = start + reach
    return end
