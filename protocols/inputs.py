"""`RecipeInput`: one client's input, from the recipe to the round.

It holds a client's secret: it shows its length only, and refuses to be pickled or copied.

Imports numpy and secagg's ring and errors.
"""

from __future__ import annotations

from typing import NoReturn, Protocol

import numpy as np
import numpy.typing as npt

from secagg.errors import ConfigError, MisuseError
from secagg.ring import Ring, Words


class WordSource(Protocol):
    """Ring words by range; `secagg.layout.EncodedInput` is one."""

    @property
    def length(self) -> int:
        """How many there are."""
        ...

    @property
    def ring(self) -> Ring:
        """The ring they are in."""
        ...

    def read(self, start: int, stop: int) -> Words:
        """Return words start to stop, stop excluded, in a fresh array."""
        ...


class NoisedWords:
    """Integers that noise was added to once, as ring words that are read once.

    Two sums with the same noise in them are charged as if each had its own, and their difference has none of it. So an
    input goes into one round: for another, also after one that was aborted, encode the update again.

    They are reduced into the ring: noise may carry a client's integer beyond it, and their sum is the same modulo 2^b.
    """

    __slots__ = ("_read_to", "_ring", "_values")

    def __init__(self, values: npt.NDArray[np.int64], ring: Ring) -> None:
        if not isinstance(ring, Ring):
            raise ConfigError(f"ring is of type {type(ring).__name__}: pass the Ring of the round")
        self._values = values
        self._ring = ring
        self._read_to = 0

    @property
    def length(self) -> int:
        """How many there are."""
        return len(self._values)

    @property
    def ring(self) -> Ring:
        """The ring they are in."""
        return self._ring

    def read(self, start: int, stop: int) -> Words:
        """Return words start to stop, stop excluded, in a fresh array.

        Raises:
            ConfigError: not 0 <= start <= stop <= length.
            MisuseError: a word is read a second time: the input, or a part of it, was provided before.
        """
        if not 0 <= start <= stop <= self.length:
            raise ConfigError(f"cannot read words {start!r:.40} to {stop!r:.40} of an input of {self.length}")
        if start < self._read_to:
            raise MisuseError("a noised input goes into one round, as its noise does: encode the update again")
        self._read_to = stop
        words = self._values[start:stop].view(np.uint64) & np.uint64(self._ring.modulus - 1)
        return words.astype(self._ring.word)

    def __repr__(self) -> str:
        return f"<NoisedWords of {self.length} words>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise MisuseError("an encoded input holds a client's update and is never pickled or copied")


class RecipeInput:
    """One client's clipped and weighed input.

    Args:
        words: where its words come from.
        clipped: see the property.
        recipe_digest: see the property.
        faithful: see the property.
        instructions_digest: see the property.
    """

    __slots__ = ("_clipped", "_faithful", "_instructions_digest", "_recipe_digest", "_words")

    def __init__(
        self,
        words: WordSource,
        *,
        clipped: bool,
        recipe_digest: bytes,
        faithful: bool = True,
        instructions_digest: bytes | None = None,
    ) -> None:
        self._words = words
        self._recipe_digest = recipe_digest
        self._clipped = clipped
        self._faithful = faithful
        self._instructions_digest = instructions_digest

    @property
    def clipped(self) -> bool:
        """Whether the update was beyond the recipe's clip and was scaled down to it. Known to this client only."""
        return self._clipped

    @property
    def faithful(self) -> bool:
        """Whether the input stands for what was given; always, without noise.

        With noise, False where a number was not finite or a scalar beyond its bound, so that zeros or the bound stand
        in for it: refusing would tell about the data. Known to this client only; it must not decide what it sends.
        """
        return self._faithful

    @property
    def recipe_digest(self) -> bytes:
        """The recipe that the input was made by: its clip, its noise, its units."""
        return self._recipe_digest

    @property
    def instructions_digest(self) -> bytes | None:
        """The instructions that the input was rotated by; a round of others refuses it. None without noise."""
        return self._instructions_digest

    @property
    def length(self) -> int:
        """Words of the input."""
        return self._words.length

    @property
    def ring(self) -> Ring:
        """The ring the words are in."""
        return self._words.ring

    def read(self, start: int, stop: int) -> Words:
        """Return words start to stop, stop excluded, in a fresh array.

        Raises:
            ConfigError: not 0 <= start <= stop <= length.
            InputError: without noise, an array of the update was changed since encode and no longer fits.
            MisuseError: with noise, it was read before; see `NoisedWords`.
        """
        return self._words.read(start, stop)

    def __repr__(self) -> str:
        return f"<RecipeInput of {self.length} words>"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise MisuseError("an encoded input holds a client's update and is never pickled or copied")
