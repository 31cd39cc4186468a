"""Noise: CPU time a sample, for narrow and wide laws, against the words it is made of; and the time to build a table.

Every call is what a client does: a fresh generator keyed by the operating system, tables built before.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from functools import partial

from benchmarks import harness
from dp.noise import DiscreteGaussian, IntegerNoise, Skellam
from dp.noise.discrete_gaussian import GaussianWeights
from dp.noise.envelope import EnvelopeSampler
from dp.noise.pmf import discrete_gaussian, skellam
from dp.noise.tables import TableSampler
from dp.randomness import SystemRandomness, new_words

SAMPLES = 1 << 20
REPEATS = 9
LISTED = (1, 30, 800)
WIDE = (10_000, 1_000_000, 50_000_000)
SCANNED = (1, 3)


def run() -> dict[str, float | int | str]:
    """Measure nanoseconds a sample by law and sigma, and milliseconds to build the tables."""
    return {"samples": SAMPLES, **_samples(), **_tables()}


def _samples() -> dict[str, float]:
    works: dict[str, harness.Work] = {"word_ns": partial(new_words, SystemRandomness(), SAMPLES)}
    for sigma in (*LISTED, *WIDE):
        for name, noise in _laws(sigma).items():
            works[f"{name}_{sigma}_ns_per_sample"] = partial(noise.sample, SAMPLES)
    for sigma in SCANNED:
        for name, noise in _laws(sigma).items():
            works[f"{name}_{sigma}_constant_time_ns_per_sample"] = partial(noise.sample, SAMPLES, constant_time=True)
    seconds = harness.cpu_seconds(works, repeats=REPEATS)
    return {name: 1e9 * taken / SAMPLES for name, taken in seconds.items()}


def _laws(sigma: int) -> Mapping[str, IntegerNoise]:
    return {"gaussian": DiscreteGaussian(sigma=sigma), "skellam": Skellam(variance=sigma * sigma)}


def _tables() -> dict[str, float]:
    listed, wide = Fraction(LISTED[-1] ** 2), Fraction(WIDE[0] ** 2)
    works: dict[str, harness.Work] = {
        f"build_gaussian_{LISTED[-1]}_ms": lambda: TableSampler(discrete_gaussian(listed)),
        f"build_skellam_{LISTED[-1]}_ms": lambda: TableSampler(skellam(listed)),
        f"build_gaussian_{WIDE[0]}_ms": lambda: EnvelopeSampler(GaussianWeights(wide)),
    }
    return {name: 1000 * taken for name, taken in harness.cpu_seconds(works, repeats=REPEATS).items()}
