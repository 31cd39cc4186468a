"""One scenario for each Rule: someone breaks it through the public face, and what must follow follows.

A client that meets it says so by name, is closed and wiped, has erased its record and answers nothing more. A server
that meets it says so by name and is as it was: the round then comes to the exact sum of everyone else, and of the
sender too where it has an honest message to send.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import pytest

from secagg import shamir, wire
from secagg.aggregate import Blame
from secagg.config import RoundConfig, _Fields, invited_digest, sorted_invited
from secagg.errors import Malformed, MisuseError, RemoteError, Unauthentic, Unexpected, Unrecoverable, Violation
from secagg.identity import MemoryDirectory, client_id
from secagg.pairwise import client as phases
from secagg.pairwise.channel import TAG_SIZE
from secagg.pairwise.messages import (
    BOX_SIZE,
    Inbox,
    KeyAdvert,
    MaskedInput,
    Roster,
    RoundOffer,
    SealedShares,
    SurvivorSet,
    SurvivorSignature,
    UnmaskRequest,
    UnmaskShares,
    max_size,
)
from secagg.plan import Plan
from secagg.policy import Policy
from secagg.primitives import labels
from secagg.primitives.kdf import digest
from secagg.primitives.secret import Secret
from secagg.primitives.suite import DIGEST_SIZE
from secagg.round.client import ClientRound
from secagg.round.events import Failed, Rejected
from secagg.rules import Rule
from secagg.shamir import SHARE_SIZE
from secagg.store import MemoryStore
from secagg.testing.entropy import FixedEntropy
from secagg.testing.plans import LaxPolicy, small_regular_plan
from secagg.testing.table import Table, client_names
from secagg.types import SERVER, Adversary, Leg
from secagg.wire import HEADER_SIZE, Message
from tests.support.liars import LyingClient, LyingServer
from tests.support.whitebox import kept_by, round_secrets_of, secrets_in, unwiped

PLAN = Plan.find(clients=6, max_dropped=1, max_corrupt=1)  # threshold and quorum are 4
NAMES = client_names(PLAN.clients)
EVERYONE = frozenset(range(PLAN.clients))
VICTIM, LIAR = 1, 5
OTHERS = EVERYONE - {VICTIM}
BITS = 20  # three words end inside a byte, so there is padding to spoil
LOW_ORDER = bytes(32)


def new_table(plan: Plan = PLAN, **changes: object) -> Table:
    inputs = np.random.default_rng(7).integers(0, 1 << BITS, (plan.clients, 3), dtype=np.uint32)
    return Table(plan, inputs, bits=BITS, **changes)  # type: ignore[arg-type]  # Table's own keywords


# What a client refuses.


@dataclass(frozen=True)
class Bait:
    """A client about to be told what it must refuse: `names` is the peer its error names, if any."""

    client: ClientRound
    data: bytes
    store: MemoryStore
    told: list[bytes]
    names: str | None = None


class Stage:
    """A lying server, honest until everyone has answered `leg`; then it aims at the victim."""

    def __init__(self, leg: Leg, *, policy: Policy | None = None, plan: Plan = PLAN) -> None:
        self.store = MemoryStore()
        self.table = new_table(plan, policy=policy, stores={NAMES[VICTIM]: self.store})
        self.server = LyingServer(self.table)
        self.liar = LyingClient(self.table, NAMES[LIAR])
        self.client = self.table.clients[NAMES[VICTIM]]
        self.server.play(leg)

    def says(self, message: bytes | Message, *, names: int | None = None) -> Bait:
        """Aim bytes, or a message under a valid tag, at the victim."""
        data = message if isinstance(message, bytes) else self.server.envelope(NAMES[VICTIM], message)
        told = self.server.told.get(VICTIM, [])
        return Bait(self.client, data, self.store, told, None if names is None else NAMES[names])

    def offers(self, config: RoundConfig | bytes | None = None, **changes: object) -> Bait:
        """Offer the victim another config, or the right one with another list or key; the header fits it."""
        config = config or self.table.config
        encoded = config if isinstance(config, bytes) else config.encoded
        fields: dict[str, object] = {"invited": NAMES, "server_key": self.table.server._public} | changes
        offer = RoundOffer(config=encoded, **fields)  # type: ignore[arg-type]  # the fields named above
        return self.says(wire.front(offer, config_digest=digest(labels.CONFIG_DIGEST, encoded), sender=SERVER))

    def meets(self, **changes: object) -> Stage:
        """Put another client, with something about it changed, where the victim stands."""
        self.store = MemoryStore()
        self.client = self.table.new_client(NAMES[VICTIM], self.store, **changes)
        for data in self.server.told.get(VICTIM, []):
            self.client.receive(data)
        return self

    def roster_with(self, advert: KeyAdvert, position: int = LIAR) -> Roster:
        return self.server.roster(self.server.adverts | {position: advert})

    def signatures(self, signers: Iterable[int]) -> dict[int, bytes]:
        return {signer: self.server.signatures[signer][0] for signer in signers}


ClientScenario = Callable[[], Bait]
CLIENT: list[tuple[Rule, ClientScenario]] = []


def a_client_refuses(rule: Rule) -> Callable[[ClientScenario], ClientScenario]:
    def register(scenario: ClientScenario) -> ClientScenario:
        CLIENT.append((rule, scenario))
        return scenario

    return register


@a_client_refuses(Rule.WIRE_FORMAT)
def a_message_of_another_protocol() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    return stage.says(b"SAG2" + stage.says(stage.server.roster()).data[4:])


@a_client_refuses(Rule.WIRE_FORMAT)
def a_message_with_a_tail_where_none_belongs() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    data = wire.front(stage.server.roster(), config_digest=stage.table.config.digest, sender=SERVER) + b"?"
    return stage.says(data + stage.server.tag(NAMES[VICTIM], Roster.KIND, data))


@a_client_refuses(Rule.WIRE_SIZE)
def a_roster_longer_than_any() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    limit = max_size(Roster, stage.table.config)
    return stage.says(stage.says(stage.server.roster()).data.ljust(limit + 1, b"\0"))


@a_client_refuses(Rule.WIRE_ROUND)
def a_roster_of_another_round() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    data = wire.front(stage.server.roster(), config_digest=bytes(DIGEST_SIZE), sender=SERVER)
    return stage.says(data + stage.server.tag(NAMES[VICTIM], Roster.KIND, data))


@a_client_refuses(Rule.WIRE_ROUND)
def an_offer_whose_header_names_another_config() -> Bait:
    stage = Stage(Leg.OFFER)
    return stage.says(wire.front(stage.server.offer(), config_digest=bytes(DIGEST_SIZE), sender=SERVER))


@a_client_refuses(Rule.WIRE_SENDER)
def a_roster_in_a_clients_name() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    data = wire.front(stage.server.roster(), config_digest=stage.table.config.digest, sender=LIAR)
    return stage.says(data + stage.server.tag(NAMES[VICTIM], Roster.KIND, data))


@a_client_refuses(Rule.WIRE_TAG)
def a_roster_tagged_for_someone_else() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    return stage.says(stage.server.envelope(NAMES[LIAR], stage.server.roster()))


@a_client_refuses(Rule.WIRE_TAG)
def a_survivor_set_under_the_tag_of_another_kind() -> Bait:
    stage = Stage(Leg.MASK)
    data = wire.front(stage.server.survivor_set(EVERYONE), config_digest=stage.table.config.digest, sender=SERVER)
    return stage.says(data + stage.server.tag(NAMES[VICTIM], Roster.KIND, data))


@a_client_refuses(Rule.WIRE_ORDER)
def survivors_before_the_inbox() -> Bait:
    stage = Stage(Leg.SHARE)
    return stage.says(stage.server.survivor_set(EVERYONE))


@a_client_refuses(Rule.WIRE_ORDER)
def the_inbox_again_when_its_answer_was_not_kept() -> Bait:
    stage = Stage(Leg.MASK)
    return stage.says(stage.server.told[VICTIM][-1])


@a_client_refuses(Rule.OFFER_CONFIG)
def a_round_number_of_zero() -> Bait:
    stage = Stage(Leg.OFFER)
    return stage.offers(altered(stage.table.config, round=0))


@a_client_refuses(Rule.OFFER_CONFIG)
def a_suite_of_the_future() -> Bait:
    stage = Stage(Leg.OFFER)
    return stage.offers(altered(stage.table.config, suite=2))


@a_client_refuses(Rule.OFFER_INVITED)
def an_invited_list_in_another_order() -> Bait:
    return Stage(Leg.OFFER).offers(invited=NAMES[::-1])


@a_client_refuses(Rule.OFFER_INVITED)
def an_invited_list_that_names_a_stranger() -> Bait:
    return Stage(Leg.OFFER).offers(invited=[*NAMES[:-1], "mallory"])


@a_client_refuses(Rule.OFFER_INVITED)
def an_invited_list_with_no_names_in_it() -> Bait:
    return Stage(Leg.OFFER).offers(invited=["not a name", *NAMES[1:]])


@a_client_refuses(Rule.OFFER_SERVER_KEY)
def a_server_key_of_low_order() -> Bait:
    return Stage(Leg.OFFER).offers(server_key=LOW_ORDER)


@a_client_refuses(Rule.OFFER_SELF)
def a_round_for_others() -> Bait:
    stage = Stage(Leg.OFFER)
    others = sorted_invited([name for name in NAMES if name != NAMES[VICTIM]] + ["zoe"])
    return stage.offers(replace(stage.table.config, invited_digest=invited_digest(others)), invited=list(others))


@a_client_refuses(Rule.OFFER_PLAN)
def a_threshold_at_which_two_halves_open_everything() -> Bait:
    stage = Stage(Leg.OFFER, policy=Policy())
    return stage.offers(altered(stage.table.config, threshold=PLAN.threshold - 1))


@a_client_refuses(Rule.OFFER_POLICY)
def a_downgrade_to_a_curious_server() -> Bait:
    stage = Stage(Leg.OFFER, policy=Policy())
    return stage.offers(altered(stage.table.config, adversary=Adversary.SEMI_HONEST.value, quorum=0))


@a_client_refuses(Rule.OFFER_POLICY)
def a_sum_smaller_than_the_client_hides_in() -> Bait:
    stage = Stage(Leg.OFFER, policy=Policy(min_survivors=PLAN.min_survivors + 1))
    return stage.offers()


@a_client_refuses(Rule.OFFER_FRESH)
def a_round_number_used_before() -> Bait:
    stage = Stage(Leg.OFFER)
    stage.store.reserve(stage.table.config.session, stage.table.config.round)
    return stage.offers()


@a_client_refuses(Rule.OFFER_RECIPE)
def a_recipe_the_client_does_not_hold() -> Bait:
    stage = Stage(Leg.OFFER)
    return stage.offers(replace(stage.table.config, recipe_digest=bytes(DIGEST_SIZE)))


@a_client_refuses(Rule.OFFER_RECIPE)
def a_ring_in_which_the_sum_would_wrap() -> Bait:
    stage = Stage(Leg.OFFER)
    return stage.offers(replace(stage.table.config, ring_bits=8))


@a_client_refuses(Rule.OFFER_INSTRUCTIONS)
def another_model() -> Bait:
    return Stage(Leg.OFFER).meets(instructions=b"the model this client holds").offers()


@a_client_refuses(Rule.ADVERT_IDENTITY)
def a_peer_that_nobody_pinned() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    known = {name: identity.public for name, identity in stage.table.identities.items() if name != NAMES[LIAR]}
    return stage.meets(directory=MemoryDirectory(known)).says(stage.server.roster(), names=LIAR)


@a_client_refuses(Rule.ADVERT_SIGNATURE)
def a_box_key_swapped_on_the_way() -> Bait:
    """The server in the middle: its own key in the place of a peer's, everything else genuine."""
    stage = Stage(Leg.ADVERTISE)
    theirs = stage.server.adverts[0]
    swapped = type(theirs)(theirs.mask_key, stage.table.server._public, theirs.seed_commitment, theirs.signature)
    return stage.says(stage.roster_with(swapped, 0), names=0)


