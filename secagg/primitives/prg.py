"""The generator of suite 2: AES-128 in counter mode, in segments, consumed as little-endian words.

Promise: the bytes of a stream are the definition below, whichever way and in whatever pieces they are made.

A stream is named by 28 bytes, a 16-byte AES key and a 12-byte nonce, derived for one purpose in one round and never
used for another. It is a row of segments of SEGMENT bytes. Block i of segment s is the encryption of the counter block
that consists of the nonce, its last four bytes XORed with s, and 2 + i; both numbers are four bytes, big-endian (NIST
SP 800-38A, section 6.5).

Those are the bytes AES-128-GCM encrypts zeros to under that nonce (NIST SP 800-38D); its tag is never asked for. Where
the processor has vector instructions for both AES and carry-less products, OpenSSL makes them faster that way, and
elsewhere in plain counter mode. Which it is gets measured once in a process (docs/adr/0014).
"""

from __future__ import annotations

import functools
import timeit
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM

from secagg.errors import MisuseError
from secagg.primitives.secret import Secret

STREAM_KEY_SIZE: Final = 16 + 12
BLOCK_SIZE: Final = 16
SEGMENT: Final = 1 << 20
"""Bytes of a segment: enough for a thread to be worth waking, few enough for a cache."""

_AES_KEY_SIZE: Final = 16
_FIRST_COUNTER: Final = 2
_MAX_SEGMENTS: Final = 1 << 32
_ZEROS: Final = memoryview(bytes(SEGMENT))
_TRIAL: Final = 64 * 1024
_TRIALS: Final = 5


class Stream:
    """The keystream of one key, written piece by piece, from anywhere, by one thread: see `open_stream`."""

    __slots__ = ("_by_gcm", "_key", "_reached")

    def __init__(self, key: Secret) -> None:
        if len(key) != STREAM_KEY_SIZE:
            raise MisuseError(f"a stream is named by {STREAM_KEY_SIZE} bytes, got a key of {len(key)}")
        self._key = key
        self._by_gcm = gcm_is_faster()
        self._reached: tuple[int, CipherContext] | None = None

    def write(self, position: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes of the stream from `position` on; releases the interpreter lock.

        Args:
            position: on a block, or where the last piece ended.
            buffer: contiguous, writable bytes, not more than the segment of `position` has left.

        Raises:
            MisuseError: the piece leaves its segment, position is inside a block, buffer is no such buffer, or the
                key was wiped.
        """
        if not isinstance(buffer, memoryview) or buffer.readonly or buffer.strides != (1,):
            raise MisuseError("a stream is written to a memoryview of contiguous, writable bytes")
        (segment, offset), size = divmod(position, SEGMENT), len(buffer)
        if size > SEGMENT - offset or not 0 <= segment < _MAX_SEGMENTS:
            raise MisuseError(f"{size} bytes from {position} on are not within one segment of a stream")
        reached, self._reached = self._reached, None  # what fails in between is not gone on with
        if reached is not None and offset and reached[0] == position:
            context = reached[1]
        else:
            context = self._open(segment, offset)
        context.update_into(_ZEROS[:size], buffer)
        self._reached = position + size, context

    def _open(self, segment: int, offset: int) -> CipherContext:
        block, inside = divmod(offset, BLOCK_SIZE)
        if inside:
            raise MisuseError(f"a stream is sought by block: {offset} is no multiple of {BLOCK_SIZE}")
        name = self._key.reveal()
        nonce = _nonce(name[_AES_KEY_SIZE:], segment)
        mode = GCM(nonce) if self._by_gcm and not offset else CTR(_counter_block(nonce, block))
        return Cipher(AES128(name[:_AES_KEY_SIZE]), mode).encryptor()


def open_stream(key: Secret) -> Stream:
    """Open the stream that `key`, STREAM_KEY_SIZE bytes, names.

    The stream reads the key again at every segment: one whose key is wiped ends there at the latest.

    Raises:
        MisuseError: the key has another size.
    """
    return Stream(key)


def reader(key: Secret) -> Callable[[int], bytes]:
    """Return `read(count)`, which gives the next bytes of the stream of `key`, from its first on.

    Raises:
        MisuseError: the key has another size; from `read`, count is negative or the key was wiped.
    """
    stream, position = Stream(key), 0

    def read(count: int) -> bytes:
        nonlocal position
        if count < 0:
            raise MisuseError(f"a stream gives 0 bytes or more, not {count}")
        out = bytearray(count)
        rest = memoryview(out)
        while rest:
            piece = rest[: SEGMENT - position % SEGMENT]
            stream.write(position, piece)
            position += len(piece)
            rest = rest[len(piece) :]
        return bytes(out)

    return read


def keystream(key: Secret, length: int) -> npt.NDArray[np.uint8]:
    """Return the first `length` bytes of the stream of `key`.

    Raises:
        MisuseError: the key has another size, or length is negative.
    """
    return np.frombuffer(reader(key)(length), dtype=np.uint8)


@functools.cache
def gcm_is_faster() -> bool:
    """Whether zeros are encrypted faster by GCM than in counter mode here, by a few trials of each on a public key."""
    nonce = bytes(STREAM_KEY_SIZE - _AES_KEY_SIZE)
    return _least_seconds(GCM(nonce)) < _least_seconds(CTR(_counter_block(nonce, 0)))


def _least_seconds(mode: GCM | CTR) -> float:
    context, out = Cipher(AES128(bytes(_AES_KEY_SIZE)), mode).encryptor(), bytearray(_TRIAL)
    return min(timeit.repeat(lambda: context.update_into(_ZEROS[:_TRIAL], out), number=1, repeat=_TRIALS))


def _nonce(nonce: bytes, segment: int) -> bytes:
    """The nonce of a segment: for different segments of one stream never the same."""
    last = int.from_bytes(nonce[8:], "big") ^ segment
    return nonce[:8] + last.to_bytes(4, "big")


def _counter_block(nonce: bytes, block: int) -> bytes:
    return nonce + (_FIRST_COUNTER + block).to_bytes(BLOCK_SIZE - len(nonce), "big")
