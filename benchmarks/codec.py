"""Bytes on the wire over the packed input, counted on real rounds, and the time to pack, unpack and encode.

`uplink_over_payload` is every byte a client of 100 sends in a round of 10^5 coordinates over ceil(length * bits / 8).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks import harness, rounds
from secagg import cost
from secagg.layout import Layout
from secagg.ring import Ring, Words

CLIENTS = 100
LENGTH = 100_000
LONG = 1_000_000
WIDTHS = (16, 20, 24, 27, 32, 40)
REPEATS = 9


def run() -> dict[str, float | int | str]:
    """Measure the uplink of both graphs, its parts, and milliseconds a million coordinates."""
    return {"clients": CLIENTS, "length": LENGTH, **_uplinks(), **_rates()}


def _uplinks() -> dict[str, float]:
    found: dict[str, float] = {}
    for name, plan in (
        ("uplink_over_payload", rounds.complete_plan(CLIENTS)),
        ("uplink_over_payload_k_regular", rounds.regular_plan(CLIENTS)),
    ):
        recording = rounds.record(rounds.Cell(plan=plan, length=LENGTH))
        bits = recording.cast.ring.bits
        payload = recording.cast.ring.packed_size(LENGTH)
        found[name] = recording.uplink(recording.cast.names[0]) / payload
        found |= {f"{name}_bits": bits, f"{name}_degree": plan.degree}
        price = cost.of(plan, length=LENGTH, ring_bits=bits, name_size=len(recording.cast.names[0]))
        for leg in price.legs:
            beside = leg.uplink_bytes - (payload if leg.leg.name == "MASK" else 0)
            found[f"{name}_{leg.leg.name.lower()}_bytes"] = beside
        long = cost.of(plan, length=LONG, ring_bits=bits)
        found[f"{name}_1e6"] = long.uplink_bytes / long.payload_bytes
    return found


def _rates() -> dict[str, float]:
    works: dict[str, harness.Work] = {}
    for bits in WIDTHS:
        ring = Ring(bits)
        words: Words = (np.arange(LONG) % ring.modulus).astype(ring.word)
        total: Words = np.zeros(LONG, dtype=ring.word)
        works[f"pack_{bits}_bits_ms"] = partial(ring.pack, words)
        works[f"add_packed_{bits}_bits_ms"] = partial(ring.add_packed, total, ring.pack(words))
    update = {"update": np.linspace(-1e-3, 1e-3, LONG, dtype=np.float32)}
    layout = Layout.like(update, bound=1.0, step=2.0**-19)
    encoded = layout.encode(update, ring=Ring(27))
    works["check_update_ms"] = encoded.check
    works["read_update_ms"] = partial(encoded.read, 0, LONG)
    seconds = harness.cpu_seconds(works, repeats=REPEATS)
    return {name: 1000 * taken for name, taken in seconds.items()}