@a_client_refuses(Rule.ADVERT_SIGNATURE)
def an_advert_of_another_round() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    return stage.says(stage.roster_with(stage.liar.advert(digest=bytes(DIGEST_SIZE))), names=LIAR)


@a_client_refuses(Rule.ADVERT_KEY)
def a_mask_key_of_low_order_under_a_genuine_signature() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    return stage.says(stage.roster_with(stage.liar.advert(mask_key=LOW_ORDER)), names=LIAR)


@a_client_refuses(Rule.ADVERT_KEY)
def a_box_key_of_low_order_under_a_genuine_signature() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    return stage.says(stage.roster_with(stage.liar.advert(box_key=LOW_ORDER)), names=LIAR)


@a_client_refuses(Rule.ADVERT_DISTINCT)
def the_victims_own_mask_key_advertised_back_at_it() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    return stage.says(stage.roster_with(stage.liar.advert(mask_key=stage.server.adverts[VICTIM].mask_key)))


@a_client_refuses(Rule.ADVERT_DISTINCT)
def one_key_for_both_purposes() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    return stage.says(stage.roster_with(stage.liar.advert(box_key=stage.liar.mask_key)))


@a_client_refuses(Rule.ROSTER_ORDER)
def a_roster_that_names_more_than_it_shows() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    genuine = stage.server.roster()
    return stage.says(Roster(joined=genuine.joined, adverts=genuine.adverts[:-1]))


