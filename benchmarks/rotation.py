"""Rotation: CPU time of one vector, where the length is a power of two and where it is next to one.

Meant for a linear algebra library that is held to one thread, as `python -m benchmarks` does.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from benchmarks import harness
from dp.rotation import SEED_SIZE, Rotation
from secagg.types import system_entropy

POWER = 1 << 20
LENGTHS = {"power_of_two": POWER, "one_more": POWER + 1, "one_less": POWER - 1, "million": 1_000_000}
REPEATS = 15


def run() -> dict[str, float | int | str]:
    """Measure milliseconds to rotate a vector, and to rotate it back, by length and type."""
    works: dict[str, harness.Work] = {}
    for name, length in LENGTHS.items():
        rotation = Rotation(length=length, seed=system_entropy(SEED_SIZE))
        single: npt.NDArray[np.float32] = np.linspace(-1, 1, length, dtype=np.float32)
        works[f"{name}_float32_ms"] = partial(rotation.apply, single)
        works[f"{name}_float32_back_ms"] = partial(rotation.invert, single)
        works[f"{name}_float64_ms"] = partial(rotation.apply, single.astype(np.float64))
    seconds = harness.cpu_seconds(works, repeats=REPEATS)
    return {**LENGTHS, **{name: 1000 * taken for name, taken in seconds.items()}}
