"""Fuzz targets in which the bytes are a program for what is on disk: a client's record, a client's ledger.

The contract: only errors of the package's own kinds; what is read back is what was written, or a beginning of it where
somebody changed the file; and a ledger never forgets what was charged to it.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Final

from dp.accountants import Against
from dp.errors import LedgerCorrupt, PrivacyError
from dp.events import Gaussian, Neighboring
from dp.ledger import Budget, Charge, Ledger, MemoryStorage, verify
from secagg.errors import StorageError
from secagg.primitives.secret import Secret
from secagg.store import FileStore
from tests.fuzz.finding import require
from tests.simulation.choices import FromBytes

STEPS: Final = 24

# A store.

STORE_KEY: Final = b"\x07" * 32
SESSION: Final = b"\x05" * 16


def store(data: bytes) -> None:
    """A file of records is written, torn, changed and read: what comes back is a beginning of what was written."""
    choices = FromBytes(data)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "open-round"
        written: list[bytes] = []
        tampered = False
        for _ in range(1 + choices.choose(8, "steps")):
            files = FileStore(folder, key=Secret(STORE_KEY))
            match choices.choose(5, "step"):
                case 0 | 1:
                    with contextlib.suppress(StorageError):
                        record = choices.bytes(choices.choose(100, "size"), "record")
                        kept = list(files.records())
                        files.append(record)
                        written = [*kept, record]
                case 2:
                    raw = bytearray(path.read_bytes() if path.exists() else b"")
                    tampered = tampered or bool(raw)
                    _spoil(raw, choices)
                    path.write_bytes(raw)
                case 3:
                    path.write_bytes(choices.bytes(choices.choose(200, "size"), "file"))
                    tampered = True
                case 4:
                    files.reserve(SESSION, 1 + choices.choose(100, "number"))
        try:
            found = list(FileStore(folder, key=Secret(STORE_KEY)).records())
        except StorageError:
            require(tampered, "its own records do not open")
            return
        require(found == written[: len(found)], "other records than were written")
        require(tampered or found == written, "records are missing")


def _spoil(raw: bytearray, choices: FromBytes) -> None:
    """Cut the file, change a byte of it, or write a piece of it somewhere else."""
    if not raw:
        return
    place = choices.choose(len(raw), "place")
    match choices.choose(3, "how"):
        case 0:
            del raw[place:]
        case 1:
            raw[place] ^= 1 + choices.choose(255, "bits")
        case 2:
            raw[place : place + 64] = raw[:64]


# A ledger.

BUDGET: Final = Budget(epsilon=4.0, delta=1e-6, neighboring=Neighboring.ZERO_OUT)


def charge_of(choices: FromBytes) -> Charge:
    event = Gaussian(noise_multiplier=(0.5, 2.0, 8.0)[choices.choose(3, "noise")])
    return Charge(server=event, public=event)


def ledger_program(data: bytes) -> None:
    """A ledger is charged, closed, opened and spoilt: it forgets nothing, and never costs more than its budget."""
    choices = FromBytes(data)
    storage = MemoryStorage()
    book = Ledger.create(storage, budget=BUDGET)
    for _ in range(choices.choose(STEPS, "steps")):
        name = f"round-{choices.choose(4, 'name')}"
        spent = book.guarantee(Against.SERVER).epsilon
        with contextlib.suppress(PrivacyError):
            match choices.choose(6, "step"):
                case 0:
                    book.reserve(name, charge_of(choices))
                    require(book.guarantee(Against.SERVER).epsilon >= spent, "a reservation cost nothing")
                case 1:
                    book.commit(name, charge_of(choices) if choices.flag(0.5, "another") else None)
                case 2:
                    book.release(name)
                case 3:
                    book.reserve(choices.bytes(3, "name").decode("latin-1"), charge_of(choices))
                case 4:
                    book.close()
                    book = Ledger.open(storage)
                    require(book.guarantee(Against.SERVER).epsilon == spent, "it forgot")
                case 5:
                    if not spoils(storage, choices):
                        return
        require(book.guarantee(Against.SERVER).epsilon <= BUDGET.epsilon, "beyond the budget")


def spoils(storage: MemoryStorage, choices: FromBytes) -> bool:
    """Change a copy of the log and read it; return whether it was still a ledger's."""
    raw = bytearray(storage._log)
    _spoil(raw, choices)
    try:
        verify(bytes(raw).splitlines(keepends=True))
    except LedgerCorrupt:
        return False
    # Whole lines cut off at the end are what only an anchor shows.
    require(bytes(storage._log).startswith(raw), "a changed log was believed")
    return True
