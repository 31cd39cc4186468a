"""The encoder's theorem: whatever is given, the integers before noise are within the accounted sensitivity."""

from __future__ import annotations

import math
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dp.noise import Skellam
from dp.rounding import fits, round_within, rounded_limit
from protocols.noised import Noising
from protocols.recipe import Recipe
from secagg.ring import Ring

NASTY = st.one_of(
    st.floats(width=64),
    st.sampled_from([2.0**31, -(2.0**31), 2.0**32, 2.0**63, -(2.0**63), math.nan, math.inf, 5e-324, 1.0 - 2**-53, 0.5]),
)
VECTORS = hnp.arrays(np.float64, st.integers(1, 40), elements=NASTY)
RING = Ring(32)


@settings(max_examples=10_000, deadline=None)
@given(vector=VECTORS, norm=st.floats(1.0, 2.0**28))
def test_no_vector_leaves_the_limit(vector: np.ndarray[Any, Any], norm: float) -> None:
    limit = rounded_limit(norm, len(vector))
    values, faithful = round_within(vector, limit)
    assert sum(int(value) ** 2 for value in values.tolist()) <= limit
    assert fits(values, limit)
    assert faithful or not values.any()


@settings(max_examples=500, deadline=None)
@given(
    update=hnp.arrays(np.float32, (2, 5), elements=st.floats(width=32)),
    bias=hnp.arrays(np.float64, (3,), elements=NASTY),
    weight=NASTY,
    metric=NASTY,
)
def test_no_update_is_refused_and_none_leaves_the_sensitivity(
    update: np.ndarray[Any, Any], bias: np.ndarray[Any, Any], weight: float, metric: float
) -> None:
    seen: list[np.ndarray[Any, Any]] = []

    class Watched(Noising):
        def encode(self, vector: np.ndarray[Any, Any], seed: bytes) -> tuple[np.ndarray[Any, Any], bool]:
            rounded = round_within(self._rotation(seed).apply(self.scaled(vector)), self.limit)
            seen.append(rounded.values)
            return rounded.values, rounded.faithful

    noise = Skellam(variance=10.0, step=2.0**-10)
    recipe = Recipe.like({"w": update, "b": bias}, clip=1.0, noise=noise, weight=4.0, metrics={"loss": 2.0})
    noising = recipe.noising
    assert noising is not None
    watched = Watched(**{name: getattr(noising, name) for name in noising.__dataclass_fields__})
    object.__setattr__(recipe, "noising", watched)
    made = recipe.encode({"w": update, "b": bias}, weight=weight, metrics={"loss": metric}, ring=RING, instructions=b"")
    assert made.length == recipe.length
    (integers,) = seen
    assert sum(int(value) ** 2 for value in integers.tolist()) <= noising.limit
    if made.faithful:
        assert np.isfinite(update).all()
        assert np.isfinite(bias).all()
