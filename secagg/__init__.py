"""Secure aggregation: a server learns the sum of its clients' updates and nothing else.

    update -> layout.encode -> ClientRound -> wire -> ServerRound -> aggregate

Promise: for a round with at most `plan.max_corrupt` colluding clients, under pinned identities, the server learns the
sum of its survivors' inputs, whoever drops out and however it lies (SECURITY.md says what is not promised). This
package does no I/O but its optional file stores, owns no clock and starts no thread.

The names below are the stable face; everything else is public for reading.
"""

from secagg.aggregate import Aggregate, Blame
from secagg.config import RoundConfig, instructions_digest
from secagg.errors import (
    ConfigError,
    InputError,
    Malformed,
    MisuseError,
    PhaseConsumed,
    RemoteError,
    RoundAborted,
    SecAggError,
    StorageError,
    TooFewClients,
    Unauthentic,
    Unexpected,
    Unrecoverable,
    Violation,
)
from secagg.fixedpoint import FixedPoint
from secagg.identity import Directory, FileDirectory, Identity, MemoryDirectory
from secagg.layout import Layout
from secagg.plan import Plan
from secagg.policy import Policy
from secagg.primitives.secret import Secret
from secagg.ring import Ring
from secagg.round.client import ClientRound
from secagg.round.events import Event, Failed, Finished, NeedInput, Rejected, Send, Stream
from secagg.round.server import ServerRound
from secagg.rules import Rule
from secagg.store import FileStore, MemoryStore, RoundStore
from secagg.types import Adversary, ClientId, Leg

__all__ = [
    "Adversary",
    "Aggregate",
    "Blame",
    "ClientId",
    "ClientRound",
    "ConfigError",
    "Directory",
    "Event",
    "Failed",
    "FileDirectory",
    "FileStore",
    "Finished",
    "FixedPoint",
    "Identity",
    "InputError",
    "Layout",
    "Leg",
    "Malformed",
    "MemoryDirectory",
    "MemoryStore",
    "MisuseError",
    "NeedInput",
    "PhaseConsumed",
    "Plan",
    "Policy",
    "Rejected",
    "RemoteError",
    "Ring",
    "RoundAborted",
    "RoundConfig",
    "RoundStore",
    "Rule",
    "SecAggError",
    "Secret",
    "Send",
    "ServerRound",
    "StorageError",
    "Stream",
    "TooFewClients",
    "Unauthentic",
    "Unexpected",
    "Unrecoverable",
    "Violation",
    "instructions_digest",
]
