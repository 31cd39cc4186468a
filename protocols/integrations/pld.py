"""Privacy loss distributions of Gaussian releases by dp-accounting, the extra [pld]: an accountant to hand to `dp`.

Promise: an epsilon is returned only where it is proven, and otherwise infinity, so that the Renyi bound stands and the
Guarantee says so. Memory and time are bounded whatever is asked: the grid is chosen by the width of the distribution
and its size, never by the size of epsilon.

    epsilon(events, delta=1e-6, neighboring=..., against=Against.PUBLISHED, accountants=[PrivacyLossDistributions()])

What is proven: N(0, z^2) against N(1, z^2), and with Poisson sampling at rate q the mixture of both against N(0, z^2)
in either direction, dominate every pair of neighbors; so do their compositions (Zhu, Dong, Wang, "Optimal accounting
of differential privacy via characteristic function", AISTATS 2022). dp-accounting rounds the distribution up to a grid,
whatever the grid (Doroshenko, Ghazi, Kamath, Kumar, Manurangsi, "Connect the dots", PETS 2022).

What is not: the rounding errors of its Fourier transforms. Against exact Gaussian compositions delta was off by up to
n 2^-55 after n rounds, at delta = 1e-12 on grids as large as ours; a margin of n 2^-51 is taken off delta, and a
thousand times as much is asked of it.

Integer noise is not Gaussian, and a Gaussian's distribution is no bound for it: not supported. Nor are cohorts of fixed
size, nor Poisson sampling under REPLACE_ONE, which the other accountants refuse as well.

Imports dp and dp-accounting.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from dp_accounting import dp_event
from dp_accounting.pld import privacy_loss_distribution
from dp_accounting.privacy_accountant import NeighboringRelation

from dp import accountants
from dp.accountants import Against, Leaf
from dp.accountants.orders import ORDERS
from dp.errors import ParameterError
from dp.events import (
    Composed,
    Event,
    Gaussian,
    Neighboring,
    PoissonSampled,
    Repeated,
    require_event,
)

Floats = npt.NDArray[np.float64]

_RELATIONS: Final[Mapping[Neighboring, NeighboringRelation]] = {
    Neighboring.ZERO_OUT: NeighboringRelation.REPLACE_SPECIAL,
    Neighboring.ADD_OR_REMOVE: NeighboringRelation.ADD_OR_REMOVE_ONE,
}
"""The relations that dp-accounting reads as we do. Under REPLACE_ONE its loss distributions do too, but its Renyi
accountant takes a noise multiplier to be over the distance between two clients' vectors, twice the norm of one."""

_SINGLE: Final = 1 << 16
"""Points of the grid for one round."""

_TOTAL: Final = 1 << 20
"""Points for all rounds. With both at their limits: about a second and a hundred megabytes."""

_COARSEST: Final = 1 << 6
"""Fewer points for one round say nothing that is worth having."""

_DENSE: Final = 1 << 11
_MOST_SPARSE: Final = 1 << 17
"""With 1000 points or fewer for one round dp-accounting computes a number of as many digits as there are rounds: so
many are let through, unless there are twice as many points."""

_MOST_EVENTS: Final = 32
"""Events that differ."""

_MOST_ROUNDS: Final = 1 << 28
"""Rounding up to the grid widens what dp-accounting keeps of n rounds, by n points over four times those of one."""

_LARGEST: Final = 500.0
"""Where the Renyi bound is above, no epsilon is worth the time, and exp(epsilon) leaves the floats soon after."""

_TAIL: Final = 9.75
"""dp-accounting cuts a Gaussian where exp(-50) is left of it, that is before so many deviations."""

_CUT: Final = 36.0
"""Above ln(2e15): of a composition it cuts a mass of 1e-15, which it counts as infinite loss."""

_RELATIVE: Final = 1e-6
_ROUNDING: Final = 2.0**-51
"""Margins of delta: relative, and absolute a round."""


