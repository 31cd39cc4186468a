"""`Recipe`: what is summed. It turns an update into an input and an aggregate into a mean.

Promise: every client with the same recipe digest clips to the same norm, rounds to the same step and puts the same
numbers at the same coordinates. Weights and metrics travel inside the input, never beside it. What the encoding does
to an update is said: `clipped` on the input, `step` on the total.

Clipping is flat: one L2 bound over all tensors of an update. There is no noise yet, so the total tells the exact sum.

Imports secagg's layout, ring and plan, and dp's clipping.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from dp.clipping import clip_factor, l2_norm
from dp.errors import UpdateError
from protocols.errors import NoWeight, RecipeError
from secagg.errors import InputError, MisuseError
from secagg.fixedpoint import FixedPoint
from secagg.layout import Decoded, EncodedInput, Layout
from secagg.plan import Plan
from secagg.primitives import kdf, labels
from secagg.ring import Ring, Words

DEFAULT_STEP: Final = 2.0**-19
"""Default step as a share of clip: integers reach 2^19, and 2 * n * 2^19 + 1 <= 2^32 holds up to n = 4095 clients,
so an input of up to that many clients is made of 32-bit words."""

MAX_LEVELS: Final = 1 << 40
"""Largest clip / step. Float64 leaves 13 bits below it, which is what `Total.step` counts on."""

_WEIGHT: Final = "weight"
_METRIC: Final = "metric/"
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


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is summed: tensors under one clip, and the numbers that travel with them. Made by `Recipe.like`.

    Attributes:
        layout: the slots of an input; holds the steps.
        clip: L2 bound of an update over all its tensors, and so the bound of each coordinate.
        weight: the largest weight a client may give its update; None where every update counts once.
        metrics: name and bound of each metric, in order of name.

    Raises:
        RecipeError: a parameter is out of range, or the layout is not the one that they ask for.
    """

    layout: Layout
    clip: float
    weight: float | None
    metrics: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        doors = {slot.fixed for slot in self.layout.tensors}
        if len(doors) != 1 or next(iter(doors)).bound != self.clip:
            raise RecipeError(f"every tensor of the layout must have one step and the bound clip={self.clip!r}")
        _check_step(self.step, self.clip)
        if self.weight is not None:
            _positive("weight", self.weight)
        if list(self.metrics) != sorted(self.metrics):
            raise RecipeError("metrics must be in order of name: use Recipe.like")
        expected = _scalar_doors(next(iter(doors)).limit, self.weight, self.metrics)
        if {slot.name: slot.fixed for slot in self.layout.scalars} != expected:
            raise RecipeError("the layout's scalars are not those of weight and metrics: use Recipe.like")

    @classmethod
    def like(
        cls,
        tensors: Mapping[str, npt.NDArray[Any]],
        *,
        clip: float,
        weight: float | None = None,
        metrics: Mapping[str, float] | None = None,
        step: float | None = None,
    ) -> Recipe:
        """Write the recipe for updates with the names, shapes and dtypes of `tensors`; its numbers are not looked at.

        Every scalar has as many levels as a tensor's coordinate, so weights and metrics never enlarge the ring.

        Args:
            tensors: an example of an update.
            clip: L2 bound of a whole update; a longer one is scaled down to it, and says so.
            weight: the largest weight; given, each client passes a weight from 0 to it and the total is the weighted
                mean, with the weights hidden. 0 takes part and counts for nothing.
            metrics: name -> bound of each number clients report, between -bound and bound.
            step: distance of two neighboring values of a coordinate; by default clip * 2**-19.

        Raises:
            RecipeError: a parameter is out of range, or there is no tensor.
            secagg.errors.ConfigError: a name is unfit, or there is no coordinate.
            secagg.errors.InputError: a tensor is not a numpy array of floats.
        """
        clip = _positive("clip", clip)
        step = clip * DEFAULT_STEP if step is None else _positive("step", step)
        _check_step(step, clip)
        if not tensors:
            raise RecipeError("tensors is empty: give an example of an update with at least one tensor")
        weight = None if weight is None else _positive("weight", weight)
        bounds = _metric_bounds(metrics or {})
        doors = _scalar_doors(FixedPoint(bound=clip, step=step).limit, weight, bounds)
        layout = Layout.like(tensors, bound=clip, step=step, scalars=doors)
        return cls(layout=layout, clip=clip, weight=weight, metrics=bounds)

    @functools.cached_property
    def digest(self) -> bytes:
        """SHA-256 over the layout's digest, clip, weight and metrics, each part with its length."""
        weight = b"" if self.weight is None else struct.pack(">d", self.weight)
        metrics = [part for name, bound in self.metrics for part in (name.encode("utf-8"), struct.pack(">d", bound))]
        count = struct.pack(">Q", len(self.metrics))
        clip = struct.pack(">d", self.clip)
        return kdf.digest(labels.RECIPE_DIGEST, self.layout.digest, clip, weight, count, *metrics)

    @property
    def length(self) -> int:
        """Coordinates of an input."""
        return self.layout.length

    @property
    def step(self) -> float:
        """Distance of two neighboring values of a tensor's coordinate."""
        return self.layout.tensors[0].fixed.step

    def ring(self, plan: Plan) -> Ring:
        """Return the smallest ring in which the plan's clients cannot wrap.

        There always is one: `MAX_LEVELS` and the largest number of clients need 58 bits.
        """
        return self.layout.ring_for(plan.clients)

    def encode(
        self,
        update: Mapping[str, npt.NDArray[Any]],
        *,
        weight: float | None = None,
        metrics: Mapping[str, float] | None = None,
        ring: Ring,
    ) -> RecipeInput:
        """Check an update whole, clip it, weigh it, and return it as an input whose words are made as they are read.

        Args:
            update: the client's tensors; not changed, not copied whole, and to be left alone until the input is sent.
            weight: from 0 to the recipe's weight; required where the recipe has one, refused where it has none.
            metrics: exactly the recipe's, each within its bound.
            ring: the ring of the round, from `ring`.

        Raises:
            secagg.errors.InputError: anything about the update, weight or metrics does not fit; the text names it.
            secagg.errors.ConfigError: the ring is too small for this recipe.
        """
        scalars: dict[str, float] = {}
        share = 1.0
        if self._weighs(weight):
            share = scalars[_WEIGHT] = self._share(weight)
        for name, value in self._matched(metrics or {}).items():
            scalars[_METRIC + name] = value
        norm = _norm(self.layout.check(update))
        # factor * share stays at or below factor, so a coordinate that fits after clipping fits after weighing.
        scale = clip_factor(norm, self.clip) * share
        words = self.layout.encode(update, scalars, scale=scale, ring=ring)
        return RecipeInput(words, clipped=norm > self.clip)

    def decode(self, aggregate: AggregateLike) -> Total:
        """Read an aggregate of inputs of this recipe.

        Raises:
            RecipeError: its length is not this recipe's, it has no survivors, or it lies beyond what so many clients
                can put in: at least one of them broke the recipe. A cheat within the bounds does not show.
        """
        if not aggregate.survivors:
            raise RecipeError("the aggregate has no survivors, so it is the sum of nothing")
        try:
            decoded = self.layout.decode(aggregate.values, clients=len(aggregate.survivors))
        except InputError as error:
            raise RecipeError(f"the aggregate is not one of this recipe: {error}") from error
        return Total(
            recipe=self,
            decoded=decoded,
            joined=tuple(aggregate.joined),
            survivors=tuple(aggregate.survivors),
            dropped=tuple(aggregate.dropped),
        )

    def _weighs(self, weight: object) -> bool:
        """Whether this recipe has a weight; refuses a client that disagrees."""
        if self.weight is None and weight is not None:
            raise InputError("weight was given, but the recipe has none: leave it out, or give Recipe.like a weight=")
        if self.weight is not None and weight is None:
            raise InputError(f"weight is missing: the recipe needs one, from 0 to {self.weight!r}")
        return self.weight is not None

    def _share(self, weight: Any) -> float:
        """Return a weight as a share of the largest one. The refusal does not say what it was."""
        if isinstance(weight, bool) or not isinstance(weight, int | float | np.integer | np.floating):
            raise InputError(f"weight is of type {type(weight).__name__}: pass a number from 0 to {self.weight!r}")
        if self.weight is None or not 0 <= weight <= self.weight:
            raise InputError(f"weight must be a number from 0 to {self.weight!r}")
        return float(weight) / self.weight

    def _matched(self, given: Mapping[str, float]) -> Mapping[str, float]:
        names = {name for name, _ in self.metrics}
        if given.keys() != names:
            missing, unknown = sorted(names - given.keys()), sorted(map(str, given.keys() - names))
            raise InputError(f"metrics differ from the recipe: missing {missing}, unknown {unknown}")
        return given


