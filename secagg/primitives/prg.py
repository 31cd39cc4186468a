"""The mask generator of suite 1: AES-128 in counter mode, sought by block, consumed as little-endian words.

A stream is named by 32 bytes: a 16-byte AES key and the 16-byte big-endian initial counter block (NIST SP 800-38A,
section 6.5). Both are derived for one purpose in one round and never used for another.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR

from secagg.errors import MisuseError
from secagg.primitives.secret import Secret

STREAM_KEY_SIZE = 32
BLOCK_SIZE = 16
_AES_KEY_SIZE = 16
_COUNTER_MODULUS = 1 << 128

Stream = CipherContext
"""An open keystream. `update_into(zeros, buffer)` writes its next bytes and releases the interpreter lock."""


def open_stream(key: Secret, *, byte_offset: int = 0) -> Stream:
    """Open the keystream of `key` at `byte_offset`, a multiple of the 16-byte block.

    Encrypting zeros with the returned context yields the keystream; two workers that open the same key at two
    offsets produce exactly the bytes one worker would.

    Raises:
        MisuseError: the key is not STREAM_KEY_SIZE bytes long, or the offset is negative or inside a block.
    """
    counter = _counter_block(key, byte_offset)
    return Cipher(AES128(key.reveal()[:_AES_KEY_SIZE]), CTR(counter)).encryptor()


def seek(stream: Stream, key: Secret, *, byte_offset: int) -> None:
    """Move an open stream of `key` to `byte_offset` without setting its cipher up again.

    Raises:
        MisuseError: as for `open_stream`.
    """
    stream.reset_nonce(_counter_block(key, byte_offset))


def keystream(key: Secret, length: int) -> npt.NDArray[np.uint8]:
    """Return the first `length` bytes of the stream of `key`."""
    return np.frombuffer(open_stream(key).update(bytes(length)), dtype=np.uint8)


def _counter_block(key: Secret, byte_offset: int) -> bytes:
    if len(key) != STREAM_KEY_SIZE:
        raise MisuseError(f"a stream is named by {STREAM_KEY_SIZE} bytes, got a key of {len(key)}")
    if byte_offset < 0 or byte_offset % BLOCK_SIZE:
        raise MisuseError(f"a stream is sought by block: byte_offset={byte_offset} is no multiple of {BLOCK_SIZE}")
    first = int.from_bytes(key.reveal()[_AES_KEY_SIZE:], "big")
    return ((first + byte_offset // BLOCK_SIZE) % _COUNTER_MODULUS).to_bytes(BLOCK_SIZE, "big")
