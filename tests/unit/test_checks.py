"""Every check at its edges: facts in, a verdict out, and the rule it names."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pytest

from secagg.config import RoundConfig
from secagg.errors import ConfigError, Malformed, RemoteError, Unauthentic, Violation
from secagg.field import PRIME
from secagg.identity import Identity, MemoryDirectory
from secagg.pairwise import checks
from secagg.pairwise.checks import Invitation
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
)
from secagg.pairwise.roster import Joined, joined, roster_of
from secagg.plan import Plan
from secagg.policy import Policy
from secagg.primitives import agreement, labels
from secagg.primitives.secret import Secret
from secagg.ring import Ring
from secagg.rules import Rule
from secagg.shamir import LIMBS, SHARE_SIZE, encode_shares
from secagg.testing.entropy import fixed_identity
from secagg.testing.plans import LaxPolicy, small_regular_plan
from secagg.testing.table import VectorRecipe, client_names
from secagg.types import ClientId
from secagg.wire import encode_body, pack_positions

PLAN: Final = Plan.find(clients=9, max_dropped=2, max_corrupt=2)  # threshold and quorum 6, seven survivors or more
SPARSE: Final = small_regular_plan(clients=9, degree=4, threshold=3, max_dropped=2)
NAMES: Final = tuple(ClientId(name) for name in client_names(9))
OWN: Final = 4
RECIPE: Final = VectorRecipe(length=100, bits=24)
IDENTITIES: Final = [fixed_identity(name) for name in NAMES]
DIRECTORY: Final = MemoryDirectory({name: who.public for name, who in zip(NAMES, IDENTITIES, strict=True)})


def config_of(plan: Plan = PLAN, **changes: Any) -> RoundConfig:
    config = RoundConfig.create(session=bytes(16), round=1, plan=plan, invited=NAMES, recipe=RECIPE)
    return dataclasses.replace(config, **changes)


CONFIG: Final = config_of()
INVITATION: Final = Invitation(CONFIG, NAMES, OWN, PLAN.min_survivors, 2)


NO_KEYS: Final[Mapping[str, bytes]] = {}


def public(number: int) -> bytes:
    return agreement.public_key(Secret(bytes(16) + number.to_bytes(16, "little")))  # clear of the clamped bits


def advert_of(
    position: int,
    *,
    identity: Identity | None = None,
    config: RoundConfig = CONFIG,
    keys: Mapping[str, bytes] = NO_KEYS,
) -> KeyAdvert:
    """What a client would advertise, some of its three values replaced before it signs."""
    fields = {
        "mask_key": public(2 * position),
        "box_key": public(2 * position + 1),
        "seed_commitment": bytes((position + 100,)) * 32,
    } | dict(keys)
    statement = checks.advert_statement(config.digest, position, *fields.values())
    signer = IDENTITIES[position] if identity is None else identity
    return KeyAdvert(**fields, signature=signer.sign(label=labels.SIGN_ADVERT, message=statement))


ADVERTS: Final = {position: advert_of(position) for position in range(9)}


def believed(roster: Roster, *, invitation: Invitation = INVITATION) -> Joined:
    return checks.check_roster(roster, invitation=invitation, own=ADVERTS[OWN], directory=DIRECTORY)


JOINED: Final = believed(roster_of(ADVERTS, 9))


def broken(check: Callable[..., object], *arguments: Any, error: type[RemoteError] = Violation, **named: Any) -> Rule:
    """The rule by which a check refuses these arguments, with this very error."""
    with pytest.raises(error) as refusal:
        check(*arguments, **named)
    assert type(refusal.value) is error
    return refusal.value.rule


# Offers.


def offer_of(config: RoundConfig = CONFIG, /, **changes: Any) -> RoundOffer:
    fields: dict[str, Any] = {"config": config.encoded, "invited": list(NAMES), "server_key": public(99)}
    return RoundOffer(**(fields | changes))


def offered(offer: RoundOffer, *, client: ClientId = NAMES[OWN], recipe: Any = RECIPE, **changes: Any) -> Invitation:
    arguments: dict[str, Any] = {"policy": Policy(), "instructions_digest": CONFIG.instructions_digest}
    return checks.check_offer(offer, client=client, recipe=recipe, **(arguments | changes))


def test_an_offer_that_passes_says_where_the_client_sits() -> None:
    assert offered(offer_of()) == INVITATION
    assert offered(offer_of(), client=NAMES[0]).position == 0
    strict = offered(offer_of(), policy=Policy(min_honest=5, min_survivors=7))
    assert (strict.min_survivors, strict.min_honest) == (7, 5)


def renamed(position: int, name: str) -> list[str]:
    return [*NAMES[:position], name, *NAMES[position + 1 :]]


BAD_LISTS: Final[dict[str, list[str]]] = {
    "one too few": list(NAMES[:-1]),
    "one too many": [*NAMES, "client-9999"],
    "out of order": [NAMES[1], NAMES[0], *NAMES[2:]],
    "twice": renamed(3, NAMES[2]),
    "another one": renamed(8, "client-9999"),
    "no name": renamed(0, ""),
    "a name with a space": renamed(8, "client 9"),
    "none": [],
}


@pytest.mark.parametrize("names", BAD_LISTS.values(), ids=BAD_LISTS)
def test_a_list_that_is_not_the_configs_is_refused(names: list[str]) -> None:
    assert broken(offered, offer_of(invited=names)) is Rule.OFFER_INVITED


def test_a_stranger_leaves() -> None:
    assert broken(offered, offer_of(), client=ClientId("client-9999")) is Rule.OFFER_SELF


class Narrow(VectorRecipe):
    """A recipe no ring can hold."""

    def ring(self, plan: Plan) -> Ring:
        raise ConfigError(f"no ring for {plan.clients} clients")


@pytest.mark.parametrize(
    "recipe",
    [VectorRecipe(length=101, bits=24), VectorRecipe(length=100, bits=25), Narrow(length=100, bits=24)],
    ids=["length", "bits", "no ring"],
)
def test_another_recipe_is_refused(recipe: VectorRecipe) -> None:
    assert broken(offered, offer_of(), recipe=recipe) is Rule.OFFER_RECIPE


@pytest.mark.parametrize("changes", [{"recipe_digest": bytes(32)}, {"length": 99}, {"ring_bits": 25}], ids=str)
def test_a_config_of_another_recipe_is_refused(changes: dict[str, Any]) -> None:
    assert broken(offered, offer_of(config_of(**changes))) is Rule.OFFER_RECIPE


def test_other_instructions_are_refused() -> None:
    assert broken(offered, offer_of(), instructions_digest=bytes(32)) is Rule.OFFER_INSTRUCTIONS


@pytest.mark.parametrize("key", [bytes(32), (1).to_bytes(32, "little"), b"\xff" * 32])
def test_a_server_key_of_low_order_or_second_encoding_is_refused(key: bytes) -> None:
    assert broken(offered, offer_of(server_key=key)) is Rule.OFFER_SERVER_KEY


def test_an_unsafe_plan_is_refused_by_any_policy_but_that_of_tests() -> None:
    fields = msgspec.msgpack.decode(CONFIG.encoded)
    fields[9] = 5  # the threshold
    offer = offer_of(config=msgspec.msgpack.encode(fields))
    assert broken(offered, offer) is Rule.OFFER_PLAN
    assert offered(offer, policy=LaxPolicy()).config.plan.threshold == 5


# Rosters.


def test_a_roster_within_its_floors_is_believed() -> None:
    assert list(JOINED.adverts) == list(range(9))
    assert JOINED.neighbors(OWN) == (0, 1, 2, 3, 5, 6, 7, 8)
    fewest = {position: ADVERTS[position] for position in (1, 2, 3, 4, 5, 6, 8)}
    assert list(believed(roster_of(fewest, 9)).adverts) == [1, 2, 3, 4, 5, 6, 8]


def test_one_below_the_floor_is_refused() -> None:
    assert broken(believed, roster_of({p: ADVERTS[p] for p in range(6)}, 9)) is Rule.ROSTER_FLOOR


def test_a_sparse_client_needs_a_threshold_of_holders() -> None:
    config = config_of(SPARSE)
    invitation = dataclasses.replace(INVITATION, config=config, position=0, min_survivors=2)
    adverts = {position: advert_of(position, config=config) for position in range(9)}
    verdicts = set()
    for others in itertools.combinations(range(1, 9), 4):
        positions = (0, *others)
        roster = roster_of({position: adverts[position] for position in positions}, 9)
        enough = len(joined(config, positions, roster).neighbors(0)) + 1 >= SPARSE.threshold

        def check(roster: Roster = roster) -> Joined:
            return checks.check_roster(roster, invitation=invitation, own=adverts[0], directory=DIRECTORY)

        if enough:
            assert list(check().adverts) == list(positions)
        else:
            assert broken(check) is Rule.ROSTER_FLOOR
        verdicts.add(enough)
    assert verdicts == {True, False}


def test_a_roster_without_this_clients_own_advert_is_refused() -> None:
    without = {position: advert for position, advert in ADVERTS.items() if position != OWN}
    assert broken(believed, roster_of(without, 9)) is Rule.ROSTER_SELF
    for change in ("mask_key", "box_key", "seed_commitment"):
        altered = advert_of(OWN, keys={change: public(77)})  # well signed, but not what it sent
        assert broken(believed, roster_of(ADVERTS | {OWN: altered}, 9)) is Rule.ROSTER_SELF


def test_a_roster_of_more_or_fewer_adverts_than_bits_is_refused() -> None:
    whole = roster_of(ADVERTS, 9)
    for adverts in (whole.adverts[:-1], [*whole.adverts, advert_of(8, keys={"mask_key": public(77)})], []):
        assert broken(believed, Roster(whole.joined, adverts)) is Rule.ROSTER_ORDER
    for bitmap in (b"\xff", b"\xff\x01\0", b"\xff\x03", b""):
        roster = Roster(bitmap, whole.adverts)
        assert broken(believed, roster, error=Malformed) is Rule.ROSTER_ORDER


def test_adverts_that_changed_places_are_refused() -> None:
    swapped = ADVERTS | {1: ADVERTS[2], 2: ADVERTS[1]}
    assert broken(believed, roster_of(swapped, 9), error=Unauthentic) is Rule.ADVERT_SIGNATURE


VALUES: Final = ("mask_key", "box_key", "seed_commitment")


@pytest.mark.parametrize(("one", "other"), list(itertools.product(VALUES, VALUES)))
def test_no_value_stands_in_a_roster_twice_whatever_it_is(one: str, other: str) -> None:
    repeated = advert_of(2, keys={one: getattr(ADVERTS[7], other)})
    assert broken(believed, roster_of(ADVERTS | {2: repeated}, 9)) is Rule.ADVERT_DISTINCT
    assert broken(admitted, 2, repeated, [7]) is Rule.ADVERT_DISTINCT


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(VALUES, 2)))
def test_one_advert_holds_three_values(one: str, other: str) -> None:
    same = advert_of(2, keys={one: public(77), other: public(77)})
    assert broken(believed, roster_of(ADVERTS | {2: same}, 9)) is Rule.ADVERT_DISTINCT
    assert broken(admitted, 2, same, []) is Rule.ADVERT_DISTINCT


def admitted(position: int, advert: KeyAdvert, earlier: Iterable[int]) -> tuple[bytes, bytes, bytes]:
    """A server's look at an advert beside those it admitted earlier."""
    taken = {getattr(ADVERTS[other], value) for other in earlier for value in VALUES}
    return checks.check_new_advert(
        advert, client=NAMES[position], position=position, config=CONFIG, directory=DIRECTORY, taken=taken
    )


