"""The conformance kit: what a framework runs against its transport, and anybody against their own masks and shares.

    @pytest.mark.parametrize("check", TRANSPORT_CHECKS)
    def test_my_transport(check: str) -> None:
        assert check_transport(MyNetwork, check) == ()

Promise: a check returns what it found wrong, each as a sentence, and nothing where nothing is wrong. It takes other
people's code as plain callables, so it holds any implementation, and it draws nothing at random: a finding comes back.

A transport is held to docs/protocol.md's needs only: messages arrive unchanged, in the order one party sent them, named
for who sent them. That it may lose, repeat or delay them is the protocol's concern, and the rounds played here do all
of it. Vectors for whole implementations are in `secagg.testing.vectors`; docs/conformance.md has examples of both.

Imports numpy and secagg; no clock and no thread.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from secagg.config import CHUNK_GRAIN
from secagg.errors import ConfigError, RoundAborted
from secagg.plan import Plan
from secagg.ring import Ring
from secagg.round.events import Failed, Send
from secagg.rules import Rule
from secagg.testing.table import Table, client_names
from secagg.types import ClientId, Leg


@dataclass(frozen=True)
class Finding:
    """Something that is not as it must be.

    Attributes:
        check: the check that found it.
        detail: what it found.
    """

    check: str
    detail: str

    def __str__(self) -> str:
        return f"{self.check}: {self.detail}"


# Transports.


class ServerEnd(Protocol):
    """The server's end of a network; `protocols.transport.ServerTransport` is one."""

    def send(self, client: ClientId, data: bytes) -> None:
        """Deliver without waiting for the client to read."""
        ...

    def receive(self, timeout: float) -> tuple[str, bytes] | None:
        """Return the next (sender, message), the sender as authenticated; None after `timeout` seconds of nothing."""
        ...


class ClientEnd(Protocol):
    """A client's end of a network; `protocols.transport.ClientTransport` is one."""

    def send(self, data: bytes) -> None:
        """Deliver to the server, without waiting for it to read."""
        ...

    def receive(self, timeout: float) -> bytes | None:
        """Return the server's next message; None after `timeout` seconds of nothing."""
        ...


class Network(Protocol):
    """A transport between one server and some clients; `protocols.transport.MemoryNetwork` is one."""

    @property
    def server(self) -> ServerEnd:
        """The server's end."""
        ...

    def client(self, name: str) -> ClientEnd:
        """A client's end; the same one each time, or another view of it."""
        ...


MakeNetwork = Callable[[Sequence[str]], Network]
"""`make(names)` returns a fresh network between a server and the clients of these names."""

SIZES: Final = (0, 1, 45, 1_000, 65_536, 1_000_000)
"""Bytes of the messages a network is tried with: none, one, a header, and more than one packet or buffer holds."""


def check_transport(make: MakeNetwork, check: str | None = None, *, patience: float = 1.0) -> tuple[Finding, ...]:
    """Hold a transport to what a round needs of it.

    Args:
        make: builds a fresh network.
        check: one of TRANSPORT_CHECKS; all of them unless given.
        patience: seconds after which a message that has not arrived is lost.

    Returns:
        What is wrong with it; nothing where it conforms.

    Raises:
        ConfigError: there is no such check.
    """
    if check is not None and check not in TRANSPORT_CHECKS:
        raise ConfigError(f"check={check!r:.40} must be one of {', '.join(TRANSPORT_CHECKS)}")
    chosen = TRANSPORT_CHECKS if check is None else (check,)
    return tuple(Finding(name, detail) for name in chosen for detail in _CHECKS[name](make, patience))


def _pattern(label: str, size: int) -> bytes:
    """Bytes in which every value stands, the same for the same label."""
    return hashlib.shake_256(label.encode()).digest(size)


def _up(make: MakeNetwork, patience: float) -> Iterator[str]:
    names = client_names(3)
    network = make(names)
    for size, name in itertools.product(SIZES, names):
        data = _pattern(f"{name} {size}", size)
        network.client(name).send(data)
        arrived = network.server.receive(patience)
        if arrived is None:
            yield f"{size} bytes of {name} never reached the server"
        elif arrived[0] != name:
            yield f"a message of {name} came in the name of {arrived[0]}"
        elif bytes(arrived[1]) != data:
            yield f"{size} bytes of {name} came to the server changed, as {len(arrived[1])} bytes"


