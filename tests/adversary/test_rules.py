"""One scenario for each Rule: someone breaks it through the public face, and what must follow follows.

A client that meets it says so by name, is closed and wiped, has erased its record and answers nothing more. A server
that meets it says so by name and is as it was: the round then comes to the exact sum of everyone else, and of the
sender too where it has an honest message to send.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from secagg import shamir, wire
from secagg.aggregate import Blame
from secagg.errors import Malformed, MisuseError, RemoteError, Unauthentic, Unexpected, Unrecoverable, Violation
from secagg.identity import client_id
from secagg.pairwise import client as phases
from secagg.pairwise.channel import TAG_SIZE
from secagg.pairwise.messages import (
    UnmaskShares,
)
from secagg.plan import Plan
from secagg.primitives.secret import Secret
from secagg.round.events import Failed, Rejected
from secagg.rules import Rule
from secagg.shamir import SHARE_SIZE
from secagg.testing.entropy import FixedEntropy
from secagg.testing.table import Table
from secagg.types import Leg
from tests.support.baits import (
    CLIENT_REFUSES,
    LIAR,
    NAMES,
    PLAN,
    VICTIM,
    ClientScenario,
    Stage,
    an_inbox_below_the_threshold,
    an_inbox_of_boxes_that_do_not_open,
    new_table,
    survivors_before_the_inbox,
)
from tests.support.liars import LyingClient
from tests.support.offenses import SERVER_REFUSES, ServerScenario, a_table_with_a_bad_box
from tests.support.whitebox import kept_by, round_secrets_of, secrets_in, unwiped


def name_of(part: Rule | ClientScenario | ServerScenario) -> str:
    """A test's id: the rule and the scenario."""
    return part.value if isinstance(part, Rule) else part.__name__


# What a client refuses.


@pytest.mark.parametrize(("rule", "scenario"), CLIENT_REFUSES, ids=name_of)
def test_a_client_that_meets_it_is_closed_and_wiped(rule: Rule, scenario: ClientScenario) -> None:
    bait = scenario()
    client, leg = bait.client, bait.client.leg
    held = round_secrets_of(client)
    (event,) = client.receive(bait.data)
    assert isinstance(event, Failed)
    error = event.error
    assert isinstance(error, Malformed | Unexpected | Unauthentic | Violation)
    assert (error.rule, error.leg, error.peer) == (rule, leg, bait.names)
    assert error.rule.value in str(error)
    assert client.closed
    assert not unwiped(held)
    assert not unwiped(round_secrets_of(client))
    assert not list(bait.store.records())
    for data in (bait.data, *bait.told):
        with pytest.raises(MisuseError):
            client.receive(data)
    with pytest.raises(MisuseError):
        client.provide(new_table().input_of(NAMES[VICTIM]))


@pytest.mark.parametrize(("rule", "scenario"), CLIENT_REFUSES, ids=name_of)
def test_the_error_a_client_leaves_with_keeps_nothing_alive(rule: Rule, scenario: ClientScenario) -> None:
    """An exception keeps its stack and the stack its variables; a driver keeps the error, so it must come without."""
    bait = scenario()
    (event,) = bait.client.receive(bait.data)
    assert isinstance(event, Failed)
    assert kept_by(event.error) == []
    assert not secrets_in(event)


