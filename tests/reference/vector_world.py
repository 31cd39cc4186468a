"""A round of oracle parties whose every secret follows from a label, played as far as a vector needs.

    world = World("an example", clients=4, dropped=1)
    world.play(oracle.SHARES, hold={3})              # everyone has shared; what client 3 said has not been handed in
    world.tell(1, world.server.says(1, ...))         # from here on a client hears what suits us

Imports the oracle and the standard library.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

from tests.reference import protocol_oracle as oracle

Case = dict[str, Any]

VICTIM, LIAR = 1, 3
EVERYONE: Final = frozenset(range(4))
FIELD_PRIME: Final = 2**255 - 19
LOW_ORDER: Final = tuple(
    value.to_bytes(32, "little")
    for value in (
        0,
        1,
        FIELD_PRIME - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
)
"""The u-coordinates of order 1, 2, 4 and 8 on the curve and its twist."""


def entropy(label: str, count: int = 32) -> bytes:
    """Bytes that follow from a label."""
    return hashlib.shake_256(b"secagg vectors|" + label.encode()).digest(count)


def ascii_hex(value: object) -> str:
    """Bytes as JSON has them."""
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"a vector holds no {type(value).__name__}")


def numbers(words: Iterable[int]) -> list[str]:
    """Ring words and sums as decimal texts: not every language's JSON has 64-bit numbers."""
    return [str(word) for word in words]


def case(name: str, kind: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Case:
    """A case that must come out as it says."""
    return {"name": name, "kind": kind, "inputs": dict(inputs), "outputs": dict(outputs)}


def bad(name: str, kind: str, rule: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> Case:
    """A case that must come out as it says, and trip a rule."""
    return {"name": name, "kind": kind, "rule": rule, "inputs": dict(inputs), "outputs": dict(outputs)}


def raw(kind: int, digest: bytes, sender: int, packed: bytes, tail: bytes = b"") -> bytes:
    """A message whose body is any bytes."""
    data = b"SAG2" + bytes([kind]) + digest + oracle.u32(sender) + oracle.u32(len(packed)) + packed
    return data + bytes(-len(data) % 8) + tail


def body_end(data: bytes) -> int:
    """Where the gap of a message begins."""
    return 45 + int.from_bytes(data[41:45], "big")


def taking_in_the_gap(data: bytes) -> bytes:
    """A message whose body is said to be a byte longer than it is."""
    return data[:41] + oracle.u32(body_end(data) - 45 + 1) + data[45:]


class World:
    """Oracle parties and what they said.

    Args:
        label: every secret follows from it.
        clients: n.
        dropped: d.
        corrupt: m.
        bits: b.
        length: words of an input.
        degree: k, for a k-regular graph that nobody certified; the complete graph unless given.
        threshold: t; the smallest safe one unless given.
        quorum: 0 for a semi-honest round; the smallest safe one unless given.
        silent: kind of answer -> who falls silent before it.
        number: the round.

    Attributes:
        log: (sender, receiver, message) in the order things were said; the server is -1.
        told: position -> the messages a client took; `said` -> its answers to each.
        events: what the server took, and None where it closed a leg.
        held: position -> answers that were not handed in.
    """

    def __init__(
        self,
        label: str,
        *,
        clients: int,
        dropped: int,
        corrupt: int = 0,
        bits: int = 20,
        length: int = 3,
        degree: int | None = None,
        threshold: int | None = None,
        quorum: int | None = None,
        silent: Mapping[int, Collection[int]] | None = None,
        number: int = 1,
    ) -> None:
        majority = (clients + corrupt) // 2 + 1
        self.certified = degree is None
        self.silent = dict(silent or {})
        self.names = [f"client-{position}" for position in range(clients)]
        semi_honest = quorum == 0 or degree is not None
        self.config = oracle.Config(
            version=1,
            suite=2,
            session=entropy(f"{label}: session", 16),
            round=number,
            clients=clients,
            max_dropped=dropped,
            max_corrupt=corrupt,
            adversary="semi-honest" if semi_honest else "active",
            degree=clients - 1 if degree is None else degree,
            threshold=max(2, majority) if threshold is None else threshold,
            quorum=0 if semi_honest else majority,
            security_bits=40,
            correctness_bits=30,
            invited_digest=oracle.digest("hash/invited", *(name.encode() for name in self.names)),
            recipe_digest=entropy(f"{label}: recipe"),
            instructions_digest=oracle.digest("hash/instructions", label.encode()),
            ring_bits=bits,
            length=length,
            chunk_words=2**16,
        )
        self.label = label
        self.server = oracle.Server(self.config, names=self.names, private=entropy(f"{label}: server"))
        self.clients = [self._client(position) for position in range(clients)]
        self.log: list[tuple[int, int, bytes]] = []
        self.told: dict[int, list[bytes]] = {position: [] for position in range(clients)}
        self.said: dict[int, list[list[bytes]]] = {position: [] for position in range(clients)}
        self.events: list[tuple[int, bytes] | None] = []
        self.held: dict[int, list[bytes]] = {}
        self.stage = 0

    def _client(self, position: int) -> oracle.Client:
        bits, length = self.config.ring_bits, self.config.length
        return oracle.Client(
            name=self.names[position],
            seed=entropy(f"identity of {self.names[position]}"),
            root=entropy(f"{self.label}: root {position}"),
            words=oracle.fields_of(entropy(f"{self.label}: input {position}", 8 * length), bits, length),
        )

    @property
    def directory(self) -> dict[str, bytes]:
        """Name -> pinned identity."""
        return {client.name: oracle.identity_key(client.seed) for client in self.clients}

    def play(self, kind: int, *, hold: Collection[int] = ()) -> None:
        """Be honest until every client has answered with a message of this kind, and do not close the leg.

        Args:
            kind: ADVERT, SHARES, INPUT, CONFIRM or UNMASK.
            hold: whose answers of that kind are kept in `held` instead.
        """
        while self.stage < kind:
            sends = self._open()
            for position, messages in sends.items():
                self.log += [(-1, position, data) for data in messages]
            for position, messages in sends.items():
                if any(position in gone for silent, gone in self.silent.items() if silent <= self.stage):
                    continue
                answers = [answer for data in messages for answer in self.tell(position, data)]
                if self.stage == kind and position in hold:
                    self.held[position] = answers
                else:
                    self.submit(position, answers)

    def _open(self) -> dict[int, list[bytes]]:
        if self.stage == 0:
            sends = self.server.start()
        else:
            sends = self.server.close()
            self.events.append(None)
        self.stage = self.server.leg
        return sends

    def tell(self, position: int, data: bytes) -> list[bytes]:
        """Hand a client a message, whoever wrote it, and return its answers."""
        answers = self.clients[position].receive(data)
        self.told[position].append(data)
        self.said[position].append(answers)
        return answers

    def submit(self, position: int, answers: Sequence[bytes]) -> None:
        """Hand the server a client's answers."""
        for data in answers:
            self.server.receive(position, data)
            self.log.append((position, -1, data))
            self.events.append((position, data))
