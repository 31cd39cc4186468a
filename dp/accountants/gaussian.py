"""Gaussian noise: the exact (epsilon, delta) of any number of releases, and the Renyi curve.

Promise: releases of noise multipliers z_1, z_2, ... are together exactly one of multiplier (sum of z_i^-2)^(-1/2), and
its epsilon is the smallest there is, within a relative 1e-12, rounded up.

Imports numpy and the orders.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from dp.accountants.orders import ORDERS, UNIT, Curve, up

_FAR: Final = -36.0


def log_ndtr(x: float) -> float:
    """Return ln Phi(x), the logarithm of the standard normal distribution function, right within about 1e-12.

    Relative, down to x = -36 by the C library's erfc. Below, by Phi(x) = phi(x) / |x| (1 - 1/x^2 + 3/x^4 - 15/x^6
    + 105/x^8 - ...), where the first term left out is below 3e-13.
    """
    if x > 0.0:
        return math.log1p(-0.5 * math.erfc(x / math.sqrt(2.0)))
    if x > _FAR:
        return math.log(0.5 * math.erfc(-x / math.sqrt(2.0)))
    square = x * x
    series = 1.0 - (1.0 - (3.0 - (15.0 - 105.0 / square) / square) / square) / square
    return -square / 2.0 - math.log(-x * math.sqrt(2.0 * math.pi)) + math.log(series)


def gaussian_delta(epsilon: float, distance: float) -> float:
    """Return the smallest delta at `epsilon`, rounded up, of N(0, 1) against N(distance, 1).

    Phi(d/2 - e/d) - exp(e) Phi(-d/2 - e/d) (Balle and Wang, "Improving the Gaussian mechanism for differential
    privacy", ICML 2018), as Phi(d/2 - e/d) (1 - exp(w)) so that little is lost where the two nearly cancel.
    """
    log_high = log_ndtr(distance / 2.0 - epsilon / distance)
    log_low = log_ndtr(-distance / 2.0 - epsilon / distance)
    slack = 64 * UNIT * (1.0 + epsilon - log_low - log_high) + 1e-12 * (log_low < -_FAR * _FAR / 2.0)
    return min(1.0, math.exp(log_high + slack) * -math.expm1(min(0.0, epsilon + log_low - log_high - slack)))


def gaussian_epsilon(delta: float, distance: float) -> float:
    """Return the smallest epsilon at `delta` of N(0, 1) against N(distance, 1), rounded up; infinity past 2^57."""
    if distance > 2.0**29:  # epsilon is above distance^2 / 2 for every delta below one half
        return math.inf
    if distance == 0.0 or gaussian_delta(0.0, distance) <= delta:
        return 0.0
    return least(lambda epsilon: gaussian_delta(epsilon, distance) <= delta)


def gaussian_curve(squared_distance: float) -> Curve:
    """Return the Renyi curve of N(0, 1) against N(distance, 1), a distance^2 / 2, rounded up."""
    return up(ORDERS * (squared_distance / 2.0))


def least(holds: Callable[[float], bool]) -> float:
    """Return where a test that fails at 0 begins to hold, from above, within a relative 1e-13; infinity past 2^60."""
    high = 2.0**-60
    while not holds(high):
        high *= 2.0
        if high > 2.0**60:
            return math.inf
    low = high / 2.0
    while high - low > 1e-13 * high:
        middle = (low + high) / 2.0
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
