"""`Plan`: who must behave for a round to be private, and the graph, threshold and quorum that follow.

Promise: a plan that exists is safe for its adversary. Every way of making one, by search, by hand, by copy or from the
wire, runs the same certificate (`Plan._certify`); what fails it is a ConfigError that names numbers that would do.

All counts are of clients invited: one that never joins is one of the dropped. Every client keeps a share of its own
secrets, so a secret has n holders on the complete graph and degree + 1 on a k-regular one.

Imports bounds, types and errors.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, fields
from typing import Final, NamedTuple, Self

from secagg import bounds
from secagg.bounds import MAX_THRESHOLD, MIN_HONEST, MIN_THRESHOLD
from secagg.errors import ConfigError
from secagg.types import MAX_CLIENTS, Adversary

MAX_COMPLETE: Final = 2048
"""Most clients on the complete graph; a threshold for all of them is then within MAX_THRESHOLD."""

SPARSE_FROM: Final = 64
"""`Plan.find` looks for a k-regular graph from this many clients on; below, one would save little."""

MIN_CLIENTS: Final = 2
MIN_ACTIVE_CLIENTS: Final = 3
MIN_SECURITY_BITS: Final = 40
MIN_CORRECTNESS_BITS: Final = 30
MAX_BITS: Final = 128
"""Seeds, keys and tags of suite 2 have 128 bits; odds below 2^-128 would promise more than they do."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Odds:
    """How likely a round within its plan's limits fails, as log2; -inf where counting rules it out.

    Attributes:
        secrets_opened: E1, the adversary gets both secrets of some client.
        disconnected: E2, the sums of two groups of honest survivors show instead of one.
        unrecoverable: E3, a secret that the sum needs cannot be rebuilt.
    """

    secrets_opened: float
    disconnected: float
    unrecoverable: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Who must behave. `Plan.find` derives one; constructing one certifies it.

    Attributes:
        clients: n, the clients invited.
        max_dropped: d, how many of them may be missing, whether they never join or fall silent at the last leg.
        max_corrupt: m, how many of them may work for the server.
        adversary: what the server and its helpers do.
        degree: k, the neighbors each client shares masks and secrets with; n - 1 is the complete graph.
        threshold: t, the shares that open a secret.
        quorum: signatures on one survivor set that a client needs before it unmasks; 0 against a semi-honest server.
        security_bits: that anything but the sum shows has odds of at most 2^-security_bits.
        correctness_bits: that a round with no more than d dropped fails has odds of at most 2^-correctness_bits.

    Raises:
        ConfigError: a field is out of range, or the plan is not safe; the text has numbers that would do.
    """

    clients: int
    max_dropped: int
    max_corrupt: int
    adversary: Adversary
    degree: int
    threshold: int
    quorum: int
    security_bits: int = MIN_SECURITY_BITS
    correctness_bits: int = MIN_CORRECTNESS_BITS

    def __post_init__(self) -> None:
        self._check_ranges()
        self._certify()

    @classmethod
    def find(
        cls,
        *,
        clients: int,
        max_dropped: int,
        max_corrupt: int,
        adversary: Adversary | str = Adversary.ACTIVE,
        security_bits: int = MIN_SECURITY_BITS,
        correctness_bits: int = MIN_CORRECTNESS_BITS,
    ) -> Self:
        """Derive the cheapest safe plan.

        ACTIVE: the complete graph with the smallest threshold and quorum. SEMI_HONEST: from 64 clients on, the
        smallest even degree that meets the odds, with its smallest threshold; below that, and up to 2048 clients where
        no degree under n - 1 meets them, the complete graph. Its threshold is a majority, raised above max_corrupt,
        lowered to the clients that max_dropped leaves.

        Args:
            clients: how many will be invited.
            max_dropped: how many of them may be missing, at any point.
            max_corrupt: how many of them may work for the server.
            adversary: an Adversary or its value, "active" or "semi-honest".
            security_bits: 40 to 128.
            correctness_bits: 30 to 128.

        Raises:
            ConfigError: an argument is out of range, or no plan is safe; the text has numbers that would do.
        """
        demand = _Demand(clients, max_dropped, max_corrupt, _adversary(adversary), security_bits, correctness_bits)
        demand.check_ranges()
        shape = demand.shape()
        if shape is None:
            raise ConfigError(f"{demand.impossible() or demand.too_sparse()}: {demand.remedy()}")
        return cls(**demand._asdict(), **shape._asdict())

    @property
    def min_survivors(self) -> int:
        """The fewest clients in a sum: n - d."""
        return self.clients - self.max_dropped

    @property
    def complete(self) -> bool:
        """Whether every client is a neighbor of every other."""
        return self.degree == self.clients - 1

    @property
    def odds(self) -> Odds:
        """What can still go wrong while nobody exceeds the plan; on the complete graph counting decides, not chance.

        On a k-regular graph a client's own share is left out (see `secagg.bounds`), so the odds are on the safe side.
        """
        n, d, m, k, t = self.clients, self.max_dropped, self.max_corrupt, self.degree, self.threshold
        if self.complete:
            return Odds(
                secrets_opened=_certain(t < self._demand.least_shares),
                disconnected=-math.inf,
                unrecoverable=_certain(t > self.min_survivors),
            )
        return Odds(
            secrets_opened=bounds.log2_secrets_opened(clients=n, corrupt=m, degree=k, threshold=t),
            disconnected=bounds.log2_disconnected(clients=n, corrupt=m, dropped=d, degree=k),
            unrecoverable=bounds.log2_unrecoverable(clients=n, dropped=d, degree=k, threshold=t),
        )

    def explain(self) -> str:
        """Say in a few lines of English what the plan assumes, what it sets and why, and what it refuses."""
        lines = (
            self._explain_who(),
            self._explain_missing(),
            self._explain_graph(),
            self._explain_threshold(),
            self._explain_quorum(),
            self._explain_odds(),
            self._explain_refusals(),
        )
        return "\n".join(lines)

    def __reduce__(self) -> tuple[functools.partial[Self], tuple[()]]:
        """Copy and unpickle through the constructor, so that a copy is certified too."""
        return functools.partial(type(self), **{field.name: getattr(self, field.name) for field in fields(self)}), ()

    def _explain_who(self) -> str:
        active = self.adversary is Adversary.ACTIVE
        server = "lies and equivocates" if active else "follows the protocol and pools what it sees"
        return f"Who: the server {server} ({self.adversary.value}); up to {self.max_corrupt} of {self.clients} help it."

    def _explain_missing(self) -> str:
        return (
            f"Missing: up to {self.max_dropped} clients at any point; every sum is of {self.min_survivors} or more, "
            f"{self.min_survivors - self.max_corrupt} of them honest."
        )

    def _explain_graph(self) -> str:
        if not self.complete:
            return f"Graph: sparse; {self.degree} neighbors a client, placed at random once every key is in."
        text = f"Graph: complete; each client shares masks with all {self.degree} others"
        if self.adversary is Adversary.ACTIVE or self.clients < SPARSE_FROM:
            return f"{text}."
        regular = self._demand.regular()
        return f"{text}; {'no sparser one meets' if regular is None else f'degree {regular.degree} meets'} the odds."

    def _explain_threshold(self) -> str:
        n, m, t = self.clients, self.max_corrupt, self.threshold
        if self.adversary is Adversary.ACTIVE:
            return f"Threshold: {t} shares open a secret; 2 * {t} > {n} + {m}, so nobody opens both of one client."
        helpers = f"the server's {m} helpers" if self.complete else "the server's helpers among its holders"
        return f"Threshold: {t} shares open a secret; {helpers} are fewer."

    def _explain_quorum(self) -> str:
        n, m, q = self.clients, self.max_corrupt, self.quorum
        if self.adversary is Adversary.ACTIVE:
            return f"Quorum: {q} signatures; 2 * {q} > {n} + {m}, so no two survivor sets get as many."
        return "Quorum: 0; this server names the same survivors to everyone."

    def _explain_odds(self) -> str:
        odds = self.odds
        return (
            f"Odds: a client's secrets opened {_power(odds.secrets_opened)}; the sum split in two "
            f"{_power(odds.disconnected)}; a secret lost {_power(odds.unrecoverable)}."
        )

    def _explain_refusals(self) -> str:
        joined = max(self.threshold, self.min_survivors)
        signatures = f"; under {self.quorum} signatures on them" if self.quorum else ""
        return f"Refused: under {joined} joined; under {self.min_survivors} survivors{signatures}."

    @property
    def _demand(self) -> _Demand:
        return _Demand(
            self.clients, self.max_dropped, self.max_corrupt, self.adversary, self.security_bits, self.correctness_bits
        )

    def _check_ranges(self) -> None:
        """Refuse what is no plan at all, safe or not."""
        self._demand.check_ranges()
        _check_integer("degree", self.degree, 1, self.clients - 1)
        if self.degree % 2 and not self.complete:
            raise ConfigError(
                f"degree={self.degree} must be even, half to either side of a circle, or {self.clients - 1} for the "
                f"complete graph: raise degree to {self.degree + 1}"
            )
        _check_integer("threshold", self.threshold, 1, min(MAX_THRESHOLD, self.degree + 1))
        _check_integer("quorum", self.quorum, 0, self.clients)

    def _certify(self) -> None:
        """Refuse a plan that is not safe for its adversary."""
        demand = self._demand
        for name, least in (("security_bits", MIN_SECURITY_BITS), ("correctness_bits", MIN_CORRECTNESS_BITS)):
            if getattr(self, name) < least:
                raise ConfigError(f"{name}={getattr(self, name)} is below {least}: raise {name} to {least}")
        if (reason := demand.impossible()) is not None:
            raise ConfigError(f"{reason}: {demand.remedy()}")
        if self.complete:
            self._certify_complete()
        else:
            self._certify_regular()
        if self.adversary is Adversary.ACTIVE:
            self._require_between("quorum", self.quorum, demand.least_shares, self.min_survivors)
        elif self.quorum:
            raise ConfigError(f"quorum={self.quorum} means nothing with a semi-honest server: lower quorum to 0")

    def _certify_complete(self) -> None:
        """Certify by counting: too few shares on the adversary's side, enough among the survivors."""
        if self.clients > MAX_COMPLETE:
            raise ConfigError(
                f"degree={self.degree} is the complete graph, which ends at clients={MAX_COMPLETE}: "
                f"{self._better_shape()}"
            )
        self._require_between("threshold", self.threshold, self._demand.least_shares, self.min_survivors)

    def _certify_regular(self) -> None:
        """Certify E1, E2 and E3 of `secagg.bounds` at the plan's own degree and threshold."""
        if self.adversary is Adversary.ACTIVE:
            raise ConfigError(
                f"degree={self.degree} leaves out neighbors, and a server that lies about who dropped once it has seen "
                f"such a graph breaks any threshold on it: raise degree to {self.clients - 1}"
            )
        if self.threshold < MIN_THRESHOLD:
            raise ConfigError(f"threshold={self.threshold} lets one holder open a secret: {self._better_shape()}")
        odds, bits = self.odds, self.security_bits + 1  # E1 and E2 have half of 2^-security_bits each
        for event, log2_odds, limit in (
            ("a client's secrets opened", odds.secrets_opened, bits),
            ("the sum split in two", odds.disconnected, bits),
            ("a secret lost", odds.unrecoverable, self.correctness_bits),
        ):
            if not bounds.meets(log2_odds, limit):
                raise ConfigError(
                    f"clients={self.clients}, max_dropped={self.max_dropped}, max_corrupt={self.max_corrupt} with "
                    f"degree={self.degree}, threshold={self.threshold}: odds of {event} are {_power(log2_odds)}, "
                    f"must be at most 2^-{limit}: {self._better_shape()}"
                )

    def _require_between(self, name: str, value: int, low: int, high: int) -> None:
        if not low <= value <= high:
            raise ConfigError(
                f"clients={self.clients}, max_dropped={self.max_dropped}, max_corrupt={self.max_corrupt} "
                f"({self.adversary.value}) need {name} from {low} to {high}; got {name}={value}: "
                f"{_moves((name,), (value,), (min(max(value, low), high),))}"
            )

    def _better_shape(self) -> str:
        """What to change in degree, threshold and quorum, or in the demand where no choice of them will do."""
        shape = self._demand.shape()
        if shape is None:
            return self._demand.remedy()
        return _moves(_Shape._fields, (self.degree, self.threshold, self.quorum), shape)


