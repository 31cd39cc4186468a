"""L2 clipping: flat, one norm over the whole update and one factor for every tensor, or group by group.

Promise: the norm neither overflows nor underflows on the way, an update inside the bound is left as it is, and one
outside is shrunk to it and reported. NaN and infinities are refused, because comparisons let NaN pass.

Imports numpy and this package's errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from dp.errors import ParameterError, UpdateError

_BLOCK: Final = 1 << 15
_LEAST: Final = 2.0**-900
_MOST: Final = 2.0**900  # between these no square overflowed, and what underflowed is far under the sum's last bit


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipReport:
    """What clipping did to one update. The norm and factor tell about one client, so they are not printed.

    Attributes:
        bound: the L2 bound.
        clipped: whether the update was beyond it.
        norm: the L2 norm before.
        factor: what every coordinate was multiplied by, from 0 to 1.
    """

    bound: float
    clipped: bool
    norm: float = field(repr=False)
    factor: float = field(repr=False)


def l2_norm(tensors: Mapping[str, npt.NDArray[Any]]) -> float:
    """Return the L2 norm over all coordinates of all tensors, in float64.

    One pass over blocks of 32 Ki coordinates takes the norm of each, and `math.hypot`, which scales, puts them
    together. A block whose squares leave the range of float64 is divided by its largest magnitude first. The answer is
    never below the largest magnitude of all.

    Args:
        tensors: numpy arrays of floats, by name; any shape, byte order and strides.

    Raises:
        UpdateError: a tensor is not a numpy array of floats, holds NaN or an infinity, or the norm is beyond float64.
    """
    norms = [_norm(name, block) for name, array in tensors.items() for block in _blocks(name, array)]
    norm = max(0.0, *norms, math.hypot(*norms))
    if norm == math.inf:
        raise UpdateError("the norm of the update is beyond float64: its numbers are too large to mean anything")
    return norm


def clip_factor(norm: float, bound: float) -> float:
    """Return the largest factor up to 1 that brings `norm` to `bound` or below: min(1, bound / norm), rounded down.

    In float64, factor * norm <= bound holds exactly; and since rounding is monotone, so does factor * |x| <= bound for
    every coordinate x whose magnitude is at most the norm.

    Raises:
        ParameterError: bound is not positive and finite, or norm is negative or not finite.
    """
    _require(bound, name="bound", positive=True)
    _require(norm, name="norm", positive=False)
    if norm <= bound:
        return 1.0
    factor = bound / norm
    while factor * norm > bound:
        factor = math.nextafter(factor, 0.0)
    return factor


def clip(
    tensors: Mapping[str, npt.NDArray[Any]], bound: float
) -> tuple[dict[str, npt.NDArray[np.floating[Any]]], ClipReport]:
    """Return a copy of the update whose L2 norm is at most `bound`, and what was done to it.

    Each coordinate is multiplied in float64 and rounded to its tensor's own dtype, so the norm of the copy is within
    that dtype's rounding of the bound. A guarantee of differential privacy must not rest on it; it rests on a check of
    the integers that are summed (Mironov, "On significance of the least significant bits for differential privacy",
    CCS 2012, is why).

    Args:
        tensors: numpy arrays of floats, by name; they are not changed.
        bound: the largest L2 norm over all coordinates, positive and finite.

    Raises:
        ParameterError: bound is out of range.
        UpdateError: see `l2_norm`.
    """
    _require(bound, name="bound", positive=True)
    norm = l2_norm(tensors)
    factor = clip_factor(norm, bound)
    clipped = {name: _scaled(array, factor) for name, array in tensors.items()}
    return clipped, ClipReport(bound=float(bound), clipped=norm > bound, norm=norm, factor=factor)


def group_bound(bounds: Iterable[float]) -> float:
    """Return the L2 bound over groups that are clipped to `bounds` each: the root of the sum of squares, rounded up.

    Raises:
        ParameterError: there is no bound, one is not positive and finite, or the squares leave the range of float64.
    """
    each = list(bounds)
    for bound in each:
        _require(bound, name="bound", positive=True)
    total = math.hypot(*each)
    if not 0.0 < total < math.inf:
        raise ParameterError("bounds must name at least one group, and not reach beyond float64 together")
    return total if len(each) == 1 else math.nextafter(total, math.inf)


def group_factors(
    tensors: Mapping[str, npt.NDArray[Any]], groups: Sequence[tuple[tuple[str, ...], float]]
) -> tuple[dict[str, float], bool]:
    """Return the factor of every tensor that brings each group's L2 norm to its bound, and whether any is below 1.

    Per-layer clipping (McMahan, Ramage, Talwar, Zhang, "Learning differentially private recurrent language models",
    ICLR 2018): the whole update is then within `group_bound` of the bounds.

    Args:
        tensors: numpy arrays of floats, by name.
        groups: names and bound of each group; every tensor stands in exactly one.

    Raises:
        ParameterError: a bound is out of range, or the groups do not part the tensors.
        UpdateError: see `l2_norm`.
    """
    grouped = [name for names, _ in groups for name in names]
    if sorted(grouped) != sorted(tensors):
        raise ParameterError("the groups must name each tensor of the update exactly once")
    factors: dict[str, float] = {}
    for names, bound in groups:
        factor = clip_factor(l2_norm({name: tensors[name] for name in names}), bound)
        factors |= dict.fromkeys(names, factor)
    return factors, any(factor < 1.0 for factor in factors.values())


def _blocks(name: str, array: npt.NDArray[Any]) -> Iterator[npt.NDArray[np.float64]]:
    """Yield an array's coordinates as float64 copies, in C order, without ever copying all of it."""
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise UpdateError(f"tensor {name!r:.80} is of type {type(array).__name__}: pass a numpy array")
    if array.dtype.type not in {np.float16, np.float32, np.float64}:
        raise UpdateError(f"tensor {name!r:.80} has dtype {array.dtype!s:.40}: convert it to float32 or float64")
    plain = array.view(np.ndarray)  # a subclass may reshape or slice in its own way
    flat = plain.reshape(-1) if plain.flags.c_contiguous else plain.flat
    for start in range(0, array.size, _BLOCK):
        yield _as_float64(flat[start : start + _BLOCK])


