"""HKDF-SHA256 (RFC 5869) and labelled SHA-256: the only ways this package turns bytes into keys and digests."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from secagg.primitives.secret import Secret

DIGEST_SIZE = 32


def derive(secret: Secret, *, salt: bytes, label: bytes, context: bytes = b"", length: int) -> Secret:
    """Derive `length` bytes from a secret: HKDF-SHA256 with info = label || context (RFC 5869, section 2).

    `salt` is the config digest of the round everywhere but in the store, so keys of two rounds never meet.
    """
    kdf = HKDF(algorithm=hashes.SHA256(), length=length, salt=salt, info=label + context)
    return Secret(kdf.derive(secret.reveal()))


def digest(label: bytes, *parts: bytes) -> bytes:
    """SHA-256 over a label and length-prefixed parts: no two lists of parts hash alike unless SHA-256 collides."""
    state = hashlib.sha256(label)
    for part in parts:
        state.update(len(part).to_bytes(8, "big"))
        state.update(part)
    return state.digest()
