"""Every kept input of every fuzz target, and some thousands made of them; campaigns run at night (.ci/nightly)."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from secagg import wire
from secagg.pairwise.messages import FROM_CLIENT, FROM_SERVER
from secagg.wire import Message
from tests.fuzz.__main__ import changed
from tests.fuzz.finding import Finding
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import CORPORA, TARGETS, kept

SLOW = frozenset({"client", "server", "schedule", "store", "ledger_program", "directory"})
LARGEST_CORPUS = 200_000
"""Bytes of all kept inputs of one target."""


def tries(name: str) -> int:
    return 40 if name in SLOW else 400


@pytest.mark.parametrize("name", TARGETS)
def test_kept_inputs_are_answered_or_refused_by_name(name: str) -> None:
    inputs = kept(name)
    assert inputs
    for data in inputs:
        TARGETS[name](data)
    assert sum(map(len, inputs)) < LARGEST_CORPUS


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_made_of_kept_ones_are_answered_or_refused_by_name(name: str) -> None:
    generator, inputs = random.Random(name), kept(name)  # noqa: S311  # test data
    for _ in range(tries(name)):
        TARGETS[name](changed(generator.choice(inputs), generator))


@pytest.mark.parametrize("name", ["client", "server", "schedule", "store", "ledger_program"])
def test_programs_that_hypothesis_writes_run(name: str) -> None:
    @settings(max_examples=25, deadline=None, database=None, derandomize=True)
    @given(st.binary(min_size=20, max_size=200))
    @example(b"")
    def runs(data: bytes) -> None:
        TARGETS[name](data)

    runs()


def test_there_is_a_folder_for_every_target_and_a_target_for_every_folder() -> None:
    assert {path.name for path in CORPORA.iterdir()} == TARGETS.keys()
    assert {f"message_{kind.__name__}" for kind in (*FROM_SERVER, *FROM_CLIENT)} < TARGETS.keys()
    assert len(TARGETS) >= 8


def test_every_seed_is_kept_for_a_target() -> None:
    """Where the product's bytes change on purpose, `python -m tests.fuzz --seeds` keeps the new ones."""
    for name, data in seeds():
        assert data in kept(name), name


# The targets can fail.


@pytest.mark.parametrize("name", ["message_SurvivorSet", "message_Inbox", "message_KeyAdvert"])
def test_a_decoder_that_takes_more_than_one_encoding_is_a_finding(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def lenient(kind: type[Message], data: bytes) -> Message:
        return msgspec.msgpack.decode(data, type=kind)

    monkeypatch.setattr(wire, "decode_body", lenient)
    genuine = next(data for target, data in seeds() if target == name)
    longer = b"\xdc\x00" + bytes((genuine[0] & 0x0F,)) + genuine[1:]  # the same array with a longer head
    with pytest.raises(Finding):
        TARGETS[name](longer)


def test_a_built_in_error_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(data: bytes, **limits: int) -> wire.Envelope:
        raise IndexError(data)

    monkeypatch.setattr("secagg.pairwise.messages.open_envelope", careless)
    with pytest.raises(IndexError):
        TARGETS["envelope"](bytes(100))
    with pytest.raises(IndexError):
        TARGETS["client"](bytes((0, 0, 5)))  # five times what comes next