def _down(make: MakeNetwork, patience: float) -> Iterator[str]:
    names = client_names(3)
    network = make(names)
    for size in SIZES:
        sent = {name: _pattern(f"to {name} {size}", size) for name in names}
        for name, data in sent.items():
            network.server.send(ClientId(name), data)
        for name, data in sent.items():
            arrived = network.client(name).receive(patience)
            if arrived is None:
                yield f"{size} bytes never reached {name}"
            elif bytes(arrived) != data:
                others = [other for other in names if bytes(arrived) == sent[other] and size > 1]
                yield f"{name} received {'what was for ' + others[0] if others else f'{size} bytes changed'}"


def _order(make: MakeNetwork, patience: float) -> Iterator[str]:
    names = client_names(2)
    network = make(names)
    numbered = [bytes([number]) * (1 + 997 * (number % 3)) for number in range(30)]
    for data, name in itertools.product(numbered, names):
        network.client(name).send(data)
        network.server.send(ClientId(name), data)
    arrived: dict[str, list[bytes]] = {name: [] for name in names}
    for _ in range(len(numbered) * len(names)):
        if (message := network.server.receive(patience)) is not None:
            arrived.setdefault(message[0], []).append(bytes(message[1]))
    for name in names:
        down = [network.client(name).receive(patience) for _ in numbered]
        if arrived[name] != numbered:
            yield f"what {name} sent did not reach the server in its order; chunks of an input must"
        if [None if data is None else bytes(data) for data in down] != numbered:
            yield f"what the server sent did not reach {name} in its order"


@dataclass(frozen=True, kw_only=True)
class _Weather:
    """What goes wrong in a round, by the kit's own hand: nothing of it may change the sum of the survivors."""

    silent: Mapping[Leg, Collection[int]] = field(default_factory=dict)
    late: Mapping[Leg, int] = field(default_factory=dict)
    twice: bool = False
    backwards: bool = False
    length: int = 40


