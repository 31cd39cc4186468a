"""Who is who: long-lived Ed25519 identities and the directory that pins them.

Promise: a client believes a peer's round keys only under a signature of the identity its own directory pins. Where
the directory comes from (a file, a registry, a transparency log) is the deployment's choice and its trust anchor: a
server that can write to a client's directory can be every other client (SECURITY.md, Sybils).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, Protocol

from secagg.errors import ConfigError, MisuseError, StorageError
from secagg.primitives import signature
from secagg.primitives.secret import Secret
from secagg.primitives.suite import PUBLIC_KEY_SIZE
from secagg.types import MAX_CLIENT_ID, ClientId, system_entropy

_CLIENT_ID = re.compile(rf"[!-~]{{1,{MAX_CLIENT_ID}}}")


def client_id(name: str) -> ClientId:
    """Check and brand a client's name.

    Raises:
        ConfigError: not a str of 1 to 64 printable ASCII characters without spaces.
    """
    if not isinstance(name, str) or _CLIENT_ID.fullmatch(name) is None:
        wanted = f"a str of 1 to {MAX_CLIENT_ID} printable ASCII characters without spaces"
        raise ConfigError(f"a client id is {wanted}, got {name!r:.80}")
    return ClientId(name)


class Identity:
    """A client's signing identity. Prints its public key only, and is never pickled or copied.

    Args:
        seed: the 32-byte Ed25519 seed; keep it in the platform's key store.
    """

    __slots__ = ("_seed", "public")

    def __init__(self, seed: Secret) -> None:
        if not isinstance(seed, Secret):
            raise ConfigError(f"seed must be a secagg.Secret, got {type(seed).__name__}: wrap the bytes, Secret(seed)")
        if len(seed) != signature.SEED_SIZE:
            raise ConfigError(f"seed must hold {signature.SEED_SIZE} bytes, got {len(seed)}")
        self._seed = seed
        self.public = signature.verify_key(seed)

    @classmethod
    def generate(cls) -> Identity:
        """Draw a fresh identity from the operating system."""
        return cls(Secret(system_entropy(signature.SEED_SIZE)))

    def export_seed(self) -> Secret:
        """The seed this identity can be made of again: `Identity(seed)`. Keep it in the platform's key store."""
        return Secret(self._seed.reveal())

    def sign(self, *, label: bytes, message: bytes) -> bytes:
        """Sign label || message (64 bytes)."""
        return signature.sign(self._seed, label=label, message=message)

    def __repr__(self) -> str:
        return f"<Identity {self.public.hex()[:16]}...>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise MisuseError("an identity is never pickled or copied")


class Directory(Protocol):
    """Where a party looks up the pinned identity of a client."""

    def key_of(self, client: ClientId) -> bytes | None:
        """Return the 32-byte Ed25519 public key pinned for `client`, or None where there is none."""
        ...


class MemoryDirectory:
    """A directory held in a mapping of client names to 32-byte public keys.

    Raises:
        ConfigError: a name is not a client id, a key is not 32 bytes, or two names pin one key.
    """

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        # bytes() would make 32 zeros of the number 32
        if not isinstance(keys, Mapping) or not all(isinstance(key, bytes | bytearray) for key in keys.values()):
            raise ConfigError("a directory is made of a mapping from names to keys of type bytes")
        self._keys = {client_id(name): bytes(key) for name, key in keys.items()}
        for name, key in self._keys.items():
            if len(key) != PUBLIC_KEY_SIZE:
                raise ConfigError(f"the key of {name} must hold {PUBLIC_KEY_SIZE} bytes, got {len(key)}")
        if len(set(self._keys.values())) < len(self._keys):
            raise ConfigError("two clients of the directory share one key; each client needs its own identity")

    def key_of(self, client: ClientId) -> bytes | None:
        """Return the pinned key of `client`, or None."""
        return self._keys.get(client)


class FileDirectory(MemoryDirectory):
    """A directory read once from a JSON file: one object of client names to hexadecimal public keys.

    Raises:
        StorageError: the file cannot be read or is not such an object.
        ConfigError: an entry is not a client id with a 32-byte key of its own.
    """

    def __init__(self, path: str | Path) -> None:
        try:
            entries = json.loads(Path(path).read_text(encoding="ascii"), object_pairs_hook=_no_duplicates)
            keys = {name: bytes.fromhex(key) for name, key in entries.items()}
        except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
            raise StorageError(f"the directory file {path} is not a JSON object of names to hex keys") from error
        super().__init__(keys)


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Refuse a name listed twice: the later entry would silently replace the pinned one."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("a name is listed twice")
    return entries
