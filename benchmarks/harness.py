"""How figures are taken: alternating repetitions, medians of CPU time, peaks of traced memory.

CPU seconds of the process repeat within a few percent on a shared machine, where the wall clock does not. Things that
are compared run in turn, not one after the other, so that a change of the machine's speed meets all of them.
"""

from __future__ import annotations

import os
import platform
import statistics
import time
import tracemalloc
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

Work = Callable[[], object]

_LIBRARIES = ("numpy", "cryptography", "pynacl", "msgspec")


def alternate(
    works: Mapping[str, Work], *, repeats: int, clock: Callable[[], float] = time.process_time
) -> dict[str, list[float]]:
    """Seconds of every repetition of each work, all run in turn after one round of warming up."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for repeat in range(repeats + 1):
        for name, work in works.items():
            begun = clock()
            work()
            if repeat:
                seconds[name].append(clock() - begun)
    return seconds


def cpu_seconds(works: Mapping[str, Work], *, repeats: int) -> dict[str, float]:
    """Median CPU seconds of each work."""
    return {name: statistics.median(taken) for name, taken in alternate(works, repeats=repeats).items()}


def wall_seconds(works: Mapping[str, Work], *, repeats: int) -> dict[str, float]:
    """Least wall-clock seconds of each work: other processes of a shared machine only ever add to it."""
    return {name: min(taken) for name, taken in alternate(works, repeats=repeats, clock=time.perf_counter).items()}


def peak_bytes(work: Work) -> int:
    """Most bytes that Python and numpy held for the work at a time, what they held before left out."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def machine() -> dict[str, str]:
    """What the figures depend on: processor, interpreter, libraries, and how busy the machine was before."""
    versions = {name: metadata.version(name) for name in _LIBRARIES}
    load = f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"
    return {"processor": _processor(), "python": platform.python_version(), **versions, "load_before": load}


def _processor() -> str:
    """Model name of the processor, from Linux where it says, else the little that the interpreter knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{models[0]} x{len(models)}" if models else platform.processor() or platform.machine()
