"""A party's side of the measurement: it reads one cell a line, plays a round of it, and answers with one line.

    parent -> {"clients": 10, "length": 10000, ...}      party -> {"client_cpu_s": ..., "server_cpu_s": ...}

Promise: every party, ours and the peers', is measured by this one module. It runs in each party's own environment and
imports the standard library and numpy only. Whatever a library prints goes to standard error; standard output carries
JSON lines and nothing else.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import gc
import json
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

CLIP: Final = 8.0
"""Largest magnitude of a coordinate, for every party that has such a bound."""

STEP: Final = 2.0**-18
"""Distance of two values of a quantized coordinate: 2^22 levels over 16, the default of flwr."""

TOLERANCE: Final = 2 * STEP
"""How far a mean may be from the true one; a round that is further off is an error, not a measurement."""

SERVER: Final = "server"
STRATEGY: Final = "strategy"
"""What a framework's server does with the sum once it has it."""

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK: Final = "5"

Vector = npt.NDArray[np.float32]


class WrongSumError(Exception):
    """A party's result is not the mean of the vectors it was given."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """One round to play.

    Attributes:
        clients: how many are invited.
        length: coordinates of a vector.
        dropped: how many fall silent before their masked vector is sent; the first ones by number.
        degree: neighbors of a client; clients - 1 for the complete graph.
        threshold: shares that open a secret.
        corrupt: clients a plan must withstand, for parties that ask.
        active: whether the server may lie, for parties that can stand it.
        seed: what the vectors are drawn from.
    """

    clients: int
    length: int
    dropped: int
    degree: int
    threshold: int
    corrupt: int
    active: bool
    seed: int = 1

    def vector(self, client: int) -> Vector:
        """The client's vector, of L2 norm about 1, the same for every party."""
        drawn = np.random.default_rng((self.seed, client)).standard_normal(self.length, dtype=np.float32)
        return drawn / np.float32(math.sqrt(self.length))

    @property
    def survivors(self) -> range:
        """Clients whose vector is in the sum."""
        return range(self.dropped, self.clients)

    def mean(self) -> npt.NDArray[np.float64]:
        """The mean that every party must come to."""
        total = np.zeros(self.length)
        for client in self.survivors:
            total += self.vector(client)
        return total / len(self.survivors)


class Peak:
    """Peak resident memory of this process since a moment, on Linux; elsewhere it is not measured."""

    def __init__(self) -> None:
        self.round: int | None = None
        self.client: int | None = None
        self._highest = 0
        self._start = _resident("VmRSS") if _reset() else None

    @contextlib.contextmanager
    def of_client(self) -> Iterator[None]:
        """Measure the first client that comes here, beyond what was held when it did."""
        if self.client is not None or self._start is None:
            yield
            return
        self._highest = max(self._highest, _resident("VmHWM"))
        _reset()
        before = _resident("VmRSS")
        yield
        self.client = max(_resident("VmHWM") - before, 0)

    def close(self) -> None:
        """Note the peak of the round, beyond what was held at its start."""
        if self._start is not None:
            self.round = max(self._highest, _resident("VmHWM")) - self._start


@dataclass
class Meter:
    """CPU seconds and bytes of a round, by party: a client's number, or SERVER.

    `on` is exclusive: while one party's work is going on inside another's, only the inner one is charged.
    """

    clock: Callable[[], float] = time.process_time
    spent: dict[int | str, float] = field(default_factory=dict)
    setup: dict[int | str, float] = field(default_factory=dict)
    masks: dict[int | str, float] = field(default_factory=dict)
    uplink: dict[int, int] = field(default_factory=dict)
    downlink: dict[int, int] = field(default_factory=dict)
    peak: Peak = field(default_factory=Peak)
    setting_up: bool = False
    _on: int | str | None = None
    _since: float = 0.0

    @contextlib.contextmanager
    def on(self, party: int | str | None) -> Iterator[None]:
        """Charge what happens inside to a party, or to nobody."""
        before = self._switch(party)
        try:
            yield
        finally:
            self._switch(before)

    def send(self, client: int, size: int) -> None:
        """Count bytes a client sent."""
        self.uplink[client] = self.uplink.get(client, 0) + size

    def receive(self, client: int, size: int) -> None:
        """Count bytes a client was sent."""
        self.downlink[client] = self.downlink.get(client, 0) + size

    def masking(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that its time is also counted as work on masks, for whoever is on."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            begun = self.clock()
            try:
                return function(*args, **kwargs)
            finally:
                if self._on is not None:
                    self.masks[self._on] = self.masks.get(self._on, 0.0) + self.clock() - begun

        return timed

    def _switch(self, party: int | str | None) -> int | str | None:
        now, before = self.clock(), self._on
        if before is not None:
            book = self.setup if self.setting_up else self.spent
            book[before] = book.get(before, 0.0) + now - self._since
        self._on, self._since = party, now
        return before


def _reset() -> bool:
    """Give free memory back, so that its reuse counts, and let the high-water mark start afresh; False without one."""
    try:
        _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
    _CLEAR.write_text(_RESET_PEAK, encoding="ascii")
    return True


def _resident(name: str) -> int:
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


Play = Callable[[Task, Meter], npt.NDArray[Any]]
"""Plays one round and returns the mean it came to. What it does for a party it does under `meter.on`."""


def measure(play: Play, task: Task) -> dict[str, float | int | None]:
    """Play one round and say what it took: medians over the clients whose vector is in the sum, the most for set-up.

    Raises:
        WrongSumError: the result is not the mean.
    """
    meter = Meter()
    result = np.asarray(play(task, meter), dtype=np.float64)
    meter.peak.close()
    error = float(np.max(np.abs(result - task.mean())))
    if not error <= TOLERANCE:
        raise WrongSumError(f"the mean is off by {error:.3g}, {TOLERANCE:.3g} is the most")

    def median(book: Mapping[Any, float]) -> float:
        return statistics.median(book.get(client, 0.0) for client in task.survivors)

    return {
        "client_cpu_s": median(meter.spent),
        "server_cpu_s": meter.spent.get(SERVER, 0.0),
        "strategy_cpu_s": meter.spent.get(STRATEGY, 0.0),
        "client_setup_cpu_s": max((meter.setup.get(client, 0.0) for client in task.survivors), default=0.0),
        "server_setup_cpu_s": meter.setup.get(SERVER, 0.0),
        "client_masks_cpu_s": median(meter.masks),
        "server_masks_cpu_s": meter.masks.get(SERVER, 0.0),
        "uplink_bytes": median(meter.uplink),
        "downlink_bytes": median(meter.downlink),
        "client_peak_bytes": meter.peak.client,
        "round_peak_bytes": meter.peak.round,
        "max_error": error,
    }


def versions(*names: str) -> dict[str, str]:
    """Versions of the interpreter and of the named distributions."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def serve(play: Play, *, distributions: tuple[str, ...]) -> None:
    """Answer one line of JSON for each line read, until the input ends; the first line out names the versions.

    Whatever a round raises ends the process, and the parent reads its last words.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the libraries print must not come between the lines
    _say(out, {"versions": versions(*distributions)})
    for line in sys.stdin:
        _say(out, measure(play, Task(**json.loads(line))))


def _say(out: Any, answer: Mapping[str, Any]) -> None:
    out.write(json.dumps(answer) + "\n")
    out.flush()