@a_client_refuses(Rule.ROSTER_SELF)
def a_roster_without_the_victim() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    return stage.says(stage.server.roster(OTHERS))


@a_client_refuses(Rule.ROSTER_SELF)
def a_roster_with_other_keys_of_the_victim() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    return stage.says(stage.roster_with(stage.server.adverts[LIAR], VICTIM))


@a_client_refuses(Rule.ROSTER_FLOOR)
def a_roster_of_too_few() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    return stage.says(stage.server.roster({0, VICTIM, 2}))


@a_client_refuses(Rule.ROSTER_FLOOR)
def a_roster_that_leaves_the_victim_too_few_neighbors() -> Bait:
    """On a k-regular graph a client counts its neighbors too: here one of two is missing, and there are five others."""
    stage = Stage(Leg.ADVERTISE, plan=small_regular_plan(clients=6, degree=2, threshold=3, max_dropped=1))
    rosters = [stage.server.roster(EVERYONE - {gone}) for gone in sorted(OTHERS)]
    lonely = [roster for roster in rosters if len(stage.server.joined_by(roster).neighbors(VICTIM)) == 1]
    return stage.says(lonely[0])


@a_client_refuses(Rule.INBOX_SENDERS)
def a_box_of_no_neighbor() -> Bait:
    stage = Stage(Leg.SHARE, plan=small_regular_plan(clients=6, degree=2, threshold=2))
    near = stage.server.joined.neighbors(VICTIM)
    stranger = next(position for position in sorted(OTHERS) if position not in near)
    boxes = stage.server.inbox(VICTIM, near).boxes
    return stage.says(Inbox(senders=wire.pack_positions((near[0], stranger), PLAN.clients), boxes=boxes))


