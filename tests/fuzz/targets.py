"""Every fuzz target by name, and where its kept inputs are: plain functions of bytes that return, or are a finding."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.fuzz import disks, parties
from tests.fuzz.decoders import DECODERS

TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    **DECODERS,
    "client": parties.client,
    "server": parties.server,
    "schedule": parties.schedule,
    "store": disks.store,
    "ledger_program": disks.ledger_program,
}
CORPORA: Final = Path(__file__).parent / "corpora"


def kept(name: str) -> list[bytes]:
    """The kept inputs of a target, in order of their file names."""
    return [path.read_bytes() for path in sorted((CORPORA / name).iterdir())]
