"""From rounds to figures: medians and spread of each party's rounds, and ratios of peer over ours."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Final

Round = Mapping[str, float | int | None]

RATIOS: Final[Mapping[str, str]] = {
    "client_ratio": "client_cpu_s",
    "server_ratio": "server_cpu_s",
    "client_masks_ratio": "client_masks_cpu_s",
    "server_masks_ratio": "server_masks_cpu_s",
    "uplink_ratio": "uplink_bytes",
}
"""Name of each ratio, and what it is a ratio of. The first two are of whole rounds, the next two of masks only."""

_FIRST_ONLY: Final = ("client_peak_bytes", "round_peak_bytes")


def summary(rounds: Sequence[Round]) -> dict[str, Any]:
    """What a party's rounds of one cell came to.

    Of each number the median, and of CPU seconds the least and the most too. Peaks of memory are those of the first
    round: a later one finds memory the process has already.
    """
    first = rounds[0]
    result: dict[str, Any] = {"rounds": len(rounds)}
    for name in first:
        values = [value for played in rounds if (value := played[name]) is not None]
        if name in _FIRST_ONLY or not values:
            result[name] = first[name]
            continue
        result[name] = statistics.median(values)
        if name in ("client_cpu_s", "server_cpu_s"):
            result[f"{name}_least"], result[f"{name}_most"] = min(values), max(values)
    return result


def ratios(peer: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, float]:
    """Peer over ours, by name; left out where either has no such number or does no such work."""
    return {
        name: float(peer[key]) / float(ours[key]) for name, key in RATIOS.items() if peer.get(key) and ours.get(key)
    }
