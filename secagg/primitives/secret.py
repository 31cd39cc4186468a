"""`Secret`: bytes that do not print, pickle, copy or compare in variable time.

Wiping is best effort: the bytes live in one bytearray that `wipe` overwrites, but CPython and the libraries below
may have made copies on the way (SECURITY.md, limits of Python).
"""

from __future__ import annotations

import hmac
from typing import NoReturn

from secagg.errors import MisuseError


class Secret:
    """A secret byte string.

    Read it with `reveal()`; the name makes every use visible in a review. Equality is constant-time in the content.
    """

    __slots__ = ("_bytes", "_wiped")

    def __init__(self, value: bytes | bytearray | memoryview) -> None:
        self._bytes = bytearray(value)
        self._wiped = False

    def reveal(self) -> bytes:
        """Return the bytes.

        Raises:
            MisuseError: the secret was wiped.
        """
        copied = bytes(self._bytes)
        if self._wiped:  # asked after the copy: another thread may wipe meanwhile, and zeros are no key
            raise MisuseError("this secret was wiped and cannot be used again")
        return copied

    def wipe(self) -> None:
        """Overwrite the bytes with zeros; using the secret afterwards raises MisuseError."""
        self._wiped = True
        self._bytes[:] = bytes(len(self._bytes))

    def __len__(self) -> int:
        return len(self._bytes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.reveal(), other.reveal())

    __hash__ = None  # type: ignore[assignment]  # a hash would put secret-dependent values into tables

    def __repr__(self) -> str:
        return f"<Secret of {len(self._bytes)} bytes>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise MisuseError("a secret is never pickled or copied")

    def __copy__(self) -> NoReturn:
        raise MisuseError("a secret is never pickled or copied")

    def __deepcopy__(self, memo: object) -> NoReturn:
        raise MisuseError("a secret is never pickled or copied")
