"""`Table`: a whole round laid out by hand, message by message, stopped wherever a test wants to look.

    table = Table(plan, inputs)
    table.advance(Leg.MASK)                  # everyone did everything up to leg 2's requests
    answers = table.deliver("client-03")     # hand the client its pending message, take its answers
    table.submit("client-03", answers[0])    # hand an answer, changed as you like, to the server

Inputs are ring words, so exactness is tested without any float in the way.
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from secagg.aggregate import Aggregate
from secagg.config import CHUNK_GRAIN, RoundConfig
from secagg.errors import MisuseError
from secagg.identity import Directory, MemoryDirectory
from secagg.plan import Plan
from secagg.policy import Policy
from secagg.primitives.kdf import digest
from secagg.ring import Ring
from secagg.round.client import ClientRound
from secagg.round.events import Event, Failed, Finished, NeedInput, Send
from secagg.round.server import ServerRound
from secagg.store import RoundStore
from secagg.testing.entropy import FixedClientRound, FixedEntropy, FixedServerRound, fixed_identity
from secagg.testing.plans import LaxPolicy
from secagg.types import Leg

Words = npt.NDArray[np.unsignedinteger]


class VectorRecipe:
    """The plainest recipe: a vector of ring words."""

    def __init__(self, *, length: int, bits: int) -> None:
        self.length = length
        self._bits = bits

    @property
    def digest(self) -> bytes:
        """A digest of length and bits."""
        return digest(b"secagg-testing/vector\0", self.length.to_bytes(8, "big"), bytes((self._bits,)))

    def ring(self, plan: Plan) -> Ring:
        """The ring, whatever the plan; a test decides what may wrap."""
        del plan
        return Ring(self._bits)


class VectorInput:
    """Ring words as an input."""

    def __init__(self, words: Words, *, bits: int = 32) -> None:
        self._words = words
        self._ring = Ring(bits)

    @property
    def ring(self) -> Ring:
        """The ring of the words."""
        return self._ring

    @property
    def length(self) -> int:
        """Coordinates in the input."""
        return len(self._words)

    def read(self, start: int, stop: int) -> Words:
        """A fresh copy of a range."""
        return self._words[start:stop].copy()


def client_names(count: int) -> list[str]:
    """Names whose sorted order is their number."""
    return [f"client-{number:04d}" for number in range(count)]


class Table:
    """A server and its clients, and the messages between them that nobody has delivered yet.

    Args:
        plan: the round's plan, certified or not.
        inputs: ring words, shape (clients, length); client i is `client_names(n)[i]`, so i is its position.
        bits: ring bits.
        label: names the fixed entropy; two tables of one label repeat each other exactly.
        policy: every client's floors.
        number: the round's number.
        session: the session's 16 bytes.
        stores: a store for some clients.
        chunk_words: words in each message of a masked input.
        instructions: what every client executes.
        keep_input: whether clients keep their masked input for a repeated request.
    """

    def __init__(
        self,
        plan: Plan,
        inputs: Words,
        *,
        bits: int = 32,
        label: str = "table",
        policy: Policy | None = None,
        number: int = 1,
        session: bytes = bytes(16),
        stores: Mapping[str, RoundStore] | None = None,
        chunk_words: int = CHUNK_GRAIN,
        instructions: bytes = b"",
        keep_input: bool = False,
    ) -> None:
        self.plan = plan
        self.inputs = inputs
        self.label = label
        self.names = client_names(plan.clients)
        self.recipe = VectorRecipe(length=inputs.shape[1], bits=bits)
        self.identities = {name: fixed_identity(name) for name in self.names}
        self.directory: Directory = MemoryDirectory({name: self.identities[name].public for name in self.names})
        self.policy = LaxPolicy() if policy is None else policy
        self.instructions = instructions
        self.keep_input = keep_input
        self.config = RoundConfig.create(
            session=session,
            round=number,
            plan=plan,
            invited=self.names,
            recipe=self.recipe,
            instructions=instructions,
            chunk_words=chunk_words,
        )
        self.server: ServerRound = FixedServerRound(
            self.config, invited=self.names, directory=self.directory, entropy=FixedEntropy(f"{label}/server")
        )
        stores = stores or {}
        self.clients: dict[str, ClientRound] = {name: self.new_client(name, stores.get(name)) for name in self.names}
        self.pending: dict[str, list[bytes]] = collections.defaultdict(list)
        self.failures: dict[str, Failed] = {}
        self.outcome: Finished | Failed | None = None

    def new_client(self, name: str, store: RoundStore | None = None, **changes: object) -> FixedClientRound:
        """A fresh round object for a client, with some arguments changed."""
        arguments: dict[str, object] = {
            "client": name,
            "identity": self.identities[name],
            "directory": self.directory,
            "recipe": self.recipe,
            "instructions": self.instructions,
            "policy": self.policy,
            "store": store,
            "keep_input": self.keep_input,
        }
        return FixedClientRound(entropy=FixedEntropy(f"{self.label}/{name}"), **(arguments | changes))

    def input_of(self, name: str) -> VectorInput:
        """A client's input."""
        return VectorInput(self.inputs[self.names.index(name)], bits=self.config.ring_bits)

    # By hand.

    def start(self) -> None:
        """Lay out the offers."""
        self._lay_out(self.server.start())

    def deliver(self, name: str) -> list[bytes]:
        """Hand a client everything that is pending for it, its input where it asks, and return what it answers."""
        answers: list[bytes] = []
        for data in self.pending.pop(name, []):
            answers += self.hand(name, data)
        return answers

    def hand(self, name: str, data: bytes) -> list[bytes]:
        """Hand a client one message, whoever wrote it."""
        client = self.clients[name]
        events = client.receive(data)
        if any(isinstance(event, NeedInput) for event in events):
            events = client.provide(self.input_of(name))
        for event in events:
            if isinstance(event, Failed):
                self.failures[name] = event
        return [bytes(event.data) for event in events if isinstance(event, Send)]

    def submit(self, name: str, data: bytes) -> tuple[Event, ...]:
        """Hand the server one message of a client."""
        return self.server.receive(name, data)

    def close(self) -> None:
        """Close the server's leg and lay out what it sends."""
        self._lay_out(self.server.close_leg())

    # By rote.

    def play_leg(self, silent: Iterable[str] = ()) -> None:
        """Let every client but the silent ones answer what is pending, then close the leg."""
        gone = set(silent)
        for name in self.names:
            if name in gone:
                self.pending.pop(name, None)
                continue
            for answer in self.deliver(name):
                self.submit(name, answer)
        self.close()

    def advance(self, leg: Leg, silent: Mapping[Leg, Iterable[str]] | None = None) -> None:
        """Play until the server collects `leg`, its requests pending; `silent` says who drops before which leg."""
        if self.server.leg is Leg.ADVERTISE and not self.pending and self.server.outcome is None:
            self.start()
        gone: set[str] = set()
        while self.server.leg < leg and self.outcome is None:
            gone |= set((silent or {}).get(self.server.leg, ()))
            self.play_leg(gone)

    def finish(self, silent: Mapping[Leg, Iterable[str]] | None = None) -> Aggregate:
        """Play to the end and return the aggregate.

        Raises:
            RoundAborted: the round failed.
        """
        self.advance(Leg.UNMASK, silent)
        if self.outcome is None and not self.server.ready:
            gone = {name for leg, names in (silent or {}).items() for name in names if leg <= Leg.UNMASK}
            self.play_leg(gone)
        if self.outcome is None:
            self._lay_out(self.server.recover())
        if isinstance(self.outcome, Failed):
            raise self.outcome.error
        if self.outcome is None or self.outcome.aggregate is None:
            raise MisuseError("the round did not end")
        return self.outcome.aggregate

    def expected(self, names: Iterable[str]) -> npt.NDArray[np.int64]:
        """The exact centered sum of some clients' inputs, in plain Python integers."""
        bits = self.config.ring_bits
        rows = [self.inputs[self.names.index(name)].tolist() for name in names]
        sums = [sum(column) % (1 << bits) for column in zip(*rows, strict=True)]
        half = 1 << (bits - 1)
        return np.asarray([value - (1 << bits) if value >= half else value for value in sums], dtype=np.int64)

    def _lay_out(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Send) and event.to is not None:
                self.pending[event.to].append(bytes(event.data))
            elif isinstance(event, Finished | Failed):
                self.outcome = event
