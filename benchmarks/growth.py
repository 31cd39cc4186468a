"""How cost grows: exponents in the number of clients, the length and the drop-out, fitted on real rounds.

An exponent is the slope of log CPU time over log size, by least squares. On the sparse graph the degree is held, so
that its exponent is of the clients alone; the degree a safe plan needs grows with the logarithm of the cohort.
Beside every point stands what `secagg plan --measure` would have foretold.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks import rounds
from protocols.cli import forecast
from secagg import Plan, Ring, cost

LENGTH = 100_000
COMPLETE = (20, 40, 80, 160)
COMPLETE_FULL = (*COMPLETE, 320)
SPARSE = (100, 200, 400)
SPARSE_FULL = (*SPARSE, 800)
SPARSE_DEGREE = 40
SPARSE_THRESHOLD = 19
LENGTHS = (100_000, 300_000, 1_000_000)
LENGTHS_FULL = (*LENGTHS, 3_000_000)
LENGTH_CLIENTS = 20
RATES = (0.0, 0.1, 0.2, 0.3)
RATE_CLIENTS = 60
REPEATS = 5
FORECAST_BITS = 27


def run() -> dict[str, float | int | str]:
    """Measure the exponents, and the points they were fitted on."""
    return _measure(COMPLETE, SPARSE, LENGTHS)


def run_full() -> dict[str, float | int | str]:
    """Measure the same on larger cohorts and longer updates; minutes."""
    return _measure(COMPLETE_FULL, SPARSE_FULL, LENGTHS_FULL)


def _measure(complete: Sequence[int], sparse: Sequence[int], lengths: Sequence[int]) -> dict[str, float | int | str]:
    sizes = {"length": LENGTH, "degree": SPARSE_DEGREE}
    points = _Points(forecast.measure(Ring(FORECAST_BITS)))
    found = {**_clients(points, complete, sparse), **_lengths(points, lengths), **_rates(points)}
    return {**sizes, **found, **points.spread()}


def _clients(points_of: _Points, complete: Sequence[int], sparse: Sequence[int]) -> dict[str, float]:
    found: dict[str, float] = {}
    families: dict[str, list[Plan]] = {
        "complete": [rounds.complete_plan(clients) for clients in complete],
        "k_regular": [
            rounds.steady_plan(clients, degree=SPARSE_DEGREE, threshold=SPARSE_THRESHOLD) for clients in sparse
        ],
    }
    for graph, plans in families.items():
        sizes = [plan.clients for plan in plans]
        cells = [rounds.Cell(plan=plan, length=LENGTH, dropped=plan.clients // 10) for plan in plans]
        taken = points_of.take(dict(zip(sizes, cells, strict=True)))
        for party in ("client", "server"):
            points = {size: taken[size][party] for size in sizes}
            found[f"exponent_{party}_{graph}"] = exponent(points)
            found |= {f"{party}_{graph}_n{size}_ms": 1000 * seconds for size, seconds in points.items()}
    return found


def _lengths(points_of: _Points, lengths: Sequence[int]) -> dict[str, float]:
    plan = rounds.complete_plan(LENGTH_CLIENTS)
    taken = points_of.take({length: rounds.Cell(plan=plan, length=length, dropped=2) for length in lengths})
    found: dict[str, float] = {}
    for party in ("client", "server"):
        points = {length: taken[length][party] for length in lengths}
        found[f"exponent_length_{party}"] = exponent(points)
        found |= {f"{party}_len{length}_ms": 1000 * seconds for length, seconds in points.items()}
    return found


def _rates(points_of: _Points) -> dict[str, float]:
    """Time by drop-out, beside the masks the server takes off: its own for each survivor, and one a client gone."""
    plan, found = rounds.complete_plan(RATE_CLIENTS), {}
    for rate in RATES:
        gone = round(rate * RATE_CLIENTS)
        taken = points_of.take({gone: rounds.Cell(plan=plan, length=LENGTH, dropped=gone)})[gone]
        percent = round(100 * rate)
        found[f"server_drop{percent}_ms"] = 1000 * taken["server"]
        found[f"client_drop{percent}_ms"] = 1000 * taken["client"]
        found[f"server_drop{percent}_masks"] = cost.server_work(plan, dropped=gone).masks
    found["server_drop30_over_drop0"] = found["server_drop30_ms"] / found["server_drop0_ms"]
    return found


class _Points:
    """Seconds of either party by size, and how far a forecast of them was off."""

    def __init__(self, rates: forecast.Rates) -> None:
        self._rates = rates
        self.ratios: dict[str, list[float]] = {"client": [], "server": []}

    def take(self, cells: Mapping[int, rounds.Cell]) -> dict[int, dict[str, float]]:
        """Measure either party in each cell; one recording in memory at a time."""
        found: dict[int, dict[str, float]] = {}
        for size, cell in cells.items():
            recording = rounds.record(cell)
            plays = {"client": rounds.client_play(recording), "server": rounds.server_play(recording)}
            found[size] = {party: one.seconds for party, one in rounds.alternate(plays, repeats=REPEATS).items()}
            work = cost.server_work(cell.plan, dropped=cell.dropped)
            foretold = {
                "client": forecast.client_seconds(cell.plan, self._rates, length=cell.length),
                "server": forecast.server_seconds(cell.plan, work, self._rates, length=cell.length),
            }
            for party, seconds in foretold.items():
                self.ratios[party].append(seconds / found[size][party])
        return found

    def spread(self) -> dict[str, float]:
        """Forecast over measured, the least, the median and the most of all cells."""
        found: dict[str, float] = {}
        for party, ratios in self.ratios.items():
            found[f"forecast_over_measured_{party}_least"] = min(ratios)
            found[f"forecast_over_measured_{party}_median"] = statistics.median(ratios)
            found[f"forecast_over_measured_{party}_most"] = max(ratios)
        return found


def exponent(points: Mapping[int, float]) -> float:
    """Slope of the least-squares line through the logarithms of sizes and times."""
    sizes: Sequence[float] = np.log(list(points)).tolist()
    return float(np.polyfit(sizes, np.log(list(points.values())), 1)[0])
