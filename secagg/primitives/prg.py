"""The generator of suite 2: AES-128 in counter mode, in segments that can be sought at no cost.

Promise: the bytes of a stream are the definition below, whichever way and in whatever pieces they are made.

A stream is named by 28 bytes, a 16-byte AES key and a 12-byte nonce, derived for one purpose in one round and never
used for another. It is a row of segments of SEGMENT bytes. Block i of segment s is the encryption of the counter block
that consists of the nonce, its last four bytes XORed with s, and 2 + i; both numbers are four bytes, big-endian (NIST
SP 800-38A, section 6.5).

Those are the bytes AES-128-GCM encrypts zeros to under that nonce (NIST SP 800-38D), whose tag is thrown away here.
Where the processor has vector instructions for both AES and carry-less products, OpenSSL makes them faster that way,
and elsewhere in plain counter mode. Which it is gets measured once in a process (docs/adr/0014).
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM

from secagg.errors import MisuseError
from secagg.primitives.secret import Secret

STREAM_KEY_SIZE: Final = 16 + 12
BLOCK_SIZE: Final = 16
SEGMENT: Final = 1 << 20
"""Bytes of a segment: enough for a thread to be worth waking, few enough for a cache."""

SPARE: Final = 16
"""Bytes behind a piece of a stream that writing it may overwrite: where GCM leaves its tag."""

_AES_KEY_SIZE: Final = 16
_FIRST_COUNTER: Final = 2
_MAX_SEGMENTS: Final = 1 << 32
_ZEROS: Final = memoryview(bytes(SEGMENT))
_TRIAL: Final = 64 * 1024
_TRIALS: Final = 5


class Stream:
    """The keystream of one key, written piece by piece, from anywhere: see `open_stream`."""

    __slots__ = ("_cipher", "_context", "_nonce", "_position", "_whole")

    def __init__(self, key: Secret, *, in_pieces: bool) -> None:
        if len(key) != STREAM_KEY_SIZE:
            raise MisuseError(f"a stream is named by {STREAM_KEY_SIZE} bytes, got a key of {len(key)}")
        material = key.reveal()
        self._cipher = AES128(material[:_AES_KEY_SIZE])
        self._nonce = material[_AES_KEY_SIZE:]
        self._whole = None if in_pieces or not gcm_is_faster() else AESGCM(material[:_AES_KEY_SIZE])
        self._context: CipherContext | None = None
        self._position = -1

    def write(self, position: int, size: int, buffer: memoryview) -> None:
        """Write bytes position to position + size - 1 to the front of `buffer`; releases the interpreter lock.

        Args:
            position: on a block, or where the last piece ended.
            size: within the segment of `position`.
            buffer: writable bytes, at least size + SPARE of them; the SPARE behind the piece may be overwritten.

        Raises:
            MisuseError: the piece leaves its segment, or the buffer is too small, or position is inside a block.
        """
        segment, offset = divmod(position, SEGMENT)
        if not 0 <= size <= SEGMENT - offset or not 0 <= segment < _MAX_SEGMENTS or len(buffer) < size + SPARE:
            raise MisuseError(f"{size} bytes from {position} on leave their segment, or do not fit {len(buffer)} bytes")
        if self._whole is not None and offset == 0:
            self._whole.encrypt_into(self._nonce_of(segment), _ZEROS[:size], None, buffer[: size + SPARE])
            return
        if self._context is None or offset == 0 or position != self._position:
            self._context = self._open(segment, offset)
        self._context.update_into(_ZEROS[:size], buffer[:size])
        self._position = position + size

    def _open(self, segment: int, offset: int) -> CipherContext:
        nonce = self._nonce_of(segment)
        if offset == 0 and gcm_is_faster():
            return Cipher(self._cipher, GCM(nonce)).encryptor()
        block, inside = divmod(offset, BLOCK_SIZE)
        if inside:
            raise MisuseError(f"a stream is sought by block: {offset} is no multiple of {BLOCK_SIZE}")
        return Cipher(self._cipher, CTR(nonce + (_FIRST_COUNTER + block).to_bytes(4, "big"))).encryptor()

    def _nonce_of(self, segment: int) -> bytes:
        """The nonce of a segment; for different segments of one stream never the same."""
        last = int.from_bytes(self._nonce[8:], "big") ^ segment
        return self._nonce[:8] + last.to_bytes(4, "big")


def open_stream(key: Secret, *, in_pieces: bool = False) -> Stream:
    """Open the stream of `key`.

    Args:
        key: the name of the stream, STREAM_KEY_SIZE bytes.
        in_pieces: whether segments will be written in several pieces, one after the other; costs time otherwise.

    Raises:
        MisuseError: the key has another size.
    """
    return Stream(key, in_pieces=in_pieces)


def reader(key: Secret) -> Callable[[int], bytes]:
    """Return `read(count)`, which gives the next bytes of the stream of `key`, from its first on."""
    stream, position = open_stream(key, in_pieces=True), 0

    def read(count: int) -> bytes:
        nonlocal position
        out, done = bytearray(count + SPARE), 0
        while done < count:
            size = min(count - done, SEGMENT - position % SEGMENT)
            stream.write(position, size, memoryview(out)[done:])
            done += size
            position += size
        return bytes(out[:count])

    return read


def keystream(key: Secret, length: int) -> npt.NDArray[np.uint8]:
    """Return the first `length` bytes of the stream of `key`."""
    return np.frombuffer(reader(key)(length), dtype=np.uint8)


@functools.cache
def gcm_is_faster() -> bool:
    """Whether zeros are encrypted faster by GCM than in counter mode here; a public key is tried, a few times each."""
    out = memoryview(bytearray(_TRIAL + SPARE))
    key, nonce = bytes(_AES_KEY_SIZE), bytes(STREAM_KEY_SIZE - _AES_KEY_SIZE)
    whole, counter = AESGCM(key), Cipher(AES128(key), CTR(bytes(BLOCK_SIZE))).encryptor()
    by_gcm = _least_seconds(lambda: whole.encrypt_into(nonce, _ZEROS[:_TRIAL], None, out))
    return by_gcm < _least_seconds(lambda: counter.update_into(_ZEROS[:_TRIAL], out[:_TRIAL]))


def _least_seconds(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(_TRIALS):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return min(taken)
