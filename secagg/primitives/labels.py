"""Every label of the protocol, in one file: two derivations can never share one by accident.

A label opens the info of each key derivation and the message of each hash, commitment and signature. All are ASCII,
begin with the protocol's name and version and end with a zero byte, so none is a prefix of another; `tests/unit`
holds them to that.
"""

from __future__ import annotations

from typing import Final

_PREFIX = b"secagg/v1/"


def _label(name: str) -> bytes:
    return _PREFIX + name.encode("ascii") + b"\0"


# Derivations from a client's one 32-byte round secret.
MASK_KEY_SEED: Final = _label("derive/mask-key-seed")
BOX_KEY: Final = _label("derive/box-key")
SELF_MASK_SEED: Final = _label("derive/self-mask-seed")
SHAMIR_COEFFICIENTS: Final = _label("derive/shamir-coefficients")

# Derivations from an agreed Diffie-Hellman value or a seed.
PAIRWISE_MASK: Final = _label("pair/mask")
SHARE_BOX: Final = _label("pair/share-box")
CHANNEL: Final = _label("pair/channel")
CHANNEL_TAG: Final = _label("channel/tag")
MASK_KEY: Final = _label("expand/mask-key")
SELF_MASK: Final = _label("expand/self-mask")
GRAPH: Final = _label("expand/graph")
STORE_RECORD: Final = _label("store/record")
STORE_HEADER: Final = _label("store/header")

# Hashes and commitments.
CONFIG_DIGEST: Final = _label("hash/config")
INVITED_DIGEST: Final = _label("hash/invited")
ROSTER_DIGEST: Final = _label("hash/roster")
GRAPH_SEED: Final = _label("hash/graph-seed")
SEED_COMMITMENT: Final = _label("hash/seed-commitment")
LAYOUT_DIGEST: Final = _label("hash/layout")
RECIPE_DIGEST: Final = _label("hash/recipe")
INSTRUCTIONS_DIGEST: Final = _label("hash/instructions")
MESSAGE_DIGEST: Final = _label("hash/message")

# Signatures.
SIGN_ADVERT: Final = _label("sign/advert")
SIGN_SURVIVORS: Final = _label("sign/survivors")
