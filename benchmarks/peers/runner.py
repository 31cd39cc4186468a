"""Plays cells: every party in a process of its own, round by round in turn, and what it came to as one document."""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from benchmarks import harness, results
from benchmarks.peers import figures
from benchmarks.peers.catalog import FEATURES, OURS, PARTIES, Party
from benchmarks.peers.cells import Cell, Selection
from benchmarks.peers.environment import BuildError, python_of
from benchmarks.peers.process import PartyError, Process, driver_command

NAME: Final = "peers"
_WARM_UP: Final = 1_000

Start = Callable[[Party], Process]
"""Starts a party's process."""


@dataclass
class Report:
    """What a selection came to.

    Attributes:
        figures: ratios by plain name; a text where a party did not finish or failed.
        cells: each cell's numbers, and each party's in it.
        versions: by party, what it ran.
        machine: where, and how busy it was before.
    """

    figures: dict[str, float | int | str] = field(default_factory=dict)
    cells: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=harness.machine)

    def document(self, command: str) -> dict[str, Any]:
        """Everything, to be kept beside the command that made it."""
        return {
            "benchmark": NAME,
            "command": command,
            "machine": self.machine,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "figures": self.figures,
            "cells": self.cells,
            "versions": self.versions,
            "features": {name: {key: party.features[key] for key in FEATURES} for name, party in PARTIES.items()},
        }

    def keep(self, command: str) -> tuple[Path, Path]:
        """Keep the figures among the results, and the whole document in a folder of its own beside them."""
        figures_path = results.keep(NAME, command=command, machine=self.machine, figures=self.figures)
        folder = results.DIRECTORY / NAME
        folder.mkdir(exist_ok=True)
        path = folder / "cells.json"
        path.write_text(json.dumps(self.document(command), indent=1) + "\n", encoding="utf-8")
        return figures_path, path


def start_party(party: Party) -> Process:
    """Start a party's driver in its environment, which is built where there is none."""
    return Process(driver_command(python_of(party.requirements), party.driver))


def play(selection: Selection, *, start: Start = start_party) -> Report:
    """Play every cell of a selection. What a party cannot do is in the report, and ends nothing else."""
    report = Report()
    for cell in selection.cells:
        _say(f"{cell.label}: {', '.join(party.title for party in cell.parties)}")
        load = harness.machine()["load_before"]
        parties = _play_cell(cell, selection, start, report.versions)
        report.cells.append({**cell.as_json(), "load_before": load, "parties": parties})
        report.figures.update(_figures(cell, parties))
    return report


def _play_cell(
    cell: Cell, selection: Selection, start: Start, versions: dict[str, dict[str, str]]
) -> dict[str, dict[str, Any]]:
    with ExitStack() as processes:
        seats: list[_Seat] = []
        failures: dict[str, str] = {}
        for party in cell.parties:
            try:
                process = processes.enter_context(start(party))
            except (PartyError, BuildError) as error:
                failures[party.name] = str(error)
                continue
            versions[party.name] = process.versions
            seats.append(_Seat(party, process))
        for number in range(selection.rounds):
            for seat in seats:
                if number == 0 or seat.wall_s < selection.enough_s:
                    seat.play(cell, selection.limit_s, warm_up=number == 0)
        return {seat.party.name: seat.result() for seat in seats} | {
            name: {"failed": text} for name, text in failures.items()
        }


class _Seat:
    """A party in one cell: its process, its rounds so far, and why there are no more."""

    def __init__(self, party: Party, process: Process) -> None:
        self.party = party
        self.wall_s = 0.0
        self._process = process
        self._rounds: list[dict[str, Any]] = []
        self._failed: str | None = None

    def play(self, cell: Cell, limit_s: float, *, warm_up: bool) -> None:
        """Play one more round, after a short one that nobody counts where it is the first."""
        if self._failed is not None:
            return
        begun = time.monotonic()
        try:
            if warm_up:
                short = replace(cell.task, clients=10, dropped=0, degree=9, threshold=6, corrupt=1, active=True)
                self._process.ask(asdict(replace(short, length=_WARM_UP)), limit_s=limit_s)
            self._rounds.append(self._process.ask(asdict(cell.task), limit_s=limit_s))
        except PartyError as error:
            self._failed = str(error)
        self.wall_s += time.monotonic() - begun
        _say(f"  {self.party.title}: {self._failed or f'{time.monotonic() - begun:.1f} s'}")

    def result(self) -> dict[str, Any]:
        """What its rounds came to; where one failed, why."""
        failed = {} if self._failed is None else {"failed": self._failed}
        return {**(figures.summary(self._rounds) if self._rounds else {}), **failed}


def _figures(cell: Cell, parties: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, float | str]]:
    """Name every ratio of the cell; a peer without a round has its reason in the place of the first two."""
    ours = parties[OURS.name]
    for peer in cell.peers:
        theirs = parties[peer.name]
        if failed := ours.get("failed") or theirs.get("failed"):
            for name in ("client_ratio", "server_ratio"):
                yield f"{peer.name}_{cell.label}_{name}", str(failed)
            continue
        for name, ratio in figures.ratios(theirs, ours).items():
            yield f"{peer.name}_{cell.label}_{name}", ratio


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
