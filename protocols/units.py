"""What a recipe's numbers are measured in: steps, levels and the slots beside the tensors.

Promise: every scalar has as many levels as a tensor's coordinate, so that none enlarges the ring.

Imports dp's laws of noise, this package's errors, and secagg's fixed-point door.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dp.budgeting import DEFAULT_RESOLUTION
from dp.law import IntegerNoise
from dp.noise import DiscreteGaussian, Skellam
from protocols.clips import positive
from protocols.errors import RecipeError
from protocols.total import METRIC, WEIGHT, WITHIN
from secagg.fixedpoint import FixedPoint

DEFAULT_STEP: Final = 2.0**-19
"""Default step as a share of clip: integers reach 2^19, and 2 * n * 2^19 + 1 <= 2^32 holds up to n = 4095 clients,
so an input of up to that many clients is made of 32-bit words."""

MAX_LEVELS: Final = 1 << 40
"""Largest clip / step. Float64 leaves 13 bits below it, which is what `Total.step` counts on."""


def check_step(step: float, clip: float) -> None:
    """Refuse a step that is coarser than the clip, or finer than float64 can tell apart.

    Raises:
        RecipeError: it is.
    """
    if not step <= clip <= step * MAX_LEVELS:
        raise RecipeError(f"step={step!r} must be from clip * 2**-40 = {clip / MAX_LEVELS!r} to clip={clip!r}")


def metric_bounds(metrics: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Return name and bound of each metric, in order of name.

    Raises:
        RecipeError: a name is none, or a bound not positive and finite.
    """
    if not isinstance(metrics, Mapping):
        raise RecipeError(f"metrics is of type {type(metrics).__name__}: give a mapping from names to bounds")
    for name in metrics:
        if not isinstance(name, str):
            raise RecipeError(f"metrics has the name {name!r:.80}: names are str")
    return tuple((name, positive(f"metrics[{name!r:.80}]", metrics[name])) for name in sorted(metrics))


def scalar_doors(
    levels: int, weight: float | None, metrics: tuple[tuple[str, float], ...], *, adapts: bool
) -> dict[str, FixedPoint]:
    """Return the scalar slots: the weight as a share of the largest, each metric in its own unit, the clip's bit."""
    doors = {METRIC + name: FixedPoint(bound=bound, step=bound / levels) for name, bound in metrics}
    if weight is not None:
        doors[WEIGHT] = FixedPoint(bound=1.0, step=1.0 / levels)
    if adapts:
        doors[WITHIN] = FixedPoint(bound=1.0, step=1.0 / levels)
    return doors


def step_of(clip: float, step: float | None, noise: IntegerNoise | None) -> float:
    """Return the step of the tensors: the one asked for, that of the noise, or a default.

    Raises:
        RecipeError: the step is out of range or not the noise's, or the noise is none.
    """
    given = None if step is None else positive("step", step)
    if noise is None:
        return clip * DEFAULT_STEP if given is None else given
    if not isinstance(noise, Skellam | DiscreteGaussian):
        raise RecipeError(f"noise is of type {type(noise).__name__}: give dp.Skellam or dp.DiscreteGaussian")
    if noise.step is not None and given not in (None, noise.step):
        raise RecipeError(f"step={given!r} is not the noise's, {noise.step!r}: leave it out")
    if given is None:
        return clip / DEFAULT_RESOLUTION if noise.step is None else noise.step
    return given


def whole_words(bits: int) -> int:
    """The bits of the machine's words that hold so many."""
    return 32 if bits <= 32 else 64