@dataclass(frozen=True, slots=True)
class PrivacyLossDistributions:
    """The accountant "pld" for Gaussian releases, Poisson sampled or not; to be handed to `dp.accountants.epsilon`."""

    name: str = "pld"

    def supports(self, event: Leaf, neighboring: Neighboring) -> bool:
        """Whether the event is Gaussian, and not sampled under REPLACE_ONE."""
        if isinstance(event, PoissonSampled):
            return isinstance(event.release, Gaussian) and neighboring in _RELATIONS
        return isinstance(event, Gaussian)

    def epsilon(self, counts: Mapping[Leaf, int], *, delta: float, neighboring: Neighboring) -> float:
        """Return an epsilon that holds at `delta`; infinity where the grid would not fit or rounding would show.

        Raises:
            ParameterError: an event is not supported.
        """
        if not all(self.supports(event, neighboring) for event in counts):
            raise ParameterError(f"an event under {neighboring.name} has no Gaussian loss distribution: ask `supports`")
        total = sum(counts.values())
        if len(counts) > _MOST_EVENTS or total > _MOST_ROUNDS or total * _ROUNDING > delta / 1000.0:
            return math.inf
        if not _renyi(counts, delta, neighboring) <= _LARGEST:
            return math.inf
        rounds = _rounds(counts, neighboring)
        step = _step(rounds)
        if min(each.width for each in rounds) < step * (_COARSEST if total <= _MOST_SPARSE else _DENSE):
            return math.inf
        target = delta * (1.0 - _RELATIVE) - sum(each.count for each in rounds) * _ROUNDING
        return _from_library(rounds, step, target)


@dataclass(frozen=True, slots=True)
class _Rounds:
    """A Gaussian release of unit distance, `count` times with sampling rate `rate`; 1.0 is not sampled."""

    multiplier: float
    rate: float
    count: int

    @property
    def width(self) -> float:
        """Of the losses of one round that dp-accounting keeps, in nats."""
        z = self.multiplier
        return self._loss((_TAIL * z + 0.5) / z / z) - self._loss(-(_TAIL * z + 0.5) / z / z)

    def total_width(self) -> float:
        """The same of all rounds: between Chernoff bounds at the orders s = k / width, k = 1 to 20, that it tries.

        With losses of at most w, mean K and mean square at most 2 exp(w) K (Taylor's theorem within K), the moments at
        s and -s are at most exp(s K + s^2 exp(s w + w) K) and exp(s^2 exp(s w + w) K). Renyi divergences are the
        better bound on them where s is not large.
        """
        if self.count == 1:
            return self.width
        orders = np.arange(1, 21) / self.width
        mean = self._divergence(np.ones(1))[0]
        square = orders * np.exp(np.minimum(orders * self.width + self.width, 700.0)) * mean
        ahead = np.minimum(self._divergence(1.0 + orders), mean + square)
        behind = np.minimum(np.maximum(0.0, 1.0 - 1.0 / orders) * self._divergence(orders), square)
        return float(np.min(self.count * ahead + _CUT / orders) + np.min(self.count * behind + _CUT / orders))

    def _loss(self, unsampled: float) -> float:
        """Ln(1 - q + q exp(loss)): the loss with sampling of an outcome that has this one without."""
        if self.rate == 1.0:
            return unsampled
        return float(np.logaddexp(math.log1p(-self.rate), math.log(self.rate) + unsampled))

    def _divergence(self, orders: Floats) -> Floats:
        """Bound the Renyi divergence of one round by that at a larger order, beyond the grid by the largest loss."""
        release = Gaussian(noise_multiplier=self.multiplier)
        event = PoissonSampled(release=release, rate=self.rate)
        curve = accountants.renyi_curve([event], neighboring=Neighboring.ZERO_OUT, against=Against.PUBLISHED)
        return np.append(curve, self.width)[np.searchsorted(ORDERS, orders)]


def _renyi(counts: Mapping[Leaf, int], delta: float, neighboring: Neighboring) -> float:
    """What is proven without a loss distribution."""
    events = [Repeated(event=event, count=count) for event, count in counts.items()]
    return accountants.epsilon(events, delta=delta, neighboring=neighboring, against=Against.PUBLISHED).epsilon


