"""`Slot`: one named run of coordinates, and the arrays and numbers that fit it.

Promise: whatever a slot takes is a plain numpy array of float16, float32 or float64 in the caller's own memory, or one
float64. Everything else is refused in a text that names the slot and what to pass instead; nothing is converted behind
the caller's back, because a silent conversion can be a silent loss.

Imports numpy, the errors and the fixed-point door.
"""

from __future__ import annotations

import enum
import math
import numbers
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from secagg.errors import ConfigError, InputError
from secagg.fixedpoint import FixedPoint, Integers

MAX_NAME: Final = 256
"""Longest name of a slot, in bytes of UTF-8."""

_FLOATS: Final[Mapping[type, str]] = MappingProxyType(
    {np.float16: "float16", np.float32: "float32", np.float64: "float64"}
)
_LISTED: Final = ", ".join(_FLOATS.values())


class SlotKind(enum.StrEnum):
    """What a slot holds: a tensor of the update, or one number beside it (a weight, a count, a metric)."""

    TENSOR = "tensor"
    SCALAR = "scalar"


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """A named run of coordinates that share one fixed-point door.

    Attributes:
        kind: tensor or scalar. A tensor and a scalar may share a name; they are two slots.
        name: 1 to 256 bytes of UTF-8.
        shape: of the tensor; coordinates are in C order. A scalar has shape ().
        dtype: float16, float32 or float64, whatever the byte order. A scalar is a float64.
        fixed: bound and step of every coordinate.

    Raises:
        ConfigError: a field is out of range.
    """

    kind: SlotKind
    name: str
    shape: tuple[int, ...]
    dtype: str
    fixed: FixedPoint

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not isinstance(self.fixed, FixedPoint):
            raise ConfigError(f"{self} needs a FixedPoint(bound=, step=), got {self.fixed!r:.80}")
        if self.dtype not in _FLOATS.values():
            raise ConfigError(f"{self} has dtype {self.dtype!r:.40}: use one of {_LISTED}")
        if not isinstance(self.shape, tuple) or not all(type(side) is int and side >= 0 for side in self.shape):
            raise ConfigError(f"{self} has shape {self.shape!r:.80}: give a tuple of integers >= 0")
        if self.kind is SlotKind.SCALAR and (self.shape, self.dtype) != ((), "float64"):
            raise ConfigError(f"{self} must have shape () and dtype float64")

    @classmethod
    def tensor(cls, name: str, like: object, fixed: FixedPoint) -> Slot:
        """Return the slot of tensors with the shape and dtype of `like`, whose numbers are not looked at.

        Raises:
            ConfigError: the name is unfit.
            InputError: `like` is not a numpy array of floats.
        """
        _check_name(name)
        array = _floats(name, like)
        return cls(kind=SlotKind.TENSOR, name=name, shape=array.shape, dtype=_FLOATS[array.dtype.type], fixed=fixed)

    @classmethod
    def scalar(cls, name: str, fixed: FixedPoint) -> Slot:
        """Return the slot of one number.

        Raises:
            ConfigError: the name is unfit.
        """
        return cls(kind=SlotKind.SCALAR, name=name, shape=(), dtype="float64", fixed=fixed)

    @property
    def size(self) -> int:
        """Coordinates of the slot."""
        return math.prod(self.shape)

    @property
    def sort_key(self) -> tuple[bool, str]:
        """Tensors come before scalars, each in code-point order of the name, which is the byte order of its UTF-8."""
        return self.kind is SlotKind.SCALAR, self.name

    @property
    def canonical(self) -> tuple[bytes, bytes, bytes, bytes, bytes]:
        """Kind, name, shape as big-endian 64-bit sides, dtype, and bound and step as big-endian IEEE 754 bytes."""
        return (
            self.kind.value.encode("ascii"),
            self.name.encode("utf-8"),
            struct.pack(f">{len(self.shape)}Q", *self.shape),
            self.dtype.encode("ascii"),
            struct.pack(">dd", self.fixed.bound, self.fixed.step),
        )

    def take(self, value: object) -> npt.NDArray[Any]:
        """Return what a caller gave for this slot as a plain array: a tensor's memory is shared, a scalar is copied.

        Raises:
            InputError: it is no array of floats, or no number, or of another shape or dtype.
        """
        array = _floats(self.name, value) if self.kind is SlotKind.TENSOR else _number(self.name, value)
        self.check(array)
        return array

    def check(self, array: npt.NDArray[Any]) -> None:
        """Refuse an array of another shape or dtype.

        Raises:
            InputError: the text names the slot and both shapes or dtypes.
        """
        if array.shape != self.shape:
            raise InputError(f"{self} has shape {array.shape}, the layout has {self.shape}")
        if _FLOATS.get(array.dtype.type) != self.dtype:
            raise InputError(f"{self} has dtype {array.dtype!s:.40}, the layout has {self.dtype}")

    def check_values(self, array: npt.NDArray[Any], *, scale: float = 1.0) -> None:
        """Refuse an array with a coordinate that `convert` would refuse.

        Scaling, dividing by the step and rounding are monotone, so the least and the greatest coordinate speak for all;
        where one is NaN, so are both.

        Raises:
            InputError: as for `convert`.
        """
        self.check(array)
        if array.size:
            with np.errstate(all="ignore"):
                extremes = np.array([array.min(), array.max()], dtype=np.float64)
            self._encode(extremes, scale)

    def convert(
        self, array: npt.NDArray[Any], start: int, stop: int, *, scale: float = 1.0, out: Integers | None = None
    ) -> Integers:
        """Return the integers of coordinates start to stop, each multiplied by `scale` in float64 first.

        The coordinates are copied before they are judged, so a thread that writes to the array meanwhile cannot slip
        a number past the check.

        Raises:
            InputError: the array does not fit this slot, or a coordinate is not finite or beyond its bound.
            MisuseError: see `FixedPoint.encode`, which has `out`.
        """
        self.check(array)
        # Both spellings read in C order; only an array that is not contiguous pays for walking its strides.
        flat = array.reshape(-1) if array.flags.c_contiguous else array.flat
        with np.errstate(all="ignore"):
            block = np.array(flat[start:stop], dtype=np.float64)
        return self._encode(block, scale, out)

    def _encode(self, block: npt.NDArray[np.float64], scale: float, out: Integers | None = None) -> Integers:
        """Scale a copy in place and put it through the door, under this slot's name."""
        if scale != 1.0:
            with np.errstate(all="ignore"):  # what becomes NaN, infinite or zero here is judged by the door
                block *= scale
        try:
            return self.fixed.encode(block, out=out)
        except InputError as reason:
            raise InputError(f"{self} {reason}") from None

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r:.80}"


