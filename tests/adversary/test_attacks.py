"""Attacks from the literature played out in full: what the attacker does, what it would have gained, what it gets.

The attack on the inbox is also run with the inbox rule switched off, and must then read the victim's input: a scenario
that leaks nothing without its rule would not show that the rule is needed.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection
from typing import Any

import msgspec
import numpy as np
import pytest

from secagg import wire
from secagg.config import CHUNK_GRAIN, RoundConfig, _Fields
from secagg.errors import MisuseError, RemoteError
from secagg.pairwise import checks
from secagg.pairwise.channel import TAG_SIZE
from secagg.pairwise.messages import (
    Inbox,
    KeyAdvert,
    Roster,
    RoundOffer,
    SurvivorSet,
    UnmaskRequest,
)
from secagg.pairwise.roster import Joined
from secagg.plan import Plan
from secagg.policy import Policy
from secagg.primitives import labels, signature
from secagg.primitives.kdf import digest
from secagg.primitives.suite import DIGEST_SIZE
from secagg.round.events import Rejected, Send
from secagg.rules import Rule
from secagg.store import MemoryStore
from secagg.testing.strategies import LEGS
from secagg.testing.table import Table, client_names
from secagg.types import SERVER, Leg
from tests.support.liars import MASK_KEY_SEED, SELF_MASK_SEED, LyingClient, LyingServer

ACTIVE = Plan.find(clients=5, max_dropped=1, max_corrupt=1)  # threshold and quorum are 4
EVERYONE = frozenset(range(ACTIVE.clients))


def new_table(plan: Plan = ACTIVE, **changes: Any) -> Table:
    inputs = np.random.default_rng(plan.clients).integers(0, 1 << 32, (plan.clients, 3), dtype=np.uint32)
    return Table(plan, inputs, **changes)


def refusal(server: LyingServer, position: int) -> Rule | None:
    """The rule by which a client left, or None while it is there."""
    failed = server.table.failures.get(server.table.names[position])
    if failed is None:
        return None
    assert isinstance(failed.error, RemoteError)
    return failed.error.rule


# The inbox rule: a client masks towards exactly its inbox, so a survivor outside it is a leak.

LEAKY = Plan.find(clients=7, max_dropped=3, max_corrupt=0)  # threshold, quorum and floor are 4
VICTIM = 0
WITHHELD = frozenset({4, 5, 6})  # whose boxes the victim never gets, and who survive with it
SEALED_IN = frozenset({1, 2, 3})  # its whole inbox, who are then declared dropped
SURVIVORS = WITHHELD | {VICTIM}


def play_the_inbox_attack() -> LyingServer:
    """One box withheld here and there, one survivor set for all, every signature genuine, every floor respected.

    The victim masks towards 1, 2 and 3 alone, and is left with the survivors 4, 5 and 6. The masks in its input are
    then its own, whose self-mask seed survivors reveal, and those towards 1, 2 and 3, whose mask-key seeds survivors
    reveal because they dropped. Nothing hides it.
    """
    server = LyingServer(new_table(LEAKY))
    server.play(Leg.SHARE)
    server.deliver_boxes(without={VICTIM: WITHHELD})
    for position in sorted(SURVIVORS):
        server.tell(server.table.names[position], server.survivor_set(SURVIVORS))
    signed = {signer: signatures[0] for signer, signatures in server.signatures.items()}
    for position in sorted(SURVIVORS):
        if refusal(server, position) is None:
            server.tell(server.table.names[position], server.unmask_request(signed))
    return server


def test_the_inbox_rule_stops_the_victim_before_anyone_unmasks() -> None:
    server = play_the_inbox_attack()
    assert refusal(server, VICTIM) is Rule.SURVIVORS_INBOX
    assert VICTIM not in server.signatures
    assert VICTIM not in server.revealed
    for position in WITHHELD:  # they see nothing wrong, and lack the victim's signature for a quorum
        assert refusal(server, position) is Rule.QUORUM_REACHED
    assert not server.revealed


def test_without_the_inbox_rule_the_server_reads_the_victims_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same messages to clients that hold the survivors against the roster."""
    genuine = checks.check_survivors

    def against_the_roster(
        survivors: SurvivorSet, *, invitation: checks.Invitation, joined: Joined, inbox: Collection[int]
    ) -> frozenset[int]:
        del inbox
        return genuine(survivors, invitation=invitation, joined=joined, inbox=joined.adverts.keys())

    monkeypatch.setattr(checks, "check_survivors", against_the_roster)
    server = play_the_inbox_attack()
    assert not server.table.failures
    seed = server.rebuild(server.shares_of(VICTIM, SELF_MASK_SEED, SURVIVORS))
    key_seeds = {peer: server.rebuild(server.shares_of(peer, MASK_KEY_SEED, SURVIVORS)) for peer in SEALED_IN}
    words = server.strip(VICTIM, seed=seed, mask_key_seeds=key_seeds)
    assert np.array_equal(words, server.table.inputs[VICTIM])


