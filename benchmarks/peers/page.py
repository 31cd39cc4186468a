"""docs/peers.md, written from the kept cells and held to them by a test."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import results
from benchmarks.peers import figures
from benchmarks.peers.catalog import OURS, PARTIES, Party

PAGE: Final = Path(__file__).parents[2] / "docs" / "peers.md"
KEPT: Final = results.DIRECTORY / "peers" / "cells.json"
_COLUMNS: Final = (
    "n",
    "coordinates",
    "drop-out",
    "client, ms",
    "ratio",
    "masks",
    "server, ms",
    "ratio",
    "masks",
    "uplink, kB",
    "ratio",
    "client memory, MB",
    "ratio",
)
_WHOLE: Final = 100
_OPENING: Final = """\
# Beside peers

Whole rounds of the peers' own code and of ours, in turn and on the same vectors, each party in a process of its own.
This page is written by `python -m benchmarks page`, from what `{command}` measured on {date}
({processor}, Python {python}).

- Of two numbers, the first is ours and the second the peer's; a **ratio** is the peer's over ours. Above 1, ours takes
  less. **masks** is the ratio of the time spent on masks alone, with a dash where one side has none to make.
- Times are CPU time on one core, of the server and of the median client in the sum; of each the median of up to
  {rounds} rounds, fewer where a round takes long. Set-up that is kept over rounds is not in them.
- Memory is the peak of one client's part of the first round, beyond what its process held before.
- Drop-out is the part of the clients that fall silent before they send their vector.
- On the complete graph ours assumes a server that lies and a tenth of the clients on its side, and checks signatures;
  on a k-regular graph it assumes an honest but curious server. Both sides have one threshold and one degree.
"""


def write() -> str:
    """Write the page and return its path."""
    PAGE.write_text(page(json.loads(KEPT.read_text(encoding="utf-8"))), encoding="utf-8")
    return str(PAGE)


def page(document: Mapping[str, Any]) -> str:
    """The whole page of what a selection of cells came to."""
    machine = document["machine"]
    cells = document["cells"]
    opening = _OPENING.format(
        command=document["command"],
        date=document["date"],
        processor=machine["processor"],
        python=machine["python"],
        rounds=max(cell["parties"][OURS.name].get("rounds", 0) for cell in cells),
    )
    played = [party for party in PARTIES.values() if any(party.name in cell["parties"] for cell in cells)]
    peers = (_section(party, cells, document["versions"]) for party in played if party is not OURS)
    return "\n".join([opening, *_features(document["features"], played), *(line for lines in peers for line in lines)])


def _features(features: Mapping[str, Mapping[str, str]], played: Sequence[Party]) -> Iterator[str]:
    yield "## What each does"
    yield ""
    yield from _table(
        ["", *(party.title for party in played)],
        ([feature, *(features[party.name][feature] for party in played)] for feature in features[OURS.name]),
    )


def _section(
    party: Party, cells: Sequence[Mapping[str, Any]], versions: Mapping[str, Mapping[str, str]]
) -> Iterator[str]:
    ran = ", ".join(f"{name} {version}" for name, version in versions.get(party.name, {}).items() if name != "python")
    yield f"## {party.title}"
    yield ""
    yield f"{ran}."
    yield ""
    shared = [cell for cell in cells if party.name in cell["parties"]]
    yield from _table(_COLUMNS, (_row(cell, party.name) for cell in shared))


def _row(cell: Mapping[str, Any], peer: str) -> list[str]:
    ours, theirs = cell["parties"][OURS.name], cell["parties"][peer]
    task = [str(cell["clients"]), f"{cell['length']:,}", f"{cell['dropped_percent']} %"]
    if failed := ours.get("failed") or theirs.get("failed"):
        return [*task, str(failed), *[""] * (len(_COLUMNS) - len(task) - 1)]
    ratios = figures.ratios(theirs, ours)
    return [
        *task,
        _pair(ours, theirs, "client_cpu_s", 1e3),
        _number(ratios.get("client_ratio")),
        _number(ratios.get("client_masks_ratio")),
        _pair(ours, theirs, "server_cpu_s", 1e3),
        _number(ratios.get("server_ratio")),
        _number(ratios.get("server_masks_ratio")),
        _pair(ours, theirs, "uplink_bytes", 1e-3),
        _number(ratios.get("uplink_ratio")),
        _pair(ours, theirs, "client_peak_bytes", 1e-6),
        _number(_over(theirs["client_peak_bytes"], ours["client_peak_bytes"])),
    ]


def _pair(ours: Mapping[str, float | None], theirs: Mapping[str, float | None], name: str, scale: float) -> str:
    return " / ".join(_number(None if value is None else value * scale) for value in (ours[name], theirs[name]))


def _over(theirs: float | None, ours: float | None) -> float | None:
    return theirs / ours if theirs and ours else None


def _number(value: float | None) -> str:
    """Three digits, a whole number where that has more, or a dash for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if round(value, 1) >= _WHOLE else f"{value:#.3g}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
