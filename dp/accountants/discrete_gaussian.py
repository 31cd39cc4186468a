"""Sums of discrete Gaussians: Renyi bounds from the exact probabilities of the sum.

Promise: as for Skellam noise (that module's text says why coordinates and shifts suffice), every number is an upper
bound, in floats too, and the dimension does not enter.

**Structure.** Let n parties add noise of parameter sigma, and V = n sigma^2. The sum of k_i^2 over integers of sum k is
k^2 / n plus the squared distance of (k_1, ..., k_n) from the diagonal, and adding 1 to every k_i moves k by n and that
distance not at all. So the sum has mass proportional to

    exp(-k^2 / (2V)) h(k),   with h even and of period n,

and convolution keeps the form: h_(m+l)(k) = sum over i of h_m(i) h_l(k - i) exp(-(i - k m / (m + l))^2 / (2 s^2)),
where s^2 = sigma^2 m l / (m + l). Nothing in it underflows, however far out k is.

**Evaluation.** exp((a - 1) (R_a(D) - a D^2 / (2V))) is the quotient of two sums over all integers k,

    sum of exp(-(k - a D)^2 / (2V)) h(k - D)^a h(k)^(1 - a)    over    sum of exp(-k^2 / (2V)) h(k).

**Remainder.** Beyond w from its mean, a one-sided sum of exp(-x^2 / (2V)) over a grid of step 1 is at most
exp(-w^2 / (2V)) (1 + V / w), and h lies between its least and its largest value.

**Oscillation.** osc = ln(max h / min h) grows by at most ln of the ratio of the largest to the smallest sum of
exp(-(i - c)^2 / (2 s^2)) over the integers i, which is 2 atanh(2 (q + q^4 + q^9 + ...)) at most, with
q = exp(-2 pi^2 s^2) (Poisson summation), whenever one more party is added. As no shifted grid of a Gaussian sums to
more than the centered one, R_a(D) <= a D^2 / (2V) + osc a / (a - 1): all there is to charge beyond the shifts that are
evaluated, and next to nothing for sigma above 1.5.

Imports numpy and the orders.
"""

from __future__ import annotations

import decimal
import functools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from dp.accountants.orders import UNIT, Curve, up

Floats = npt.NDArray[np.float64]

_DEPTH: Final = 45.0
"""How far, in nats, what is left out lies below what is summed. Only tightness depends on it."""

_WORK: Final = 1 << 13
_MOST_SHIFTS: Final = 128
_MOST_PARTIES: Final = 1 << 14
_WIDEST: Final = 1 << 15
"""Evaluated are shifts up to _MOST_SHIFTS and up to _WORK over the standard deviation, for sums of that many parties
(more are charged as so many: the rest of the noise is post-processing) and windows of so many integers."""

_IN_INTEGERS: Final = 6
"""Up to how many bits the number of parties has whose probabilities are convolved in integers."""

_BLOCK: Final = 1 << 21
_HOPELESS: Final = 128.0


def discrete_gaussian_curve(sigma: float, parties: int, sensitivity: float, orders: Curve) -> Curve:
    """Return the Renyi curve at `orders`, for shifts of L2 norm at most `sensitivity`.

    Up to the largest shift that is evaluated, the worst R_a(D) / D^2; beyond it, the bound by the oscillation of h.
    """
    square = sensitivity * sensitivity
    simple = _beyond_ratio(sigma, parties, 1, orders)
    if oscillation(sigma, parties) * 2.0 * parties * sigma * sigma <= 1e-9:
        return up(simple * square)
    few = min(parties, _MOST_PARTIES)
    most = min(math.floor(sensitivity), _MOST_SHIFTS, int(_WORK / (sigma * math.sqrt(few))))
    worth = orders * square / (2.0 * few * sigma * sigma) <= _HOPELESS
    ratio = np.full(len(orders), math.inf)
    if most >= 1 and worth.any():
        ratio[worth] = _worst_ratio(float(sigma), few, most, tuple(map(float, orders[worth])))
        if most < math.floor(sensitivity):
            ratio = np.maximum(ratio, _beyond_ratio(sigma, parties, most + 1, orders))
    return up(np.minimum(simple, ratio) * square)