def _rounds(counts: Mapping[Leaf, int], neighboring: Neighboring) -> list[_Rounds]:
    """What to compose: releases that are not sampled are together exactly one."""
    moves = 2.0 if neighboring is Neighboring.REPLACE_ONE else 1.0
    each = [_Rounds(*_multiplier_and_rate(event), count) for event, count in counts.items()]
    sampled = [one for one in each if one.rate < 1.0]
    precision = math.fsum(one.count * (moves / one.multiplier) ** 2 for one in each if one.rate == 1.0)
    return [*sampled, _Rounds(1.0 / math.sqrt(precision), 1.0, 1)] if precision else sampled


def _multiplier_and_rate(event: Leaf) -> tuple[float, float]:
    match event:
        case Gaussian():
            return float(event.noise_multiplier), 1.0
        case PoissonSampled(release=Gaussian() as release):
            return float(release.noise_multiplier), float(event.rate)
        case _:
            raise ParameterError(f"{type(event).__name__} has no Gaussian loss distribution: ask `supports`")


def _step(rounds: list[_Rounds]) -> float:
    """The interval of the grid in nats: the finest that fits, and one at which differences of deltas are not noise.

    A probability is a second difference of deltas over the step, so that of its float errors, 2^-53 / step each, a
    mass of up to width / step^2 2^-53 is left where probabilities are smaller still, in round after round. It only
    adds to the bound; a millionth at most is let in.
    """
    widths = [each.width for each in rounds]
    together = sum(each.total_width() for each in rounds) * (1 + len(rounds)) / 2.0
    return max(sum(widths) / _SINGLE, together / _TOTAL, *(math.sqrt(width * 2.0**-53 / 1e-6) for width in widths))


def _from_library(rounds: list[_Rounds], step: float, delta: float) -> float:
    """Compose on the grid and solve for epsilon; whatever the library gives up on is not proven."""
    try:
        with np.errstate(all="ignore"):
            total = privacy_loss_distribution.identity(value_discretization_interval=step)
            for each in rounds:
                one = privacy_loss_distribution.from_gaussian_mechanism(
                    each.multiplier, sampling_prob=each.rate, value_discretization_interval=step
                )
                total = total.compose(one.self_compose(each.count))
            found = float(total.get_epsilon_for_delta(delta))
            holds = float(total.get_delta_for_epsilon(found)) <= delta * (1.0 + 1e-9)
    except (ArithmeticError, ValueError):  # its own checks on rounding, and a logarithm or exponential out of range
        return math.inf
    return found if holds else math.inf


def to_dp_event(event: Event, *, neighboring: Neighboring) -> tuple[dp_event.DpEvent, NeighboringRelation]:
    """Return dp-accounting's event for ours, and the relation under which both mean the same.

    Raises:
        ParameterError: dp-accounting has no such event (integer noise), or its accountants disagree with each other
            about what it means: REPLACE_ONE, and cohorts of fixed size, which they know under no other relation.
    """
    require_event(event)
    if neighboring not in _RELATIONS:
        raise ParameterError(
            f"neighboring={neighboring!r:.80}: dp-accounting's accountants mean two things by a noise multiplier under "
            "REPLACE_ONE; ask for ZERO_OUT or ADD_OR_REMOVE"
        )
    return _exported(event), _RELATIONS[neighboring]


def _exported(event: Event) -> dp_event.DpEvent:
    match event:
        case Gaussian():
            return dp_event.GaussianDpEvent(noise_multiplier=float(event.noise_multiplier))
        case PoissonSampled():
            return dp_event.PoissonSampledDpEvent(float(event.rate), _exported(event.release))
        case Repeated():
            return dp_event.SelfComposedDpEvent(_exported(event.event), event.count)
        case Composed():
            return dp_event.ComposedDpEvent(_all_exported(event.events))
        case _:
            raise ParameterError(f"{type(event).__name__} means nothing to dp-accounting: only Gaussian noise does")


def _all_exported(events: Iterable[Event]) -> list[dp_event.DpEvent]:
    return [_exported(each) for each in events]
