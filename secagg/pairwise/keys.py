"""Every key that a client derives for a round, each by its own label from a stated context.

Promise: with `channel`, for what is tagged, the whole key schedule of a client is this file. A client draws one 32-byte
round secret from the operating system; everything else of its round follows from it and from public bytes, so a round
can be resumed by replaying them.

The salt of every derivation is the config digest. A pair's keys are bound besides to both positions, both public keys
as advertised and the roster digest: two parties that saw different rounds, rosters or keys share no key at all.
docs/protocol.md, section 4, is the table of this file, of `channel`, of the graph's shuffle and of stores.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from secagg.primitives import agreement, labels
from secagg.primitives.aead import BOX_KEY_SIZE
from secagg.primitives.kdf import derive, digest
from secagg.primitives.prg import STREAM_KEY_SIZE, reader
from secagg.primitives.secret import Secret
from secagg.primitives.suite import PRIVATE_KEY_SIZE, SEED_SIZE
from secagg.types import Entropy


def position_bytes(position: int) -> bytes:
    """A position as it stands in contexts and signatures: four bytes, big-endian."""
    return position.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One side of a pair as the roster shows it: its position and the public key the pair agrees with."""

    position: int
    public: bytes


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class RoundSecrets:
    """What one client derives from its round secret before it knows anyone else."""

    root: Secret
    mask_key_seed: Secret
    mask_private: Secret
    box_private: Secret
    box: Endpoint
    self_mask_seed: Secret

    def wipe(self) -> None:
        """Overwrite all five secrets."""
        for secret in (self.root, self.mask_key_seed, self.mask_private, self.box_private, self.self_mask_seed):
            secret.wipe()


def round_secrets(root: Secret, *, config_digest: bytes, position: int) -> RoundSecrets:
    """Derive a client's two seeds and its two X25519 private keys from its round secret."""
    box = box_private(root, config_digest=config_digest, position=position)
    endpoint = Endpoint(position, agreement.public_key(box))
    mask_key_seed = _branch(root, labels.MASK_KEY_SEED, config_digest, position, length=SEED_SIZE)
    return RoundSecrets(
        root=root,
        mask_key_seed=mask_key_seed,
        mask_private=mask_private(mask_key_seed, config_digest=config_digest, box=endpoint),
        box_private=box,
        box=endpoint,
        self_mask_seed=_branch(root, labels.SELF_MASK_SEED, config_digest, position, length=SEED_SIZE),
    )


def box_private(root: Secret, *, config_digest: bytes, position: int) -> Secret:
    """Derive the X25519 private key of a client's boxes and of its channel from its round secret."""
    return _branch(root, labels.BOX_KEY, config_digest, position, length=PRIVATE_KEY_SIZE)


def _branch(parent: Secret, label: bytes, config_digest: bytes, position: int, *, length: int) -> Secret:
    context = position_bytes(position)
    return derive(parent, salt=config_digest, label=label, context=context, length=length)


# A seed is 16 bytes. What follows from one alone is bound to config digest, position and box key, so that a guess of a
# seed tests one client in one attempt at one round, whatever a server repeats (docs/adr/0015).


def mask_private(seed: Secret, *, config_digest: bytes, box: Endpoint) -> Secret:
    """Derive the X25519 private key of a client's pairwise masks from its mask-key seed and its box endpoint.

    The seed is what is shared, so whoever rebuilds it has the key.
    """
    return derive(seed, salt=config_digest, label=labels.MASK_KEY, context=_box_context(box), length=PRIVATE_KEY_SIZE)


def self_mask_key(seed: Secret, *, config_digest: bytes, box: Endpoint) -> Secret:
    """The stream key of the mask that only its owner knows until it survives."""
    return derive(seed, salt=config_digest, label=labels.SELF_MASK, context=_box_context(box), length=STREAM_KEY_SIZE)


def seed_commitment(seed: Secret, *, config_digest: bytes, box: Endpoint) -> bytes:
    """Commit to a self-mask seed: 128 uniform bits under SHA-256 need no further blinding."""
    return digest(labels.SEED_COMMITMENT, config_digest, position_bytes(box.position), box.public, seed.reveal())


def _box_context(box: Endpoint) -> bytes:
    return position_bytes(box.position) + box.public


def pairwise_mask_key(
    private: Secret, own: Endpoint, peer: Endpoint, *, config_digest: bytes, roster_digest: bytes
) -> Secret:
    """The stream key of the mask that two clients share; the same from either side."""
    context = _pair_context(own, peer, roster_digest)
    agreed = agreement.agree(private, peer.public)
    key = derive(agreed, salt=config_digest, label=labels.PAIRWISE_MASK, context=context, length=STREAM_KEY_SIZE)
    agreed.wipe()
    return key


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class BoxKeys:
    """The two single-use box keys of a pair, by direction, and the context both boxes authenticate."""

    sending: Secret
    receiving: Secret
    context: bytes


def box_keys(private: Secret, own: Endpoint, peer: Endpoint, *, config_digest: bytes, roster_digest: bytes) -> BoxKeys:
    """The keys under which `own` seals for `peer` and opens from it; the direction is the sender's position."""
    context = _pair_context(own, peer, roster_digest)
    agreed = agreement.agree(private, peer.public)

    def directed(sender: Endpoint) -> Secret:
        info = context + position_bytes(sender.position)
        return derive(agreed, salt=config_digest, label=labels.SHARE_BOX, context=info, length=BOX_KEY_SIZE)

    keys = BoxKeys(directed(own), directed(peer), config_digest + context)
    agreed.wipe()
    return keys


@contextlib.contextmanager
def coefficient_entropy(root: Secret, *, config_digest: bytes, roster_digest: bytes) -> Iterator[Entropy]:
    """The bytes a client draws its Shamir coefficients from: replayable from the root, and for one roster only.

    They can be drawn within the `with` block; their key is wiped at its end.
    """
    label = labels.SHAMIR_COEFFICIENTS
    key = derive(root, salt=config_digest, label=label, context=roster_digest, length=STREAM_KEY_SIZE)
    try:
        yield reader(key)
    finally:
        key.wipe()


def _pair_context(one: Endpoint, other: Endpoint, roster_digest: bytes) -> bytes:
    low, high = sorted((one, other), key=lambda endpoint: endpoint.position)
    positions = position_bytes(low.position) + position_bytes(high.position)
    return positions + low.public + high.public + roster_digest