# Two survivor sets, two requests, two lives.


@pytest.mark.parametrize("misled", [{2}, {1, 2}, {0, 1, 2}], ids=str)
def test_split_views_never_unmask_two_sets(misled: set[int]) -> None:
    """Some clients are shown a set without client 3, the others and itself the whole; the helper signs both."""
    server = LyingServer(new_table())
    helper = LyingClient(server.table, server.table.names[4])
    server.play(Leg.MASK)
    views = {position: EVERYONE - {3} if position in misled else EVERYONE for position in range(4)}
    for position, survivors in views.items():
        server.tell(server.table.names[position], server.survivor_set(survivors))
    for position, survivors in views.items():
        agreed = {other: server.signatures[other][0] for other, view in views.items() if view == survivors}
        agreed[4] = helper.confirmation(server.joined, survivors)
        server.tell(server.table.names[position], server.unmask_request(agreed))
    unmasked = {views[position] for position in server.revealed}
    assert unmasked == {view for view in views.values() if [*views.values(), view].count(view) >= ACTIVE.quorum}
    assert len(unmasked) <= 1


def test_signatures_of_both_views_together_are_no_quorum_of_either() -> None:
    server = LyingServer(new_table())
    server.play(Leg.MASK)
    for position in EVERYONE:
        shown = EVERYONE if position in {0, 1} else EVERYONE - {1}
        if position != 1 or 1 in shown:
            server.tell(server.table.names[position], server.survivor_set(shown))
    pooled = {signer: signatures[0] for signer, signatures in server.signatures.items()}
    for position in EVERYONE:
        server.tell(server.table.names[position], server.unmask_request(pooled))
    assert {refusal(server, position) for position in EVERYONE} == {Rule.QUORUM_SIGNATURE, Rule.QUORUM_ORDER}
    assert not server.revealed


@pytest.mark.parametrize("second", [EVERYONE - {0}, EVERYONE - {4}, EVERYONE], ids=str)
def test_a_client_that_unmasked_answers_nothing_else(second: frozenset[int]) -> None:
    """Both secrets of one client, asked for one after the other: survivors first, dropped the second time."""
    server = LyingServer(new_table())
    server.play(Leg.UNMASK)
    before = {position: dict(shares) for position, shares in server.revealed.items()}
    joined = server.joined
    forged = {
        position: LyingClient(server.table, name).confirmation(joined, second)
        for position, name in enumerate(server.table.names)
        if position in second
    }
    for name in server.table.names:
        assert server.table.clients[name].closed
        for message in (server.survivor_set(second), server.unmask_request(forged)):
            if server.envelope(name, message) not in server.told[server.table.names.index(name)]:
                with pytest.raises(MisuseError):
                    server.tell(name, message)
    assert server.revealed == before


def test_a_client_that_unmasked_repeats_its_answer_to_the_same_request_only() -> None:
    server = LyingServer(new_table())
    server.play(Leg.UNMASK)
    for position, name in enumerate(server.table.names):
        answer = server.heard[position][-1]
        assert server.table.hand(name, server.told[position][-1]) == [answer]


def test_a_shrinking_survivor_set_closes_the_client() -> None:
    """The server takes a client out of the set it has already had signed."""
    server = LyingServer(new_table())
    server.play(Leg.CONFIRM)
    for position, name in enumerate(server.table.names):
        server.tell(name, server.survivor_set(EVERYONE - {(position + 1) % 5}))
    assert {refusal(server, position) for position in EVERYONE} == {Rule.WIRE_ORDER}
    assert all(len(signatures) == 1 for signatures in server.signatures.values())


