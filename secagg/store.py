"""What outlives a call: a client's record of its round, and the chunks of uploads a server has open.

Promise: a client's record is append-only and durable before the answer it records is sent, so a client that stops at
any point can replay its round and say nothing it has not said already. On disk every record is sealed; the key stays
with the caller. What a file cannot promise: a disk rolled back to an earlier state (SECURITY.md).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

from secagg.errors import ConfigError, StorageError
from secagg.primitives import aead, labels
from secagg.primitives.kdf import derive
from secagg.primitives.secret import Secret

STORE_KEY_SIZE: Final = 32
_SALT_SIZE: Final = 16
_LENGTH: Final = struct.Struct(">I")


class RoundStore(Protocol):
    """Where a client keeps the record of its rounds. One store serves one client."""

    def last_round(self, session: bytes) -> int:
        """The highest round number reserved in a session; 0 before the first."""
        ...

    def reserve(self, session: bytes, number: int) -> None:
        """Make a round number used, durably, before anything of that round is sent."""
        ...

    def append(self, record: bytes) -> None:
        """Add a record of the open round, durably."""
        ...

    def records(self) -> Iterator[bytes]:
        """The records of the open round, oldest first."""
        ...

    def erase(self) -> None:
        """Forget the open round's records; round numbers stay used."""
        ...


class MemoryStore:
    """A store for clients whose round ends with their process."""

    def __init__(self) -> None:
        self._last: dict[bytes, int] = {}
        self._records: list[bytes] = []

    def last_round(self, session: bytes) -> int:
        """See RoundStore."""
        return self._last.get(session, 0)

    def reserve(self, session: bytes, number: int) -> None:
        """See RoundStore."""
        self._last[session] = number

    def append(self, record: bytes) -> None:
        """See RoundStore."""
        self._records.append(record)

    def records(self) -> Iterator[bytes]:
        """See RoundStore."""
        return iter(tuple(self._records))

    def erase(self) -> None:
        """See RoundStore."""
        self._records.clear()

    def __repr__(self) -> str:
        return f"<MemoryStore of {len(self._records)} records>"


class FileStore:
    """A store in a directory: one sealed, append-only file for the open round, one for the round numbers used.

    Each record is AES-128-GCM sealed under a key derived from the caller's key, a fresh random salt and the file's
    purpose, with its place in the file authenticated. A torn last record (a crash while writing) is not yet a record
    and is dropped; anything else that does not open is a StorageError.

    Args:
        directory: created if missing; readable by the owner only.
        key: 32 secret bytes from the platform's key store.
    """

    def __init__(self, directory: str | Path, *, key: Secret) -> None:
        if len(key) != STORE_KEY_SIZE:
            raise ConfigError(f"key must hold {STORE_KEY_SIZE} bytes, got {len(key)}")
        self._key = key
        self._directory = Path(directory)
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"the store directory {directory} cannot be created") from error

    def last_round(self, session: bytes) -> int:
        """See RoundStore."""
        numbers = (record[16:] for record in self._read("rounds") if record[:16] == session)
        return max((int.from_bytes(number, "big") for number in numbers), default=0)

    def reserve(self, session: bytes, number: int) -> None:
        """See RoundStore."""
        self._write("rounds", session + number.to_bytes(8, "big"))

    def append(self, record: bytes) -> None:
        """See RoundStore."""
        self._write("open-round", record)

    def records(self) -> Iterator[bytes]:
        """See RoundStore."""
        return iter(self._read("open-round"))

    def erase(self) -> None:
        """See RoundStore."""
        path = self._path("open-round")
        try:
            path.unlink(missing_ok=True)
            self._sync_directory()
        except OSError as error:
            raise StorageError(f"{path} cannot be erased") from error

    def __repr__(self) -> str:
        return f"<FileStore {self._directory}>"

    def _path(self, name: str) -> Path:
        return self._directory / name

    def _record_key(self, name: str, salt: bytes) -> Secret:
        context = name.encode("ascii")
        return derive(self._key, salt=salt, label=labels.STORE_RECORD, context=context, length=aead.BOX_KEY_SIZE)

    def _write(self, name: str, record: bytes) -> None:
        path = self._path(name)
        kept = self._scan(name)
        salt = os.urandom(_SALT_SIZE)
        sealed = aead.seal(self._record_key(name, salt), record, context=_LENGTH.pack(len(kept)))
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                end = sum(_LENGTH.size + len(blob) for blob in kept)
                os.ftruncate(descriptor, end)  # a torn record of an earlier crash goes before a new one comes
                _write_all(descriptor, _LENGTH.pack(len(salt) + len(sealed)) + salt + sealed, end)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._sync_directory()
        except OSError as error:
            raise StorageError(f"{path} cannot be written") from error

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _scan(self, name: str) -> list[bytes]:
        """The sealed records of a file, a torn last one left out."""
        path = self._path(name)
        try:
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise StorageError(f"{path} cannot be read") from error
        blobs: list[bytes] = []
        start = 0
        while start + _LENGTH.size <= len(data):
            (length,) = _LENGTH.unpack_from(data, start)
            stop = start + _LENGTH.size + length
            if stop > len(data):
                break
            blobs.append(data[start + _LENGTH.size : stop])
            start = stop
        return blobs

    def _read(self, name: str) -> list[bytes]:
        records = []
        for index, blob in enumerate(self._scan(name)):
            key = self._record_key(name, blob[:_SALT_SIZE])
            record = aead.open_box(key, blob[_SALT_SIZE:], context=_LENGTH.pack(index))
            if record is None:
                raise StorageError(f"record {index} of {self._path(name)} does not open under this key")
            records.append(record)
        return records


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    """Write every byte; the system may take fewer at a time."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


class Spool(Protocol):
    """Where a server keeps the chunks of an upload until its last one is in. Nothing in it is secret from it."""

    def append(self, position: int, chunk: bytes | memoryview) -> None:
        """Keep a chunk of a client's upload."""
        ...

    def take(self, position: int) -> Iterator[bytes]:
        """Yield the chunks kept for a client, oldest first, and forget them."""
        ...

    def discard(self, position: int) -> None:
        """Forget the chunks kept for a client."""
        ...


class MemorySpool:
    """A spool in memory, for inputs of one chunk or for few open uploads."""

    def __init__(self) -> None:
        self._chunks: dict[int, list[bytes]] = {}

    def append(self, position: int, chunk: bytes | memoryview) -> None:
        """See Spool."""
        self._chunks.setdefault(position, []).append(bytes(chunk))

    def take(self, position: int) -> Iterator[bytes]:
        """See Spool."""
        yield from self._chunks.pop(position, [])

    def discard(self, position: int) -> None:
        """See Spool."""
        self._chunks.pop(position, None)
