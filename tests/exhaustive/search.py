"""Everything a lying server can do in a small round, played with the product's own clients.

A server with helpers shows each honest client any roster, any boxes and any survivor set that it can make, or stops.
Real `ClientRound`s answer in bytes; what each says to each thing it can be shown is found out once and kept, because a
round under fixed entropy repeats itself.

Order does not multiply the search. What a client answers depends on what it was shown alone, and a thing once
said stays said, so a leg's deliveries are never undone or hindered by another's; whatever can be shown in any order can
be shown leg by leg (tests/proof explores the orders too, on symbols, and finds the same sums).

The local answers are held against the definition by their bytes: a client masks towards exactly its inbox, and
reveals of each dealer the one share that the survivor set says. With that, `tests.proof.leg_model` says what server
and helpers know in each end state.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from secagg import wire
from secagg.pairwise import keys
from secagg.pairwise.channel import TAG_SIZE
from secagg.pairwise.messages import BOX_SIZE, MaskedInput, SealedShares, SurvivorSignature, UnmaskShares
from secagg.pairwise.roster import Joined
from secagg.plan import Plan
from secagg.shamir import SHARE_SIZE
from secagg.testing import masks
from secagg.testing.plans import UncertifiedPlan
from secagg.testing.table import Table
from secagg.types import Adversary, Leg
from tests.proof import leg_model
from tests.proof.leg_model import Numbers, Rules, View, holds, subsets
from tests.support.liars import MASK_KEY_SEED, SELF_MASK_SEED, LyingClient, LyingServer, box_content

OTHER_MASKS = "masks towards others than its inbox"
OTHER_SHARES = "reveals other shares than the survivor set says"

_INPUT_LENGTH = 3


def plan_of(numbers: Numbers) -> UncertifiedPlan:
    """A plan of any numbers, safe or not."""
    return UncertifiedPlan(
        clients=numbers.clients,
        max_dropped=numbers.dropped,
        max_corrupt=numbers.corrupt,
        adversary=Adversary.ACTIVE,
        degree=numbers.clients - 1,
        threshold=numbers.threshold,
        quorum=numbers.quorum,
    )


def new_table(plan: Plan) -> Table:
    words = np.arange(1, 1 + plan.clients * _INPUT_LENGTH, dtype=np.uint32) * np.uint32(0x01000193)
    return Table(plan, words.reshape(plan.clients, _INPUT_LENGTH))


def positions(members: int) -> list[int]:
    return [position for position in range(members.bit_length()) if holds(members, position)]


def mask_of(members: Iterable[int]) -> int:
    return sum(1 << position for position in members)


@dataclass
class Found:
    """What a search saw.

    Attributes:
        states: end states, each a view of every honest client or a silence of every client.
        answers: how often a real client was played to learn what it says.
        outcomes: what can be read in the end -> in how many states.
        sums: the sets of honest clients, as bit masks, whose sum a lying server read.
        violations: what went wrong -> the first state it was seen in.
    """

    states: int = 0
    answers: int = 0
    outcomes: collections.Counter[str] = field(default_factory=collections.Counter)
    sums: set[int] = field(default_factory=set)
    violations: dict[str, str] = field(default_factory=dict)

    def report(self, wrong: str, where: object) -> None:
        self.violations.setdefault(wrong, repr(where))


# What one client says.


@dataclass(frozen=True)
class Said:
    """The answers of a client that took everything in a view; what it was not asked for is empty.

    Attributes:
        boxes: receiver -> box.
        signature: on the view's survivor set.
    """

    boxes: Mapping[int, bytes]
    signature: bytes = b""


class Cast:
    """A table's clients, each played afresh for every question put to it.

    Args:
        numbers: who takes part; the last `corrupt` clients are the server's.
        found: where answers are counted and faults reported.
    """

    def __init__(self, numbers: Numbers, found: Found) -> None:
        self.numbers = numbers
        self.found = found
        self.table = new_table(plan_of(numbers))
        self.server = LyingServer(self.table)
        self.server.play(Leg.ADVERTISE)
        self.insight = {position: LyingClient(self.table, name) for position, name in enumerate(self.table.names)}
        self.helpers = positions(numbers.helpers)
        self._said: dict[tuple[int, View, int], Said | None] = {}
        self._joined: dict[int, Joined] = {}

    def joined(self, roster: int) -> Joined:
        if roster not in self._joined:
            self._joined[roster] = self.server.joined_by(self.server.roster(positions(roster)))
        return self._joined[roster]

    def says(self, position: int, view: View, signers: int = 0) -> Said | None:
        """What a client answers to all of a view, or None where it refuses the last thing in it.

        Args:
            position: the client.
            view: what it is shown. It must be known to take all but the last part.
            signers: with `view.unmasked`, whose signatures it is shown.
        """
        question = position, view, signers
        if question not in self._said:
            self.found.answers += 1
            self._said[question] = self._play(position, view, signers)
        return self._said[question]

    def _play(self, position: int, view: View, signers: int) -> Said | None:
        name = self.table.names[position]
        self.table.clients[name] = self.table.new_client(name)
        self.table.failures.pop(name, None)
        answers: list[bytes] = []
        for message in self._messages(position, view, signers):
            answers += self.table.hand(name, self.server.envelope(name, message))
            if name in self.table.failures:
                return None
        return self._read(position, view, answers)

    def _messages(self, position: int, view: View, signers: int) -> Iterator[wire.Message]:
        yield self.server.offer()
        yield self.server.roster(positions(view.roster))
        if view.inbox:
            dealers = [dealer for dealer in positions(view.inbox) if dealer != position]
            boxes = {dealer: self.box(dealer, position, view.roster) for dealer in dealers}
            yield self.server.inbox(position, dealers, forged=boxes)
        if view.survivors:
            yield self.server.survivor_set(positions(view.survivors))
        if view.unmasked:
            yield self.server.unmask_request({one: self.signature(one, view) for one in positions(signers)})

    def box(self, dealer: int, receiver: int, roster: int) -> bytes:
        """The box that a dealer seals under a roster."""
        if dealer not in self.helpers:
            said = self.says(dealer, View(roster=roster))
            if said is None:
                raise ValueError("no box exists under a roster that its dealer refuses")
            return said.boxes[receiver]
        liar, joined = self.insight[dealer], self.joined(roster)
        own = liar.secrets.mask_key_seed.reveal(), liar.secrets.self_mask_seed.reveal()
        dealt = liar.deal(joined, threshold=self.numbers.threshold, secrets=own)
        return liar.seal(joined, receiver, box_content(*dealt[receiver]))

    def signature(self, signer: int, view: View) -> bytes:
        """A signature on a view's survivor set: a helper's, or that of any honest client which signs it."""
        joined, survivors = self.joined(view.roster), positions(view.survivors)
        return self.insight[signer].confirmation(joined, survivors)

    # Reading the answers, and holding them against what the view says.

    def _read(self, position: int, view: View, answers: list[bytes]) -> Said:
        boxes: dict[int, bytes] = {}
        signature = b""
        for data in answers:
            kinds = {each.KIND: each for each in (SealedShares, MaskedInput, SurvivorSignature, UnmaskShares)}
            kind = kinds.get(wire.kind_of(data))
            if kind is None:  # the advert
                continue
            envelope = wire.open_envelope(data, max_size=len(data), tag_size=TAG_SIZE)
            match wire.decode_body(kind, envelope.body):
                case SealedShares(boxes=sealed):
                    receivers = self.joined(view.roster).neighbors(position)
                    boxes = dict(zip(receivers, pieces(sealed, BOX_SIZE), strict=True))
                case MaskedInput():
                    self._check_masks(position, view, bytes(envelope.tail))
                case SurvivorSignature(signature=given):
                    signature = given
                    if signature != self.signature(position, view):
                        self.found.report("signs another set than it was shown", (position, view))
                case UnmaskShares(shares=shares):
                    self._check_shares(position, view, pieces(shares, SHARE_SIZE))
        return Said(boxes=boxes, signature=signature)

    def _check_masks(self, position: int, view: View, tail: bytes) -> None:
        """The masked input is the input, the self mask and one mask for each other client of the inbox."""
        config, insight, joined = self.table.config, self.insight[position], self.joined(view.roster)
        seed = insight.secrets.self_mask_seed
        own_key = keys.self_mask_key(seed, config_digest=config.digest, box=insight.secrets.box)
        pair_keys = {
            peer: keys.pairwise_mask_key(
                insight.secrets.mask_private,
                joined.mask_endpoint(position),
                joined.mask_endpoint(peer),
                config_digest=config.digest,
                roster_digest=joined.digest,
            )
            for peer in positions(view.inbox)
            if peer != position
        }
        expected = masks.net_mask(position, own_key, pair_keys, ring=config.ring, length=config.length)
        expected += self.table.inputs[position]
        if config.ring.pack(expected) != tail:
            self.found.report(OTHER_MASKS, (position, view))

    def _check_shares(self, position: int, view: View, shares: list[bytes]) -> None:
        """One share a dealer of the inbox: of a survivor's self-mask seed, or of another's mask-key seed."""
        given = dict(zip(positions(view.inbox), shares, strict=True))
        own = given.pop(position)
        right = all(
            share
            == self._dealt(dealer, position, view.roster)[
                SELF_MASK_SEED if holds(view.survivors, dealer) else MASK_KEY_SEED
            ]
            for dealer, share in given.items()
        )
        if not right or not self._is_own_seed_share(position, view.roster, own):
            self.found.report(OTHER_SHARES, (position, view))

    def _is_own_seed_share(self, position: int, roster: int, share: bytes) -> bool:
        """Whether a share that never was in a box completes t - 1 that were to the client's own seed."""
        others = [holder for holder in positions(roster) if holder != position][: self.numbers.threshold - 1]
        shares = {holder: self._dealt(position, holder, roster)[SELF_MASK_SEED] for holder in others}
        return self.server.rebuild(shares | {position: share}) == self.insight[position].secrets.self_mask_seed

    def _dealt(self, dealer: int, holder: int, roster: int) -> tuple[bytes, bytes]:
        """The two shares in a dealer's box for a holder."""
        return self.insight[holder].open(self.joined(roster), dealer, self.box(dealer, holder, roster))


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


