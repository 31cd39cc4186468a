"""`Recipe`: what is summed. It turns an update into an input and an aggregate into a mean.

Promise: every client with the same recipe digest clips to the same norm, rounds to the same step and puts the same
numbers at the same coordinates. Weights and metrics travel inside the input, never beside it. What the encoding does
to an update is said: `clipped` on the input, `step` on the total.

Clipping is flat, one L2 bound over all tensors, or group by group, or to a quantile that the sum itself tells. Without
noise the total tells the exact sum. With noise, each client adds its share before masking: see `protocols.noised`.

Imports numpy, secagg's layout, ring and plan, dp's clipping, and the rooms of this package that an input passes.
"""

from __future__ import annotations

import functools
import itertools
import math
import numbers
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from dp.adaptive import QuantileClip
from dp.clipping import group_factors
from dp.errors import ParameterError, UpdateError
from dp.events import Event, Repeated
from dp.law import IntegerNoise
from dp.ledger import Charge
from dp.overflow import DEFAULT_PROBABILITY
from protocols.clips import Clip, Groups, as_float, bound_of, check_groups, groups_of, positive
from protocols.errors import RecipeError
from protocols.inputs import NoisedWords, RecipeInput
from protocols.noised import DEFAULT_PART, Noising, rotation_seed
from protocols.total import METRIC, WEIGHT, WITHIN, AggregateLike, Total
from protocols.units import check_step, metric_bounds, scalar_doors, step_of, whole_words
from secagg.config import instructions_digest
from secagg.errors import InputError
from secagg.fixedpoint import FixedPoint
from secagg.layout import Decoded, Layout
from secagg.plan import Plan
from secagg.primitives import kdf, labels
from secagg.ring import Ring
from secagg.slot import SlotKind
from secagg.types import Adversary


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is summed: tensors under one clip, and the numbers that travel with them. Made by `Recipe.like`.

    Attributes:
        layout: the slots of an input; holds the steps.
        groups: which tensors are clipped together, and to what; one group of all of them where clipping is flat.
        weight: the largest weight a client may give its update; None where every update counts once.
        metrics: name and bound of each metric, in order of name.
        noising: the noise each client adds and the way to it; None where the sum is exact.
        adaptive: the quantile that the clip follows; None where it stays.
        whole_words: whether the ring is of 32 or 64 bits, whatever fewer would do.

    Raises:
        RecipeError: a parameter is out of range, or the layout is not the one that they ask for.
    """

    layout: Layout
    groups: Groups
    weight: float | None
    metrics: tuple[tuple[str, float], ...]
    noising: Noising | None = None
    adaptive: QuantileClip | None = None
    whole_words: bool = False

    def __post_init__(self) -> None:
        check_groups(self.groups, [slot.name for slot in self.layout.tensors])
        doors = {slot.fixed for slot in self.layout.tensors}
        if len(doors) != 1 or next(iter(doors)).bound != self.clip:
            raise RecipeError(f"every tensor of the layout must have one step and the bound clip={self.clip!r}")
        check_step(self.step, self.clip)
        if self.weight is not None:
            positive("weight", self.weight)
        if list(self.metrics) != sorted(self.metrics):
            raise RecipeError("metrics must be in order of name: use Recipe.like")
        expected = scalar_doors(next(iter(doors)).limit, self.weight, self.metrics, adapts=self.adaptive is not None)
        if {slot.name: slot.fixed for slot in self.layout.scalars} != expected:
            raise RecipeError("the layout's scalars are not those of weight and metrics: use Recipe.like")
        self._check_noising()

    @classmethod
    def like(
        cls,
        tensors: Mapping[str, npt.NDArray[Any]],
        *,
        clip: Clip,
        noise: IntegerNoise | None = None,
        weight: float | None = None,
        metrics: Mapping[str, float] | None = None,
        step: float | None = None,
        part: float = DEFAULT_PART,
        overflow_probability: float = DEFAULT_PROBABILITY,
        whole_words: bool = False,
    ) -> Recipe:
        """Write the recipe for updates with the names, shapes and dtypes of `tensors`; its numbers are not looked at.

        Every scalar has as many levels as a tensor's coordinate, so weights and metrics never enlarge the ring.

        Args:
            tensors: an example of an update.
            clip: L2 bound of a whole update; a longer one is scaled down to it, and says so. A mapping bounds groups of
                tensors each on its own, by the name of one or a tuple of names: the whole update is then within the
                root of the sum of squares. A `dp.QuantileClip` moves from round to round, which needs noise.
            noise: what each client adds, `dp.Skellam` or `dp.DiscreteGaussian`, in units of its step; sized by
                `for_budget(clip=, epsilon=, delta=, rounds=, honest=plan.min_survivors - plan.max_corrupt)`.
            weight: the largest weight; given, each client passes a weight from 0 to it and the total is the weighted
                mean, with the weights hidden. 0 takes part and counts for nothing.
            metrics: name -> bound of each number clients report, between -bound and bound.
            step: distance of two neighboring values of a coordinate; by default clip * 2**-19, or with noise that of
                the noise, and clip * 2**-16 where it has none.
            part: with noise, how much of the clip the bound of a weight or metric takes: a larger one makes them
                less noisy and the tensors more. Without noise it says nothing.
            overflow_probability: with noise, the odds that any coordinate of a round's sum wraps. Without noise, none
                can.
            whole_words: take a ring of 32 or 64 bits where a smaller one would do: more bytes on the wire (a tenth, in
                the place of 29 bits), and hardly any time to pack and unpack them.

        Raises:
            RecipeError: a parameter is out of range, or there is no tensor.
            secagg.errors.ConfigError: a name is unfit, or there is no coordinate.
            secagg.errors.InputError: a tensor is not a numpy array of floats.
        """
        if not isinstance(tensors, Mapping):
            raise RecipeError(f"tensors is of type {type(tensors).__name__}: give a mapping from names to arrays")
        if not tensors:
            raise RecipeError("tensors is empty: give an example of an update with at least one tensor")
        adaptive = clip if isinstance(clip, QuantileClip) else None
        groups = groups_of(tensors, clip)
        bound = bound_of(groups)
        step = step_of(bound, step, noise)
        check_step(step, bound)
        weight = None if weight is None else positive("weight", weight)
        bounds = metric_bounds(metrics or {})
        doors = scalar_doors(FixedPoint(bound=bound, step=step).limit, weight, bounds, adapts=adaptive is not None)
        layout = Layout.like(tensors, bound=bound, step=step, scalars=doors)
        noising = None
        if noise is not None:
            noising = Noising(
                noise=noise if noise.step == step else noise.at(step),
                clip=bound,
                length=layout.length,
                numbers=len(doors),
                part=part,
                overflow_probability=overflow_probability,
            )
        return cls(
            layout=layout,
            groups=groups,
            weight=weight,
            metrics=bounds,
            noising=noising,
            adaptive=adaptive,
            whole_words=whole_words,
        )

    @functools.cached_property
    def clip(self) -> float:
        """L2 bound of an update over all its tensors, and so the bound of each coordinate."""
        return bound_of(self.groups)

    @property
    def noise(self) -> IntegerNoise | None:
        """What each client adds to its input, in units of the step; None where the sum is exact."""
        return None if self.noising is None else self.noising.noise

    @functools.cached_property
    def digest(self) -> bytes:
        """SHA-256 over the layout's digest, groups, weight, metrics and noise, each part with its length."""
        weight = b"" if self.weight is None else struct.pack(">d", self.weight)
        metrics = [part for name, bound in self.metrics for part in (name.encode("utf-8"), struct.pack(">d", bound))]
        groups = [
            part
            for names, bound in self.groups
            for part in (struct.pack(">Q", len(names)), *(name.encode("utf-8") for name in names), _packed(bound))
        ]
        noising = b"" if self.noising is None else self.noising.canonical
        moving = self.adaptive
        adaptive = b"" if moving is None else struct.pack(">dd", moving.quantile, moving.rate)
        counts = struct.pack(">QQ", len(self.groups), len(self.metrics))
        words = struct.pack(">?", self.whole_words)
        parts = (self.layout.digest, weight, noising, adaptive, words, counts, *groups, *metrics)
        return kdf.digest(labels.RECIPE_DIGEST, *parts)

    @property
    def length(self) -> int:
        """Coordinates of an input."""
        return self.layout.length

    @property
    def step(self) -> float:
        """Distance of two neighboring values of a tensor's coordinate; with noise, of the rotated one's."""
        return self.layout.tensors[0].fixed.step

    def ring(self, plan: Plan) -> Ring:
        """Return the smallest ring in which the plan's clients cannot wrap or, with noise, do with the stated odds.

        Without noise there always is one: `MAX_LEVELS` and the largest number of clients need 58 bits.

        Raises:
            RecipeError: with noise, no ring of 64 bits is enough.
        """
        try:
            bits = self.layout.ring_for(plan.clients).bits if self.noising is None else self.noising.bits(plan.clients)
        except ParameterError as error:
            raise RecipeError(str(error)) from error
        return Ring(whole_words(bits) if self.whole_words else bits)

    def charge(self, plan: Plan, *, survivors: int | None = None) -> Charge:
        """Return what a round costs, for a `dp.Ledger`: at the plan's fewest survivors, or at those there were.

        The plan's `max_corrupt` clients are taken to collude: the server knows their noise. Where the plan is against
        an active adversary they may have added none, so nobody's figure counts theirs.

        Raises:
            RecipeError: there is no noise, so that no ledger can allow the round, or survivors is not of the plan.
        """
        if self.noising is None:
            raise RecipeError("the recipe has no noise, so its sum has no bounded cost: give Recipe.like a noise")
        counted = plan.min_survivors if survivors is None else survivors
        if type(counted) is not int or not plan.min_survivors <= counted <= plan.clients:
            raise RecipeError(f"survivors={survivors!r} must be from {plan.min_survivors} to {plan.clients}")
        honest = counted - plan.max_corrupt
        added = honest if plan.adversary is Adversary.ACTIVE else counted
        return self.noising.charge(clients=plan.clients, unknown=honest, added=added)

    def planned(self, plan: Plan, *, rounds: int) -> Event:
        """Return all of so many rounds at the plan's fewest survivors: what a `dp.Ledger` is created with.

        Raises:
            RecipeError: there is no noise.
            dp.ParameterError: rounds is no positive number.
        """
        return Repeated(event=self.charge(plan).server, count=rounds)

    def after(self, total: Total) -> Recipe:
        """Return the recipe of the next round: its clip has moved towards the quantile by what the total tells.

        The step moves along, so that noise and cost stay what they are. A clip that does not adapt stays: the recipe is
        this one. Every client computes the next recipe from the total, or is told it, and refuses a round of another.

        Raises:
            RecipeError: the total is of another recipe.
        """
        if total.recipe is not self:
            raise RecipeError("the total is of another recipe: ask the one it was made with")
        if self.adaptive is None or self.noising is None:
            return self
        moved = self.adaptive.next(total.within)
        step = self.step * (moved.clip / self.clip)
        tensors = tuple(replace(slot, fixed=FixedPoint(bound=moved.clip, step=step)) for slot in self.layout.tensors)
        doors = scalar_doors(tensors[0].fixed.limit, self.weight, self.metrics, adapts=True)
        scalars = tuple(replace(slot, fixed=doors[slot.name]) for slot in self.layout.scalars)
        return replace(
            self,
            layout=Layout(slots=tensors + scalars),
            groups=((self.groups[0][0], moved.clip),),
            noising=replace(self.noising, noise=self.noising.noise.at(step), clip=moved.clip),
            adaptive=moved,
        )

    def encode(
        self,
        update: Mapping[str, npt.NDArray[Any]],
        *,
        weight: float | None = None,
        metrics: Mapping[str, float] | None = None,
        ring: Ring,
        instructions: bytes | None = None,
    ) -> RecipeInput:
        """Check an update whole, clip it, weigh it, and return it as an input.

        Without noise the words are made as they are read; the update is not copied, and is to be left alone until the
        input is sent. With noise they are made here, once.

        With noise, nothing about the numbers is refused: an update that is not finite counts as zeros, a weight or
        metric beyond its bound as the bound; the input's `faithful` tells its own client.

        Args:
            update: the client's tensors; not changed.
            weight: from 0 to the recipe's weight; required where the recipe has one, refused where it has none.
            metrics: exactly the recipe's, each within its bound.
            ring: the ring of the round, from `ring`.
            instructions: with noise, the bytes that the client's round was made with; the rotation follows from them.

        Raises:
            secagg.errors.InputError: names, shapes or dtypes do not fit or, without noise, numbers; the text says
                which. With noise, instructions is missing.
            secagg.errors.ConfigError: the ring is too small for this recipe.
        """
        arrays = self.layout.check(update)
        scalars: dict[str, float] = {}
        if self._weighs(weight):
            scalars[WEIGHT] = self._number("weight", weight)
        for name, value in self._matched(metrics or {}).items():
            scalars[METRIC + name] = value
        if self.noising is None:
            return self._exact(arrays, scalars, ring)
        if unfit := next((name for name, value in scalars.items() if not isinstance(value, numbers.Real)), None):
            raise InputError(f"{unfit} is of type {type(scalars[unfit]).__name__}: pass a float")
        if not isinstance(instructions, bytes):
            raise InputError("instructions is missing: a noised input is rotated by the bytes its round was made with")
        with np.errstate(all="ignore"):  # a caller's numpy may be set to raise where a number underflows
            return self._noised(self.noising, arrays, scalars, ring, instructions_digest(instructions))

    def decode(self, aggregate: AggregateLike) -> Total:
        """Read an aggregate of inputs of this recipe.

        Raises:
            RecipeError: its length is not this recipe's, it has no survivors, or it lies beyond what so many clients
                can put in: at least one of them broke the recipe. A cheat within the bounds does not show, and under
                noise none does.
        """
        if not aggregate.survivors:
            raise RecipeError("the aggregate has no survivors, so it is the sum of nothing")
        try:
            decoded = self._decoded(aggregate)
        except InputError as error:
            raise RecipeError(f"the aggregate is not one of this recipe: {error}") from error
        return Total(
            recipe=self,
            decoded=decoded,
            joined=tuple(aggregate.joined),
            survivors=tuple(aggregate.survivors),
            dropped=tuple(aggregate.dropped),
        )

    def _exact(self, arrays: Mapping[str, npt.NDArray[Any]], scalars: dict[str, float], ring: Ring) -> RecipeInput:
        """The way without noise: refuses what does not fit."""
        share = 1.0
        if self.weight is not None:
            share = scalars[WEIGHT] = self._share(scalars[WEIGHT])
        try:
            factors, clipped = group_factors(arrays, self.groups)
        except UpdateError as error:  # one fault, one type, whichever module notices it
            raise InputError(str(error)) from error
        # factor * share stays at or below factor, so a coordinate that fits after clipping fits after weighing.
        scale = {name: factor * share for name, factor in factors.items()}
        words = self.layout.encode(arrays, scalars, scale=scale, ring=ring)
        return RecipeInput(words, clipped=clipped, recipe_digest=self.digest)

    def _noised(
        self,
        noising: Noising,
        arrays: Mapping[str, npt.NDArray[Any]],
        scalars: dict[str, float],
        ring: Ring,
        instructions: bytes,
    ) -> RecipeInput:
        """The way with noise: takes whatever numbers there are."""
        bounds = {METRIC + name: bound for name, bound in self.metrics} | {WEIGHT: self.weight or 1.0}
        given = {name: as_float(value) / bounds[name] for name, value in scalars.items()}
        shares = {name: _held(value) for name, value in given.items()}
        if self.weight is not None:
            shares[WEIGHT] = max(shares[WEIGHT], 0.0)
        faithful = given == shares
        try:
            factors, clipped = group_factors(arrays, self.groups)
        except UpdateError:
            factors, clipped, faithful = {}, False, False
        if self.adaptive is not None:
            shares[WITHIN] = -1.0 if clipped or not factors else 1.0
        scale = shares.get(WEIGHT, 1.0)
        vector = np.zeros(self.length)
        for slot, (start, stop) in zip(self.layout.slots, itertools.pairwise(self.layout.offsets), strict=True):
            if slot.kind is SlotKind.SCALAR:
                vector[start] = shares[slot.name]
            elif factors:
                np.multiply(
                    arrays[slot.name].reshape(-1), factors[slot.name] * scale, out=vector[start:stop], dtype=np.float64
                )
        values, fitted = noising.encode(vector, rotation_seed(self.digest, instructions))
        return RecipeInput(
            NoisedWords(values, ring),
            clipped=clipped,
            recipe_digest=self.digest,
            faithful=faithful and fitted,
            instructions_digest=instructions,
        )

    def _decoded(self, aggregate: AggregateLike) -> Decoded:
        if self.noising is None:
            return self.layout.decode(aggregate.values, clients=len(aggregate.survivors))
        self.layout.decode(aggregate.values)  # refuses another length or dtype
        seed = rotation_seed(self.digest, aggregate.instructions_digest)
        vector = self.noising.decode(aggregate.values, seed)
        tensors: dict[str, npt.NDArray[np.float64]] = {}
        scalars: dict[str, float] = {}
        bounds = {METRIC + name: bound for name, bound in self.metrics}
        for slot, (start, stop) in zip(self.layout.slots, itertools.pairwise(self.layout.offsets), strict=True):
            if slot.kind is SlotKind.SCALAR:
                scalars[slot.name] = float(vector[start]) * bounds.get(slot.name, 1.0)
            else:
                tensors[slot.name] = vector[start:stop].reshape(slot.shape)
        return Decoded(tensors, scalars)

    def _check_noising(self) -> None:
        """Hold what the noise was sized by against what is encoded."""
        noising = self.noising
        if noising is None:
            if self.adaptive is not None:
                raise RecipeError("a clip that adapts learns from the clients' norms: give Recipe.like a noise as well")
            return
        if self.adaptive is not None and (len(self.groups) != 1 or self.adaptive.clip != self.clip):
            raise RecipeError("a clip that adapts is one over the whole update: use Recipe.like")
        counted = (noising.length, noising.numbers, noising.clip, noising.step)
        if counted != (self.length, len(self.layout.scalars), self.clip, self.step):
            raise RecipeError("the noise is not for this layout, clip and step: use Recipe.like")

    def _weighs(self, weight: object) -> bool:
        """Whether this recipe has a weight; refuses a client that disagrees."""
        if self.weight is None and weight is not None:
            raise InputError("weight was given, but the recipe has none: leave it out, or give Recipe.like a weight=")
        if self.weight is not None and weight is None:
            raise InputError(f"weight is missing: the recipe needs one, from 0 to {self.weight!r}")
        return self.weight is not None

    def _number(self, name: str, value: Any) -> float:
        """Return a weight as a float. The refusal does not say what it was."""
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            raise InputError(f"{name} is of type {type(value).__name__}: pass a number from 0 to {self.weight!r}")
        return as_float(value)

    def _share(self, weight: float) -> float:
        """Return a weight as a share of the largest one. The refusal does not say what it was."""
        if self.weight is None or not 0 <= weight <= self.weight:
            raise InputError(f"weight must be a number from 0 to {self.weight!r}")
        return weight / self.weight

    def _matched(self, given: Mapping[str, float]) -> Mapping[str, float]:
        names = {name for name, _ in self.metrics}
        if given.keys() != names:
            missing, unknown = sorted(names - given.keys()), sorted(map(str, given.keys() - names))
            raise InputError(f"metrics differ from the recipe: missing {missing}, unknown {unknown}")
        return given


def _held(share: float) -> float:
    """Return a share brought to [-1, 1]; 0.0 for NaN."""
    return 0.0 if math.isnan(share) else min(max(share, -1.0), 1.0)


def _packed(bound: float) -> bytes:
    return struct.pack(">d", bound)
