"""Flat L2 clipping: a norm that survives extremes, a factor that never overshoots, and inputs it refuses."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any, Literal

import numpy as np
import pytest

from dp import ClipReport, ParameterError, PrivacyError, UpdateError, clip
from dp.clipping import clip_factor, l2_norm

RNG = np.random.default_rng(5)


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1.0, 1e200, 1e307])
def test_the_norm_neither_overflows_nor_underflows(scale: float) -> None:
    tensors = {"a": np.array([3.0, 0.0]) * scale, "b": np.array(-4.0 * scale)}
    assert l2_norm(tensors) == pytest.approx(5.0 * scale, rel=1e-15 if scale > 1e-300 else 1e-2, abs=0.0)


def test_the_norm_puts_blocks_of_every_magnitude_together() -> None:
    values = np.concatenate([np.full(70_000, 1e-160), np.full(70_000, 1e160), np.full(70_000, 2.0)])
    assert l2_norm({"a": values}) == pytest.approx(1e160 * math.sqrt(70_000), rel=1e-14)
    values = RNG.normal(size=200_000) * np.repeat([1.0, 100.0, 0.01, 1000.0], 50_000)
    assert l2_norm({"a": values}) == pytest.approx(math.sqrt(math.fsum(values * values)), rel=1e-14)


@pytest.mark.parametrize(
    "exponent", [*range(-1020, -440, 20), *range(-452, -447), *range(447, 453), *range(460, 1000, 20)]
)
def test_a_block_of_any_magnitude_has_its_norm(exponent: int) -> None:
    values = RNG.uniform(0.5, 1.0, 1000) * 2.0**exponent
    values[::7] *= 2.0**-60
    exact = math.ldexp(math.sqrt(math.fsum(math.ldexp(x, -exponent) ** 2 for x in values.tolist())), exponent)
    assert l2_norm({"a": values}) == pytest.approx(exact, rel=1e-13, abs=0.0)


def test_many_small_squares_beside_a_large_one_are_not_lost() -> None:
    values = np.full(32_768, 2.0**-27)  # each square is a quarter of what could be added to 1 alone
    values[0] = 1.0
    assert l2_norm({"a": values}) == pytest.approx(math.sqrt(math.fsum(values * values)), rel=2.0**-51, abs=0.0)


@pytest.mark.parametrize("one", [1.0, 0.1, 5e-324, 1.7e308, 3.3e-150])
def test_one_coordinate_is_its_own_norm(one: float) -> None:
    assert l2_norm({"a": np.array([0.0, -one])}) == one


@pytest.mark.parametrize("tensors", [{}, {"a": np.zeros(5)}, {"a": np.zeros((0, 3)), "b": np.zeros(())}])
def test_nothing_has_norm_zero(tensors: dict[str, Any]) -> None:
    assert l2_norm(tensors) == 0.0


def test_strides_and_byte_order_do_not_matter() -> None:
    plain = RNG.normal(size=(300, 400)).astype(np.float32)
    expected = l2_norm({"a": plain})
    for twin in (np.asfortranarray(plain), plain.astype(">f4"), plain[::-1, ::-1], plain.view(np.memmap)):
        assert l2_norm({"a": twin}) == pytest.approx(expected, rel=1e-14)
    assert l2_norm({"a": plain.view(np.matrix)}) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_norm_makes_no_whole_copy(order: Literal["C", "F"]) -> None:
    values = np.ones((16, 1 << 16), order=order)
    tracemalloc.start()
    try:
        l2_norm({"a": values})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < values.nbytes / 2


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_refuses_what_is_not_finite_and_names_the_tensor(bad: float) -> None:
    for place in (0, 70_000):
        values = np.zeros(70_001, dtype=np.float32)
        values[place] = bad
        with pytest.raises(UpdateError, match="tensor 'layer' holds NaN or an infinity"):
            clip({"fine": np.ones(2), "layer": values}, 1.0)


def test_refuses_a_signaling_nan_without_a_warning() -> None:
    signaling = np.array([0x7FA00000], dtype=np.uint32).view(np.float32)
    with pytest.raises(UpdateError, match="NaN"):
        l2_norm({"a": signaling})


def test_refuses_a_norm_beyond_float64() -> None:
    with pytest.raises(UpdateError, match="beyond float64"):
        l2_norm({"a": np.full(4, 1.7e308)})
    with pytest.raises(UpdateError, match="beyond float64"):
        l2_norm({"a": np.array([1.7e308]), "b": np.array([1.7e308])})


@pytest.mark.parametrize(
    "bad", [[1.0], 1.0, np.arange(3), np.ones(2, bool), np.ones(2, complex), np.ma.masked_array([1.0], [True]), None]
)
def test_refuses_what_is_no_array_of_floats(bad: Any) -> None:
    with pytest.raises(UpdateError, match="'layer'"):
        clip({"layer": bad}, 1.0)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan, math.inf, True, "1"])
def test_refuses_a_bound_that_bounds_nothing(bound: Any) -> None:
    with pytest.raises(ParameterError, match="bound"):
        clip({"a": np.ones(1)}, bound)
    with pytest.raises(ParameterError, match="bound"):
        clip_factor(1.0, bound)


@pytest.mark.parametrize("norm", [-1.0, math.nan, math.inf, "1"])
def test_refuses_a_norm_that_is_none(norm: Any) -> None:
    with pytest.raises(PrivacyError, match="norm"):
        clip_factor(norm, 1.0)


def test_an_update_inside_the_bound_is_copied_as_it_is() -> None:
    tensors = {"a": np.array([3.0]), "b": np.array([[4.0]], dtype=">f4")}
    clipped, report = clip(tensors, 5.0)
    assert report == ClipReport(bound=5.0, clipped=False, norm=5.0, factor=1.0)
    for name, array in tensors.items():
        assert clipped[name].tobytes() == array.tobytes()
        assert clipped[name].dtype == array.dtype
        assert not np.shares_memory(clipped[name], array)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
def test_an_update_outside_is_shrunk_to_the_bound(dtype: str) -> None:
    tensors = {"a": np.asfortranarray(RNG.normal(size=(30, 20))).astype(dtype), "b": np.array(2.0, dtype=dtype)}
    before = {name: array.tobytes() for name, array in tensors.items()}
    clipped, report = clip(tensors, 0.5)
    assert report.clipped
    assert l2_norm(clipped) == pytest.approx(0.5, rel=2 * float(np.finfo(np.dtype(dtype)).eps))
    for name, array in tensors.items():
        assert (clipped[name].dtype, clipped[name].shape) == (array.dtype, array.shape)
        assert array.tobytes() == before[name]


def test_the_report_prints_nothing_of_the_update() -> None:
    _, report = clip({"a": np.array([123.456])}, 1.0)
    assert repr(report) == "ClipReport(bound=1.0, clipped=True)"
