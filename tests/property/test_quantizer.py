"""Theorems of the way from float tensors into the ring and back, against an oracle of plain Python numbers."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from dp import clip
from dp.clipping import clip_factor, l2_norm
from protocols.recipe import Recipe
from secagg.errors import ConfigError, InputError
from secagg.fixedpoint import MAX_LIMIT, FixedPoint
from secagg.layout import Layout
from secagg.ring import Ring, Words
from secagg.slot import Slot, SlotKind

DTYPES = st.sampled_from(["<f2", "<f4", "<f8", ">f2", ">f4", ">f8"])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=6)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
POSITIVE = st.floats(1e-30, 1e30)


@st.composite
def doors(draw: st.DrawFn, most: int = MAX_LIMIT) -> FixedPoint:
    """A bound and a step, on powers of two or off them, with few or many values between."""
    bound = draw(POSITIVE)
    step = bound / draw(st.floats(1.0, most))
    power = 2.0 ** math.ceil(math.log2(step))  # by a power of two the door multiplies instead of dividing
    return FixedPoint(bound=bound, step=draw(st.sampled_from([step, power if power <= bound else step])))


@st.composite
def numbers_within(draw: st.DrawFn) -> tuple[FixedPoint, float]:
    """A door and a number it takes, often its bound or a tie between two values."""
    fixed = draw(doors())
    tie = (draw(st.integers(0, fixed.limit)) + 0.5) * fixed.step
    number = draw(st.one_of(st.floats(0.0, fixed.bound), st.sampled_from([fixed.bound, min(tie, fixed.bound)])))
    return fixed, draw(st.sampled_from([number, -number]))


def views(array: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """The same numbers in every order and byte order memory can have."""
    backward = array[tuple(slice(None, None, -1) for _ in array.shape)]
    again = backward.copy()[tuple(slice(None, None, -1) for _ in array.shape)]
    swapped = array.astype(array.dtype.newbyteorder())
    wide = np.stack([array, array], axis=-1)[..., 0]
    return [array, np.array(array, order="F"), swapped, again.reshape(array.shape), wide.reshape(array.shape)]


def updates(magnitude: float) -> st.SearchStrategy[dict[str, npt.NDArray[Any]]]:
    """Tensors of all float dtypes and small shapes, empty and 0-d ones among them."""
    top = float(np.float16(magnitude))
    elements = st.floats(-top, top, width=16)
    tensor = st.tuples(DTYPES, SHAPES).flatmap(lambda like: hnp.arrays(like[0], like[1], elements=elements))
    several = st.dictionaries(NAMES, tensor, min_size=1, max_size=4)
    return several.filter(lambda tensors: any(array.size for array in tensors.values()))


def oracle(tensors: dict[str, npt.NDArray[Any]], step: float) -> list[int]:
    """Coordinates in C order of the sorted names, divided and rounded as Python does: IEEE, ties to even."""
    flat = [float(x) for name in sorted(tensors) for x in tensors[name].astype(np.float64).ravel(order="C")]
    return [round(x / step) for x in flat]


# The door.


@given(numbers_within())
def test_rounding_is_off_by_half_a_step_at_most(case: tuple[FixedPoint, float]) -> None:
    fixed, number = case
    block = np.array([number])
    encoded = fixed.encode(block)
    assert int(encoded[0]) == round(number / fixed.step)
    assert abs(int(encoded[0])) <= fixed.limit
    assert abs(float(fixed.decode(encoded)[0]) - number) <= fixed.step / 2 + 2 * math.ulp(number)


@given(doors(), st.floats(allow_nan=True, allow_infinity=True))
def test_a_number_is_rounded_or_refused_and_nothing_between(fixed: FixedPoint, number: float) -> None:
    block = np.array([0.0, number])
    if math.isfinite(number) and abs(number / fixed.step) < fixed.limit + 0.5:
        assert fixed.encode(block).tolist() == [0, round(number / fixed.step)]
    elif not math.isfinite(number) or abs(number / fixed.step) > fixed.limit + 0.5:
        with pytest.raises(InputError):
            fixed.encode(block)


# The ring.


@given(st.integers(1, 65_536), doors())
def test_clients_at_the_bound_never_wrap_and_one_bit_less_would(clients: int, fixed: FixedPoint) -> None:
    layout = Layout.like({"a": np.zeros(2)}, bound=fixed.bound, step=fixed.step)
    largest = clients * fixed.limit
    if 2 * largest + 1 > 2**64:
        with pytest.raises(ConfigError):
            layout.ring_for(clients)
        return
    ring = layout.ring_for(clients)
    words = layout.encode({"a": np.array([fixed.bound, -fixed.bound])}, ring=ring).read(0, 2)
    total: Words = np.array([int(word) * clients % ring.modulus for word in words], dtype=ring.word)
    assert ring.center(total).tolist() == [largest, -largest]
    assert 2 * largest + 1 <= ring.modulus
    assert ring.bits == 8 or 2 * largest + 1 > ring.modulus // 2


@given(st.integers(2**11, 65_536), st.floats(2.0**47, 2.0**52), POSITIVE)
@example(2366, 3898297564182069.0, 2064845178699593.0)  # the step that would do is not the rounded quotient
def test_the_numbers_a_refusal_names_would_do(clients: int, levels: float, bound: float) -> None:
    example = {"a": np.zeros(1)}
    layout = Layout.like(example, bound=bound, step=bound / levels)
    assume(2 * clients * layout.limit + 1 > 2**64)
    with pytest.raises(ConfigError) as refusal:
        layout.ring_for(clients)
    advice = str(refusal.value).split("take at most ")[1]
    fewer, step = int(advice.split()[0]), float(advice.split()[-1])
    assert layout.ring_for(fewer).bits <= 64
    assert Layout.like(example, bound=bound, step=step).ring_for(clients).bits <= 64


# Encoding.


@given(updates(1.0), st.floats(2.0**-19, 1.0), st.sampled_from([24, 32, 33, 64]), st.data())
def test_words_are_those_of_the_oracle_whatever_memory_looks_like(
    tensors: dict[str, npt.NDArray[Any]], step: float, bits: int, data: st.DataObject
) -> None:
    layout, ring = Layout.like(tensors, bound=1.0, step=step), Ring(bits)
    arrays = {name: data.draw(st.sampled_from(views(array))) for name, array in tensors.items()}
    before = {name: array.tobytes("A") for name, array in arrays.items()}
    encoded = layout.encode(arrays, ring=ring)
    cut = data.draw(st.integers(0, layout.length))
    words = [int(word) for part in (encoded.read(0, cut), encoded.read(cut, layout.length)) for word in part]
    expected = oracle(tensors, step)
    assert words == [value % ring.modulus for value in expected]
    assert ring.center(np.array(words, dtype=ring.word)).tolist() == expected
    assert {name: array.tobytes("A") for name, array in arrays.items()} == before


@given(st.lists(hnp.arrays("<f4", 5, elements=st.floats(-1, 1, width=32)), min_size=1, max_size=9), st.floats(1e-5, 1))
def test_the_decoded_sum_is_the_sum_of_the_encoded(clients: list[npt.NDArray[np.float32]], step: float) -> None:
    layout = Layout.like({"a": clients[0]}, bound=1.0, step=step)
    ring = layout.ring_for(len(clients))
    words = [layout.encode({"a": one}, ring=ring).read(0, 5) for one in clients]
    total = [sum(int(word[i]) for word in words) % ring.modulus for i in range(5)]
    exact = [sum(column) for column in zip(*(oracle({"a": one}, step) for one in clients), strict=True)]
    centered = ring.center(np.array(total, dtype=ring.word))
    assert centered.tolist() == exact
    assert layout.decode(centered).tensors["a"].tolist() == [value * step for value in exact]


# The digest.


SLOTS = st.builds(
    Slot,
    kind=st.just(SlotKind.TENSOR),
    name=NAMES,
    shape=st.lists(st.integers(1, 3), max_size=3).map(tuple),
    dtype=st.sampled_from(["float16", "float32", "float64"]),
    fixed=doors(),
) | st.builds(Slot.scalar, name=NAMES, fixed=doors())


@given(st.lists(SLOTS, min_size=1, max_size=4, unique_by=lambda slot: slot.sort_key), SLOTS, st.data())
def test_layouts_share_a_digest_exactly_when_they_are_equal(
    slots: list[Slot], other: Slot, data: st.DataObject
) -> None:
    layout = Layout(slots=tuple(sorted(slots, key=lambda slot: slot.sort_key)))
    assert Layout(slots=tuple(dataclasses.replace(slot) for slot in layout.slots)).digest == layout.digest
    victim = data.draw(st.sampled_from(slots))
    changed = [slot for slot in slots if slot is not victim and slot.sort_key != other.sort_key] + [other]
    twin = Layout(slots=tuple(sorted(changed, key=lambda slot: slot.sort_key)))
    assert (twin.digest == layout.digest) == (twin == layout)


# Clipping.


@given(st.floats(0.0, 1e308), st.floats(1e-300, 1e308))
def test_the_factor_never_overshoots_and_wastes_nothing(norm: float, bound: float) -> None:
    factor = clip_factor(norm, bound)
    assert 0.0 <= factor <= 1.0
    assert factor * norm <= bound
    assert (factor == 1.0) == (norm <= bound)
    if factor < 1.0 and factor > 1e-300:
        assert factor * norm >= bound * (1 - 2.0**-50)


@given(hnp.arrays("<f8", st.integers(0, 20), elements=st.floats(-1e150, 1e150)))
def test_the_norm_is_the_norm_and_never_below_a_coordinate(values: npt.NDArray[np.float64]) -> None:
    norm = l2_norm({"a": values[:7], "b": values[7:]})
    assert norm == pytest.approx(math.hypot(*values.tolist()), rel=1e-14)
    assert all(abs(x) <= norm for x in values.tolist())


@given(updates(60_000.0), st.floats(1e-3, 1e6))
def test_a_clipped_update_is_within_the_bound_or_untouched(tensors: dict[str, npt.NDArray[Any]], bound: float) -> None:
    clipped, report = clip(tensors, bound)
    assert report.clipped == (l2_norm(tensors) > bound)
    # The copy's own dtype rounds last: by 2^-11 of a float16, or by half of its smallest step of 2^-24.
    coordinates = sum(array.size for array in tensors.values())
    assert l2_norm(clipped) <= bound * (1 + 2.0**-10) + 2.0**-25 * math.sqrt(coordinates)
    if not report.clipped:
        assert {name: array.tobytes() for name, array in clipped.items()} == (
            {name: array.tobytes() for name, array in tensors.items()}
        )


# The recipe.


@given(updates(60_000.0), POSITIVE, st.floats(1.0, 2.0**20), st.floats(0.0, 1.0))
def test_no_finite_update_is_refused_however_the_floats_fall(
    tensors: dict[str, npt.NDArray[Any]], clip_norm: float, levels: float, share: float
) -> None:
    recipe = Recipe.like(tensors, clip=clip_norm, step=clip_norm / levels, weight=3.0)
    ring = recipe.layout.ring_for(1)
    words = recipe.encode(tensors, weight=3.0 * share, ring=ring)
    values = recipe.layout.decode(ring.center(words.read(0, words.length))).tensors
    assert words.clipped == (l2_norm(tensors) > clip_norm)
    factor = clip_factor(l2_norm(tensors), clip_norm)
    for name, array in tensors.items():
        truth = array.astype(np.float64) * factor * (3.0 * share / 3.0)
        assert (np.abs(values[name] - truth) <= recipe.step * (0.5 + 2.0**-25)).all()


@dataclasses.dataclass(frozen=True)
class Sum:
    """An aggregate as a recipe reads it."""

    values: npt.NDArray[np.int64]
    joined: tuple[str, ...]
    instructions_digest: bytes = b""

    @property
    def invited(self) -> tuple[str, ...]:
        return self.joined

    survivors = invited

    @property
    def dropped(self) -> tuple[str, ...]:
        return ()


CLIENT = st.tuples(hnp.arrays("<f8", 3, elements=st.floats(-2, 2)), st.floats(0.0, 7.0))


@given(st.lists(CLIENT, min_size=1, max_size=8), st.floats(1.0, 2.0**40), st.sampled_from([None, 7.0]))
def test_the_mean_is_off_by_at_most_the_step_it_states(
    clients: list[tuple[npt.NDArray[np.float64], float]], levels: float, largest: float | None
) -> None:
    recipe = Recipe.like({"a": np.zeros(3)}, clip=1.5, step=1.5 / levels, weight=largest)
    ring = recipe.layout.ring_for(len(clients))
    acc = np.zeros(recipe.length, dtype=ring.word)
    for values, weight in clients:
        acc += recipe.encode({"a": values}, weight=weight if largest else None, ring=ring).read(0, recipe.length)
    total = recipe.decode(Sum(ring.center(acc), tuple(f"phone-{i}" for i in range(len(clients)))))
    assume(total.weight > 0.0)
    weights = np.array([weight if largest else 1.0 for _, weight in clients])
    assume(weights.sum() > 0.0)
    clipped = [clip({"a": values}, 1.5)[0]["a"] for values, _ in clients]
    truth = [math.fsum(w * x[i] for w, x in zip(weights, clipped, strict=True)) / math.fsum(weights) for i in range(3)]
    assert np.abs(total.mean()["a"] - truth).max() <= total.step
