"""A recipe with noise: what is sent, what comes back, and what it costs."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dp import Budget, DiscreteGaussian, Ledger, MemoryStorage, Neighboring, QuantileClip, Skellam
from dp.events import SkellamSum
from protocols import NoWeight, Recipe, RecipeError, Total, drop, simulate
from protocols.noised import Noising, rotation_seed
from secagg import Adversary, ClientRound, ConfigError, Identity, InputError, MemoryDirectory, MisuseError, Plan
from secagg.config import instructions_digest
from secagg.layout import Layout
from secagg.ring import Ring

PLAN = Plan.find(clients=8, max_dropped=2, max_corrupt=1)
FAINT = Skellam(variance=1.0, step=2.0**-16)
"""Noise of no privacy, so that what is under it can be held against the truth."""

RNG = np.random.default_rng(0)
EXAMPLE: dict[str, Any] = {"w": np.zeros((4, 3)), "b": np.zeros(3, dtype=np.float32)}


def update(scale: float = 0.05) -> dict[str, Any]:
    return {"w": RNG.normal(0, scale, (4, 3)), "b": RNG.normal(0, scale, 3).astype(np.float32)}


@dataclasses.dataclass(frozen=True)
class Sum:
    """An aggregate as a recipe reads it."""

    values: Any
    invited: tuple[str, ...]
    joined: tuple[str, ...]
    survivors: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    instructions_digest: bytes = instructions_digest(b"go")


def sum_of(recipe: Recipe, inputs: list[Any]) -> Total:
    ring = recipe.ring(PLAN)
    total = np.zeros(recipe.length, dtype=ring.word)
    for each in inputs:
        total += each.read(0, recipe.length)
    ring.reduce(total)
    names = tuple(f"c{number}" for number in range(len(inputs)))
    return recipe.decode(Sum(ring.center(total), names, names, names))


def encode(recipe: Recipe, what: dict[str, Any], **more: Any) -> Any:
    return recipe.encode(what, ring=recipe.ring(PLAN), instructions=b"go", **more)


# The sum.


@pytest.mark.parametrize("noise", [FAINT, DiscreteGaussian(sigma=1.0, step=2.0**-16)])
def test_the_mean_weights_and_metrics_come_back_under_the_noise(noise: Any) -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=noise, weight=10.0, metrics={"loss": 4.0, "acc": 1.0})
    updates = [update() for _ in range(6)]
    weights = [1.0, 2.0, 3.0, 4.0, 5.0, 10.0]
    inputs = [
        encode(recipe, each, weight=weight, metrics={"loss": weight / 4, "acc": -0.5})
        for each, weight in zip(updates, weights, strict=True)
    ]
    assert all(each.faithful and not each.clipped for each in inputs)
    total = sum_of(recipe, inputs)
    assert total.weight == pytest.approx(25.0, abs=0.05)
    assert total.metrics["acc"] == pytest.approx(-0.5, abs=1e-3)
    assert total.metric_sum("loss") == pytest.approx(25.0 / 4, abs=1e-2)
    for name in EXAMPLE:
        truth = sum(weight * each[name] for each, weight in zip(updates, weights, strict=True)) / 25.0
        assert np.abs(total.mean()[name] - truth).max() < 12 * total.noise_std + 1e-4


def test_the_stated_deviation_is_that_of_the_noise() -> None:
    recipe = Recipe.like(
        {"w": np.zeros(4000)}, clip=1.0, noise=Skellam(variance=1e6, step=2.0**-12), metrics={"m": 2.0}
    )
    updates = [{"w": RNG.normal(0, 0.001, 4000)} for _ in range(5)]
    total = sum_of(recipe, [encode(recipe, each, metrics={"m": 0.0}) for each in updates])
    error = total.mean()["w"] - np.mean([each["w"] for each in updates], axis=0)
    # A sample deviation of 4000 is off by 1.1 %: six of those by chance in 1 of 10^8.
    assert np.std(error) == pytest.approx(total.noise_std, rel=0.07)
    assert abs(np.mean(error)) < 6 * total.noise_std / math.sqrt(4000)
    assert total.metric_noise_std("m") == pytest.approx(total.noise_std / 0.25 * 2.0)
    with pytest.raises(RecipeError, match="no metric"):
        total.metric_noise_std("n")
    with pytest.raises(RecipeError, match="noise_std"):
        _ = total.step
    exact = Recipe.like(EXAMPLE, clip=1.0, metrics={"m": 1.0})
    plain = sum_of(exact, [encode(exact, update(), metrics={"m": 0.0})])
    assert plain.noise_std == plain.metric_noise_std("m") == 0.0


def test_one_input_has_one_noise_for_one_round_and_two_inputs_have_two() -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=Skellam(variance=1e6))
    same = update()
    first, second = encode(recipe, same), encode(recipe, same)
    with pytest.raises(ConfigError, match="cannot read"):
        first.read(0, 16)
    words = np.concatenate([first.read(0, 3), first.read(3, 15)])
    with pytest.raises(MisuseError, match="goes into one round"):
        first.read(14, 15)
    # One coordinate agrees by chance in 1 of 3500, all fifteen do in 1 of 10^53.
    assert (words != second.read(0, 15)).any()


def test_noised_inputs_do_not_print_or_travel() -> None:
    made = encode(Recipe.like(EXAMPLE, clip=1.0, noise=FAINT), update())
    assert repr(made) == "<RecipeInput of 15 words>"
    assert "array" not in repr(made._words)
    for secret in (made, made._words):
        with pytest.raises(MisuseError, match="never pickled"):
            secret.__reduce_ex__(4)


def test_noise_beyond_a_narrow_ring_is_reduced_and_the_sum_is_right() -> None:
    # One client's noise alone leaves the ring of its bits now and then; the sum modulo 2^b is the same.
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=Skellam(variance=4000.0, step=1.0), overflow_probability=0.9)
    bits = recipe.noising.bits(8)  # type: ignore[union-attr]  # it has noise
    words = encode(recipe, update()).read(0, 15)
    assert int(words.max()) < 2**bits


# Nothing about the data decides who takes part.


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e308])
def test_an_update_that_is_not_finite_counts_as_zeros(bad: float) -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=FAINT, metrics={"loss": 1.0})
    wrong = update()
    wrong["w"][...] = bad
    made = encode(recipe, wrong, metrics={"loss": 0.5})
    assert not made.faithful
    total = sum_of(recipe, [made])
    assert np.abs(total.mean()["w"]).max() < 1e-3
    assert total.metric("loss") == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("tiny", [5e-324, 1e-310, 2.0**-1022])
def test_a_caller_whose_numpy_raises_is_not_told_of_numbers_that_underflow(tiny: float) -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=FAINT, weight=4.0)
    mixed = update()
    mixed["w"][...] = tiny
    mixed["w"][0, 0] = 5.0  # clipping makes the others smaller yet
    with np.errstate(all="raise"):
        made = encode(recipe, mixed, weight=1.5)
    assert made.clipped
    assert made.faithful


@pytest.mark.parametrize(("metric", "read"), [(math.nan, 0.0), (math.inf, 1.0), (-5.0, -1.0), (10**400, 1.0)])
def test_a_metric_beyond_its_bound_counts_as_the_bound(metric: Any, read: float) -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=FAINT, metrics={"loss": 1.0})
    made = encode(recipe, update(), metrics={"loss": metric})
    assert not made.faithful
    assert sum_of(recipe, [made]).metric("loss") == pytest.approx(read, abs=1e-3)


@pytest.mark.parametrize(("weight", "read"), [(-1.0, 0.0), (20.0, 10.0), (math.nan, 0.0)])
def test_a_weight_beyond_its_bound_counts_as_the_bound(weight: float, read: float) -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=FAINT, weight=10.0)
    made = encode(recipe, update(), weight=weight)
    assert not made.faithful
    assert sum_of(recipe, [made]).weight == pytest.approx(read, abs=1e-2)


def test_a_long_update_is_clipped_and_its_client_is_told() -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=FAINT)
    long = update(scale=10.0)
    made = encode(recipe, long)
    assert made.clipped
    assert made.faithful
    norm = math.sqrt(sum(float((each.astype(float) ** 2).sum()) for each in long.values()))
    mean = sum_of(recipe, [made]).mean()
    assert np.abs(mean["w"] - long["w"] / norm).max() < 1e-3


def test_weights_that_noise_carries_to_nothing_have_no_mean() -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=Skellam(variance=1e9), weight=10.0)
    totals = [sum_of(recipe, [encode(recipe, update(), weight=0.0)]) for _ in range(40)]
    nothing = [total for total in totals if total.weight <= 0]
    assert nothing  # half of them; all positive by chance in 1 of 10^12
    with pytest.raises(NoWeight, match="noised weights sum to -"):
        nothing[0].mean()
    # 40 deviations of one law: their root mean square is off by 11 % of it, six times that by chance in 1 of 10^8.
    spread = float(np.std([total.weight for total in totals]))
    assert spread == pytest.approx(totals[0].weight_noise_std, rel=0.67)
    assert total_without_weights().weight_noise_std == 0.0


def total_without_weights() -> Total:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=Skellam(variance=1e9))
    return sum_of(recipe, [encode(recipe, update())])


def test_shapes_names_and_types_are_refused_as_without_noise() -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=FAINT, weight=2.0, metrics={"loss": 1.0})
    good: dict[str, Any] = {"weight": 1.0, "metrics": {"loss": 0.0}}
    encode(recipe, update(), **good)
    with pytest.raises(InputError, match="missing"):
        encode(recipe, {"w": EXAMPLE["w"]}, **good)
    with pytest.raises(InputError, match="weight is missing"):
        encode(recipe, update(), metrics={"loss": 0.0})
    with pytest.raises(InputError, match="type str"):
        encode(recipe, update(), **(good | {"weight": "1"}))
    with pytest.raises(InputError, match="type str"):
        encode(recipe, update(), **(good | {"metrics": {"loss": "1"}}))
    with pytest.raises(InputError, match="instructions is missing"):
        recipe.encode(update(), ring=recipe.ring(PLAN), **good)


# Rotation.


def test_the_rotation_follows_from_recipe_and_instructions() -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=FAINT)
    other = Recipe.like(EXAMPLE, clip=2.0, noise=FAINT)
    digest = instructions_digest(b"go")
    seeds = {
        rotation_seed(recipe.digest, digest),
        rotation_seed(other.digest, digest),
        rotation_seed(recipe.digest, instructions_digest(b"stop")),
    }
    assert len(seeds) == 3
    assert all(len(seed) == 32 for seed in seeds)


def test_a_sum_is_rotated_back_by_what_the_round_says() -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=FAINT)
    what = update()
    words = encode(recipe, what).read(0, 15)
    names = ("a",)
    values = recipe.ring(PLAN).center(words)
    right = recipe.decode(Sum(values, names, names, names))
    wrong = recipe.decode(Sum(values, names, names, names, instructions_digest=instructions_digest(b"stop")))
    assert np.abs(right.mean()["w"] - what["w"]).max() < 1e-3
    assert np.abs(wrong.mean()["w"] - what["w"]).max() > 1e-2


def test_an_input_rotated_by_other_instructions_is_refused_by_the_round() -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=FAINT)
    identity = Identity.generate()
    directory = MemoryDirectory({"phone": identity.public})
    made = encode(recipe, update())
    for instructions, refused in ((b"stop", True), (b"go", False)):
        client = ClientRound(
            client="phone", identity=identity, directory=directory, recipe=recipe, instructions=instructions
        )
        if refused:
            with pytest.raises(MisuseError, match="other instructions"):
                client.provide(made)
        else:
            assert client.provide(made) == ()


# What can be asked for.


def test_every_part_of_the_noise_flips_the_digest() -> None:
    base: dict[str, Any] = {"tensors": EXAMPLE, "clip": 1.0, "noise": Skellam(variance=9, step=2.0**-10)}
    changes: list[dict[str, Any]] = [
        {"noise": None, "step": 2.0**-10},
        {"noise": Skellam(variance=10, step=2.0**-10)},
        {"noise": Skellam(variance=9, step=2.0**-11)},
        {"noise": DiscreteGaussian(sigma=9, step=2.0**-10)},
        {"noise": DiscreteGaussian(sigma=3, step=2.0**-10)},
        {"part": 0.5},
        {"overflow_probability": 0.25},
        {"clip": {"w": 1.0, "b": 1.0}},
        {"clip": QuantileClip(clip=1.0)},
        {"clip": QuantileClip(clip=1.0, rate=0.3)},
        {"clip": QuantileClip(clip=1.0, quantile=0.3)},
    ]
    digests = {Recipe.like(**(base | change)).digest for change in [{}, *changes]}
    assert len(digests) == len(changes) + 1


def test_one_law_has_one_digest_however_its_number_is_written() -> None:
    noises = [Skellam(variance=number, step=2.0**-10) for number in (9, 9.0, Fraction(9), float(np.float32(9)))]
    assert len({Recipe.like(EXAMPLE, clip=1.0, noise=noise).digest for noise in noises}) == 1


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"noise": 1.0}, "type float"),
        ({"noise": FAINT, "step": 2.0**-10}, "not the noise's"),
        ({"noise": Skellam(variance=1, step=2.0)}, "step="),
        ({"noise": Skellam(variance=1, step=2.0**-38)}, "clip / step"),
        ({"noise": FAINT, "part": 0.0}, "part="),
        ({"noise": FAINT, "part": 1.5}, "part="),
        ({"noise": FAINT, "overflow_probability": 0.0}, "overflow_probability="),
        ({"clip": QuantileClip(clip=1.0)}, "give Recipe.like a noise"),
        ({"clip": {"w": 1.0}}, "exactly once"),
        ({"clip": {"w": 1.0, ("w", "b"): 1.0}}, "exactly once"),
        ({"clip": {"w": 1.0, "x": 1.0}}, "group 'x'"),
        ({"clip": {"w": 1.0, "b": -1.0}}, r"clip\['b'\]"),
        ({"clip": {"w": 1.0, (): 1.0, "b": 1.0}}, "group"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(change: dict[str, Any], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        Recipe.like(EXAMPLE, **({"clip": 1.0} | change))


def test_noise_for_another_layout_cannot_be_put_in() -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=FAINT)
    noising = recipe.noising
    assert noising is not None
    for change in ({"length": 16}, {"numbers": 1}, {"clip": 2.0}, {"noise": FAINT.at(2.0**-15)}):
        with pytest.raises(RecipeError, match="not for this layout"):
            dataclasses.replace(recipe, noising=dataclasses.replace(noising, **change))
    with pytest.raises(RecipeError, match="noise is of type"):
        Noising(noise=1, clip=1.0, length=1, numbers=0, overflow_probability=0.5)  # type: ignore[arg-type]  # refused
    with pytest.raises(RecipeError, match="one over the whole"):
        dataclasses.replace(recipe, adaptive=QuantileClip(clip=2.0), layout=_with_bit(recipe))


def _with_bit(recipe: Recipe) -> Layout:
    return Recipe.like(EXAMPLE, clip=QuantileClip(clip=1.0), noise=FAINT).layout


def test_numbers_beside_the_tensors_cost_accuracy_and_no_privacy() -> None:
    bare = Recipe.like(EXAMPLE, clip=1.0, noise=FAINT)
    more = Recipe.like(EXAMPLE, clip=1.0, noise=FAINT, weight=1.0, metrics={"a": 1.0}, part=0.5)
    assert bare.noising is not None
    assert more.noising is not None
    assert more.noising.unit == pytest.approx(bare.noising.unit * math.sqrt(1.5))
    assert more.noising.clip / more.noising.step == bare.noising.clip / bare.noising.step


def test_groups_are_clipped_each_on_its_own() -> None:
    for noise in (None, FAINT):
        recipe = Recipe.like(EXAMPLE, clip={"w": 0.5, ("b",): 2.0}, noise=noise)
        assert recipe.clip == pytest.approx(math.sqrt(4.25))
        what = {"w": np.full((4, 3), 1.0), "b": np.full(3, 0.5, dtype=np.float32)}
        made = encode(recipe, what)
        assert made.clipped
        mean = sum_of(recipe, [made]).mean()
        assert np.abs(mean["w"] - 0.5 / math.sqrt(12)).max() < 1e-3
        assert np.abs(mean["b"] - 0.5).max() < 1e-3


# A clip that adapts.


def test_the_clip_moves_by_the_noised_share_of_clients_within_it() -> None:
    recipe = Recipe.like(EXAMPLE, clip=QuantileClip(clip=1.0, quantile=0.5, rate=0.2), noise=FAINT)
    short, long = update(0.001), update(5.0)
    total = sum_of(recipe, [encode(recipe, each) for each in (short, short, short, long)])
    assert total.within == pytest.approx(0.75, abs=1e-3)
    after = recipe.after(total)
    assert after.clip == pytest.approx(math.exp(-0.2 * 0.25), rel=1e-3)
    assert after.adaptive == dataclasses.replace(recipe.adaptive, clip=after.clip)  # type: ignore[type-var]
    assert after.digest != recipe.digest
    assert after.noising is not None
    assert recipe.noising is not None
    # In integer units nothing changes: neither noise, nor sensitivity, nor ring.
    assert after.charge(PLAN) == recipe.charge(PLAN)
    assert after.ring(PLAN) == recipe.ring(PLAN)
    assert after.step / after.clip == pytest.approx(recipe.step)
    assert sum_of(after, [encode(after, short)]).within == pytest.approx(1.0, abs=1e-3)


def test_an_update_without_a_norm_counts_as_beyond_the_clip() -> None:
    recipe = Recipe.like(EXAMPLE, clip=QuantileClip(clip=1.0), noise=FAINT)
    wrong = {"w": np.full((4, 3), math.nan), "b": np.zeros(3, dtype=np.float32)}
    assert sum_of(recipe, [encode(recipe, wrong)]).within == pytest.approx(0.0, abs=1e-3)


def test_a_recipe_follows_its_own_totals_only() -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=FAINT)
    other = Recipe.like(EXAMPLE, clip=1.0, noise=FAINT)
    total = sum_of(recipe, [encode(recipe, update())])
    assert recipe.after(total) is recipe
    with pytest.raises(RecipeError, match="another recipe"):
        other.after(total)
    with pytest.raises(RecipeError, match="does not adapt"):
        _ = total.within


# Rings and charges.


@pytest.mark.parametrize("bits", [10, 12, 16, 20])
def test_low_bit_rings_carry_the_sum(bits: int) -> None:
    noise = Skellam.for_budget(
        clip=1.0, epsilon=50.0, delta=1e-5, rounds=1, honest=5, length=15, bits=bits, clients=PLAN.clients
    )
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=noise)
    assert recipe.ring(PLAN).bits <= bits
    updates = [update() for _ in range(8)]
    total = sum_of(recipe, [encode(recipe, each) for each in updates])
    truth = np.mean([each["w"] for each in updates], axis=0)
    # Rounding adds at most a variance of 1/4 a client and coordinate to that of the noise.
    spread = math.sqrt(total.noise_std**2 + (recipe.step**2 / 4) / 8)
    assert np.abs(total.mean()["w"] - truth).max() < 7 * spread


def test_a_round_costs_what_its_honest_survivors_noise_is_worth() -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=Skellam(variance=1000.0, step=2.0**-10))
    assert recipe.noising is not None
    sensitivity = recipe.noising.sensitivity
    worst, best = recipe.charge(PLAN), recipe.charge(PLAN, survivors=8)
    assert worst.server == SkellamSum(variance=5000.0, sensitivity=sensitivity)
    # A colluder of an active adversary may have left its noise out, which who sees the sum alone does not make good.
    assert worst.public == worst.server
    honest = dataclasses.replace(PLAN, adversary=Adversary.SEMI_HONEST, quorum=0)
    assert recipe.charge(honest).server == worst.server
    assert recipe.charge(honest).public == SkellamSum(variance=6000.0, sensitivity=sensitivity)
    assert best.server == SkellamSum(variance=7000.0, sensitivity=sensitivity)
    assert 0.0 < worst.sampler_error < 2.0**-100
    for survivors in (5, 9, True, 6.0):
        with pytest.raises(RecipeError, match="survivors="):
            recipe.charge(PLAN, survivors=survivors)  # type: ignore[arg-type]  # what is refused
    with pytest.raises(RecipeError, match="no noise"):
        Recipe.like(EXAMPLE, clip=1.0).charge(PLAN)


def test_a_planned_run_fits_a_ledger_of_its_budget_and_not_one_round_more() -> None:
    noise = Skellam.for_budget(clip=1.0, epsilon=3.0, delta=1e-6, rounds=4, honest=5, length=15)
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=noise)
    budget = Budget(epsilon=3.0, delta=1e-6, neighboring=Neighboring.ZERO_OUT)
    with Ledger.create(MemoryStorage(), budget=budget, planned=recipe.planned(PLAN, rounds=4)) as ledger:
        for number in range(4):
            ledger.reserve(f"round {number}", recipe.charge(PLAN))
        assert not ledger.would_allow(recipe.charge(PLAN))


def test_a_ring_that_no_word_holds_is_refused() -> None:
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=FAINT)
    object.__setattr__(recipe.noising, "noise", Skellam(variance=2e15, step=2.0**-16))
    assert recipe.ring(PLAN) == Ring(recipe.noising.bits(8))  # type: ignore[union-attr]  # it has noise


def test_a_whole_round_with_drop_outs_gives_the_noised_mean() -> None:
    updates = {f"c{number}": update() for number in range(8)}
    recipe = Recipe.like(EXAMPLE, clip=1.0, noise=FAINT, weight=2.0)
    total = simulate(
        updates,
        PLAN,
        recipe,
        weights=dict.fromkeys(updates, 1.0),
        faults=[drop("c1", before="mask"), drop("c2", before="unmask")],
    )
    assert total.dropped == ("c1",)
    truth = np.mean([updates[name]["w"] for name in total.survivors], axis=0)
    assert np.abs(total.mean()["w"] - truth).max() < 12 * total.noise_std + 1e-3
