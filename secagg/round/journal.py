"""The record of a client's round: what it must write before it answers, and how to read it back.

Promise: the entries of an open round are exactly enough to replay it: its secret, each request it answered, a digest
of each answer, and the mark that its masked input was made. A mark without the input is deliberate: an input is the
one answer too large to keep for everyone, and making it twice from different inputs would be a leak.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from secagg.errors import StorageError
from secagg.primitives import labels
from secagg.primitives.kdf import digest
from secagg.round.events import Events, Send
from secagg.store import RoundStore


class Kind(enum.IntEnum):
    """The first byte of a record."""

    SECRET = 1
    REQUEST = 2
    ANSWERED = 3
    MASKED = 4


class Entry(NamedTuple):
    """One record, read back."""

    kind: Kind
    payload: bytes

    def __repr__(self) -> str:
        return f"<{self.kind.name} of {len(self.payload)} bytes>"


class Journal:
    """The typed face of a `RoundStore`."""

    def __init__(self, store: RoundStore) -> None:
        self._store = store

    def write(self, kind: Kind, payload: bytes = b"") -> None:
        """Append one record, durably."""
        self._store.append(bytes((kind,)) + payload)

    def entries(self) -> tuple[Entry, ...]:
        """Return the open round's records, oldest first.

        Raises:
            StorageError: a record of no known kind.
        """
        try:
            return tuple(Entry(Kind(record[0]), record[1:]) for record in self._store.records())
        except (ValueError, IndexError) as error:
            raise StorageError("the store holds a record of no known kind") from error

    def is_open(self) -> bool:
        """Whether a round was begun and neither finished nor left."""
        return any(True for _ in self._store.records())

    def last_round(self, session: bytes) -> int:
        """The last round number reserved in a session; 0 before the first."""
        return self._store.last_round(session)

    def reserve(self, session: bytes, number: int) -> None:
        """Use a round number up, durably."""
        self._store.reserve(session, number)

    def erase(self) -> None:
        """Forget the open round, its secret first of all."""
        self._store.erase()


def answer_digest(events: Events) -> bytes:
    """Digest of the bytes an answer sends."""
    return digest(labels.MESSAGE_DIGEST, *(bytes(event.data) for event in events if isinstance(event, Send)))
