"""What a changed server or phase would get away with, if no other test looked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import pytest

from secagg import masking, shamir
from secagg.errors import (
    MisuseError,
    PhaseConsumed,
    StorageError,
    TooFewClients,
    Unexpected,
    Unrecoverable,
    Violation,
)
from secagg.pairwise import server as phases
from secagg.pairwise.messages import KeyAdvert, MaskedInput, SurvivorSignature
from secagg.pairwise.phase import Phase
from secagg.pairwise.recover import Recovery, Reports
from secagg.plan import Plan
from secagg.primitives import labels
from secagg.primitives.secret import Secret
from secagg.round.events import Failed, Send
from secagg.rules import Rule
from secagg.store import MemorySpool
from secagg.testing.plans import small_regular_plan
from secagg.testing.table import Table
from secagg.types import Leg
from tests.support.whitebox import is_wiped

PLAN: Final = Plan.find(clients=4, max_dropped=1, max_corrupt=1)
INPUTS: Final = np.arange(12, dtype=np.uint32).reshape(4, 3)


class Generous(MemorySpool):
    """Gives back a chunk more than it was given."""

    def take(self, position: int) -> Iterator[bytes]:
        yield from super().take(position)
        yield bytes(12)


class Locked(Phase):
    """A phase with a secret."""

    __slots__ = ("_secret",)

    def __init__(self, secret: Secret) -> None:
        super().__init__()
        self._secret = secret

    def answer(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        with self._answering():
            meanwhile()

    def _wipe(self) -> None:
        self._secret.wipe()


def test_a_spool_that_gives_back_too_much_ends_the_round_and_no_sum_is_wrong() -> None:
    table = Table(PLAN, INPUTS)
    table.server._spool = Generous()
    table.advance(Leg.MASK)
    (answer,) = table.deliver(table.names[0])
    with pytest.raises(StorageError, match="more chunks than it was given"):
        table.submit(table.names[0], answer)
    assert isinstance(table.server.outcome, Failed)


def test_a_message_that_is_not_the_phases_is_admitted_nowhere() -> None:
    """`_take` refuses it before; were it to come so far, no phase would see it."""
    server = Table(PLAN, INPUTS).server
    phase = server._phase
    assert isinstance(phase, phases.CollectingAdverts)
    missing = phase.missing
    server._admit(phase, 0, SurvivorSignature(signature=bytes(64)), memoryview(b""))
    assert phase.missing == missing
    assert server._phase is phase


def test_what_is_no_phase_ends_no_leg() -> None:
    server = Table(PLAN, INPUTS).server
    before = server._phase
    assert server._advance(Phase()) == ()
    assert server._phase is before


def test_a_round_is_never_copied() -> None:
    table = Table(PLAN, INPUTS)
    for round_ in (table.server, table.clients[table.names[0]]):
        with pytest.raises(MisuseError, match="never pickled or copied"):
            copy.copy(round_)


def test_a_phase_that_has_answered_has_nothing_left_to_wipe_or_to_clear() -> None:
    spent, left = Locked(Secret(b"handed on")), Locked(Secret(b"left"))
    handed_on, abandoned = spent._secret, left._secret
    spent.answer()
    spent.abandon()
    assert not is_wiped(handed_on)
    left.abandon()
    left.abandon()
    assert is_wiped(abandoned)


def test_a_phase_gives_no_second_answer_while_it_gives_its_first() -> None:
    phase = Locked(Secret(b"once"))
    asked: list[str] = []

    def again() -> None:
        with pytest.raises(PhaseConsumed, match="answers once"):
            phase.answer(lambda: asked.append("answered"))

    phase.answer(again)
    assert not asked


def test_a_phase_that_failed_keeps_nothing_to_read() -> None:
    phase = Locked(Secret(b"gone"))
    with pytest.raises(ZeroDivisionError):
        phase.answer(lambda: 1 // 0)
    with pytest.raises(PhaseConsumed):
        _ = phase._secret


def test_a_round_that_is_over_holds_no_key_and_no_phase() -> None:
    table = Table(PLAN, INPUTS)
    table.advance(Leg.UNMASK)
    server, phase = table.server, table.server._phase
    assert phase is not None
    keys = [server._private, *(channel._key for channel in server._channels.values())]
    assert len(keys) == 5
    server.abort("enough")
    assert all(is_wiped(key) for key in keys)
    assert not server._channels
    assert phase._spent


def test_requests_go_out_in_order_however_a_set_holds_its_members() -> None:
    table = Table(Plan.find(clients=9, max_dropped=1, max_corrupt=0), np.zeros((9, 3), dtype=np.uint32))
    table.advance(Leg.SHARE)
    message = SurvivorSignature(signature=bytes(64))
    assert list(frozenset({8, 1})) == [8, 1], "a set that holds them in order shows nothing"
    sends = table.server._to(frozenset({8, 1}), message)
    assert [send.to for send in sends if isinstance(send, Send)] == [table.names[1], table.names[8]]


# The parts.


@pytest.mark.parametrize("kind", [phases.Desk, phases.MaskedSum], ids=lambda kind: kind.__name__)
def test_what_phases_hand_on_is_frozen_and_shows_no_sum(kind: Any) -> None:
    parameters = kind.__dataclass_params__
    assert (parameters.frozen, parameters.eq) == (True, False)
    assert parameters.repr == (kind is phases.Desk)
    assert "__dict__" not in dir(kind)


def test_names_are_told_in_order() -> None:
    table = Table(Plan.find(clients=9, max_dropped=1, max_corrupt=0), np.zeros((9, 3), dtype=np.uint32))
    desk = phases.Desk(table.config, table.server.invited, table.directory)
    assert desk.names(frozenset({8, 1})) == (table.names[1], table.names[8])


def test_inboxes_go_out_in_order_whoever_shared_first() -> None:
    table = Table(PLAN, INPUTS)
    table.advance(Leg.SHARE)
    answers = {name: table.deliver(name) for name in table.names}
    for name in reversed(table.names):
        table.submit(name, answers[name][0])
    assert [send.to for send in table.server.close_leg() if isinstance(send, Send)] == table.names


class Watched(MemorySpool):
    """Remembers whose chunks it was told to forget."""

    def __init__(self) -> None:
        super().__init__()
        self.discarded: list[int] = []

    def discard(self, position: int) -> None:
        self.discarded.append(position)
        super().discard(position)


def collecting_inputs() -> phases.CollectingInputs:
    table = Table(PLAN, INPUTS)
    table.advance(Leg.MASK)
    phase = table.server._phase
    assert isinstance(phase, phases.CollectingInputs)
    return phase


INPUT: Final = MaskedInput(chunk=0, unopened=bytes(1))


def test_an_input_that_conflicts_is_barred_and_what_waits_of_it_is_forgotten() -> None:
    phase, spool = collecting_inputs(), Watched()
    phase._counted[1] = frozenset({0})
    with pytest.raises(Violation) as refusal:
        phase.receive(0, INPUT, memoryview(bytes(12)), spool)
    assert refusal.value.rule is Rule.INBOX_CONFLICT
    assert spool.discarded == [0]
    assert phase.missing == {2, 3}


def test_nothing_is_added_to_a_sum_that_holds_a_part_of_an_input() -> None:
    phase, whole = collecting_inputs(), memoryview(b"\1" * 12)
    phase._whole = False
    with pytest.raises(StorageError, match="a part of an input"):
        phase.receive(0, INPUT, whole, MemorySpool())
    assert not phase._accumulator.any()
    phase._whole = True
    phase.receive(0, INPUT, whole, MemorySpool())
    assert phase._accumulator.tolist() == [0x01010101] * 3


def test_what_a_round_that_was_cut_short_left_in_the_spool_is_no_part_of_an_input() -> None:
    phase, spool = collecting_inputs(), MemorySpool()
    spool.append(0, memoryview(bytes(12)))
    phase.receive(0, INPUT, memoryview(b"\1" * 12), spool)
    assert phase._accumulator.tolist() == [0x01010101] * 3


def test_who_reported_whom_is_told_when_too_few_inputs_came() -> None:
    phase = collecting_inputs()
    phase.receive(0, MaskedInput(chunk=0, unopened=bytes((0b10,))), memoryview(bytes(12)), MemorySpool())
    with pytest.raises(TooFewClients) as ended:
        phase.close()
    assert ended.value.disputes == (("client-0000", "client-0001"),)
    assert ended.value.suspects == ()


def confirming(plan: Plan, *, silent: int) -> tuple[Table, phases.CollectingSignatures]:
    table = Table(plan, INPUTS)
    table.advance(Leg.MASK)
    for name in table.names[silent:]:
        table.submit(name, table.deliver(name)[0])
    inputs = table.server._phase
    assert isinstance(inputs, phases.CollectingInputs)
    return table, inputs.close()[0]


def confirmation(table: Table, phase: phases.CollectingSignatures, position: int) -> SurvivorSignature:
    identity = table.identities[table.names[position]]
    return SurvivorSignature(signature=identity.sign(label=labels.SIGN_SURVIVORS, message=phase._statement))


def test_a_true_signature_of_a_client_outside_the_sum_is_refused() -> None:
    table, phase = confirming(PLAN, silent=1)
    with pytest.raises(Unexpected) as refusal:
        phase.receive(0, confirmation(table, phase, 0))
    assert refusal.value.rule is Rule.WIRE_ORDER
    assert phase.missing == {1, 2, 3}
    phase.receive(1, confirmation(table, phase, 1))
    with pytest.raises(Unexpected):
        phase.receive(1, confirmation(table, phase, 1))
    assert phase.missing == {2, 3}


def test_where_no_quorum_is_needed_no_signature_is_taken() -> None:
    plan = Plan.find(clients=4, max_dropped=1, max_corrupt=1, adversary="semi-honest")
    assert plan.quorum == 0
    table, phase = confirming(plan, silent=0)
    assert not phase.missing
    with pytest.raises(Unexpected):
        phase.receive(1, confirmation(table, phase, 1))


# Recovery.


def prepared(held: dict[int, list[int]]) -> Recovery:
    """A recovery whose dealers' shares came from these holders, in this order."""
    plan = small_regular_plan(clients=9, degree=4, threshold=3, max_dropped=2)
    table = Table(plan, np.zeros((9, 3), dtype=np.uint32))
    revealed: dict[int, dict[int, Any]] = {}
    for dealer, holders in held.items():
        for holder in holders:
            revealed.setdefault(holder, {})[dealer] = np.zeros(13, dtype=np.int64)
    nobody: Any = None  # who joined is not asked yet
    return Recovery.prepare(
        config=table.config,
        invited=table.server.invited,
        joined=nobody,
        words=np.zeros(3, dtype=np.uint32),
        survivors=frozenset(held),
        opened=dict.fromkeys(held, frozenset[int]()),
        revealed=revealed,
        reports=Reports({}, 0),
    )


