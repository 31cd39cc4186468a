"""What a round costs: bytes by leg, masks, key agreements and signatures, before anyone runs it.

Promise: the bytes are exact, because they are lengths of the real messages, encoded with blank contents; only the
names of the clients, which the offer lists, are taken to be of one length. The counts are those of the code, held to
it by a test. No seconds are predicted: they depend on the machine (`secagg plan --measure` takes them there).

Pure. Imports the config, the plan, the ring, the messages of `pairwise` and the codec.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final

from secagg.config import DEFAULT_CHUNK_WORDS, SESSION_SIZE, RoundConfig
from secagg.errors import ConfigError
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
)
from secagg.plan import Plan
from secagg.primitives.suite import DIGEST_SIZE, PUBLIC_KEY_SIZE, SIGNATURE_SIZE
from secagg.shamir import SHARE_SIZE
from secagg.types import MAX_CLIENT_ID, Leg
from secagg.wire import HEADER_SIZE, Message, aligned, encode_body

DEFAULT_NAME_SIZE: Final = 16

# Where the MessagePack form of a chunk's number grows by a byte or more.
_NUMBER_STEPS: Final = (1, 1 << 7, 1 << 8, 1 << 16, 1 << 32)


@dataclass(frozen=True, kw_only=True, slots=True)
class LegCost:
    """What one leg carries between the server and one client, in bytes.

    Attributes:
        leg: which one.
        downlink_bytes: the server's request.
        uplink_bytes: the client's answer.
    """

    leg: Leg
    downlink_bytes: int
    uplink_bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """How often one party does what takes time.

    Attributes:
        masks: vectors of the round's length expanded from a key.
        agreements: X25519 exchanges.
        verifications: Ed25519 signatures verified.
        signatures: Ed25519 signatures made.
    """

    masks: int
    agreements: int
    verifications: int
    signatures: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a round costs. Bytes are those of a round in which everyone stays to the end.

    Attributes:
        clients: n.
        legs: bytes of each leg that is played, for one client.
        payload_bytes: of one client's uplink, the packed input alone.
        client: the work of one client.
        server: the server's work while nobody is missing.
        server_worst: a bound on the server's work with up to max_dropped clients falling silent at any point. On the
            complete graph it is reached, by clients that fall silent once the others have masked towards them; on a
            k-regular one it counts every neighbor of a dropped client as a survivor.
    """

    clients: int
    legs: tuple[LegCost, ...]
    payload_bytes: int
    client: Work
    server: Work
    server_worst: Work

    @property
    def uplink_bytes(self) -> int:
        """Bytes that one client sends."""
        return sum(leg.uplink_bytes for leg in self.legs)

    @property
    def downlink_bytes(self) -> int:
        """Bytes that one client is sent."""
        return sum(leg.downlink_bytes for leg in self.legs)

    @property
    def server_uplink_bytes(self) -> int:
        """Bytes that reach the server, from all clients together."""
        return self.clients * self.uplink_bytes

    @property
    def server_downlink_bytes(self) -> int:
        """Bytes that leave the server, to all clients together."""
        return self.clients * self.downlink_bytes


def of(
    plan: Plan,
    *,
    length: int,
    ring_bits: int,
    chunk_words: int = DEFAULT_CHUNK_WORDS,
    name_size: int = DEFAULT_NAME_SIZE,
) -> Cost:
    """Count what a round of this plan costs.

    Args:
        plan: who takes part.
        length: coordinates of an input.
        ring_bits: bits of a coordinate on the wire.
        chunk_words: words in each message of a masked input.
        name_size: characters in each client's name.

    Raises:
        ConfigError: length, ring_bits, chunk_words or name_size is out of range.
    """
    if not 1 <= name_size <= MAX_CLIENT_ID:
        raise ConfigError(f"name_size={name_size!r:.40} must be from 1 to {MAX_CLIENT_ID}")
    config = RoundConfig(
        session=bytes(SESSION_SIZE),
        round=1,
        plan=plan,
        invited_digest=bytes(DIGEST_SIZE),
        recipe_digest=bytes(DIGEST_SIZE),
        instructions_digest=bytes(DIGEST_SIZE),
        ring_bits=ring_bits,
        length=length,
        chunk_words=chunk_words,
    )
    return Cost(
        clients=plan.clients,
        legs=_legs(config, name_size),
        payload_bytes=_payload(config),
        client=_client_work(plan),
        server=_server_work(plan, masks=plan.clients, pairs=0),
        server_worst=_worst_server_work(plan),
    )


