"""A caller's slip, another type where a mapping, a recipe or a ring belongs, is refused in a text of this project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from dp import Skellam
from protocols import PrivateRounds, Recipe
from protocols.errors import RecipeError
from secagg import ConfigError, SecAggError, TooFewClients

ARRAY: Final = np.ones(4, dtype=np.float32)
RECIPE: Final = Recipe.like({"w": ARRAY}, clip=1.0)
NOISED: Final = Recipe.like(
    {"w": ARRAY}, clip=1.0, noise=Skellam.for_budget(clip=1.0, epsilon=8, delta=1e-5, rounds=1, honest=3, length=4)
)
UPDATES: Final = {f"phone-{number}": {"w": ARRAY} for number in range(5)}


def rounds() -> PrivateRounds:
    return PrivateRounds(RECIPE, max_dropped=1, max_corrupt=0)


@pytest.mark.parametrize("tensors", [ARRAY, np.zeros(0), [ARRAY], None, 3, {1: ARRAY, "b": ARRAY}, {None: ARRAY}])
def test_a_recipe_is_like_a_mapping_of_names(tensors: Any) -> None:
    with pytest.raises(RecipeError, match="tensors"):
        Recipe.like(tensors, clip=1.0)


@pytest.mark.parametrize("metrics", [["loss"], "loss", 3, {1: 1.0, "b": 2.0}])
def test_metrics_are_a_mapping_of_names(metrics: Any) -> None:
    with pytest.raises(RecipeError, match="metrics"):
        Recipe.like({"w": ARRAY}, clip=1.0, metrics=metrics)


@pytest.mark.parametrize("key", [("w", 1), (1,), (), 1, None])
def test_a_group_of_a_clip_names_tensors(key: Any) -> None:
    with pytest.raises(RecipeError, match="name a tensor"):
        Recipe.like({"w": ARRAY}, clip={key: 1.0})


@pytest.mark.parametrize("recipe", [RECIPE, NOISED])
@pytest.mark.parametrize("ring", [32, None, "32"])
def test_an_input_is_made_for_a_ring(recipe: Recipe, ring: Any) -> None:
    with pytest.raises(ConfigError, match="pass the Ring of the round"):
        recipe.encode({"w": ARRAY}, ring=ring, instructions=b"")


@pytest.mark.parametrize("number", ["1", None, True, [1], complex(1)])
def test_a_share_is_a_number(number: Any) -> None:
    with pytest.raises(ConfigError, match="max_dropped must be a number"):
        PrivateRounds(RECIPE, max_dropped=number, max_corrupt=0)


def test_a_numpy_fraction_is_a_fraction() -> None:
    assert PrivateRounds(RECIPE, max_dropped=np.float64(0.2), max_corrupt=0).plan(10).max_dropped == 2


@pytest.mark.parametrize("recipe", [None, {"w": ARRAY}])
def test_rounds_are_of_a_recipe(recipe: Any) -> None:
    with pytest.raises(ConfigError, match=r"Recipe\.like"):
        PrivateRounds(recipe, max_dropped=0, max_corrupt=0)


@pytest.mark.parametrize(
    "play",
    [
        lambda: rounds().sum([{"w": ARRAY}]),  # type: ignore[arg-type]  # the slips are the point, here and below
        lambda: rounds().sum(ARRAY),  # type: ignore[arg-type]
        lambda: rounds().sum(None),  # type: ignore[arg-type]
        lambda: rounds().sum(UPDATES, weights=[1.0]),  # type: ignore[arg-type]
        lambda: rounds().sum(UPDATES, metrics=[1.0]),  # type: ignore[arg-type]
    ],
)
def test_a_round_takes_one_entry_a_client(play: Callable[[], object]) -> None:
    with pytest.raises(ConfigError, match="one entry a client"):
        play()


def test_an_update_is_a_mapping_and_the_text_says_whose_is_not() -> None:
    with pytest.raises(SecAggError, match="phone-0: tensors is of type ndarray"):
        rounds().sum(dict.fromkeys(UPDATES, ARRAY))  # type: ignore[arg-type]


def test_a_round_nobody_would_join_says_why() -> None:
    three = dict(list(UPDATES.items())[:3])
    with pytest.raises(TooFewClients) as failure:
        rounds().sum(three)  # one may drop out, and a sum of two is below everyone's floor
    (note,) = failure.value.__notes__
    assert note.startswith("3 clients refused the round, phone-0 because offer-policy is broken")
    assert "the floor is 3" in note
