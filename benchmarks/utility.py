"""Utility: what privacy costs in quality, on both data sets of the demonstration, and what narrow rings cost on top.

- *skellam*: the demonstration's private recipe. Every client's update is encoded with its share of the noise, the
  integers are summed in the ring and decoded. Masks are left out: they cancel exactly, so the sum is the same.
- *no margins*: the same with noise sized for the survivors that each round turns out to have, all of them honest.
  Nobody can know that beforehand; it parts what caution costs from what integers do.
- *gaussian*: a server that is trusted with every update adds N(0, (z clip)^2) to their exact sum, z by the exact
  account of the Gaussian.

All three keep the same epsilon, at the same delta, for a client that is in every round, against who sees every sum.
Infinite epsilon is the same training without noise: what is left is clipping and rounding.

A gap is the quality under gaussian less that of the other, seed by seed. A spread is the standard deviation over seeds:
a mean is known to about its spread over the root of their number. Seeds decide data split and schedule; the noise is
fresh every time, so no figure repeats to the last digit.

`noise_ratio` is not a matter of chance: see `benchmarks.trials.noise_ratios`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmarks.trials import DELTA, Trial, noise_ratios, trial
from dp import ParameterError
from dp.overflow import MAX_BITS
from protocols.demo import digits, flights
from protocols.demo.supervised import SupervisedTask
from protocols.demo.training_plain import train_plain
from secagg import Ring

Figures = dict[str, float | int | str]

TASKS: Mapping[str, Callable[..., SupervisedTask]] = {"flights": flights.load, "digits": digits.load}
SEEDS: Mapping[str, int] = {"flights": 6, "digits": 16}
"""The digits have few clients, so each run is noisier, and shorter."""

MORE = 4
"""How many times as many --full takes."""

EPSILONS = (1.0, 2.0, 4.0, 8.0, math.inf)
BITS = (8, 12, 16, 20, 32)
BITS_EPSILON = 8.0
EASED = (12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 128.0)
"""Budgets that a ring is tried at where it has no room for that of BITS_EPSILON."""


def run() -> Figures:
    """Measure both tables for both data sets."""
    return measured(SEEDS)


def run_full() -> Figures:
    """Measure the same with more seeds."""
    return measured({name: MORE * seeds for name, seeds in SEEDS.items()})


def measured(seeds: Mapping[str, int]) -> Figures:
    """Both tables with so many seeds for each data set; the names of its figures begin with its own."""
    found: Figures = {"delta": DELTA, "bits_epsilon": BITS_EPSILON}
    for name, count in seeds.items():
        trials = [trial(TASKS[name](seed_data=seed), seed_data=seed) for seed in range(count)]
        rows = {"seeds": count, **_setting(trials), **by_epsilon(trials), **by_bits(trials)}
        found |= {f"{name}_{figure}": value for figure, value in rows.items()}
    return found


def by_epsilon(trials: Sequence[Trial], epsilons: Sequence[float] = EPSILONS) -> Figures:
    """Quality by epsilon, of each way of summing."""
    found: Figures = {}
    for epsilon in epsilons:
        recipes = [one.recipe(epsilon) for one in trials]
        skellam = [one.quality(one.distributed(recipe)) for one, recipe in zip(trials, recipes, strict=True)]
        gaussian = [one.quality(one.central(epsilon)) for one in trials]
        row: Figures = {
            **_spread("skellam", skellam),
            **_spread("gaussian", gaussian),
            **_spread("gap", _differences(gaussian, skellam)),
        }
        if not math.isinf(epsilon):
            bare = [one.quality(one.without_margins(epsilon)) for one in trials]
            row |= {**_spread("no_margins", bare), **_spread("no_margins_gap", _differences(gaussian, bare))}
        row |= {"ring_bits": recipes[0].ring(trials[0].plan).bits, **noise_ratios(trials[0], recipes[0], epsilon)}
        found |= {f"epsilon_{epsilon:g}_{name}": value for name, value in row.items()}
    return found


def by_bits(trials: Sequence[Trial], widths: Sequence[int] = BITS, *, epsilon: float = BITS_EPSILON) -> Figures:
    """Quality by the bits of the ring, or how many it would take; and bytes of a client's packed input."""
    found: Figures = {}
    for bits in widths:
        row = _in_ring(trials, bits, epsilon)
        if not row:
            row = {"needs": needed_bits(trials[0], bits, epsilon), **_eased(trials, bits)}
        row["uplink_bytes"] = Ring(bits).packed_size(trials[0].recipe(math.inf).length)
        found |= {f"bits_{bits}_{name}": value for name, value in row.items()}
    return found


