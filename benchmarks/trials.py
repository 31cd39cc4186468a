"""One training of the demonstration, and the ways of forming its sums: by noised integers, or by a trusted server.

The same participants, drop-outs, local training and momentum as `secagg demo --epsilon` has in its planned rounds, each
update clipped to the task's private clip and counted once. Two runs of one trial differ in nothing but how a round's
sum is formed, and in the noise, which is fresh every time.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dp import Neighboring, Skellam, clip
from dp.calibrate import gaussian_multiplier
from dp.noise import DiscreteGaussian
from protocols.cli.demo import MAX_CORRUPT
from protocols.demo.outcome import DEFAULT_DELTA, Settings
from protocols.demo.secure import find_plan
from protocols.demo.supervised import SupervisedTask
from protocols.demo.task import FloatArray, LocalUpdate, Model
from protocols.demo.training_plain import Aggregate, ScheduledRound, plain_mean, schedule, train
from protocols.recipe import Recipe
from protocols.total import Total
from secagg import Adversary, Plan, Ring
from secagg import Aggregate as Summed
from secagg.config import instructions_digest
from secagg.types import ClientId

DELTA = DEFAULT_DELTA
_WIDTH = 2**25
"""Units of a standard deviation of the trusted server's noise."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A data set under one seed, and the demonstration's schedule and plan for it.

    Attributes:
        task: the data set.
        plan: who may drop out and collude.
        scheduled: every round.
    """

    task: SupervisedTask
    plan: Plan
    scheduled: Sequence[ScheduledRound]

    @property
    def honest(self) -> int:
        """Survivors that a round is sure to have, less the colluders."""
        return self.plan.min_survivors - self.plan.max_corrupt

    def quality(self, aggregate: Aggregate) -> float:
        """Train by one way of summing, and return the quality of the last model."""
        model = self.task.initial()
        for state in train(self.task, self.scheduled, aggregate, momentum=self.task.defaults.momentum):
            model = state.model
        return self.task.quality(model)

    def recipe(self, epsilon: float, *, honest: int | None = None, bits: int | None = None) -> Recipe:
        """The demonstration's recipe, with the noise of `honest` clients and in the finest step that fits the bits.

        Raises:
            dp.ParameterError: the bits have no room for the sum.
        """
        task, example = self.task, self.task.initial()
        if math.isinf(epsilon):
            return Recipe.like(example, clip=task.private_clip, metrics=task.metric_bounds)
        noise = Skellam.for_budget(
            clip=task.private_clip,
            epsilon=epsilon,
            delta=DELTA,
            rounds=len(self.scheduled),
            honest=self.honest if honest is None else honest,
            length=sum(tensor.size for tensor in example.values()) + len(task.metric_bounds),
            bits=bits,
            clients=None if bits is None else self.plan.clients,
        )
        return Recipe.like(example, clip=task.private_clip, noise=noise, metrics=task.metric_bounds)

    def multiplier(self, epsilon: float) -> float:
        """Standard deviation over clip of the trusted server's noise."""
        if math.isinf(epsilon):
            return 0.0
        return gaussian_multiplier(
            epsilon=epsilon, delta=DELTA, rounds=len(self.scheduled), neighboring=Neighboring.ZERO_OUT
        )

    def distributed(self, recipe: Recipe, ring: Ring | None = None) -> Aggregate:
        """The way of summing by a recipe, in the ring that it asks for unless told otherwise."""
        ring = recipe.ring(self.plan) if ring is None else ring

        def mean(scheduled: ScheduledRound, updates: Mapping[str, LocalUpdate]) -> Model:
            return total(recipe, ring, scheduled, updates).mean()

        return mean

    def without_margins(self, epsilon: float) -> Aggregate:
        """The way of summing with noise sized for the survivors of each round."""

        @functools.cache
        def way(survivors: int) -> Aggregate:
            return self.distributed(self.recipe(epsilon, honest=survivors))

        def mean(scheduled: ScheduledRound, updates: Mapping[str, LocalUpdate]) -> Model:
            return way(len(scheduled.survivors))(scheduled, updates)

        return mean

    def central(self, epsilon: float) -> Aggregate:
        """The way of summing by a trusted server."""
        task, deviation = self.task, self.multiplier(epsilon) * self.task.private_clip

        def mean(scheduled: ScheduledRound, updates: Mapping[str, LocalUpdate]) -> Model:
            exact = clipped_mean(scheduled, updates, clip_to=task.private_clip)
            scale = deviation / len(scheduled.survivors)
            return {name: tensor + scale * _gaussian(tensor) for name, tensor in exact.items()}

        return mean


