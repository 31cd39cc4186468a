"""Plant faults in the product, one at a time, and count those that a test notices: `python -m tests.mutation`.

`--json` prints one JSON object, `--module` names some of the modules (all of guards.py unless given), `--sample` plays
so many mutants of each, chosen by `--seed`, `--keep` writes the figures to results.json with the day and the command.
The checkout is never touched: the faults are planted in processes that run a copy of it.

Mutants alive are looked up in survivors.json: it says why each may live, and which of them change nothing that a test
could see. `killed_ratio` leaves those out. The exit code is 1 where a ratio is below 0.90 or one lives without reason.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.mutation.guards import GUARDS
from tests.mutation.operators import mutants

ROOT: Final = Path(__file__).resolve().parents[2]
HERE: Final = ROOT / "tests" / "mutation"
COPIED: Final = (
    "secagg",
    "dp",
    "protocols",
    "tests",
    "docs",
    "benchmarks",
    "pyproject.toml",
    "README.md",
    "SECURITY.md",
    "CHANGELOG.md",
)
LEAST_RATIO: Final = 0.90


def main(arguments: Sequence[str] | None = None) -> int:
    """Play what was asked for, print, and return the exit code."""
    options = _options(arguments)
    if not options.inside:
        return _in_a_copy(sys.argv[1:] if arguments is None else arguments, options)
    from tests.mutation.player import play  # noqa: PLC0415  # pytest and all it forks belong to the copy

    figures = {}
    for module in options.module or GUARDS:
        tests = [name if name.startswith("-") else f"tests/{name}" for name in GUARDS[module]]
        tests = [name for name in tests if name.startswith("-") or Path(name).exists()]
        names = [mutant.name for mutant in mutants(Path(module).read_text(encoding="utf-8"))]
        generator = random.Random(options.seed)  # noqa: S311  # which mutants are played is no secret
        sampled = generator.sample(names, min(options.sample or len(names), len(names)))
        started = time.monotonic()
        played = play(module, tests, frozenset(sampled), lambda name: _say(f"alive: {name}"))
        for name in played.broken:
            _say(f"left out, for it fails without a fault: {name}")
        figures[module] = {"all_mutants": len(names), **score(module, len(sampled), played.alive, reasons())}
        _say(f"{module}: {figures[module]['killed_ratio']:.3f} in {time.monotonic() - started:.0f} s")
    Path(options.inside).write_text(json.dumps(figures), encoding="utf-8")
    return 0


def score(module: str, played: int, alive: Sequence[str], known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of one module: those alive, without the ones that change nothing, against all."""
    listed = known.get(module, {})
    equivalent = [name for name in alive if name in listed and listed[name]["equivalent"]]
    survivors = [name for name in alive if name not in equivalent]
    counted = played - len(equivalent)
    return {
        "mutants": played,
        "killed": played - len(alive),
        "equivalent": len(equivalent),
        "survivors": survivors,
        "unexplained": [name for name in survivors if name not in listed],
        "killed_ratio": round((played - len(alive)) / counted, 4) if counted else 1.0,
    }


def reasons() -> dict[str, dict[str, Any]]:
    """Module -> name of a mutant -> why it may live."""
    kept: dict[str, dict[str, Any]] = json.loads((HERE / "survivors.json").read_text(encoding="utf-8"))
    return kept


def _in_a_copy(arguments: Sequence[str], options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        for name in COPIED:
            source, target = ROOT / name, Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, target)
            else:
                shutil.copy2(source, target)
        answer = Path(folder) / "figures.json"
        command = [sys.executable, "-m", "tests.mutation", *arguments, "--inside", str(answer)]
        environment = os.environ | {"PYTHONPATH": folder, "OPENBLAS_NUM_THREADS": "1"}
        subprocess.run(command, cwd=folder, env=environment, check=True)  # noqa: S603  # this program once more
        figures: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    if options.keep:
        _keep(figures, arguments)
    print(json.dumps({"modules": figures}) if options.json else listing(figures))  # noqa: T201  # what was asked for
    return int(any(f["unexplained"] or f["killed_ratio"] < LEAST_RATIO for f in figures.values()))


def listing(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """One line a module, and one for each mutant alive, for people."""
    lines = []
    for module, found in figures.items():
        counts = f"{found['killed']} of {found['mutants']} killed, {found['equivalent']} change nothing"
        lines.append(f"{module:<28} {found['killed_ratio']:.3f}  {counts}")
        lines += [f"    {name}" for name in found["survivors"]]
    return "\n".join(lines)


def _keep(figures: Mapping[str, Any], arguments: Sequence[str]) -> None:
    path = HERE / "results.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    about = {
        "date": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
        "command": " ".join(["python -m tests.mutation", *arguments]),
    }
    kept |= {module: {**about, **found} for module, found in figures.items()}
    path.write_text(json.dumps({name: kept[name] for name in sorted(kept)}, indent=1) + "\n", encoding="utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--module", nargs="+", choices=sorted(GUARDS), metavar="FILE", help="some modules only")
    parser.add_argument("--sample", type=int, help="so many mutants a module")
    parser.add_argument("--seed", type=int, default=0, help="which")
    parser.add_argument("--keep", action="store_true", help="write results.json")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # progress, beside what was asked for


if __name__ == "__main__":
    sys.exit(main())
