"""What is summed, from the caller's side: clips that are said, hidden weights, metrics, means and their error bound."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import math
import pickle
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import dp
import protocols
from dp import clip
from protocols._guard import foreign, is_own
from protocols.errors import NoWeight, ProtocolError, RecipeError
from protocols.recipe import Recipe
from protocols.total import Total
from secagg.errors import ConfigError, InputError, MisuseError
from secagg.layout import Layout
from secagg.plan import Plan
from secagg.ring import Ring

RNG = np.random.default_rng(23)
EXAMPLE: dict[str, npt.NDArray[Any]] = {"w": np.zeros((4, 3)), "b": np.zeros(3, np.float32)}
PLAN = Plan.find(clients=20, max_dropped=3, max_corrupt=4)
RING = Ring(40)


@dataclass(frozen=True)
class Sum:
    """An aggregate as a recipe reads it."""

    values: npt.NDArray[np.int64]
    invited: tuple[str, ...]
    joined: tuple[str, ...]
    survivors: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    instructions_digest: bytes = b""


def update(scale: float = 0.01) -> dict[str, Any]:
    return {"w": RNG.normal(0, scale, (4, 3)), "b": RNG.normal(0, scale, 3).astype(np.float32)}


def total_of(recipe: Recipe, inputs: Sequence[Mapping[str, Any]], ring: Ring = RING) -> Total:
    """Encode, sum in the ring as a server would, and decode."""
    acc = np.zeros(recipe.length, dtype=ring.word)
    for fields in inputs:
        acc += recipe.encode(**fields, ring=ring).read(0, recipe.length)
    names = tuple(f"phone-{i}" for i in range(len(inputs)))
    return recipe.decode(Sum(ring.center(acc), names, names, names))


def encoded(recipe: Recipe, tensors: Any, **more: Any) -> list[int]:
    return [int(word) for word in RING.center(recipe.encode(tensors, ring=RING, **more).read(0, recipe.length))]


# The recipe.


def test_like_lays_out_tensors_and_the_default_step() -> None:
    recipe = Recipe.like(EXAMPLE, clip=3.0)
    assert recipe.layout == Layout.like(EXAMPLE, bound=3.0, step=3.0 * 2.0**-19)
    assert (recipe.clip, recipe.weight, recipe.metrics, recipe.length) == (3.0, None, (), 15)
    assert recipe.step == 3.0 * 2.0**-19
    assert recipe.ring(PLAN).bits == 25


@pytest.mark.parametrize("clip_norm", [1.0, 0.1, 1 / 3, 1e-30, 7e22])
def test_the_default_step_fits_32_bits_up_to_4095_clients(clip_norm: float) -> None:
    recipe = Recipe.like(EXAMPLE, clip=clip_norm, weight=0.7, metrics={"loss": 1e9})
    assert recipe.layout.limit == 2**19
    assert recipe.layout.ring_for(4095).bits == 32
    assert recipe.layout.ring_for(4096).bits == 33


@pytest.mark.parametrize("step", [0.4, 1.0, 0.3, 2.0**-40, 1e-11])
def test_scalars_never_enlarge_the_ring(step: float) -> None:
    plain = Recipe.like(EXAMPLE, clip=1.0, step=step)
    full = Recipe.like(EXAMPLE, clip=1.0, step=step, weight=123.4, metrics={"a": 1e-9, "b": 77.7})
    assert full.layout.limit == plain.layout.limit
    assert full.length == plain.length + 3


def test_weight_and_metrics_do_not_meet_tensors_of_the_same_name() -> None:
    recipe = Recipe.like({"weight": np.zeros(1), "metric/loss": np.zeros(1)}, clip=1.0, weight=2.0, metrics={"loss": 1})
    assert [str(slot) for slot in recipe.layout.slots] == [
        "tensor 'metric/loss'",
        "tensor 'weight'",
        "scalar 'metric/loss'",
        "scalar 'weight'",
    ]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, "1", True, 10**400])
@pytest.mark.parametrize("name", ["clip", "step", "weight", "metrics"])
def test_refuses_a_parameter_that_is_no_positive_number(name: str, bad: Any) -> None:
    parameters: dict[str, Any] = {"clip": 1.0} | {name: {"loss": bad} if name == "metrics" else bad}
    with pytest.raises(RecipeError, match=name):
        Recipe.like(EXAMPLE, **parameters)


@pytest.mark.parametrize("step", [1.1, 2.0**-41])
def test_refuses_a_step_that_is_too_coarse_or_too_fine(step: float) -> None:
    with pytest.raises(RecipeError, match=r"step=.* must be from clip \* 2\*\*-40"):
        Recipe.like(EXAMPLE, clip=1.0, step=step)


def test_refuses_unfit_tensors_and_names() -> None:
    with pytest.raises(RecipeError, match="tensors is empty"):
        Recipe.like({}, clip=1.0)
    with pytest.raises(RecipeError, match="names are str"):
        Recipe.like(EXAMPLE, clip=1.0, metrics={3: 1.0})  # type: ignore[dict-item]  # what a caller may pass
    with pytest.raises(ConfigError, match="256 bytes"):
        Recipe.like(EXAMPLE, clip=1.0, metrics={"x" * 256: 1.0})
    with pytest.raises(InputError, match="tensor 'w' has dtype int64"):
        Recipe.like({"w": np.arange(3)}, clip=1.0)
    with pytest.raises(RecipeError, match="noise is of type float"):
        Recipe.like(EXAMPLE, clip=1.0, noise=1.0)  # type: ignore[arg-type]  # what is refused


@pytest.mark.parametrize(
    "change",
    [
        {"groups": ((tuple(sorted(EXAMPLE)), 2.0),)},
        {"groups": ((tuple(sorted(EXAMPLE))[:1], 1.0),)},
        {"groups": ((tuple(sorted(EXAMPLE, reverse=True)), 1.0),)},
        {"weight": 5.0},
        {"weight": -5.0},
        {"metrics": ()},
        {"metrics": (("loss", 2.0), ("acc", 1.0))},
        {"layout": Layout.like(EXAMPLE, bound=1.0, step=2.0**-19)},
    ],
)
def test_a_recipe_that_contradicts_its_layout_cannot_be_built(change: dict[str, Any]) -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, metrics={"acc": 1.0, "loss": 2.0})
    with pytest.raises(RecipeError):
        dataclasses.replace(recipe, **change)


def test_the_step_and_weight_of_a_built_recipe_are_checked() -> None:
    with pytest.raises(RecipeError, match="step="):
        dataclasses.replace(Recipe.like(EXAMPLE, clip=1.0), layout=Layout.like(EXAMPLE, bound=1.0, step=2.0**-42))
    with pytest.raises(RecipeError, match="weight"):
        dataclasses.replace(Recipe.like(EXAMPLE, clip=1.0, weight=5.0), weight=-5.0)


# The digest.


def test_the_digest_is_that_of_the_documented_parts() -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.5, weight=8.0, metrics={"loss": 2.0, "acc": 1.0})
    state = hashlib.sha256(b"secagg/v1/hash/recipe\0")
    parts = [recipe.layout.digest, struct.pack(">d", 8.0), b"", b"", b"\0", struct.pack(">QQ", 1, 2)]
    parts += [struct.pack(">Q", len(EXAMPLE)), *(name.encode() for name in sorted(EXAMPLE)), struct.pack(">d", 1.5)]
    parts += [b"acc", struct.pack(">d", 1.0), b"loss", struct.pack(">d", 2.0)]
    for part in parts:
        state.update(len(part).to_bytes(8, "big") + part)
    assert recipe.digest == state.digest()


def test_every_parameter_flips_the_digest() -> None:
    base: dict[str, Any] = {"tensors": EXAMPLE, "clip": 1.0, "weight": 2.0, "metrics": {"a": 1.0}, "step": 2.0**-19}
    changes: list[dict[str, Any]] = [
        {"tensors": {"w": np.zeros((4, 3)), "b": np.zeros(3)}},
        {"clip": math.nextafter(1.0, 2.0)},
        {"weight": math.nextafter(2.0, 3.0)},  # no slot changes: a weight travels as a share of the largest
        {"weight": None},
        {"metrics": {"a": math.nextafter(1.0, 2.0)}},
        {"metrics": {"b": 1.0}},
        {"metrics": {}},
        {"step": 2.0**-20},
        {"whole_words": True},
    ]
    digests = {Recipe.like(**(base | change)).digest for change in [{}, *changes]}
    assert len(digests) == len(changes) + 1
    assert Recipe.like(**(base | {"metrics": {"a": 1.0, "b": 2.0}})).digest == (
        Recipe.like(**(base | {"metrics": {"b": 2.0, "a": 1.0}})).digest
    )


# Encoding.


def test_an_update_inside_the_clip_is_rounded_and_nothing_else() -> None:
    recipe = Recipe.like({"a": np.zeros(2)}, clip=5.0, step=0.5)
    tensors = {"a": np.array([3.0, -4.0])}
    assert encoded(recipe, tensors) == [6, -8]
    assert not recipe.encode(tensors, ring=RING).clipped


def test_an_update_beyond_the_clip_is_scaled_to_it_and_says_so() -> None:
    recipe = Recipe.like({"a": np.zeros(2), "b": np.zeros(1, np.float32)}, clip=6.5, step=0.5)
    tensors = {"a": np.array([3.0, -4.0]), "b": np.array([12.0], np.float32)}
    before = {name: array.tobytes() for name, array in tensors.items()}
    assert encoded(recipe, tensors) == [3, -4, 12]
    assert recipe.encode(tensors, ring=RING).clipped
    assert {name: array.tobytes() for name, array in tensors.items()} == before


def test_a_weighted_input_carries_the_share_and_hides_the_weight() -> None:
    recipe = Recipe.like({"a": np.zeros(2)}, clip=1.0, weight=8.0, metrics={"n": 100.0}, step=2.0**-10)
    tensors = {"a": np.array([0.5, -0.25])}
    assert encoded(recipe, tensors, weight=2, metrics={"n": -50}) == [128, -64, -512, 256]
    assert encoded(recipe, tensors, weight=0.0, metrics={"n": 0.0}) == [0, 0, 0, 0]
    assert encoded(recipe, {"a": np.array([6.0, -8.0])}, weight=4.0, metrics={"n": 0}) == [307, -410, 0, 512]


@pytest.mark.parametrize("weight", [-1.0, 8.1, math.nan, math.inf, 10**400, np.float64(-0.1)])
def test_refuses_a_weight_out_of_range_without_telling_it(weight: Any) -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, weight=8.0)
    with pytest.raises(InputError, match=r"weight must be a number from 0 to 8\.0$"):
        recipe.encode(update(), weight=weight, ring=RING)


def test_refuses_a_weight_missing_uncalled_for_or_no_number() -> None:
    plain, weighted = Recipe.like(EXAMPLE, clip=1.0), Recipe.like(EXAMPLE, clip=1.0, weight=8.0)
    with pytest.raises(InputError, match="weight was given, but the recipe has none"):
        plain.encode(update(), weight=1.0, ring=RING)
    with pytest.raises(InputError, match="weight is missing"):
        weighted.encode(update(), ring=RING)
    for wrong in ("1", True, np.ones(1)):
        with pytest.raises(InputError, match="weight is of type"):
            weighted.encode(update(), weight=wrong, ring=RING)  # type: ignore[arg-type]  # what a caller may pass


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (None, r"missing \['acc', 'loss'\], unknown \[\]"),
        ({"loss": 1.0, "auc": 1.0}, r"missing \['acc'\], unknown \['auc'\]"),
        ({"loss": 1.0, "acc": "high"}, "'metric/acc' is of type str"),
        ({"loss": -2.1, "acc": 0.5}, "'metric/loss' holds a number beyond its bound"),
        ({"loss": math.nan, "acc": 0.5}, "'metric/loss' holds NaN"),
    ],
)
def test_refuses_unfit_metrics_by_name(given: Any, match: str) -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, metrics={"loss": 2.0, "acc": 1.0})
    with pytest.raises(InputError, match=match):
        recipe.encode(update(), metrics=given, ring=RING)


@pytest.mark.parametrize(
    ("tensors", "match"),
    [
        ({"w": np.zeros((4, 3))}, "missing 'b'"),
        ({"w": np.zeros((4, 3)), "b": np.zeros(3)}, "'b' has dtype float64, the layout has float32"),
        ({"w": np.full((4, 3), math.nan), "b": np.zeros(3, np.float32)}, "tensor 'w' holds NaN"),
        ({"w": np.full((4, 3), 1.7e308), "b": np.zeros(3, np.float32)}, "norm of the update is beyond float64"),
    ],
)
def test_refuses_an_unfit_update_by_name(tensors: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        Recipe.like(EXAMPLE, clip=1.0).encode(tensors, ring=RING)


def test_a_ring_too_small_is_refused() -> None:
    with pytest.raises(ConfigError, match="20 bits"):
        Recipe.like(EXAMPLE, clip=1.0).encode(update(), ring=Ring(20))


def test_an_update_changed_after_encode_cannot_wrap() -> None:
    tensors = update()
    words = Recipe.like(EXAMPLE, clip=1.0).encode(tensors, ring=RING)
    tensors["w"][3, 2] = 1e9
    with pytest.raises(InputError, match="tensor 'w' holds a number beyond"):
        words.read(0, words.length)


def test_an_input_shows_its_length_only() -> None:
    words = Recipe.like(EXAMPLE, clip=1.0).encode(update(), ring=RING)
    assert repr(words) == str(words) == "<RecipeInput of 15 words>"
    assert words.ring == RING
    for leave in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(MisuseError, match="never pickled or copied"):
            leave(words)


# Decoding.


def test_the_mean_is_exact_up_to_one_step() -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0)
    updates = [update() for _ in range(20)]
    total = total_of(recipe, [{"update": one} for one in updates], recipe.ring(PLAN))
    for name in EXAMPLE:
        truth = np.mean([one[name].astype(np.float64) for one in updates], axis=0)
        assert np.abs(total.mean()[name] - truth).max() <= total.step
        assert np.abs(total.sum()[name] - 20 * truth).max() <= 20 * total.step
        assert total.mean()[name].shape == truth.shape
    assert total.step == recipe.step
    assert total.weight == 20.0
    assert total.metrics == {}


def test_the_mean_of_updates_beyond_the_clip_is_that_of_the_clipped() -> None:
    recipe = Recipe.like(EXAMPLE, clip=0.5)
    updates = [update(scale) for scale in (0.01, 1.0, 100.0)]
    total = total_of(recipe, [{"update": one} for one in updates])
    truth = np.mean([clip(one, 0.5)[0]["w"] for one in updates], axis=0)
    assert np.abs(total.mean()["w"] - truth).max() <= total.step


def test_the_weighted_mean_stays_within_the_step_it_states() -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, weight=600.0, metrics={"loss": 5.0}, step=2.0**-9)
    updates, weights = [update(0.05) for _ in range(10)], [1, 600, 17, 3.5, 0, 599.9, 40, 250, 0.2, 8]
    losses = RNG.uniform(-5, 5, 10)
    inputs = [
        {"update": one, "weight": weight, "metrics": {"loss": loss}}
        for one, weight, loss in zip(updates, weights, losses, strict=True)
    ]
    total = total_of(recipe, inputs)
    truth = np.average([one["w"] for one in updates], axis=0, weights=weights)
    error = np.abs(total.mean()["w"] - truth).max()
    assert recipe.step / 4 < error <= total.step < 10 * recipe.step
    assert total.weight == pytest.approx(sum(weights), abs=10 * 600 * 2.0**-10)
    assert np.allclose(total.sum()["w"], sum(weights) * truth, atol=10 * 600 * 2.0**-10)
    assert total.metric("loss") == pytest.approx(losses.mean(), abs=5 * 2.0**-10)
    assert total.metric_sum("loss") == pytest.approx(losses.sum(), abs=50 * 2.0**-10)
    assert total.metrics == {"loss": total.metric("loss")}


def test_full_weights_err_like_none() -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, weight=600.0)
    total = total_of(recipe, [{"update": update(), "weight": 600.0}] * 3)
    assert recipe.step <= total.step <= 1.01 * recipe.step


def test_weights_that_sum_to_nothing_leave_no_mean() -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, weight=600.0)
    total = total_of(recipe, [{"update": update(), "weight": 0}] * 3)
    assert total.weight == 0.0
    assert not total.sum()["w"].any()
    with pytest.raises(NoWeight, match="sum to zero"):
        total.mean()
    with pytest.raises(NoWeight, match="sum to zero"):
        _ = total.step


def test_answers_are_fresh_arrays_even_for_a_tensor_of_one_number() -> None:
    recipe = Recipe.like({"a": np.zeros(())}, clip=1.0)
    total = total_of(recipe, [{"update": {"a": np.array(0.5)}}] * 2)
    for answer in (total.sum, total.mean):
        array = answer()["a"]
        assert type(array) is np.ndarray
        assert array.shape == ()
        array[()] = 9.0
    assert float(total.sum()["a"]) == 1.0
    assert float(total.mean()["a"]) == 0.5


def test_the_total_says_who_is_in_it() -> None:
    recipe = Recipe.like({"a": np.zeros(1)}, clip=1.0, step=0.5)
    total = recipe.decode(Sum(np.array([3]), ("a", "b", "c", "d"), ("a", "b", "c"), ("a", "c"), ("b",)))
    assert (total.joined, total.survivors, total.dropped) == (("a", "b", "c"), ("a", "c"), ("b",))
    assert total.weight == 2.0
    assert total.mean()["a"].tolist() == [0.75]


def test_refuses_an_aggregate_of_nobody_of_another_recipe_or_a_metric_it_does_not_have() -> None:
    recipe = Recipe.like({"a": np.zeros(1)}, clip=1.0, metrics={"loss": 1.0})
    with pytest.raises(RecipeError, match="no survivors"):
        recipe.decode(Sum(np.zeros(2, np.int64), ("a",), ("a",), ()))
    with pytest.raises(RecipeError, match="not one of this recipe"):
        recipe.decode(Sum(np.zeros(3, np.int64), ("a",), ("a",), ("a",)))
    total = recipe.decode(Sum(np.zeros(2, np.int64), ("a",), ("a",), ("a",)))
    with pytest.raises(RecipeError, match=r"no metric 'acc', it has \['loss'\]"):
        total.metric("acc")


# The package it runs on.


def test_the_dp_that_runs_is_ours() -> None:
    assert is_own(dp)
    assert protocols.Recipe is Recipe


@pytest.mark.parametrize("marker", [None, "", "other"])
def test_another_dp_is_named(marker: str | None) -> None:
    stranger = ModuleType("dp")
    stranger.__file__ = "/elsewhere/dp.py"
    if marker is not None:
        stranger.__secagg_distribution__ = marker  # type: ignore[attr-defined]  # a marker, but not ours
    assert not is_own(stranger)
    refusal = foreign(stranger)
    assert isinstance(refusal, ImportError)
    assert isinstance(refusal, ProtocolError)
    assert (refusal.name, refusal.path) == ("dp", "/elsewhere/dp.py")


def test_importing_protocols_over_another_dp_fails_before_it_is_used(tmp_path: Path) -> None:
    (tmp_path / "dp.py").write_text("def clip(*args): raise SystemExit('a stranger ran')\n")
    root = str(Path(protocols.__file__).parent.parent)
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {root!r}]; import protocols"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603  # our own interpreter and code
    assert done.returncode == 1
    assert "ForeignPackage: protocols needs the package 'dp' of the distribution 'secagg'" in done.stderr
    assert str(tmp_path / "dp.py") in done.stderr


def test_whole_words_are_those_of_the_machine() -> None:
    plan = Plan.find(clients=20, max_dropped=3, max_corrupt=4)
    assert Recipe.like(EXAMPLE, clip=1.0).ring(plan) == Ring(25)
    assert Recipe.like(EXAMPLE, clip=1.0, whole_words=True).ring(plan) == Ring(32)
    assert Recipe.like(EXAMPLE, clip=1.0, step=2.0**-30, whole_words=True).ring(plan) == Ring(64)
