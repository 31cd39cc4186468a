"""Clipping to a private quantile of the clients' norms.

Promise: the clip of the next round follows from the noised sums of this one and from public numbers alone, so that it
costs no privacy beyond theirs.

Each client adds one bit to its input: whether its update's norm is at most the clip. The bit is one more coordinate of
the vector whose norm is checked and which is noised; see `protocols.recipe`. The step is that of Andrew, Thakkar,
McMahan, Ramaswamy, "Differentially private learning with adaptive clipping", NeurIPS 2021.

Imports this package's errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from dp.errors import ParameterError

_SMALLEST = 2.0**-500
_LARGEST = 2.0**500


@dataclass(frozen=True, kw_only=True, slots=True)
class QuantileClip:
    """A clip that moves towards a quantile of the norms, by a factor a round.

    Attributes:
        clip: the L2 bound of an update in the next round.
        quantile: the share of clients whose update ought to be within the clip, above 0 and below 1.
        rate: how fast it moves; with all clients on one side the clip changes by a factor of at most exp(rate).

    Raises:
        ParameterError: a field is out of range.
    """

    clip: float
    quantile: float = 0.5
    rate: float = 0.2

    def __post_init__(self) -> None:
        for name, most in (("clip", _LARGEST), ("quantile", 1.0), ("rate", 10.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise ParameterError(f"{name} is of type {type(value).__name__}: give a number")
            if not 0.0 < value < most:
                raise ParameterError(f"{name}={value!r} must be above 0 and below {most:g}")

    def next(self, within: float) -> QuantileClip:
        """Return the clip of the next round: clip * exp(-rate * (within - quantile)).

        Args:
            within: the noised share of clients whose update was within the clip. Noise may carry it out of [0, 1]; it
                is brought back, which is post-processing.

        Raises:
            ParameterError: within is not finite.
        """
        if not math.isfinite(within):
            raise ParameterError(f"within={within!r} is no share of clients")
        share = min(max(within, 0.0), 1.0)
        moved = self.clip * math.exp(-self.rate * (share - self.quantile))
        return replace(self, clip=min(max(moved, 2 * _SMALLEST), _LARGEST / 2))