def test_an_admitted_advert_takes_its_three_values() -> None:
    own = ADVERTS[2]
    assert admitted(2, own, [0, 1, 3]) == (own.mask_key, own.box_key, own.seed_commitment)


BAD_KEYS: Final = {
    "zero": bytes(32),
    "one": (1).to_bytes(32, "little"),
    "minus one": (2**255 - 20).to_bytes(32, "little"),
    "a second encoding": (2**255 - 19 + 9).to_bytes(32, "little"),
    "the top bit": (9 + 2**255).to_bytes(32, "little"),
}


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
@pytest.mark.parametrize("place", ["mask_key", "box_key"])
def test_a_well_signed_key_of_low_order_or_second_encoding_is_refused(place: str, key: bytes) -> None:
    bad = advert_of(2, keys={place: key})
    assert broken(believed, roster_of(ADVERTS | {2: bad}, 9)) is Rule.ADVERT_KEY
    assert broken(admitted, 2, bad, []) is Rule.ADVERT_KEY


def test_an_advert_is_signed_by_its_own_client_for_its_place_and_round() -> None:
    for bad in (
        advert_of(2, identity=IDENTITIES[3]),
        advert_of(2, config=config_of(round=2)),
        msgspec.structs.replace(ADVERTS[2], mask_key=public(77)),
        msgspec.structs.replace(ADVERTS[2], signature=bytes(64)),
    ):
        assert broken(believed, roster_of(ADVERTS | {2: bad}, 9), error=Unauthentic) is Rule.ADVERT_SIGNATURE
        assert broken(admitted, 2, bad, [], error=Unauthentic) is Rule.ADVERT_SIGNATURE