class _Round:
    """A whole round of five clients over a network."""

    def __init__(self, make: MakeNetwork, weather: _Weather, patience: float) -> None:
        plan = Plan.find(clients=5, max_dropped=2, max_corrupt=0)
        bits = 20
        words = np.frombuffer(_pattern("inputs", 4 * 5 * weather.length), dtype="<u4").reshape(5, -1)
        inputs = (words & np.uint32(Ring(bits).modulus - 1)).astype(np.uint32)
        self.table = Table(plan, inputs, bits=bits, label="conformance", keep_input=True)
        self.network = make(self.table.names)
        self.weather = weather
        self.patience = patience
        self.lost: list[str] = []

    def findings(self) -> Iterator[str]:
        """Play the round and say what is wrong with how it ended."""
        server, table = self.table.server, self.table
        self._send(server.start())
        stragglers: list[tuple[str, bytes]] = []
        while not server.ready and server.outcome is None:
            leg = server.leg
            answers = self._answers(leg)
            held = table.names[self.weather.late[leg]] if leg in self.weather.late else None
            for name, data in stragglers + [answer for answer in answers if answer[0] != held]:
                self.network.client(name).send(data)
            self._collect(len(stragglers) + sum(name != held for name, _ in answers))
            stragglers = [answer for answer in answers if answer[0] == held]
            self._send(server.close_leg())
        if server.ready:
            server.recover()
        yield from self.lost
        yield from self._verdict()

    def _send(self, events: Sequence[object]) -> None:
        self.asked: dict[str, int] = {}
        for event in events:
            if isinstance(event, Send) and event.to is not None:
                for _ in range(1 + self.weather.twice):
                    self.network.server.send(event.to, bytes(event.data))
                    self.asked[event.to] = self.asked.get(event.to, 0) + 1

    def _answers(self, leg: Leg) -> list[tuple[str, bytes]]:
        """What every client that has not fallen silent says to what it was sent."""
        gone = {position for silent, who in self.weather.silent.items() if silent <= leg for position in who}
        answers: list[tuple[str, bytes]] = []
        for name, count in self.asked.items():
            end = self.network.client(name)
            for _ in range(count):
                data = end.receive(self.patience)
                if data is None:
                    self.lost.append(f"a message to {name} was lost at leg {leg.name.lower()}")
                elif self.table.names.index(name) not in gone:
                    answers += [(name, answer) for answer in self._answer(name, bytes(data))]
        turned = sorted(answers, key=lambda answer: answer[0], reverse=True)  # a client's own answers stay in order
        return turned if self.weather.backwards else answers

    def _answer(self, name: str, data: bytes) -> list[bytes]:
        return [] if name in self.table.failures else self.table.hand(name, data)

    def _collect(self, count: int) -> None:
        for _ in range(count):
            arrived = self.network.server.receive(self.patience)
            if arrived is None:
                self.lost.append("an answer to the server was lost")
                return
            self.table.submit(arrived[0], bytes(arrived[1]))

    def _verdict(self) -> Iterator[str]:
        table, outcome = self.table, self.table.server.outcome
        for name, failed in table.failures.items():
            yield f"{name} left the round: {failed.error}"
        harmless = {Rule.WIRE_ORDER}  # what is repeated or late is one message too many, and no more than that
        for rejected in table.server.rejected:
            if rejected.error.rule not in harmless or not (self.weather.twice or self.weather.late):
                yield f"the server refused a message: {rejected.error}"
        if isinstance(outcome, Failed):
            reason = outcome.error if isinstance(outcome.error, RoundAborted) else type(outcome.error).__name__
            yield f"the round came to no sum: {reason}"
        elif outcome is not None and outcome.aggregate is not None:
            missing = {p for leg, who in self.weather.silent.items() if leg <= Leg.MASK for p in who}
            missing |= {position for leg, position in self.weather.late.items() if leg <= Leg.MASK}
            expected = tuple(name for position, name in enumerate(table.names) if position not in missing)
            if outcome.aggregate.survivors != expected:
                yield f"{len(outcome.aggregate.survivors)} inputs count, of {len(expected)} that were sent in time"
            elif outcome.aggregate.values.tolist() != table.expected(expected).tolist():
                yield "the sum is not that of the survivors"


def _playing(**weather: object) -> Callable[[MakeNetwork, float], Iterator[str]]:
    def check(make: MakeNetwork, patience: float) -> Iterator[str]:
        return _Round(make, _Weather(**weather), patience).findings()  # type: ignore[arg-type]  # the fields of _Weather

    return check


_CHECKS: Final[Mapping[str, Callable[[MakeNetwork, float], Iterator[str]]]] = {
    "messages reach the server unchanged and under their sender's name": _up,
    "messages reach their client unchanged": _down,
    "messages of one party keep their order": _order,
    "a round in which everyone answers": _playing(),
    "a round of inputs in two chunks": _playing(length=CHUNK_GRAIN + 3),
    "a round in which one never joins": _playing(silent={Leg.ADVERTISE: {1}}),
    "a round in which two drop out after sharing": _playing(silent={Leg.MASK: {0, 3}}),
    "a round in which two drop out at the end": _playing(silent={Leg.CONFIRM: {4}, Leg.UNMASK: {2}}),
    "a round in which everything is said twice": _playing(twice=True),
    "a round in which answers come the other way round": _playing(backwards=True),
    "a round in which an input comes late": _playing(late={Leg.MASK: 2}),
    "a round in which a confirmation comes late": _playing(late={Leg.CONFIRM: 0}),
}

TRANSPORT_CHECKS: Final = tuple(_CHECKS)
"""What `check_transport` looks at, for a parametrized test."""


# Masks and shares, of any implementation.

PairMask = Callable[[int, int], Sequence[int]]
"""`pair_mask(position, peer)` returns the words that the client at `position` puts in for `peer`, its sign included."""


