"""A phase answers once: our own mistake leaves it unspent, another's fault spends and wipes it, nothing copies it."""

from __future__ import annotations

import copy
import functools
import gc
import pickle
from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from secagg.errors import (
    ConfigError,
    InputError,
    Malformed,
    MisuseError,
    PhaseConsumed,
    StorageError,
    TooFewClients,
    Unauthentic,
    Unexpected,
    Violation,
)
from secagg.pairwise import client, server
from secagg.pairwise.messages import Inbox, Roster, SurvivorSet, UnmaskRequest
from secagg.pairwise.phase import Phase
from secagg.plan import Plan
from secagg.primitives.secret import Secret
from secagg.rules import Rule
from secagg.testing.table import Table
from secagg.types import Leg

PLAN: Final = Plan.find(clients=5, max_dropped=1, max_corrupt=0)
CLIENT_PHASES: Final = (
    client.AwaitingRoster,
    client.AwaitingInbox,
    client.AwaitingInput,
    client.AwaitingSurvivors,
    client.AwaitingUnmask,
)
SERVER_PHASES: Final = (
    server.CollectingAdverts,
    server.CollectingShares,
    server.CollectingInputs,
    server.CollectingSignatures,
    server.CollectingUnmaskShares,
)


class Locked(Phase):
    """The smallest phase: one secret, one answer."""

    __slots__ = ("_secret", "_witness")

    def __init__(self, secret: Secret, witness: list[str]) -> None:
        super().__init__()
        self._secret = secret
        self._witness = witness

    def answer(self, fault: BaseException | None = None) -> bytes:
        with self._answering():
            if fault is not None:
                raise fault
            return self._secret.reveal()

    def _wipe(self) -> None:
        self._witness.append("wiped")
        self._secret.wipe()


@pytest.fixture
def witness() -> list[str]:
    return []


@pytest.fixture
def phase(witness: list[str]) -> Locked:
    return Locked(Secret(b"sesame"), witness)


# The base.


def test_a_phase_answers_once(phase: Locked, witness: list[str]) -> None:
    assert phase.answer() == b"sesame"
    for _ in range(2):
        with pytest.raises(PhaseConsumed, match="Locked was used already"):
            phase.answer()
    with pytest.raises(PhaseConsumed):
        _ = phase._secret
    assert not hasattr(phase, "a_name_it_never_had")
    assert not witness  # what was handed on must not be wiped


OURS: Final = (MisuseError("ours"), ConfigError("ours"), InputError("ours"))
THEIRS: Final = (
    Malformed(Rule.WIRE_FORMAT),
    Unexpected(Rule.WIRE_ORDER, expected="this", got="that"),
    Unauthentic(Rule.WIRE_TAG),
    Violation(Rule.SURVIVORS_INBOX),
    TooFewClients(Leg.MASK, got=1, need=2),
    StorageError("a full disk"),
    KeyboardInterrupt(),
    MemoryError(),
    KeyError("a bug"),
)


@pytest.mark.parametrize("fault", OURS, ids=lambda fault: type(fault).__name__)
def test_our_own_mistake_leaves_a_phase_unspent(phase: Locked, witness: list[str], fault: Exception) -> None:
    for _ in range(2):
        with pytest.raises(type(fault)):
            phase.answer(fault)
    assert not witness
    assert phase.answer() == b"sesame"


@pytest.mark.parametrize("fault", THEIRS, ids=lambda fault: type(fault).__name__)
def test_anything_else_spends_and_wipes_it(phase: Locked, witness: list[str], fault: BaseException) -> None:
    secret = phase._secret
    with pytest.raises(type(fault)):
        phase.answer(fault)
    assert witness == ["wiped"]
    with pytest.raises(MisuseError, match="wiped"):
        secret.reveal()
    with pytest.raises(PhaseConsumed):
        phase.answer()
    assert witness == ["wiped"]


def test_an_abandoned_phase_is_wiped_once(phase: Locked, witness: list[str]) -> None:
    phase.abandon()
    phase.abandon()
    assert witness == ["wiped"]
    with pytest.raises(PhaseConsumed):
        phase.answer()