def _as_float64(block: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    with np.errstate(invalid="ignore"):  # a signaling NaN becomes a quiet one, which the caller refuses
        return np.array(block, dtype=np.float64)


def _norm(name: str, block: npt.NDArray[np.float64]) -> float:
    """The norm of a block, which is used up; never below its largest magnitude, since sqrt(x * x) is |x|.

    numpy sums by halves, so the sum is as good as its squares; a BLAS's dot product, or `einsum`, adds one by one.
    """
    with np.errstate(all="ignore"):  # what the sum is says what happened
        squares = float(np.square(block).sum())
        if _LEAST <= squares <= _MOST:
            return math.sqrt(squares)
        top = float(max(block.max(), -block.min()))
        if not top < math.inf:  # NaN as well: max and min hand it through
            raise UpdateError(f"tensor {name!r:.80} holds NaN or an infinity")
        if top == 0.0:
            return 0.0
        block /= top
        return top * math.sqrt(float(np.square(block).sum()))


def _scaled(array: npt.NDArray[Any], factor: float) -> npt.NDArray[np.floating[Any]]:
    if factor == 1.0:
        return np.array(array)
    scaled = np.empty_like(array)
    with np.errstate(under="ignore"):  # a coordinate that rounds to zero is inside every bound
        np.multiply(array, np.float64(factor), out=scaled, dtype=np.float64, casting="same_kind")
    return scaled


def _require(value: float, *, name: str, positive: bool) -> None:
    kind = "a positive" if positive else "a non-negative"
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
        raise ParameterError(f"{name} is of type {type(value).__name__}: give {kind} finite number")
    if not (0.0 < value < math.inf or (value == 0.0 and not positive)):
        raise ParameterError(f"{name}={float(value)!r} must be {kind} finite number, for example 1.0")
