"""`Witness`: one round as nobody in it sees it: what every honest client was told, said, dealt, holds and revealed.

It reads requests and answers off the wire and works out, symbolically, what the server and every corrupt client know
together. Secrets are names here: a client's seed or mask key is known once a threshold of its shares is, and a masked
input is an equation whose unknowns are the masks nobody can expand yet.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from secagg.config import RoundConfig
from secagg.pairwise.client import AwaitingInput
from secagg.pairwise.messages import Inbox, MaskedInput, SealedShares, SurvivorSignature, UnmaskShares
from secagg.pairwise.roster import Joined
from secagg.ring import Words
from secagg.round.client import ClientRound
from tests.simulation import invariants
from tests.simulation.disks import Disk

MASK_KEY_SEED: Final = 0
SELF_MASK_SEED: Final = 1
_TELLING: Final = {SealedShares.KIND, MaskedInput.KIND, UnmaskShares.KIND}
"""Answers after which the adversary may know more than before."""


@dataclass(eq=False)
class Seen:
    """One honest client, as the witness knows it.

    Attributes:
        said: kind of answer -> every distinct message of that kind it gave.
        answered: request -> what it answered to it.
        survivors: the survivor set it believes in now.
        asked_by: the inbox it was last told.
        roster: the roster it dealt its shares for.
        opened: the dealers it masks towards.
        confirmed: every survivor set it agreed to.
        unmasked: every survivor set it revealed shares for.
        revealed: dealer -> the kinds of secret it revealed a share of.
        holders: per kind, who of the adversary's side holds or was sent a share of its secret.
    """

    said: dict[int, set[bytes]] = field(default_factory=lambda: collections.defaultdict(set))
    answered: dict[bytes, tuple[bytes, ...]] = field(default_factory=dict)
    roster: Joined | None = None
    opened: frozenset[int] = frozenset()
    confirmed: set[frozenset[int]] = field(default_factory=set)
    unmasked: set[frozenset[int]] = field(default_factory=set)
    revealed: dict[int, set[int]] = field(default_factory=lambda: collections.defaultdict(set))
    holders: tuple[set[int], set[int]] = field(default_factory=lambda: (set(), set()))
    survivors: frozenset[int] = frozenset()
    asked_by: bytes = b""


class Witness:
    """What is known of one round.

    Args:
        config: the round.
        names: the clients, by position.
        corrupt: positions that work for the adversary; theirs is all that is sent to them.
    """

    def __init__(self, config: RoundConfig, names: Sequence[str], *, corrupt: frozenset[int]) -> None:
        self.config = config
        self.names = names
        self.corrupt = corrupt
        self.seen = {position: Seen() for position in range(len(names)) if position not in corrupt}
        self.provided: dict[str, Words] = {}
        self.inputs: dict[bytes, Words] = {}

    def hears(
        self,
        name: str,
        request: bytes | None,
        answers: list[bytes],
        *,
        disk: Disk,
        rolled_back: bool,
        client: ClientRound,
    ) -> None:
        """Take in what one client was told and what it said; then every invariant of clients is looked at.

        Args:
            name: the client.
            request: what it was told; None where it was handed its input, empty where it began a new life.
            answers: what it said.
            disk: what it has on record now.
            rolled_back: whether its disk was.
            client: its round, to look into.
        """
        position = self.names.index(name)
        seat = client._seat
        if (seen := self.seen.get(position)) is None or (seat and seat.config.digest != self.config.digest):
            return  # a client of the adversary, or one that was lured into another round: nobody else is there
        self._look_into(seen, position, client)
        if request and request[4:5] == bytes((Inbox.KIND,)) and isinstance(client._phase, AwaitingInput):
            seen.asked_by = request
        if not answers:
            return
        fresh = [answer for answer in answers if answer not in seen.said[answer[4]]]
        for answer in answers:
            invariants.i10_messages_stay_within_bounds(answer, self.config)
            self._note(position, seen, answer)
        if request is None:
            request = seen.asked_by
        if request and not rolled_back:
            invariants.repeats_are_identical(name, seen.answered.setdefault(request, tuple(answers)), tuple(answers))
        invariants.i2_one_answer_a_leg(name, seen, rolled_back=rolled_back)
        if fresh:
            invariants.i7_recorded_before_said(self.config, fresh, disk, finished=client.closed)
        invariants.i5_floors_hold(self, position)
        if any(answer[4] in _TELLING for answer in fresh):
            invariants.i3_nothing_but_the_sum_shows(self)
        invariants.i6_all_who_unmask_agree(self)

    def _look_into(self, seen: Seen, position: int, client: ClientRound) -> None:
        """Read off the client's phase what it believes: the phase is what its answers are made from."""
        phase = client._phase
        seen.roster = getattr(phase, "_joined", None) or seen.roster
        if (held := getattr(phase, "_held", None)) is not None:
            seen.opened = frozenset(held.positions) - {position}
        if (survivors := getattr(phase, "_survivors", None)) is not None:
            seen.survivors = survivors

    def _note(self, position: int, seen: Seen, answer: bytes) -> None:
        seen.said[answer[4]].add(answer)
        match answer[4]:
            case SealedShares.KIND if seen.roster is not None:
                theirs = self.corrupt.intersection(seen.roster.neighbors(position))
                for holders in seen.holders:
                    holders.update(theirs)
            case MaskedInput.KIND:
                self.inputs.setdefault(answer, self.provided[self.names[position]])
            case SurvivorSignature.KIND:
                seen.confirmed.add(seen.survivors)
            case UnmaskShares.KIND:
                seen.unmasked.add(seen.survivors)
                for dealer in (*seen.opened, position):
                    kind = SELF_MASK_SEED if dealer in seen.survivors else MASK_KEY_SEED
                    seen.revealed[dealer].add(kind)
                    if dealer in self.seen:
                        self.seen[dealer].holders[kind].add(position)

    def said_by(self, name: str) -> list[bytes]:
        """Everything an honest client said, in a fixed order."""
        seen = self.seen.get(self.names.index(name))
        return [] if seen is None else sorted(answer for said in seen.said.values() for answer in said)

    # What the server and the corrupt clients know together.

    def knows(self, position: int, kind: int) -> bool:
        """Whether one secret of a client can be rebuilt; those of corrupt clients always can."""
        seen = self.seen.get(position)
        return seen is None or len(seen.holders[kind]) >= self.config.plan.threshold

    def shown(self) -> list[frozenset[int]]:
        """Every set of honest clients whose inputs' sum can be computed: all else is a sum of these.

        A masked input is an equation in its input, its self mask and its pairwise masks. A mask nobody on the
        adversary's side can expand stands in one equation (then that equation is useless), or in two with opposite
        signs (then it falls out of their sum and of no other). So what can be solved for is the sums over connected
        components without a useless equation.
        """
        masked = {position for position, seen in self.seen.items() if seen.said[MaskedInput.KIND]}
        hidden = {position for position in masked if not self.knows(position, SELF_MASK_SEED)}
        joined_to: dict[int, set[int]] = {position: set() for position in masked}
        for position in masked:
            for peer in self.seen[position].opened:
                if self.knows(position, MASK_KEY_SEED) or self.knows(peer, MASK_KEY_SEED):
                    continue
                if self._cancels(position, peer, masked):
                    joined_to[position].add(peer)
                else:
                    hidden.add(position)
        return [group for group in _components(joined_to) if not group & hidden]

    def _cancels(self, position: int, peer: int, masked: Collection[int]) -> bool:
        """Whether the peer's masked input holds the same pairwise mask with the other sign."""
        one, other = self.seen[position], self.seen[peer]
        if peer not in masked or position not in other.opened or one.roster is None or other.roster is None:
            return False
        return one.roster.digest == other.roster.digest


def _components(joined_to: Mapping[int, Collection[int]]) -> list[frozenset[int]]:
    groups: list[frozenset[int]] = []
    left = set(joined_to)
    while left:
        group, fresh = set(), {left.pop()}
        while fresh:
            group |= fresh
            fresh = {peer for position in fresh for peer in joined_to[position]} - group
        left -= group
        groups.append(frozenset(group))
    return groups
