"""Disks that fail: what a client's store keeps through crashes, power losses, torn writes and roll-backs.

A `Disk` outlives processes; a `Handle` is one process's store on it, with the promises of `secagg.store.FileStore`:
a torn record is no record, and a handle that meets records it did not write is refused. When the power goes, in
the middle of a write or before it, the handle raises `PowerLoss` and whatever its process still does reaches no disk.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator

from secagg.errors import StorageError


class PowerLoss(BaseException):
    """The process is gone. No error, so that nothing in the product may take it for one and go on."""


class WriteFault(enum.Enum):
    """What becomes of the write a fault was armed for."""

    TORN = "torn write"
    """Power is lost with the record half written: it is none."""
    UNREPORTED = "write and lose power"
    """The record is durable, and power is lost before the call returns."""
    FULL = "disk full"
    """The write fails with an error and the process lives on."""


class Disk:
    """What is durable of one client, and every state it was in since the last round began."""

    def __init__(self) -> None:
        self.numbers: dict[bytes, int] = {}
        self.records: tuple[bytes, ...] = ()
        self.past: list[tuple[dict[bytes, int], tuple[bytes, ...]]] = []

    def remember(self) -> None:
        """Keep the present state for a roll-back."""
        self.past.append((dict(self.numbers), self.records))

    def roll_back(self, state: int) -> None:
        """Return to an earlier state, numbers and all: the one thing no file can tell (SECURITY.md)."""
        numbers, self.records = self.past[state]
        self.numbers = dict(numbers)


class Handle:
    """A `RoundStore` on a disk, for one process."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.dead = False
        self.failed = False
        self._known: int | None = None
        self._fault: WriteFault | None = None
        self._spared = 0

    def arm(self, fault: WriteFault, *, after: int) -> None:
        """Let the write after the next `after` ones go wrong."""
        self._fault, self._spared = fault, after

    def disarm(self) -> None:
        """Nothing goes wrong any more."""
        self._fault = None

    def kill(self) -> None:
        """The process is gone: nothing it still does is durable."""
        self.dead = True

    def last_round(self, session: bytes) -> int:
        """See RoundStore."""
        self._require_power()
        return self.disk.numbers.get(session, 0)

    def reserve(self, session: bytes, number: int) -> None:
        """See RoundStore."""
        fault = self._begin_write()
        if fault is not WriteFault.TORN:
            self.disk.numbers[session] = max(number, self.disk.numbers.get(session, 0))
        self._end_write(fault)

    def append(self, record: bytes) -> None:
        """See RoundStore."""
        fault = self._begin_write()
        self._require_mine()
        if fault is not WriteFault.TORN:
            self.disk.records += (record,)
            self._known = len(self.disk.records)
        self._end_write(fault)

    def records(self) -> Iterator[bytes]:
        """See RoundStore."""
        self._require_power()
        if self._known is None:
            self._known = len(self.disk.records)
        return iter(self.disk.records)

    def erase(self) -> None:
        """See RoundStore."""
        self._require_power()
        self.disk.remember()
        self.disk.records = ()
        self._known = 0

    def _begin_write(self) -> WriteFault | None:
        self._require_power()
        self.disk.remember()
        if self._fault is None:
            return None
        if self._spared:
            self._spared -= 1
            return None
        fault, self._fault = self._fault, None
        if fault is WriteFault.FULL:
            self.failed = True
            raise StorageError("the disk is full")
        return fault

    def _end_write(self, fault: WriteFault | None) -> None:
        if fault is not None:
            self.dead = True
            raise PowerLoss

    def _require_power(self) -> None:
        if self.dead:
            raise PowerLoss

    def _require_mine(self) -> None:
        if self._known is None:
            self._known = len(self.disk.records)
        if self._known != len(self.disk.records):
            self.failed = True
            raise StorageError("the record was written by another store: one client, one live store")