@pytest.mark.parametrize("leg", [Leg.MASK, Leg.CONFIRM], ids=str)
def test_stopping_a_client_does_not_make_it_forget_what_it_said(leg: Leg) -> None:
    """A client is made to stop after it has masked, or signed, and is then told another story."""
    names = client_names(ACTIVE.clients)
    stores = {name: MemoryStore() for name in names}
    server = LyingServer(new_table(stores=stores))
    server.play(leg)
    resumed = server.table.new_client(names[0], stores[names[0]])
    again = [bytes(event.data) for event in resumed.resume() if isinstance(event, Send)]
    assert again == (server.heard[0][-1:] if leg is Leg.CONFIRM else [])  # an input that may have left is not repeated
    server.table.clients[names[0]] = resumed
    if leg is Leg.MASK:  # another inbox, so that its input is masked another way
        server.tell(names[0], server.inbox(0, {1, 2, 3}))
    else:
        server.tell(names[0], server.survivor_set(EVERYONE - {4}))
    assert refusal(server, 0) is Rule.WIRE_ORDER
    assert len(server.heard[0]) == leg + 1


# Keys in the wrong place.

MIXED_ADVERTS = list(itertools.permutations(("mask_key", "box_key", "seed_commitment")))[1:]


def test_adverts_in_each_others_places_are_refused() -> None:
    """Genuine adverts, genuinely signed, at each other's positions: a signature names its position."""
    server = LyingServer(new_table())
    server.play(Leg.ADVERTISE)
    swapped = server.adverts | {1: server.adverts[2], 2: server.adverts[1]}
    for position in (0, 3, 4):
        server.tell(server.table.names[position], server.roster(swapped))
        assert refusal(server, position) is Rule.ADVERT_SIGNATURE
    assert not server.boxes


@pytest.mark.parametrize("made_of", MIXED_ADVERTS, ids=", ".join)
def test_the_parts_of_an_advert_do_not_change_places(made_of: tuple[str, str, str]) -> None:
    server = LyingServer(new_table())
    server.play(Leg.ADVERTISE)
    theirs = server.adverts[1]
    mask_key, box_key, seed_commitment = (getattr(theirs, part) for part in made_of)
    mixed = KeyAdvert(mask_key=mask_key, box_key=box_key, seed_commitment=seed_commitment, signature=theirs.signature)
    server.tell(server.table.names[0], server.roster(server.adverts | {1: mixed}))
    assert refusal(server, 0) is Rule.ADVERT_SIGNATURE


def test_a_roster_that_differs_between_clients_opens_no_box() -> None:
    """A server shows one client the others without a fifth: its pair keys are bound to the roster, so they differ."""
    server = LyingServer(new_table())
    server.play(Leg.ADVERTISE)
    for position in EVERYONE:
        server.tell(server.table.names[position], server.roster(EVERYONE - {4} if position == 0 else EVERYONE))
    server.tell(server.table.names[0], server.inbox(0, {1, 2, 3}))
    assert refusal(server, 0) is Rule.INBOX_FLOOR
    server.tell(server.table.names[1], server.inbox(1, {0, 2, 3, 4}))
    assert server.inboxes[1] == {2, 3, 4}  # client 0's box is reported


# Replays.

OTHER_ROUNDS: list[dict[str, Any]] = [{"number": 2}, {"session": b"another session!"}]
in_other_rounds = pytest.mark.parametrize("changes", OTHER_ROUNDS, ids=["next round", "other session"])


def recorded_round() -> LyingServer:
    """A whole round on tape. The fixed entropy repeats, so even the round secrets are those of the next round."""
    server = LyingServer(new_table())
    server.play(Leg.UNMASK)
    return server


