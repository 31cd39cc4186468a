"""A spool on disk, for measuring rounds whose uploads do not fit the memory: one file a client."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LENGTH: Final = struct.Struct(">Q")


class DirectorySpool:
    """Keeps the chunks of each open upload in a file of a directory; see `secagg.store.Spool`.

    It takes a disk that works: a real driver turns what its storage raises into `StorageError`.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def append(self, position: int, chunk: bytes | memoryview) -> None:
        """Keep a chunk of a client's upload."""
        with self._path(position).open("ab") as file:
            file.write(_LENGTH.pack(len(chunk)))
            file.write(chunk)

    def take(self, position: int) -> Iterator[bytes]:
        """Yield the chunks kept for a client, oldest first, and forget them."""
        if self._path(position).exists():
            with self._path(position).open("rb") as file:
                while head := file.read(_LENGTH.size):
                    yield file.read(*_LENGTH.unpack(head))
        self.discard(position)

    def discard(self, position: int) -> None:
        """Forget the chunks kept for a client."""
        self._path(position).unlink(missing_ok=True)

    def _path(self, position: int) -> Path:
        return self._directory / str(position)
