"""Where a campaign starts: what honest parties write. `python -m tests.fuzz --seeds` puts it among the kept inputs.

The same on every machine: rounds under fixed entropy, programs from a fixed generator.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from dp.events import Gaussian, Neighboring, to_json
from dp.ledger import Budget, Charge
from dp.records import EMPTY, Kind, Opening, Step, encode, write_anchor
from secagg.pairwise.messages import NAMES, open_message
from secagg.testing.table import Table
from secagg.types import Leg
from tests.fuzz.decoders import table
from tests.fuzz.targets import CORPORA
from tests.support.liars import LyingServer

YES: Final = (0xF4, 0x01)
"""A flag that is up: 500 of a thousand."""

NO: Final = (0, 0)

# Each is a path that random bytes would be long in finding; a step's arguments stand behind its number.
PROGRAMS: Final[Mapping[str, Sequence[bytes]]] = {
    "client": (
        bytes((*NO, 6, 0, 0, 0, 1, 0, 0)),  # an honest round
        bytes((*YES, 9, 0, 10, 0, 10, 0, 1, 10, 0, 10)),  # stopped after each answer
        bytes((*NO, 6, 0, 0, 0, 1, 10, 9, 4, 24)),  # stopped after its input left, and given another
        bytes((*YES, 6, 0, 0, 0, 1, 10, 9, 4, 24)),  # the same, the input kept
        bytes((*NO, 7, 0, 0, 0, 1, 0, 10, 7, *YES, *YES, *NO)),  # told of other survivors after it signed
        bytes((*NO, 7, 0, 0, 8, *YES, *NO, *NO, 1, 0, 0, 2, 3)),  # an inbox of one, then of all survivors
        bytes((*NO, 8, 0, 0, 0, 1, 0, 0, 10, 0)),  # resumed after the end
    ),
    "server": (
        bytes((6, 0, 0, 0, 0, 0, 9)),  # an honest round
        bytes((15, 0, 0, 1, 0, 1, 1, 1, 2, 3, 0, 2, 1, 2, 2, 8, 0, 0, 9)),  # an input handed in twice
        bytes((14, 0, 0, 0, 0, 1, 0, 1, 1, 1, 2, 3, 0, 3, 1, 8, 9)),  # shares handed in twice, one client silent
        bytes((10, 0, 0, 1, 0, 1, 1, 5, 0, 90, 7, 2, 0, 2, 1, 8, 0, 0, 9)),  # a changed input before the right one
        bytes((8, 0, 0, 1, 0, 6, 80, 1, 8, 0, 0, 9)),  # a client that lies under its tag
    ),
    "store": (
        bytes((2, 0, 4, 1, 2, 3, 4, 0, 4, 5, 6, 7, 8, 2, 64, 2)),  # the first record again in the place of the second
        bytes((2, 0, 4, 1, 2, 3, 4, 0, 4, 5, 6, 7, 8, 2, 64, 0)),  # the second cut off
        bytes((3, 0, 4, 1, 2, 3, 4, 2, 60, 0, 0, 4, 5, 6, 7, 8, 4, 9)),  # torn, written again
        bytes((2, 0, 90, *range(90), 4, 3, 2, 50, 1, 1)),  # a changed byte
    ),
    "ledger_program": (
        bytes((6, 1, 0, 2, 1, 4, 1, 1, *NO, 2, 0, 2, 2, 2, 2, 4)),  # reserved, opened, committed, lifted, opened
        bytes((3, 1, 0, 2, 2, 0, 1, 0, 5, 20, 1, 1, 3)),  # a changed byte
        bytes((3, 1, 0, 2, 2, 0, 2, 0, 5, 0, 1, 0)),  # cut
        bytes((9, 0, 0, 0, 1, 0, 0, 2, 0, 0, 3, 0, 0)),  # more than the budget
    ),
}


def seeds() -> Iterator[tuple[str, bytes]]:
    """(target, input)."""
    yield from wire_seeds()
    yield "config", table().config.encoded
    yield "positions", b"\x04\x1f"
    yield "positions", b"\x08\xff\x01"
    yield "packed", bytes(range(41))
    yield "packed", b"\x0c" + bytes(200)
    yield "layout", bytes(8) + bytes(range(48))
    yield "layout", b"\x02\x40\x38\x01\x00\x00\x00\x00" + b"\0\0\xc0\x7f\0\0\x80\x3f" * 6  # NaN and 1.0
    keys = {name: identity.public.hex() for name, identity in table().identities.items()}
    yield "directory", json.dumps(keys).encode()
    yield "directory", b'{"a": "00", "a": "00"}'
    yield from ledger_seeds()
    generator = random.Random(4)  # noqa: S311  # test data, nothing secret
    for target, written in PROGRAMS.items():
        yield from ((target, data) for data in written)
        yield from ((target, generator.randbytes(size)) for size in (32, 64, 96, 128, 160))
    yield from (("schedule", generator.randbytes(size)) for size in (0, 100, 300, 300, 1_000, 1_000))


def wire_seeds() -> Iterator[tuple[str, bytes]]:
    """Each message of a whole round, as it travels and its body alone."""
    server = LyingServer(Table(table().plan, table().inputs, bits=20))
    server.play(Leg.UNMASK)
    said = [data for position in (0, 4) for data in (*server.heard[position], *server.told[position])]
    for data in said:
        envelope = open_message(data, config=server.config)
        yield "envelope", data
        yield f"message_{NAMES[envelope.kind]}", bytes(envelope.body)


def ledger_seeds() -> Iterator[tuple[str, bytes]]:
    """An event, and a small ledger with its note; a ledger's own id is drawn at random, so it is written by hand."""
    event = Gaussian(noise_multiplier=8.0)
    charge = Charge(server=event, public=event)
    budget = Budget(epsilon=4.0, delta=1e-6, neighboring=Neighboring.ZERO_OUT)
    steps: list[Opening | Step] = [
        Opening(ledger="0123456789abcdef" * 2, budget=budget, order=8.0),
        Step(kind=Kind.RESERVE, name="round-1", charge=charge),
        Step(kind=Kind.COMMIT, name="round-1", charge=charge),
        Step(kind=Kind.RESERVE, name="round-2", charge=charge),
        Step(kind=Kind.RELEASE, name="round-2", charge=None),
    ]
    lines, anchor = b"", EMPTY
    for step in steps:
        line, anchor = encode(step, anchor)
        lines += line
    yield "ledger", to_json(event).encode()
    yield "ledger", lines
    yield "ledger", lines[:-1]
    yield "ledger", write_anchor(anchor)


def write() -> int:
    """Put the seeds among the kept inputs, each under its hash; return how many were new."""
    new = 0
    for target, data in seeds():
        folder = CORPORA / target
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / hashlib.sha1(data, usedforsecurity=False).hexdigest()  # libFuzzer's own names
        if not path.exists():
            path.write_bytes(data)
            new += 1
    return new
