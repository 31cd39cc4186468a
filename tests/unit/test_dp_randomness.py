"""Randomness: the keystream it is, keys nobody else has, and integers that are exactly uniform."""

from __future__ import annotations

import ast
import copy
import hashlib
import inspect
import os
import pickle
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR

import dp
from dp import ParameterError, randomness
from dp.randomness import KEY_SIZE, WORD, SystemRandomness, Words, new_words, uniform_below, uniform_bits
from dp.testing import FixedRandomness

SEED = bytes(range(32))
PACKAGES = Path(dp.__file__).parent.parent


class Scripted:
    """Hands out the words it was given, in order."""

    def __init__(self, *words: int) -> None:
        self.left = list(words)

    def fill(self, words: Words, /) -> None:
        words[:] = self.left[: len(words)]
        del self.left[: len(words)]


def keystream(seed: bytes, number: int, words: int) -> Words:
    key = hashlib.sha256(seed + number.to_bytes(8, "little")).digest()
    raw = Cipher(AES128(key[:16]), CTR(key[16:])).encryptor().update(bytes(8 * words))
    return np.frombuffer(raw, dtype="<u8")


def test_words_are_the_keystream_of_one_key_however_they_are_asked_for() -> None:
    source = FixedRandomness(SEED)
    parts = [new_words(source, count) for count in (1, 0, 7, 70_000, 32_768, 3)]
    assert [len(part) for part in parts] == [1, 0, 7, 70_000, 32_768, 3]
    assert np.array_equal(np.concatenate(parts), keystream(SEED, 0, 102_779))


def test_a_key_is_replaced_before_it_has_given_its_last_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(randomness, "_BYTES_PER_KEY", 160)
    source = FixedRandomness(SEED)
    parts = [new_words(source, 12), new_words(source, 8), new_words(source, 1)]
    expected = [keystream(SEED, 0, 20)[:12], keystream(SEED, 0, 20)[12:], keystream(SEED, 1, 1)]
    for part, words in zip(parts, expected, strict=True):
        assert np.array_equal(part, words)


def test_a_key_gives_at_most_a_gibibyte() -> None:
    source = FixedRandomness(SEED)
    new_words(source, 4)
    source._of_thread.stream.left = 31
    assert np.array_equal(new_words(source, 4), keystream(SEED, 1, 4))
    assert source._of_thread.stream.left == 2**30 - 32


def test_the_operating_system_gives_each_generator_a_key_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def urandom(count: int) -> bytes:
        asked.append(count)
        return bytes([len(asked)] * count)

    monkeypatch.setattr(os, "urandom", urandom)
    first, second = SystemRandomness(), SystemRandomness()
    words = {new_words(source, 4).tobytes() for source in (first, second, first)}
    assert asked == [KEY_SIZE, KEY_SIZE]
    assert len(words) == 3


def test_production_code_has_no_way_to_name_a_seed() -> None:
    assert list(inspect.signature(SystemRandomness).parameters) == []
    stream = SystemRandomness()
    assert not np.array_equal(new_words(stream, 4), new_words(SystemRandomness(), 4))
    assert "bytes" not in repr(stream)


def test_nothing_but_tests_imports_repeatable_randomness() -> None:
    for package in ("dp", "secagg", "protocols"):
        for path in (PACKAGES / package).rglob("*.py"):
            assert "dp.testing" not in imports_of(path), path


def test_only_the_randomness_module_imports_cryptography() -> None:
    importing = [
        path.name
        for path in (PACKAGES / "dp").rglob("*.py")
        if any(name.split(".")[0] in {"cryptography", "nacl", "secagg", "protocols"} for name in imports_of(path))
    ]
    assert importing == ["randomness.py"]


def pickled(source: SystemRandomness) -> SystemRandomness:
    twin: SystemRandomness = pickle.loads(pickle.dumps(source))  # noqa: S301  # our own bytes
    return twin


