"""Products with one fault planted: what the simulator must find, and soon, or it would not find a real one either."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final
from unittest import mock

import msgspec

from secagg import wire
from secagg.errors import Unrecoverable, Violation
from secagg.pairwise import checks
from secagg.pairwise import client as phases
from secagg.pairwise import server as server_phases
from secagg.pairwise.channel import Channel
from secagg.pairwise.messages import KeyAdvert, SurvivorSet, UnmaskRequest
from secagg.pairwise.recover import Recovery
from secagg.pairwise.roster import Joined
from secagg.plan import Plan
from secagg.round.client import ClientRound
from secagg.round.journal import Journal, Kind
from secagg.rules import Rule
from secagg.testing.plans import UncertifiedPlan
from secagg.types import Adversary, Leg
from tests.simulation.session import ACTIVE

WEAK: Final = (
    UncertifiedPlan(
        clients=4,
        max_dropped=2,
        max_corrupt=0,
        adversary=Adversary.ACTIVE,
        degree=3,
        threshold=2,
        quorum=2,
    ),
)
"""2t > n + m fails by one: two halves open everything."""


@dataclass(frozen=True)
class Mutant:
    """A product with a fault.

    Attributes:
        plant: puts the fault in while it is entered.
        invariants: which may be broken by it.
        plans: plans to play, where the fault is in them.
    """

    plant: Callable[[], contextlib.AbstractContextManager[object]]
    invariants: frozenset[str]
    plans: tuple[Plan, ...] = ACTIVE


def _patched(owner: object, name: str, replacement: object) -> contextlib.AbstractContextManager[object]:
    return mock.patch.object(owner, name, replacement)


def roster_instead_of_inbox() -> contextlib.AbstractContextManager[object]:
    """A client holds the survivors against the roster: the leak this protocol's inbox rule is about."""
    genuine = checks.check_survivors

    def against_the_roster(
        survivors: SurvivorSet, *, invitation: checks.Invitation, joined: Joined, inbox: Collection[int]
    ) -> frozenset[int]:
        del inbox
        return genuine(survivors, invitation=invitation, joined=joined, inbox=joined.adverts.keys())

    return _patched(checks, "check_survivors", against_the_roster)


def quorum_off_by_one() -> contextlib.AbstractContextManager[object]:
    """A client unmasks on one signature less than the quorum."""
    genuine = checks.check_unmask_request

    def one_less(request: UnmaskRequest, *, config: Any, **facts: Any) -> None:
        try:
            genuine(request, config=config, **facts)
        except Violation as error:
            if error.rule is not Rule.QUORUM_REACHED or len(request.signatures) < 64 * (config.plan.quorum - 1):
                raise

    return _patched(checks, "check_unmask_request", one_less)


def answers_twice() -> contextlib.AbstractContextManager[object]:
    """A client takes a second survivor set after it has signed one."""
    genuine = ClientRound._read

    def forgetful(self: ClientRound, data: bytes) -> wire.Message:
        phase = self._phase
        if isinstance(phase, phases.AwaitingUnmask) and wire.kind_of(data) == SurvivorSet.KIND:
            self._phase = phases.AwaitingSurvivors(phase._seat, phase._joined, phase._held)
            phase._clear()
        return genuine(self, data)

    return _patched(ClientRound, "_read", forgetful)


def goes_on_after_a_refusal() -> contextlib.AbstractContextManager[object]:
    """A client that refused a message stays in the round."""
    return _patched(ClientRound, "_close", lambda self, reason: None)


def forgets_the_number() -> contextlib.AbstractContextManager[object]:
    """A round's number is not used up."""
    return _patched(Journal, "reserve", lambda self, session, number: None)


def leaves_no_mark() -> contextlib.AbstractContextManager[object]:
    """No mark says that an input was masked, so a resumed client masks another."""
    genuine = Journal.write

    def write(self: Journal, kind: Kind, payload: bytes = b"") -> None:
        if kind is not Kind.MASKED:
            genuine(self, kind, payload)

    return _patched(Journal, "write", write)


def keeps_its_record() -> contextlib.AbstractContextManager[object]:
    """What a round leaves on disk is never erased."""
    return _patched(Journal, "erase", lambda self: None)


