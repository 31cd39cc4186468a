"""Fuzz one target: `python -m tests.fuzz config --seconds 60`; without a name, say which there are.

With atheris installed (extra `fuzz`) the product is instrumented and libFuzzer chooses the inputs; those that cover
more than the kept ones go to the folder of `--into`, and `--merge` of that folder keeps the least of them that cover as
much. Without atheris kept inputs are changed at random for as long. A finding ends it with its traceback, and libFuzzer
leaves the input in the current directory. `--seeds` keeps what a campaign starts from.
"""

from __future__ import annotations

import argparse
import importlib
import random
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

Target = Callable[[bytes], None]
LONGEST = 4_096
_RAW = "--libfuzzer"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; the exit code is not 0 where something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("name", nargs="?", help="the target")
    parser.add_argument("--seconds", type=int, default=60, help="how long")
    parser.add_argument("--into", help="folder for inputs that cover more; a temporary one unless given")
    parser.add_argument("--merge", help="keep the best of this folder, and end")
    parser.add_argument("--seeds", action="store_true", help="keep the seeds, and end")
    parser.add_argument(_RAW, nargs=argparse.REMAINDER, help="hand the rest to libFuzzer, as it does to itself")
    options = parser.parse_args(arguments)
    atheris = _atheris()
    targets = _instrumented(atheris) if atheris and options.name else importlib.import_module("tests.fuzz.targets")
    if options.seeds:
        print(importlib.import_module("tests.fuzz.seeds").write(), "new seeds")  # noqa: T201  # a command line prints
        return 0
    if options.name not in targets.TARGETS:
        print("targets:", *targets.TARGETS)  # noqa: T201  # the same
        return 0 if options.name is None else 2
    corpus = targets.CORPORA / options.name
    if atheris:
        _hand_over(atheris, targets.TARGETS[options.name], options.name, options.libfuzzer or _flags(options, corpus))
    if options.merge:
        print("merging takes atheris: install the extra fuzz", file=sys.stderr)  # noqa: T201  # the same
        return 2
    inputs = change_at_random(targets.TARGETS[options.name], targets.kept(options.name), options.seconds)
    print(f"{options.name}: {inputs} inputs without atheris, nothing found")  # noqa: T201  # the same
    return 0


def _atheris() -> Any:
    try:
        return importlib.import_module("atheris")
    except ModuleNotFoundError:
        return None


def _instrumented(atheris: Any) -> Any:
    """The targets, imported so that libFuzzer sees which lines of the product run."""
    with atheris.instrument_imports(include=["secagg", "dp"]):
        return importlib.import_module("tests.fuzz.targets")


def _flags(options: argparse.Namespace, corpus: Path) -> list[str]:
    limits = [f"-max_len={LONGEST}", "-timeout=10", "-rss_limit_mb=2048"]
    if options.merge:
        return [*limits, "-merge=1", str(corpus), options.merge]
    into = options.into or tempfile.mkdtemp(prefix="fuzz-")
    return [*limits, f"-max_total_time={options.seconds}", into, str(corpus)]


def _hand_over(atheris: Any, target: Target, name: str, flags: list[str]) -> NoReturn:
    """Give the process to libFuzzer, which ends it; a merge runs its first argument again, by the shell."""
    atheris.Setup([f"{shlex.quote(sys.executable)} -m tests.fuzz {name} {_RAW}", *flags], target)
    atheris.Fuzz()
    sys.exit()


def change_at_random(target: Target, inputs: Sequence[bytes], seconds: float) -> int:
    """Change kept inputs for some time; return how many were tried."""
    generator, ends, count = random.Random(0), time.monotonic() + seconds, 0  # noqa: S311  # test data
    while time.monotonic() < ends:
        target(changed(generator.choice(inputs), generator))
        count += 1
    return count


def changed(data: bytes, generator: random.Random) -> bytes:
    """One input made of another: some bytes changed, cut, doubled or put in."""
    raw = bytearray(data)
    for _ in range(1 + generator.randrange(4)):
        place = generator.randrange(len(raw) + 1)
        length = generator.randrange(1, 9)
        match generator.randrange(5):
            case 0:
                raw[place : place + 1] = bytes((generator.randrange(256),))
            case 1:
                del raw[place : place + length]
            case 2:
                raw[place:place] = generator.randbytes(length)
            case 3:
                raw[place:place] = raw[:length]
            case 4:
                raw[place : place + length] = generator.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length
    return bytes(raw[:LONGEST])


if __name__ == "__main__":
    sys.exit(main())
