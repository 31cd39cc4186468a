"""Nobody ever opens both secrets of one client: not one client by its answers, not the server by equivocating.

Invariant: an honest client reveals of each target a share of its seed or a share of its mask key, whatever it is told
in whatever order. And with at most m colluders and 2t > n + m, no way of splitting the honest clients between
survivor sets gives the server t shares of both.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from secagg.errors import MisuseError, RemoteError
from secagg.pairwise import client as phases
from secagg.pairwise.messages import BOX_SIZE
from secagg.plan import Plan
from secagg.primitives.secret import Secret
from secagg.round.events import NeedInput, Send
from secagg.shamir import SHARE_SIZE
from secagg.store import MemoryStore
from secagg.testing.plans import UncertifiedPlan
from secagg.testing.table import Table, client_names
from secagg.types import Adversary, Leg
from secagg.wire import Message
from tests.support.liars import MASK_KEY_SEED, SELF_MASK_SEED, LyingClient, LyingServer, box_content

Positions = frozenset[int]


def small_table(plan: Plan, **changes: object) -> Table:
    inputs = np.arange(3 * plan.clients, dtype=np.uint32).reshape(plan.clients, 3)
    return Table(plan, inputs, **changes)  # type: ignore[arg-type]  # Table's own keywords


# Every way of splitting the honest clients, for n = 3, 4, 5.


@dataclass(frozen=True)
class Answers:
    """What one honest client does for one survivor set, found out by asking the real client.

    Attributes:
        signs: whether it confirms the set.
        unmasks_for: the sets of signers whose signatures make it unmask.
        opens: dealer -> which of its secrets it then reveals a share of.
    """

    signs: bool
    unmasks_for: frozenset[Positions]
    opens: dict[int, int]


class Interrogation:
    """Honest clients that have masked their input, asked each possible question in turn.

    A phase answers once; every question is put to a new phase with the same shares. That is more than any server can
    do, and what the clients say one by one bounds what a server hears.
    """

    def __init__(self, plan: Plan, colluders: Positions) -> None:
        self.plan = plan
        self.colluders = colluders
        self.honest = frozenset(range(plan.clients)) - colluders
        table = small_table(plan)
        self.server = LyingServer(table)
        self.server.play(Leg.MASK)
        self.clients = {position: table.clients[name] for position, name in enumerate(table.names)}
        self.liars = {position: LyingClient(table, table.names[position]) for position in colluders}

    def fresh_phase(self, position: int) -> phases.AwaitingSurvivors:
        phase = self.clients[position]._phase
        assert isinstance(phase, phases.AwaitingSurvivors)
        held = {
            dealer: (Secret(pair[MASK_KEY_SEED].reveal()), Secret(pair[SELF_MASK_SEED].reveal()))
            for dealer, pair in phase._held._shares.items()
        }
        return phases.AwaitingSurvivors(phase._seat, phase._joined, phases.Held(held))

    def signature(self, position: int, survivors: Positions) -> bytes | None:
        """A client's signature on a survivor set, or None where it refuses; colluders sign anything."""
        if position in self.colluders:
            return self.liars[position].confirmation(self.server.joined, survivors)
        try:
            _, message = self.fresh_phase(position).confirm(self.server.survivor_set(survivors))
        except RemoteError:
            return None
        return message.signature

    def question(self, position: int, survivors: Positions) -> Answers:
        """Show one survivor set to one client, then every set of signatures that exists on it."""
        given = {signer: self.signature(signer, survivors) for signer in survivors}
        signatures = {signer: signature for signer, signature in given.items() if signature is not None}
        if position not in signatures:
            return Answers(signs=False, unmasks_for=frozenset(), opens={})
        answers = {
            signers: self.shares_for(position, survivors, {signer: signatures[signer] for signer in signers})
            for signers in subsets(signatures)
        }
        shares = {answer for answer in answers.values() if answer is not None}
        assert len(shares) <= 1  # what it reveals does not depend on who signed
        return Answers(
            signs=True,
            unmasks_for=frozenset(signers for signers, answer in answers.items() if answer is not None),
            opens=self.secrets_behind(position, next(iter(shares))) if shares else {},
        )

    def shares_for(self, position: int, survivors: Positions, signatures: dict[int, bytes]) -> bytes | None:
        phase, _ = self.fresh_phase(position).confirm(self.server.survivor_set(survivors))
        try:
            return phase.unmask(self.server.unmask_request(signatures)).shares
        except RemoteError:
            return None

    def secrets_behind(self, position: int, shares: bytes) -> dict[int, int]:
        """Tell by the bytes themselves which secret of which dealer was revealed."""
        phase = self.clients[position]._phase
        assert isinstance(phase, phases.AwaitingSurvivors)
        found = {}
        for dealer, pair in phase._held._shares.items():
            kinds = [kind for kind in (MASK_KEY_SEED, SELF_MASK_SEED) if pair[kind].reveal() in shares]
            assert len(kinds) == 1, "both shares of one dealer, or none"
            found[dealer] = kinds[0]
        return found

    def answers(self) -> dict[tuple[int, Positions], Answers]:
        """Every honest client's answers to every survivor set, each of them a set of positions."""
        everyone = range(self.plan.clients)
        return {
            (position, survivors): self.question(position, survivors)
            for position in sorted(self.honest)
            for survivors in subsets(everyone)
        }