def test_an_advertiser_the_directory_does_not_know_is_refused() -> None:
    known = MemoryDirectory({name: who.public for name, who in zip(NAMES[:8], IDENTITIES[:8], strict=True)})

    def check() -> Joined:
        return checks.check_roster(roster_of(ADVERTS, 9), invitation=INVITATION, own=ADVERTS[OWN], directory=known)

    with pytest.raises(Unauthentic) as refusal:
        check()
    assert (refusal.value.rule, refusal.value.peer) == (Rule.ADVERT_IDENTITY, NAMES[8])


# Boxes and inboxes.


@pytest.mark.parametrize("count", [0, 2, 4])
def test_boxes_are_one_a_receiver(count: int) -> None:
    data = np.random.default_rng(1).bytes(3 * BOX_SIZE)
    boxes = checks.check_sealed_shares(SealedShares(data), receivers=(1, 5, 7))
    assert boxes == {1: data[:BOX_SIZE], 5: data[BOX_SIZE : 2 * BOX_SIZE], 7: data[2 * BOX_SIZE :]}
    for size in (count * BOX_SIZE, 3 * BOX_SIZE - 1, 3 * BOX_SIZE + 1):
        message = SealedShares(bytes(size))
        assert broken(checks.check_sealed_shares, message, receivers=(1, 5, 7)) is Rule.BOXES_RECEIVERS


