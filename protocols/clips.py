"""How a recipe's clip is given, and what it becomes: groups of tensors, each with one bound.

Promise: whatever is given, every tensor stands in exactly one group, and the groups are in one order.

Imports numpy, dp's clipping and this package's errors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from dp.adaptive import QuantileClip
from dp.clipping import group_bound
from dp.errors import ParameterError
from protocols.errors import RecipeError

Groups = tuple[tuple[tuple[str, ...], float], ...]
"""Names of tensors and the L2 bound over them together, in order; every tensor stands in exactly one group."""

Clip = float | Mapping[str | tuple[str, ...], float] | QuantileClip
"""One bound of the whole update, bounds of groups of tensors, or a bound that moves from round to round."""


def groups_of(tensors: Mapping[str, Any], clip: Clip) -> Groups:
    """Return the groups of a clip, in order of name; one of all tensors where it is one bound.

    Raises:
        RecipeError: a bound is out of range, or the groups do not name each tensor exactly once.
    """
    if unnamed := [name for name in tensors if not isinstance(name, str)]:
        raise RecipeError(f"tensors has the name {unnamed[0]!r:.80}: names are str")
    if isinstance(clip, QuantileClip):
        return ((tuple(sorted(tensors)), clip.clip),)
    if not isinstance(clip, Mapping):
        return ((tuple(sorted(tensors)), positive("clip", clip)),)
    groups = []
    for key, bound in clip.items():
        names = (key,) if isinstance(key, str) else key
        if (
            not isinstance(names, tuple)
            or not names
            or not all(isinstance(name, str) and name in tensors for name in names)
        ):
            raise RecipeError(f"clip has the group {key!r:.80}: name a tensor, or a tuple of them")
        groups.append((tuple(sorted(names)), positive(f"clip[{key!r:.80}]", bound)))
    if sorted(name for names, _ in groups for name in names) != sorted(tensors):
        raise RecipeError("clip must bound each tensor exactly once: by its name, or in one tuple of names")
    return tuple(sorted(groups))


def check_groups(groups: Groups, tensors: list[str]) -> None:
    """Refuse groups that `groups_of` does not make.

    Raises:
        RecipeError: they do not name each tensor exactly once, or are out of order.
    """
    if sorted(name for names, _ in groups for name in names) != sorted(tensors):
        raise RecipeError("groups must name each tensor of the layout exactly once: use Recipe.like")
    if list(groups) != sorted(groups) or any(list(names) != sorted(names) for names, _ in groups):
        raise RecipeError("groups must be in order of name: use Recipe.like")


def bound_of(groups: Groups) -> float:
    """Return the L2 bound over all groups.

    Raises:
        RecipeError: there is no group, or a bound is out of range.
    """
    try:
        return group_bound(bound for _, bound in groups)
    except ParameterError as error:
        raise RecipeError(str(error)) from error


def positive(name: str, value: object) -> float:
    """Return a positive finite number as a float.

    Raises:
        RecipeError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise RecipeError(f"{name} is of type {type(value).__name__}: give a positive finite number, for example 1.0")
    number = as_float(value)
    if not 0.0 < number < math.inf:
        raise RecipeError(f"{name}={number!r} must be a positive finite number, for example 1.0")
    return number


def as_float(value: Any) -> float:
    """Return a number as a float; infinity for an integer beyond them."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
