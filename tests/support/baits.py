"""Clients about to be told what they must refuse: one or more scenarios for each rule that a client enforces.

`CLIENT_REFUSES` lists them. Each builds a round against a lying server, honest up to the lie, and stops before the lie
is told; tests/adversary/test_rules.py tells it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import msgspec
import numpy as np

from secagg import wire
from secagg.config import RoundConfig, _Fields, invited_digest, sorted_invited
from secagg.identity import MemoryDirectory
from secagg.pairwise.messages import (
    Inbox,
    KeyAdvert,
    Roster,
    RoundOffer,
    SurvivorSet,
    UnmaskRequest,
    max_size,
)
from secagg.plan import Plan
from secagg.policy import Policy
from secagg.primitives import labels
from secagg.primitives.kdf import digest
from secagg.primitives.suite import DIGEST_SIZE
from secagg.round.client import ClientRound
from secagg.rules import Rule
from secagg.store import MemoryStore
from secagg.testing.plans import LaxPolicy, small_regular_plan
from secagg.testing.table import Table, client_names
from secagg.types import SERVER, Adversary, Leg
from secagg.wire import Message
from tests.support.liars import LyingClient, LyingServer

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
CLIENT_REFUSES: list[tuple[Rule, ClientScenario]] = []


def a_client_refuses(rule: Rule) -> Callable[[ClientScenario], ClientScenario]:
    def register(scenario: ClientScenario) -> ClientScenario:
        CLIENT_REFUSES.append((rule, scenario))
        return scenario

    return register


@a_client_refuses(Rule.WIRE_FORMAT)
def a_message_of_another_protocol() -> Bait:
    stage = Stage(Leg.ADVERTISE)
    return stage.says(b"SAG1" + stage.says(stage.server.roster()).data[4:])


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
    return stage.offers(altered(stage.table.config, suite=3))


@a_client_refuses(Rule.OFFER_CONFIG)
def the_suite_before_this_one() -> Bait:
    stage = Stage(Leg.OFFER)
    return stage.offers(altered(stage.table.config, suite=1))


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
