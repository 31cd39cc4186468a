"""`python -m tests.simulation --schedules N [--json] [--seed S] [--workers W]`: seeded fault schedules, and what broke.

With `--mutant NAME` it plants that fault (mutants.py) and keeps the first schedule that finds it, shrunk: needed again
when the simulator asks other questions than before, for a reproduction is a list of answers.

Exit code 1 where an invariant was broken, or where a cell that ought to be reachable was never hit (asked only of
campaigns of CI size: smaller ones cannot hit them all).
"""

from __future__ import annotations

import argparse
import json
import sys

from tests.simulation.campaign import Result, Violation, play_one, recorded_tape, run
from tests.simulation.choices import Replayed, Seeded
from tests.simulation.mutants import MUTANTS
from tests.simulation.session import ACTIVE
from tests.simulation.shrink import save, shrink
from tests.simulation.tape import Tape

CI_SIZE = 50_000
_KEPT = 5


def main(arguments: list[str] | None = None) -> int:
    """Run a campaign and print its figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=CI_SIZE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="plant a fault and keep a schedule that finds it")
    options = parser.parse_args(arguments)
    if options.mutant is not None:
        return _keep_mutant(options.mutant, options.schedules, options.seed)
    watch = None if options.json else _show
    result, seconds = run(options.schedules, seed=options.seed, workers=options.workers, watch=watch)
    summary = result.summary() | {"seconds": round(seconds, 1), "seed": options.seed, "workers": options.workers}
    for found in result.violations[:_KEPT]:
        _keep(found, options.seed)
    sys.stdout.write("\n" * (watch is not None) + json.dumps(summary, indent=None if options.json else 1) + "\n")
    blind = options.schedules >= CI_SIZE and result.missed
    return 1 if result.violations or blind else 0


def _keep(found: Violation, seed: int) -> None:
    """Shrink a violation and write it among the reproductions."""
    with recorded_tape() as tape:
        _shrink_and_save(f"seed-{seed}-{found.schedule}", list(found.choices), found.invariant, tape)


def _keep_mutant(name: str, schedules: int, seed: int) -> int:
    """Find a planted fault and write the schedule that found it among the reproductions."""
    mutant = MUTANTS[name]
    with recorded_tape() as tape, mutant.plant():
        for number in range(schedules):
            choices = Seeded(f"{seed}/{number}")
            _, invariant, _ = play_one(choices, tape, plans=mutant.plans)
            if invariant:
                _shrink_and_save(name.replace("_", "-"), choices.taken, invariant, tape, mutant=name)
                return 0
    sys.stderr.write(f"{schedules} schedules do not find {name}\n")
    return 1


def _shrink_and_save(title: str, choices: list[int], invariant: str, tape: Tape, *, mutant: str = "") -> None:
    plans = MUTANTS[mutant].plans if mutant else ACTIVE

    def breaks(candidate: list[int]) -> bool:
        return play_one(Replayed(candidate), tape, plans=plans)[1] == invariant

    small = shrink(choices, breaks)
    detail = play_one(Replayed(small), tape, plans=plans)[2]
    path = save(title, small, invariant=invariant, detail=detail, mutant=mutant)
    sys.stderr.write(f"{invariant}: {len(small)} choices in {path}\n")


def _show(result: Result) -> None:
    sys.stderr.write(
        f"\r{result.schedules} schedules, {len(result.violations)} violations, {len(result.missed)} missed "
    )


if __name__ == "__main__":
    sys.exit(main())
