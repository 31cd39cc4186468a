"""What a mask is, plainly: the definitions `secagg.masking` is tested against, and short enough to be read beside it.

Promise: nothing is computed in pieces, in threads or in place here.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from secagg.masking import Sign, pair_sign
from secagg.primitives import prg
from secagg.primitives.secret import Secret
from secagg.ring import Ring, Words


def self_mask(key: Secret, *, ring: Ring, length: int) -> Words:
    """Words of the mask of `key`, reduced: shape (length,)."""
    raw = prg.keystream(key, length * ring.word_bytes)
    words: Words = raw.view(f"<u{ring.word_bytes}").astype(ring.word)
    ring.reduce(words)
    return words


def pairwise_mask(key: Secret, *, ring: Ring, length: int, sign: Sign) -> Words:
    """The mask of `key`, negated in the ring where `sign` is -1: shape (length,)."""
    words = self_mask(key, ring=ring, length=length)
    if sign == -1:
        np.negative(words, out=words)
        ring.reduce(words)
    return words


def net_mask(position: int, self_key: Secret, pair_keys: Mapping[int, Secret], *, ring: Ring, length: int) -> Words:
    """All that the client at `position` adds to its input: self mask and signed pairwise masks, shape (length,).

    Args:
        position: the client's own position.
        self_key: the key of its self mask.
        pair_keys: the key shared with each neighbor, by the neighbor's position.
        ring: the ring of the round.
        length: words of the input.
    """
    total = self_mask(self_key, ring=ring, length=length)
    for peer, key in pair_keys.items():
        total += pairwise_mask(key, ring=ring, length=length, sign=pair_sign(position, peer))
    ring.reduce(total)
    return total
