"""Memory of either party through a whole round, by `tracemalloc`; and of an input of 10^8 coordinates, streamed.

A party is played alone from a recording, so that nothing but its own is counted: what it keeps between two messages
and what it holds while it works. The update and the messages that reach it are the caller's. The long input is summed
in processes of their own, whose resident memory the operating system reports.
"""

from __future__ import annotations

import functools
import gc
import tracemalloc
from collections.abc import Callable

from benchmarks import rounds, streaming

LENGTH = 1_000_000
COHORTS = (10, 100)
LONG = 100_000_000


def run() -> dict[str, float | int | str]:
    """Measure a client among 100, and the server at n = 10 and 100, on updates of 10^6 coordinates."""
    found: dict[str, float | int | str] = {"length": LENGTH}
    peaks: dict[int, int] = {}
    for clients in COHORTS:
        recording = rounds.record(rounds.Cell(plan=rounds.complete_plan(clients), length=LENGTH, dropped=clients // 10))
        output = recording.cast.ring.packed_size(LENGTH)
        client = _peak(rounds.client_play(recording))
        peaks[clients] = _peak(functools.partial(rounds.play_server, recording, decode=False))
        found |= {
            f"n{clients}_output_bytes": output,
            f"n{clients}_client_peak_bytes": client,
            f"n{clients}_client_peak_over_output": client / output,
            f"n{clients}_server_peak_bytes": peaks[clients],
            f"n{clients}_server_peak_over_sum": peaks[clients] / (LENGTH * recording.cast.ring.word_bytes),
        }
    few, many = COHORTS
    found["client_peak_over_output"] = found[f"n{many}_client_peak_over_output"]
    found["server_memory_n100_over_n10"] = peaks[many] / peaks[few]
    return found


def run_full() -> dict[str, float | int | str]:
    """Measure the same, and a round of 10^8 coordinates whose inputs are handed over chunk by chunk."""
    return {**run(), "long_length": LONG, **streaming.play(LONG)}


def _peak(play: Callable[[], object]) -> int:
    """Most bytes held for the play at a time."""
    play()  # what is made once a process is not the party's
    gc.collect()
    tracemalloc.start()
    try:
        play()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