def opened(senders: Iterable[int], size: int | None = None, bitmap: bytes | None = None) -> dict[int, bytes]:
    chosen = sorted(senders)
    boxes = b"".join(bytes((sender,)) * BOX_SIZE for sender in chosen)
    packed = pack_positions(chosen, 9) if bitmap is None else bitmap
    inbox = Inbox(packed, boxes if size is None else bytes(size))
    return checks.check_inbox(inbox, invitation=INVITATION, joined=JOINED)


def test_an_inbox_is_taken_apart_by_sender() -> None:
    assert opened([]) == {}
    assert opened([8, 0]) == {0: b"\0" * BOX_SIZE, 8: b"\x08" * BOX_SIZE}


def test_an_inbox_holds_boxes_of_neighbors_each_once() -> None:
    assert broken(opened, [0, OWN]) is Rule.INBOX_SENDERS
    assert broken(opened, [0, 1], size=BOX_SIZE) is Rule.INBOX_SENDERS
    assert broken(opened, [0, 1], size=3 * BOX_SIZE) is Rule.INBOX_SENDERS
    assert broken(opened, [], bitmap=b"\0", error=Malformed) is Rule.INBOX_SENDERS
    assert broken(opened, [], bitmap=b"\0\x02", error=Malformed) is Rule.INBOX_SENDERS