def verifies_nothing() -> contextlib.AbstractContextManager[object]:
    """A server believes whatever the shares give."""
    return _patched(Recovery, "_verifies", lambda self, dealer, secret: True)


def counts_conflicting_inputs() -> contextlib.AbstractContextManager[object]:
    """A server counts two inputs of which one lacks the mask towards the other."""
    return _patched(checks, "check_no_conflict", lambda position, unopened, *, counted: None)


def checks_no_tag() -> contextlib.AbstractContextManager[object]:
    """Both ends take any tag."""
    return _patched(Channel, "verifies", lambda *args, **kwargs: True)


def one_key_for_all_tags() -> contextlib.AbstractContextManager[object]:
    """The key of a tag does not depend on the message."""
    genuine = Channel._key_for
    return _patched(Channel, "_key_for", lambda self, direction, kind, index: genuine(self, direction, 0, 0))


def remembers_refused_adverts() -> contextlib.AbstractContextManager[object]:
    """A server notes an advert's keys as taken before it has looked at its signature."""
    genuine = server_phases.CollectingAdverts.receive

    def receive(self: server_phases.CollectingAdverts, position: int, advert: KeyAdvert) -> None:
        self._taken.add(advert.signature)
        genuine(self, position, advert)

    return _patched(server_phases.CollectingAdverts, "receive", receive)


def suspects_anyone() -> contextlib.AbstractContextManager[object]:
    """A server names the dealer whenever its secret cannot be rebuilt."""

    def unrecoverable(self: Recovery, dealer: int, found: object) -> Unrecoverable:
        del found
        suspects = tuple(name for name in self.invited if name != self.invited[dealer])
        return Unrecoverable(Rule.SECRET_MATCHES, "somebody lies", leg=Leg.UNMASK, suspects=suspects)

    return _patched(Recovery, "_unrecoverable", unrecoverable)


def lets_a_bare_error_out() -> contextlib.AbstractContextManager[object]:
    """A bad body raises the decoder's own error."""

    def decode_body(kind: type[wire.AnyMessage], data: bytes | memoryview) -> wire.AnyMessage:
        message: wire.AnyMessage = msgspec.msgpack.decode(data, type=kind)
        return message

    return _patched(wire, "decode_body", decode_body)


@contextlib.contextmanager
def nothing() -> Iterator[None]:
    """The product as it is; the fault is in the plan."""
    yield


def _breaks(*invariants: str) -> frozenset[str]:
    return frozenset(invariants)


I1, I2, I3, I4 = "i1_a_sum_is_exact", "i2_one_answer_a_leg", "i3_nothing_but_the_sum_shows", "i4_no_key_is_used_twice"
I5, I6, I7 = "i5_floors_hold", "i6_all_who_unmask_agree", "i7_recorded_before_said"
I9, I11, ERASED = "i9_a_refusal_changes_nothing", "i11_only_typed_errors", "store_is_erased"

MUTANTS: Final = {
    "roster_instead_of_inbox": Mutant(roster_instead_of_inbox, _breaks(I3, I5)),
    "quorum_off_by_one": Mutant(quorum_off_by_one, _breaks(I5, I6)),
    "answers_twice": Mutant(answers_twice, _breaks(I2, I4)),
    "goes_on_after_a_refusal": Mutant(goes_on_after_a_refusal, _breaks(ERASED)),
    "forgets_the_number": Mutant(forgets_the_number, _breaks(I7)),
    "leaves_no_mark": Mutant(leaves_no_mark, _breaks(I7)),
    "keeps_its_record": Mutant(keeps_its_record, _breaks(I7, ERASED)),
    "verifies_nothing": Mutant(verifies_nothing, _breaks(I1)),
    "counts_conflicting_inputs": Mutant(counts_conflicting_inputs, _breaks(I1)),
    "checks_no_tag": Mutant(checks_no_tag, _breaks(I1, I9)),
    "one_key_for_all_tags": Mutant(one_key_for_all_tags, _breaks(I4)),
    "remembers_refused_adverts": Mutant(remembers_refused_adverts, _breaks(I9)),
    "suspects_anyone": Mutant(suspects_anyone, _breaks("blame_is_just")),
    "lets_a_bare_error_out": Mutant(lets_a_bare_error_out, _breaks(I11)),
    "threshold_too_small": Mutant(nothing, _breaks(I3, I6), WEAK),
}
