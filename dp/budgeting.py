"""From a budget to noise on a step: which integers an update becomes, and the least noise for them.

Promise: what `Budgeted.sized` returns keeps the budget for every update of at most `length` coordinates and, where bits
were asked for, sums of updates of exactly that many fit the ring: a shorter update spreads over fewer, which may need
more bits. Where no step does, the error says how many bits would.

Imports this package's errors, `law`, `overflow`, `records`, `rounding` and `rotation`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, TypeVar

from dp.errors import ParameterError
from dp.law import IntegerNoise
from dp.overflow import MAX_BITS, MIN_BITS, Load, bits_for
from dp.records import ASIDE
from dp.rotation import block_of
from dp.rounding import rounded_limit

DEFAULT_RESOLUTION: Final = 2.0**16
"""clip / step. Rounding 2^20 coordinates then adds less than a part in 10^4 to the sensitivity."""

DEFAULT_LENGTH: Final = 1 << 20

_FINEST: Final = 20
_STEPS_PER_BIT: Final = 4

Noise = TypeVar("Noise", bound=IntegerNoise)


def usable(delta: float) -> float:
    """Return what is left of delta for the laws themselves, as a ledger's budget counts it (`Budget.noise_delta`).

    Raises:
        ParameterError: delta is no number above 0 and below 1.
    """
    if isinstance(delta, bool) or not isinstance(delta, int | float) or not 0.0 < delta < 1.0:
        raise ParameterError(f"delta={delta!r:.40} must be a number above 0 and below 1, for example 1e-6")
    return delta * (1.0 - ASIDE)


def below(value: Fraction) -> float:
    """Return the largest float that is not above a positive fraction."""
    rounded = float(value)
    return rounded if Fraction(rounded) <= value else math.nextafter(rounded, 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Budgeted:
    """What noise for a budget is sized by, besides the budget.

    Attributes:
        clip: the L2 bound of one client's whole update, in real units.
        length: coordinates, at most; with bits, exactly.
        bits: the ring, or None.
        clients: how many are invited; needed with bits.
        probability: of a wrapped coordinate; read with bits.

    Raises:
        ParameterError: a field is out of range, or clients is missing beside bits.
    """

    clip: float
    length: int
    bits: int | None
    clients: int | None
    probability: float

    def __post_init__(self) -> None:
        if isinstance(self.clip, bool) or not isinstance(self.clip, int | float) or not 0.0 < self.clip < math.inf:
            raise ParameterError(f"clip={self.clip!r:.40} must be a positive finite number, for example 1.0")
        if isinstance(self.length, bool) or not isinstance(self.length, int) or self.length < 1:
            raise ParameterError(f"length={self.length!r:.40} must be an integer from 1 on")
        if self.bits is not None and (type(self.bits) is not int or not MIN_BITS <= self.bits <= MAX_BITS):
            raise ParameterError(f"bits={self.bits!r:.40} must be an integer from {MIN_BITS} to {MAX_BITS}")
        if self.clients is not None and (type(self.clients) is not int or self.clients < 1):
            raise ParameterError(f"clients={self.clients!r:.40} must be an integer from 1 on")
        if (self.bits is None) != (self.clients is None):
            raise ParameterError("bits and clients are given together: a ring is sized for the clients invited")

    def sized(self, law: Callable[[float], Noise], *, step: float | None) -> Noise:
        """Return the noise that `law` gives for the sensitivity of a step, on that step.

        Args:
            law: from the sensitivity, in integer units, to the least noise that keeps the budget.
            step: the step; None for the default, or for the finest that fits the bits.

        Raises:
            ParameterError: the step is out of range, or does not fit the bits.
        """
        if self.bits is not None and step is None:
            return self._finest(law, self.bits)
        step = self.clip / DEFAULT_RESOLUTION if step is None else step
        if isinstance(step, bool) or not isinstance(step, int | float) or not 0.0 < step <= self.clip:
            raise ParameterError(f"step={step!r:.40} must be a positive number up to clip={self.clip!r}")
        noise = law(self._sensitivity(self.clip / step)).at(step)
        if self.bits is not None and (needed := self._bits(noise.log_moment, self.clip / step)) > self.bits:
            raise ParameterError(f"bits={self.bits} with step={step!r} cannot hold the sum: it needs bits={needed}")
        return noise

    def _finest(self, law: Callable[[float], Noise], bits: int) -> Noise:
        """Take the finest step that fits the ring, to a quarter of a bit.

        Wide noise grows with the sensitivity, which tells about where the step is; the law itself decides.
        """
        top = self._reachable(law)
        wide = float(law(self._sensitivity(_resolution(top))).variance) / self._sensitivity(_resolution(top)) ** 2

        def roughly_fits(quarter: int) -> bool:
            variance = wide * self._sensitivity(_resolution(quarter)) ** 2
            return self._bits(lambda tilt: variance * tilt * tilt / 2.0, _resolution(quarter)) <= bits

        low, high = 0, top + 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if roughly_fits(middle) else (low, middle)
        while True:
            noise, needed = self._attempt(law, low)
            if needed <= bits:
                return noise
            if low == 0:
                raise ParameterError(
                    f"bits={bits} cannot hold the sum of clients={self.clients} with the noise of this budget at any "
                    f"step: take bits={needed}, fewer clients or a larger epsilon"
                )
            low -= 1

    def _attempt(self, law: Callable[[float], Noise], quarter: int) -> tuple[Noise, int]:
        """The noise at one resolution and the bits it needs."""
        resolution = _resolution(quarter)
        noise = law(self._sensitivity(resolution)).at(self.clip / resolution)
        return noise, self._bits(noise.log_moment, resolution)

    def _reachable(self, law: Callable[[float], Noise]) -> int:
        """The finest resolution that there is noise wide enough for, in quarters of a bit.

        Raises:
            ParameterError: there is none at any.
        """

        def has_noise(quarter: int) -> bool:
            try:
                law(self._sensitivity(_resolution(quarter)))
            except ParameterError:
                return False
            return True

        low, high = 0, self._highest()
        if has_noise(high):
            return high
        law(self._sensitivity(_resolution(low)))  # says what is wrong, where no step helps
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if has_noise(middle) else (low, middle)
        return low

    def _highest(self) -> int:
        """The finest resolution that the norm check has room for, in quarters of a bit."""
        room = math.log2(math.sqrt(2.0**63 / self.length)) - 1.0
        return max(0, math.floor(_STEPS_PER_BIT * min(room, _FINEST)))

    def _sensitivity(self, resolution: float) -> float:
        return sensitivity_of(rounded_limit(resolution, self.length))

    def _bits(self, log_moment: Callable[[float], float], resolution: float) -> int:
        load = Load(
            clients=self.clients or 1,
            norm=resolution,
            length=self.length,
            block=block_of(self.length),
            log_moment=log_moment,
        )
        return bits_for(load, probability=self.probability)


def _resolution(quarter: int) -> float:
    return math.pow(2.0, quarter / _STEPS_PER_BIT)


def sensitivity_of(limit: int) -> float:
    """Return the L2 norm of an integer vector whose squared norm is at most `limit`, rounded up."""
    root = math.sqrt(limit)
    return root if Fraction(root) ** 2 >= limit else math.nextafter(root, math.inf)