@in_other_rounds
@pytest.mark.parametrize("leg", [Leg.ADVERTISE, Leg.SHARE, Leg.MASK, Leg.CONFIRM], ids=str)
def test_no_request_of_one_round_is_accepted_in_another(leg: Leg, changes: dict[str, Any]) -> None:
    for turn, data in enumerate(recorded_round().told[0]):
        server = LyingServer(new_table(**changes))
        server.play(leg)
        server.hand(server.table.names[0], data)
        rule = refusal(server, 0)
        assert rule is (Rule.WIRE_ROUND if turn == leg + 1 else Rule.WIRE_ORDER)


@in_other_rounds
@pytest.mark.parametrize(
    ("leg", "kind", "rule"),
    [
        (Leg.ADVERTISE, Roster, Rule.ROSTER_SELF),
        (Leg.SHARE, Inbox, Rule.INBOX_FLOOR),
        (Leg.CONFIRM, UnmaskRequest, Rule.QUORUM_SIGNATURE),
    ],
    ids=str,
)
def test_a_replay_in_the_right_envelope_is_refused_by_what_is_in_it(
    leg: Leg, kind: type[wire.Message], rule: Rule, changes: dict[str, Any]
) -> None:
    """A lying server writes headers and tags as it likes. Signatures and boxes it cannot, and they name a round."""
    data = recorded_round().told[0][leg + 1]
    message = wire.decode_body(kind, wire.open_envelope(data, max_size=len(data), tag_size=TAG_SIZE).body)
    server = LyingServer(new_table(**changes))
    server.play(leg)
    server.tell(server.table.names[0], message)
    assert refusal(server, 0) is rule


@in_other_rounds
def test_no_answer_of_one_round_is_accepted_in_another(changes: dict[str, Any]) -> None:
    recorded = recorded_round()
    table = new_table(**changes)
    for leg in LEGS:
        table.advance(leg)
        for name, said in zip(table.names, recorded.heard.values(), strict=True):
            for turn, data in enumerate(said):
                (event,) = table.submit(name, data)
                assert isinstance(event, Rejected)
                rule = event.error.rule
                assert rule is (Rule.WIRE_ROUND if turn == leg else Rule.WIRE_ORDER)
    assert np.array_equal(table.finish().values, table.expected(table.names))


def test_no_signature_verifies_in_the_place_of_another() -> None:
    """Every signature of a round under every identity, label and statement of it: only its own fit."""
    server = recorded_round()
    digest, joined = server.config.digest, server.joined
    survivors = checks.survivor_statement(digest, joined.digest, EVERYONE)
    signed = [
        (position, labels.SIGN_SURVIVORS, survivors, signatures[0])
        for position, signatures in server.signatures.items()
    ]
    for position, advert in server.adverts.items():
        parts = advert.mask_key, advert.box_key, advert.seed_commitment
        statement = checks.advert_statement(digest, position, *parts)
        signed.append((position, labels.SIGN_ADVERT, statement, advert.signature))
    pinned = [server.table.identities[name].public for name in server.table.names]
    places = list(
        itertools.product(
            EVERYONE, (labels.SIGN_ADVERT, labels.SIGN_SURVIVORS, labels.CHANNEL), {place[2] for place in signed}
        )
    )
    for *own, given in signed:
        fits = [
            place for place in places if signature.verify(pinned[place[0]], given, label=place[1], message=place[2])
        ]
        assert fits == [tuple(own)]


# Different stories about the round itself.


def test_a_client_with_another_model_leaves_before_a_key_leaves_it() -> None:
    """Pasquini et al. (arXiv 2111.07380): a model of one's own for the victim, so that the sum singles it out."""
    table = new_table(instructions=b"the model of everyone else", policy=Policy())
    server = LyingServer(table)
    table.clients[table.names[0]] = table.new_client(table.names[0], instructions=b"the model shown to the victim")
    server.tell(table.names[0], server.offer())
    assert refusal(server, 0) is Rule.OFFER_INSTRUCTIONS
    assert 0 not in server.heard


OTHER = bytes(range(DIGEST_SIZE))