def discrete_gaussian_shift(sigma: float, parties: int, shifts: npt.NDArray[np.int64], orders: Floats) -> Floats:
    """Return upper bounds on R_a(D), a row an order and a column a shift D >= 1; infinity where none was evaluated."""
    periodic = periodic_part(sigma, parties)
    columns = [_divergences(sigma, periodic, int(shift), orders) for shift in shifts]
    return np.array(columns).reshape(len(shifts), len(orders)).T


@functools.lru_cache(maxsize=64)
def oscillation(sigma: float, parties: int) -> float:
    """Return an upper bound on ln(max h / min h) by the module's text; infinity where that says nothing."""
    if parties == 1:
        return 0.0
    before = np.arange(1.0, min(parties, 1 << 16))
    decay = np.exp(-2.0 * math.pi**2 * sigma * sigma * before / (before + 1.0)) * (1.0 + 1e-12)
    if decay.max() > 0.4:
        return math.inf
    twice = 2.0 * decay * (1.0 + decay**3 / (1.0 - decay**5))
    steps = up(2.0 * np.arctanh(twice), operations=64)
    rest = max(0, parties - (1 << 16)) * float(steps[-1])  # the largest of those left out: they fall
    return (float(steps.sum()) + rest) * (1.0 + 64 * UNIT)