@a_client_refuses(Rule.INBOX_SENDERS)
def a_box_of_the_victim_itself() -> Bait:
    stage = Stage(Leg.SHARE)
    boxes = stage.server.inbox(VICTIM, OTHERS).boxes
    return stage.says(Inbox(senders=wire.pack_positions(EVERYONE - {0}, PLAN.clients), boxes=boxes))


@a_client_refuses(Rule.INBOX_SENDERS)
def an_inbox_that_names_more_than_it_holds() -> Bait:
    stage = Stage(Leg.SHARE)
    genuine = stage.server.inbox(VICTIM, OTHERS)
    return stage.says(Inbox(senders=genuine.senders, boxes=genuine.boxes[:-1]))


@a_client_refuses(Rule.INBOX_FLOOR)
def an_inbox_below_the_threshold() -> Bait:
    stage = Stage(Leg.SHARE)
    return stage.says(stage.server.inbox(VICTIM, {0, 2}))


@a_client_refuses(Rule.INBOX_FLOOR)
def an_inbox_of_boxes_that_do_not_open() -> Bait:
    """As many as it takes to be one short."""
    stage = Stage(Leg.SHARE)
    astray = {dealer: stage.server.boxes[dealer, 0] for dealer in (2, 3, 4)}
    return stage.says(stage.server.inbox(VICTIM, OTHERS, forged=astray))


