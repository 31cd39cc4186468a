"""Identities stay where they are, and a directory pins one key to one name."""

from __future__ import annotations

import copy
import functools
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from secagg.errors import ConfigError, MisuseError, StorageError
from secagg.identity import FileDirectory, Identity, MemoryDirectory
from secagg.primitives import signature
from secagg.primitives.secret import Secret
from secagg.types import ClientId

SEED: Final = bytes(range(32))
ALICE, BOB, CAROL = (ClientId(name) for name in ("alice", "bob", "carol"))
KEYS: Final = {"alice": b"a" * 32, "bob": b"b" * 32}


# Identities.


def test_an_identity_signs_under_the_key_it_shows() -> None:
    identity = Identity(Secret(SEED))
    assert identity.public == signature.verify_key(Secret(SEED))
    signed = identity.sign(label=b"label\0", message=b"text")
    assert signature.verify(identity.public, signed, label=b"label\0", message=b"text")
    assert signed == Identity(Secret(SEED)).sign(label=b"label\0", message=b"text")


def test_a_fresh_identity_is_drawn_from_the_operating_system(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Identity.generate().public != Identity.generate().public
    monkeypatch.setattr(os, "urandom", lambda count: SEED[:count])
    assert Identity.generate().public == Identity(Secret(SEED)).public


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(size: int) -> None:
    with pytest.raises(ConfigError, match=f"seed must hold 32 bytes, got {size}"):
        Identity(Secret(bytes(size)))


COPIERS: dict[str, Callable[[Identity], Any]] = {"copy": copy.copy, "deepcopy": copy.deepcopy} | {
    f"pickle {protocol}": functools.partial(pickle.dumps, protocol=protocol) for protocol in range(6)
}


@pytest.mark.parametrize("copier", COPIERS.values(), ids=COPIERS)
def test_an_identity_is_never_copied_or_pickled(copier: Callable[[Identity], Any]) -> None:
    with pytest.raises(MisuseError, match="never pickled or copied"):
        copier(Identity(Secret(SEED)))


def test_an_identity_prints_its_public_key_only() -> None:
    identity = Identity(Secret(SEED))
    for text in (repr(identity), str(identity), f"{identity}"):
        assert text == f"<Identity {identity.public.hex()[:16]}...>"
        assert SEED.hex()[:8] not in text


# Directories.


def test_a_directory_knows_who_it_was_given() -> None:
    directory = MemoryDirectory(KEYS)
    assert directory.key_of(ALICE) == KEYS["alice"]
    assert directory.key_of(BOB) == KEYS["bob"]
    assert directory.key_of(CAROL) is None
    assert directory.key_of(ClientId("Alice")) is None


def test_a_directory_does_not_change_with_what_it_was_made_of() -> None:
    key = bytearray(b"a" * 32)
    keys: dict[str, bytes] = {"alice": key}  # type: ignore[dict-item]  # a caller that is not type-checked
    directory = MemoryDirectory(keys)
    key[0] = 0
    keys["bob"] = KEYS["bob"]
    assert directory.key_of(ALICE) == b"a" * 32
    assert directory.key_of(BOB) is None


@pytest.mark.parametrize("keys", [None, [("alice", b"a" * 32)], {"alice": 32}, {"alice": "a" * 32}, {"alice": None}])
def test_a_directory_is_made_of_names_and_bytes(keys: Any) -> None:
    with pytest.raises(ConfigError, match="a mapping from names to keys of type bytes"):
        MemoryDirectory(keys)


def test_two_names_never_share_a_key() -> None:
    with pytest.raises(ConfigError, match="share one key"):
        MemoryDirectory({"alice": b"a" * 32, "bob": b"b" * 32, "carol": b"a" * 32})


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_key_has_32_bytes(size: int) -> None:
    with pytest.raises(ConfigError, match=f"key of bob must hold 32 bytes, got {size}"):
        MemoryDirectory({"alice": b"a" * 32, "bob": bytes(size)})


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "é", "a\tb"])
def test_a_name_is_a_client_id(name: str) -> None:
    with pytest.raises(ConfigError, match="client id"):
        MemoryDirectory({name: b"a" * 32})


def written(path: Path, text: str | bytes) -> Path:
    file = path / "directory.json"
    file.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return file


def hexed(keys: dict[str, bytes]) -> str:
    return json.dumps({name: key.hex() for name, key in keys.items()})


def test_a_directory_file_is_names_and_hex_keys(tmp_path: Path) -> None:
    file = written(tmp_path, hexed(KEYS))
    for path in (file, str(file)):
        directory = FileDirectory(path)
        assert directory.key_of(ALICE) == KEYS["alice"]
        assert directory.key_of(CAROL) is None
    assert FileDirectory(written(tmp_path, hexed(KEYS).upper().replace("ALICE", "alice"))).key_of(ALICE) == b"a" * 32
    assert FileDirectory(written(tmp_path, "{}")).key_of(ALICE) is None


def test_a_directory_file_is_read_once(tmp_path: Path) -> None:
    file = written(tmp_path, hexed(KEYS))
    directory = FileDirectory(file)
    file.write_text(hexed({"alice": b"c" * 32}))
    assert directory.key_of(ALICE) == KEYS["alice"]


UNREADABLE: Final[dict[str, str | bytes]] = {
    "nothing": "",
    "no JSON": "alice=61",
    "a torn file": hexed(KEYS)[:-1],
    "two objects": hexed(KEYS) * 2,
    "an array": "[]",
    "a string": '"alice"',
    "null": "null",
    "a number": "1",
    "a key that is a number": '{"alice": 61}',
    "a key that is null": '{"alice": null}',
    "a key that is an array": '{"alice": ["61"]}',
    "a key that is an object": '{"alice": {"key": "61"}}',
    "a key that is no hex": '{"alice": "' + "zz" * 32 + '"}',
    "half a byte": '{"alice": "' + "6" * 63 + '"}',
    "a name listed twice": '{"alice": "' + "61" * 32 + '", "alice": "' + "62" * 32 + '"}',
    "a name listed twice, alike": '{"alice": "' + "61" * 32 + '", "alice": "' + "61" * 32 + '"}',
    "bytes that are no ASCII": b'{"alic\xe9": "' + b"61" * 32 + b'"}',
    "a byte order mark": b"\xef\xbb\xbf" + hexed(KEYS).encode(),
    "depth without end": "[" * 100_000,
}


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_is_no_directory_is_a_storage_error(tmp_path: Path, text: str | bytes) -> None:
    file = written(tmp_path, text)
    with pytest.raises(StorageError, match=r"directory\.json is not a JSON object"):
        FileDirectory(file)


def test_a_file_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(StorageError, match="is not a JSON object"):
            FileDirectory(path)


UNFIT: Final[dict[str, dict[str, bytes]]] = {
    "a short key": {"alice": b"a" * 31},
    "an empty key": {"alice": b""},
    "one key for two": {"alice": b"a" * 32, "bob": b"a" * 32},
    "a name with a space": {"alice b": b"a" * 32},
    "no name": {"": b"a" * 32},
}


@pytest.mark.parametrize("keys", UNFIT.values(), ids=UNFIT)
def test_an_entry_that_does_not_fit_is_a_config_error(tmp_path: Path, keys: dict[str, bytes]) -> None:
    file = written(tmp_path, hexed(keys))
    with pytest.raises(ConfigError):
        FileDirectory(file)
