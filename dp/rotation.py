"""Spread a vector evenly over its coordinates: a random rotation, public, for any length.

Promise: an orthogonal map and its inverse, which anybody can compute from a public seed of 32 bytes; lengths and norms
stay as they are but for rounding, and no coordinate of the image is large unless the whole vector is.

The rotation is H D, signs D and the normalized Hadamard matrix H, where the length is a power of two (Ailon and
Chazelle, STOC 2006; in front of integer noise: Kairouz, Liu, Steinke, ICML 2021). Any other length has two blocks of
the largest power of two p below it, one at the head and one at the tail, which overlap: the head is rotated, then the
tail with signs of its own. Each step is orthogonal. Every coordinate of the image is a sum, with independent signs and
over sqrt(p), of at most p coordinates of a vector no longer than the input. So for an input x fixed before the seed, a
coordinate of the image is beyond z |x| / sqrt(p) with odds below 2 exp(-z^2 / 2) (Hoeffding, 1963).

As p is above half the length, that is less than sqrt(2) times what a power of two would give, at no more traffic. A
Fourier transform with random signs has entries up to sqrt(2 / length), so its bound is no better, and it is many times
slower where the length has a large prime factor.

Imports numpy and this package's errors.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

from dp.errors import ParameterError, UpdateError

SEED_SIZE: Final = 32
MAX_LENGTH: Final = 1 << 31
_LABELS: Final = (b"secagg rotation signs: head", b"secagg rotation signs: tail")
_RADIX_BITS: Final = 4
_SIGN_BLOCK: Final = 1 << 15

Float = TypeVar("Float", np.float32, np.float64)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotation:
    """A random rotation of vectors of one length.

    Attributes:
        length: coordinates of a vector, from 1 on.
        seed: 32 public bytes that name the rotation. Whoever chooses a vector after seeing it can choose one that is
            spread badly, so a bound on overflow must not rest on it for such clients.

    Raises:
        ParameterError: length or seed is out of range.
    """

    length: int
    seed: bytes

    def __post_init__(self) -> None:
        if isinstance(self.length, bool) or not isinstance(self.length, int) or not 1 <= self.length <= MAX_LENGTH:
            raise ParameterError(f"length={self.length!r:.40} must be an integer from 1 to {MAX_LENGTH}")
        if not isinstance(self.seed, bytes) or len(self.seed) != SEED_SIZE:
            got = f"{len(self.seed)} bytes" if isinstance(self.seed, bytes) else type(self.seed).__name__
            raise ParameterError(f"seed of {got} must be {SEED_SIZE} bytes: take a SHA-256 digest of yours")

    @property
    def block(self) -> int:
        """The largest power of two up to the length: a coordinate of the image is about |x| / sqrt(block)."""
        return block_of(self.length)

    def apply(self, vector: npt.NDArray[Float]) -> npt.NDArray[Float]:
        """Return the image of a vector, in its own dtype; the vector is not changed.

        Args:
            vector: shape (length,), finite float32 or float64, any strides. What is not finite spreads everywhere.

        Raises:
            UpdateError: vector is something else.
        """
        _require_vector(vector, self.length)
        image = np.array(vector)
        for label, part in self._steps(image):
            _flip_signs(part, label + self.seed)
            _hadamard(part)
        return image

    def invert(self, image: npt.NDArray[Float]) -> npt.NDArray[Float]:
        """Return the vector of which `image` is the image, in the image's own dtype.

        Args:
            image: shape (length,), float32 or float64, any strides.

        Raises:
            UpdateError: image is something else.
        """
        _require_vector(image, self.length)
        vector = np.array(image)
        for label, part in reversed(self._steps(vector)):
            _hadamard(part)
            _flip_signs(part, label + self.seed)
        return vector

    def _steps(self, vector: npt.NDArray[Float]) -> Sequence[tuple[bytes, npt.NDArray[Float]]]:
        """The parts of a vector that are rotated in turn, each with the label of its signs."""
        head, tail = vector[: self.block], vector[self.length - self.block :]
        parts = (head,) if self.block == self.length else (head, tail)
        return list(zip(_LABELS, parts, strict=False))


def block_of(length: int) -> int:
    """Return the largest power of two up to a length; see `Rotation.block`."""
    return 1 << (length.bit_length() - 1)


def _flip_signs(vector: npt.NDArray[Any], name: bytes) -> None:
    """Negate coordinate i, in place, where bit i of SHAKE-128(name) is set; a byte gives its highest bit first."""
    bits = np.frombuffer(hashlib.shake_128(name).digest(-(-len(vector) // 8)), dtype=np.uint8)
    word = np.dtype(f"u{vector.itemsize}")
    top = word.type(8 * vector.itemsize - 1)
    words = vector.view(word)
    for start in range(0, len(vector), _SIGN_BLOCK):
        block = words[start : start + _SIGN_BLOCK]
        flips = np.unpackbits(bits[start // 8 : (start + _SIGN_BLOCK) // 8], count=len(block)).astype(word)
        block ^= flips << top


def _hadamard(vector: npt.NDArray[Any]) -> None:
    """Multiply a vector, whose length is a power of two, by the Hadamard matrix over the root of its length, in place.

    The matrix is a Kronecker power, so a vector seen as an array of small axes is multiplied axis by axis: the last
    one by a matrix product that puts it in front, until all axes are where they were. Every product is normalized, so
    nothing on the way is longer than the vector.
    """
    bits = len(vector).bit_length() - 1
    source, target = vector, np.empty_like(vector)
    while bits:
        step = min(bits, _RADIX_BITS)
        matrix = _hadamard_matrix(step, vector.dtype)
        np.matmul(matrix, source.reshape(-1, 1 << step).T, out=target.reshape(1 << step, -1))
        source, target = target, source
        bits -= step
    if source is not vector:
        vector[:] = source


@lru_cache(maxsize=2 * _RADIX_BITS)
def _hadamard_matrix(bits: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Sylvester's Hadamard matrix of size 2**bits over the root of its size."""
    matrix = np.ones((1, 1))
    for _ in range(bits):
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    normalized = (matrix / math.sqrt(len(matrix))).astype(dtype)
    normalized.setflags(write=False)
    return normalized


def _require_vector(vector: npt.NDArray[Any], length: int) -> None:
    if not isinstance(vector, np.ndarray) or isinstance(vector, np.ma.MaskedArray):
        raise UpdateError(f"a vector to rotate is of type {type(vector).__name__}: pass a numpy array")
    if vector.dtype not in (np.float32, np.float64):
        raise UpdateError(f"a vector to rotate has dtype {vector.dtype!s:.40}: convert it to float32 or float64")
    if vector.shape != (length,):
        raise UpdateError(f"a vector to rotate has shape {vector.shape}: this rotation is of shape ({length},)")
