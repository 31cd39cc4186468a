"""One scenario for each Rule: a party breaks it through the public face, and what must follow follows.

A client that meets it says so by name, is closed and wiped, has erased its record and answers nothing more. A server
that meets it says so by name and is as it was: the round then comes to the exact sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from secagg import shamir, wire
from secagg.aggregate import Blame
from secagg.config import RoundConfig, invited_digest, sorted_invited
from secagg.errors import Malformed, MisuseError, RemoteError, Unauthentic, Unexpected, Unrecoverable, Violation
from secagg.identity import MemoryDirectory
from secagg.pairwise.messages import (
    Inbox,
    KeyAdvert,
    MaskedInput,
    Roster,
    SealedShares,
    SurvivorSet,
    SurvivorSignature,
    UnmaskRequest,
    UnmaskShares,
    max_size,
)
from secagg.plan import Plan
from secagg.policy import Policy
from secagg.round.client import ClientRound
from secagg.round.events import Failed, Rejected
from secagg.rules import Rule
from secagg.store import MemoryStore
from secagg.testing.plans import LaxPolicy
from secagg.testing.table import Table
from secagg.types import SERVER, Adversary, Leg
from secagg.wire import Message
from tests.support.liars import LyingClient, LyingServer, box_content
from tests.support.whitebox import round_secrets_of, secrets_in, unwiped

PLAN = Plan.find(clients=5, max_dropped=1, max_corrupt=1)
BITS = 20  # 3 words end inside a byte, so there is padding to spoil
VICTIM, LIAR = 1, 4


def new_table(plan: Plan = PLAN, **changes: object) -> Table:
    inputs = np.random.default_rng(7).integers(0, 1 << BITS, (plan.clients, 3), dtype=np.uint32)
    return Table(plan, inputs, bits=BITS, **changes)  # type: ignore[arg-type]  # Table's own keywords


# What a client refuses.


@dataclass
class Bait:
    """A client about to be told something it must refuse.

    Attributes:
        client: the victim.
        data: what it is told.
        store: its record.
        told: what it answered on the way there.
        names: the peer its error must name; None where the server alone is at fault.
    """

    client: ClientRound
    data: bytes
    store: MemoryStore
    told: list[bytes] = field(default_factory=list)
    names: str | None = None


@dataclass
class Stage:
    """A round against a lying server, played honestly up to where the victim waits for a message."""

    leg: Leg
    plan: Plan = PLAN
    policy: Policy | None = None
    store: MemoryStore = field(default_factory=MemoryStore)
    told: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = new_table(self.plan).names
        self.table = new_table(self.plan, policy=self.policy, stores={names[VICTIM]: self.store})
        self.server = LyingServer(self.table)
        self.liar = LyingClient(self.table, names[LIAR])
        self.victim = names[VICTIM]
        everyone = range(self.plan.clients)
        if self.leg >= Leg.ADVERTISE:
            self._everyone(lambda _: self.server.offer())
        if self.leg >= Leg.SHARE:
            self._everyone(lambda _: self.server.roster())
        if self.leg >= Leg.MASK:
            self._everyone(lambda position: self.server.inbox(position, {*everyone} - {position}))
        if self.leg >= Leg.CONFIRM:
            self._everyone(lambda _: self.server.survivor_set(everyone))

    def _everyone(self, message: Callable[[int], Message]) -> None:
        for position, name in enumerate(self.table.names):
            data = self.server.envelope(name, message(position))
            if name == self.victim:
                self.told.append(data)
            self.server.note_told(position, message(position))
            self.server.hand(name, data)

    def bait(self, data: bytes | Message, *, client: ClientRound | None = None, names: int | None = None) -> Bait:
        """Aim bytes, or a message under a valid tag, at the victim."""
        if isinstance(data, Message):
            data = self.server.envelope(self.victim, data)
        client = client or self.table.clients[self.victim]
        return Bait(client, data, self.store, self.told, None if names is None else self.table.names[names])

    def offer_of(self, config: RoundConfig | bytes, *, digest: bytes | None = None, **changes: object) -> bytes:
        """An offer of another config, its header made to fit."""
        encoded = config.encoded if isinstance(config, RoundConfig) else config
        fields = {"invited": list(self.table.names), "server_key": self.table.server._public} | changes
        offer = type(self.server.offer())(config=encoded, **fields)  # type: ignore[arg-type]  # as named above
        digest = digest or (config.digest if isinstance(config, RoundConfig) else self.table.config.digest)
        return wire.front(offer, config_digest=digest, sender=SERVER)

    def other_client(self, **changes: object) -> ClientRound:
        """The victim, with something about it changed, where it stood: it is told again what it was told."""
        client = self.table.new_client(self.victim, self.store, **changes)
        for data in self.told:
            client.receive(data)
        return client


ClientScenario = Callable[[], Bait]
CLIENT: list[tuple[Rule, ClientScenario]] = []


def client_refuses(rule: Rule) -> Callable[[ClientScenario], ClientScenario]:
    def register(scenario: ClientScenario) -> ClientScenario:
        CLIENT.append((rule, scenario))
        return scenario

    return register