def _check_name(name: object) -> None:
    try:
        fits = isinstance(name, str) and 1 <= len(name.encode("utf-8")) <= MAX_NAME
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8
        fits = False
    if not fits:
        raise ConfigError(f"a name is a str of 1 to {MAX_NAME} bytes of UTF-8, got {name!r:.80}")


def _floats(name: str, value: object) -> npt.NDArray[Any]:
    """Return a tensor as a plain numpy array of floats that shares its memory, or refuse it by name."""
    if isinstance(value, np.floating):  # what indexing or summing an array returns
        value = np.asarray(value)
    if isinstance(value, np.memmap):  # a model mapped from disk: an array in all but where its bytes are
        value = value.view(np.ndarray)
    if isinstance(value, np.ma.MaskedArray):
        raise InputError(f"tensor {name!r} is a masked array, and a masked value has no sum: pass .filled(0.0)")
    kind = type(value).__name__
    if not isinstance(value, np.ndarray):
        raise InputError(f"tensor {name!r} is of type {kind}: pass a numpy array, as numpy.asarray makes")
    if type(value) is not np.ndarray:
        raise InputError(f"tensor {name!r} is of type {kind}: pass a plain numpy array, as numpy.array makes")
    if value.dtype.type not in _FLOATS:
        raise InputError(f"tensor {name!r} has dtype {value.dtype!s:.40}: convert it to one of {_LISTED}")
    return value


def _number(name: str, value: object) -> npt.NDArray[np.float64]:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InputError(f"scalar {name!r} is of type {type(value).__name__}: pass a float")
    try:
        return np.array(float(value), dtype=np.float64)
    except OverflowError:  # an int beyond float64 is beyond every bound
        return np.array(math.inf, dtype=np.float64)