def needed_bits(one: Trial, bits: int, epsilon: float) -> int:
    """The fewest bits, from `bits` on, that have room for the sum.

    Raises:
        dp.ParameterError: no ring has.
    """
    for width in range(bits, MAX_BITS):
        if _fits(one, width, epsilon):
            return width
    one.recipe(epsilon, bits=MAX_BITS)
    return MAX_BITS


def _fits(one: Trial, bits: int, epsilon: float) -> bool:
    try:
        one.recipe(epsilon, bits=bits)
    except ParameterError:
        return False
    return True


def _in_ring(trials: Sequence[Trial], bits: int, epsilon: float) -> Figures:
    """Quality in one ring; nothing where it has no room for the sum."""
    if not _fits(trials[0], bits, epsilon):
        return {}
    recipe = trials[0].recipe(epsilon, bits=bits)  # the seed decides nothing that it depends on
    qualities = [one.quality(one.distributed(recipe, Ring(bits))) for one in trials]
    return {**_spread("skellam", qualities), **noise_ratios(trials[0], recipe, epsilon)}


def _eased(trials: Sequence[Trial], bits: int) -> Figures:
    """Quality at the least of the larger budgets that the ring has room for."""
    for epsilon in EASED:
        if row := _in_ring(trials, bits, epsilon):
            gaussian = [one.quality(one.central(epsilon)) for one in trials]
            return {"eased_epsilon": epsilon, **row, **_spread("gaussian", gaussian)}
    return {}


def _setting(trials: Sequence[Trial]) -> Figures:
    """What was trained, and the demonstration's own quality without a budget: clipped less, counted by weight."""
    one = trials[0]
    exact = [train_plain(each.task, seed_data=each.task.seed_data) for each in trials]
    return {
        "quality": one.task.quality_name,
        "clients": one.plan.clients,
        "rounds": len(one.scheduled),
        "honest_survivors": one.honest,
        "length": one.recipe(math.inf).length,
        "clip": one.task.private_clip,
        **_spread("no_budget", [each.task.quality(model) for each, model in zip(trials, exact, strict=True)]),
    }


def _spread(name: str, values: Sequence[float]) -> Figures:
    return {name: statistics.mean(values), f"{name}_spread": statistics.stdev(values) if len(values) > 1 else 0.0}


def _differences(of: Sequence[float], less: Sequence[float]) -> list[float]:
    return [mine - other for mine, other in zip(of, less, strict=True)]


def table(figures: Figures) -> str:
    """Write the figures as tables for reading, spreads in brackets."""
    return "\n".join(line for name in TASKS if f"{name}_seeds" in figures for line in _lines(figures, name))


def _lines(figures: Figures, name: str) -> Iterator[str]:
    def shown(row: str, column: str, form: str = ".3f") -> str:
        value, spread = (figures.get(f"{name}_{row}{column}{which}") for which in ("", "_spread"))
        if value is None:
            return "-"
        return f"{value:{form}}" if spread is None else f"{value:{form}} ({spread:{form}})"

    setting = ", ".join(f"{key} {figures[f'{name}_{key}']}" for key in ("seeds", "clients", "rounds", "length", "clip"))
    yield f"\n{name}: {setting}, {figures[f'{name}_quality']} without a budget {shown('', 'no_budget')}"
    columns = ("skellam", "no_margins", "gaussian", "gap", "no_margins_gap", "noise_ratio", "ring_bits")
    yield _row("epsilon", *columns)
    for epsilon in EPSILONS:
        row = f"epsilon_{epsilon:g}_"
        yield _row(f"{epsilon:g}", *(shown(row, column) for column in columns[:-1]), shown(row, columns[-1], "d"))
    yield _row("bits", "skellam", "noise_ratio", "uplink_bytes", "")
    for bits in BITS:
        row = f"bits_{bits}_"
        cells = (shown(row, "skellam"), shown(row, "noise_ratio"), shown(row, "uplink_bytes", "d"))
        needs, eased = (figures.get(f"{name}_{row}{column}") for column in ("needs", "eased_epsilon"))
        notes = [f"epsilon {BITS_EPSILON:g} needs {needs} bits"] if needs else []
        if eased:
            notes.append(f"this is epsilon {eased:g}, gaussian {shown(row, 'gaussian')}")
        yield _row(str(bits), *cells, "; ".join(notes))


def _row(first: str, *others: str) -> str:
    return f"  {first:<9}{''.join(f'{other:<17}' for other in others)}".rstrip()
