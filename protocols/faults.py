"""Faults as values: what goes wrong in a simulated round, and when.

A fault names a client and the leg whose answer it touches: "advertise", "share", "mask", "confirm" or "unmask".

    drop("phone-3", before="mask")      falls silent for good before it answers the leg
    late("phone-3", leg="mask")         its answer arrives after the leg was closed
    corrupt("phone-3", leg="mask")      one bit of its answer is flipped on the way
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from protocols.errors import FaultError
from secagg.types import Leg

_LEGS = {leg.name.lower(): leg for leg in Leg if leg >= Leg.ADVERTISE}


class FaultKind(enum.StrEnum):
    """What happens to an answer."""

    DROP = "drop"
    LATE = "late"
    CORRUPT = "corrupt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that goes wrong; made by the functions below.

    Attributes:
        kind: what happens.
        client: to whom.
        leg: at which leg's answer.
        bit: for CORRUPT, which bit of the message, counted from its start and taken modulo its length.
    """

    kind: FaultKind
    client: str
    leg: Leg
    bit: int = 0


def drop(client: str, *, before: str) -> Fault:
    """The client falls silent before it answers leg `before`, and stays silent.

    Raises:
        FaultError: no such leg.
    """
    return Fault(kind=FaultKind.DROP, client=client, leg=_leg(before))


def late(client: str, *, leg: str) -> Fault:
    """The client's answer to `leg` arrives after the server closed it.

    Raises:
        FaultError: no such leg.
    """
    return Fault(kind=FaultKind.LATE, client=client, leg=_leg(leg))


def corrupt(client: str, *, leg: str, bit: int = 0) -> Fault:
    """One bit of the client's answer to `leg` is flipped on the way to the server.

    Raises:
        FaultError: no such leg.
    """
    return Fault(kind=FaultKind.CORRUPT, client=client, leg=_leg(leg), bit=bit)


def flip(data: bytes | bytearray, bit: int) -> bytes:
    """Return the bytes with one bit flipped."""
    flipped = bytearray(data)
    bit %= 8 * len(flipped)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


def check_faults(faults: Iterable[Fault], clients: Iterable[str]) -> None:
    """Refuse a fault of a client that is not there: it would silently test nothing.

    Raises:
        FaultError: names the client.
    """
    known = set(clients)
    for fault in faults:
        if fault.client not in known:
            raise FaultError(f"a fault names {fault.client!r}, which is not among the {len(known)} clients")


def _leg(name: str) -> Leg:
    if name not in _LEGS:
        raise FaultError(f"leg must be one of {', '.join(_LEGS)}, got {name!r}")
    return _LEGS[name]