# For each field of the config: another value, and the rule by which a client refuses the offer. None: it takes part,
# in what is for everyone else another round.
OTHER_STORIES: dict[str, list[tuple[object, Rule | None]]] = {
    "version": [(2, Rule.OFFER_CONFIG)],
    "suite": [(1, Rule.OFFER_CONFIG), (3, Rule.OFFER_CONFIG)],
    "session": [(b"another session!", None)],
    "round": [(2, None), (0, Rule.OFFER_CONFIG)],
    "clients": [(6, Rule.OFFER_PLAN), (4, Rule.OFFER_PLAN)],
    "max_dropped": [(0, None), (2, Rule.OFFER_PLAN)],
    "max_corrupt": [(0, None), (2, None), (3, Rule.OFFER_PLAN)],
    "adversary": [("semi-honest", Rule.OFFER_POLICY), ("none", Rule.OFFER_PLAN)],
    "degree": [(2, Rule.OFFER_PLAN)],
    "threshold": [(3, Rule.OFFER_PLAN), (5, Rule.OFFER_PLAN)],
    "quorum": [(0, Rule.OFFER_PLAN), (3, Rule.OFFER_PLAN), (5, Rule.OFFER_PLAN)],
    "security_bits": [(41, None), (39, Rule.OFFER_PLAN)],
    "correctness_bits": [(31, None), (29, Rule.OFFER_PLAN)],
    "invited_digest": [(OTHER, Rule.OFFER_INVITED)],
    "recipe_digest": [(OTHER, Rule.OFFER_RECIPE)],
    "instructions_digest": [(OTHER, Rule.OFFER_INSTRUCTIONS)],
    "ring_bits": [(31, Rule.OFFER_RECIPE), (33, Rule.OFFER_RECIPE), (65, Rule.OFFER_CONFIG)],
    "length": [(2, Rule.OFFER_RECIPE), (4, Rule.OFFER_RECIPE), (0, Rule.OFFER_CONFIG)],
    "chunk_words": [(2 * CHUNK_GRAIN, None), (CHUNK_GRAIN + 1, Rule.OFFER_CONFIG)],
}


def test_every_field_of_the_config_is_told_differently_below() -> None:
    assert OTHER_STORIES.keys() == set(_Fields.__struct_fields__)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [(field, value, rule) for field, stories in OTHER_STORIES.items() for value, rule in stories],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_a_config_of_its_own_keeps_a_client_out_of_everyone_elses_round(
    field: str, value: object, rule: Rule | None
) -> None:
    """Never a wrong sum: the client leaves, or its keys fit nobody's."""
    table = new_table(policy=Policy())
    fields = wire.decode_body(_Fields, table.config.encoded)
    encoded = wire.encode_body(msgspec.structs.replace(fields, **{field: value}))
    if rule is not None:
        offer = RoundOffer(encoded, list(table.names), table.server._public)
        data = wire.front(offer, config_digest=digest(labels.CONFIG_DIGEST, encoded), sender=SERVER)
        server = LyingServer(table)
        assert server.hand(table.names[0], data) == []
        assert refusal(server, 0) is rule
        return
    apart = LyingServer(table, config=RoundConfig.decode(encoded))
    apart.tell(table.names[0], apart.offer())
    assert_keys_fit_nobody(table, apart)


def assert_keys_fit_nobody(table: Table, apart: LyingServer) -> None:
    """Client 0 has advertised in a round of its own: what comes of it, in each way of putting the rounds together."""
    elsewhere = new_table(policy=Policy())  # an honest server refuses its advert, and the others' sum is exact
    elsewhere.start()
    (event,) = elsewhere.submit(table.names[0], apart.heard[0][0])
    assert isinstance(event, Rejected)
    assert event.error.rule is Rule.WIRE_ROUND
    total = elsewhere.finish({Leg.ADVERTISE: table.names[:1]})
    assert np.array_equal(total.values, elsewhere.expected(table.names[1:]))
    everyone = LyingServer(table)  # a lying one forwards it, and everyone else leaves before a share leaves them
    for name in table.names[1:]:
        everyone.tell(name, everyone.offer())
    for name in table.names[1:]:
        everyone.tell(name, everyone.roster(everyone.adverts | apart.adverts))
    assert [refusal(everyone, position) for position in range(1, 5)] == [Rule.ADVERT_SIGNATURE] * 4
    apart.tell(table.names[0], apart.roster(everyone.adverts | apart.adverts))  # and the other way round
    assert refusal(apart, 0) is Rule.ADVERT_SIGNATURE
    assert not everyone.boxes
    assert not apart.boxes
