"""Bytes to messages and back: one envelope, one codec, everything consumed, one encoding of each value.

Promise: nothing is allocated from a length a peer claims before that length is checked against what its kind can be
in this round; a message that decodes re-encodes to the same bytes; every failure is `Malformed`.

    envelope = magic "SAG2" | kind u8 | config digest 32 | sender u32 | body length u32 | body | gap | tail | tag

Integers are big-endian. The body is MessagePack of one typed array; the gap is the fewest zeros behind which the tail
begins at a multiple of 8 bytes, where its words are aligned; the tail is raw, and only masked inputs have one; the tag
is the channel's, and only offers and adverts have none.
docs/protocol.md, section 3, lists every field.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, NoReturn, TypeVar

import msgspec

from secagg.errors import Malformed, MisuseError
from secagg.primitives.suite import DIGEST_SIZE, PUBLIC_KEY_SIZE, SIGNATURE_SIZE
from secagg.rules import Rule
from secagg.types import MAX_CLIENT_ID, MAX_CLIENTS

MAGIC: Final = b"SAG2"
_HEADER: Final = struct.Struct(f">4sB{DIGEST_SIZE}sII")
HEADER_SIZE: Final = _HEADER.size
ALIGNMENT: Final = 8

Bytes16 = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Digest = Annotated[bytes, msgspec.Meta(min_length=DIGEST_SIZE, max_length=DIGEST_SIZE)]
PublicKey = Annotated[bytes, msgspec.Meta(min_length=PUBLIC_KEY_SIZE, max_length=PUBLIC_KEY_SIZE)]
Signature = Annotated[bytes, msgspec.Meta(min_length=SIGNATURE_SIZE, max_length=SIGNATURE_SIZE)]
Bitmap = Annotated[bytes, msgspec.Meta(max_length=MAX_CLIENTS // 8)]
Name = Annotated[str, msgspec.Meta(max_length=MAX_CLIENT_ID)]


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Base of every message body: an array of typed fields that prints sizes instead of contents.

    `KIND` is the message's number on the wire; 0 marks a body that never travels alone.
    """

    KIND: ClassVar[int] = 0

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {_size(getattr(self, name))}" for name in self.__struct_fields__)
        return f"<{type(self).__name__} {sizes}>"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Sizes instead of contents here too."""
        return [(name, _size(getattr(self, name))) for name in self.__struct_fields__]

    def __reduce__(self) -> NoReturn:
        raise MisuseError("messages travel as wire bytes and are never pickled")


def _size(value: object) -> str:
    return f"{len(value)}" if isinstance(value, bytes | str | list) else type(value).__name__


AnyMessage = TypeVar("AnyMessage", bound=Message)

_encoder = msgspec.msgpack.Encoder()


@dataclass(frozen=True, slots=True, repr=False)
class Envelope:
    """A message taken out of its header, its body not decoded yet; `tagged` is all that the tag covers."""

    kind: int
    config_digest: bytes
    sender: int
    body: memoryview
    tail: memoryview
    tag: memoryview
    tagged: memoryview


def encode_body(message: Message) -> bytes:
    """Return the one encoding of a message body."""
    return _encoder.encode(message)


def decode_body(kind: type[AnyMessage], data: bytes | memoryview) -> AnyMessage:
    """Decode a body of a known kind.

    Raises:
        Malformed: not exactly one canonical, in-range value of that kind.
    """
    try:
        message = msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(Rule.WIRE_FORMAT, f"not a {kind.__name__}") from error
    if _encoder.encode(message) != data:
        raise Malformed(Rule.WIRE_FORMAT, f"not the canonical encoding of a {kind.__name__}")
    return message


def aligned(size: int) -> int:
    """Return where the gap behind `size` bytes of header and body ends: the least multiple of ALIGNMENT from there."""
    return size + -size % ALIGNMENT


def front(message: Message, *, config_digest: bytes, sender: int) -> bytes:
    """Return a whole message but for its tail and tag: header, body and gap."""
    body = encode_body(message)
    data = _HEADER.pack(MAGIC, message.KIND, config_digest, sender, len(body)) + body
    return data.ljust(aligned(len(data)), b"\0")


def kind_of(data: bytes) -> int:
    """Return the kind a message claims to be; 0, which is no kind, where it is too short to claim one."""
    return data[len(MAGIC)] if len(data) > len(MAGIC) else 0


def open_envelope(data: bytes, *, max_size: int, tag_size: int = 0) -> Envelope:
    """Take an envelope apart; body, tail and tag stay views of `data`. Whether the tag is right is not looked at.

    Raises:
        Malformed(WIRE_SIZE): longer than `max_size`.
        Malformed(WIRE_FORMAT): too short, another magic, a body or gap that runs past the end, or a gap not zero.
    """
    if len(data) > max_size:
        raise Malformed(Rule.WIRE_SIZE, f"{len(data)} bytes where at most {max_size} can come")
    if len(data) < HEADER_SIZE + tag_size:
        raise Malformed(Rule.WIRE_FORMAT, f"{len(data)} bytes are too few for an envelope")
    magic, kind, config_digest, sender, body_length = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise Malformed(Rule.WIRE_FORMAT, "not an envelope of this protocol version")
    body_end = HEADER_SIZE + body_length
    tail_start, tag_start = aligned(body_end), len(data) - tag_size
    if tail_start > tag_start:
        raise Malformed(Rule.WIRE_FORMAT, "body and gap run past the end of the message")
    view = memoryview(data)
    body, gap, tail = view[HEADER_SIZE:body_end], view[body_end:tail_start], view[tail_start:tag_start]
    if any(gap):
        raise Malformed(Rule.WIRE_FORMAT, "what stands between body and tail is not zero")
    return Envelope(kind, config_digest, sender, body=body, tail=tail, tag=view[tag_start:], tagged=view[:tag_start])


def pack_positions(positions: Iterable[int], clients: int) -> bytes:
    """Write a set of positions as a bitmap of `clients` bits, least significant bit of each byte first."""
    bitmap = bytearray((clients + 7) // 8)
    for position in positions:
        bitmap[position // 8] |= 1 << position % 8
    return bytes(bitmap)


def unpack_positions(bitmap: bytes, clients: int, rule: Rule) -> tuple[int, ...]:
    """Read a bitmap back into ascending positions.

    Raises:
        Malformed(rule): the bitmap is not ceil(clients / 8) bytes, or a padding bit is set.
    """
    if len(bitmap) != (clients + 7) // 8:
        raise Malformed(rule, f"a bitmap of {clients} positions has {(clients + 7) // 8} bytes, got {len(bitmap)}")
    value = int.from_bytes(bitmap, "little")
    if value >> clients:
        raise Malformed(rule, "a padding bit of the bitmap is set")
    return tuple(position for position, bit in enumerate(f"{value:0{clients}b}"[::-1]) if bit == "1")