def trial(task: SupervisedTask, *, seed_data: int, clients: int | None = None, rounds: int | None = None) -> Trial:
    """Set a data set up as the demonstration does, with its own cohort and rounds where none are given."""
    defaults = task.defaults
    settings = Settings(
        clients=defaults.clients if clients is None else clients,
        rounds=defaults.rounds if rounds is None else rounds,
        dropout=defaults.dropout,
        max_dropped=defaults.dropout,
        max_corrupt=MAX_CORRUPT,
        adversary=Adversary.ACTIVE,
        seed_data=seed_data,
    )
    exact = Recipe.like(task.initial(), clip=task.private_clip, metrics=task.metric_bounds)
    scheduled = schedule(
        task, clients=settings.clients, rounds=settings.rounds, dropout=settings.dropout, seed_data=seed_data
    )
    return Trial(task=task, plan=find_plan(exact, settings), scheduled=scheduled)


def total(recipe: Recipe, ring: Ring, scheduled: ScheduledRound, updates: Mapping[str, LocalUpdate]) -> Total:
    """Encode the survivors' updates, sum their words in the ring, and decode: a round without its masks."""
    instructions = f"{recipe.digest.hex()}, round {scheduled.number}".encode()
    words = np.zeros(recipe.length, dtype=ring.word)
    for client in scheduled.survivors:
        own = updates[client]
        encoded = recipe.encode(own.update, metrics=own.metrics, ring=ring, instructions=instructions)
        words += encoded.read(0, encoded.length)
    ring.reduce(words)
    invited = tuple(map(ClientId, scheduled.invited))
    summed = Summed(
        values=ring.center(words),
        invited=invited,
        joined=invited,
        survivors=tuple(map(ClientId, scheduled.survivors)),
        config_digest=b"",
        instructions_digest=instructions_digest(instructions),
    )
    return recipe.decode(summed)


def clipped_mean(scheduled: ScheduledRound, updates: Mapping[str, LocalUpdate], *, clip_to: float) -> Model:
    """The survivors' mean of clipped updates in the clear, each counting once."""
    clipped: dict[str, LocalUpdate] = {}
    for client in scheduled.survivors:
        update, _ = clip(updates[client].update, clip_to)
        doubles = {name: tensor.astype(np.float64, copy=False) for name, tensor in update.items()}
        clipped[client] = LocalUpdate(update=doubles, weight=1, metrics=updates[client].metrics)
    return plain_mean(scheduled, clipped)


def _gaussian(like: FloatArray) -> FloatArray:
    """Samples of a Gaussian of unit variance, for each number of a tensor.

    The project has no sampler of floats. These are on a grid of 2^-25 of the standard deviation, far finer than what
    the quality of a model can tell.
    """
    return DiscreteGaussian(sigma=_WIDTH).sample(like.size).reshape(like.shape) / _WIDTH


def noise_ratios(one: Trial, recipe: Recipe, epsilon: float) -> dict[str, float]:
    """How much wider the distributed noise is than the trusted server's, and the four factors of it.

    Their product is the ratio of both standard deviations in a coordinate of the mean, at the mean number of survivors:

    - margins: more survive than the noise was sized for, and those who might collude add theirs as well.
    - accounting: the Renyi bound of Skellam noise and its conversion, against the exact account of the Gaussian.
    - rounding: the norm that integers may have beyond the clip.
    - metrics: the room under the clip that the numbers beside the tensors take.
    """
    noising = recipe.noising
    if noising is None:
        return {}
    survivors = statistics.mean(len(scheduled.survivors) for scheduled in one.scheduled)
    spread = math.sqrt(one.honest * float(noising.noise.variance))
    factors = {
        "margins": math.sqrt(survivors / one.honest),
        "accounting": spread / (noising.sensitivity * one.multiplier(epsilon)),
        "rounding": noising.sensitivity * noising.step / noising.clip,
        "metrics": 1.0 / noising.shrink,
    }
    return {"noise_ratio": math.prod(factors.values()), **{f"noise_ratio_{name}": x for name, x in factors.items()}}
