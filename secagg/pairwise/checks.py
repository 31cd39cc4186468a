"""Every check on a message, pure: facts in, a verdict out. The auditor's first file.

Promise: what another party sends is refused here or nowhere. Each function takes what the receiver knows and the
message, returns what it has learned, and raises an error that names its Rule. None touches a secret or keeps state.

The checks that protect an honest client from the server come first; those by which a server keeps a round alive
among faulty clients follow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secagg.config import RoundConfig, Summable, invited_digest
from secagg.errors import ConfigError, Unauthentic, Violation
from secagg.identity import Directory, client_id
from secagg.pairwise.keys import position_bytes
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
from secagg.pairwise.roster import Joined, joined
from secagg.policy import Policy
from secagg.primitives import labels, signature
from secagg.primitives.agreement import is_valid_public_key
from secagg.primitives.suite import SIGNATURE_SIZE
from secagg.rules import Rule
from secagg.shamir import SHARE_SIZE, decode_shares
from secagg.types import ClientId
from secagg.wire import unpack_positions


@dataclass(frozen=True, slots=True)
class Invitation:
    """An offer that passed every check: the round, who is invited, and where this client sits."""

    config: RoundConfig
    invited: tuple[ClientId, ...]
    position: int
    min_survivors: int
    min_honest: int


# What a client checks.


def check_offer(
    offer: RoundOffer, *, client: ClientId, policy: Policy, recipe: Summable, instructions_digest: bytes
) -> Invitation:
    """Decide whether to take part. That the round number is fresh is checked where it is recorded (round/client.py).

    Raises:
        Malformed(WIRE_FORMAT), Violation(OFFER_CONFIG, OFFER_PLAN, OFFER_POLICY, OFFER_INVITED, OFFER_SELF,
        OFFER_RECIPE, OFFER_INSTRUCTIONS, OFFER_SERVER_KEY).
    """
    config = RoundConfig.decode(offer.config, plan_type=policy.make_plan)
    policy.check(config)
    invited = _check_invited(offer.invited, config)
    if client not in invited:
        raise Violation(Rule.OFFER_SELF)
    if (config.recipe_digest, config.length) != (recipe.digest, recipe.length):
        raise Violation(Rule.OFFER_RECIPE)
    try:
        bits = recipe.ring(config.plan).bits
    except ConfigError as error:
        raise Violation(Rule.OFFER_RECIPE, "no ring holds the recipe for so many clients") from error
    if config.ring_bits != bits:
        raise Violation(Rule.OFFER_RECIPE, f"the recipe needs {bits} bits, the config says {config.ring_bits}")
    if config.instructions_digest != instructions_digest:
        raise Violation(Rule.OFFER_INSTRUCTIONS)
    if not is_valid_public_key(offer.server_key):
        raise Violation(Rule.OFFER_SERVER_KEY)
    floor = max(config.plan.min_survivors, policy.min_survivors)
    return Invitation(config, invited, invited.index(client), floor, policy.min_honest)


def _check_invited(names: list[str], config: RoundConfig) -> tuple[ClientId, ...]:
    try:
        invited = tuple(client_id(name) for name in names)
    except ConfigError as error:
        raise Violation(Rule.OFFER_INVITED, "a name is not a client id") from error
    if len(invited) != config.plan.clients or list(invited) != sorted(set(invited)):
        raise Violation(Rule.OFFER_INVITED)
    if invited_digest(invited) != config.invited_digest:
        raise Violation(Rule.OFFER_INVITED, "the list is not the one the config names")
    return invited


def check_roster(roster: Roster, *, invitation: Invitation, own: KeyAdvert, directory: Directory) -> Joined:
    """Believe a roster, or leave.

    Signatures are verified for the client's neighbors, the only keys it will use: on the complete graph that is
    everyone. No key may repeat anywhere in the roster.

    Raises:
        Malformed(ROSTER_ORDER), Violation(ROSTER_ORDER, ROSTER_SELF, ROSTER_FLOOR, ADVERT_KEY, ADVERT_DISTINCT),
        Unauthentic(ADVERT_IDENTITY, ADVERT_SIGNATURE).
    """
    config, plan = invitation.config, invitation.config.plan
    positions = unpack_positions(roster.joined, plan.clients, Rule.ROSTER_ORDER)
    if len(positions) != len(roster.adverts):
        raise Violation(Rule.ROSTER_ORDER, f"{len(positions)} joined, {len(roster.adverts)} adverts")
    seen = joined(config, positions, roster)
    if seen.adverts.get(invitation.position) != own:
        raise Violation(Rule.ROSTER_SELF)
    if len(positions) < max(plan.threshold, invitation.min_survivors):
        raise Violation(Rule.ROSTER_FLOOR, f"{len(positions)} joined")
    check_distinct(roster.adverts)
    neighbors = seen.neighbors(invitation.position)
    if len(neighbors) + 1 < plan.threshold:
        raise Violation(Rule.ROSTER_FLOOR, f"{len(neighbors)} neighbors joined")
    for peer in neighbors:
        check_advert(
            seen.adverts[peer], client=invitation.invited[peer], position=peer, config=config, directory=directory
        )
    return seen


def check_advert(
    advert: KeyAdvert, *, client: ClientId, position: int, config: RoundConfig, directory: Directory
) -> None:
    """Believe one client's keys.

    Raises:
        Unauthentic(ADVERT_IDENTITY, ADVERT_SIGNATURE), Violation(ADVERT_KEY).
    """
    pinned = directory.key_of(client)
    if pinned is None:
        raise Unauthentic(Rule.ADVERT_IDENTITY, peer=client)
    message = advert_statement(config.digest, position, advert.mask_key, advert.box_key, advert.seed_commitment)
    if not signature.verify(pinned, advert.signature, label=labels.SIGN_ADVERT, message=message):
        raise Unauthentic(Rule.ADVERT_SIGNATURE, peer=client)
    if not (is_valid_public_key(advert.mask_key) and is_valid_public_key(advert.box_key)):
        raise Violation(Rule.ADVERT_KEY, peer=client)


def check_distinct(adverts: Iterable[KeyAdvert]) -> None:
    """Refuse a key or commitment that stands in a roster twice: it would put one client in two places.

    Raises:
        Violation(ADVERT_DISTINCT).
    """
    values = [value for advert in adverts for value in (advert.mask_key, advert.box_key, advert.seed_commitment)]
    if len(set(values)) < len(values):
        raise Violation(Rule.ADVERT_DISTINCT)


def check_inbox(inbox: Inbox, *, invitation: Invitation, joined: Joined) -> dict[int, bytes]:
    """Take an inbox apart into sender position -> box.

    Raises:
        Malformed(INBOX_SENDERS), Violation(INBOX_SENDERS).
    """
    senders = unpack_positions(inbox.senders, invitation.config.plan.clients, Rule.INBOX_SENDERS)
    if not set(senders) <= set(joined.neighbors(invitation.position)):
        raise Violation(Rule.INBOX_SENDERS, "a box from a client that is no neighbor")
    if len(inbox.boxes) != BOX_SIZE * len(senders):
        raise Violation(Rule.INBOX_SENDERS, f"{len(senders)} senders, {len(inbox.boxes)} bytes of boxes")
    return dict(zip(senders, _slices(inbox.boxes, BOX_SIZE), strict=True))


def check_survivors(
    survivors: SurvivorSet, *, invitation: Invitation, joined: Joined, inbox: Collection[int]
) -> frozenset[int]:
    """Believe a survivor set, or leave without a word.

    The inbox rule is the difference between a sum and a leak. A client masks towards exactly its inbox. A survivor
    outside it would be unmasked with a pairwise mask left uncancelled on one side, and if that were allowed for all
    of one client's neighbors, that client's input would stand alone. So S is held against the inbox, never against
    the roster.

    Args:
        survivors: the message.
        invitation: what this client agreed to.
        joined: the roster it believes.
        inbox: the senders whose boxes it opened.

    Raises:
        Malformed(SURVIVORS_FORM), Violation(SURVIVORS_FORM, SURVIVORS_SELF, SURVIVORS_INBOX, SURVIVORS_FLOOR,
        SURVIVORS_HONEST).
    """
    plan = invitation.config.plan
    chosen = frozenset(unpack_positions(survivors.survivors, plan.clients, Rule.SURVIVORS_FORM))
    if not chosen <= joined.adverts.keys():
        raise Violation(Rule.SURVIVORS_FORM, "a survivor that never joined")
    if invitation.position not in chosen:
        raise Violation(Rule.SURVIVORS_SELF)
    if not chosen.intersection(joined.neighbors(invitation.position)) <= set(inbox):
        raise Violation(Rule.SURVIVORS_INBOX)
    if len(chosen) < invitation.min_survivors:
        raise Violation(Rule.SURVIVORS_FLOOR, f"{len(chosen)} survivors, {invitation.min_survivors} needed")
    if len(chosen) - plan.max_corrupt < invitation.min_honest:
        raise Violation(Rule.SURVIVORS_HONEST, f"{len(chosen)} survivors, {plan.max_corrupt} may collude")
    return chosen


def check_unmask_request(
    request: UnmaskRequest,
    *,
    config: RoundConfig,
    invited: tuple[ClientId, ...],
    joined: Joined,
    survivors: frozenset[int],
    directory: Directory,
) -> None:
    """Believe that enough survivors saw this client's own survivor set.

    Raises:
        Malformed(QUORUM_ORDER), Violation(QUORUM_ORDER, QUORUM_REACHED), Unauthentic(QUORUM_SIGNATURE).
    """
    plan = config.plan
    signers = unpack_positions(request.signers, plan.clients, Rule.QUORUM_ORDER)
    if not survivors.issuperset(signers) or len(request.signatures) != SIGNATURE_SIZE * len(signers):
        raise Violation(Rule.QUORUM_ORDER)
    if len(signers) < plan.quorum:
        raise Violation(Rule.QUORUM_REACHED, f"{len(signers)} signatures, quorum {plan.quorum}")
    statement = survivor_statement(config.digest, joined.digest, survivors)
    for signer, given in zip(signers, _slices(request.signatures, SIGNATURE_SIZE), strict=True):
        check_survivor_signature(
            SurvivorSignature(given), client=invited[signer], statement=statement, directory=directory
        )


def check_survivor_signature(
    message: SurvivorSignature, *, client: ClientId, statement: bytes, directory: Directory
) -> None:
    """Believe one confirmation.

    Raises:
        Unauthentic(QUORUM_SIGNATURE).
    """
    pinned = directory.key_of(client)
    if pinned is None or not signature.verify(
        pinned, message.signature, label=labels.SIGN_SURVIVORS, message=statement
    ):
        raise Unauthentic(Rule.QUORUM_SIGNATURE, peer=client)


def advert_statement(
    config_digest: bytes, position: int, mask_key: bytes, box_key: bytes, seed_commitment: bytes
) -> bytes:
    """What an advert's signature covers, after its label; every part has a fixed length."""
    return config_digest + position_bytes(position) + mask_key + box_key + seed_commitment


