"""The float door: what it refuses to be, what it refuses to take, and exact examples of what it does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from secagg.errors import ConfigError, InputError, MisuseError
from secagg.fixedpoint import LARGEST, MAX_LIMIT, SMALLEST, FixedPoint


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, -math.inf, 2.0**-1001, 2.0**1001, 10**400, "1", True])
@pytest.mark.parametrize("name", ["bound", "step"])
def test_refuses_a_bound_or_step_that_is_no_usable_number(name: str, bad: Any) -> None:
    parameters = {"bound": 1.0, "step": 0.5} | {name: bad}
    with pytest.raises(ConfigError, match=name):
        FixedPoint(**parameters)


@pytest.mark.parametrize("both", [2.0**-1001, 2.0**1001, math.inf])
def test_refuses_magnitudes_whose_sums_could_leave_float64(both: float) -> None:
    with pytest.raises(ConfigError, match=r"from 2\^-1000 to 2\^1000"):
        FixedPoint(bound=both, step=both)


def test_refuses_a_step_above_the_bound() -> None:
    with pytest.raises(ConfigError, match=r"step=2\.0 is above bound=1\.0"):
        FixedPoint(bound=1.0, step=2.0)


def test_refuses_more_than_float64_holds_and_says_which_step_would_do() -> None:
    with pytest.raises(ConfigError, match=r"at least ") as refusal:
        FixedPoint(bound=3.0, step=3.0 * 2.0**-53)
    suggested = float(str(refusal.value).rsplit("at least ", 1)[1])
    assert FixedPoint(bound=3.0, step=suggested).limit == MAX_LIMIT


@pytest.mark.parametrize(
    ("bound", "step", "limit"), [(1.0, 1.0, 1), (1.0, 0.3, 3), (1.0, 0.4, 2), (2.5, 1.0, 2), (1.0, 2.0**-52, 2**52)]
)
def test_limit_is_the_rounded_quotient(bound: float, step: float, limit: int) -> None:
    assert FixedPoint(bound=bound, step=step).limit == limit


def test_numbers_become_python_floats() -> None:
    fixed = FixedPoint(bound=np.float32(2.0), step=1)  # type: ignore[arg-type]  # what numpy code hands over
    assert type(fixed.bound) is float
    assert fixed == FixedPoint(bound=2.0, step=1.0)


def test_rounds_to_nearest_ties_to_even() -> None:
    fixed = FixedPoint(bound=4.0, step=1.0)
    block = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 0.49, -3.51, 4.0, -0.0])
    assert fixed.encode(block).tolist() == [0, 2, 2, 0, -2, 0, -4, 4, 0]
    assert fixed.encode(block).dtype == np.int64


@pytest.mark.parametrize("step", [SMALLEST, 2.0**-18, 1.0, LARGEST, 3 * 2.0**-20, 0.1])
def test_every_number_is_divided_by_the_step_as_ieee_divides(step: float) -> None:
    fixed = FixedPoint(bound=min(step * 2.0**30, LARGEST), step=step)
    random = np.random.default_rng(4)
    ties = (np.arange(3000) + 0.5) * step  # where a rounded reciprocal would show
    ties = ties[ties <= fixed.bound]
    block = np.concatenate([random.uniform(-1.0, 1.0, 300) * fixed.bound, ties, [5e-324, -5e-324, 0.0, -0.0]])
    assert fixed.encode(block).tolist() == [round(float(x) / step) for x in block]


def test_writes_where_it_is_told_and_refuses_where_the_limit_does_not_fit() -> None:
    block = np.array([1.0, -1.0, 0.25])
    for fixed, dtype in ((FixedPoint(bound=1.0, step=2.0**-30), "i4"), (FixedPoint(bound=1.0, step=2.0**-40), "i8")):
        room = np.full(5, 7, dtype=dtype)
        written = fixed.encode(block, out=room[1:4])
        assert written.base is room
        assert room.tolist() == [7, fixed.limit, -fixed.limit, fixed.limit // 4, 7]
    room = np.zeros(3, dtype=np.int32)
    fine = FixedPoint(bound=1.0, step=2.0**-8)
    for fixed, unfit in (
        (FixedPoint(bound=1.0, step=2.0**-31), room),
        (fine, np.zeros(4, dtype=np.int32)),
        (fine, np.zeros((1, 3), dtype=np.int64)),
        (fine, np.zeros(3, dtype=np.uint32)),
        (fine, np.zeros(3, dtype=np.float64)),
    ):
        with pytest.raises(MisuseError, match="do not fit"):
            fixed.encode(block, out=unfit)  # type: ignore[arg-type]  # the wrong types are the point
        assert not unfit.any()
    with pytest.raises(InputError, match="beyond its bound"):
        FixedPoint(bound=0.5, step=2.0**-8).encode(block, out=room)
    assert not room.any()


@pytest.mark.parametrize("block", [[math.nan], [0.0, math.inf], [-math.inf], [math.nan, 9.0]])
def test_refuses_what_is_not_finite(block: list[float]) -> None:
    with pytest.raises(InputError, match="NaN or an infinity"):
        FixedPoint(bound=1.0, step=0.5).encode(np.array(block))


@pytest.mark.parametrize("number", [1.26, -1.26, 2.0**62, -(2.0**63), 1e300])
def test_refuses_what_is_beyond_the_bound_without_telling_the_number(number: float) -> None:
    with pytest.raises(InputError, match=r"beyond its bound of 1\.0") as refusal:
        FixedPoint(bound=1.0, step=0.5).encode(np.array([0.0, number]))
    assert repr(number) not in str(refusal.value)


def test_a_quotient_beyond_float64_is_refused_even_where_numpy_raises_on_overflow() -> None:
    with np.errstate(all="raise"), pytest.raises(InputError, match="beyond its bound"):
        FixedPoint(bound=1e-200, step=1e-205).encode(np.array([1e200]))


def test_the_bound_itself_encodes_to_the_limit() -> None:
    fixed = FixedPoint(bound=1.0, step=0.4)  # 1 / 0.4 is 2.5, which rounds to 2: one ulp more would be refused
    assert fixed.encode(np.array([1.0, -1.0])).tolist() == [2, -2]


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 3)])
def test_keeps_the_shape_and_the_block(shape: tuple[int, ...]) -> None:
    block = np.full(shape, 0.75)
    encoded = FixedPoint(bound=1.0, step=0.25).encode(block)
    assert encoded.shape == shape
    assert (encoded == 3).all()
    assert (block == 0.75).all()


def test_decode_is_the_product_with_the_step() -> None:
    values = np.array([0, 1, -3, 2**52], dtype=np.int64)
    decoded = FixedPoint(bound=1.0, step=0.5).decode(values)
    assert decoded.dtype == np.float64
    assert decoded.tolist() == [0.0, 0.5, -1.5, 2.0**51]
