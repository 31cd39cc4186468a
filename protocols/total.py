"""`Total`: the sum of a round in the caller's shapes, read through its recipe.

Promise: without noise every number is exact up to a rounding step that is stated; with noise it is private as the
ledger says, and the standard deviation of the noise is stated.

Imports numpy, this package's errors and secagg's layout.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from dp.adaptive import QuantileClip
from protocols.errors import NoWeight, RecipeError
from protocols.noised import Noising
from secagg.layout import Decoded, Layout

WEIGHT: Final = "weight"
METRIC: Final = "metric/"
WITHIN: Final = "within the clip"
"""Names of the scalar slots: the weight, a metric behind its prefix, the bit of adaptive clipping."""

_FLOAT_SLACK: Final = 1.0 + 2.0**-9


class AggregateLike(Protocol):
    """What a recipe reads of an aggregate; `secagg.Aggregate` has it."""

    @property
    def values(self) -> npt.NDArray[np.int64]:
        """The centered sum of the survivors' inputs."""
        ...

    @property
    def invited(self) -> tuple[str, ...]:
        """Listed in the config."""
        ...

    @property
    def joined(self) -> tuple[str, ...]:
        """Whose advert is in the roster."""
        ...

    @property
    def survivors(self) -> tuple[str, ...]:
        """Whose input counts."""
        ...

    @property
    def dropped(self) -> tuple[str, ...]:
        """Joined, but no survivor."""
        ...

    @property
    def instructions_digest(self) -> bytes:
        """What the clients executed; a noised sum is rotated back by it."""
        ...


