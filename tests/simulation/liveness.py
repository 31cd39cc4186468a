"""Liveness: which clients could still bring a round to its sum, at the moment faults stop.

What stops a client for good is the product's own design: it left, it was told something too early, changed or of
another round, its number is used up and its round forgotten, or its masked input is lost and it kept none. Everyone
else must be able to finish, and `a_healed_round_finishes` holds the round to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from secagg.pairwise import client as phases
from secagg.pairwise.messages import FROM_CLIENT, Inbox, Roster, RoundOffer, SurvivorSet, UnmaskRequest
from secagg.plan import Plan
from secagg.round.events import Finished
from secagg.types import Leg

if TYPE_CHECKING:
    from tests.simulation.honest import HonestRound, Packet

_EXPECTED: Final[dict[type[object], int]] = {
    type(None): RoundOffer.KIND,
    phases.AwaitingRoster: Roster.KIND,
    phases.AwaitingInbox: Inbox.KIND,
    phases.AwaitingInput: SurvivorSet.KIND,
    phases.AwaitingSurvivors: SurvivorSet.KIND,
    phases.AwaitingUnmask: UnmaskRequest.KIND,
}
"""The message each phase waits for; from one to the next the numbers go up by two."""


def need(plan: Plan) -> int:
    """The clients it takes from any leg on to come to a sum."""
    return max(plan.threshold, plan.min_survivors, plan.quorum)


def able(round_: HonestRound) -> set[str]:
    """Clients that can still answer this leg and all that follow, or have."""
    outcome = round_.cast.server.outcome
    if outcome is not None or round_.cast.server.ready:
        return set(round_.cast.names) if round_.cast.server.ready or isinstance(outcome, Finished) else set()
    return {name for name in round_.cast.honest if name in round_.requests and _can_go_on(round_, name)}


def _can_go_on(round_: HonestRound, name: str) -> bool:
    server, client = round_.cast.server, round_.cast.clients[name]
    answered = name not in server.waiting_for or _is_flying(round_, name)
    if server.leg is Leg.UNMASK and answered:
        return True
    disturbed = round_.cast.rolled_back | round_.cast.haunted | round_.misled
    if client.closed or name in disturbed or _is_elsewhere(round_, name) or _is_doomed(round_, name):
        return False
    if answered:  # but one that left and began anew has forgotten the round, whatever it said before
        return client._phase is not None
    return _can_answer(round_, name)


def _can_answer(round_: HonestRound, name: str) -> bool:
    """Whether a client that has not answered this leg, or whose answer is lost, still can."""
    phase = round_.cast.clients[name]._phase
    if round_.cast.server.leg is Leg.ADVERTISE:
        numbers, config = round_.cast.disks[name].numbers, round_.cast.config
        return phase is not None or numbers.get(config.session, 0) < config.round
    if round_.cast.server.leg is Leg.MASK and not round_.cast.keep_input:
        return isinstance(phase, phases.AwaitingInbox | phases.AwaitingInput)
    return phase is not None


def _is_flying(round_: HonestRound, name: str) -> bool:
    """Whether its answer to this leg is on its way; one of an earlier round, that comes once more, is none."""
    kind = FROM_CLIENT[round_.cast.server.leg].KIND
    return any(packet.kind == kind and packet not in round_.earlier for packet in _on_the_way(round_, name, up=True))


def _is_elsewhere(round_: HonestRound, name: str) -> bool:
    """Whether it sits in an earlier round: it had missed that offer, took it now, and refuses all of this one."""
    seat = round_.cast.clients[name]._seat
    return seat is not None and seat.config.digest != round_.cast.config.digest


def _is_doomed(round_: HonestRound, name: str) -> bool:
    """Whether what is on its way makes it leave, by design: a message of another round (`docs/protocol.md`, section
    3.5: to keep those away is the driver's part), one too early, or its inbox once it has masked and kept nothing.

    What comes behind the unmask request harms nobody: with that answer a client is finished.
    """
    phase = round_.cast.clients[name]._phase
    expected = _EXPECTED[type(phase)]
    masked = isinstance(phase, phases.AwaitingSurvivors | phases.AwaitingUnmask)
    for packet in _on_the_way(round_, name, up=False):
        if packet in round_.earlier or packet.kind > expected:
            return True
        if packet.kind == UnmaskRequest.KIND:
            return False
        if packet.kind == Inbox.KIND:
            if masked and not round_.cast.keep_input:
                return True
            masked = True
        expected = max(expected, packet.kind + 2)
    return False


def _on_the_way(round_: HonestRound, name: str, *, up: bool) -> Iterator[Packet]:
    """What a client will be told, or what it said and the server has not heard, in the order in which it arrives."""
    return (packet for packet in round_.flying if packet.up is up and packet.name == name)