def subsets(items: Iterable[int]) -> Iterator[Positions]:
    ordered = sorted(items)
    for size in range(len(ordered) + 1):
        yield from map(frozenset, itertools.combinations(ordered, size))


@dataclass(frozen=True)
class Opened:
    """What one honest client reveals when the split is played out."""

    survivors: Positions
    opens: dict[int, int]


def splits(interrogation: Interrogation) -> Iterator[list[Opened]]:
    """Play out every split of the honest clients: each is shown one survivor set, for it signs no second one.

    A set's signers are the honest clients that were shown it and all colluders in it, and any of them are forwarded.
    Every honest client that can be brought to unmask is: more shares never hurt the server.
    """
    answers = interrogation.answers()
    honest, colluders = sorted(interrogation.honest), interrogation.colluders
    sets = list(subsets(range(interrogation.plan.clients)))
    choices = [[survivors for survivors in sets if answers[position, survivors].signs] for position in honest]
    for split in itertools.product(*choices):
        shown = dict(zip(honest, split, strict=True))
        signers = {
            survivors: frozenset(position for position in honest if shown[position] == survivors)
            | (colluders & survivors)
            for survivors in set(split)
        }
        yield [
            Opened(survivors, answers[position, survivors].opens)
            for position, survivors in shown.items()
            if any(forwarded <= signers[survivors] for forwarded in answers[position, survivors].unmasks_for)
        ]


def opens_both(interrogation: Interrogation) -> bool:
    """Whether some split yields a threshold of shares of both secrets of some honest client.

    The colluders hold a share of either secret of everyone, and that is what they add.
    """
    helpers, threshold = len(interrogation.colluders), interrogation.plan.threshold
    for split in splits(interrogation):
        for target in interrogation.honest:
            kinds = [opened.opens[target] for opened in split]
            if min(kinds.count(MASK_KEY_SEED), kinds.count(SELF_MASK_SEED)) + helpers >= threshold:
                return True
    return False


def plan_of(clients: int, corrupt: int, *, threshold: int, quorum: int, dropped: int) -> UncertifiedPlan:
    return UncertifiedPlan(
        clients=clients,
        max_dropped=dropped,
        max_corrupt=corrupt,
        adversary=Adversary.ACTIVE,
        degree=clients - 1,
        threshold=threshold,
        quorum=quorum,
    )


def certified_plans() -> list[Plan]:
    """Every safe plan of 3 to 5 clients with its smallest threshold, with and without drop-outs."""
    plans = []
    for clients, corrupt in itertools.product((3, 4, 5), (0, 1, 2)):
        for dropped in range(clients):
            least = (clients + corrupt) // 2 + 1
            if least <= clients - dropped and clients - dropped - corrupt >= 2:
                plans.append(Plan.find(clients=clients, max_dropped=dropped, max_corrupt=corrupt))
    return plans