@a_client_refuses(Rule.INBOX_FLOOR)
def an_inbox_in_which_nothing_opens() -> Bait:
    stage = Stage(Leg.SHARE)
    genuine = stage.server.inbox(VICTIM, OTHERS)
    return stage.says(Inbox(senders=genuine.senders, boxes=bytes(len(genuine.boxes))))


@a_client_refuses(Rule.SURVIVORS_FORM)
def a_survivor_beyond_the_last_position() -> Bait:
    return Stage(Leg.MASK).says(SurvivorSet(survivors=b"\xff"))


@a_client_refuses(Rule.SURVIVORS_FORM)
def a_survivor_that_never_joined() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    for position in EVERYONE - {LIAR}:
        stage.server.tell(NAMES[position], stage.server.roster(EVERYONE - {LIAR}))
    stage.server.tell(NAMES[VICTIM], stage.server.inbox(VICTIM, OTHERS - {LIAR}))
    return stage.says(stage.server.survivor_set(EVERYONE))


@a_client_refuses(Rule.SURVIVORS_SELF)
def survivors_without_the_victim() -> Bait:
    stage = Stage(Leg.MASK)
    return stage.says(stage.server.survivor_set(OTHERS))


@a_client_refuses(Rule.SURVIVORS_INBOX)
def a_survivor_outside_the_victims_inbox() -> Bait:
    """The leak itself, with all signatures genuine, is played out in test_attacks.py."""
    stage = Stage(Leg.SHARE)
    stage.server.deliver_boxes(without={VICTIM: {LIAR}})
    return stage.says(stage.server.survivor_set(EVERYONE))


@a_client_refuses(Rule.SURVIVORS_INBOX)
def a_survivor_whose_box_the_victim_could_not_open() -> Bait:
    stage = Stage(Leg.SHARE)
    stage.server.tell(NAMES[VICTIM], stage.server.inbox(VICTIM, OTHERS, forged={LIAR: stage.server.boxes[LIAR, 0]}))
    return stage.says(stage.server.survivor_set(EVERYONE))


@a_client_refuses(Rule.SURVIVORS_FLOOR)
def survivors_below_the_floor() -> Bait:
    stage = Stage(Leg.MASK)
    return stage.says(stage.server.survivor_set({0, VICTIM, 2}))


class Blindfold(LaxPolicy):
    """A policy that has a floor of honest survivors and does not look at the offer."""

    def check(self, config: RoundConfig) -> None:
        """Everything passes."""


@a_client_refuses(Rule.SURVIVORS_HONEST)
def survivors_among_whom_too_few_are_honest() -> Bait:
    """The offer's check makes this one unreachable; it holds by itself where that check is blind."""
    stage = Stage(Leg.MASK, policy=Blindfold(min_honest=PLAN.clients - PLAN.max_corrupt))
    return stage.says(stage.server.survivor_set(EVERYONE - {LIAR}))


@a_client_refuses(Rule.QUORUM_ORDER)
def a_signature_of_one_that_did_not_survive() -> Bait:
    stage = Stage(Leg.MASK)
    for position in EVERYONE - {LIAR}:
        stage.server.tell(NAMES[position], stage.server.survivor_set(EVERYONE - {LIAR}))
    signed = stage.signatures(EVERYONE - {LIAR})
    late = stage.liar.confirmation(stage.server.joined, EVERYONE - {LIAR})
    return stage.says(stage.server.unmask_request(signed | {LIAR: late}))


@a_client_refuses(Rule.QUORUM_ORDER)
def half_a_signature() -> Bait:
    stage = Stage(Leg.CONFIRM)
    genuine = stage.server.unmask_request(stage.signatures(EVERYONE))
    return stage.says(UnmaskRequest(signers=genuine.signers, signatures=genuine.signatures[:-32]))


