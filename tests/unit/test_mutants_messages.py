"""What a changed check, key or message would get away with, if no other test looked."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import pytest

from secagg.config import CHUNK_GRAIN, RoundConfig, invited_digest
from secagg.errors import Unauthentic, Violation
from secagg.identity import MemoryDirectory
from secagg.pairwise import channel, checks, keys, messages
from secagg.pairwise.channel import Channel, Direction
from secagg.pairwise.checks import Invitation
from secagg.pairwise.keys import BoxKeys, Endpoint, RoundSecrets
from secagg.pairwise.messages import KeyAdvert, MaskedInput, RoundOffer, SurvivorSet
from secagg.pairwise.roster import Joined, joined, roster_of
from secagg.plan import Plan
from secagg.policy import Policy
from secagg.primitives import agreement, kdf
from secagg.primitives.secret import Secret
from secagg.round import events, journal
from secagg.rules import Rule
from secagg.testing.entropy import fixed_identity
from secagg.testing.table import VectorRecipe, client_names
from secagg.types import SERVER, ClientId
from secagg.wire import front, pack_positions
from tests.support.whitebox import is_wiped

PLAN: Final = Plan.find(clients=9, max_dropped=2, max_corrupt=2)
NAMES: Final = tuple(ClientId(name) for name in client_names(9))
OWN: Final = 4
RECIPE: Final = VectorRecipe(length=100, bits=24)
CONFIG: Final = RoundConfig.create(session=bytes(16), round=1, plan=PLAN, invited=NAMES, recipe=RECIPE)
INVITATION: Final = Invitation(CONFIG, NAMES, OWN, PLAN.min_survivors, 2)
ADVERT: Final = KeyAdvert(mask_key=bytes(32), box_key=bytes(32), seed_commitment=bytes(32), signature=bytes(64))
POSITIONS: Final = tuple(range(9))
JOINED: Final = joined(CONFIG, POSITIONS, roster_of(dict.fromkeys(POSITIONS, ADVERT), 9))


# What a server that lies can do and a stale copy of the config cannot.


LISTS: Final[dict[str, list[ClientId]]] = {
    "one too few": [*NAMES[:-1]],
    "one too many": [*NAMES, ClientId("client-9999")],
    "out of order": [NAMES[1], NAMES[0], *NAMES[2:]],
    "one twice": [*NAMES[:-1], NAMES[-2]],
}


@pytest.mark.parametrize("names", LISTS.values(), ids=LISTS)
def test_a_list_that_the_config_was_forged_for_is_refused_all_the_same(names: list[ClientId]) -> None:
    forged = dataclasses.replace(CONFIG, invited_digest=invited_digest(names))
    offer = RoundOffer(
        config=forged.encoded, invited=[*names], server_key=agreement.public_key(Secret(bytes(31) + b"\x01"))
    )
    with pytest.raises(Violation) as refusal:
        checks.check_offer(
            offer,
            client=NAMES[OWN],
            policy=Policy(),
            recipe=RECIPE,
            instructions_digest=CONFIG.instructions_digest,
        )
    assert refusal.value.rule is Rule.OFFER_INVITED


def test_survivors_may_be_exactly_the_inbox() -> None:
    survivors = SurvivorSet(survivors=pack_positions(POSITIONS, 9))
    inbox = JOINED.neighbors(OWN)
    chosen = checks.check_survivors(survivors, invitation=INVITATION, joined=JOINED, inbox=inbox)
    assert chosen == frozenset(POSITIONS)
    with pytest.raises(Violation) as refusal:
        checks.check_survivors(survivors, invitation=INVITATION, joined=JOINED, inbox=inbox[1:])
    assert refusal.value.rule is Rule.SURVIVORS_INBOX


def test_every_box_of_an_inbox_may_be_reported() -> None:
    message = MaskedInput(chunk=0, unopened=pack_positions((1, 3), 9))
    assert checks.check_unopened(message, config=CONFIG, inbox=frozenset({1, 3})) == {1, 3}


def test_what_a_confirmation_covers_has_the_survivors_in_order_however_they_were_put() -> None:
    def statement(survivors: Any) -> bytes:
        return checks.survivor_statement(b"config", b"roster", survivors)

    assert statement((8, 0, 5)) == statement([5, 8, 0]) == b"configroster" + bytes([0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 8])


def test_a_signature_is_verified_under_the_pinned_key_or_not_at_all() -> None:
    strangers = MemoryDirectory({NAMES[0]: fixed_identity("another").public})
    for client in NAMES[:2]:
        with pytest.raises(Unauthentic):
            checks.check_survivor_signature(
                messages.SurvivorSignature(bytes(64)), client=client, statement=b"", directory=strangers
            )


# Directions and sizes stand on the page, and two ends that change them together still agree with each other.


def test_directions_are_the_bytes_that_the_page_names() -> None:
    assert (Direction.UP, Direction.DOWN) == (0, 1)
    assert channel.TAG_SIZE == 16


def test_what_two_keys_were_agreed_by_is_overwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Secret] = []
    agree, branch = agreement.agree, kdf.derive

    def agreed(private: Secret, public: bytes) -> Secret:
        made.append(agree(private, public))
        return made[-1]

    def private(root: Secret, **named: Any) -> Secret:
        made.append(keys._branch(root, b"box\0", named["config_digest"], named["position"], length=32))
        return made[-1]

    def derived(*arguments: Any, **named: Any) -> Secret:
        made.append(branch(*arguments, **named))
        return made[-1]

    monkeypatch.setattr(agreement, "agree", agreed)
    monkeypatch.setattr(channel, "box_private", private)
    root, peer = Secret(b"r" * 32), Endpoint(1, agreement.public_key(Secret(b"p" * 32)))
    named: dict[str, Any] = {"config_digest": bytes(32)}
    Channel.of_client(root, position=0, server_public=peer.public, **named)
    assert len(made) == 2
    own = Endpoint(0, agreement.public_key(root))
    keys.box_keys(root, own, peer, roster_digest=bytes(32), **named)
    keys.pairwise_mask_key(root, own, peer, roster_digest=bytes(32), **named)
    assert len(made) == 4
    assert all(is_wiped(secret) for secret in made)
    monkeypatch.setattr(keys, "derive", derived)
    with keys.coefficient_entropy(root, roster_digest=bytes(32), **named):
        assert not is_wiped(made[-1])
    assert is_wiped(made[-1])
    with pytest.raises(KeyboardInterrupt), keys.coefficient_entropy(root, roster_digest=bytes(32), **named):
        raise KeyboardInterrupt
    assert is_wiped(made[-1])


def test_round_secrets_are_overwritten_all_five() -> None:
    secrets = keys.round_secrets(Secret(b"r" * 32), config_digest=bytes(32), position=0)
    held = [secrets.root, secrets.mask_key_seed, secrets.mask_private, secrets.box_private, secrets.self_mask_seed]
    secrets.wipe()
    assert all(is_wiped(secret) for secret in held)


# What is data, stays, and shows nothing.


DATA: Final = (
    Invitation,
    Endpoint,
    RoundSecrets,
    BoxKeys,
    Joined,
    events.Send,
    events.Stream,
    events.NeedInput,
    events.Rejected,
    events.Finished,
    events.Failed,
)


@pytest.mark.parametrize("kind", DATA, ids=lambda kind: kind.__name__)
def test_facts_are_frozen_and_have_no_room_for_more(kind: Any) -> None:
    assert kind.__dataclass_params__.frozen
    assert "__dict__" not in dir(kind)
    shown = kind.__dataclass_params__.repr
    assert shown == (kind not in {RoundSecrets, BoxKeys})
    assert kind.__dataclass_params__.eq == (kind not in {RoundSecrets, BoxKeys, Joined})


@pytest.mark.parametrize("kind", [*messages.FROM_SERVER, *messages.FROM_CLIENT], ids=lambda kind: kind.__name__)
def test_messages_are_frozen(kind: Any) -> None:
    assert kind.__struct_config__.frozen


def test_what_is_sent_shows_none_of_its_bytes() -> None:
    send = events.Send(None, b"shared-bytes", b"tag-bytes")
    assert repr(send) == "Send(to=None)"
    assert repr(events.Stream(bytearray() for _ in ())) == "Stream()"
    assert send.data == b"shared-bytestag-bytes"
    whole = events.Send(None, b"shared-bytes")
    assert whole.data is whole.shared
    secret = Secret(b"s" * 32)
    tagging = Channel.of_server(
        secret, public=bytes(32), client=Endpoint(0, agreement.public_key(secret)), config_digest=bytes(32)
    )
    assert repr(tagging) == "<Channel>"
    assert repr(journal.Entry(journal.Kind.SECRET, b"sesame")) == "<SECRET of 6 bytes>"


def test_records_keep_their_numbers_on_the_disk() -> None:
    assert [(kind.name, kind.value) for kind in journal.Kind] == [
        ("SECRET", 1),
        ("REQUEST", 2),
        ("ANSWERED", 3),
        ("MASKED", 4),
    ]


def test_a_chunk_of_another_length_is_told_how_many_words_it_should_have() -> None:
    long = dataclasses.replace(CONFIG, length=CHUNK_GRAIN + 5, chunk_words=CHUNK_GRAIN)
    with pytest.raises(Violation, match="5 words in 7 bytes"):
        checks.check_chunk(MaskedInput(chunk=1, unopened=b""), memoryview(bytes(7)), config=long, expected=1)


def test_an_offer_is_read_as_long_as_any_also_where_a_round_is_on() -> None:
    offer = RoundOffer(config=CONFIG.encoded, invited=[*NAMES], server_key=bytes(32))
    data = front(offer, config_digest=CONFIG.digest, sender=SERVER)
    assert messages.open_message(data, config=CONFIG).kind == RoundOffer.KIND
