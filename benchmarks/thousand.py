"""One simulated round of a thousand clients on a sparse graph, every party on one core, one client in ten dropping."""

from __future__ import annotations

import time

import numpy as np

from protocols import Recipe, drop, simulate
from secagg import Plan

CLIENTS = 1_000
LENGTH = 100_000


def run() -> dict[str, float | int | str]:
    """Measure CPU seconds of the whole round, from the updates to the mean."""
    plan = Plan.find(clients=CLIENTS, max_dropped=CLIENTS // 10, max_corrupt=CLIENTS // 20, adversary="semi-honest")
    update = {"update": np.linspace(-1e-3, 1e-3, LENGTH, dtype=np.float32)}
    updates = {f"client-{number:04d}": update for number in range(CLIENTS)}
    faults = [drop(name, before="mask") for name in list(updates)[::10]]
    begun = time.process_time()
    total = simulate(updates, plan, Recipe.like(update, clip=1.0), faults=faults)
    off = float(np.abs(total.mean()["update"] - update["update"]).max())
    return {
        "clients": CLIENTS,
        "length": LENGTH,
        "degree": plan.degree,
        "survivors": len(total.survivors),
        "simulated_round_s": time.process_time() - begun,
        "off_by_steps": off / total.step,
    }
