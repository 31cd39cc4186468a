"""`Layout`: what is summed, coordinate by coordinate, and the way of an update into the ring and of a sum out of it.

Promise: two parties with the same layout digest give every coordinate the same meaning. An update that does not fit
is refused whole, by name, before a word of it is read; the caller's arrays are never changed or copied whole. Whatever
is read lies inside its bound, so a sum over the clients the ring was chosen for cannot wrap.

Imports numpy, the slots, the ring, the plan and the labelled digest.
"""

from __future__ import annotations

import functools
import itertools
import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from secagg.errors import ConfigError, InputError, MisuseError
from secagg.fixedpoint import FixedPoint
from secagg.plan import Plan
from secagg.primitives import kdf, labels
from secagg.ring import MAX_BITS, MIN_BITS, Ring, Words
from secagg.slot import Slot, SlotKind
from secagg.types import MAX_CLIENTS

BLOCK: Final = 1 << 14
"""Coordinates converted at a time: 128 KiB of float64, thrice, is all that an encoding holds. Half as many would take a
third longer; twice as many would save a quarter, and hold more than all else a client has beside its output."""

_NO_SCALARS: Final[Mapping[str, Any]] = MappingProxyType({})
_SHOWN: Final = 5


class Decoded(NamedTuple):
    """A sum in the caller's shapes.

    Attributes:
        tensors: by name; float64 in the slot's shape.
        scalars: by name.
    """

    tensors: dict[str, npt.NDArray[np.float64]]
    scalars: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """An ordered tuple of slots: tensors by name, then scalars by name.

    Raises:
        ConfigError: the slots are out of order or listed twice, or hold no coordinate at all.
    """

    slots: tuple[Slot, ...]

    def __post_init__(self) -> None:
        for slot, after in itertools.pairwise(self.slots):
            if slot.sort_key == after.sort_key:
                raise ConfigError(f"the layout lists {slot} twice: each name has one slot")
            if slot.sort_key > after.sort_key:
                raise ConfigError(f"{after} must come before {slot}: Layout.like puts slots in order")
        if self.length == 0:
            raise ConfigError("the layout has no coordinate to sum: give at least one tensor that is not empty")

    @classmethod
    def like(
        cls,
        tensors: Mapping[str, npt.NDArray[Any]],
        *,
        bound: float,
        step: float,
        scalars: Mapping[str, FixedPoint] = _NO_SCALARS,
    ) -> Layout:
        """Lay out updates with the names, shapes and dtypes of `tensors`, whose numbers are not looked at.

        Args:
            tensors: an example of an update.
            bound: the largest magnitude of a tensor's coordinate.
            step: the distance of two neighboring values of a tensor's coordinate.
            scalars: bound and step of each number that travels beside the tensors.

        Raises:
            ConfigError: bound and step do not fit each other, a name is unfit, or nothing is left to sum.
            InputError: a tensor is not a numpy array of floats.
        """
        fixed = FixedPoint(bound=bound, step=step)
        slots = [Slot.tensor(name, like, fixed) for name, like in _require_mapping("tensors", tensors).items()]
        slots += [Slot.scalar(name, door) for name, door in _require_mapping("scalars", scalars).items()]
        return cls(slots=tuple(sorted(slots, key=lambda slot: slot.sort_key)))

    @functools.cached_property
    def tensors(self) -> tuple[Slot, ...]:
        """The tensor slots, in order."""
        return tuple(slot for slot in self.slots if slot.kind is SlotKind.TENSOR)

    @functools.cached_property
    def scalars(self) -> tuple[Slot, ...]:
        """The scalar slots, in order."""
        return tuple(slot for slot in self.slots if slot.kind is SlotKind.SCALAR)

    @functools.cached_property
    def offsets(self) -> tuple[int, ...]:
        """First coordinate of each slot, and last the number of coordinates."""
        return tuple(itertools.accumulate((slot.size for slot in self.slots), initial=0))

    @property
    def length(self) -> int:
        """Coordinates of an input."""
        return self.offsets[-1]

    @property
    def limit(self) -> int:
        """Largest integer magnitude a single client can put into a coordinate."""
        return max(slot.fixed.limit for slot in self.slots)

    @functools.cached_property
    def digest(self) -> bytes:
        """SHA-256 over five length-prefixed parts a slot: kind, name, shape, dtype, and bound and step as IEEE bytes.

        Each slot gives exactly five parts and each part its length, so no two layouts share a byte string.
        """
        return kdf.digest(labels.LAYOUT_DIGEST, *(part for slot in self.slots for part in slot.canonical))

    def ring_for(self, clients: int) -> Ring:
        """Return the smallest ring, of at least `MIN_BITS` bits, in which the inputs of `clients` clients cannot wrap.

        A sum lies in [-clients * limit, clients * limit], so 2^b >= 2 * clients * limit + 1 values are enough.

        Raises:
            ConfigError: clients is out of range, or no ring of at most 64 bits holds the sum.
        """
        if type(clients) is not int or not 1 <= clients <= MAX_CLIENTS:
            raise ConfigError(f"clients={clients!r:.40} must be an integer from 1 to {MAX_CLIENTS}")
        bits = (2 * clients * self.limit).bit_length()
        if bits > MAX_BITS:
            raise ConfigError(self._too_fine(clients, bits))
        return Ring(max(bits, MIN_BITS))

    def ring(self, plan: Plan) -> Ring:
        """Return the smallest ring in which every client of the plan fits; see `ring_for`."""
        return self.ring_for(plan.clients)

    def check(self, tensors: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
        """Return the update's arrays in slot order, as plain numpy arrays that share the caller's memory.

        Names, shapes and dtypes are checked; numbers are not.

        Raises:
            InputError: a tensor is missing, unknown, no numpy array of floats, or of another shape or dtype.
        """
        _check_names("tensors", self.tensors, tensors)
        return {slot.name: slot.take(tensors[slot.name]) for slot in self.tensors}

    def encode(
        self,
        tensors: Mapping[str, npt.NDArray[Any]],
        scalars: Mapping[str, float] = _NO_SCALARS,
        *,
        scale: float | Mapping[str, float] = 1.0,
        ring: Ring,
    ) -> EncodedInput:
        """Check an update whole and return it as an input whose words are made as they are read.

        Args:
            tensors: by name, exactly those of the layout, in its shapes and dtypes; any byte order, any strides.
            scalars: by name, exactly those of the layout.
            scale: from 0 to 1, for all tensors or by name; every coordinate of a tensor is multiplied by it in float64.
                Scalars are not.
            ring: the ring of the round, from `ring_for`.

        Raises:
            ConfigError: scale is out of range, or the ring cannot hold even one client's input.
            InputError: anything about the update does not fit; the text names the tensor or scalar.
        """
        scales = self._scales(scale)
        arrays = list(self.check(tensors).values())
        _check_names("scalars", self.scalars, scalars)
        arrays += [slot.take(scalars[slot.name]) for slot in self.scalars]
        encoded = EncodedInput(layout=self, arrays=tuple(arrays), scales=scales, ring=ring)
        encoded.check()
        return encoded

    def decode(self, values: npt.NDArray[np.int64], *, clients: int | None = None) -> Decoded:
        """Turn a centered sum of inputs back into floats: each coordinate times the step of its slot.

        Args:
            values: int64, (length,).
            clients: how many inputs are in the sum; given, a sum that so many honest clients cannot reach is refused.

        Raises:
            InputError: another dtype or shape, or a coordinate beyond clients times its slot's limit: somebody put in
                what the layout does not allow.
        """
        if not isinstance(values, np.ndarray) or values.dtype != np.int64 or values.shape != (self.length,):
            raise InputError(f"a sum of this layout is an int64 array of shape ({self.length},), got {_shown(values)}")
        tensors: dict[str, npt.NDArray[np.float64]] = {}
        scalars: dict[str, float] = {}
        for slot, (start, stop) in zip(self.slots, itertools.pairwise(self.offsets), strict=True):
            part = values[start:stop]
            if (
                clients is not None
                and part.size
                and max(int(part.max()), -int(part.min())) > clients * slot.fixed.limit
            ):
                raise InputError(f"{slot} sums to more than {clients} clients within its bound can reach")
            decoded = slot.fixed.decode(part)
            if slot.kind is SlotKind.TENSOR:
                tensors[slot.name] = decoded.reshape(slot.shape)
            else:
                scalars[slot.name] = float(decoded[0])
        return Decoded(tensors, scalars)

    def _scales(self, scale: float | Mapping[str, float]) -> tuple[float, ...]:
        """Return the factor of each slot."""
        if isinstance(scale, Mapping):
            _check_names("scale", self.tensors, scale)
        of = scale if isinstance(scale, Mapping) else dict.fromkeys((slot.name for slot in self.tensors), scale)
        for factor in of.values():
            if not 0.0 <= factor <= 1.0:
                raise ConfigError(f"scale={factor!r} must be from 0 to 1: it may shrink an update, never enlarge it")
        return tuple(float(of[slot.name]) if slot.kind is SlotKind.TENSOR else 1.0 for slot in self.slots)

    def _too_fine(self, clients: int, bits: int) -> str:
        finest = max(self.slots, key=lambda slot: slot.fixed.limit)
        largest = (1 << MAX_BITS) - 1
        fewer = largest // (2 * finest.fixed.limit)
        limit = largest // (2 * clients)
        coarser = finest.fixed.bound / limit
        while round(finest.fixed.bound / coarser) > limit:  # near 2^52 the division's own rounding counts
            coarser = math.nextafter(coarser, math.inf)
        return (
            f"clients={clients} and step={finest.fixed.step!r} of {finest} need {bits} bits, a ring has at most "
            f"{MAX_BITS}: take at most {fewer} clients or a step of at least {coarser!r}"
        )


class EncodedInput:
    """One client's input, made word by word as it is read, so that no whole copy of the update ever exists.

    Made by `Layout.encode`, which has checked every coordinate. The arrays stay the caller's and must not change until
    the input is sent. Every read checks its coordinates again: an array changed meanwhile may be refused, and cannot
    wrap the sum.

    It holds a secret: it shows its length only, and refuses to be pickled or copied.

    Raises:
        ConfigError: the ring cannot hold even one client's input.
    """

    __slots__ = ("_arrays", "_layout", "_ring", "_scales")

    def __init__(
        self, *, layout: Layout, arrays: tuple[npt.NDArray[Any], ...], scales: tuple[float, ...], ring: Ring
    ) -> None:
        if not isinstance(ring, Ring):
            raise ConfigError(f"ring is of type {type(ring).__name__}: pass the Ring of the round")
        if 2 * layout.limit >= ring.modulus:
            raise ConfigError(
                f"a ring of {ring.bits} bits cannot hold an input of limit {layout.limit}: use ring_for()"
            )
        self._layout = layout
        self._arrays = arrays
        self._scales = scales
        self._ring = ring

    @property
    def length(self) -> int:
        """Words of the input."""
        return self._layout.length

    @property
    def ring(self) -> Ring:
        """The ring the words are in."""
        return self._ring

    def read(self, start: int, stop: int) -> Words:
        """Return words start to stop, stop excluded, in a fresh array of `ring.word`.

        Raises:
            ConfigError: not 0 <= start <= stop <= length.
            InputError: an array was changed since encode and no longer fits.
        """
        if not 0 <= start <= stop <= self.length:
            raise ConfigError(f"cannot read words {start!r:.40} to {stop!r:.40} of an input of {self.length}")
        words: Words = np.empty(stop - start, dtype=self._ring.word)
        signed = words.view(f"i{self._ring.word_bytes}")  # two's complement: the value modulo 2**32 or 2**64
        filled = 0
        for slot, array, scale, first, last in self._parts(start, stop):
            slot.convert(array, first, last, scale=scale, out=signed[filled : filled + last - first])
            filled += last - first
        self._ring.reduce(words)
        return words

    def check(self) -> None:
        """Look at every coordinate once.

        Raises:
            InputError: a coordinate is not finite or beyond its bound; the text names the tensor or scalar.
        """
        for slot, array, scale in zip(self._layout.slots, self._arrays, self._scales, strict=True):
            slot.check_values(array, scale=scale)

    def _parts(self, start: int, stop: int) -> Iterator[tuple[Slot, npt.NDArray[Any], float, int, int]]:
        """Cut coordinates start to stop into ranges of a slot, at most BLOCK long: slot, array, scale, first, last."""
        offsets = self._layout.offsets
        for index in range(bisect_right(offsets, start) - 1, len(self._arrays)):
            slot, array, scale = self._layout.slots[index], self._arrays[index], self._scales[index]
            base, end = offsets[index], min(offsets[index + 1], stop)
            for low in range(max(start, base), end, BLOCK):
                yield slot, array, scale, low - base, min(low + BLOCK, end) - base
            if end == stop:
                break

    def __repr__(self) -> str:
        return f"<EncodedInput of {self.length} words>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise MisuseError("an encoded input holds a client's update and is never pickled or copied")


def _require_mapping(what: str, value: Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InputError(f"{what} is of type {type(value).__name__}: pass a mapping from names to values")
    return value


def _check_names(what: str, slots: tuple[Slot, ...], given: Mapping[str, Any]) -> None:
    """Refuse an update that lacks a name of the layout or has one the layout does not know."""
    known = {slot.name for slot in slots}
    missing = [slot.name for slot in slots if slot.name not in _require_mapping(what, given)]
    unknown = [name for name in given if name not in known]
    faults = [f"{word} {_some(names)}" for word, names in (("missing", missing), ("unknown", unknown)) if names]
    if faults:
        raise InputError(f"{what} differ from the layout: {'; '.join(faults)}")


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"{name!r:.80}" for name in names[:_SHOWN]) + more


def _shown(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype!s:.40} of shape {value.shape}"
    return f"a value of type {type(value).__name__}"
