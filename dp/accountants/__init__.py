"""Accountants: from events to (epsilon, delta).

Promise: `epsilon` returns the smallest bound among the accountants that support every event, and names the accountant.
An event that none supports, or a relation under which nothing is proven about it, is refused, never approximated.

Two accountants. *gaussian* is exact and knows Gaussian releases that are not sampled. *renyi* knows everything in
dp.events. A caller may hand over more of them (`Accountant`), question by question: nothing is registered, so that an
answer depends on its arguments alone. They may lower a bound and never lift a refusal. A privacy-loss distribution of
Gaussian noise is a bound for neither integer noise, and is not used for it.

Imports this package's events and errors, and numpy.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

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

__all__ = ["Accountant", "Against", "Guarantee", "Leaf", "epsilon", "renyi_curve"]


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
        accountant: which accountant proved it: "gaussian", "renyi" or the name of one that the caller handed over.
    """

    epsilon: float
    delta: float
    neighboring: Neighboring
    against: Against
    accountant: str


Leaf = Release | PoissonSampled | FixedSizeSampled
"""What is counted and charged: an event that is not made of others."""


class Accountant(Protocol):
    """One more way to prove an epsilon, for example by a library that this package must not depend on.

    It is asked after sampling was taken off where it does not count: what it sees it may take at face value.
    """

    @property
    def name(self) -> str:
        """What a Guarantee calls it; neither "gaussian" nor "renyi"."""

    def supports(self, event: Leaf, neighboring: Neighboring) -> bool:
        """Whether its proof covers the event under the relation, alone and composed with others that it supports."""

    def epsilon(self, counts: Mapping[Leaf, int], *, delta: float, neighboring: Neighboring) -> float:
        """Return an epsilon that holds at `delta` for all the events together; infinity where it proves none.

        Args:
            counts: how often each event happens, 1 to 2^1000 times; there is one event at least, all are supported.
            delta: above 0 and below 1.
            neighboring: how neighbors differ.
        """


def epsilon(
    events: Iterable[Event],
    *,
    delta: float,
    neighboring: Neighboring,
    against: Against,
    accountants: Iterable[Accountant] = (),
) -> Guarantee:
    """Return the guarantee of all the events together.

    Args:
        events: what was released, in any order; parameters fixed before the first release.
        delta: above 0 and below 1.
        neighboring: how neighbors differ; ZERO_OUT is the natural relation under secure aggregation.
        against: SERVER or PUBLISHED.
        accountants: more of them, to be asked where each supports every event. Where "gaussian" answers nobody else is
            asked, as there is no smaller epsilon to be found.

    Raises:
        ParameterError: delta is out of range, something is not an event, or nothing is proven about an event under the
            relation: distributed noise under ADD_OR_REMOVE, Poisson sampling under REPLACE_ONE, a cohort of fixed size
            under ADD_OR_REMOVE. Or an accountant has no name of its own, or finds what is no epsilon.
    """
    _require(delta, neighboring, against)
    more = _named(accountants)
    counts = _count(events, against)
    proven = [(to_epsilon(_total(counts, neighboring), delta), "renyi")]
    if all(isinstance(event, Gaussian) for event in counts):
        proven.insert(0, (gaussian_epsilon(delta, math.sqrt(_squared_distance(counts, neighboring))), "gaussian"))
    else:
        proven += [(_ask(each, counts, delta, neighboring), name) for name, each in more.items()]
    best, accountant = min(proven, key=lambda pair: pair[0])  # of equals the first
    return Guarantee(epsilon=best, delta=delta, neighboring=neighboring, against=against, accountant=accountant)


def renyi_curve(events: Iterable[Event], *, neighboring: Neighboring, against: Against) -> Curve:
    """Return upper bounds on the Renyi divergence of all the events together, at `dp.accountants.orders.ORDERS`.

    Raises:
        ParameterError: see `epsilon`.
    """
    _require(0.5, neighboring, against)
    return _total(_count(events, against), neighboring)


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


def _named(accountants: Iterable[Accountant]) -> dict[str, Accountant]:
    """The caller's accountants by name, in their order."""
    named: dict[str, Accountant] = {}
    for each in accountants:
        if each.name in ("gaussian", "renyi", *named):
            raise ParameterError(f"accountants has two of the name {each.name!r}: give each one of its own")
        named[each.name] = each
    return named


def _ask(accountant: Accountant, counts: dict[Leaf, int], delta: float, neighboring: Neighboring) -> float:
    """What one of the caller's accountants proves, infinity where it does not support an event."""
    if not all(accountant.supports(event, neighboring) for event in counts):
        return math.inf
    found = accountant.epsilon(dict(counts), delta=delta, neighboring=neighboring)
    if not isinstance(found, float) or not found >= 0.0:  # NaN as well
        raise ParameterError(f"accountant {accountant.name!r} found {found!r:.80}: an epsilon is a float from 0.0 up")
    return found


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
