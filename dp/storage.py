"""Where a ledger's records outlive the process: a log that grows by whole records, and a note that says how far it got.

Promise: what `append` and `note` were given is on the disk when they return, and one ledger at a time holds a storage.
What a crash leaves behind them is the ledger's to judge; nothing here reads a record.

Imports this package's errors.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NoReturn, Protocol

from dp.errors import LedgerBusy, LedgerCorrupt, LedgerError, StorageFailed


class Storage(Protocol):
    """A log and a note. A ledger takes hold of it, and is then the only one that calls the other methods.

    Every method but `take` and `free` is durable before it returns, and raises StorageFailed where it cannot be.
    """

    def take(self) -> tuple[bytes, bytes]:
        """Take hold and return the log and the note, empty where there is none yet; raise LedgerBusy if it is held."""
        ...

    def append(self, record: bytes) -> None:
        """Add to the end of the log. A crash may leave any part of it there."""
        ...

    def note(self, text: bytes) -> None:
        """Replace the note. A crash leaves the old one or the new one."""
        ...

    def cut(self, length: int) -> None:
        """Keep the first `length` bytes of the log."""
        ...

    def free(self) -> None:
        """Let go of it."""
        ...


class MemoryStorage:
    """A storage that ends with the process: for tests, and for simulations that never promise anything to anybody."""

    def __init__(self) -> None:
        self._hold = threading.Lock()
        self._log = bytearray()
        self._note = b""

    def take(self) -> tuple[bytes, bytes]:
        """See Storage."""
        if not self._hold.acquire(blocking=False):
            raise LedgerBusy("the storage is held by another ledger: close that one first")
        return bytes(self._log), self._note

    def append(self, record: bytes) -> None:
        """See Storage."""
        self._log += record

    def note(self, text: bytes) -> None:
        """See Storage."""
        self._note = text

    def cut(self, length: int) -> None:
        """See Storage."""
        del self._log[length:]

    def free(self) -> None:
        """See Storage."""
        self._hold.release()


class Disk:
    """The calls to the operating system that a FileStorage is made of. Tests put a disk that fails in its place."""

    def open(self, path: Path, *, create: bool) -> int:
        """Open for reading and writing; made if missing, for the owner alone, or else FileNotFoundError."""
        return os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)

    def close(self, descriptor: int) -> None:
        """Close."""
        os.close(descriptor)

    def lock(self, descriptor: int) -> None:
        """Lock out everyone else, or raise BlockingIOError at once."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def unlock(self, descriptor: int) -> None:
        """Unlock, also for a forked process that still has the descriptor."""
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    def size(self, descriptor: int) -> int:
        """The length of the file."""
        return os.fstat(descriptor).st_size

    def is_at(self, descriptor: int, path: Path) -> bool:
        """Whether the open file is still the one at the path."""
        return os.path.samestat(os.fstat(descriptor), path.stat())

    def read(self, descriptor: int, size: int, offset: int) -> bytes:
        """Read up to so many bytes; none at the end of the file."""
        return os.pread(descriptor, size, offset)

    def write(self, descriptor: int, data: bytes, offset: int) -> int:
        """Write some of the bytes and return how many."""
        return os.pwrite(descriptor, data, offset)

    def truncate(self, descriptor: int, length: int) -> None:
        """Cut the file."""
        os.ftruncate(descriptor, length)

    def sync(self, descriptor: int) -> None:
        """Return when the contents are on the disk."""
        os.fsync(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Give a file another's name, which is never missing meanwhile."""
        source.replace(target)

    def sync_directory(self, path: Path) -> None:
        """Return when the names in a directory are on the disk."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


_CHUNK: Final = 1 << 20


class FileStorage:
    """A storage of two files: the log at `path`, and beside it the note at `path` + ".head".

    The log is written in place behind its last record; the note is written anew under another name, which takes the
    old one's place in one step. The log itself carries the lock, so it is never replaced; a log that somebody else
    replaced or wrote to while it was held is refused. POSIX only, on a disk of this machine: a lock may mean nothing
    on one of another.

    Args:
        path: of the log; its directory must exist. A file is made there if there is none.
        disk: the calls to the operating system.
    """

    def __init__(self, path: str | Path, *, disk: Disk | None = None) -> None:
        self._path = Path(path).absolute()
        self._note = self._path.with_name(self._path.name + ".head")
        self._disk = disk or Disk()
        self._log: int | None = None
        self._length = 0

    def take(self) -> tuple[bytes, bytes]:
        """See Storage."""
        if self._log is not None:
            raise LedgerBusy(f"{self._path} is held by another ledger of this process: close that one first")
        with self._failures(), contextlib.ExitStack() as undo:
            log = self._disk.open(self._path, create=True)
            undo.callback(self._disk.close, log)
            try:
                self._disk.lock(log)
            except BlockingIOError as error:
                raise LedgerBusy(f"{self._path} is held by another ledger: close that one first") from error
            contents = self._read(log), self._read_note()
            undo.pop_all()
        self._log, self._length = log, len(contents[0])
        return contents

    def append(self, record: bytes) -> None:
        """See Storage."""
        with self._failures():
            log = self._untouched()
            self._write(log, record, self._length)
            self._disk.sync(log)
            self._length += len(record)

    def note(self, text: bytes) -> None:
        """See Storage."""
        fresh = self._note.with_name(self._note.name + ".new")
        with self._failures():
            descriptor = self._disk.open(fresh, create=True)
            try:
                self._disk.truncate(descriptor, 0)
                self._write(descriptor, text, 0)
                self._disk.sync(descriptor)
            finally:
                self._disk.close(descriptor)
            self._disk.replace(fresh, self._note)
            self._disk.sync_directory(self._path.parent)

    def cut(self, length: int) -> None:
        """See Storage."""
        with self._failures():
            log = self._untouched()
            self._disk.truncate(log, length)
            self._disk.sync(log)
            self._length = length

    def free(self) -> None:
        """See Storage."""
        log, self._log = self._log, None
        if log is None:
            return
        with self._failures():
            try:
                self._disk.unlock(log)
            finally:
                self._disk.close(log)

    def __repr__(self) -> str:
        return f"<FileStorage {self._path}>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise LedgerError("a file storage is never pickled or copied: a copy would share its lock")

    @contextlib.contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageFailed(f"{self._path} cannot be used: {error.strerror or type(error).__name__}") from error

    def _untouched(self) -> int:
        """The log, if it is still where it was and as long."""
        if self._log is None:
            raise LedgerError(f"{self._path} is not held: a ledger takes hold of it")
        if not self._disk.is_at(self._log, self._path) or self._disk.size(self._log) != self._length:
            raise LedgerCorrupt(f"{self._path} was replaced or written to by somebody else while a ledger held it")
        return self._log

    def _read_note(self) -> bytes:
        try:
            descriptor = self._disk.open(self._note, create=False)
        except FileNotFoundError:
            return b""
        try:
            return self._read(descriptor)
        finally:
            self._disk.close(descriptor)

    def _read(self, descriptor: int) -> bytes:
        pieces: list[bytes] = []
        offset = 0
        while piece := self._disk.read(descriptor, _CHUNK, offset):
            pieces.append(piece)
            offset += len(piece)
        return b"".join(pieces)

    def _write(self, descriptor: int, data: bytes, offset: int) -> None:
        """Write every byte; the system may take fewer at a time."""
        while data:
            written = self._disk.write(descriptor, data, offset)
            data, offset = data[written:], offset + written
