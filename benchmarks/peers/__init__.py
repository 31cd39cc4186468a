"""This project beside its peers: real rounds of other people's code and of ours, in turn, on the same vectors.

Promise: every peer runs its own released code, installed from the package index into an environment of its own, and
every party runs in a process of its own that is measured in the same way: CPU seconds, bytes, peak memory. A cell that
does not finish in its time is said to be unfinished, and nothing is extrapolated.

`python -m benchmarks peers` plays a small set of cells; `python -m benchmarks.peers` has the larger ones. The modules
`station` and `drive_*` run in the peers' environments, where only the standard library and numpy are sure to be.
"""

from __future__ import annotations


def run() -> dict[str, float | int | str]:
    """Play the small set of cells and return its ratios, peer over ours, by plain names."""
    # A peer's process imports this package, and has no use for these.
    from benchmarks.peers.cells import SMALL  # noqa: PLC0415
    from benchmarks.peers.runner import play  # noqa: PLC0415

    return play(SMALL).figures


def run_full() -> dict[str, float | int | str]:
    """Play the whole table, which takes an hour or more."""
    from benchmarks.peers.cells import FULL  # noqa: PLC0415
    from benchmarks.peers.runner import play  # noqa: PLC0415

    return play(FULL).figures
