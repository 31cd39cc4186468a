"""Accountants: from events to (epsilon, delta).

Promise: `epsilon` returns the smallest bound among the accountants that support every event, and names the accountant.
An event that none supports, or a relation under which nothing is proven about it, is refused, never approximated.

Two accountants. *gaussian* is exact and knows Gaussian releases that are not sampled. *renyi* knows everything in
dp.events. A privacy-loss distribution of Gaussian noise is a bound for neither integer noise, and is not used for it.

Imports this package's events and errors, and numpy.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from dp.accountants.discrete_gaussian import discrete_gaussian_curve
from dp.accountants.gaussian import gaussian_curve, gaussian_epsilon
from dp.accountants.orders import ORDERS, WHOLE, Curve, to_epsilon, up
from dp.accountants.sampling import fixed_size, fixed_size_gaussian, poisson_gaussian, poisson_symmetric
from dp.accountants.skellam import skellam_curve, skellam_whole
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
    require_event,
)

__all__ = ["Against", "Guarantee", "epsilon", "renyi_curve"]


class Against(Enum):
    """Whom a guarantee holds against."""

    SERVER = "server"
    """The server and the clients it colludes with. It knows who took part, so sampling gains nothing: every sampled
    event is charged as the release itself. What the colluders' noise is worth is up to the events: none of it may be
    counted in a variance or a number of parties."""

    PUBLISHED = "published"
    """Whoever sees what was released and never learns who took part: sampling counts."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Guarantee:
    """(epsilon, delta)-differential privacy: P(S) <= exp(epsilon) Q(S) + delta for every set of outcomes S.

    Attributes:
        epsilon: rounded up; infinity where nothing is guaranteed.
        delta: as asked for.
        neighboring: between which data sets.
        against: against whom.
        accountant: which accountant proved it, "gaussian" or "renyi".
    """

    epsilon: float
    delta: float
    neighboring: Neighboring
    against: Against
    accountant: str


def epsilon(events: Iterable[Event], *, delta: float, neighboring: Neighboring, against: Against) -> Guarantee:
    """Return the guarantee of all the events together.

    Args:
        events: what was released, in any order; parameters fixed before the first release.
        delta: above 0 and below 1.
        neighboring: how neighbors differ; ZERO_OUT is the natural relation under secure aggregation.
        against: SERVER or PUBLISHED.

    Raises:
        ParameterError: delta is out of range, something is not an event, or nothing is proven about an event under the
            relation: distributed noise under ADD_OR_REMOVE, Poisson sampling under REPLACE_ONE, a cohort of fixed size
            under ADD_OR_REMOVE.
    """
    _require(delta, neighboring, against)
    counts = _count(events, against)
    proven = [(to_epsilon(_total(counts, neighboring), delta), "renyi")]
    if all(isinstance(event, Gaussian) for event in counts):
        proven.append((gaussian_epsilon(delta, math.sqrt(_squared_distance(counts, neighboring))), "gaussian"))
    best, accountant = min(proven)
    return Guarantee(epsilon=best, delta=delta, neighboring=neighboring, against=against, accountant=accountant)


def renyi_curve(events: Iterable[Event], *, neighboring: Neighboring, against: Against) -> Curve:
    """Return upper bounds on the Renyi divergence of all the events together, at `dp.accountants.orders.ORDERS`.

    Raises:
        ParameterError: see `epsilon`.
    """
    _require(0.5, neighboring, against)
    return _total(_count(events, against), neighboring)


Leaf = Release | PoissonSampled | FixedSizeSampled

_COUNTLESS: Final = 1 << 1000
"""More repetitions than this cost as much: more than a float can say."""


def _count(events: Iterable[Event], against: Against) -> dict[Leaf, int]:
    """How often each release happens, with sampling taken off where it does not count."""
    counts: dict[Leaf, int] = {}
    for event in events:
        require_event(event)
        for leaf, count in _leaves(event, 1):
            seen = leaf
            if against is Against.SERVER and isinstance(leaf, PoissonSampled | FixedSizeSampled):
                seen = leaf.release
            counts[seen] = min(counts.get(seen, 0) + count, _COUNTLESS)
    return counts


def _leaves(event: Event, count: int) -> Iterator[tuple[Leaf, int]]:
    match event:
        case Composed():
            for each in event.events:
                yield from _leaves(each, count)
        case Repeated():
            yield from _leaves(event.event, count * event.count)
        case _:
            yield event, count