@a_client_refuses(Rule.QUORUM_SIGNATURE)
def a_signature_on_another_survivor_set() -> Bait:
    stage = Stage(Leg.CONFIRM)
    signed = stage.signatures(EVERYONE)
    signed[LIAR] = stage.liar.confirmation(stage.server.joined, EVERYONE - {0})
    return stage.says(stage.server.unmask_request(signed), names=LIAR)


@a_client_refuses(Rule.QUORUM_SIGNATURE)
def one_signature_for_two_signers() -> Bait:
    stage = Stage(Leg.CONFIRM)
    signed = stage.signatures(EVERYONE)
    return stage.says(stage.server.unmask_request(signed | {LIAR: signed[0]}), names=LIAR)


@a_client_refuses(Rule.QUORUM_REACHED)
def one_signature_short_of_the_quorum() -> Bait:
    stage = Stage(Leg.CONFIRM)
    return stage.says(stage.server.unmask_request(stage.signatures(sorted(EVERYONE)[: PLAN.quorum - 1])))


def altered(config: RoundConfig, **changes: object) -> bytes:
    """A config on the wire with some fields changed, whatever our own constructor would say to them."""
    fields = wire.decode_body(_Fields, config.encoded)
    return wire.encode_body(msgspec.structs.replace(fields, **changes))


@pytest.mark.parametrize(("rule", "scenario"), CLIENT, ids=lambda case: getattr(case, "__name__", str(case)))
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


@pytest.mark.parametrize(("rule", "scenario"), CLIENT, ids=lambda case: getattr(case, "__name__", str(case)))
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


class Collection:
    """A server in the middle of a leg: every client's honest answers are ready, none is handed in yet."""

    def __init__(self, leg: Leg, *, table: Table | None = None, silent: Iterable[int] = ()) -> None:
        self.table = new_table() if table is None else table
        self.silent = {leg: [NAMES[position] for position in silent]}
        self.table.advance(leg)
        self.answers = {name: self.table.deliver(name) for name in self.table.names if name not in self.silent[leg]}
        self.liar = LyingClient(self.table, NAMES[LIAR])
        self.sender = NAMES[LIAR]

    def sends(self, message: bytes | Message, *, tail: bytes = b"", index: int = 0) -> Offense:
        """The liar sends bytes, or a message under its valid tag."""
        data = message if isinstance(message, bytes) else self.liar.says(message, tail=tail, index=index)
        return Offense(self, data)

    @property
    def honest(self) -> bytes:
        """What the liar would honestly send."""
        return self.answers[self.sender][0]

    def masked(self) -> tuple[MaskedInput, bytes]:
        """The liar's honest input, taken apart."""
        envelope = wire.open_envelope(self.honest, max_size=len(self.honest), tag_size=TAG_SIZE)
        return wire.decode_body(MaskedInput, envelope.body), bytes(envelope.tail)


@dataclass(frozen=True)
class Offense:
    """A message the server must refuse; `bars` says whose input can then no longer count."""

    at: Collection
    data: bytes
    bars: frozenset[str] = frozenset()


ServerScenario = Callable[[], Offense]
SERVER_SIDE: list[tuple[Rule, ServerScenario]] = []


def a_server_refuses(rule: Rule) -> Callable[[ServerScenario], ServerScenario]:
    def register(scenario: ServerScenario) -> ServerScenario:
        SERVER_SIDE.append((rule, scenario))
        return scenario

    return register


@a_server_refuses(Rule.WIRE_FORMAT)
def an_answer_cut_short() -> Offense:
    at = Collection(Leg.SHARE)
    return at.sends(at.honest[:HEADER_SIZE])


@a_server_refuses(Rule.WIRE_FORMAT)
def a_body_in_its_second_encoding() -> Offense:
    """The same shares, their length written in four bytes where one would do."""
    at = Collection(Leg.UNMASK)
    body = wire.open_envelope(at.honest, max_size=len(at.honest), tag_size=TAG_SIZE).body
    longer = bytes(body[:1]) + b"\xc6" + len(body[3:]).to_bytes(4, "big") + bytes(body[3:])
    header = at.honest[: HEADER_SIZE - 4] + len(longer).to_bytes(4, "big")
    return at.sends(header + longer + at.liar.tag(UnmaskShares.KIND, header + longer))


