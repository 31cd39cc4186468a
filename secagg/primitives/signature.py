"""Ed25519 (RFC 8032) by PyNaCl: every message signed opens with a label, so none verifies in another's place."""

from __future__ import annotations

from typing import Final

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from secagg.primitives.secret import Secret
from secagg.primitives.suite import PUBLIC_KEY_SIZE, SIGNATURE_SIZE

SEED_SIZE: Final = 32


def verify_key(seed: Secret) -> bytes:
    """Return the 32-byte public key of a 32-byte signing seed."""
    return bytes(SigningKey(seed.reveal()).verify_key)


def sign(seed: Secret, *, label: bytes, message: bytes) -> bytes:
    """Sign label || message; 64 bytes, deterministic."""
    return SigningKey(seed.reveal()).sign(label + message).signature


def verify(public: bytes, signature: bytes, *, label: bytes, message: bytes) -> bool:
    """Whether `signature` is of label || message under `public`. Wrong lengths are simply not signatures."""
    if len(public) != PUBLIC_KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    try:
        VerifyKey(public).verify(label + message, signature)
    except BadSignatureError:
        return False
    return True