def numbers(plan: Plan) -> str:
    return f"n={plan.clients} d={plan.max_dropped} m={plan.max_corrupt} t={plan.threshold} q={plan.quorum}"


def played_by(plan: Plan) -> Interrogation:
    """The last clients collude."""
    return Interrogation(plan, frozenset(range(plan.clients - plan.max_corrupt, plan.clients)))


@pytest.mark.parametrize("plan", certified_plans(), ids=numbers)
def test_no_split_of_the_honest_clients_opens_both_secrets_of_one(plan: Plan) -> None:
    assert not opens_both(played_by(plan))


@pytest.mark.parametrize("plan", certified_plans(), ids=numbers)
def test_no_split_makes_honest_clients_unmask_two_survivor_sets(plan: Plan) -> None:
    """The quorum makes the survivor set one: floors and noise rest on it."""
    some_unmask = False
    for split in splits(played_by(plan)):
        assert len({opened.survivors for opened in split}) <= 1
        some_unmask = some_unmask or bool(split)
    assert some_unmask


@pytest.mark.parametrize("plan", [plan for plan in certified_plans() if plan.clients < 5], ids=numbers)
def test_a_signature_on_another_survivor_set_makes_up_for_none(plan: Plan) -> None:
    """What the server has of clients it showed another set: their genuine signatures, on that."""
    asked = played_by(plan)
    everyone = frozenset(range(plan.clients))
    for position, signer in itertools.permutations(sorted(everyone), 2):
        for other in subsets(everyone):
            elsewhere = asked.signature(signer, other)
            if position in asked.honest and elsewhere is not None and other != everyone:
                signatures = {one: asked.signature(one, everyone) or b"" for one in everyone} | {signer: elsewhere}
                assert asked.shares_for(position, everyone, signatures) is None


