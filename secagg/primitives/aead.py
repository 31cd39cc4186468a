"""AES-128-GCM boxes (NIST SP 800-38D) under single-use keys.

Key and nonce come together from one derivation that names the round, the pair and the direction, and one box is
sealed with them. So a nonce cannot repeat under a key, and none travels.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from secagg.primitives.secret import Secret

BOX_KEY_SIZE: Final = 16 + 12
TAG_SIZE: Final = 16


def seal(key: Secret, plaintext: bytes, *, context: bytes | memoryview) -> bytes:
    """Encrypt and authenticate `plaintext`, and authenticate `context`, under a single-use 28-byte key.

    An empty plaintext leaves a 16-byte tag over `context` (GMAC). Either is less than 2^31 bytes.
    """
    material = key.reveal()
    return AESGCM(material[:16]).encrypt(material[16:], plaintext, context)


def open_box(key: Secret, box: bytes | memoryview, *, context: bytes | memoryview) -> bytes | None:
    """Return the plaintext, or None where the box was not sealed under this key for this context."""
    material = key.reveal()
    try:
        return AESGCM(material[:16]).decrypt(material[16:], box, context)
    except InvalidTag:
        return None
