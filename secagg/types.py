"""The small words everything else is written in: client ids, positions, legs, adversary classes, entropy.

Imports nothing of this project.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable
from typing import NewType

ClientId = NewType("ClientId", str)
"""The name a client is pinned under in the directory: 1 to 64 printable ASCII characters without spaces."""

Entropy = Callable[[int], bytes]
"""`entropy(n)` returns n fresh secret bytes. The default everywhere is `system_entropy`."""

MAX_CLIENTS = 65_536
"""Largest cohort any message of this protocol can name; a bound on what a peer can make us allocate."""

MAX_CLIENT_ID = 64
SERVER = 0xFFFF_FFFF
"""The sender position of the server; no client can have it, because positions stay below MAX_CLIENTS."""


class Leg(enum.IntEnum):
    """A turn of the round; the numbers are those of docs/protocol.md."""

    OFFER = -1
    ADVERTISE = 0
    SHARE = 1
    MASK = 2
    CONFIRM = 3
    UNMASK = 4


class Adversary(enum.StrEnum):
    """What the plan assumes of the server and its helpers.

    ACTIVE: the server lies and equivocates; up to max_corrupt clients do what it says.
    SEMI_HONEST: everyone follows the protocol, and up to max_corrupt clients pool what they see with the server.
    """

    ACTIVE = "active"
    SEMI_HONEST = "semi-honest"


def system_entropy(count: int) -> bytes:
    """Return `count` bytes from the operating system's generator, the only source production code uses."""
    return os.urandom(count)
