"""Where noise gets its bits: uniform 64-bit words from AES-128 in counter mode, keyed by the operating system.

Promise: nobody but this process can tell the words from uniform ones, no two threads or processes see the same ones,
and there is no way to name a seed. What must repeat itself in a test overrides the draw of the key (dp/testing.py).

A key generates at most 1 GiB, that is 2^26 blocks, so that the blocks of a counter, which never repeat, are told from
uniform ones with odds below 2^-77 by their number alone. A machine that is copied while it runs copies the key too:
keep a generator no longer than one vector of noise, as every `sample` does that is given none.

Imports numpy, cryptography and this package's errors; the only module of this package that imports cryptography.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR

from dp.errors import ParameterError

KEY_SIZE: Final = 32
"""Bytes that name a stream: a 16-byte AES key and the 16-byte initial counter block (NIST SP 800-38A, section 6.5)."""

WORD: Final = np.dtype("<u8")
"""The type of a word. Little-endian everywhere, so that a key gives the same words on every machine."""

Words = npt.NDArray[np.uint64]

_STEP: Final = 256 * 1024
_ZEROS: Final = memoryview(bytes(_STEP))
_BYTES_PER_KEY: Final = 1 << 30


class Randomness(Protocol):
    """A source of uniform words."""

    def fill(self, words: Words, /) -> None:
        """Overwrite a contiguous vector of `WORD` with fresh, independent, uniform words."""


@dataclass(slots=True)
class _Stream:
    """One thread's keystream: whose it is and how much it may still give."""

    context: CipherContext
    process: tuple[int, int]
    left: int


class _Process:
    """Tells a process from the one it was forked from, also where the new one got an old one's number."""

    forks = 0

    @classmethod
    def forked(cls) -> None:
        cls.forks += 1

    @classmethod
    def current(cls) -> tuple[int, int]:
        return os.getpid(), cls.forks


if hasattr(os, "register_at_fork"):  # where it is missing, so is fork
    os.register_at_fork(after_in_child=_Process.forked)


class SystemRandomness:
    """Words nobody can predict, under keys of 32 bytes from `os.urandom`.

    Threads may share it: each draws from a stream under a key of its own. So does a forked process, which is noticed
    by a hook and, where C code forked past the hook, by the number of the process. A copy, pickled or not, shares no
    key with the original.
    """

    def __init__(self) -> None:
        self._of_thread = threading.local()

    def fill(self, words: Words, /) -> None:
        """Overwrite `words` with fresh words.

        Raises:
            ParameterError: not a contiguous, writable vector of `WORD`.
        """
        _require_words(words)
        if words.size == 0:
            return
        raw = words.view(np.uint8).data
        for start in range(0, len(raw), _STEP):
            piece = raw[start : start + _STEP]
            self._stream(len(piece)).update_into(_ZEROS[: len(piece)], piece)

    def _stream(self, size: int) -> CipherContext:
        """This thread's keystream in this process, good for `size` more bytes."""
        stream: _Stream | None = getattr(self._of_thread, "stream", None)
        process = _Process.current()
        if stream is None or stream.process != process or stream.left < size:
            stream = self._of_thread.stream = _Stream(_open(self._new_key()), process, _BYTES_PER_KEY)
        stream.left -= size
        return stream.context

    def _new_key(self) -> bytes:
        """Draw KEY_SIZE fresh bytes: the one method a test overrides to know the words beforehand."""
        return os.urandom(KEY_SIZE)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


def new_words(randomness: Randomness, count: int) -> Words:
    """Return `count` fresh words."""
    words: Words = np.empty(count, dtype=WORD)
    randomness.fill(words)
    return words


def uniform_bits(randomness: Randomness, bits: int) -> int:
    """Return a uniform integer below 2**bits: the low bits of the next words, the first word the least significant."""
    words = new_words(randomness, -(-bits // 64))
    return int.from_bytes(words.tobytes(), "little") & ((1 << bits) - 1)


def uniform_below(randomness: Randomness, bound: int) -> int:
    """Return a uniform integer from 0 to bound - 1, exactly uniform: what lies outside is drawn again.

    Raises:
        ParameterError: bound is not positive.
    """
    if bound < 1:
        raise ParameterError(f"bound={bound} leaves nothing to draw from: give 1 or more")
    bits = (bound - 1).bit_length()
    while (drawn := uniform_bits(randomness, bits)) >= bound:
        pass
    return drawn


def _open(key: bytes) -> CipherContext:
    return Cipher(AES128(key[:16]), CTR(key[16:])).encryptor()


def _require_words(words: Words) -> None:
    if not isinstance(words, np.ndarray) or words.dtype != WORD or words.ndim != 1:
        raise ParameterError(f"words are filled into a vector of little-endian uint64, got {_kind(words)}")
    if not (words.flags.c_contiguous and words.flags.writeable):
        raise ParameterError("words are filled into a contiguous, writable vector: pass a new one of np.empty")


def _kind(thing: object) -> str:
    return f"{thing.dtype} of shape {thing.shape}" if isinstance(thing, np.ndarray) else type(thing).__name__