@a_server_refuses(Rule.WIRE_SIZE)
def an_answer_longer_than_any() -> Offense:
    at = Collection(Leg.CONFIRM)
    return at.sends(at.honest.ljust(max_size(SurvivorSignature, at.table.config) + 1, b"\0"))


@a_server_refuses(Rule.WIRE_ROUND)
def an_advert_for_another_round() -> Offense:
    at = Collection(Leg.ADVERTISE)
    return at.sends(wire.front(at.liar.advert(), config_digest=bytes(DIGEST_SIZE), sender=LIAR))


@a_server_refuses(Rule.WIRE_SENDER)
def another_clients_answer_passed_off_as_ones_own() -> Offense:
    at = Collection(Leg.SHARE)
    return at.sends(at.answers[NAMES[0]][0])


@a_server_refuses(Rule.WIRE_TAG)
def boxes_under_no_tag() -> Offense:
    at = Collection(Leg.SHARE)
    return at.sends(at.honest[:-TAG_SIZE] + bytes(TAG_SIZE))


@a_server_refuses(Rule.WIRE_TAG)
def a_chunk_under_the_tag_of_another() -> Offense:
    at = Collection(Leg.MASK)
    message, tail = at.masked()
    return at.sends(message, tail=tail, index=1)


@a_server_refuses(Rule.WIRE_ORDER)
def shares_before_anyone_asked() -> Offense:
    at = Collection(Leg.CONFIRM)
    return at.sends(UnmaskShares(shares=b""))


@a_server_refuses(Rule.ADVERT_SIGNATURE)
def an_advert_signed_for_another_position() -> Offense:
    at = Collection(Leg.ADVERTISE)
    return at.sends(at.liar.advert(position=0))


@a_server_refuses(Rule.ADVERT_KEY)
def an_advert_of_a_low_order_key() -> Offense:
    at = Collection(Leg.ADVERTISE)
    return at.sends(at.liar.advert(box_key=LOW_ORDER))


@a_server_refuses(Rule.ADVERT_DISTINCT)
def a_key_someone_else_has_advertised() -> Offense:
    at = Collection(Leg.ADVERTISE)
    first = at.answers.pop(NAMES[0])
    assert at.table.submit(NAMES[0], first[0]) == ()
    return at.sends(at.liar.advert(mask_key=LyingClient(at.table, NAMES[0]).mask_key))


@a_server_refuses(Rule.ADVERT_DISTINCT)
def one_key_advertised_for_both_purposes() -> Offense:
    at = Collection(Leg.ADVERTISE)
    return at.sends(at.liar.advert(mask_key=at.liar.box_key))


@a_server_refuses(Rule.ADVERT_IDENTITY)
def an_advert_of_one_the_server_has_not_pinned() -> Offense:
    table = new_table()
    known = {name: identity.public for name, identity in table.identities.items() if name != NAMES[LIAR]}
    table.server._phase._desk = replace(table.server._phase._desk, directory=MemoryDirectory(known))  # type: ignore[union-attr]  # as if built so
    at = Collection(Leg.ADVERTISE, table=table)
    return Offense(at, at.honest, bars=frozenset({NAMES[LIAR]}))


@a_server_refuses(Rule.BOXES_RECEIVERS)
def one_box_too_few() -> Offense:
    at = Collection(Leg.SHARE)
    return at.sends(SealedShares(boxes=bytes(BOX_SIZE * (PLAN.degree - 1))))


@a_server_refuses(Rule.INPUT_CHUNK)
def the_second_chunk_first() -> Offense:
    at = Collection(Leg.MASK)
    _, tail = at.masked()
    return at.sends(MaskedInput(chunk=1, unopened=b""), tail=tail, index=1)


@a_server_refuses(Rule.INPUT_CHUNK)
def a_chunk_one_byte_too_long() -> Offense:
    at = Collection(Leg.MASK)
    message, tail = at.masked()
    return at.sends(message, tail=tail[:-1])


