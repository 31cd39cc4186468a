"""X25519 (RFC 7748) by PyNaCl, which agrees from raw bytes: no key object keeps a second copy of a private key.

Promise: no exchange with a low-order point ever yields a key, and every accepted public key has one encoding, so two
keys that differ in bytes differ as points.
"""

from __future__ import annotations

from typing import Final

import nacl.bindings

from secagg.errors import ConfigError
from secagg.primitives.secret import Secret

_FIELD_PRIME: Final = 2**255 - 19

# The u-coordinates of order 1, 2, 4 and 8 on the curve and on its twist (RFC 7748, section 7; the test multiplies each
# by a scalar and sees zero). Values of p and above never get this far: they are refused as second encodings.
_LOW_ORDER: Final = frozenset(
    value.to_bytes(32, "little")
    for value in (
        0,
        1,
        _FIELD_PRIME - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
)


def public_key(private: Secret) -> bytes:
    """Return the 32-byte public key of a 32-byte private key."""
    return nacl.bindings.crypto_scalarmult_base(private.reveal())


def is_valid_public_key(key: bytes) -> bool:
    """Whether `key` is the one canonical encoding of a point of full order, or of full twist order."""
    return len(key) == 32 and int.from_bytes(key, "little") < _FIELD_PRIME and key not in _LOW_ORDER


def agree(private: Secret, peer_public: bytes) -> Secret:
    """Return the Diffie-Hellman value of a private and a peer's public key.

    Raises:
        ConfigError: the peer's key is not one `is_valid_public_key` accepts; protocol code checks before it agrees.
    """
    if not is_valid_public_key(peer_public):
        raise ConfigError("peer_public must be a canonical X25519 key of full order; check adverts before agreeing")
    return Secret(nacl.bindings.crypto_scalarmult(private.reveal(), peer_public))
