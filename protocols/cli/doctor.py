"""`secagg doctor`: is this installation fit to run a round?

Every check is a small function that returns what it found; `_CHECKS` is the list. Nothing here is a benchmark: the one
speed that is shown is measured in a tenth of a second, to tell a processor with AES instructions from one without.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

import dp
from dp import PrivacyError
from protocols._guard import is_own
from protocols.cli.words import FAILED, Figure, Verb, json_line
from protocols.errors import ProtocolError
from protocols.faults import drop
from protocols.recipe import Recipe
from protocols.simulate import simulate
from secagg import Plan, Ring, SecAggError, masking, shamir
from secagg.primitives import prg
from secagg.primitives.secret import Secret
from secagg.types import system_entropy

MIN_PYTHON: Final = (3, 11)
MIN_PACKAGES: Final[Mapping[str, tuple[int, ...]]] = {
    "numpy": (1, 26),
    "cryptography": (46,),
    "pynacl": (1, 6),
    "msgspec": (0, 19),
}
"""The lower bounds of pyproject.toml; a test holds the two together."""

_FAST_AES: Final = 800
"""MB/s: processors with AES instructions are well above, tables and bit slices in software well below."""

_AES_SECONDS: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check found.

    Attributes:
        ok: whether a round can rely on it.
        detail: one line that says why.
    """

    ok: bool
    detail: str


def run(options: argparse.Namespace) -> int:
    """Print a line a check and return 0 where all are well, else 1."""
    findings = {}
    width = max(map(len, _CHECKS))
    for name, check in _CHECKS.items():
        found = findings[name] = examine(check)
        if not options.json:
            print(f"{'ok     ' if found.ok else 'PROBLEM'}  {name:<{width}}  {found.detail}", flush=True)
    well = all(found.ok for found in findings.values())
    if options.json:
        listed: list[dict[str, Figure]] = [
            {"name": name, "ok": found.ok, "detail": found.detail} for name, found in findings.items()
        ]
        print(json_line({"ok": well, "checks": listed}))
    return 0 if well else FAILED


def examine(check: Callable[[], Finding]) -> Finding:
    """Run one check; where it fails with an error of this project, that is what it found."""
    try:
        return check()
    except (SecAggError, ProtocolError, PrivacyError, OSError) as error:
        return Finding(ok=False, detail=f"{type(error).__name__}: {' '.join(str(error).split())}")


def check_python() -> Finding:
    """The interpreter is one that this version is tested with."""
    needed = ".".join(map(str, MIN_PYTHON))
    detail = f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}"
    return Finding(ok=sys.version_info >= MIN_PYTHON, detail=f"{detail}; {needed} or later is needed")


def check_packages() -> Finding:
    """Every package is there and no older than this version needs."""
    found = {name: _version(name) for name in MIN_PACKAGES}
    old = [name for name, least in MIN_PACKAGES.items() if _numbers(found[name]) < least]
    detail = ", ".join(f"{name} {version or 'missing'}" for name, version in found.items())
    wanted = "; needed: " + ", ".join(f"{name}>={'.'.join(map(str, MIN_PACKAGES[name]))}" for name in old)
    return Finding(ok=not old, detail=detail + (wanted if old else ""))


def check_own_dp() -> Finding:
    """The top-level package `dp` is this distribution's."""
    return Finding(ok=is_own(dp), detail=f"dp is imported from {dp.__path__[0]}")


def check_entropy() -> Finding:
    """The operating system gives bytes, and not the same ones twice."""
    first, second = system_entropy(32), system_entropy(32)
    ok = len({first, second, bytes(32)}) == 3
    return Finding(ok=ok, detail="two draws of 32 bytes differ" if ok else "the system's generator repeats itself")


def check_clock() -> Finding:
    """Deadlines can be measured: the monotonic clock never steps back."""
    ticks = [time.monotonic() for _ in range(1000)]
    info = time.get_clock_info("monotonic")
    ok = info.monotonic and ticks == sorted(ticks)
    return Finding(ok=ok, detail=f"{info.implementation}, resolution {info.resolution:g} s")