def survivor_statement(config_digest: bytes, roster_digest: bytes, survivors: frozenset[int]) -> bytes:
    """What a confirmation covers, after its label: config, roster and the ascending survivors."""
    return config_digest + roster_digest + b"".join(map(position_bytes, sorted(survivors)))


# What a server checks.


def check_new_advert(
    advert: KeyAdvert,
    *,
    client: ClientId,
    position: int,
    config: RoundConfig,
    directory: Directory,
    taken: Collection[bytes],
) -> tuple[bytes, bytes, bytes]:
    """Admit one client's advert beside those admitted already, and return the three values it takes.

    Raises:
        as check_advert and check_distinct.
    """
    check_advert(advert, client=client, position=position, config=config, directory=directory)
    own = (advert.mask_key, advert.box_key, advert.seed_commitment)
    if len(set(own)) < len(own) or any(value in taken for value in own):
        raise Violation(Rule.ADVERT_DISTINCT)
    return own


def check_sealed_shares(message: SealedShares, *, receivers: tuple[int, ...]) -> dict[int, bytes]:
    """Take a client's boxes apart into receiver position -> box.

    Raises:
        Violation(BOXES_RECEIVERS).
    """
    if len(message.boxes) != BOX_SIZE * len(receivers):
        raise Violation(Rule.BOXES_RECEIVERS, f"{len(receivers)} receivers, {len(message.boxes)} bytes of boxes")
    return dict(zip(receivers, _slices(message.boxes, BOX_SIZE), strict=True))