class Summed(Protocol):
    """What a total reads of its recipe; `protocols.Recipe` has it."""

    @property
    def layout(self) -> Layout:
        """The slots of an input."""
        ...

    @property
    def clip(self) -> float:
        """L2 bound of an update."""
        ...

    @property
    def step(self) -> float:
        """Distance of two neighboring values of a tensor's coordinate."""
        ...

    @property
    def weight(self) -> float | None:
        """The largest weight, or None."""
        ...

    @property
    def metrics(self) -> tuple[tuple[str, float], ...]:
        """Name and bound of each metric."""
        ...

    @property
    def noising(self) -> Noising | None:
        """The noise in the sum, or None."""
        ...

    @property
    def adaptive(self) -> QuantileClip | None:
        """The quantile that the clip follows, or None."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Total:
    """The sum of a round in the caller's shapes, and who is in it. Made by `Recipe.decode`.

    With n survivors, clipped updates x_i, weights w_i and the largest weight W, the round summed the tensors
    (w_i / W) x_i and the scalars w_i / W; without weights, the tensors x_i.

    Attributes:
        recipe: what was summed.
        decoded: the raw sums, in the units of the slots.
        joined: clients whose advert was in the roster.
        survivors: clients whose input counts.
        dropped: joined, but no survivor.
    """

    recipe: Summed
    decoded: Decoded = field(repr=False)
    joined: tuple[str, ...]
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]

    def sum(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the sum of the clipped updates, or of weight times clipped update, in fresh arrays."""
        return self._times(1.0 if self.recipe.weight is None else self.recipe.weight)

    def mean(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the mean of the clipped updates, weighted where the recipe has a weight, in fresh arrays.

        Under noise a weighted mean divides by the noised sum of weights, `weight`: where `weight_noise_std` is not far
        below it, the mean is far off. Leave weights out of small cohorts.

        Raises:
            NoWeight: the weights sum to zero or, noised, to less.
        """
        count = self._count()
        return {name: np.asarray(array / count) for name, array in self.decoded.tensors.items()}

    @property
    def weight(self) -> float:
        """The sum of the survivors' weights, or their number where the recipe has no weight."""
        if self.recipe.weight is None:
            return float(len(self.survivors))
        return self.decoded.scalars[WEIGHT] * self.recipe.weight

    @property
    def metrics(self) -> dict[str, float]:
        """The mean of each metric over the survivors, each counting once, whatever its weight."""
        return {name: self.metric(name) for name, _ in self.recipe.metrics}

    def metric(self, name: str) -> float:
        """Return the mean of a metric over the survivors, each counting once.

        Raises:
            RecipeError: the recipe has no metric of that name.
        """
        return self.metric_sum(name) / len(self.survivors)

    def metric_sum(self, name: str) -> float:
        """Return the sum of a metric over the survivors. A ratio of two of them is a mean weighted by the second.

        Raises:
            RecipeError: the recipe has no metric of that name.
        """
        try:
            return self.decoded.scalars[METRIC + name]
        except KeyError:
            known = [metric for metric, _ in self.recipe.metrics]
            raise RecipeError(f"the recipe has no metric {name!r:.80}, it has {known}") from None

    @property
    def step(self) -> float:
        """A bound on how far any coordinate of `mean()` is from the mean of the clipped updates.

        Without weights it is the step s of the recipe: each client rounds by at most s / 2, so the mean of n is off by
        at most s / 2, and the other half covers float64 (below 2^-8 s, since clip <= 2^40 s).

        With weights, let A and R be the sums of (w_i / W) x_i and w_i / W, A' and R' the sums that were decoded, u the
        step of the weight slot. |A' - A| <= n s / 2 and |R' - R| <= n u / 2, so with |A / R| <= clip

            |A' / R' - A / R| = |(A' - A) + (A / R)(R - R')| / R' <= (n / R') (s + clip u) / 2.

        Float64 adds less than 2^-9 of that. Near n / R' = 1, when all weights are the largest one, it is about s; it
        grows as the weights shrink against W, so take the smallest W that every client stays below.

        Raises:
            NoWeight: the weights sum to zero.
            RecipeError: the sum is noised, and noise has no bound: see `noise_std`.
        """
        if self.recipe.noising is not None:
            raise RecipeError("a noised mean is not within any step of the mean it stands for: see noise_std")
        if self.recipe.weight is None:
            return self.recipe.step
        weight_step = next(slot.fixed.step for slot in self.recipe.layout.scalars if slot.name == WEIGHT)
        spread = (self.recipe.step + self.recipe.clip * weight_step) / 2
        return len(self.survivors) / self._count() * spread * _FLOAT_SLACK

    @property
    def noise_std(self) -> float:
        """Standard deviation of the noise in each coordinate of `mean()`; 0.0 without noise.

        With weights it is that of the noise in the tensors alone: the noise in the sum of weights comes on top.

        Raises:
            NoWeight: the weights sum to zero or, noised, to less.
        """
        if self.recipe.noising is None:
            return 0.0
        return self.recipe.noising.deviation(len(self.survivors)) / self._count()

    @property
    def weight_noise_std(self) -> float:
        """Standard deviation of the noise in `weight`; 0.0 without noise, or without weights."""
        noising = self.recipe.noising
        if noising is None or self.recipe.weight is None:
            return 0.0
        return noising.deviation(len(self.survivors)) / (noising.part * noising.clip) * self.recipe.weight

    def metric_noise_std(self, name: str) -> float:
        """Return the standard deviation of the noise in `metric(name)`; 0.0 without noise.

        Raises:
            RecipeError: the recipe has no metric of that name.
        """
        self.metric_sum(name)
        noising = self.recipe.noising
        if noising is None:
            return 0.0
        shares = noising.deviation(len(self.survivors)) / (noising.part * noising.clip)
        return shares * dict(self.recipe.metrics)[name] / len(self.survivors)

    @property
    def within(self) -> float:
        """The noised share of clients whose update was within the clip, where the recipe's clip adapts.

        It may lie outside [0, 1].

        Raises:
            RecipeError: the recipe's clip does not adapt.
        """
        if self.recipe.adaptive is None:
            raise RecipeError("the recipe's clip does not adapt: give Recipe.like a dp.QuantileClip for clip")
        return (self.decoded.scalars[WITHIN] / len(self.survivors) + 1.0) / 2.0

    def _count(self) -> float:
        """Return what a sum of tensors is divided by: the survivors, or their weights as shares of the largest."""
        if self.recipe.weight is None:
            return float(len(self.survivors))
        shares = self.decoded.scalars[WEIGHT]
        if shares > 0.0:
            return shares
        if self.recipe.noising is None:
            raise NoWeight("the survivors' weights sum to zero, so there is no mean: sum() still holds")
        raise NoWeight(
            f"the noised weights sum to {self.weight:.4g}, which is no divisor: divide sum() by a public number, "
            "leave weights out, or take larger rounds"
        )

    def _times(self, factor: float) -> dict[str, npt.NDArray[np.float64]]:
        return {name: np.asarray(array * factor) for name, array in self.decoded.tensors.items()}