def test_a_box_of_a_client_that_never_joined_is_refused() -> None:
    fewest = believed(roster_of({position: ADVERTS[position] for position in range(7)}, 9))
    inbox = Inbox(pack_positions([0, 8], 9), bytes(2 * BOX_SIZE))
    assert broken(checks.check_inbox, inbox, invitation=INVITATION, joined=fewest) is Rule.INBOX_SENDERS


# Survivors.


def survive(survivors: Iterable[int], *, inbox: Iterable[int] = range(9), **changes: Any) -> frozenset[int]:
    return checks.check_survivors(
        SurvivorSet(pack_positions(survivors, 9)),
        invitation=dataclasses.replace(INVITATION, **changes),
        joined=JOINED,
        inbox=frozenset(inbox),
    )


def test_a_survivor_set_within_its_floors_is_believed() -> None:
    assert survive(range(9)) == frozenset(range(9))
    assert survive(range(7)) == frozenset(range(7))
    assert survive(range(7), inbox=range(7)) == frozenset(range(7))


def test_every_survivor_stands_in_the_clients_own_inbox() -> None:
    for missing in set(range(9)) - {OWN}:
        inbox = set(range(9)) - {missing}
        assert broken(survive, range(9), inbox=inbox) is Rule.SURVIVORS_INBOX
        assert survive(set(range(9)) - {missing}, inbox=inbox)


def test_a_client_that_does_not_survive_says_nothing() -> None:
    assert broken(survive, set(range(9)) - {OWN}) is Rule.SURVIVORS_SELF
    assert broken(survive, []) is Rule.SURVIVORS_SELF


def test_survivors_below_the_floors_are_refused() -> None:
    assert broken(survive, range(6)) is Rule.SURVIVORS_FLOOR
    assert survive(range(6), min_survivors=6)
    assert broken(survive, range(7), min_survivors=8) is Rule.SURVIVORS_FLOOR
    assert survive(range(7), min_honest=5)
    assert broken(survive, range(7), min_honest=6) is Rule.SURVIVORS_HONEST


def test_a_survivor_set_has_one_form() -> None:
    def check(bitmap: bytes, seen: Joined = JOINED) -> frozenset[int]:
        return checks.check_survivors(SurvivorSet(bitmap), invitation=INVITATION, joined=seen, inbox=range(9))

    for bitmap in (b"", b"\xff", b"\xff\x01\0", b"\xff\x03"):
        assert broken(check, bitmap, error=Malformed) is Rule.SURVIVORS_FORM
    fewest = believed(roster_of({position: ADVERTS[position] for position in range(7)}, 9))
    assert check(b"\x7f\0", fewest) == frozenset(range(7))
    assert broken(check, b"\xff\0", fewest) is Rule.SURVIVORS_FORM


# Quorum.


SURVIVORS: Final = frozenset(range(8))


def confirmed(
    signer: int, survivors: frozenset[int] = SURVIVORS, *, seen: Joined = JOINED, by: int | None = None
) -> bytes:
    statement = checks.survivor_statement(CONFIG.digest, seen.digest, survivors)
    return IDENTITIES[signer if by is None else by].sign(label=labels.SIGN_SURVIVORS, message=statement)


def unmask(signers: Sequence[int], signatures: Sequence[bytes] | None = None, bitmap: bytes | None = None) -> None:
    given = [confirmed(signer) for signer in signers] if signatures is None else signatures
    packed = pack_positions(signers, 9) if bitmap is None else bitmap
    checks.check_unmask_request(
        UnmaskRequest(packed, b"".join(given)),
        config=CONFIG,
        invited=NAMES,
        joined=JOINED,
        survivors=SURVIVORS,
        directory=DIRECTORY,
    )