def check_chunk(message: MaskedInput, tail: memoryview, *, config: RoundConfig, expected: int) -> None:
    """Admit the next chunk of a masked input: its number, exact length and padding.

    Raises:
        Violation(INPUT_CHUNK, INPUT_RANGE).
    """
    if message.chunk != expected:
        raise Violation(Rule.INPUT_CHUNK, f"chunk {expected} is next, got {message.chunk}")
    start, stop = config.chunk_range(expected)
    if len(tail) != config.ring.packed_size(stop - start):
        raise Violation(Rule.INPUT_CHUNK, f"{stop - start} words in {len(tail)} bytes")
    if not config.ring.padding_is_zero(tail, stop - start):
        raise Violation(Rule.INPUT_RANGE, "a padding bit is set")


def check_unopened(message: MaskedInput, *, config: RoundConfig, inbox: frozenset[int]) -> frozenset[int]:
    """Read which senders' boxes a client could not open.

    A report bars its reporter and the reported from the same sum, so a liar could bar everyone. More reports than
    the plan allows bad dealers (and more than one) cannot all be true, and the reporter is refused instead.

    Raises:
        Malformed(INPUT_UNOPENED), Violation(INPUT_UNOPENED).
    """
    if message.chunk:
        if message.unopened:
            raise Violation(Rule.INPUT_UNOPENED, "only chunk 0 reports boxes")
        return frozenset()
    unopened = frozenset(unpack_positions(message.unopened, config.plan.clients, Rule.INPUT_UNOPENED))
    if not unopened <= inbox:
        raise Violation(Rule.INPUT_UNOPENED, "a report about a client outside the inbox")
    if len(unopened) > max(1, config.plan.max_corrupt):
        raise Violation(Rule.INPUT_UNOPENED, f"{len(unopened)} reports, at most {config.plan.max_corrupt} can be true")
    return unopened


def check_no_conflict(position: int, unopened: frozenset[int], *, counted: Mapping[int, frozenset[int]]) -> None:
    """Refuse an input that one side of an edge masked and the other did not; the first to arrive stays.

    Raises:
        Violation(INBOX_CONFLICT).
    """
    for other, reported in counted.items():
        if other in unopened or position in reported:
            raise Violation(Rule.INBOX_CONFLICT, f"position {other} is counted already")


def check_unmask_shares(message: UnmaskShares, *, dealers: tuple[int, ...]) -> dict[int, npt.NDArray[np.int64]]:
    """Take revealed shares apart into dealer position -> the share's field elements.

    Raises:
        Violation(SHARES_HOLDERS, SHARE_RANGE).
    """
    if len(message.shares) != SHARE_SIZE * len(dealers):
        raise Violation(Rule.SHARES_HOLDERS, f"{len(dealers)} shares, {len(message.shares)} bytes")
    block = np.frombuffer(message.shares, dtype=np.uint8).reshape(len(dealers), SHARE_SIZE)
    values, valid = decode_shares(block)
    if not valid.all():
        raise Violation(Rule.SHARE_RANGE)
    return dict(zip(dealers, values, strict=True))


def _slices(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]
