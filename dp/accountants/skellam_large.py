"""Skellam noise of large variance: Renyi bounds by formula, next to the Gaussian's curve, at every real order.

Promise: every number is an upper bound, in floats too, and falls with the variance and rises with the sensitivity. Real
orders cost a B^2 / (2v) times 1 + O(B^2 / v^2), for variance v and shifts of L2 norm B. The Gaussian's curve itself is
out of reach: at shift 1 and orders near 1, Skellam noise is worse than a Gaussian, by a relative 1 / (12 v^2) or so.

The law p(k) = exp(-v) I_k(v) has the moments E K^2 = v and E K^4 = 3 v^2 + v. Let S = sqrt(v^2 - 1).

**Curvature.** For v >= 3 and all integers j,

    d(j) := 2 ln p(j) - ln p(j + 1) - ln p(j - 1)  <=  -ln(1 - 1/sqrt(S^2 + j^2)).

For h = v I_j'(v) / I_j(v), Bessel's equation says h' = (v^2 + j^2 - h^2) / v, and I_(j+1) I_(j-1) / I_j^2 = 1 - h'/v.
So the claim is h' <= v/s with s = sqrt(S^2 + j^2), or h >= b with b^2 = v^2 + j^2 - v^2/s. Where h first met b from
above, b' >= h' = v/s. But b b' = v - v/s + v^3 / (2 s^3), so b' < v/s wherever b^2 > (s - 1 + e/2)^2, e = v^2 / s^2.
The left side is the greater by 2 (j^2 - 1) / s + e (1 - e/4). For j >= 1 that is positive, as e <= 1. For j = 0 too,
as s >= sqrt(8) and 1 < e <= 9/8. And h begins above b: for j >= 2 near v = 0, where h^2 = j^2 + v^2 j / (j + 1) + ...
and b^2 = j^2 + v^2 (1 - 1/sqrt(j^2 - 1)) + ...; for j = 1 near 0, where h >= 1 and b^2 = 1 - v + v^2; for j = 0 at
v = 3, where h^2 / v^2 > 0.65 > b^2 / v^2. Negative j are as positive ones.

**Whole orders.** So d(j) <= -ln(1 - 1/S) =: c, and f(k) = ln p(k) + c k^2 / 2 is convex on the integers. For a whole a,
a f(k - D) <= f(k - a D) + (a - 1) f(k), that is p(k - D)^a p(k)^(1-a) <= p(k - a D) exp(a (a - 1) D^2 c / 2). Summed
over k, R_a(D) <= a D^2 c / 2 for every shift D: the Gaussian's curve with about v - 1/2 for v. Over the coordinates of
a shift, D^2 adds up to at most B^2.

**Steps of one.** Noise of variance v is a sum of D independent parts of variance v/D. A shift by D may shift each by
one, and adding them up is post-processing: R_a(D) at v is at most D R_a(1) at v/D. From here on D = 1.

**Real orders.** Put M = exp((a - 1) R_a(1)) and t = a (a - 1). As p(k - 1) / p(k) turns into its inverse when k turns
into 1 - k, M is the sum of sqrt(p(k) p(k - 1)) cosh((a - 1/2) ln(p(k - 1) / p(k))): a power series in (a - 1/2)^2,
without negative coefficients. It converges for every a, as p(k) falls like 1/k! and p(k - 1) / p(k) grows like k. As
(a - 1/2)^2 = t + 1/4, M is such a series in t too. It begins with 1, as M = 1 at a = 1. So (M - 1) / t is convex in
t >= 0 and stays below its chords between whole orders n, where t = n (n - 1). At n = 1 it is the derivative by a, which
is the Kullback-Leibler divergence: the sum of p(k - 1) ln(p(k - 1) / p(k)), by symmetry E d(K) / 2.

**The ends of the chords.** Put w = n (n - 1) / 2. As M = E exp(sum of i d(K + i) over 0 < i < n), M is by Jensen at
most the mean over i, with weights i/w, of E exp(w d(K + i)). What is in it is at most g(q) at q = (K + i)^2, with
g(q) = (1 - (S^2 + q)^(-1/2))^(-w). The derivatives of g alternate in sign: g(q) <= g(0) + g'(0) q + g''(0) q^2 / 2. The
mean of q is v + w, that of q^2 at most 3 v^2 + v + 6 w v + 4 w^2 / 3. With ln(1 + x) <= x, (1/w) ln M is at most

    -ln(1 - 1/S) - (v + w) / (2 S^2 (S - 1)) + (3 S - 2 + w) (3 v^2 + v + 6 w v + 4 w^2 / 3) / (8 S^4 (S - 1)^2),

which is convex in w. For S >= 14 it is at most 1/S - 1/(6 S^2 (S - 1)) + 9/(8 S (S - 1)^2) at w = 0 and at most 1/S at
w = S, hence at most u := 1/S + 6/(5 S^3) for all w between. So M <= exp(w u) for w <= S, and E d(K) <= u by w to 0.
There is room: all this is true for S >= 13 and w <= 2 S too, so that no rounding of S matters at the edge.

**All shifts.** What the chord gives is, as a function of u, M(u): the parabola in t that agrees with exp(u t / 2) at
t = 0 and at both ends. With weights m <= 0 <= m', m'' of sum 1, w' < w'', M(u) = m + m' exp(u w') + m'' exp(u w'').
M(u)^2 exp(-u w') times the second derivative of ln M(u) is

    m m' w'^2 + m m'' w''^2 exp(u (w'' - w')) + m' m'' (w'' - w')^2 exp(u w''),

which is 0 at u = 0, as ln M(u) = u t / 2 + O(u^3). Then the one term that is positive grows by the largest factor. So
ln M(u) is convex, also for w' to 0, and ln M(u) / u rises with u. As v u falls with v, so does v times the bound on
R_a(1). What bounds R_a(D) / D^2, R_a(1) at v/D over D, is greatest at D = B: S is the least there, so whatever smaller
shifts need is true as well. As in `dp.accountants.skellam`, then,

    R_a  <=  B ln M(u) / (a - 1),   with S = sqrt((v/B)^2 - 1) >= 14, for a <= n with n (n - 1) / 2 <= S.

Imports numpy and the orders.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from dp.accountants.orders import UNIT, Curve, up

_LEAST_CURVED: Final = 3.0
"""The least variance for which the curvature is proven."""

_LEAST_ROOT: Final = 14.0
"""The least S for which real orders are bounded."""


def curved(variance: float, sensitivity: float, orders: Curve) -> Curve:
    """Return the text's bound for whole orders, a B^2 c / 2; infinity where the variance is too small for it."""
    if variance < _LEAST_CURVED:
        return np.full(len(orders), math.inf)
    curvature = -math.log1p(-1.0 / _root(variance))
    return up(orders * (sensitivity * sensitivity * curvature / 2.0), operations=32)


