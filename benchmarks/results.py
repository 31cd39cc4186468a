"""Figures that are kept: one file a benchmark, each with the command, the machine and the day that made it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = Path(__file__).parent / "results"

Figure = float | int | str


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one command measured.

    Attributes:
        name: the benchmark.
        command: what was typed.
        date: the day, as ISO 8601 has it.
        machine: what `benchmarks.harness.machine` said.
        figures: by name.
    """

    name: str
    command: str
    date: str
    machine: Mapping[str, str]
    figures: Mapping[str, Figure]


def keep(name: str, *, command: str, machine: Mapping[str, str], figures: Mapping[str, Figure]) -> Path:
    """Write a result in the place of the one kept before."""
    DIRECTORY.mkdir(exist_ok=True)
    path = DIRECTORY / f"{name}.json"
    content = {
        "command": command,
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "machine": dict(machine),
        "figures": dict(figures),
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return path


def load() -> dict[str, Result]:
    """Read every result that is kept, by the benchmark's name."""
    return {
        path.stem: Result(name=path.stem, **json.loads(path.read_text(encoding="utf-8")))
        for path in sorted(DIRECTORY.glob("*.json"))
    }
