"""What outlives a call: a client's record of its round, and the chunks of uploads a server has open.

Promise: a client's record is append-only and durable before the answer it records is sent, so a client that stops at
any point can replay its round and say nothing it has not said already. On disk every record is sealed; the key stays
with the caller. What a file cannot promise: a disk rolled back to an earlier state (SECURITY.md).
"""

from __future__ import annotations

import fcntl
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
_SESSION_SIZE: Final = 16
_LENGTH: Final = struct.Struct(">I")
_PLACE: Final = struct.Struct(">Q")
_ALIGNMENT: Final = 64
"""Records start at multiples of this, so no header straddles a sector: it reaches the disk whole or not at all."""
_HEADER_SIZE: Final = _LENGTH.size + _SALT_SIZE + aead.TAG_SIZE
_MAX_RECORD: Final = 2**31 - 1024  # one box covers less than 2^31 bytes
_OPEN_ROUND: Final = "open-round"
_ROUNDS: Final = "rounds"


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
        self._last[session] = max(number, self.last_round(session))

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
    purpose, with its place in the file authenticated. In front stands a header, tagged with length and place. It is
    written when the record is durable, so a record torn by a crash has none yet and is no record; anything else that
    does not verify is a StorageError. What cannot be told from an earlier state of the file, such as whole records cut
    off or their header zeroed, is a rollback. Two live objects
    on one directory would be one client answering twice: one that meets records it did not write is refused. POSIX
    only.

    Args:
        directory: created if missing; readable by the owner only.
        key: 32 secret bytes from the platform's key store.

    Raises:
        ConfigError: the key has another size.
        StorageError: the directory cannot be made.
    """

    def __init__(self, directory: str | Path, *, key: Secret) -> None:
        if not isinstance(key, Secret):
            raise ConfigError(f"key must be a secagg.Secret, got {type(key).__name__}: wrap the bytes, Secret(key)")
        if len(key) != STORE_KEY_SIZE:
            raise ConfigError(f"key must hold {STORE_KEY_SIZE} bytes, got {len(key)}")
        self._key = key
        self._directory = Path(directory)
        self._known: dict[str, int] = {}
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"the store directory {directory} cannot be created") from error

    def last_round(self, session: bytes) -> int:
        """See RoundStore."""
        numbers = (record[_SESSION_SIZE:] for record in self._read(_ROUNDS) if record[:_SESSION_SIZE] == session)
        return max((int.from_bytes(number, "big") for number in numbers), default=0)

    def reserve(self, session: bytes, number: int) -> None:
        """See RoundStore."""
        self._write(_ROUNDS, session + number.to_bytes(8, "big"))

    def append(self, record: bytes) -> None:
        """See RoundStore."""
        self._write(_OPEN_ROUND, record)

    def records(self) -> Iterator[bytes]:
        """See RoundStore."""
        return iter(self._read(_OPEN_ROUND))

    def erase(self) -> None:
        """See RoundStore."""
        path = self._directory / _OPEN_ROUND
        try:
            path.unlink(missing_ok=True)
            self._sync_directory()
        except OSError as error:
            self._known.pop(_OPEN_ROUND, None)
            raise StorageError(f"{path} cannot be erased") from error
        self._known[_OPEN_ROUND] = 0

    def __repr__(self) -> str:
        return f"<FileStore {self._directory}>"

    def _key_for(self, label: bytes, name: str, salt: bytes) -> Secret:
        return derive(self._key, salt=salt, label=label, context=name.encode("ascii"), length=aead.BOX_KEY_SIZE)

    def _write(self, name: str, record: bytes) -> None:
        if len(record) > _MAX_RECORD:
            raise StorageError(f"a record of {len(record)} bytes is longer than the {_MAX_RECORD} a file store keeps")
        path = self._directory / name
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                self._append(name, descriptor, record)
            finally:
                os.close(descriptor)
            self._sync_directory()
        except OSError as error:
            self._known.pop(name, None)  # whether the record is there is not known until the file is read again
            raise StorageError(f"{path} cannot be written") from error

    def _append(self, name: str, descriptor: int, record: bytes) -> None:
        """Write the record behind the last whole one, durably, and only then its header."""
        kept, end = self._scan(name)
        if self._known.setdefault(name, len(kept)) != len(kept):
            raise StorageError(f"{self._directory / name} was written by another store: one client, one live store")
        salt = os.urandom(_SALT_SIZE)
        place = _PLACE.pack(len(kept))
        sealed = aead.seal(self._key_for(labels.STORE_RECORD, name, salt), record, context=place)
        length = _LENGTH.pack(len(sealed))
        tag = aead.seal(self._key_for(labels.STORE_HEADER, name, salt), b"", context=place + length)
        os.ftruncate(descriptor, end)  # a torn record of an earlier crash goes before a new one comes
        _write_all(descriptor, sealed, end + _HEADER_SIZE)
        os.fsync(descriptor)
        _write_all(descriptor, length + salt + tag, end)
        os.fsync(descriptor)
        self._known[name] = len(kept) + 1

    def _sync_directory(self) -> None:
        descriptor = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _scan(self, name: str) -> tuple[list[tuple[bytes, bytes]], int]:
        """The (salt, sealed record) of each record, and where the next one goes; a torn one is no record.

        A crash leaves a tail whose header is still zero, for the header comes last. So a header that is there and does
        not verify, or a record shorter than its header says, was changed, and nothing behind it can be believed.
        """
        path = self._directory / name
        try:
            data = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise StorageError(f"{path} cannot be read") from error
        whole: list[tuple[bytes, bytes]] = []
        start = 0
        while any(header := data[start : start + _HEADER_SIZE]):
            length, salt, tag = header[:4], header[4 : 4 + _SALT_SIZE], header[4 + _SALT_SIZE :]
            context = _PLACE.pack(len(whole)) + length
            verified = aead.open_box(self._key_for(labels.STORE_HEADER, name, salt), tag, context=context) is not None
            stop = start + _HEADER_SIZE + int.from_bytes(length, "big")
            following = -(-stop // _ALIGNMENT) * _ALIGNMENT
            if not verified or stop > len(data) or any(data[stop:following]):
                raise StorageError(f"record {len(whole)} of {path} does not open under this key")
            whole.append((salt, data[start + _HEADER_SIZE : stop]))
            start = following
        return whole, start

    def _read(self, name: str) -> list[bytes]:
        whole, _ = self._scan(name)
        self._known.setdefault(name, len(whole))
        records: list[bytes] = []
        for index, (salt, sealed) in enumerate(whole):
            key = self._key_for(labels.STORE_RECORD, name, salt)
            record = aead.open_box(key, sealed, context=_PLACE.pack(index))
            if record is None:
                records.clear()  # they would live on in the frames of the error
                raise StorageError(f"record {index} of {self._directory / name} does not open under this key")
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