def steps_of_one(variance: float, sensitivity: float, orders: Curve) -> Curve:
    """Return the text's bound for real orders, B ln M(u) / (a - 1); infinity at those for which it is not proven."""
    bound = np.full(len(orders), math.inf)
    root = _root(variance / sensitivity)
    above = np.ceil(orders)
    proven = (root >= _LEAST_ROOT) & (above * (above - 1.0) / 2.0 <= root)
    if proven.any():
        exponent = (1.0 + 1.2 / (root * root)) / root * (1.0 + 64 * UNIT)
        moment = _log_moment(orders[proven], above[proven], exponent)
        bound[proven] = up(moment * (sensitivity / (orders[proven] - 1.0)), operations=64)
    return bound


def _log_moment(order: Curve, above: Curve, exponent: float) -> Curve:
    """Ln M(u) at each order, on the chord that ends at the whole order `above` and begins one before."""
    below = above - 1.0
    part = (order - below) * (order + below - 1.0) / (2.0 * below)
    slope = (1.0 - part) * _slope(below, exponent) + part * _slope(above, exponent)
    moment: Curve = np.log1p(order * (order - 1.0) * slope)
    return moment


def _slope(whole: Curve, exponent: float) -> Curve:
    """(M - 1) / t where M = exp(u t / 2), at whole orders."""
    t = whole * (whole - 1.0)
    slope: Curve = np.full(len(t), exponent / 2.0)
    np.divide(np.expm1(exponent * t / 2.0), t, out=slope, where=t > 0.0)
    return slope


def _root(variance: float) -> float:
    """S; zero where there is none."""
    return math.sqrt(max(0.0, variance - 1.0)) * math.sqrt(variance + 1.0)
