"""A client's whole round: CPU time from the offer to its last answer, by cohort, length of the update and drop-out.

Validation, signatures, tags, clipping and encoding are all in. The smallest cells say what a client pays for the
cohort, the largest what it pays for the vector.
"""

from __future__ import annotations

import itertools

from benchmarks import rounds

COHORTS = (10, 50, 100)
LENGTHS = (10_000, 100_000, 1_000_000)
DROPPED = 0.1
ALL_DROPPED = (0.0, 0.1, 0.3)
SPARSE = (100, 1_000_000)
REPEATS = 7


def run() -> dict[str, float | int | str]:
    """Measure every cohort and length at one drop-out in ten, and one round on a sparse graph."""
    return _measure(_cells((DROPPED,)))


def run_full() -> dict[str, float | int | str]:
    """Measure the whole table, at three rates of drop-out."""
    return _measure(_cells(ALL_DROPPED))


def _cells(rates: tuple[float, ...]) -> list[rounds.Cell]:
    complete = [
        rounds.Cell(plan=rounds.complete_plan(clients), length=length, dropped=round(rate * clients))
        for clients, length, rate in itertools.product(COHORTS, LENGTHS, rates)
    ]
    clients, length = SPARSE
    plan = rounds.regular_plan(clients)
    return [*complete, *(rounds.Cell(plan=plan, length=length, dropped=round(rate * clients)) for rate in rates)]


def _measure(cells: list[rounds.Cell]) -> dict[str, float | int | str]:
    plays = {f"client_{cell.name}": rounds.client_play(rounds.record(cell)) for cell in cells}
    taken = rounds.alternate(plays, repeats=REPEATS)
    return {key: value for name, one in taken.items() for key, value in rounds.figures(name, one).items()}
