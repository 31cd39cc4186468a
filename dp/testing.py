"""Randomness that repeats itself, for tests and test vectors alone.

Promise: the same seed gives the same words on every machine, so whoever knows the seed can take such noise off again.
Nothing of this project outside its tests imports this module, and a test holds that.

Imports `randomness` and this package's errors.
"""

from __future__ import annotations

import hashlib
from typing import Any

from dp.errors import ParameterError
from dp.randomness import KEY_SIZE, SystemRandomness


class FixedRandomness(SystemRandomness):
    """Words that follow from a seed of 32 bytes: key i of its streams is SHA-256(seed, i in 8 little-endian bytes).

    Threads and forked processes get keys in the order they ask, so words repeat only where that order does.

    Raises:
        ParameterError: the seed has another length.
    """

    def __init__(self, seed: bytes) -> None:
        if len(seed) != KEY_SIZE:
            raise ParameterError(f"seed of {len(seed)} bytes must have {KEY_SIZE}: take a SHA-256 digest of yours")
        super().__init__()
        self._seed = bytes(seed)
        self._keys = 0

    def _new_key(self) -> bytes:
        key = hashlib.sha256(self._seed + self._keys.to_bytes(8, "little")).digest()
        self._keys += 1
        return key

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._seed,)