def test_a_spent_phase_has_nothing_left_to_abandon(phase: Locked, witness: list[str]) -> None:
    phase.answer()
    phase.abandon()
    assert not witness


def test_a_phase_shows_its_name_and_whether_it_is_spent(phase: Locked) -> None:
    assert repr(phase) == "<Locked>"
    phase.answer()
    assert repr(phase) == "<Locked (spent)>"


COPIERS: dict[str, Callable[[Phase], Any]] = {"copy": copy.copy, "deepcopy": copy.deepcopy} | {
    f"pickle {protocol}": functools.partial(pickle.dumps, protocol=protocol) for protocol in range(6)
}


@pytest.mark.parametrize("copier", COPIERS.values(), ids=COPIERS)
def test_a_phase_is_never_copied_or_pickled(phase: Locked, copier: Callable[[Phase], Any]) -> None:
    with pytest.raises(MisuseError, match="never pickled or copied"):
        copier(phase)
    phase.abandon()
    with pytest.raises(MisuseError):
        copier(phase)


# The phases of a round.


def test_every_phase_keeps_all_it_has_in_slots_it_clears() -> None:
    for kind in (*CLIENT_PHASES, *SERVER_PHASES):
        assert kind.__bases__ == (Phase,)  # `_clear` empties the slots of the class itself
        assert "__dict__" not in dir(kind)
        assert kind.__slots__


def dealt() -> Table:
    return Table(PLAN, np.arange(5 * 9, dtype=np.uint32).reshape(5, 9))


@pytest.fixture(scope="module")
def spent() -> dict[type[Phase], Phase]:
    """One phase of each kind of a client's and the server's round, each used up by the round itself."""
    table = dealt()
    found: dict[type[Phase], Phase] = {}

    def look() -> None:
        for phase in (table.clients["client-0002"]._phase, table.server._phase):
            if phase is not None:
                found[type(phase)] = phase

    table.start()
    look()
    while table.outcome is None and not table.server.ready:
        for name in table.names:
            for data in table.pending.pop(name, []):
                events = table.clients[name].receive(data)
                look()  # an opened inbox waits for its input here
                if table.server.leg is Leg.MASK:
                    events = table.clients[name].provide(table.input_of(name))
                for event in events:
                    if sent := getattr(event, "data", b""):
                        table.submit(name, bytes(sent))
        look()
        table.close()
    return found


def test_a_round_goes_through_every_phase(spent: dict[type[Phase], Phase]) -> None:
    assert set(spent) == {*CLIENT_PHASES, *SERVER_PHASES}


ADVERTS = Roster(joined=b"", adverts=[])
USES: Final[dict[type[Phase], dict[str, Callable[[Any], object]]]] = {
    client.AwaitingRoster: {"share": lambda phase: phase.share(ADVERTS)},
    client.AwaitingInbox: {"open": lambda phase: phase.open(Inbox(senders=b"", boxes=b""))},
    client.AwaitingInput: {
        "mask": lambda phase: phase.mask(None, fronts=[]),
        "stream": lambda phase: phase.stream(None, fronts=[]),
        "skip": lambda phase: phase.skip(),
        "unopened": lambda phase: phase.unopened,
    },
    client.AwaitingSurvivors: {"confirm": lambda phase: phase.confirm(SurvivorSet(survivors=b""))},
    client.AwaitingUnmask: {
        "unmask": lambda phase: phase.unmask(UnmaskRequest(signers=b"", signatures=b"")),
        "survivors": lambda phase: phase.survivors,
    },
    server.CollectingAdverts: {
        "receive": lambda phase: phase.receive(0, None),
        "close": lambda phase: phase.close(),
        "missing": lambda phase: phase.missing,
    },
    server.CollectingShares: {
        "receive": lambda phase: phase.receive(0, None),
        "close": lambda phase: phase.close(),
        "missing": lambda phase: phase.missing,
        "box_endpoint": lambda phase: phase.box_endpoint(0),
    },
    server.CollectingInputs: {
        "receive": lambda phase: phase.receive(0, None, b"", None),
        "close": lambda phase: phase.close(),
        "missing": lambda phase: phase.missing,
    },
    server.CollectingSignatures: {
        "receive": lambda phase: phase.receive(0, None),
        "close": lambda phase: phase.close(),
        "missing": lambda phase: phase.missing,
        "survivors": lambda phase: phase.survivors,
    },
    server.CollectingUnmaskShares: {
        "receive": lambda phase: phase.receive(0, None),
        "close": lambda phase: phase.close(),
        "missing": lambda phase: phase.missing,
        "asked": lambda phase: phase.asked,
    },
}