@pytest.mark.parametrize("scenario", [an_inbox_below_the_threshold, an_inbox_of_boxes_that_do_not_open])
def test_shares_out_of_a_refused_inbox_are_wiped(scenario: ClientScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were open for a moment, and no phase ever held them."""
    opened: list[Secret] = []

    class Recorded(Secret):
        def __init__(self, value: bytes) -> None:
            super().__init__(value)
            opened.append(self)

    bait = scenario()
    monkeypatch.setattr(phases, "Secret", Recorded)
    bait.client.receive(bait.data)
    assert len(opened) == 2 * (PLAN.threshold - 2)
    assert not unwiped(opened)


def test_a_used_round_number_stays_used_after_a_refusal() -> None:
    """Erased are the record and its secret, never the number: the same offer cannot be made twice."""
    bait = survivors_before_the_inbox()
    bait.client.receive(bait.data)
    config = Stage(Leg.OFFER).table.config
    assert bait.store.last_round(config.session) == config.round
    again = Stage(Leg.OFFER)
    client = again.table.new_client(NAMES[VICTIM], bait.store)
    (event,) = client.receive(bait.told[0])
    assert isinstance(event, Failed)
    assert isinstance(event.error, RemoteError)
    assert event.error.rule is Rule.OFFER_FRESH


# What a server refuses.


@pytest.mark.parametrize(("rule", "scenario"), SERVER_REFUSES, ids=name_of)
def test_a_server_that_meets_it_is_as_it_was(rule: Rule, scenario: ServerScenario) -> None:
    offense = scenario()
    at, table = offense.at, offense.at.table
    server, leg, waiting = table.server, table.server.leg, table.server.waiting_for
    (event,) = server.receive(at.sender, offense.data)
    assert isinstance(event, Rejected)
    error = event.error
    assert isinstance(error, Malformed | Unexpected | Unauthentic | Violation)
    assert (error.rule, error.leg, error.peer, event.peer) == (rule, leg, at.sender, at.sender)
    assert server.rejected == [event]
    barred = offense.bars if rule is Rule.INBOX_CONFLICT else frozenset()
    assert (server.leg, server.waiting_for, server.outcome) == (leg, waiting - barred, None)
    (again,) = server.receive(at.sender, offense.data)
    assert isinstance(again, Rejected)
    assert again.error.rule is (Rule.WIRE_ORDER if barred else rule)
    for name, answers in at.answers.items():
        for answer in answers:
            refused = table.submit(name, answer) != ()
            assert refused == (name in offense.bars)
    table.close()
    total = table.finish()
    assert total.survivors == tuple(name for name in NAMES if name not in offense.bars)
    assert np.array_equal(total.values, table.expected(total.survivors))
    assert total.blamed == ()


# What recovery finds.
#
# The last three rules are about shares and secrets that only fit together at the end, or about boxes that a server
# cannot look into: what breaks them is no message to refuse, but someone to blame.


def test_a_box_that_does_not_open_leaves_its_dealer_out_and_is_reported() -> None:
    """Rule.BOX_OPENS: the receiver masks towards everyone else, says so, and one of the two is not in the sum."""
    table = a_table_with_a_bad_box()
    total = table.finish()
    assert total.survivors == tuple(name for name in NAMES if name != NAMES[LIAR])  # client 0 was first
    assert np.array_equal(total.values, table.expected(total.survivors))
    (event,) = table.server.rejected
    assert event.peer == NAMES[LIAR]
    assert event.error.rule is Rule.INBOX_CONFLICT


def unmasking_with(shares_of: Callable[[int, list[bytes]], list[bytes]], *, plan: Plan = PLAN) -> Table:
    """A round played to its last leg, where some holders reveal other shares than those they hold."""
    table = new_table(plan)
    table.advance(Leg.UNMASK)
    for position, name in enumerate(table.names):
        (answer,) = table.deliver(name)
        body = wire.open_envelope(answer, max_size=len(answer), tag_size=TAG_SIZE).body
        shares = wire.decode_body(UnmaskShares, body).shares
        held = [shares[start : start + SHARE_SIZE] for start in range(0, len(shares), SHARE_SIZE)]
        message = UnmaskShares(shares=b"".join(shares_of(position, held)))
        assert table.submit(name, LyingClient(table, name).says(message)) == ()
    table.close()
    return table


def test_wrong_shares_up_to_the_spare_ones_are_blamed_and_do_not_stop_the_round() -> None:
    """Rule.SHARE_CONSISTENT: a holder lies about the shares of two dealers; named is who lied about whose.

    A liar found once is not asked again, so its second lie does no harm and may go unnamed.
    """
    lies = {blame(holder=2, dealer=0), blame(holder=2, dealer=3)}

    def lie(position: int, held: list[bytes]) -> list[bytes]:
        return [bytes(SHARE_SIZE), *held[1:3], bytes(SHARE_SIZE), *held[4:]] if position == 2 else held

    table = unmasking_with(lie)
    total = table.finish()
    assert np.array_equal(total.values, table.expected(NAMES))
    assert set(total.blamed) & lies
    assert set(total.blamed) <= lies


def blame(*, holder: int, dealer: int) -> Blame:
    return Blame(rule=Rule.SHARE_CONSISTENT, holder=client_id(NAMES[holder]), dealer=client_id(NAMES[dealer]))


def test_a_dealer_whose_shares_agree_on_another_secret_is_named() -> None:
    """Rule.SECRET_MATCHES: the shares of a seed that its dealer never committed to, consistent to the last one."""
    forged = shares_of_another_secret()

    def holders_of_a_bad_dealer(position: int, held: list[bytes]) -> list[bytes]:
        return [*held[:LIAR], forged[position]]

    table = unmasking_with(holders_of_a_bad_dealer)
    (event,) = table.server.recover()
    assert isinstance(event, Failed)
    assert isinstance(event.error, Unrecoverable)
    assert event.error.rule is Rule.SECRET_MATCHES
    assert event.error.suspects == (NAMES[LIAR],)
    assert NAMES[LIAR] in str(event.error)


def test_a_holder_cannot_frame_an_honest_dealer() -> None:
    """As many liars as the plan allows, about every secret: they are blamed, no dealer is, and the sum is exact."""
    forged = shares_of_another_secret()

    def frame(position: int, held: list[bytes]) -> list[bytes]:
        return [forged[position]] * len(held) if position == VICTIM else held

    table = unmasking_with(frame)
    total = table.finish()
    assert np.array_equal(total.values, table.expected(NAMES))
    assert {named.holder for named in total.blamed} == {NAMES[VICTIM]}


def shares_of_another_secret() -> list[bytes]:
    block = shamir.split(
        [Secret(bytes(range(16)))],
        threshold=PLAN.threshold,
        xs=np.arange(1, PLAN.clients + 1, dtype=np.int64),
        entropy=FixedEntropy("another secret"),
    )
    return [share.tobytes() for share in block[0]]


AT_RECOVERY = {
    Rule.BOX_OPENS: test_a_box_that_does_not_open_leaves_its_dealer_out_and_is_reported,
    Rule.SHARE_CONSISTENT: test_wrong_shares_up_to_the_spare_ones_are_blamed_and_do_not_stop_the_round,
    Rule.SECRET_MATCHES: test_a_dealer_whose_shares_agree_on_another_secret_is_named,
}


@pytest.mark.parametrize("rule", Rule, ids=str)
def test_each_rule_has_its_scenario(rule: Rule) -> None:
    tripped = {rule for rule, _ in CLIENT_REFUSES} | {rule for rule, _ in SERVER_REFUSES} | AT_RECOVERY.keys()
    assert rule in tripped, f"{rule.name} ({rule.meaning}) has no scenario: add one that breaks it"
