"""Which (leg, message, fault, role) cells a campaign must reach: data, held against what it hit.

A cell is a fault that happened to a message at its leg, by a role: the network, a client's host, a lying client, a
lying server. `REQUIRED` is every cell that can be reached; one that a campaign of CI size never hits means that the
simulator has gone blind there.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from secagg.pairwise.messages import FROM_CLIENT, FROM_SERVER, NAMES
from secagg.types import Leg


class Cell(NamedTuple):
    """One place where something went wrong."""

    leg: str
    message: str
    fault: str
    role: str


NETWORK: Final = (
    "lose",
    "delay",
    "reorder",
    "duplicate",
    "corrupt",
    "truncate",
    "extend",
    "replay",
    "misroute",
    "partition",
    "earlier round",
)
HOST: Final = ("crash", "torn write", "write and lose power", "disk full", "rolled back", "zombie", "leave")
"""What happens to a client's host while it is told a message; `crash` and `leave` are named by the message it answered
last, or by its offer before the first."""

CLIENT_LIES: Final = {
    "KeyAdvert": ("bad signature", "low-order key", "copied key", "another round's advert", "silence"),
    "SealedShares": ("garbage boxes", "swapped labels", "other secrets", "a box too few", "silence"),
    "MaskedInput": ("false report", "shifted words", "another chunk", "set padding", "silence"),
    "SurvivorSignature": ("another set's signature", "copied signature", "silence"),
    "UnmaskShares": ("wrong shares", "a share too few", "shares beyond the field", "silence"),
}
SERVER_LIES: Final = {
    "RoundOffer": ("another number", "another config", "stranger invited", "low-order key", "replay"),
    "Roster": ("cut", "swapped adverts", "own key", "copied advert", "replay", "misroute"),
    "Inbox": ("withhold", "swapped boxes", "forged box", "replay", "misroute"),
    "SurvivorSet": ("second set", "split", "any set", "below the floor", "replay", "misroute", "early"),
    "UnmaskRequest": (
        "pooled signatures",
        "too few",
        "helpers sign",
        "copied signature",
        "replay",
        "misroute",
        "early",
    ),
}
_LEGS: Final = dict(
    zip((kind.KIND for kind in FROM_SERVER), ("OFFER", "ADVERTISE", "SHARE", "MASK", "CONFIRM"), strict=True)
) | {kind.KIND: leg.name for kind, leg in zip(FROM_CLIENT, (leg for leg in Leg if leg >= Leg.ADVERTISE), strict=True)}
_KINDS: Final = {name: kind for kind, name in NAMES.items()}


def leg_of(kind: int) -> str:
    """The leg a message of this kind belongs to: that of its answer for one of a client, that it ends for others."""
    return _LEGS.get(kind, "NONE")


def cell(kind: int, fault: str, role: str) -> Cell:
    """The cell of a fault to a message of this kind."""
    return Cell(leg_of(kind), NAMES.get(kind, "nothing"), fault, role)


def _required() -> frozenset[Cell]:
    network = {cell(kind, fault, "network") for kind in NAMES for fault in NETWORK}
    host = {cell(kind.KIND, fault, "host") for kind in FROM_SERVER for fault in HOST}
    clients = {cell(_KINDS[name], lie, "lying client") for name, lies in CLIENT_LIES.items() for lie in lies}
    server = {cell(_KINDS[name], lie, "lying server") for name, lies in SERVER_LIES.items() for lie in lies}
    server |= {cell(kind.KIND, "crash", "lying server") for kind in FROM_SERVER}
    return frozenset(network | host | clients | server) - UNREACHABLE


UNREACHABLE: Final = frozenset(
    {
        # The last message of a client ends its round: what it leaves behind is nothing, so nothing can happen to it.
        cell(_KINDS["UnmaskRequest"], "leave", "host"),
        cell(_KINDS["UnmaskRequest"], "crash", "host"),
        cell(_KINDS["UnmaskRequest"], "crash", "lying server"),
    }
)
REQUIRED: Final = _required()
