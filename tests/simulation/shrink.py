"""Make a violating schedule small, and keep it: what is left of its choices says what it takes.

A reproduction is a JSON file with the choices, the invariant they broke and, for those kept to show that the simulator
sees what it should, the mutant they broke it with. `test_simulation.py` replays every file in `reproductions/`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent / "reproductions"
MAX_RUNS: Final = 1_500


def shrink(choices: list[int], breaks: Callable[[list[int]], bool], *, max_runs: int = MAX_RUNS) -> list[int]:
    """Return a smaller list of choices that still breaks.

    Args:
        choices: what broke it; trailing zeros are the same as none.
        breaks: whether a list does.
        max_runs: how often it may be asked.
    """
    best, runs = _trimmed(choices), 0
    while True:
        for candidate in _smaller(best):
            runs += 1
            if runs > max_runs:
                return best
            if breaks(candidate):
                best = _trimmed(candidate)
                break
        else:
            return best


def _smaller(choices: list[int]) -> Iterator[list[int]]:
    """Lists that would be simpler: with a part gone, quiet, or lower; large parts first."""
    size = len(choices)
    while size:
        for start in range(0, len(choices), size):
            yield choices[:start] + choices[start + size :]
        for start in range(0, len(choices), size):
            if any(choices[start : start + size]):
                yield choices[:start] + [0] * len(choices[start : start + size]) + choices[start + size :]
        size //= 2
    for index, value in enumerate(choices):
        for lower in sorted({value // 2, value - 1} - {value}):
            if lower >= 0:
                yield [*choices[:index], lower, *choices[index + 1 :]]


def _trimmed(choices: list[int]) -> list[int]:
    end = len(choices)
    while end and choices[end - 1] == 0:
        end -= 1
    return choices[:end]


def save(name: str, choices: list[int], *, invariant: str, detail: str, mutant: str = "") -> Path:
    """Write a reproduction and return its path."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    fields = {"invariant": invariant, "detail": detail, "mutant": mutant, "choices": choices}
    path.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
    return path


def load(path: Path) -> dict[str, object]:
    """Read a reproduction."""
    fields: dict[str, object] = json.loads(path.read_text(encoding="utf-8"))
    return fields
