"""Run one benchmark: `python -m benchmarks kernel`, or with `--json` for one JSON object.

A benchmark is a module of this package with `run() -> dict[str, float | int | str]`; adding one takes that file and
one line of `CASES`. One with many figures may also have `table(figures) -> str`, which writes them for reading. The
linear algebra library is held to one thread, here and before anything imports numpy: its threads would compete with
ours on shared cores, and CPU time would count them all.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence

CASES: Mapping[str, str] = {
    "kernel": "masks: expand and accumulate against raw AES-128-CTR, two threads, memory of masking an input",
    "client": "a client's whole round: CPU time by cohort, length and drop-out; --full for the whole table",
    "server": "the server's whole round: CPU time by cohort, length and drop-out; --full for the whole table",
    "codec": "bytes on the wire over the packed input, and the time to pack, unpack and encode",
    "memory": "peak memory of either party; --full adds a streamed round of 10^8 coordinates",
    "growth": "exponents in clients, length and drop-out, and forecasts against them; --full for larger ones",
    "thousand": "a simulated round of 1000 clients on a sparse graph, every party on one core",
    "shamir": "shares: split 500-of-1000, decode, recover 1000 secrets, recover past lying holders",
    "noise": "noise: exact discrete Gaussian and Skellam samples, narrow and wide, and building their tables",
    "rotation": "rotation: 2^20 coordinates and lengths next to it, both float types, there and back",
    "utility": "quality by epsilon and ring on both data sets, beside a trusted server; --full for more seeds",
    "peers": "peers: whole rounds of other people's code in turn with ours, from the package index",
}

_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


PAGES: Mapping[str, str] = {
    "page": "write the kept figures into the tables of docs/performance.md and docs/peers.md",
    "report": "write the kept figures as a page with plots: report.html, or the file named behind it",
}


def _list_cases() -> None:
    print("usage: python -m benchmarks NAME [--json] [--full] [--keep]")
    for name, about in {**CASES, **PAGES}.items():
        print(f"  {name:<12} {about}")


def _print_table(results: Mapping[str, float | int | str]) -> None:
    width = max(map(len, results))
    for name, value in results.items():
        print(f"{name:<{width}}  {value:.4g}" if isinstance(value, float) else f"{name:<{width}}  {value}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named benchmark and print its figures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure this project on this machine.")
    parser.add_argument("name", nargs="?", help="one of: " + ", ".join([*CASES, *PAGES]))
    parser.add_argument("file", nargs="?", default="report.html", help="where report writes its page")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--full", action="store_true", help="measure the larger cells too, where a benchmark has any")
    parser.add_argument("--keep", action="store_true", help="keep the figures in benchmarks/results")
    options = parser.parse_args(arguments)
    if options.name is None:
        _list_cases()
        return 0
    if options.name in PAGES:
        print(importlib.import_module(f"benchmarks.{options.name}").write(options.file))
        return 0
    if options.name not in CASES:
        print(f"no benchmark is called {options.name!r}; there are: {', '.join(CASES)}", file=sys.stderr)
        return 2
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    harness, results = (importlib.import_module(f"benchmarks.{name}") for name in ("harness", "results"))
    module = importlib.import_module(f"benchmarks.{options.name}")
    if options.full and not hasattr(module, "run_full"):
        print(f"{options.name} has one size only: leave out --full", file=sys.stderr)
        return 2
    machine = harness.machine()
    figures = module.run_full() if options.full else module.run()
    if options.keep:
        command = f"python -m benchmarks {options.name}{' --full' if options.full else ''} --keep"
        results.keep(options.name, command=command, machine=machine, figures=figures)
    if options.json:
        print(json.dumps({**machine, **figures}))
    elif hasattr(module, "table"):
        _print_table(machine)
        print(module.table(figures))
    else:
        _print_table({**machine, **figures})
    return 0


if __name__ == "__main__":
    sys.exit(main())