def test_every_public_name_of_a_phase_is_tried_here() -> None:
    for kind, uses in USES.items():
        public = {name for name in vars(kind) if not name.startswith("_")}
        assert public == set(uses), kind.__name__


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, uses in USES.items() for name in uses])
def test_a_spent_phase_of_a_round_cannot_be_used_again(
    spent: dict[type[Phase], Phase], kind: type[Phase], name: str
) -> None:
    with pytest.raises(PhaseConsumed, match=kind.__name__):
        USES[kind][name](spent[kind])


def phase_at(table: Table, leg: Leg) -> Any:
    """A client's phase before it answers a leg; the leg says which one it is."""
    table.advance(leg)
    return table.clients["client-0002"]._phase


def held_secrets(*roots: object) -> list[Secret]:
    """Every secret of the round that these objects hold, but not the identity's."""
    found: list[Secret] = []
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        thing = stack.pop()
        if id(thing) in seen or isinstance(thing, type) or type(thing).__name__ == "Identity":
            continue
        seen.add(id(thing))
        if isinstance(thing, Secret):
            found.append(thing)
        elif isinstance(thing, dict | list | tuple | Phase | client.Held) or hasattr(thing, "__slots__"):
            stack += gc.get_referents(thing)
    return found


@pytest.mark.parametrize("leg", [Leg.SHARE, Leg.MASK, Leg.CONFIRM, Leg.UNMASK])
def test_a_fault_of_the_server_wipes_every_secret_of_the_phase(leg: Leg) -> None:
    table = dealt()
    phase = phase_at(table, leg)
    secrets = held_secrets(phase)
    assert secrets
    assert all(any(secret.reveal()) for secret in secrets)
    bad: dict[Leg, Callable[[], object]] = {
        Leg.SHARE: lambda: phase.share(ADVERTS),
        Leg.MASK: lambda: phase.open(Inbox(senders=b"\0", boxes=b"")),
        Leg.CONFIRM: lambda: phase.confirm(SurvivorSet(survivors=b"\0")),
        Leg.UNMASK: lambda: phase.unmask(UnmaskRequest(signers=b"\0", signatures=b"")),
    }
    with pytest.raises((Malformed, Violation)):
        bad[leg]()
    for secret in secrets:
        with pytest.raises(MisuseError, match="wiped"):
            secret.reveal()


@pytest.mark.parametrize("leg", [Leg.SHARE, Leg.MASK, Leg.CONFIRM, Leg.UNMASK])
def test_leaving_wipes_every_secret_of_the_phase(leg: Leg) -> None:
    table = dealt()
    phase = phase_at(table, leg)
    secrets = held_secrets(phase)
    table.clients["client-0002"].abort()
    for secret in secrets:
        with pytest.raises(MisuseError, match="wiped"):
            secret.reveal()


def test_private_keys_are_gone_once_the_input_is_masked_and_shares_once_revealed() -> None:
    table = dealt()
    phase = phase_at(table, Leg.MASK)
    before = held_secrets(phase)
    table.play_leg()
    after = phase_at(table, Leg.CONFIRM)
    kept = {id(secret) for secret in held_secrets(after)}
    assert len(kept) == 2 * PLAN.clients  # two shares of each client of the inbox, and of itself
    assert all(secret._wiped for secret in before if id(secret) not in kept)
    shares = held_secrets(after)
    table.advance(Leg.UNMASK)
    assert not any(secret._wiped for secret in shares)
    table.play_leg()
    assert all(secret._wiped for secret in shares)
