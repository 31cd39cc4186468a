"""What a round tells its driver to do, or tells it has happened. Drivers bring sockets, clocks and storage."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from secagg.aggregate import Aggregate
from secagg.errors import RemoteError, RoundAborted
from secagg.ring import Ring
from secagg.types import ClientId


@dataclass(frozen=True, slots=True)
class Send:
    """Deliver `data`. `to` is a client's name, or None for the server.

    What goes to many clients is held once: `shared` is the same object in all their events, and only `tag` differs.
    """

    to: ClientId | None
    shared: bytes | bytearray = field(repr=False)
    tag: bytes = field(default=b"", repr=False)

    @property
    def data(self) -> bytes | bytearray:
        """The bytes of the whole message."""
        return self.shared + self.tag if self.tag else self.shared


@dataclass(frozen=True, slots=True)
class Stream:
    """Deliver to the server every message that `messages` yields, in order.

    Each is made when it is asked for, so ask for the next one when the last has left. It can be read once; what is not
    read to its end is a drop-out: close `messages` then, and its keys are wiped.
    """

    messages: Generator[bytearray, None, None] = field(repr=False)


@dataclass(frozen=True, slots=True)
class NeedInput:
    """The client's inbox is open: call `provide` with its input, encoded for `ring`, whenever it is ready."""

    ring: Ring


@dataclass(frozen=True, slots=True)
class Rejected:
    """A client's message was refused and is in no sum; the round goes on."""

    peer: str
    error: RemoteError


@dataclass(frozen=True, slots=True)
class Finished:
    """The round is over. The server holds the aggregate; a client has done its part and wiped its secrets."""

    aggregate: Aggregate | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The round is over without a sum for this party; what was secret is wiped."""

    error: RemoteError | RoundAborted


Event = Send | Stream | NeedInput | Rejected | Finished | Failed
Events = tuple[Event, ...]
