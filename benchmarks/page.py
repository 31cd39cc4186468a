"""The tables of docs/performance.md and docs/peers.md, written from the kept results and held to them by tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks import results
from benchmarks.peers import page as peers_page
from benchmarks.results import Result
from benchmarks.targets import TARGETS

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
BEGIN = "<!-- from here on written by `python -m benchmarks page` -->"
END = "<!-- until here -->"


def write(_: str = "") -> str:
    """Write the tables into their pages and return the paths, one a line."""
    PAGE.write_text(rewritten(PAGE.read_text(encoding="utf-8"), results.load()), encoding="utf-8")
    return f"{PAGE}\n{peers_page.write()}"


def rewritten(page: str, kept: Mapping[str, Result]) -> str:
    """The page with its tables made anew; everything outside the two marks stays."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{tables(kept)}\n{END}{after}"


def tables(kept: Mapping[str, Result]) -> str:
    """What must hold beside what was measured, and which command measured it where."""
    return "\n".join([*_figures(kept), "", *_sources(kept), ""])


def _figures(kept: Mapping[str, Result]) -> Iterator[str]:
    yield "| figure | gate | goal | measured | reached | name |"
    yield "|---|---|---|---|---|---|"
    for target in TARGETS:
        gate, goal, value = (target.shown(number) for number in (target.gate, target.goal, target.value(kept)))
        name = " ".join(target.source)
        yield f"| {target.what} | {gate} | {goal} | {value} | {target.verdict(kept)} | `{name}` |"


def _sources(kept: Mapping[str, Result]) -> Iterator[str]:
    yield "| measured by | on | machine | load before |"
    yield "|---|---|---|---|"
    for result in kept.values():
        machine = result.machine
        versions = ", ".join(
            f"{name} {machine[name]}" for name in ("python", "numpy", "cryptography", "pynacl") if name in machine
        )
        where = f"{machine.get('processor', 'unknown')}; {versions}"
        yield f"| `{result.command}` | {result.date} | {where} | {machine.get('load_before', '-')} |"
