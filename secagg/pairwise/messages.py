"""What travels in a round, message by message, and how large each may be.

Promise: the dangerous messages cannot be written. A set of clients is a bitmap, so it has no order and no repeats;
the survivor set travels once, so nobody can ask for both secrets of one peer; boxes and shares stand in the order the
receiver already knows, so nobody can relabel them.

Behind every message but `RoundOffer` and `KeyAdvert` stand the 16 bytes of its channel's tag (channel.py).
docs/protocol.md, section 3, is the table of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final

import msgspec

from secagg.config import CHUNK_GRAIN, MAX_LENGTH, RoundConfig
from secagg.pairwise.channel import TAG_SIZE
from secagg.primitives.suite import PUBLIC_KEY_SIZE
from secagg.shamir import SHARE_SIZE
from secagg.types import MAX_CLIENT_ID, MAX_CLIENTS
from secagg.wire import (
    HEADER_SIZE,
    Bitmap,
    Digest,
    Envelope,
    Message,
    Name,
    PublicKey,
    Signature,
    aligned,
    kind_of,
    open_envelope,
)

# The labelled secrets inside a share box, in the order they stand there. A later version adds a label, not a message.
MASK_KEY_SEED_SHARE: Final = 1
SELF_MASK_SEED_SHARE: Final = 2
SHARE_LABELS: Final = (MASK_KEY_SEED_SHARE, SELF_MASK_SEED_SHARE)
MAX_CONFIG_SIZE: Final = 512
BOX_SIZE: Final = len(SHARE_LABELS) * (1 + SHARE_SIZE) + TAG_SIZE

EncodedConfig = Annotated[bytes, msgspec.Meta(max_length=MAX_CONFIG_SIZE)]
Names = Annotated[list[Name], msgspec.Meta(max_length=MAX_CLIENTS)]
ChunkNumber = Annotated[int, msgspec.Meta(ge=0, lt=MAX_LENGTH // CHUNK_GRAIN)]


class RoundOffer(Message, frozen=True):
    """Server to client: the round's config, canonically encoded, everyone it invites, and its channel key."""

    KIND = 1
    config: EncodedConfig
    invited: Names
    server_key: PublicKey


class KeyAdvert(Message, frozen=True):
    """Client to server, leg 0: two fresh X25519 keys and the commitment to the self-mask seed, signed."""

    KIND = 2
    mask_key: PublicKey
    box_key: PublicKey
    seed_commitment: Digest
    signature: Signature


class Roster(Message, frozen=True):
    """Server to client, leg 0: who joined, and every advert in ascending position order."""

    KIND = 3
    joined: Bitmap
    adverts: list[KeyAdvert]


class SealedShares(Message, frozen=True):
    """Client to server, leg 1: one box of BOX_SIZE bytes for each joined neighbor, in ascending position order."""

    KIND = 4
    boxes: bytes


class Inbox(Message, frozen=True):
    """Server to client, leg 1: which neighbors shared, and their boxes in ascending position order."""

    KIND = 5
    senders: Bitmap
    boxes: bytes


class MaskedInput(Message, frozen=True):
    """Client to server, leg 2: one chunk of the masked input (the tail, packed) and, with chunk 0, who did not open.

    `unopened` is a bitmap over positions in chunk 0 and empty in every other chunk.
    """

    KIND = 6
    chunk: ChunkNumber
    unopened: Bitmap


class SurvivorSet(Message, frozen=True):
    """Server to client, leg 2: the survivors. It travels once; everything later is derived from it."""

    KIND = 7
    survivors: Bitmap


class SurvivorSignature(Message, frozen=True):
    """Client to server, leg 3: a signature over config, roster and survivor set."""

    KIND = 8
    signature: Signature


class UnmaskRequest(Message, frozen=True):
    """Server to client, leg 3: who confirmed, and their signatures in ascending position order."""

    KIND = 9
    signers: Bitmap
    signatures: bytes