class _Shape(NamedTuple):
    """What a plan answers to a demand."""

    degree: int
    threshold: int
    quorum: int


class _Demand(NamedTuple):
    """What a plan is asked to withstand, before there is one."""

    clients: int
    max_dropped: int
    max_corrupt: int
    adversary: Adversary
    security_bits: int
    correctness_bits: int

    @property
    def least_shares(self) -> int:
        """Smallest threshold of the complete graph; against ACTIVE the smallest quorum too, by the same count."""
        if self.adversary is Adversary.ACTIVE:
            return bounds.smallest_active_threshold(clients=self.clients, corrupt=self.max_corrupt)
        return max(MIN_THRESHOLD, self.max_corrupt + 1)

    def check_ranges(self) -> None:
        """Refuse what is not even a question."""
        if not isinstance(self.adversary, Adversary):
            raise ConfigError(f"adversary={self.adversary!r:.40} must be an Adversary, such as Adversary.ACTIVE")
        _check_integer("clients", self.clients, MIN_CLIENTS, MAX_CLIENTS)
        _check_integer("security_bits", self.security_bits, 1, MAX_BITS)
        _check_integer("correctness_bits", self.correctness_bits, 1, MAX_BITS)
        for name, value in (("max_dropped", self.max_dropped), ("max_corrupt", self.max_corrupt)):
            _check_integer(name, value, 0, MAX_CLIENTS)
            if value >= self.clients:
                raise ConfigError(f"{name}={value} must be below clients={self.clients}: {self.remedy()}")

    def shape(self) -> _Shape | None:
        """The cheapest degree, threshold and quorum that are safe, or None where none are."""
        if self.impossible() is not None:
            return None
        n, left = self.clients, self.clients - self.max_dropped
        if self.adversary is Adversary.ACTIVE:
            return _Shape(degree=n - 1, threshold=self.least_shares, quorum=self.least_shares)
        regular = self.regular() if n >= SPARSE_FROM else None
        if regular is not None:
            return _Shape(degree=regular.degree, threshold=regular.threshold, quorum=0)
        if n > MAX_COMPLETE:
            return None
        return _Shape(degree=n - 1, threshold=min(left, max(self.least_shares, n // 2 + 1)), quorum=0)

    def impossible(self) -> str | None:
        """Why counting alone rules out every plan, or None where it does not."""
        n, d, m = self.clients, self.max_dropped, self.max_corrupt
        left = n - d
        if self.adversary is Adversary.ACTIVE and not MIN_ACTIVE_CLIENTS <= n <= MAX_COMPLETE:
            return f"clients={n} is outside {MIN_ACTIVE_CLIENTS} to {MAX_COMPLETE}, the range of the active adversary"
        if self.adversary is Adversary.ACTIVE and self.least_shares > left:
            return f"clients={n}, max_corrupt={m} need threshold >= {self.least_shares}; max_dropped={d} allows {left}"
        if left - m < MIN_HONEST:
            return f"clients={n}, max_dropped={d}, max_corrupt={m} leave {left - m} honest survivors of {MIN_HONEST}"
        return None

    def too_sparse(self) -> str:
        """Why a cohort beyond the complete graph has no plan."""
        return (
            f"clients={self.clients}, max_dropped={self.max_dropped}, max_corrupt={self.max_corrupt}: no degree meets "
            f"security_bits={self.security_bits} and correctness_bits={self.correctness_bits} with a threshold up to "
            f"{MAX_THRESHOLD}, and the complete graph ends at clients={MAX_COMPLETE}"
        )

    def remedy(self) -> str:
        """The change of numbers to propose; with it made, `shape` is not None."""
        demand = self
        if self.adversary is Adversary.ACTIVE:
            demand = demand._replace(clients=min(max(self.clients, MIN_ACTIVE_CLIENTS), MAX_COMPLETE))
        if demand.shape() is None:
            near = bounds.nearest_bearable(
                lambda d, m: demand._replace(max_dropped=d, max_corrupt=m).shape() is not None,
                dropped=demand.max_dropped,
                corrupt=demand.max_corrupt,
            )
            demand = demand._replace(max_dropped=near.dropped, max_corrupt=near.corrupt)
        return _moves(self._fields[:3], self[:3], demand[:3])

    def regular(self) -> bounds.RegularGraph | None:
        """The smallest k-regular graph that meets the odds, at any number of clients."""
        return bounds.find_degree(
            clients=self.clients,
            corrupt=self.max_corrupt,
            dropped=self.max_dropped,
            security_bits=self.security_bits,
            correctness_bits=self.correctness_bits,
        )


def _adversary(value: Adversary | str) -> Adversary:
    try:
        return Adversary(value)
    except ValueError as error:
        choices = ", ".join(repr(member.value) for member in Adversary)
        raise ConfigError(f"adversary={value!r:.40} must be one of {choices}") from error


def _check_integer(name: str, value: int, low: int, high: int) -> None:
    text = f"{name}={value!r:.40} must be an integer from {low} to {high}"
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(text)
    nearest = min(max(value, low), high)
    if value != nearest:
        raise ConfigError(f"{text}: {_moves((name,), (value,), (nearest,))}")


def _moves(names: tuple[str, ...], before: tuple[int, ...], after: tuple[int, ...]) -> str:
    """Say which numbers to raise or lower, and to what."""
    changed = [(name, old, new) for name, old, new in zip(names, before, after, strict=True) if old != new]
    return " and ".join(f"{'raise' if new > old else 'lower'} {name} to {new}" for name, old, new in changed)


def _certain(event: bool) -> float:  # noqa: FBT001  # one bare truth value is the whole question
    return 0.0 if event else -math.inf


def _power(log2_odds: float) -> str:
    return "never" if log2_odds == -math.inf else f"2^{log2_odds:.2f}"
