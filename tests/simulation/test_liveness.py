"""Who can still bring a round to its sum: the verdict of `liveness.py` on rounds that are led up to a point by hand.

It was wrong once about messages of an earlier round that a partition had held back (the reproduction
`offer-of-an-earlier-round-held-back.json`). Every verdict here is followed by the end of its round: who was called
able must finish, who was not must not. Most plans here need all three clients: one that cannot go on decides the round.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from secagg.pairwise.messages import MaskedInput, RoundOffer, SurvivorSet, UnmaskShares
from secagg.plan import Plan
from secagg.round.events import Failed, Finished
from secagg.testing.table import client_names
from secagg.types import Leg
from tests.simulation import liveness
from tests.simulation.campaign import recorded_tape
from tests.simulation.cast import Cast
from tests.simulation.choices import Replayed
from tests.simulation.disks import Disk
from tests.simulation.honest import HonestRound, Packet
from tests.simulation.session import CURIOUS, Session
from tests.simulation.tape import Tape

PLAN = Plan.find(clients=3, max_dropped=0, max_corrupt=1)
NAMES = client_names(PLAN.clients)
ONE, *OTHERS = NAMES
LEGS = (Leg.ADVERTISE, Leg.SHARE, Leg.MASK, Leg.CONFIRM, Leg.UNMASK)


class Stage:
    """Rounds of one session on lasting disks."""

    plan = PLAN

    def __init__(self, tape: Tape) -> None:
        tape.forget()
        self.tape = tape
        self.disks = {name: Disk() for name in NAMES}
        self.past: list[Packet] = []
        self.number = 0

    def begin(self, leg: Leg = Leg.ADVERTISE, *, keep_input: bool = False) -> HonestRound:
        """The next round, led to the beginning of a leg: its requests are on their way."""
        self.number += 1
        cast = Cast(
            self.plan,
            Session._inputs(self.plan, 32, self.number),
            disks=self.disks,
            corrupt=frozenset(),
            tape=self.tape,
            label=f"round {self.number}",
            bits=32,
            number=self.number,
            keep_input=keep_input,
        )
        round_ = HonestRound(cast, Replayed([]), weights=[1], past=self.past, hits=lambda _: None)
        round_._send(round_._server(cast.server.start))
        while cast.server.leg is not leg:
            round_._proceed()
        return round_

    def play_whole(self) -> None:
        """A round in which nothing goes wrong: what was said in it is what later ones are told again."""
        round_ = self.begin()
        assert isinstance(round_._heal_and_finish(), Finished)

    def past_of(self, name: str, kind: int) -> Packet:
        """What was said to a client, or by it, in an earlier round."""
        return next(packet for packet in self.past if packet.name == name and packet.kind == kind)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with recorded_tape() as tape:
        yield Stage(tape)


@pytest.mark.parametrize("leg", LEGS)
def test_all_are_able_where_nothing_goes_wrong(leg: Leg, stage: Stage) -> None:
    round_ = stage.begin(leg)
    assert liveness.able(round_) == set(NAMES)
    assert isinstance(round_._heal_and_finish(), Finished)


@pytest.mark.parametrize("leg", LEGS)
def test_who_will_hear_an_earlier_round_first_is_not_able(leg: Leg, stage: Stage) -> None:
    stage.play_whole()
    round_ = stage.begin(leg)
    round_.flying.insert(0, stage.past_of(ONE, RoundOffer.KIND))
    assert liveness.able(round_) == set(OTHERS)
    assert isinstance(round_._heal_and_finish(), Failed)
    assert round_.cast.clients[ONE].closed


@pytest.mark.parametrize("leg", LEGS)
def test_an_earlier_round_behind_the_last_request_harms_nobody(leg: Leg, stage: Stage) -> None:
    stage.play_whole()
    round_ = stage.begin(leg)
    round_.flying.append(stage.past_of(ONE, RoundOffer.KIND))
    last = leg is Leg.UNMASK
    assert liveness.able(round_) == (set(NAMES) if last else set(OTHERS))
    assert isinstance(round_._heal_and_finish(), Finished if last else Failed)


def test_shares_of_an_earlier_round_are_no_answer_of_one_that_left(stage: Stage) -> None:
    stage.play_whole()
    round_ = stage.begin(Leg.UNMASK)
    round_.cast.leave(ONE)
    round_.flying.append(stage.past_of(ONE, UnmaskShares.KIND))
    assert liveness.able(round_) == set(OTHERS)
    assert isinstance(round_._heal_and_finish(), Failed)


@pytest.mark.parametrize("keep_input", [False, True])
def test_an_input_of_an_earlier_round_is_none_where_its_own_is_lost(*, keep_input: bool, stage: Stage) -> None:
    """Without it a client that kept its masked input says it again, and one that kept none cannot."""
    stage.play_whole()
    round_ = stage.begin(Leg.MASK, keep_input=keep_input)
    (lost,) = round_.cast.hand(ONE, round_.requests[ONE][0])
    assert lost[4] == MaskedInput.KIND
    round_.flying = [packet for packet in round_.flying if packet.name != ONE]
    round_.flying.append(stage.past_of(ONE, MaskedInput.KIND))
    assert liveness.able(round_) == (set(NAMES) if keep_input else set(OTHERS))
    assert isinstance(round_._heal_and_finish(), Finished if keep_input else Failed)


def test_its_own_answer_on_the_way_is_one(stage: Stage) -> None:
    round_ = stage.begin(Leg.UNMASK)
    while not any(packet.up and packet.name == ONE for packet in round_.flying):
        round_._proceed()
    round_.cast.leave(ONE)
    assert liveness.able(round_) == set(NAMES)
    assert isinstance(round_._heal_and_finish(), Finished)


def test_who_took_a_seat_in_an_earlier_round_is_not_able(stage: Stage) -> None:
    """It was down when that round was offered, so its number is fresh to this client: it accepts, and waits there."""
    missed = stage.begin()
    missed.cast.crash(ONE)
    missed._drain()
    missed._close()
    assert isinstance(missed.cast.server.outcome, Failed)
    for name in NAMES:
        missed.cast.resume(name)
        missed.cast.leave(name)
    round_ = stage.begin()
    round_._tell(ONE, stage.past_of(ONE, RoundOffer.KIND).data)
    assert round_.cast.clients[ONE].config.round == missed.cast.config.round
    assert liveness.able(round_) == set(OTHERS)
    assert isinstance(round_._heal_and_finish(), Failed)


def test_who_is_asked_to_unmask_before_it_knows_the_survivors_is_not_able(stage: Stage) -> None:
    """Where no signatures travel both messages leave together, and the network may turn them round."""
    stage.plan = CURIOUS[0]
    round_ = stage.begin(Leg.UNMASK)
    late = next(packet for packet in round_.flying if packet.name == ONE and packet.kind == SurvivorSet.KIND)
    round_.flying.remove(late)
    round_.flying.append(late)
    assert liveness.able(round_) == set(OTHERS)
    round_._heal_and_finish()
    assert round_.cast.failures.keys() == {ONE}