class UnmaskShares(Message, frozen=True):
    """Client to server, leg 4: one share of SHARE_SIZE bytes for each client of the inbox and itself, in order.

    A survivor's share is of its self-mask seed, a dropped client's of its mask-key seed; the survivor set decides.
    """

    KIND = 10
    shares: bytes


FROM_SERVER: Final[tuple[type[Message], ...]] = (RoundOffer, Roster, Inbox, SurvivorSet, UnmaskRequest)
FROM_CLIENT: Final[tuple[type[Message], ...]] = (KeyAdvert, SealedShares, MaskedInput, SurvivorSignature, UnmaskShares)

NAMES: Final[Mapping[int, str]] = {kind.KIND: kind.__name__ for kind in (*FROM_SERVER, *FROM_CLIENT)}

# Body bytes of a KeyAdvert: array head, three 32-byte fields and one of 64, each with its two-byte head.
_ADVERT: Final = 1 + 3 * (2 + 32) + (2 + 64)
# Array head, and a five-byte head for each of at most three fields.
_FRAME: Final = 1 + 3 * 5

_OFFER: Final = _FRAME + PUBLIC_KEY_SIZE + MAX_CONFIG_SIZE + MAX_CLIENTS * (2 + MAX_CLIENT_ID)
MAX_OFFER_SIZE: Final = aligned(HEADER_SIZE + _OFFER)


def _bitmap(config: RoundConfig) -> int:
    return (config.plan.clients + 7) // 8


_BODY_LIMITS: Final[Mapping[int, Callable[[RoundConfig], int]]] = {
    KeyAdvert.KIND: lambda config: _ADVERT,  # noqa: ARG005  # one shape for the whole table
    Roster.KIND: lambda config: _FRAME + _bitmap(config) + config.plan.clients * _ADVERT,
    SealedShares.KIND: lambda config: _FRAME + config.plan.degree * BOX_SIZE,
    Inbox.KIND: lambda config: _FRAME + _bitmap(config) + config.plan.degree * BOX_SIZE,
    MaskedInput.KIND: lambda config: _FRAME + _bitmap(config),
    SurvivorSet.KIND: lambda config: _FRAME + _bitmap(config),
    SurvivorSignature.KIND: lambda config: _FRAME + 64,  # noqa: ARG005  # one shape for the whole table
    UnmaskRequest.KIND: lambda config: _FRAME + _bitmap(config) + config.plan.clients * 64,
    UnmaskShares.KIND: lambda config: _FRAME + (config.plan.degree + 1) * SHARE_SIZE,
}


_BODIES: Final = tuple(kind for kind in (*FROM_SERVER, *FROM_CLIENT) if kind is not RoundOffer)
_TAGGED: Final = NAMES.keys() - {RoundOffer.KIND, KeyAdvert.KIND}


def open_message(data: bytes, *, config: RoundConfig | None) -> Envelope:
    """Take a message apart as the kind it claims has it, with or without a tag, and no longer than that kind can be.

    Args:
        data: the bytes.
        config: the round; None before an offer was accepted, when nothing but an offer is read.

    Raises:
        Malformed: see `secagg.wire.open_envelope`.
    """
    kind = kind_of(data)
    limits = [max_size(each, config) for each in _BODIES if config is not None and kind == each.KIND]
    tag_size = TAG_SIZE if kind in _TAGGED else 0
    return open_envelope(data, max_size=limits[0] if limits else MAX_OFFER_SIZE, tag_size=tag_size)


def max_size(kind: type[Message], config: RoundConfig) -> int:
    """Return the largest number of bytes a whole message of `kind` can have in the round of `config`."""
    tail = config.ring.packed_size(min(config.chunk_words, config.length)) if kind is MaskedInput else 0
    return aligned(HEADER_SIZE + _BODY_LIMITS[kind.KIND](config)) + tail + TAG_SIZE