def test_dealers_and_holders_are_taken_in_order() -> None:
    recovery = prepared({8: [5, 3, 4], 1: [5, 3, 4]})
    assert list(recovery.shares) == [1, 8]
    assert list(recovery.shares[8]) == [3, 4, 5]
    with pytest.raises(Unrecoverable, match="a secret of client-0001"):
        prepared({8: [5], 1: [5]})


def test_pairs_that_dispute_stand_in_order_whoever_reported_first() -> None:
    dealers = frozenset({8, 1})
    assert list(dealers) == [8, 1], "a set that holds them in order shows nothing"
    assert Reports({3: dealers, 2: frozenset({8})}, 2).disputed == ((2, 8), (3, 1), (3, 8))


def test_survivors_are_named_in_order() -> None:
    assert prepared({8: [5, 3, 4], 1: [5, 3, 4]})._names(frozenset({8, 1})) == ("client-0001", "client-0008")


def test_a_recovery_is_frozen_and_shows_nothing() -> None:
    parameters = Recovery.__dataclass_params__  # type: ignore[attr-defined]  # a dataclass has them
    assert (parameters.frozen, parameters.repr, parameters.eq) == (True, False, False)
    assert "__dict__" not in dir(Recovery)


def test_recovered_shares_keys_and_words_above_the_ring_are_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(PLAN, INPUTS, bits=20)
    table.advance(Leg.UNMASK)
    table.play_leg()
    recovery, keys = table.server._recovery, []
    assert recovery is not None
    accumulate = masking.accumulate

    def watched(words: Any, *, plus: list[Secret], minus: list[Secret], **named: Any) -> None:
        keys.extend([*plus, *minus])
        accumulate(words, plus=plus, minus=minus, **named)

    monkeypatch.setattr(masking, "accumulate", watched)
    aggregate = recovery.run()
    assert aggregate.values.tolist() == INPUTS.sum(axis=0).tolist()
    assert len(keys) == 4
    assert all(is_wiped(key) for key in keys)
    assert not recovery.shares
    assert int(recovery.words.max()) < 1 << 20


def test_a_secret_that_does_not_verify_is_overwritten_and_its_dealer_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = Table(PLAN, INPUTS)
    table.advance(Leg.UNMASK)
    table.play_leg()
    recovery = table.server._recovery
    assert recovery is not None
    found: list[Secret] = []
    recover_many = shamir.recover_many

    def watched(*arguments: Any) -> Any:
        secrets = recover_many(*arguments)
        found.extend(secret for secret in secrets if secret is not None)
        return secrets

    monkeypatch.setattr(shamir, "recover_many", watched)
    monkeypatch.setattr(Recovery, "_verifies", lambda self, dealer, secret: False)
    with pytest.raises(Unrecoverable, match="what it shared is not what it advertised"):
        recovery.run()
    assert found
    assert all(is_wiped(secret) for secret in found)


def test_an_advert_needs_no_tag_and_everything_else_does() -> None:
    table = Table(PLAN, INPUTS)
    envelope: Any = None  # not even looked at
    table.server._authenticate(0, KeyAdvert(bytes(32), bytes(32), bytes(32), bytes(64)), envelope)
