"""The ring Z_2^b that inputs are summed in: words in memory, packed bits on the wire.

Promise: word i of a packed vector occupies bits [i*b, (i+1)*b) of the vector's bytes read as one little-endian
number, whatever the host's byte order. Packing reduces modulo 2**b; nothing else here changes a value silently. Every
operation runs block by block, so its memory beyond its result does not grow with the vector.

In memory a word is a whole uint32 (b <= 32) or uint64. Sums wrap at the word, which is a multiple of 2**b, so they
are reduced once, at the end (docs/protocol.md, "Ring").

Imports numpy, the errors and `packing`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secagg.errors import ConfigError, InputError, MisuseError
from secagg.packing import pack_rows, unpack_rows

MIN_BITS = 8
"""Narrower rings would not make a byte string's length determine its number of words."""

MAX_BITS = 64
GROUP = 8
"""Words after which a packed vector is back on a byte boundary, whatever b is."""

_NARROW = 32
_WHOLE_BYTE_BITS = (8, 16, 32, 64)
_BLOCK = 16_384  # words packed at a time: temporaries stay in the second-level cache

Words = npt.NDArray[np.uint32 | np.uint64]
Packed = bytes | bytearray | memoryview


def _octets(data: Packed) -> npt.NDArray[np.uint8]:
    view = memoryview(data)
    if not view.c_contiguous:
        raise MisuseError("packed words live in one contiguous buffer, got a strided view")
    return np.frombuffer(view, dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Ring:
    """Integers modulo 2**bits.

    Attributes:
        bits: b, from 8 to 64.

    Raises:
        ConfigError: bits is not an int in that range.
    """

    bits: int

    def __post_init__(self) -> None:
        if type(self.bits) is not int or not MIN_BITS <= self.bits <= MAX_BITS:
            raise ConfigError(f"ring bits={self.bits!r:.40} must be an int from {MIN_BITS} to {MAX_BITS}")

    @property
    def word(self) -> type[np.uint32 | np.uint64]:
        """The type a word has in memory."""
        return np.uint32 if self.bits <= _NARROW else np.uint64

    @property
    def word_bytes(self) -> int:
        """Bytes of a word in memory, and of keystream a mask consumes for it."""
        return 4 if self.bits <= _NARROW else 8

    @property
    def modulus(self) -> int:
        """2**bits."""
        return 1 << self.bits

    def packed_size(self, length: int) -> int:
        """Bytes of `length` packed words: ceil(length * bits / 8).

        Raises:
            MisuseError: length is negative.
        """
        if length < 0:
            raise MisuseError(f"a vector cannot have length={length}")
        return -(-length * self.bits // 8)

    def reduce(self, words: Words) -> None:
        """Reduce modulo 2**bits, in place."""
        self._require_words(words, writable=True)
        if self.bits < 8 * self.word_bytes:
            np.bitwise_and(words, self.word(self.modulus - 1), out=words)

    def pack(self, words: Words) -> bytes:
        """Pack words, reduced modulo 2**bits; the bits above the last word are zero."""
        self._require_words(words)
        packed = bytearray(self.packed_size(len(words)))
        self.pack_into(words, packed)
        return bytes(packed)

    def pack_into(self, words: Words, out: Packed, start: int = 0) -> None:
        """Pack words, reduced modulo 2**bits, into their place in the packed vector `out`.

        Args:
            words: the words start, start + 1, ... of the vector.
            out: the whole packed vector, writable.
            start: a multiple of GROUP, so that it falls on a byte. Unless the words end the vector, their number
                is a multiple of GROUP too; the last byte they touch is overwritten whole.

        Raises:
            MisuseError: `start` is not such a multiple, or the words do not fit `out`.
        """
        self._require_words(words)
        target = _octets(out)
        if not target.flags.writeable:
            raise MisuseError("pack_into needs a writable buffer, got a read-only one")
        if start < 0 or start % GROUP:
            raise MisuseError(f"start={start} must be a multiple of {GROUP}, where packed words meet a byte boundary")
        position = start * self.bits // 8
        end = position + self.packed_size(len(words))
        if end > len(target):
            raise MisuseError(f"words {start} to {start + len(words)} end at byte {end}, out has {len(target)}")
        if len(words) % GROUP and end != len(target):
            raise MisuseError(f"{len(words)} words before the end of the vector must be a multiple of {GROUP}")
        for first in range(0, len(words), _BLOCK):
            packed = self._pack_block(words[first : first + _BLOCK])
            target[position : position + len(packed)] = packed
            position += len(packed)

    def unpack(self, data: Packed, length: int) -> Words:
        """Unpack a vector of `length` words. Bits above the last word are ignored: see `padding_is_zero`.

        Raises:
            MisuseError: data is not `packed_size(length)` bytes long.
        """
        raw = self._require_octets(data, length)
        words = np.empty(length, dtype=self.word)
        for first, block in self._blocks(raw, length):
            words[first : first + len(block)] = block
        return words

    def add_packed(self, acc: Words, data: Packed, start: int = 0) -> None:
        """Add packed words to acc[start], acc[start + 1], ... with constant extra memory.

        Sums wrap at the word, as everywhere: call `reduce` on the accumulator when it is complete. The number of
        words follows from the length of the data, because a word has at least 8 bits.

        Raises:
            MisuseError: acc is not a writable vector of this ring's words, data is no whole number of words, or the
                words do not fit acc.
        """
        self._require_words(acc, writable=True)
        raw = _octets(data)
        length = len(raw) * 8 // self.bits
        if not 0 <= start <= len(acc) - length:
            raise MisuseError(f"{length} words from start={start} do not fit an accumulator of {len(acc)}")
        raw = self._require_octets(data, length)
        if self.bits == 8 * self.word_bytes:  # whole words are added where they lie, aligned or not
            part = acc[start : start + length]
            np.add(part, raw.view(f"<u{self.word_bytes}"), out=part)
            return
        for first, block in self._blocks(raw, length):
            part = acc[start + first : start + first + len(block)]
            np.add(part, block, out=part)

    def padding_is_zero(self, data: Packed, length: int) -> bool:
        """Whether the bits above the last of `length` words are zero, so that the encoding is the only one."""
        raw = self._require_octets(data, length)
        used = length * self.bits % 8
        return used == 0 or int(raw[-1]) >> used == 0

    def center(self, words: Words) -> npt.NDArray[np.int64]:
        """Read each word, reduced, as the signed integer in [-2**(bits-1), 2**(bits-1)) it is congruent to."""
        self._require_words(words)
        half = np.uint64(self.modulus // 2)
        centered = words.astype(np.uint64)
        centered += half
        centered &= np.uint64(self.modulus - 1)
        centered -= half
        return centered.view(np.int64)

    def lift(self, values: npt.NDArray[np.int64]) -> Words:
        """Write signed integers as words: the inverse of `center`.

        Raises:
            MisuseError: values is not a vector of int64.
            InputError: a value is outside [-2**(bits-1), 2**(bits-1)), so that it would wrap.
        """
        if values.dtype != np.int64 or values.ndim != 1:
            raise MisuseError(f"lift takes a vector of int64, got {values.dtype} of shape {values.shape}")
        bound = self.modulus // 2
        if len(values) and not (-bound <= int(values.min()) and int(values.max()) < bound):
            raise InputError(f"an encoded value is outside the ring's [-2**{self.bits - 1}, 2**{self.bits - 1})")
        words: Words = values.astype(self.word)  # two's complement: the value modulo 2**32 or 2**64
        self.reduce(words)
        return words

    def _require_words(self, words: Words, *, writable: bool = False) -> None:
        if not isinstance(words, np.ndarray) or words.dtype != self.word or words.ndim != 1:
            got = f"{words.dtype} of shape {words.shape}" if isinstance(words, np.ndarray) else type(words).__name__
            raise MisuseError(f"a ring of {self.bits} bits takes a vector of {self.word.__name__}, got {got}")
        if writable and not words.flags.writeable:
            raise MisuseError("words changed in place must be writable, got a read-only array")

    def _require_octets(self, data: Packed, length: int) -> npt.NDArray[np.uint8]:
        raw = _octets(data)
        size = self.packed_size(length)
        if len(raw) != size:
            raise MisuseError(f"{length} words of {self.bits} bits take {size} bytes, got {len(raw)}")
        return raw

    def _blocks(self, raw: npt.NDArray[np.uint8], length: int) -> Iterator[tuple[int, Words]]:
        """Yield (index of the first word, words) block by block."""
        for first in range(0, length, _BLOCK):
            count = min(_BLOCK, length - first)
            position = first * self.bits // 8
            yield first, self._unpack_block(raw[position : position + self.packed_size(count)], count)

    def _pack_block(self, words: Words) -> npt.NDArray[np.uint8]:
        if self.bits in _WHOLE_BYTE_BITS:
            return words.astype(f"<u{self.bits // 8}").view(np.uint8)
        size = self.packed_size(len(words))
        if len(words) % GROUP:
            words = np.concatenate([words, np.zeros(-len(words) % GROUP, dtype=self.word)])
        groups = self._fields(words)
        width = GROUP * self.bits // groups.shape[1]
        return pack_rows(groups, width).reshape(-1)[:size]

    def _fields(self, words: Words) -> npt.NDArray[np.uint64]:
        """Reduce, and group eight words a row: as pairs of 2b bits where two words fit a lane, else one by one."""
        mask = np.uint64(self.modulus - 1)
        if self.bits > _NARROW:
            return (words & mask).reshape(-1, GROUP)
        pairs = np.ascontiguousarray(words, dtype="<u4").view("<u8")
        high = pairs >> np.uint64(_NARROW - self.bits)
        high &= mask << np.uint64(self.bits)
        high |= pairs & mask
        return high.reshape(-1, GROUP // 2)

    def _unpack_block(self, raw: npt.NDArray[np.uint8], count: int) -> Words:
        if self.bits in _WHOLE_BYTE_BITS:
            return raw.view(f"<u{self.bits // 8}").astype(self.word)
        if count % GROUP:
            groups = -(-count // GROUP)
            raw = np.concatenate([raw, np.zeros(groups * self.bits - len(raw), dtype=np.uint8)])
        rows = raw.reshape(-1, self.bits)
        if self.bits > _NARROW:
            return unpack_rows(rows, self.bits, GROUP).reshape(-1)[:count]
        pairs = unpack_rows(rows, 2 * self.bits, GROUP // 2).reshape(-1)
        high = pairs >> np.uint64(self.bits)
        high <<= np.uint64(_NARROW)
        pairs &= np.uint64(self.modulus - 1)
        pairs |= high
        return pairs.astype("<u8", copy=False).view("<u4")[:count].astype(self.word, copy=False)
