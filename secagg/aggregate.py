"""`Aggregate`: what a finished round gives the server, and all it gives."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from secagg.rules import Rule
from secagg.types import ClientId


@dataclass(frozen=True, slots=True)
class Blame:
    """A wrong share that recovery met and did without; one of two clients is at fault, and it cannot tell which.

    Attributes:
        rule: what was broken.
        holder: the client that revealed the share, changed perhaps.
        dealer: the client that dealt it, wrong perhaps.
    """

    rule: Rule
    holder: ClientId
    dealer: ClientId


@dataclass(frozen=True, slots=True, eq=False)
class Aggregate:
    """The exact integer sum of the survivors' inputs, and who is in it.

    Attributes:
        values: int64 array of the round's length; each coordinate lies in [-2^(b-1), 2^(b-1)) of the ring.
        invited: everyone the config lists.
        joined: those whose advert is in the roster.
        survivors: those whose input is in the sum.
        config_digest: which round this is.
        blamed: wrong shares found on the way, none of which entered the sum.
        instructions_digest: of what the clients executed; what encoded their inputs may depend on it.
    """

    values: npt.NDArray[np.int64] = field(repr=False)
    invited: tuple[ClientId, ...]
    joined: tuple[ClientId, ...]
    survivors: tuple[ClientId, ...]
    config_digest: bytes
    blamed: tuple[Blame, ...] = ()
    instructions_digest: bytes = b""

    @property
    def dropped(self) -> tuple[ClientId, ...]:
        """Joined clients whose input does not count."""
        surviving = set(self.survivors)
        return tuple(client for client in self.joined if client not in surviving)
