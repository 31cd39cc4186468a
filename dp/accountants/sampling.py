"""What a secret choice of the cohort gains: Renyi curves of sampled releases.

Promise: each is an upper bound, and never above the curve of the release itself; the gain is claimed only for the
sampling and the neighboring relation that its proof is about.

**Poisson.** A client is in with probability q, whatever the others do. With Q the release without its vector and P the
release with it, both given who else is in, its neighbors see R = (1 - q) Q + q P against Q. Noise that is symmetric
about a point has an involution that exchanges P and Q (reflection in the middle between them), and then R against Q is
the worse direction. Proof: let w = P/Q and u(w) = 1 - q + q w. The exchange gives E_Q[g(w)] = E_Q[w g(1/w)] for every
g, so that E_Q[u^a - u^(1 - a)] is half of E_Q[f(w) + w f(1/w)] with f = u^a - u^(1 - a) = 2 u^(1/2) sinh(c ln u) and
c = a - 1/2. Take w > 1, x = ln u(w) and y = -ln u(1/w); x >= y > 0, as an arithmetic mean is above a harmonic one.
Then sinh(c x) / sinh(c y) does not fall as c grows from 1/2, where e^(x/2) sinh(x/2) = w e^(-y/2) sinh(y/2), both being
q (w - 1) / 2. So f(w) + w f(1/w) >= 0. (For Gaussian noise: Mironov, Talwar, Zhang, "Renyi differential privacy of the
sampled Gaussian mechanism", 2019. In general a factor of three appears: Zhu and Wang, "Poisson subsampled Renyi
differential privacy", ICML 2019, Theorem 5.)

At an integer order the moment of R against Q is a binomial sum over the moments of P against Q, so bounds on those of
integer noise bound it. For Gaussian noise it is an integral over the line, taken at every real order.

**Fixed size.** Wang, Balle, Kasiviswanathan, "Subsampled Renyi differential privacy and analytical moments accountant",
AISTATS 2019: both data sets have one size, and P and Q differ by the replacement of one client by any other.

Imports numpy and the orders.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dp.accountants.orders import ORDERS, UNIT, WHOLE, Curve, chords, up

Floats = npt.NDArray[np.float64]

_DEPTH: Final = 45.0

LogMoment = Callable[[int], float]

_HOPELESS: Final = 512.0
"""Orders at which one sampled release costs more nats are charged unsampled: no epsilon comes from there."""

_ROUGHEST: Final = 0.25
_FINEST: Final = 4096.0
"""Noise multipliers between which the refined bound for cohorts of fixed size is evaluated. Below, the release is
charged unsampled; above, as with this much noise."""

_LOG_FACTORIALS: Final = np.array([math.log(math.factorial(n)) for n in range(257)])


@functools.lru_cache(maxsize=64)
def poisson_gaussian(noise_multiplier: float, rate: float) -> Curve:
    """Return the curve at ORDERS of a Gaussian release, Poisson sampled; zero-out or add-or-remove.

    With unit shift and z the noise multiplier, the moment is the integral of phi_z(x) (1 - q + q exp((2x - 1) /
    (2 z^2)))^a, by the trapezoid rule: where the integrand is analytic and, on every line of the strip |Im x| < b, of
    integral at most M, a step h errs by at most 2 M / (exp(2 pi b / h) - 1) (Trefethen and Weideman, "The exponentially
    convergent trapezoidal rule", SIAM Review 56, 2014). Here b <= min(z, 3 z^2), inside of which 1 - q + q exp(...) has
    no zero, |1 - q + q exp(u + i v)| <= 1 - q + q exp(u), and M is at most exp(b^2 / (2 z^2)) times the moment.
    """
    z, q = noise_multiplier, rate
    curve = up(ORDERS / (2.0 * z * z))
    if q == 1.0:
        return curve
    for at, order in enumerate(map(float, ORDERS)):
        if order / (2.0 * z * z) + order / (order - 1.0) * math.log(q) < _HOPELESS:
            sampled = up(np.array([_log_poisson_moment(z, q, order)])) / (order - 1.0)
            curve[at] = min(curve[at], max(0.0, float(sampled[0])))
    curve.flags.writeable = False
    return curve


def _log_poisson_moment(z: float, q: float, a: float) -> float:
    width = min(z, 3.0 * z * z)
    step = 2.0 * math.pi * width / _DEPTH
    tilt = a * (a - 1.0) / (2.0 * z * z)
    left = z * math.sqrt(2.0 * _DEPTH)
    right = a + z * math.sqrt(2.0 * (_DEPTH + min(tilt, -a * math.log(q))))
    x = step * np.arange(-math.ceil(left / step), math.ceil(right / step) + 1)
    u = (x - 0.5) / (z * z)
    large = u > 40.0
    grown = np.where(large, u + np.log(q + (1.0 - q) * np.exp(-np.abs(u))), np.log1p(q * np.expm1(np.minimum(u, 40.0))))
    logs = a * grown - x * x / (2.0 * z * z)
    top = float(logs.max())
    total = float(np.exp(logs - top).sum()) * step / (z * math.sqrt(2.0 * math.pi))
    return top + math.log(total) + UNIT * (256.0 + 8.0 * (abs(top) + a * float(np.abs(u).max())))


def poisson_symmetric(whole: Curve, unsampled: Curve, rate: float) -> Curve:
    """Return the curve at ORDERS of a release of symmetric noise, Poisson sampled; zero-out or add-or-remove.

    At an integer order a, exp((a - 1) R) - 1 is the sum over j = 2 to a of C(a, j) q^j (1 - q)^(a - j)
    (exp((j - 1) R_j) - 1), where R_j bounds the release itself.

    Args:
        whole: the release at the orders WHOLE.
        unsampled: the release at ORDERS.
        rate: q.
    """
    if rate == 1.0:
        return unsampled
    log_in, log_out = math.log(rate), math.log1p(-rate)
    gains = _log_expm1((WHOLE - 1.0) * whole)

    def log_moment(order: int) -> float:
        j = np.arange(2, order + 1)
        return _log1p_exp(_log_choose(order, j), j * log_in, (order - j) * log_out, gains[: order - 1])

    return _sampled(log_moment, unsampled)


def fixed_size_gaussian(noise_multiplier: float, rate: float) -> Curve:
    """Return the curve at ORDERS of a Gaussian release from a cohort of fixed size; one client replaced.

    As `fixed_size`, where B_j is also at most 4 E_Q[|P/Q - 1|^j]: exact at even j, and at odd j at most the geometric
    mean of its even neighbors (the refinement of the same paper).

    Args:
        noise_multiplier: z, the standard deviation over the norm of the difference of two clients' vectors.
        rate: the cohort over the population.
    """
    z = min(noise_multiplier, _FINEST)
    unsampled = up(ORDERS / (2.0 * noise_multiplier**2))
    if z < _ROUGHEST:
        return unsampled
    even = _even_central_moments(z)
    j = np.arange(2, 257)
    fine = math.log(4.0) + 0.5 * (even[j // 2 - 1] + even[(j + 1) // 2 - 1])
    return fixed_size(up(WHOLE / (2.0 * noise_multiplier**2)), unsampled, rate, fine)


def fixed_size(whole: Curve, unsampled: Curve, rate: float, fine: Floats | None = None) -> Curve:
    """Return the curve at ORDERS of a release from a cohort of fixed size; one client replaced by any other.

    At an integer order a, exp((a - 1) R) - 1 is at most the sum over j = 2 to a of C(a, j) q^j B_j, with B_2 =
    min(4 (exp(R_2) - 1), 2 exp(R_2)) and B_j = 2 exp((j - 1) R_j), where R_j bounds the release under replacement.

    Args:
        whole: the release under REPLACE_ONE at the orders WHOLE.
        unsampled: the release at ORDERS, under the relation that the guarantee is for.
        rate: q, the cohort over the population.
        fine: logarithms of further bounds on B_2, B_3, ..., if there are.
    """
    if rate == 1.0:
        return unsampled
    terms = math.log(2.0) + (WHOLE - 1.0) * whole
    terms[0] = min(terms[0], math.log(4.0) + float(_log_expm1(whole[:1])[0]))
    if fine is not None:
        terms = np.minimum(terms, fine)

    def log_moment(order: int) -> float:
        j = np.arange(2, order + 1)
        return _log1p_exp(_log_choose(order, j), j * math.log(rate), terms[: order - 1])

    return _sampled(log_moment, unsampled)


@functools.lru_cache(maxsize=16)
def _even_central_moments(z: float) -> Floats:
    """Ln E_Q[(P/Q - 1)^j] at j = 2, 4, ..., 256, of N(1, z^2) against N(0, z^2), by the trapezoid rule.

    |exp(w) - 1| <= exp(Re w) + 1, so that M of `poisson_gaussian` is at most exp(1/2) 2^j max(1, E_Q[(P/Q)^j]) on the
    strip b <= z; the moment itself is at least (E_Q[(P/Q - 1)^2])^(j/2) and at least (E_Q[(P/Q)^j]^(1/j) - 1)^j.
    """
    moments = np.array([_even_central_moment(z, j) for j in range(2, 257, 2)])
    moments.flags.writeable = False
    return moments


def _even_central_moment(z: float, j: int) -> float:
    tilt = j * (j - 1) / (2.0 * z * z)
    least = max(j / 2 * _log_expm1_of(1.0 / (z * z)), j * _log_expm1_of((j - 1) / (2.0 * z * z)))
    step = 2.0 * math.pi * z / (_DEPTH + 0.5 + j * math.log(2.0) + tilt - least)
    left = z * math.sqrt(2.0 * (_DEPTH + max(0.0, -least)))
    right = j + z * math.sqrt(2.0 * (_DEPTH + max(0.0, tilt - least)))
    x = step * np.arange(-math.ceil(left / step), math.ceil(right / step) + 1)
    u = np.abs((x - 0.5) / (z * z))
    logs = np.full(len(x), -math.inf)
    some = u > 0.0
    logs[some] = j * (np.maximum((x - 0.5) / (z * z), 0.0)[some] + np.log(-np.expm1(-u[some])))
    logs -= x * x / (2.0 * z * z)
    top = float(logs.max())
    total = float(np.exp(logs - top).sum()) * step / (z * math.sqrt(2.0 * math.pi))
    return top + math.log(total) + UNIT * (256.0 + 8.0 * (abs(top) + j * float(u.max()))) + 64 * UNIT * j


def _sampled(log_moment: LogMoment, unsampled: Curve) -> Curve:
    """From the logarithms of moments at integer orders to a curve at ORDERS, never above the unsampled one."""
    moments = np.array([log_moment(int(order)) for order in WHOLE])
    return np.minimum(unsampled, chords(up(moments / (WHOLE - 1.0))))


def _log_choose(order: int, j: npt.NDArray[np.int64]) -> Floats:
    answer: Floats = _LOG_FACTORIALS[order] - _LOG_FACTORIALS[j] - _LOG_FACTORIALS[order - j]
    return answer + 1e-12  # three logarithms, each below 1200, lose less


def _log1p_exp(*parts: npt.NDArray[np.floating[Any]]) -> float:
    """Ln(1 + sum of exp(sum of parts)), rounded up; a part may be infinite."""
    sizes = sum(np.where(np.isfinite(part), np.abs(part), 0.0) for part in parts)
    logs = np.sum(parts, axis=0) + 32 * UNIT * sizes
    top = float(logs.max())
    if math.isinf(top):
        return max(0.0, top)
    total = top + math.log(float(np.exp(logs - top).sum())) + UNIT * (512.0 + 8.0 * abs(top))
    return total + math.log1p(math.exp(-total)) if total > 0.0 else math.log1p(math.exp(total))


def _log_expm1(values: Floats) -> Floats:
    """Ln(exp(v) - 1) of non-negative values."""
    with np.errstate(divide="ignore", invalid="ignore"):
        answer: Floats = np.where(np.isinf(values), math.inf, values + np.log(-np.expm1(-values)))
    return answer


def _log_expm1_of(value: float) -> float:
    return value + math.log(-math.expm1(-value))