# A lying server.


def lying_server(numbers: Numbers, *, until: str | None = None) -> Found:
    """Show the honest clients everything there is to show them.

    Args:
        numbers: who takes part.
        until: a violation to stop at; the whole search unless given.
    """
    found = Found()
    cast = Cast(numbers, found)
    for rosters in itertools.product(*(shown_rosters(cast, position) for position in numbers.honest)):
        endings = [list(endings_of(cast, position, rosters)) for position in numbers.honest]
        for shown in itertools.product(*endings):
            state = unmasked(cast, shown)
            judge(numbers, state, found)
            if until in found.violations:
                return found
    return found


def shown_rosters(cast: Cast, position: int) -> Iterator[int]:
    """The rosters that a client takes, and none."""
    yield 0
    for roster in subsets(cast.numbers.everyone):
        if holds(roster, position) and cast.says(position, View(roster=roster)) is not None:
            yield roster


def endings_of(cast: Cast, position: int, rosters: tuple[int, ...]) -> Iterator[View]:
    """Every view in which a client may end before it unmasks, once all rosters are shown."""
    roster = rosters[position]
    view = View(roster=roster)
    yield view
    if not roster:
        return
    dealt = mask_of(peer for peer, other in enumerate(rosters) if other == roster) | cast.numbers.helpers & roster
    for boxes in subsets(dealt & ~(1 << position)):
        opened = view._replace(inbox=boxes | 1 << position)
        if cast.says(position, opened) is None:
            continue
        yield opened
        for survivors in subsets(cast.numbers.everyone):
            named = opened._replace(survivors=survivors)
            if survivors and cast.says(position, named) is not None:
                yield named


def unmasked(cast: Cast, shown: tuple[View, ...]) -> tuple[View, ...]:
    """The state in which everyone that can be brought to unmask has: more shares never tell a server less."""
    state = []
    for position, view in enumerate(shown):
        if view.survivors:
            signers = leg_model.signers_of(cast.numbers, shown, view)
            if cast.says(position, view._replace(unmasked=True), signers) is not None:
                state.append(view._replace(unmasked=True))
                continue
        state.append(view)
    return tuple(state)


def judge(numbers: Numbers, state: tuple[View, ...], found: Found) -> None:
    found.states += 1
    wrong = leg_model.violation(numbers, Rules(), state)
    if wrong is not None:
        found.report(wrong, state)
    sums = leg_model.knowledge(numbers, state).sums
    found.sums |= sums
    found.outcomes[" and ".join(f"sum of {members.bit_count()}" for members in sorted(sums)) or "nothing"] += 1
