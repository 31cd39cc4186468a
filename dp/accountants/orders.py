"""Renyi curves: one bound an order on a fixed grid of orders, and what they say about (epsilon, delta).

Promise: everything is rounded towards more privacy loss. A sum of floats is inflated by more than its rounding errors
can be, where exp, log and their kin, of the C library and of numpy, are taken to be right within 4 units in the last
place.

A curve holds upper bounds on R_a(P || Q), the Renyi divergence of order a, over all neighboring pairs and both
directions (Mironov, "Renyi differential privacy", CSF 2017). Curves of events that are composed are added.

Imports numpy.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

Curve = npt.NDArray[np.float64]
"""Upper bounds in nats, one an order of the grid it goes with."""

UNIT: Final = 2.0**-53
"""The largest relative error of one rounded float64 operation."""

ORDERS: Final[Curve] = np.array(
    [1.02, 1.05]
    + [k / 10 for k in range(11, 110)]
    + [float(k) for k in range(11, 65)]
    + [float(round(64 * 2 ** (k / 8))) for k in range(1, 33)]
)
"""The grid: tenths to 11, where moderate and large epsilon are found, integers to 64, and to 1024 by nine per cent."""
ORDERS.flags.writeable = False

WHOLE: Final[Curve] = np.arange(2.0, 257.0)
"""The integer orders that bounds for integer orders alone are evaluated at."""
WHOLE.flags.writeable = False

BEYOND: Final[npt.NDArray[np.bool_]] = np.greater(ORDERS, WHOLE[-1])
"""Which of ORDERS, integers all, lie beyond WHOLE."""


def up(values: Curve, *, operations: int = 8) -> Curve:
    """Return values no smaller than the true ones, if each was rounded at most so many times and none is negative."""
    return values * (1.0 + 2 * operations * UNIT)


def chords(whole: Curve) -> Curve:
    """Carry bounds at the orders WHOLE over to ORDERS; beyond the last of them there is none, that is infinity.

    (a - 1) R_a is convex in the order a and zero at a = 1 (van Erven and Harremoes, "Renyi divergence and
    Kullback-Leibler divergence", 2014), so that a chord between two integers stays above it.
    """
    knots = np.concatenate([[1.0], WHOLE])
    moments = np.concatenate([[0.0], (WHOLE - 1.0) * whole])
    with np.errstate(invalid="ignore"):  # infinity times zero where a bound at one end is infinite
        at_orders = np.interp(ORDERS, knots, moments) / (ORDERS - 1.0)
    at_orders[np.isnan(at_orders) | BEYOND] = math.inf
    on_grid = np.isin(ORDERS, WHOLE)
    at_orders[on_grid] = whole[ORDERS[on_grid].astype(np.int64) - 2]
    return up(at_orders)


def to_epsilon(curve: Curve, delta: float) -> float:
    """Return the smallest epsilon that the curve proves at `delta`; infinity if it proves none.

    min over a of R_a + ln(1 - 1/a) - ln(a delta) / (a - 1) (Canonne, Kamath, Steinke, "The discrete Gaussian for
    differential privacy", NeurIPS 2020, Proposition 12).
    """
    gain = np.log1p(-1.0 / ORDERS)
    price = -(math.log(delta) + np.log(ORDERS)) / (ORDERS - 1.0)
    slack = 32 * UNIT * (-gain + (abs(math.log(delta)) + np.log(ORDERS)) / (ORDERS - 1.0))
    return max(0.0, float(np.min(up(curve) + gain + price + slack)))
