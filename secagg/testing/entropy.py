"""Bytes that repeat, and the only round classes that draw from them.

`FixedEntropy` is for tests and published vectors. No production class has an argument it would fit: `ClientRound` and
`ServerRound` draw from the operating system, and these subclasses are where that is changed.
"""

from __future__ import annotations

import hashlib

from secagg.identity import Identity
from secagg.primitives.secret import Secret
from secagg.round.client import ClientRound
from secagg.round.server import ServerRound


class FixedEntropy:
    """A source of bytes that depend on nothing but its label and how many were drawn: SHAKE-256 in counter mode."""

    def __init__(self, label: str) -> None:
        self._label = label.encode()
        self._drawn = 0

    def __call__(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        self._drawn += 1
        return hashlib.shake_256(self._label + b"|" + str(self._drawn).encode()).digest(count)


class FixedClientRound(ClientRound):
    """A client's round whose secret is the next 32 bytes of `entropy`."""

    def __init__(self, *, entropy: FixedEntropy, **arguments: object) -> None:
        super().__init__(**arguments)  # type: ignore[arg-type]  # exactly ClientRound's, checked there
        self._draw = entropy  # the one seam, on purpose


class FixedServerRound(ServerRound):
    """A server's round whose channel key is the next 32 bytes of `entropy`."""

    def __init__(self, *args: object, entropy: FixedEntropy, **arguments: object) -> None:
        self._draw = entropy  # the one seam, on purpose
        super().__init__(*args, **arguments)  # type: ignore[arg-type]  # exactly ServerRound's, checked there


def fixed_identity(label: str) -> Identity:
    """Return the identity whose seed is the first 32 bytes of that label."""
    return Identity(Secret(FixedEntropy(label)(32)))