def test_a_quorum_of_survivors_is_enough_and_one_less_is_not() -> None:
    for signers in (range(6), range(2, 8), range(8), (0, 1, 3, 4, 6, 7)):
        unmask(signers)
    assert broken(unmask, range(5)) is Rule.QUORUM_REACHED
    assert broken(unmask, []) is Rule.QUORUM_REACHED


def test_only_survivors_sign() -> None:
    assert broken(unmask, [0, 1, 2, 3, 4, 5, 8]) is Rule.QUORUM_ORDER


def test_signatures_stand_one_a_signer_in_order() -> None:
    six = [confirmed(signer) for signer in range(6)]
    for signatures in (six[:-1], [*six, six[0]], [*six[:-1], six[-1][:-1]], []):
        assert broken(unmask, range(6), signatures) is Rule.QUORUM_ORDER
    swapped = [six[1], six[0], *six[2:]]
    assert broken(unmask, range(6), swapped, error=Unauthentic) is Rule.QUORUM_SIGNATURE
    repeated = [six[0], six[0], *six[2:]]
    assert broken(unmask, range(6), repeated, error=Unauthentic) is Rule.QUORUM_SIGNATURE
    for bitmap in (b"\x3f", b"\x3f\0\0", b"\x3f\x02"):
        assert broken(unmask, range(6), bitmap=bitmap, error=Malformed) is Rule.QUORUM_ORDER


@pytest.mark.parametrize("bad", range(6))
def test_every_forwarded_signature_counts(bad: int) -> None:
    other_roster = believed(roster_of({position: ADVERTS[position] for position in range(8)}, 9))
    wrong = {
        "of another set": confirmed(bad, frozenset(range(7))),
        "of another roster": confirmed(bad, seen=other_roster),
        "by another": confirmed(bad, by=(bad + 1) % 6),
        "of nothing": bytes(64),
    }
    for signature in wrong.values():
        given = [signature if signer == bad else confirmed(signer) for signer in range(7)]
        with pytest.raises(Unauthentic) as refusal:
            unmask(range(7), given)
        assert (refusal.value.rule, refusal.value.peer) == (Rule.QUORUM_SIGNATURE, NAMES[bad])


def test_a_confirmation_by_a_stranger_is_none() -> None:
    statement = checks.survivor_statement(CONFIG.digest, JOINED.digest, SURVIVORS)
    message = SurvivorSignature(confirmed(0))
    for client in (NAMES[1], ClientId("client-9999")):
        assert (
            broken(
                checks.check_survivor_signature,
                message,
                client=client,
                statement=statement,
                directory=DIRECTORY,
                error=Unauthentic,
            )
            is Rule.QUORUM_SIGNATURE
        )


def test_statements_of_different_facts_differ() -> None:
    sets = [frozenset(range(count)) for count in range(9)]
    statements = {checks.survivor_statement(CONFIG.digest, JOINED.digest, chosen) for chosen in sets}
    statements |= {checks.survivor_statement(bytes(32), JOINED.digest, chosen) for chosen in sets}
    assert len(statements) == 18
    assert len({checks.advert_statement(CONFIG.digest, position, *3 * [bytes(32)]) for position in range(9)}) == 9


# Inputs.


@pytest.mark.parametrize(("bits", "length", "size", "used"), [(24, 100, 300, 0), (10, 5, 7, 2), (9, 1, 2, 1)])
def test_a_chunk_has_its_exact_length_and_no_padding(bits: int, length: int, size: int, used: int) -> None:
    config = config_of(ring_bits=bits, length=length)

    def check(tail: bytes, chunk: int = 0, expected: int = 0) -> None:
        checks.check_chunk(MaskedInput(chunk, b""), memoryview(tail), config=config, expected=expected)

    check(bytes(size))
    for wrong in (size - 1, size + 1, 0):
        assert broken(check, bytes(wrong)) is Rule.INPUT_CHUNK
    for chunk in (1, 2**40, -1):
        assert broken(check, bytes(size), chunk) is Rule.INPUT_CHUNK
    for bit in range(used, 8) if used else ():
        tail = bytes(size - 1) + bytes((1 << bit,))
        assert broken(check, tail) is Rule.INPUT_RANGE


