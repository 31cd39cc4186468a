"""The channel between one client and the server: a tag on every message after the offer and the advert.

Promise: a byte changed on the way is noticed by whoever receives it, on every leg and in every adversary class. The
masked input most of all: a flipped bit of it would otherwise be a wrong sum and nothing else.

The key is agreed from the client's signed box key and a fresh key of the server in its offer. It gives no secrecy and
needs none: what must stay secret from the server is sealed or masked, and what a server lies about is refused by rule.
Nobody but the two ends can write a tag, so it also says which client sent a message, whatever the transport says.
"""

from __future__ import annotations

import enum

from secagg.pairwise.keys import Endpoint, box_private, position_bytes
from secagg.primitives import aead, agreement, labels
from secagg.primitives.kdf import derive
from secagg.primitives.secret import Secret
from secagg.primitives.suite import ROUND_SECRET_SIZE

TAG_SIZE = aead.TAG_SIZE


class Direction(enum.IntEnum):
    """Who sends; part of every tag's key."""

    UP = 0
    DOWN = 1


class Channel:
    """One client's channel, from either end.

    Args:
        private: the own private key.
        client: the client's position and box key.
        server_public: the server's key of the offer.
        peer_public: whichever of the two keys is not the own one.
        config_digest: the round.
    """

    __slots__ = ("_config_digest", "_key")

    def __init__(
        self, private: Secret, *, client: Endpoint, server_public: bytes, peer_public: bytes, config_digest: bytes
    ) -> None:
        context = position_bytes(client.position) + client.public + server_public
        agreed = agreement.agree(private, peer_public)
        self._config_digest = config_digest
        self._key = derive(agreed, salt=config_digest, label=labels.CHANNEL, context=context, length=ROUND_SECRET_SIZE)
        agreed.wipe()

    @classmethod
    def of_client(cls, root: Secret, *, position: int, server_public: bytes, config_digest: bytes) -> Channel:
        """The client's end, from its round secret."""
        private = box_private(root, config_digest=config_digest, position=position)
        channel = cls(
            private,
            client=Endpoint(position, agreement.public_key(private)),
            server_public=server_public,
            peer_public=server_public,
            config_digest=config_digest,
        )
        private.wipe()
        return channel

    @classmethod
    def of_server(cls, private: Secret, *, public: bytes, client: Endpoint, config_digest: bytes) -> Channel:
        """The server's end, from its private key of this round and the client's signed box key."""
        return cls(private, client=client, server_public=public, peer_public=client.public, config_digest=config_digest)

    def tag(self, direction: Direction, kind: int, data: bytes | memoryview, *, index: int = 0) -> bytes:
        """Return the 16-byte tag of a message.

        Args:
            direction: who sends.
            kind: the message's number; each travels once a round in its direction, chunks apart.
            data: all bytes in front of the tag.
            index: the chunk's number.
        """
        return aead.seal(self._key_for(direction, kind, index), b"", context=data)

    def verifies(
        self, direction: Direction, kind: int, data: bytes | memoryview, tag: bytes | memoryview, *, index: int = 0
    ) -> bool:
        """Whether `tag` is that of `data`; arguments as for `tag`."""
        return aead.open_box(self._key_for(direction, kind, index), tag, context=data) is not None

    def wipe(self) -> None:
        """Overwrite the key."""
        self._key.wipe()

    def _key_for(self, direction: Direction, kind: int, index: int) -> Secret:
        """One key a message: a tag's key and nonce are used for it alone."""
        context = bytes((direction, kind)) + position_bytes(index)
        return derive(
            self._key, salt=self._config_digest, label=labels.CHANNEL_TAG, context=context, length=aead.BOX_KEY_SIZE
        )

    def __repr__(self) -> str:
        return "<Channel>"
