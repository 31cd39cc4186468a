"""Suite 2: the one set of primitives a round of this version names. Nothing is negotiated inside a round.

X25519 (RFC 7748), Ed25519 (RFC 8032), HKDF-SHA256 (RFC 5869), AES-128-CTR masks (NIST SP 800-38A), AES-128-GCM share
boxes (NIST SP 800-38D). All of it is in WebCrypto, so a browser can be a client (docs/adr/0002).
The seeds that are shared have 16 bytes (docs/adr/0015); suite 1 shared secrets of 32, and is refused.
"""

from __future__ import annotations

from typing import Final

VERSION: Final = 1
SUITE: Final = 2

ROUND_SECRET_SIZE: Final = 32
SEED_SIZE: Final = 16
PRIVATE_KEY_SIZE: Final = 32
PUBLIC_KEY_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64
DIGEST_SIZE: Final = 32
