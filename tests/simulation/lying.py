"""A round of a lying server with up to max_corrupt helpers, against honest clients whose hosts crash and come back.

The server starts from a plot: two stories about who survived, boxes withheld from a victim, a roster of its own for
someone. It tells each client its part, in any order, and between the parts it lies at random, repeats old messages and
mixes up whose they are. Nothing has to come to a sum here. What the witness sees must never be more than one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

import msgspec

from secagg import wire
from secagg.config import RoundConfig, _Fields
from secagg.pairwise.messages import (
    BOX_SIZE,
    FROM_SERVER,
    NAMES,
    Inbox,
    KeyAdvert,
    Roster,
    RoundOffer,
    SurvivorSet,
    UnmaskRequest,
)
from secagg.primitives import labels
from secagg.primitives.kdf import digest
from secagg.types import SERVER
from tests.simulation.cast import Cast
from tests.simulation.cells import SERVER_LIES, Cell, cell
from tests.simulation.choices import Choices
from tests.support.liars import LyingClient, LyingServer

_ANY_LEG: Final = ("replay", "misroute", "early", "second set")
_MISCHIEF: Final = ("crash", "lie", "replay", "misroute", "early")
_WEIGHTS: Final = (2, 8, 2, 2, 1)


class LyingRound:
    """One round.

    Args:
        cast: the parties; the server in it is never started, only its channel key is used.
        choices: where decisions come from.
        past: what clients were told in earlier rounds of the session; what they are told in this one is added.
        hits: where cells are counted.
    """

    def __init__(
        self, cast: Cast, choices: Choices, *, past: list[tuple[str, bytes]], hits: Callable[[Cell], None]
    ) -> None:
        self.cast = cast
        self.choices = choices
        self.past = past
        self.hits = hits
        self.server = LyingServer(cast)
        self.everyone = frozenset(range(cast.plan.clients))
        self.helpers = {p: LyingClient(cast, cast.names[p]) for p in cast.witness.corrupt}
        self.turn = dict.fromkeys(range(cast.plan.clients), 0)
        self.views: dict[int, frozenset[int]] = {}
        self.told: list[tuple[int, bytes]] = []
        self.meant: dict[bytes, wire.Message] = {}
        self._draw_plot()

    def _draw_plot(self) -> None:
        """Whom to tell what: the coherent part of the lie."""
        choices, everyone = self.choices, sorted(self.everyone)
        plot = choices.pick(("two sets", "isolate", "none", "withhold"), "plot")
        self.stories = [self.everyone, self.everyone]
        self.withheld: dict[int, frozenset[int]] = {}
        self.story_of = dict.fromkeys(everyone, 0)
        if plot == "two sets":
            self.stories = [self._smaller_set(frozenset()), self._smaller_set(frozenset())]
            self.story_of = {position: choices.choose(2, "which story") for position in everyone}
        elif plot == "isolate":
            victim = choices.pick(everyone, "victim")
            story = self._smaller_set(frozenset({victim}), as_small_as_can_be=True)
            self.withheld = {victim: story - {victim}}
            self.stories = [story, story]
        elif plot == "withhold":
            self.withheld = {position: frozenset(choices.some(everyone, "withheld")) for position in everyone[:1]}
        self.lies_odds = choices.pick((0.0, 0.05, 0.1, 0.3), "how often it lies besides")

    def _smaller_set(self, kept: frozenset[int], *, as_small_as_can_be: bool = False) -> frozenset[int]:
        """A survivor set no floor forbids: without up to max_dropped clients, none of them in `kept`."""
        dropped = self.cast.plan.max_dropped
        left = sorted(self.everyone - kept)
        for _ in range(dropped if as_small_as_can_be else self.choices.choose(dropped + 1, "how many are left out")):
            left.pop(self.choices.choose(len(left), "who is left out"))
        return kept.union(left)

    def play(self) -> None:
        """Tell everyone its part, with lies between; in the end ask everyone for its shares once more."""
        for _ in range(len(FROM_SERVER) * len(self.everyone)):
            if self.choices.flag(self.lies_odds, "whether to lie"):
                self._disturb()
            self._proceed()
            self._tempt()
        for position in sorted(self.everyone):
            self._tell(position, self._request(position))

    def _tempt(self) -> None:
        """Show a client that has just agreed to one survivor set the other story, and ask it for both."""
        ready = [position for position, turn in self.turn.items() if turn == FROM_SERVER.index(UnmaskRequest)]
        if ready and self.choices.flag(0.2, "whether to tell the other story too"):
            position = self.choices.pick(ready, "whom to tempt")
            self.hits(cell(SurvivorSet.KIND, "second set", "lying server"))
            self._tell(position, self.server.survivor_set(self._smaller_set(frozenset({position}))))

    # The plot.

    def _proceed(self) -> None:
        """Tell the client that is furthest behind the next part of its story."""
        behind = min(self.turn, key=lambda position: (self.turn[position], position))
        turn = self.turn[behind]
        if turn >= len(FROM_SERVER):
            return
        self.turn[behind] += 1
        if self.cast.names[behind] in self.cast.down:
            self._resume(behind)
        if (message := self._part(behind, FROM_SERVER[turn])) is not None:
            self._tell(behind, message)

    def _part(self, position: int, kind: type[wire.Message]) -> wire.Message | None:
        """A client's next message by the plot; None where it cannot be made yet."""
        server = self.server
        if kind is RoundOffer:
            return server.offer()
        if position not in server.adverts:
            return None
        if kind is Roster:
            return server.roster()
        if kind is Inbox:
            dealers = self._dealers(position) - self.withheld.get(position, frozenset())
            return server.inbox(position, dealers)
        if kind is SurvivorSet:
            return server.survivor_set(self.stories[self.story_of.get(position, 0)])
        return self._request(position)

    def _dealers(self, position: int) -> frozenset[int]:
        """Whose boxes for this client are there."""
        return frozenset(dealer for dealer, holder in self.server.boxes if holder == position)

    def _request(self, position: int) -> UnmaskRequest:
        """Every genuine signature on the set this client believes in, and the helpers' on whatever it takes."""
        view = self.views.get(position, self.everyone)
        signed = {
            peer: signatures[-1]
            for peer, signatures in self.server.signatures.items()
            if self.views.get(peer) == view and peer in view
        }
        return self.server.unmask_request(signed | self._helping(position, view))

    def _helping(self, position: int, view: Collection[int]) -> dict[int, bytes]:
        roster = self.server.rosters.get(position)
        if roster is None or not self.server.adverts:
            return {}
        joined = self.server.joined_by(roster)
        return {p: helper.confirmation(joined, view) for p, helper in self.helpers.items() if p in view}

    # Telling.

    def _tell(self, position: int, message: wire.Message) -> None:
        name = self.cast.names[position]
        if not isinstance(message, RoundOffer) and position not in self.server.adverts:
            return
        self._hand(position, self.server.envelope(name, message), message)

    def _hand(self, position: int, data: bytes, message: wire.Message | None = None) -> None:
        """Hand a client bytes; what it then believes decides how its answers are read."""
        name = self.cast.names[position]
        self.told.append((position, data))
        self.past.append((name, data))
        message = self.meant.setdefault(data, message) if message is not None else self.meant.get(data)
        if name in self.cast.down:
            return
        if message is not None:
            self.server.note_told(position, message)
        self.server.hand(name, data)
        if isinstance(message, SurvivorSet):
            self.views.setdefault(position, self._members(message))

    def _members(self, message: SurvivorSet) -> frozenset[int]:
        value = int.from_bytes(message.survivors, "little")
        return frozenset(position for position in self.everyone if value >> position & 1)

    # Lies.

    def _disturb(self) -> None:
        what = _MISCHIEF[self.choices.weighted(_WEIGHTS, "what kind of lie")]
        position = self.choices.pick(sorted(self.everyone), "to whom")
        match what:
            case "crash":
                self._crash(position)
            case "replay":
                self._replay(position)
            case "misroute":
                if self.told:
                    _, data = self.choices.pick(self.told, "whose message")
                    self._count(data, "misroute")
                    self._hand(position, data)
            case "early":
                self._tell_early(position)
            case _:
                self._lie(position)

    def _tell_early(self, position: int) -> None:
        """Skip a leg or more."""
        kind: type[wire.Message] = UnmaskRequest if self.choices.flag(0.5, "what too early") else SurvivorSet
        if self.turn[position] < FROM_SERVER.index(kind) and position in self.server.adverts:
            message = self._part(position, kind)
            if message is not None:
                self.hits(cell(kind.KIND, "early", "lying server"))
                self._tell(position, message)

    def _crash(self, position: int) -> None:
        name = self.cast.names[position]
        if name in self.cast.down:
            self._resume(position)
        elif name not in self.cast.corrupt_names and not self.cast.clients[name].closed:
            turn = max(self.turn[position] - 1, 0)
            self.hits(cell(FROM_SERVER[turn].KIND, "crash", "lying server"))
            self.cast.crash(name)
            if self.choices.flag(0.7, "whether it comes back at once"):
                self._resume(position)

    def _resume(self, position: int) -> None:
        for answer in self.cast.resume(self.cast.names[position]):
            self.server._note(position, answer)

    def _replay(self, position: int) -> None:
        name = self.cast.names[position]
        if old := [data for who, data in self.past if who == name]:
            data = self.choices.pick(old, "which old message")
            self._count(data, "replay")
            self._hand(position, data)

    def _count(self, data: bytes, lie: str) -> None:
        name = NAMES.get(data[4], "")
        if lie in SERVER_LIES.get(name, ()):
            self.hits(cell(data[4], lie, "lying server"))

    def _lie(self, position: int) -> None:
        """One message of the client's present leg, bent."""
        turn = self.turn[position]
        if turn >= len(FROM_SERVER) or (turn and position not in self.server.adverts):
            return
        kind = FROM_SERVER[turn]
        lie = self.choices.pick([lie for lie in SERVER_LIES[kind.__name__] if lie not in _ANY_LEG], "which lie")
        if kind is RoundOffer:
            self.hits(cell(kind.KIND, lie, "lying server"))
            self._bend_offer(position, lie)
        elif (message := self._bent(kind, position, lie)) is not None:
            self.hits(cell(kind.KIND, lie, "lying server"))
            self.turn[position] += 1
            self._tell(position, message)

    def _bent(self, kind: type[wire.Message], position: int, lie: str) -> wire.Message | None:
        """A message with one lie in it; None where there is nothing yet to make it from."""
        if kind is Roster:
            return self._bend_roster(position, lie)
        if kind is Inbox:
            return self._bend_inbox(position, lie)
        return self._bend_survivors(position, lie) if kind is SurvivorSet else self._bend_request(position, lie)

    def _bend_offer(self, position: int, lie: str) -> None:
        """An offer of another round; the header fits it, as a liar would see to."""
        config, offer = self.cast.config, self.server.offer()
        encoded, invited, key = offer.config, list(offer.invited), offer.server_key
        if lie == "another number":
            number = config.round + self.choices.choose(3, "how many rounds ahead") - 1
            encoded = _altered(config, round=max(number, 0))
        elif lie == "another config":
            encoded = _altered(config, instructions_digest=bytes(32))
        elif lie == "stranger invited":
            invited[-1] = "mallory"
        else:
            key = bytes(32)
        bent = RoundOffer(config=encoded, invited=invited, server_key=key)
        data = wire.front(bent, config_digest=digest(labels.CONFIG_DIGEST, encoded), sender=SERVER)
        self._hand(position, data)

    def _bend_roster(self, position: int, lie: str) -> wire.Message | None:
        adverts = dict(self.server.adverts)
        others = sorted(adverts.keys() - {position})
        if not others:
            return None
        one, other = self.choices.pick(others, "whose advert"), self.choices.pick(others, "and whose")
        match lie:
            case "cut":
                for gone in self.choices.some(others, "who is cut") or [one]:
                    del adverts[gone]
            case "swapped adverts":
                adverts[one], adverts[other] = adverts[other], adverts[one]
            case "own key":
                theirs = adverts[one]
                adverts[one] = KeyAdvert(
                    mask_key=self.cast.server._public,
                    box_key=theirs.box_key,
                    seed_commitment=theirs.seed_commitment,
                    signature=theirs.signature,
                )
            case _:
                helper = self.helpers.get(one)
                stolen = adverts[position].mask_key
                adverts[one] = adverts[position] if helper is None else helper.advert(mask_key=stolen)
        return self.server.roster(adverts)

    def _bend_inbox(self, position: int, lie: str) -> wire.Message | None:
        dealers = sorted(self._dealers(position))
        if not dealers:
            return None
        if lie == "withhold":
            return self.server.inbox(position, set(self.choices.some(dealers, "which boxes")))
        one, other = self.choices.pick(dealers, "whose box"), self.choices.pick(dealers, "and whose")
        boxes = self.server.boxes
        if lie == "swapped boxes":
            forged = {one: boxes[other, position], other: boxes[one, position]}
        else:
            forged = {one: bytes((1,)) * BOX_SIZE}
        return self.server.inbox(position, dealers, forged=forged)

    def _bend_survivors(self, position: int, lie: str) -> wire.Message:
        if lie == "split":
            return self.server.survivor_set(self.stories[1 - self.story_of.get(position, 0)])
        if lie == "below the floor":
            return self.server.survivor_set({position})
        return self.server.survivor_set(self.choices.some(sorted(self.everyone), "which set"))

    def _bend_request(self, position: int, lie: str) -> wire.Message:
        signatures = {peer: signed[-1] for peer, signed in self.server.signatures.items()}
        view = self.views.get(position, self.everyone)
        match lie:
            case "pooled signatures":
                chosen = signatures
            case "too few":
                chosen = dict(sorted(signatures.items())[: max(self.cast.plan.quorum - 1, 0)])
            case "copied signature":
                chosen = dict.fromkeys(sorted(view), next(iter(signatures.values()), bytes(64)))
            case _:
                chosen = signatures | self._helping(position, view)
        return self.server.unmask_request(chosen)


def _altered(config: RoundConfig, **changes: object) -> bytes:
    fields = wire.decode_body(_Fields, config.encoded)
    return wire.encode_body(msgspec.structs.replace(fields, **changes))