def check_masks_cancel(pair_mask: PairMask, *, clients: int, bits: int) -> tuple[Finding, ...]:
    """Hold somebody's pairwise masks to what makes a sum come out, and hides what is in it.

    For every pair the two masks sum to zero modulo 2**bits, coordinate by coordinate: then they do in the sum of any
    survivors. No mask is zero, no two pairs share one, asking again gives the same, and every word is in the ring.

    Args:
        pair_mask: the masks; of at least 128 bits in all, so that two that are alike are no accident.
        clients: positions 0 to clients - 1, at least 2.
        bits: of the ring.

    Raises:
        ConfigError: there is nothing to compare.
    """
    words = {
        (one, other): [int(word) for word in pair_mask(one, other)]
        for one, other in itertools.permutations(range(clients), 2)
    }
    if not words or min(len(mask) for mask in words.values()) * bits < 128:
        raise ConfigError(f"clients={clients} must be at least 2, and masks of {bits} bits at least 128 bits long")
    return tuple(Finding("masks cancel", detail) for detail in _about_masks(words, pair_mask, 1 << bits))


def _about_masks(words: Mapping[tuple[int, int], list[int]], pair_mask: PairMask, modulus: int) -> Iterator[str]:
    seen: dict[tuple[int, ...], tuple[int, int]] = {}
    for (one, other), mask in words.items():
        if not all(0 <= word < modulus for word in mask):
            yield f"the mask of {one} towards {other} has a word outside the ring"
        if not any(mask):
            yield f"the mask of {one} towards {other} hides nothing: it is zero"
        if [int(word) for word in pair_mask(one, other)] != mask:
            yield f"the mask of {one} towards {other} is another one when it is asked for again"
        if one < other:
            back = words[other, one]
            if len(back) != len(mask) or any((a + b) % modulus for a, b in zip(mask, back, strict=True)):
                yield f"the masks of {one} and {other} do not cancel"
            alike = seen.setdefault(min(tuple(mask), tuple(-word % modulus for word in mask)), (one, other))
            if alike != (one, other):
                yield f"{one} and {other} have the mask of {alike[0]} and {alike[1]}: taking one off takes off both"


Split = Callable[[bytes, int, int], Sequence[bytes]]
"""`split(secret, threshold, holders)` returns one share a holder."""
Recover = Callable[[Mapping[int, bytes], int], bytes | None]
"""`recover(shares, threshold)` returns the secret behind shares by holder, counted from 0, or None."""


def check_sharing(split: Split, recover: Recover, *, threshold: int = 3, holders: int = 5) -> tuple[Finding, ...]:
    """Hold somebody's sharing of 16-byte secrets to: any threshold of shares give the secret, and fewer do not.

    Args:
        split: deals; a second deal of the same secret must be another one.
        recover: rebuilds; from too few shares it may return anything but the secret.
        threshold: t, at least 2.
        holders: how many are dealt to, at least t.

    Raises:
        ConfigError: the numbers do not fit each other.
    """
    if not 2 <= threshold <= holders:
        raise ConfigError(f"threshold={threshold} must be from 2 to holders={holders}")
    return tuple(Finding("sharing", detail) for detail in _about_shares(split, recover, threshold, holders))


def _about_shares(split: Split, recover: Recover, threshold: int, holders: int) -> Iterator[str]:
    for name, secret in (("zeros", bytes(16)), ("ones", b"\xff" * 16), ("a secret", _pattern("a secret", 16))):
        shares = dict(enumerate(split(secret, threshold, holders)))
        if len(shares) != holders:
            yield f"{holders} holders were dealt {len(shares)} shares"
            return
        if shares == dict(enumerate(split(secret, threshold, holders))):
            yield f"two deals of {name} are the same: the coefficients are not drawn"
        for count in range(1, holders + 1):
            for chosen in itertools.combinations(range(holders), count):
                opened = recover({holder: shares[holder] for holder in chosen}, threshold) == secret
                if opened != (count >= threshold):
                    verb = "give" if opened else "do not give"
                    yield f"shares {list(chosen)} {verb} {name}, with a threshold of {threshold}"
