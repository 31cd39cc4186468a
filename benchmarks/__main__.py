"""Run one benchmark: `python -m benchmarks kernel`, or with `--json` for one JSON object.

A benchmark is a module of this package with `run() -> dict[str, float | int | str]`; adding one takes that file and
one line of `CASES`. The linear algebra library is held to one thread, here and before anything imports numpy: its
threads would compete with ours on shared cores, and CPU time would count them all.
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
    "shamir": "shares: split 500-of-1000, decode, recover 1000 secrets, recover past lying holders",
    "noise": "noise: exact discrete Gaussian and Skellam samples, narrow and wide, and building their tables",
    "rotation": "rotation: 2^20 coordinates and lengths next to it, both float types, there and back",
}

_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def _list_cases() -> None:
    print("usage: python -m benchmarks NAME [--json]")
    for name, about in CASES.items():
        print(f"  {name:<12} {about}")


def _print_table(results: Mapping[str, float | int | str]) -> None:
    width = max(map(len, results))
    for name, value in results.items():
        print(f"{name:<{width}}  {value:.4g}" if isinstance(value, float) else f"{name:<{width}}  {value}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named benchmark and print its figures; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure this project on this machine.")
    parser.add_argument("name", nargs="?", help="one of: " + ", ".join(CASES))
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    options = parser.parse_args(arguments)
    if options.name is None:
        _list_cases()
        return 0
    if options.name not in CASES:
        print(f"no benchmark is called {options.name!r}; there are: {', '.join(CASES)}", file=sys.stderr)
        return 2
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    harness = importlib.import_module("benchmarks.harness")
    results = {**harness.machine(), **importlib.import_module(f"benchmarks.{options.name}").run()}
    if options.json:
        print(json.dumps(results))
    else:
        _print_table(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