def reported(
    unopened: bytes, *, chunk: int = 0, inbox: Iterable[int] = range(4), config: RoundConfig = CONFIG
) -> set[int]:
    return set(checks.check_unopened(MaskedInput(chunk, unopened), config=config, inbox=frozenset(inbox)))


def test_a_report_names_senders_of_the_inbox_and_no_more_than_can_be_true() -> None:
    assert reported(b"\0\0") == set()
    assert reported(b"\x0a\0") == {1, 3}  # two colluders can deal two bad boxes
    assert broken(reported, b"\x07\0") is Rule.INPUT_UNOPENED
    assert broken(reported, b"\x10\0") is Rule.INPUT_UNOPENED
    for bitmap in (b"", b"\0", b"\0\0\0", b"\0\x02"):
        assert broken(reported, bitmap, error=Malformed) is Rule.INPUT_UNOPENED


def test_one_report_can_always_be_true() -> None:
    nobody = config_of(dataclasses.replace(PLAN, max_corrupt=0))
    assert reported(b"\x01\0", config=nobody) == {0}
    assert broken(reported, b"\x03\0", config=nobody) is Rule.INPUT_UNOPENED


def test_only_the_first_chunk_reports() -> None:
    assert reported(b"", chunk=1) == set()
    for bitmap in (b"\0", b"\0\0", b"\x01\0"):
        assert broken(reported, bitmap, chunk=1) is Rule.INPUT_UNOPENED


def test_two_sides_of_an_edge_count_only_where_both_masked_it() -> None:
    counted = {1: frozenset({5}), 2: frozenset[int]()}
    checks.check_no_conflict(3, frozenset(), counted=counted)
    checks.check_no_conflict(3, frozenset({4}), counted=counted)
    for position, unopened in ((5, frozenset[int]()), (3, frozenset({2})), (3, frozenset({1, 4}))):
        assert broken(checks.check_no_conflict, position, unopened, counted=counted) is Rule.INBOX_CONFLICT


# Shares.


def test_revealed_shares_are_one_a_dealer_and_in_range() -> None:
    values = np.random.default_rng(2).integers(0, PRIME, (3, LIMBS), dtype=np.int64)
    data = encode_shares(values).tobytes()
    found = checks.check_unmask_shares(UnmaskShares(data), dealers=(2, 4, 9))
    assert list(found) == [2, 4, 9]
    assert all(np.array_equal(share, value) for share, value in zip(found.values(), values, strict=True))
    for wrong in (data[:-1], data + b"\0", data[:-SHARE_SIZE], data + data[:SHARE_SIZE], b""):
        assert broken(checks.check_unmask_shares, UnmaskShares(wrong), dealers=(2, 4, 9)) is Rule.SHARES_HOLDERS


@pytest.mark.parametrize("index", range(3))
def test_one_share_out_of_range_refuses_all(index: int) -> None:
    shares = encode_shares(np.zeros((3, LIMBS), dtype=np.int64))
    for place, value in ((18, 0x80), (18, 0x08), (0, 0xFF)):
        bad = shares.copy()
        bad[index, place] = value
        if place == 0:  # the first element all ones: 2^21 - 1, which is above the prime
            bad[index, :3] = (0xFF, 0xFF, 0x1F)
        assert broken(checks.check_unmask_shares, UnmaskShares(bad.tobytes()), dealers=(0, 1, 2)) is Rule.SHARE_RANGE


def test_a_check_changes_nothing_it_was_given() -> None:
    roster = roster_of(ADVERTS, 9)
    before = encode_body(roster)
    believed(roster)
    assert encode_body(roster) == before