def check_aes() -> Finding:
    """Masks are as fast as AES is. Slow is a remark, not a problem."""
    stream, buffer = prg.open_stream(Secret(bytes(prg.STREAM_KEY_SIZE))), memoryview(bytearray(prg.SEGMENT))
    done, begun = 0, time.perf_counter()
    while (spent := time.perf_counter() - begun) < _AES_SECONDS or not done:
        stream.write(0, buffer)
        done += prg.SEGMENT
    speed = done / spent / 1e6
    kind = "the processor's AES instructions" if speed >= _FAST_AES else "no AES instructions, so masks are slow"
    way = "GCM" if prg.gcm_is_faster() else "counter mode"
    return Finding(ok=True, detail=f"about {speed:,.0f} MB/s of AES-128-CTR on one core, by {way}: {kind}")


def check_arithmetic() -> Finding:
    """Shares are products of float64 matrices that must come out exact, whichever BLAS multiplies them.

    The largest threshold makes the longest sums, and secrets of ones the largest terms.
    """
    holders, threshold = shamir.MAX_THRESHOLD + 1, shamir.MAX_THRESHOLD
    secrets = [Secret(b"\xff" * shamir.SECRET_SIZE), Secret(system_entropy(shamir.SECRET_SIZE))]
    xs = np.arange(1, holders + 1)
    shares, valid = shamir.decode_shares(shamir.split(secrets, threshold=threshold, xs=xs, entropy=system_entropy))
    opened = shamir.recover_many(shares[:, 1:], xs[1:])
    ok = bool(valid.all()) and list(opened) == secrets
    verdict = "are recovered exactly" if ok else "come back changed: this BLAS does not multiply exactly"
    return Finding(ok=ok, detail=f"secrets shared {threshold}-of-{holders} {verdict}")


def check_masks() -> Finding:
    """A pair's masks hide both inputs and are gone from their sum."""
    ring, length = Ring(32), 1 << 16
    key = Secret(system_entropy(prg.STREAM_KEY_SIZE))
    inputs = [np.arange(length, dtype=np.uint32), np.full(length, ring.modulus - 1, dtype=np.uint32)]
    masked = [words.copy() for words in inputs]
    masking.accumulate(masked[0], plus=[key], minus=[])
    masking.accumulate(masked[1], plus=[], minus=[key])
    hidden = not any(np.array_equal(words, plain) for words, plain in zip(masked, inputs, strict=True))
    ok = hidden and np.array_equal(masked[0] + masked[1], inputs[0] + inputs[1])
    return Finding(ok=ok, detail=f"{length:,} words of two clients {'cancel in the sum' if ok else 'do not cancel'}")


def check_round() -> Finding:
    """A whole round between six clients, two of which drop out, gives the sum of the other five inputs."""
    updates = {f"client-{number}": {"w": np.linspace(-1.0, 1.0, 50) * number / 60} for number in range(1, 7)}
    recipe = Recipe.like(updates["client-1"], clip=1.0)
    plan = Plan.find(clients=6, max_dropped=2, max_corrupt=1)
    faults = [drop("client-2", before="mask"), drop("client-5", before="unmask")]
    total = simulate(updates, plan, recipe, faults=faults)
    counted = [update["w"] for name, update in updates.items() if name != "client-2"]
    off = float(np.abs(total.mean()["w"] - np.mean(counted, axis=0)).max())
    ok = total.dropped == ("client-2",) and off <= total.step
    return Finding(
        ok=ok, detail=f"6 clients, 2 drop out; the mean of 5 is off by {off:.1e}, rounding allows {total.step:.1e}"
    )


_CHECKS: Final[Mapping[str, Callable[[], Finding]]] = {
    "python": check_python,
    "packages": check_packages,
    "dp": check_own_dp,
    "entropy": check_entropy,
    "clock": check_clock,
    "aes": check_aes,
    "shares": check_arithmetic,
    "masks": check_masks,
    "round": check_round,
}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _numbers(version: str) -> tuple[int, ...]:
    """Read the numbers a version begins with: "2.1.0rc1" is at least 2.1.0 for this purpose."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object instead")


VERB: Final = Verb(
    name="doctor",
    summary="check that this installation is fit to run a round",
    description="Check Python, packages, entropy, exact arithmetic, masks, and one whole small round in memory.",
    options=_options,
    run=run,
)
