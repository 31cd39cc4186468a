"""`python -m benchmarks.peers`: the small set of cells, `--gates` what must hold, `--full` the whole table.

`--json` prints every cell as one JSON object instead of a table of ratios; `--keep` keeps both in benchmarks/results.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence

from benchmarks.peers import runner
from benchmarks.peers.cells import FULL, GATES, SELECTIONS, SMALL
from benchmarks.targets import TARGETS


def main(arguments: Sequence[str] | None = None) -> int:
    """Play a set of cells and print what it came to; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="Real rounds, ours and the peers'.")
    chosen = parser.add_mutually_exclusive_group()
    for selection in (GATES, FULL):
        chosen.add_argument(f"--{selection.name}", dest="name", action="store_const", const=selection.name)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--keep", action="store_true", help="keep the figures and the cells in benchmarks/results")
    options = parser.parse_args(arguments)
    name = options.name or SMALL.name
    command = "python -m benchmarks.peers" + ("" if options.name is None else f" --{name}")
    report = runner.play(SELECTIONS[name])
    if options.keep:
        report.keep(f"{command} --keep")
    print(json.dumps(report.document(command)) if options.json else _table(report.figures))
    return 0


def _table(figures: Mapping[str, float | int | str]) -> str:
    """One figure a line, and beside it what it must reach."""
    targets = {target.source[1]: target for target in TARGETS if target.source[0] == runner.NAME}
    lines = []
    for name, value in figures.items():
        shown = value if isinstance(value, str) else f"{value:.3g}"
        target = targets.get(name)
        aim = "" if target is None else f"   (gate {target.gate:g}, goal {target.goal:g})"
        lines.append(f"{name:<56} {shown}{aim}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
