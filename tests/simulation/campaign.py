"""Many schedules: divided among processes by number, so that what comes out does not depend on how many there are."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Final

from secagg.plan import Plan
from tests.simulation.breach import Breach
from tests.simulation.cells import REQUIRED, Cell
from tests.simulation.choices import Choices, Seeded
from tests.simulation.session import ACTIVE, Report, Session
from tests.simulation.tape import Tape

BLOCK: Final = 100
"""Schedules a process is handed at a time."""


@dataclass(frozen=True)
class Violation:
    """A schedule that broke an invariant.

    Attributes:
        schedule: its number.
        invariant: which one it broke; the name of an exception where the simulator itself broke down.
        detail: what it saw.
        choices: the answers that lead there.
    """

    schedule: int
    invariant: str
    detail: str
    choices: tuple[int, ...]


@dataclass
class Result:
    """What schedules came to."""

    schedules: int = 0
    finished: int = 0
    aborted: int = 0
    violations: list[Violation] = field(default_factory=list)
    cells: set[Cell] = field(default_factory=set)
    digest: str = ""

    @property
    def missed(self) -> list[Cell]:
        """Cells that ought to have been hit and were not."""
        return sorted(REQUIRED - self.cells)

    def summary(self) -> dict[str, object]:
        """The figures, as they are printed."""
        return {
            "schedules": self.schedules,
            "violations": len(self.violations),
            "cells_hit": len(REQUIRED & self.cells),
            "cells": len(REQUIRED),
            "finished": self.finished,
            "aborted": self.aborted,
            "digest": self.digest,
            "missed": [" / ".join(missed) for missed in self.missed],
            "found": [
                {key: value for key, value in asdict(found).items() if key != "choices"} for found in self.violations
            ],
        }


def play_one(choices: Choices, tape: Tape, *, plans: Sequence[Plan] = ACTIVE) -> tuple[Report | None, str, str]:
    """Play one schedule: its report, or the invariant it broke and what was seen.

    Any other exception is a violation too, under its own name: the product let it through, or the simulator is wrong.
    """
    try:
        return Session(choices, tape, plans=plans).play(), "", ""
    except Breach as breach:
        return None, breach.invariant, str(breach)
    except Exception as error:  # noqa: BLE001  # reported as a violation, with the choices that lead here
        return None, type(error).__name__, str(error)


@contextlib.contextmanager
def recorded_tape() -> Iterator[Tape]:
    """A tape in front of the primitives."""
    tape = Tape()
    with tape.recording():
        yield tape


def play_block(seed: int, first: int, count: int) -> Result:
    """Play the schedules first to first + count - 1 of a seed."""
    result, digests = Result(), hashlib.sha256()
    with recorded_tape() as tape:
        for number in range(first, first + count):
            choices = Seeded(f"{seed}/{number}")
            report, invariant, detail = play_one(choices, tape)
            result.schedules += 1
            if report is None:
                result.violations.append(Violation(number, invariant, detail, tuple(choices.taken)))
                continue
            result.finished += report.finished
            result.aborted += report.aborted
            result.cells |= report.cells
            digests.update(report.digest)
    result.digest = digests.hexdigest()
    return result


def run(
    schedules: int, *, seed: int = 0, workers: int = 1, watch: Callable[[Result], None] | None = None
) -> tuple[Result, float]:
    """Play the first `schedules` schedules of a seed.

    Args:
        schedules: how many.
        seed: which ones.
        workers: processes, each started afresh.
        watch: shown the result so far after each block.

    Returns:
        What they came to and the seconds it took.
    """
    started = time.monotonic()
    blocks = [(seed, first, min(BLOCK, schedules - first)) for first in range(0, schedules, BLOCK)]
    total, digests = Result(), hashlib.sha256()
    with contextlib.ExitStack() as stack:
        results: Iterator[Result] = (play_block(*block) for block in blocks)
        if workers > 1:
            spawn = multiprocessing.get_context("spawn")
            pool = stack.enter_context(ProcessPoolExecutor(workers, mp_context=spawn))
            results = pool.map(_play_block, blocks)
        for result in results:
            total.schedules += result.schedules
            total.finished += result.finished
            total.aborted += result.aborted
            total.violations += result.violations
            total.cells |= result.cells
            digests.update(result.digest.encode())
            if watch is not None:
                watch(total)
    total.digest = digests.hexdigest()
    return total, time.monotonic() - started


def _play_block(block: tuple[int, int, int]) -> Result:
    return play_block(*block)
