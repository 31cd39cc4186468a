"""The server's whole round: CPU time from the offer to the decoded mean, by cohort, length and drop-out.

The clients that drop do so when everyone has masked towards them: the server then rebuilds a key of each and takes one
mask off for every survivor. The client it waits for is never on its clock.
"""

from __future__ import annotations

import itertools

from benchmarks import rounds

COHORTS = (10, 50, 100)
LENGTHS = (10_000, 100_000, 1_000_000)
DROPPED = 0.1
ALL_DROPPED = (0.0, 0.1, 0.3)
SWEPT = (100, 100_000)
SPARSE = (100, 1_000_000)
REPEATS = 5


def run() -> dict[str, float | int | str]:
    """Measure every cohort and length at one drop-out in ten, three drop-outs of one cell, and a sparse graph."""
    cells = [(clients, length, DROPPED) for clients, length in itertools.product(COHORTS, LENGTHS)]
    cells += [(*SWEPT, rate) for rate in ALL_DROPPED if rate != DROPPED]
    return _measure(cells, (DROPPED,))


def run_full() -> dict[str, float | int | str]:
    """Measure the whole table, at three rates of drop-out."""
    return _measure(list(itertools.product(COHORTS, LENGTHS, ALL_DROPPED)), ALL_DROPPED)


def _measure(complete: list[tuple[int, int, float]], sparse: tuple[float, ...]) -> dict[str, float | int | str]:
    cells = [
        rounds.Cell(plan=rounds.complete_plan(clients), length=length, dropped=round(rate * clients))
        for clients, length, rate in complete
    ]
    clients, length = SPARSE
    plan = rounds.regular_plan(clients)
    cells += [rounds.Cell(plan=plan, length=length, dropped=round(rate * clients)) for rate in sparse]
    found: dict[str, float | int | str] = {}
    for cell in cells:  # one recording at a time: each holds the masked inputs of a cohort
        name = f"server_{cell.name}"
        taken = rounds.alternate({name: rounds.server_play(rounds.record(cell))}, repeats=REPEATS)
        found |= rounds.figures(name, taken[name])
    return found
