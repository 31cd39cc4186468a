"""What must hold: each figure with its gate and its goal, and where among the kept results it stands."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.results import Result


class Verdict(enum.StrEnum):
    """How a figure stands."""

    GOAL = "goal"
    GATE = "gate"
    MISSED = "missed"
    UNKNOWN = "not measured"


@dataclass(frozen=True, kw_only=True)
class Target:
    """One figure that must hold.

    Attributes:
        what: in words.
        gate: the value it must reach.
        goal: the value it should reach.
        source: benchmark and name of the figure.
        unit: written behind the values.
        more: whether more is better.
    """

    what: str
    gate: float
    goal: float
    source: tuple[str, str]
    unit: str = ""
    more: bool = False

    def value(self, results: Mapping[str, Result]) -> float | None:
        """The kept value, or None where there is none."""
        benchmark, name = self.source
        found = results[benchmark].figures.get(name) if benchmark in results else None
        return float(found) if isinstance(found, int | float) else None

    def verdict(self, results: Mapping[str, Result]) -> Verdict:
        """Judge the value as it is shown: to four digits."""
        value = self.value(results)
        if value is None:
            return Verdict.UNKNOWN
        shown, sign = float(f"{value:.4g}"), 1 if self.more else -1
        if sign * shown >= sign * self.goal:
            return Verdict.GOAL
        return Verdict.GATE if sign * shown >= sign * self.gate else Verdict.MISSED

    def shown(self, value: float | None) -> str:
        """A value as it is written in tables."""
        return "-" if value is None else f"{value:.4g}{self.unit}"


def _peer(what: str, cell: str, figure: str, gate: float, goal: float, *, peer: str = "flwr_secagg") -> Target:
    return Target(what=what, gate=gate, goal=goal, source=("peers", f"{peer}_{cell}_{figure}"), unit="x", more=True)


TARGETS = (
    Target(
        what="expand and accumulate over raw AES-128-CTR, 16 keys, 10^6 words",
        gate=0.70,
        goal=0.80,
        source=("kernel", "ratio_to_aes_ctr"),
        more=True,
    ),
    Target(
        what="two threads over one (idle cores)",
        gate=1.6,
        goal=1.8,
        source=("kernel", "two_thread_speedup"),
        unit="x",
        more=True,
    ),
    _peer("client against flwr SecAgg, n = 100, 10^6", "n100_1e6_drop10", "client_ratio", 18, 22),
    _peer("client against flwr SecAgg, n = 100, 10^5", "n100_1e5_drop10", "client_ratio", 40, 60),
    _peer("server against flwr SecAgg, n = 100, 10 % drop, 10^6", "n100_1e6_drop10", "server_ratio", 100, 150),
    _peer("server against flwr SecAgg, n = 100, 10 % drop, 10^5", "n100_1e5_drop10", "server_ratio", 400, 800),
    *(
        _peer(
            f"{party} against flwr SecAgg+, n = 100, 10^6, {drop} % drop, semi-honest",
            f"n100_1e6_drop{drop}",
            f"{party}_ratio",
            gate,
            goal,
            peer="flwr_secagg_plus",
        )
        for party, drop, gate, goal in (
            ("client", 10, 8, 12),
            ("server", 0, 30, 50),
            ("server", 10, 30, 45),
            ("server", 30, 20, 30),
        )
    ),
    Target(
        what="uplink over ceil(L*b/8), n = 100, L = 10^5, complete graph",
        gate=1.03,
        goal=1.01,
        source=("codec", "uplink_over_payload"),
    ),
    Target(
        what="uplink over ceil(L*b/8), n = 100, L = 10^5, k-regular",
        gate=1.03,
        goal=1.01,
        source=("codec", "uplink_over_payload_k_regular"),
    ),
    Target(
        what="client peak memory beyond the update, over its output, 10^6 words, n = 100",
        gate=2.0,
        goal=1.2,
        source=("memory", "client_peak_over_output"),
        unit="x",
    ),
    Target(
        what="server memory at n = 100 over n = 10, 10^6 words",
        gate=1.1,
        goal=1.0,
        source=("memory", "server_memory_n100_over_n10"),
        unit="x",
    ),
    *(
        Target(what=f"growth exponent in n: {what}", gate=gate, goal=goal, source=("growth", f"exponent_{name}"))
        for what, name, gate, goal in (
            ("client, complete", "client_complete", 1.1, 1.0),
            ("client, k-regular", "client_k_regular", 0.1, 0.0),
            ("server, complete", "server_complete", 2.05, 2.0),
            ("server, k-regular", "server_k_regular", 1.1, 1.0),
        )
    ),
    Target(what="Shamir 500 of 1000: split one", gate=2.0, goal=0.7, source=("shamir", "split_ms"), unit=" ms"),
    Target(
        what="Shamir 500 of 1000: recover 1000 secrets",
        gate=10.0,
        goal=5.0,
        source=("shamir", "recover_1000_ms"),
        unit=" ms",
    ),
    Target(
        what="one simulated round, n = 1000, 10^5, 10 % drop, k-regular, all on one core",
        gate=60.0,
        goal=25.0,
        source=("thousand", "simulated_round_s"),
        unit=" s",
    ),
)
