"""Bad dealers and bad reporters: what a client can do to a round by its boxes, and who is named for it.

Boxes out of place never open. A bad dealer is left out of the sum, or ends the round and is named where the messages
prove it; no honest client is ever named, and no sum is ever wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from secagg import wire
from secagg.errors import RoundAborted, TooFewClients, Unrecoverable
from secagg.pairwise.channel import TAG_SIZE
from secagg.pairwise.messages import (
    BOX_SIZE,
    MaskedInput,
    SealedShares,
)
from secagg.pairwise.roster import Joined
from secagg.plan import Plan
from secagg.rules import Rule
from secagg.shamir import SHARE_SIZE
from secagg.testing.table import Table
from secagg.types import Leg
from tests.support.liars import LyingClient, LyingServer, box_content


def new_table(plan: Plan, **changes: Any) -> Table:
    inputs = np.random.default_rng(plan.clients).integers(0, 1 << 32, (plan.clients, 3), dtype=np.uint32)
    return Table(plan, inputs, **changes)


# Boxes in the wrong place.

SIX = Plan.find(clients=6, max_dropped=1, max_corrupt=1)  # threshold and quorum are 4
DEALER = 5  # who lies in the rest of this file, unless more do


@pytest.mark.parametrize("pair", list(itertools.combinations(range(1, 6), 2)), ids=str)
def test_boxes_that_change_places_do_not_open(pair: tuple[int, int]) -> None:
    server = LyingServer(new_table(SIX))
    server.play(Leg.SHARE)
    swapped = {pair[0]: server.boxes[pair[1], 0], pair[1]: server.boxes[pair[0], 0]}
    server.tell(server.table.names[0], server.inbox(0, range(1, 6), forged=swapped))
    assert server.inboxes[0] == set(range(1, 6)) - set(pair)


def test_no_box_opens_for_anyone_but_its_receiver() -> None:
    """Each box of the round in the place of a box for client 0: sealed for others, by client 0 itself, or long ago."""
    recorded = LyingServer(new_table(SIX, number=2))
    recorded.play(Leg.SHARE)
    genuine = LyingServer(new_table(SIX))
    genuine.play(Leg.SHARE)
    strangers = [box for (dealer, holder), box in genuine.boxes.items() if (dealer, holder) != (DEALER, 0)]
    for box in (*strangers, *recorded.boxes.values()):
        server = LyingServer(new_table(SIX))
        server.play(Leg.SHARE)
        server.tell(server.table.names[0], server.inbox(0, range(1, 6), forged={DEALER: box}))
        assert server.inboxes[0] == {1, 2, 3, 4}


Seal = Callable[[LyingClient, Joined, int], bytes]
SHARE = bytes(SHARE_SIZE)
GOOD = box_content(SHARE, SHARE)


def seal(content: bytes) -> Seal:
    """A box that opens, with this in it."""
    return lambda dealer, joined, holder: dealer.seal(joined, holder, content)


GARBAGE: dict[str, Seal] = {
    "zeros": lambda *_: bytes(BOX_SIZE),
    "another's box": lambda dealer, joined, holder: dealer.seal(joined, (holder + 1) % DEALER, GOOD),
    "no shares": seal(b"?" * len(GOOD)),
    "labels swapped": seal(box_content(SHARE, SHARE, marks=(2, 1))),
    "one label twice": seal(box_content(SHARE, SHARE, marks=(1, 1))),
    "beyond the field": seal(box_content(SHARE, b"\xff" * (SHARE_SIZE - 1) + b"\x01")),
    "padding set": seal(box_content(SHARE[:-1] + b"\x80", SHARE)),
}


def share_with(table: Table, lies: Mapping[int, Seal], only_for: Collection[int] | None = None) -> None:
    """Play legs 0 and 1; the dealers named seal what they like, for everyone or only for some."""
    table.advance(Leg.SHARE)
    joined = table.server._phase._joined  # type: ignore[union-attr]  # the roster, which everyone knows
    for position, name in enumerate(table.names):
        (answer,) = table.deliver(name)
        if position in lies:
            body = wire.open_envelope(answer, max_size=len(answer), tag_size=TAG_SIZE).body
            boxes = wire.decode_body(SealedShares, body).boxes
            genuine = dict(zip(joined.neighbors(position), pieces(boxes, BOX_SIZE), strict=True))
            dealer = LyingClient(table, name)
            sealed = {
                holder: lies[position](dealer, joined, holder) if only_for is None or holder in only_for else box
                for holder, box in genuine.items()
            }
            answer = dealer.says(SealedShares(boxes=b"".join(sealed.values())))
        assert table.submit(name, answer) == ()
    table.close()


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def mask_in_order(table: Table, order: Iterable[int]) -> None:
    for position in order:
        for answer in table.deliver(table.names[position]):
            table.submit(table.names[position], answer)
    table.close()


@pytest.mark.parametrize("garbage", GARBAGE, ids=str)
def test_a_dealer_of_garbage_that_comes_late_is_left_out_and_the_sum_is_exact(garbage: str) -> None:
    """Everyone else masks without it, says so, and is counted; then it cannot be."""
    table = new_table(SIX)
    share_with(table, {DEALER: GARBAGE[garbage]})
    mask_in_order(table, range(6))
    total = table.finish()
    assert total.survivors == tuple(table.names[:DEALER])
    assert np.array_equal(total.values, table.expected(total.survivors))
    assert [rejected.peer for rejected in table.server.rejected] == [table.names[DEALER]]


@pytest.mark.parametrize("garbage", GARBAGE, ids=str)
def test_a_dealer_of_garbage_that_comes_first_ends_the_round_and_is_named(garbage: str) -> None:
    table = new_table(SIX)
    share_with(table, {DEALER: GARBAGE[garbage]})
    mask_in_order(table, (DEALER, *range(DEALER)))
    with pytest.raises(TooFewClients) as caught:
        table.finish()
    assert (caught.value.leg, caught.value.got, caught.value.need) == (Leg.MASK, 1, SIX.min_survivors)
    assert caught.value.suspects == (table.names[DEALER],)


def test_a_dealer_whose_boxes_open_for_too_few_ends_the_round_and_is_named() -> None:
    """Some mask towards the dealer and it drops: too few hold its mask key."""
    table = new_table(SIX)
    share_with(table, {DEALER: GARBAGE["zeros"]}, only_for={0, 1, 2})
    mask_in_order(table, range(DEALER))
    with pytest.raises(Unrecoverable) as caught:
        table.finish()
    assert table.names[DEALER] in str(caught.value)
    assert caught.value.suspects == (table.names[DEALER],)


def test_a_liar_that_reports_an_honest_dealer_bars_no_more_than_the_plan_lets_it() -> None:
    table = new_table(SIX)
    table.advance(Leg.MASK)
    liar = LyingClient(table, table.names[DEALER])
    (answer,) = table.deliver(liar.name)
    tail = bytes(wire.open_envelope(answer, max_size=len(answer), tag_size=TAG_SIZE).tail)
    for reported, admitted in (({0, 1}, False), ({0}, True)):
        report = MaskedInput(chunk=0, unopened=wire.pack_positions(reported, SIX.clients))
        assert (table.submit(liar.name, liar.says(report, tail=tail)) == ()) is admitted
    mask_in_order(table, range(DEALER))
    assert [rejected.error.rule for rejected in table.server.rejected] == [Rule.INPUT_UNOPENED, Rule.INBOX_CONFLICT]
    assert table.server.waiting_for == set(table.names[1:])  # the survivors, all but the one that was barred


def test_a_liar_that_ends_a_round_by_a_false_report_does_not_get_the_honest_dealer_named() -> None:
    """One reporter proves nothing where one client may lie: both stand as a dispute, and neither as a suspect."""
    table = new_table(Plan.find(clients=6, max_dropped=0, max_corrupt=1))
    table.advance(Leg.MASK)
    liar = LyingClient(table, table.names[DEALER])
    (answer,) = table.deliver(liar.name)
    tail = bytes(wire.open_envelope(answer, max_size=len(answer), tag_size=TAG_SIZE).tail)
    report = MaskedInput(chunk=0, unopened=wire.pack_positions({0}, 6))
    assert table.submit(liar.name, liar.says(report, tail=tail)) == ()
    mask_in_order(table, range(DEALER))
    with pytest.raises(TooFewClients) as caught:
        table.finish()
    assert caught.value.suspects == ()
    assert caught.value.disputes == ((liar.name, table.names[0]),)


def test_one_wrong_share_in_a_good_box_is_blamed_on_the_pair() -> None:
    """Whether dealer or holder lied nobody can tell; the sum needs neither to have been honest."""
    table = new_table(SIX)
    share_with(table, {DEALER: seal(GOOD)}, only_for={1})
    total = table.finish()
    assert np.array_equal(total.values, table.expected(table.names))
    assert [(blame.holder, blame.dealer) for blame in total.blamed] == [(table.names[1], table.names[DEALER])]


# Disruptors, and trying again without those that were named.


def other_secrets(dealer: LyingClient, joined: Joined, holder: int) -> bytes:
    """Shares by the book, of secrets the dealer never advertised."""
    plan = dealer.table.plan
    dealt = dealer.deal(joined, threshold=plan.threshold, secrets=(bytes(range(16)), bytes(range(16, 32))))
    return dealer.seal(joined, holder, box_content(*dealt[holder]))


TWO_DISRUPTORS = list(itertools.product((GARBAGE["zeros"], other_secrets), repeat=2))


@pytest.mark.parametrize("ways", TWO_DISRUPTORS, ids=["garbage, garbage", "garbage, lie", "lie, garbage", "lie, lie"])
def test_rounds_repeated_without_the_suspects_come_to_a_sum(ways: tuple[Seal, Seal]) -> None:
    """k disruptors out of m = 2: after at most k rounds that name some of them, one without them sums exactly.

    A dealer is named for its secrets only where t + m shares prove it, so there are enough honest clients here.
    """
    honest, disruptors = 10, list(ways)
    for attempt in range(len(ways) + 1):
        clients = honest + len(disruptors)
        table = new_table(Plan.find(clients=clients, max_dropped=2, max_corrupt=2), number=attempt + 1)
        share_with(table, {honest + place: way for place, way in enumerate(disruptors)})
        mask_in_order(table, reversed(range(clients)))
        try:
            total = table.finish()
        except RoundAborted as aborted:
            named = {table.names.index(name) - honest for name in aborted.suspects}
            assert named
            assert min(named) >= 0, "an honest client was named"
            disruptors = [way for place, way in enumerate(disruptors) if place not in named]
            continue
        assert np.array_equal(total.values, table.expected(total.survivors))
        assert set(table.names[:honest]) <= set(total.survivors)
        return
    pytest.fail("the disruptors were not all found")