def _total(counts: dict[Leaf, int], neighboring: Neighboring) -> Curve:
    with np.errstate(over="ignore"):
        total = np.zeros(len(ORDERS))
        for leaf, count in counts.items():
            total += up(_curve(leaf, neighboring) * count)
        return up(total, operations=1 + len(counts))


def _squared_distance(counts: dict[Leaf, int], neighboring: Neighboring) -> float:
    distances = (
        count * (_moves(neighboring) / leaf.noise_multiplier) ** 2
        for leaf, count in counts.items()
        if isinstance(leaf, Gaussian)
    )
    return math.fsum(distances) * (1.0 + 1e-14)


@functools.lru_cache(maxsize=256)
def _curve(leaf: Leaf, neighboring: Neighboring) -> Curve:
    """One leaf's curve at ORDERS."""
    match leaf:
        case PoissonSampled():
            return _poisson(leaf.release, leaf.rate, neighboring)
        case FixedSizeSampled():
            return _fixed_size(leaf.release, leaf.sample / leaf.population * (1.0 + 1e-15), neighboring)
        case Gaussian():
            return gaussian_curve((_moves(neighboring) / leaf.noise_multiplier) ** 2)
        case SkellamSum():
            return skellam_curve(float(leaf.variance), _shift(leaf, neighboring))
        case DiscreteGaussianSum():
            return discrete_gaussian_curve(float(leaf.sigma), leaf.parties, _shift(leaf, neighboring), ORDERS)


def _poisson(release: Release, rate: float, neighboring: Neighboring) -> Curve:
    if neighboring is Neighboring.REPLACE_ONE:
        raise ParameterError("PoissonSampled is not proven under REPLACE_ONE: ask for ZERO_OUT, or against the server")
    if isinstance(release, Gaussian):
        return poisson_gaussian(float(release.noise_multiplier), float(rate))
    return poisson_symmetric(_whole(release, neighboring), _curve(release, neighboring), float(rate))


def _fixed_size(release: Release, rate: float, neighboring: Neighboring) -> Curve:
    """A vector of zeros is one that a client may send, so zeroing is one way of replacing."""
    if neighboring is Neighboring.ADD_OR_REMOVE:
        raise ParameterError("FixedSizeSampled is not proven under ADD_OR_REMOVE: ask for REPLACE_ONE or ZERO_OUT")
    unsampled = _curve(release, neighboring)
    if rate >= 1.0:
        return unsampled
    if isinstance(release, Gaussian):
        fine = fixed_size_gaussian(release.noise_multiplier / 2.0, rate)
        return np.minimum(unsampled, fine)
    return fixed_size(_whole(release, Neighboring.REPLACE_ONE), unsampled, rate)


def _whole(release: SkellamSum | DiscreteGaussianSum, neighboring: Neighboring) -> Curve:
    """One release's curve at the orders WHOLE."""
    shift = _shift(release, neighboring)
    if isinstance(release, SkellamSum):
        return skellam_whole(float(release.variance), shift)
    return discrete_gaussian_curve(float(release.sigma), release.parties, shift, WHOLE)


def _moves(neighboring: Neighboring) -> float:
    """How far the sum moves, in units of the bound on one client's vector."""
    return 2.0 if neighboring is Neighboring.REPLACE_ONE else 1.0


def _shift(release: SkellamSum | DiscreteGaussianSum, neighboring: Neighboring) -> float:
    if neighboring is Neighboring.ADD_OR_REMOVE:
        raise ParameterError(
            f"{type(release).__name__} is not proven under ADD_OR_REMOVE, as a client that leaves takes its noise "
            "along: ask for ZERO_OUT"
        )
    return release.sensitivity * _moves(neighboring)


def _require(delta: float, neighboring: Neighboring, against: Against) -> None:
    if isinstance(delta, bool) or not isinstance(delta, int | float):
        raise ParameterError(f"delta is of type {type(delta).__name__}: give a number, for example 1e-6")
    if not 0.0 < delta < 1.0:
        raise ParameterError(f"delta={delta!r} must be above 0 and below 1, for example 1e-6")
    if not isinstance(neighboring, Neighboring):
        raise ParameterError(f"neighboring is of type {type(neighboring).__name__}: give Neighboring.ZERO_OUT")
    if not isinstance(against, Against):
        raise ParameterError(f"against is of type {type(against).__name__}: give Against.SERVER or Against.PUBLISHED")