@dataclass(frozen=True, slots=True)
class Periodic:
    """ln h(k) for k = 0 to n - 1, up to a constant, and how far each may be off."""

    log_h: Floats
    wrong: float

    @property
    def spread(self) -> float:
        """Largest less smallest."""
        return float(self.log_h.max() - self.log_h.min())

    def plus(self, other: Periodic, sigma: float) -> Periodic:
        """The sum of two sums."""
        m, many = len(self.log_h), len(self.log_h) + len(other.log_h)
        spread = self.spread + other.spread
        scale = sigma * math.sqrt(m * len(other.log_h) / many)
        reach = math.ceil(scale * math.sqrt(2.0 * (_DEPTH + spread))) + 1
        half = np.arange(many // 2 + 1)
        rows = max(1, _BLOCK // (2 * reach + 1))
        blocks = (half[at : at + rows] for at in range(0, len(half), rows))
        upper = np.concatenate([_convolved_at(k, self.log_h, other.log_h, reach, scale) for k in blocks])
        upper -= upper[0]
        both = np.concatenate([upper, upper[1 : (many + 1) // 2][::-1]])  # h is even
        return Periodic(both, self.wrong + other.wrong + UNIT * (64.0 + 8.0 * spread))


@functools.lru_cache(maxsize=16)
def periodic_part(sigma: float, parties: int) -> Periodic:
    """Return ln h of the sum: of few parties in integers, from there by doubling and by adding one party at a time."""
    later = max(0, parties.bit_length() - _IN_INTEGERS)
    one, have = Periodic(np.zeros(1), 0.0), _few_parties(sigma, parties >> later)
    for bit in range(later - 1, -1, -1):
        have = have.plus(have, sigma)
        if parties >> bit & 1:
            have = have.plus(one, sigma)
    have.log_h.flags.writeable = False
    return have


def _few_parties(sigma: float, parties: int) -> Periodic:
    """Ln h by convolving masses in fixed point, with 128 bits more than the smallest that is used needs."""
    bits = 128 + math.ceil(parties / (8.0 * sigma * sigma) * 1.5) + 2 * parties.bit_length()
    width = math.ceil(sigma * math.sqrt(1.4 * bits)) + 1
    with decimal.localcontext() as context:
        context.prec = bits // 3 + 20
        rate = 1 / (2 * decimal.Decimal(sigma) ** 2)
        single = [int((-rate * k * k).exp() * 2**bits) for k in range(width + 1)]
        masses = _power(np.array(single[:0:-1] + single, dtype=object), parties, bits)
        middle = [decimal.Decimal(mass) for mass in masses[len(masses) // 2 :][: parties // 2 + 1]]
        upper = np.array([float((mass / middle[0]).ln() + rate * k * k / parties) for k, mass in enumerate(middle)])
    both = np.concatenate([upper, upper[1 : (parties + 1) // 2][::-1]])
    return Periodic(both, 4 * UNIT * (1.0 + float(np.abs(both).max())))


def _power(single: npt.NDArray[np.object_], parties: int, bits: int) -> npt.NDArray[np.object_]:
    """Convolve so many copies of symmetric masses in fixed point."""
    masses = np.array([1 << bits], dtype=object)
    for _ in range(parties):
        longer = np.zeros(len(masses) + len(single) - 1, dtype=object)
        for at, mass in enumerate(single):
            longer[at : at + len(masses)] += masses * mass >> bits
        masses = longer
    return masses


def _convolved_at(k: npt.NDArray[np.int64], left: Floats, right: Floats, reach: int, scale: float) -> Floats:
    m, many = len(left), len(left) + len(right)
    middle = k * m // many
    i = middle[:, None] + np.arange(-reach, reach + 1)
    away = (i * many - (k * m)[:, None]) / many  # an exact integer divided once: no digits cancel
    logs = left[i % m] + right[(k[:, None] - i) % len(right)] - 0.5 * (away / scale) ** 2
    top = logs.max(axis=1)
    answer: Floats = top + np.log(np.exp(logs - top[:, None]).sum(axis=1))
    return answer


def _beyond_ratio(sigma: float, parties: int, shift: int, orders: Curve) -> Curve:
    """R_a(D) / D^2 for all D from `shift` on, by the oscillation of h."""
    variance = parties * sigma * sigma
    extra = oscillation(sigma, parties) * orders / (orders - 1.0) / (shift * shift)
    return up(orders / (2.0 * variance) + extra)


@functools.lru_cache(maxsize=64)
def _worst_ratio(sigma: float, parties: int, most: int, orders: tuple[float, ...]) -> Curve:
    shifts = np.arange(1, most + 1)
    ratios = discrete_gaussian_shift(sigma, parties, shifts, np.array(orders)) / (shifts * shifts)
    worst: Curve = up(ratios.max(axis=1))
    worst.flags.writeable = False
    return worst


def _log_total(variance: float, periodic: Periodic) -> float:
    """At most ln of the sum of exp(-k^2 / (2V)) h(k)."""
    log_h = periodic.log_h
    reach = math.ceil(math.sqrt(2.0 * variance * (_DEPTH + periodic.spread))) + 1
    k = np.arange(-reach, reach + 1)
    logs = log_h[k % len(log_h)] - k * k / (2.0 * variance)
    total = float(logs.max() + np.log(np.exp(logs - logs.max()).sum()))
    return total - periodic.wrong - UNIT * (256.0 + 8.0 * periodic.spread)


def _divergences(sigma: float, periodic: Periodic, shift: int, orders: Floats) -> list[float]:
    """Upper bounds on R_a(D) at one D."""
    log_h = periodic.log_h
    variance = len(log_h) * sigma * sigma
    change = np.roll(log_h, shift) - log_h  # ln h(k - D) - ln h(k)
    log_total = _log_total(variance, periodic)
    answers = []
    for order in map(float, orders):
        extra = _log_moment(variance, periodic, change, shift, order) - log_total
        rounded = extra + 16 * UNIT * abs(extra)
        base = order * shift * shift / (2.0 * variance) * (1.0 + 16 * UNIT)
        answers.append(max(0.0, (base + rounded / (order - 1.0)) * (1.0 + 16 * UNIT)))
    return answers


def _log_moment(variance: float, periodic: Periodic, change: Floats, shift: int, order: float) -> float:
    """At least ln of the sum of exp(-(k - a D)^2 / (2V)) h(k - D)^a h(k)^(1 - a); infinity where it is too wide."""
    log_h, n = periodic.log_h, len(periodic.log_h)
    spread = periodic.spread + order * float(change.max() - change.min())
    reach = math.ceil(math.sqrt(2.0 * variance * (_DEPTH + spread))) + 1
    if reach > _WIDEST:
        return math.inf
    k = round(order * shift) + np.arange(-reach, reach + 1)
    away = k - order * shift
    logs = log_h[k % n] + order * change[k % n] - away * away / (2.0 * variance)
    top = float(logs.max())
    edge = reach - 1.0  # a D is rounded to find the middle of the window
    beyond = float(log_h.max() + order * change.max()) - edge * edge / (2.0 * variance) + math.log1p(variance / edge)
    inside = float(np.exp(logs - top).sum()) + 2.0 * math.exp(min(beyond - top, 700.0))
    error = (2.0 * order - 1.0) * periodic.wrong + UNIT * (256.0 + 16.0 * spread)
    return top + math.log(inside) + error