@pytest.mark.parametrize(
    "plan",
    [
        plan_of(clients, corrupt, threshold=(clients + corrupt) // 2 + 1, quorum=0, dropped=dropped)
        for clients, corrupt, dropped in [(3, 0, 1), (4, 0, 1), (4, 1, 1), (5, 0, 2), (5, 1, 1), (5, 2, 1)]
    ],
    ids=numbers,
)
def test_the_threshold_protects_each_client_without_a_quorum(plan: Plan) -> None:
    assert not opens_both(played_by(plan))


@pytest.mark.parametrize(
    "plan",
    [plan_of(4, 0, threshold=2, quorum=0, dropped=2), plan_of(5, 1, threshold=3, quorum=0, dropped=2)],
    ids=numbers,
)
def test_with_one_share_less_the_same_search_finds_the_attack(plan: Plan) -> None:
    """The search sees what it should: where 2t = n + m and nobody signs, some split opens both secrets."""
    assert 2 * plan.threshold == plan.clients + plan.max_corrupt
    assert opens_both(played_by(plan))


# Anything a lying server can say, in any order.

LIARS_PLAN = Plan.find(clients=5, max_dropped=1, max_corrupt=1)
NAMES = client_names(LIARS_PLAN.clients)
COLLUDER = LIARS_PLAN.clients - 1
HONEST = range(COLLUDER)
EVERYONE = frozenset(range(LIARS_PLAN.clients))

honest_clients = st.sampled_from(HONEST)
# Mostly all or all but one, so that a round gets somewhere; now and then anything.
positions = st.one_of(
    st.just(EVERYONE),
    st.sampled_from(sorted(EVERYONE)).map(lambda gone: EVERYONE - {gone}),
    st.frozensets(st.sampled_from(sorted(EVERYONE))),
)
forgeries = st.dictionaries(
    st.sampled_from(sorted(EVERYONE)), st.sampled_from(("helper", "astray", "garbage")), max_size=2
)


class EquivocatingServer(RuleBasedStateMachine):
    """A server with one helper tells four honest clients what it likes, and they stop and resume at any point."""

    @initialize(keep_input=st.booleans(), legs=st.integers(0, 3), split=st.lists(positions, min_size=4, max_size=4))
    def play_honestly_up_to_a_leg(self, keep_input: bool, legs: int, split: list[Positions]) -> None:  # noqa: FBT001  # drawn
        self.stores = {name: MemoryStore() for name in NAMES}
        self.table = small_table(LIARS_PLAN, stores=self.stores, keep_input=keep_input)
        self.server = LyingServer(self.table)
        self.helper = LyingClient(self.table, NAMES[COLLUDER])
        self.shown: dict[int, Positions] = {}
        self.dealt: dict[int, dict[int, tuple[bytes, bytes]]] = {}
        self.server.play(Leg.ADVERTISE)
        self.server.tell(NAMES[COLLUDER], self.server.roster())
        for leg in range(legs):
            for client in HONEST:
                if leg < 2:
                    self.say_what_is_expected(client)
                else:
                    self.name_survivors(client, split[client])

    # What the server may do.

    @rule(client=honest_clients)
    def say_what_is_expected(self, client: int) -> None:
        """What an honest server would say now, if everyone were there."""
        match self.table.clients[NAMES[client]]._phase:
            case phases.AwaitingRoster():
                self.show_a_roster(client, EVERYONE)
            case phases.AwaitingInbox():
                self.hand_out_boxes(client, EVERYONE)
            case phases.AwaitingSurvivors():
                self.name_survivors(client, EVERYONE)
            case phases.AwaitingUnmask():
                agreed = [other for other, shown in self.shown.items() if shown == self.shown[client]]
                self.ask_for_shares(client, frozenset((*agreed, COLLUDER)))

    @rule(client=honest_clients, chosen=positions, swap=st.booleans(), forged=forgeries)
    def lie_in_turn(self, client: int, chosen: Positions, swap: bool, forged: dict[int, str]) -> None:  # noqa: FBT001  # drawn
        """The kind of message this client expects, with anything in it."""
        match self.table.clients[NAMES[client]]._phase:
            case phases.AwaitingRoster():
                self.show_a_roster(client, chosen, swap=swap)
            case phases.AwaitingInbox():
                self.hand_out_boxes(client, chosen, forged)
            case phases.AwaitingSurvivors():
                self.name_survivors(client, chosen)
            case phases.AwaitingUnmask():
                self.ask_for_shares(client, chosen, swap=swap)

    @rule(client=honest_clients, chosen=positions, kind=st.integers(0, 3))
    def lie_out_of_turn(self, client: int, chosen: Positions, kind: int) -> None:
        """Any kind of message, whatever the client expects."""
        (self.show_a_roster, self.hand_out_boxes, self.name_survivors, self.ask_for_shares)[kind](client, chosen)

    @rule(client=honest_clients, data=st.data())
    def repeat_something(self, client: int, data: st.DataObject) -> None:
        self.hand(
            client, data.draw(st.sampled_from(sorted({data for told in self.server.told.values() for data in told})))
        )

    @rule(client=honest_clients)
    def stop_and_resume(self, client: int) -> None:
        """The client's process ends and another takes up its record."""
        name = NAMES[client]
        self.table.clients[name] = resumed = self.table.new_client(name, self.stores[name])
        events = resumed.resume()
        if any(isinstance(event, NeedInput) for event in events):
            events = resumed.provide(self.table.input_of(name))
        self.server.heard[client] += [bytes(event.data) for event in events if isinstance(event, Send)]

    def show_a_roster(self, client: int, joined: Positions, *, swap: bool = False) -> None:
        adverts = {position: self.server.adverts[position] for position in joined}
        if swap and COLLUDER in adverts:
            adverts[COLLUDER] = self.helper.advert(mask_key=bytes((9, *bytes(31))))
        self.tell(client, self.server.roster(adverts))

    def hand_out_boxes(self, client: int, senders: Positions, forged: dict[int, str] | None = None) -> None:
        dealers = [dealer for dealer in senders if (dealer, client) in self.server.boxes]
        boxes = {dealer: self.forged_box(client, dealer, how) for dealer, how in (forged or {}).items()}
        self.tell(client, self.server.inbox(client, dealers, forged=boxes))

    def name_survivors(self, client: int, survivors: Positions) -> None:
        self.shown.setdefault(client, survivors)
        self.tell(client, self.server.survivor_set(survivors))

    def ask_for_shares(self, client: int, signers: Positions, *, swap: bool = False) -> None:
        """Forward what was signed, about whichever set; the helper signs the client's own set, or what all survive."""
        given = {signer: signed[-1] for signer, signed in self.server.signatures.items() if signer in signers}
        if COLLUDER in signers and client in self.server.rosters:
            about = EVERYONE if swap else self.shown.get(client, EVERYONE)
            given[COLLUDER] = self.helper.confirmation(self.server.joined_by(self.server.rosters[client]), about)
        self.tell(client, self.server.unmask_request(given))

    # What must hold, whatever it did.

    @invariant()
    def no_client_answers_a_leg_in_two_ways(self) -> None:
        for client in HONEST:
            answers = set(self.server.heard[client])
            assert len({answer[4] for answer in answers}) == len(answers)

    @invariant()
    def no_client_reveals_both_secrets_of_one_target(self) -> None:
        for client, pairs in self.dealt.items():
            said = b"".join(self.server.heard[client])
            for pair in pairs.values():
                assert pair[MASK_KEY_SEED] not in said or pair[SELF_MASK_SEED] not in said

    @invariant()
    def clients_that_unmask_agree_on_the_survivors(self) -> None:
        assert len({self.shown[client] for client in HONEST if client in self.server.revealed}) <= 1

    @invariant()
    def the_adversary_never_holds_a_threshold_of_both_secrets(self) -> None:
        """Counted by an observer that sees everything; the helper holds a share of either secret it was dealt."""
        for target in HONEST:
            held = {MASK_KEY_SEED: {COLLUDER}, SELF_MASK_SEED: {COLLUDER}}
            for client, pairs in self.dealt.items():
                said = b"".join(self.server.heard[client])
                for kind in (MASK_KEY_SEED, SELF_MASK_SEED):
                    if target in pairs and pairs[target][kind] in said:
                        held[kind].add(client)
            assert min(map(len, held.values())) < LIARS_PLAN.threshold

    # How it is done.

    def tell(self, client: int, message: Message) -> None:
        self.server.note_told(client, message)
        self.hand(client, self.server.envelope(NAMES[client], message))

    def hand(self, client: int, data: bytes) -> None:
        closed = self.table.clients[NAMES[client]].closed
        try:
            self.server.hand(NAMES[client], data)
        except MisuseError:
            assert closed
        self.remember_shares(client)

    def remember_shares(self, client: int) -> None:
        phase = self.table.clients[NAMES[client]]._phase
        if isinstance(phase, phases.AwaitingSurvivors) and client not in self.dealt:
            self.dealt[client] = {
                dealer: (pair[MASK_KEY_SEED].reveal(), pair[SELF_MASK_SEED].reveal())
                for dealer, pair in phase._held._shares.items()
            }

    def forged_box(self, client: int, dealer: int, how: str) -> bytes:
        """A box the helper sealed, or one that was sealed for someone else, or for no one."""
        seen = self.server.joined_by(self.server.rosters.get(client, self.server.roster()))
        if how == "helper" and COLLUDER in seen.adverts and client in seen.adverts:
            return self.helper.seal(seen, client, box_content(bytes(SHARE_SIZE), bytes(SHARE_SIZE)))
        astray = [box for (_, holder), box in sorted(self.server.boxes.items()) if holder != client]
        return astray[dealer % len(astray)] if how == "astray" else bytes(BOX_SIZE)


EquivocatingServer.TestCase.settings = settings(deadline=None, max_examples=500, stateful_step_count=25)
TestEquivocatingServer = EquivocatingServer.TestCase