@a_server_refuses(Rule.INPUT_RANGE)
def padding_that_is_not_zero() -> Offense:
    at = Collection(Leg.MASK)
    message, tail = at.masked()
    return at.sends(message, tail=tail[:-1] + bytes((tail[-1] | 0x80,)))


@a_server_refuses(Rule.INPUT_UNOPENED)
def a_report_about_oneself() -> Offense:
    at = Collection(Leg.MASK)
    return at.sends(report_of(LIAR), tail=at.masked()[1])


@a_server_refuses(Rule.INPUT_UNOPENED)
def more_reports_than_can_be_true() -> Offense:
    at = Collection(Leg.MASK)
    return at.sends(report_of(0, 1), tail=at.masked()[1])


@a_server_refuses(Rule.INPUT_UNOPENED)
def a_report_with_a_padding_bit() -> Offense:
    at = Collection(Leg.MASK)
    return at.sends(MaskedInput(chunk=0, unopened=b"\x80"), tail=at.masked()[1])


def a_table_with_a_bad_box() -> Table:
    """Client 0 seals one box that does not open: that for the client called liar, which is honest here."""
    table = new_table()
    at = Collection(Leg.SHARE, table=table)
    (sealed,) = at.answers.pop(NAMES[0])
    dealer = LyingClient(table, NAMES[0])
    body = wire.open_envelope(sealed, max_size=len(sealed), tag_size=TAG_SIZE).body
    boxes = wire.decode_body(SealedShares, body).boxes
    table.submit(NAMES[0], dealer.says(SealedShares(boxes=boxes[:-BOX_SIZE] + bytes(BOX_SIZE))))
    for name, (answer,) in at.answers.items():
        table.submit(name, answer)
    table.close()
    return table


@a_server_refuses(Rule.INBOX_CONFLICT)
def an_input_without_the_mask_of_one_that_counts() -> Offense:
    at = Collection(Leg.MASK, table=a_table_with_a_bad_box())
    (first,) = at.answers.pop(NAMES[0])
    assert at.table.submit(NAMES[0], first) == ()
    return Offense(at, at.honest, bars=frozenset({NAMES[LIAR]}))


@a_server_refuses(Rule.INBOX_CONFLICT)
def an_input_with_the_mask_of_one_that_counts_without_it() -> Offense:
    """The other way round: the report came first, and the reported dealer is the one that is late."""
    at = Collection(Leg.MASK, table=a_table_with_a_bad_box())
    (report,) = at.answers.pop(NAMES[LIAR])
    assert at.table.submit(NAMES[LIAR], report) == ()
    at.sender = NAMES[0]
    return Offense(at, at.honest, bars=frozenset({NAMES[0]}))


@a_server_refuses(Rule.CONFIRM_SIGNATURE)
def a_confirmation_of_another_survivor_set() -> Offense:
    at = Collection(Leg.CONFIRM)
    joined = at.table.server._phase._joined  # type: ignore[union-attr]  # the roster, which a liar knows too
    return at.sends(SurvivorSignature(signature=at.liar.confirmation(joined, EVERYONE - {0})))


@a_server_refuses(Rule.SHARES_HOLDERS)
def a_share_too_few() -> Offense:
    at = Collection(Leg.UNMASK)
    return at.sends(UnmaskShares(shares=bytes(SHARE_SIZE * (PLAN.clients - 1))))


@a_server_refuses(Rule.SHARE_RANGE)
def shares_beyond_the_field() -> Offense:
    at = Collection(Leg.UNMASK)
    return at.sends(UnmaskShares(shares=b"\xff" * (SHARE_SIZE * PLAN.clients)))


def report_of(*positions: int) -> MaskedInput:
    return MaskedInput(chunk=0, unopened=wire.pack_positions(positions, PLAN.clients))


@pytest.mark.parametrize(("rule", "scenario"), SERVER_SIDE, ids=lambda case: getattr(case, "__name__", str(case)))
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
        [Secret(bytes(range(32)))],
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
    tripped = {rule for rule, _ in CLIENT} | {rule for rule, _ in SERVER_SIDE} | AT_RECOVERY.keys()
    assert rule in tripped, f"{rule.name} ({rule.meaning}) has no scenario: add one that breaks it"