def imports_of(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


FORKING = """
import os, sys
import numpy as np
from dp import randomness
source = randomness.SystemRandomness()
randomness.new_words(source, 4)
parent, forks = os.getpid(), randomness._Process.forks
reading, writing = os.pipe()
if os.fork() == 0:
    {guard}
    os.write(writing, randomness.new_words(source, 4).tobytes())
    os._exit(0)
os.wait()
child = os.read(reading, 32)
mine = randomness.new_words(source, 4).tobytes()
assert len(child) == len(mine) == 32
sys.exit(child == mine)
"""


@pytest.mark.parametrize(
    "guard",
    [
        pytest.param("pass", id="both"),
        pytest.param("os.getpid = lambda: parent", id="the hook alone: the child got the parent's number"),
        pytest.param("randomness._Process.forks = forks", id="the number alone: C code forked past the hook"),
    ],
)
def test_a_forked_process_has_words_of_its_own(guard: str) -> None:
    done = subprocess.run([sys.executable, "-c", FORKING.format(guard=guard)], cwd=PACKAGES, timeout=60, check=False)  # noqa: S603  # our own text
    assert done.returncode == 0


def test_threads_share_a_generator_but_no_words() -> None:
    source, seen = SystemRandomness(), []
    barrier = threading.Barrier(4)

    def draw() -> None:
        barrier.wait()
        for _ in range(20):
            seen.extend(new_words(source, 1000).tolist())

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == len(set(seen)) == 80_000


def test_a_copy_shares_no_words_with_the_original() -> None:
    source = SystemRandomness()
    new_words(source, 1)
    twins = [source, copy.copy(source), copy.deepcopy(source), pickled(source)]
    assert len({new_words(twin, 4).tobytes() for twin in twins}) == 4
    assert b"stream" not in pickle.dumps(source)


@pytest.mark.parametrize(
    "bad",
    [
        np.empty(4, dtype=np.int64),
        np.empty(4, dtype=">u8"),
        np.empty((2, 2), dtype=WORD),
        np.empty(8, dtype=WORD)[::2],
        np.frombuffer(bytes(16), dtype=WORD),
        bytearray(16),
    ],
)
def test_fill_refuses_what_is_no_vector_of_words(bad: Any) -> None:
    with pytest.raises(ParameterError, match="words are filled into a"):
        SystemRandomness().fill(bad)


def test_bits_are_the_low_bits_of_the_next_words() -> None:
    assert uniform_bits(Scripted(0xF0F0, 3), 65) == 0xF0F0 + (1 << 64)
    assert uniform_bits(Scripted(0xF0F7), 3) == 7
    assert uniform_bits(Scripted(), 0) == 0


def test_integers_below_a_bound_are_drawn_until_one_is() -> None:
    source = Scripted(7, 5, 4, 9)
    assert uniform_below(source, 5) == 4
    assert source.left == [9]
    counts = Counter(uniform_below(Scripted(word, 0), 5) for word in range(8))
    assert counts == {0: 4, 1: 1, 2: 1, 3: 1, 4: 1}
    assert uniform_below(Scripted(), 1) == 0
    assert uniform_below(Scripted(3), 4) == 3


@pytest.mark.parametrize("bound", [0, -1])
def test_there_is_nothing_below_zero(bound: int) -> None:
    with pytest.raises(ParameterError, match=f"bound={bound}"):
        uniform_below(SystemRandomness(), bound)


def test_repeatable_randomness_repeats_itself_and_copies_from_the_start() -> None:
    source = FixedRandomness(SEED)
    words = new_words(source, 9)
    for twin in (FixedRandomness(SEED), pickled(source)):
        assert np.array_equal(new_words(twin, 9), words)
    assert not np.array_equal(new_words(FixedRandomness(bytes(32)), 9), words)


def test_repeatable_randomness_needs_a_whole_seed() -> None:
    with pytest.raises(ParameterError, match="seed of 31 bytes must have 32"):
        FixedRandomness(bytes(31))