class RecipeInput:
    """One client's clipped and weighed input, made word by word as it is read.

    It holds a secret: it shows its length only, and refuses to be pickled or copied.
    """

    __slots__ = ("_clipped", "_words")

    def __init__(self, words: EncodedInput, *, clipped: bool) -> None:
        self._words = words
        self._clipped = clipped

    @property
    def clipped(self) -> bool:
        """Whether the update was beyond the recipe's clip and was scaled down to it. Known to this client only."""
        return self._clipped

    @property
    def length(self) -> int:
        """Words of the input."""
        return self._words.length

    @property
    def ring(self) -> Ring:
        """The ring the words are in."""
        return self._words.ring

    def read(self, start: int, stop: int) -> Words:
        """Return words start to stop, stop excluded, in a fresh array; see `secagg.layout.EncodedInput.read`."""
        return self._words.read(start, stop)

    def __repr__(self) -> str:
        return f"<RecipeInput of {self.length} words>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise MisuseError("an encoded input holds a client's update and is never pickled or copied")


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

    recipe: Recipe
    decoded: Decoded = field(repr=False)
    joined: tuple[str, ...]
    survivors: tuple[str, ...]
    dropped: tuple[str, ...]

    def sum(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the sum of the clipped updates, or of weight times clipped update, in fresh arrays."""
        return self._times(1.0 if self.recipe.weight is None else self.recipe.weight)

    def mean(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the mean of the clipped updates, weighted where the recipe has a weight, in fresh arrays.

        Raises:
            NoWeight: the weights sum to zero.
        """
        count = self._count()
        return {name: np.asarray(array / count) for name, array in self.decoded.tensors.items()}

    @property
    def weight(self) -> float:
        """The sum of the survivors' weights, or their number where the recipe has no weight."""
        if self.recipe.weight is None:
            return float(len(self.survivors))
        return self.decoded.scalars[_WEIGHT] * self.recipe.weight

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
            return self.decoded.scalars[_METRIC + name]
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
        """
        if self.recipe.weight is None:
            return self.recipe.step
        weight_step = next(slot.fixed.step for slot in self.recipe.layout.scalars if slot.name == _WEIGHT)
        spread = (self.recipe.step + self.recipe.clip * weight_step) / 2
        return len(self.survivors) / self._count() * spread * _FLOAT_SLACK

    def _count(self) -> float:
        """Return what a sum of tensors is divided by: the survivors, or their weights as shares of the largest."""
        if self.recipe.weight is None:
            return float(len(self.survivors))
        shares = self.decoded.scalars[_WEIGHT]
        if shares <= 0.0:
            raise NoWeight("the survivors' weights sum to zero, so there is no mean: sum() still holds")
        return shares

    def _times(self, factor: float) -> dict[str, npt.NDArray[np.float64]]:
        return {name: np.asarray(array * factor) for name, array in self.decoded.tensors.items()}


def _check_step(step: float, clip: float) -> None:
    if not step <= clip <= step * MAX_LEVELS:
        raise RecipeError(f"step={step!r} must be from clip * 2**-40 = {clip / MAX_LEVELS!r} to clip={clip!r}")


def _metric_bounds(metrics: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    for name in metrics:
        if not isinstance(name, str):
            raise RecipeError(f"metrics has the name {name!r:.80}: names are str")
    return tuple((name, _positive(f"metrics[{name!r:.80}]", metrics[name])) for name in sorted(metrics))


def _scalar_doors(levels: int, weight: float | None, metrics: tuple[tuple[str, float], ...]) -> dict[str, FixedPoint]:
    """Return the scalar slots: the weight as a share of the largest, each metric in its own unit."""
    doors = {_METRIC + name: FixedPoint(bound=bound, step=bound / levels) for name, bound in metrics}
    if weight is not None:
        doors[_WEIGHT] = FixedPoint(bound=1.0, step=1.0 / levels)
    return doors


def _norm(arrays: Mapping[str, npt.NDArray[Any]]) -> float:
    try:
        return l2_norm(arrays)
    except UpdateError as error:  # one fault, one type, whichever module notices it
        raise InputError(str(error)) from error


def _positive(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise RecipeError(f"{name} is of type {type(value).__name__}: give a positive finite number, for example 1.0")
    try:
        number = float(value)
    except OverflowError:  # an int beyond float64
        number = math.inf
    if not 0.0 < number < math.inf:
        raise RecipeError(f"{name}={number!r} must be a positive finite number, for example 1.0")
    return number