def server_work(plan: Plan, *, dropped: int) -> Work:
    """Count the server's work where so many clients fall silent once the others have masked towards them.

    On a k-regular graph the pairs of a survivor and a dropped client are as many as expected: k of the n - 1 others of
    each dropped client are its neighbors, and n - dropped of them survive.

    Raises:
        ConfigError: the plan ends no round with so many dropped.
    """
    n, x = plan.clients, dropped
    if not 0 <= x <= plan.max_dropped:
        raise ConfigError(f"dropped={x!r:.40} must be from 0 to max_dropped={plan.max_dropped}")
    pairs = round(x * plan.degree * (n - x) / (n - 1))
    return _server_work(plan, masks=n - x + pairs, pairs=pairs)


def _legs(config: RoundConfig, name_size: int) -> tuple[LegCost, ...]:
    """Every request and its answer. Where no quorum is needed, survivor set and unmask request go out together."""
    plan = config.plan
    bitmap = bytes((plan.clients + 7) // 8)
    boxes = bytes(plan.degree * BOX_SIZE)
    advert = KeyAdvert(
        mask_key=bytes(PUBLIC_KEY_SIZE),
        box_key=bytes(PUBLIC_KEY_SIZE),
        seed_commitment=bytes(DIGEST_SIZE),
        signature=bytes(SIGNATURE_SIZE),
    )
    offer = RoundOffer(
        config=config.encoded, invited=["x" * name_size] * plan.clients, server_key=bytes(PUBLIC_KEY_SIZE)
    )
    roster = _tagged(Roster(joined=bitmap, adverts=[advert] * plan.clients))
    survivors = _tagged(SurvivorSet(survivors=bitmap))
    confirmation = _tagged(SurvivorSignature(signature=bytes(SIGNATURE_SIZE)))
    request = _tagged(UnmaskRequest(signers=bitmap, signatures=bytes(plan.quorum * SIGNATURE_SIZE)))
    shares = _tagged(UnmaskShares(shares=bytes((plan.degree + 1) * SHARE_SIZE)))
    opening = (
        _leg(Leg.ADVERTISE, _plain(offer), _plain(advert)),
        _leg(Leg.SHARE, roster, _tagged(SealedShares(boxes=boxes))),
        _leg(Leg.MASK, _tagged(Inbox(senders=bitmap, boxes=boxes)), _masked_input(config, bitmap)),
    )
    if not plan.quorum:
        return (*opening, _leg(Leg.UNMASK, survivors + request, shares))
    return (*opening, _leg(Leg.CONFIRM, survivors, confirmation), _leg(Leg.UNMASK, request, shares))


def _leg(leg: Leg, downlink: int, uplink: int) -> LegCost:
    return LegCost(leg=leg, downlink_bytes=downlink, uplink_bytes=uplink)


def _plain(message: Message) -> int:
    """Bytes of a message without a tag: an offer or an advert."""
    return aligned(HEADER_SIZE + len(encode_body(message)))


def _tagged(message: Message) -> int:
    return _plain(message) + TAG_SIZE


def _masked_input(config: RoundConfig, bitmap: bytes) -> int:
    """Bytes of all chunks; each has an envelope of its own, and the first one the report on boxes."""
    fronts = _tagged(MaskedInput(chunk=0, unopened=bitmap))
    for first, after in itertools.pairwise(_NUMBER_STEPS):
        fronts += max(0, min(after, config.chunks) - first) * _tagged(MaskedInput(chunk=first, unopened=b""))
    return fronts + _payload(config)


def _payload(config: RoundConfig) -> int:
    """Bytes of the packed input: each chunk but the last ends on a byte, so the sum is that of the whole."""
    return config.ring.packed_size(config.length)


def _client_work(plan: Plan) -> Work:
    """Its own mask and one a neighbor; its channel, and a mask key and a box key for each neighbor."""
    return Work(
        masks=plan.degree + 1,
        agreements=2 * plan.degree + 1,
        verifications=plan.degree + plan.quorum,
        signatures=2,
    )


def _server_work(plan: Plan, *, masks: int, pairs: int) -> Work:
    """A channel a client, and an exchange for each pair of a survivor and a dropped client it masked towards."""
    return Work(
        masks=masks,
        agreements=plan.clients + pairs,
        verifications=plan.clients * (2 if plan.quorum else 1),
        signatures=0,
    )


def _worst_server_work(plan: Plan) -> Work:
    """With x dropped: n - x self masks, and a pairwise mask for each edge between a survivor and a dropped client.

    Of such edges there are at most x(n - x), and at most k at each end.
    """
    n, k = plan.clients, plan.degree
    edges = [min(x * (n - x), k * x, k * (n - x)) for x in range(plan.max_dropped + 1)]
    masks = max(n - x + pairs for x, pairs in enumerate(edges))
    return _server_work(plan, masks=masks, pairs=max(edges))
