"""How many bits a ring needs, so that a noisy sum does not wrap.

Promise: `bits_for` returns a ring in which any coordinate of the sum wraps with odds of at most `probability` a round.
A wrapped coordinate is a wrong number, never a leak: reducing a private sum modulo anything is post-processing.

Two bounds, of which the smaller is taken. *Spread*, for rotated vectors: a coordinate of the sum of n vectors of norm C
is a sum with random signs whose moments are those of a Gaussian of variance (n C)^2 / block; roundings add n / 4 and
the noise its own; one exponential bound holds them all, and a union bound covers the coordinates (the idea of the ring
size in Kairouz, Liu, Steinke, ICML 2021, with a stated failure in the place of a number of deviations). It assumes
vectors chosen without an eye on the rotation. *Worst case*: every client puts all it may into one coordinate.

Imports this package's errors and `rounding`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dp.errors import ParameterError
from dp.rounding import MISS, rounded_limit

DEFAULT_PROBABILITY: Final = 2.0**-40
MIN_BITS: Final = 8
MAX_BITS: Final = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What meets in the coordinates of one sum.

    Attributes:
        clients: n, how many vectors are added at most.
        norm: C, the largest L2 norm of one of them before rounding, in integer units.
        length: coordinates.
        block: of the rotation (`dp.rotation.Rotation.block`); None where the vectors are not rotated.
        log_moment: of what each client adds; see `dp.law.IntegerNoise.log_moment`.
    """

    clients: int
    norm: float
    length: int
    block: int | None
    log_moment: Callable[[float], float]


def bits_for(load: Load, *, probability: float = DEFAULT_PROBABILITY, worst_case: bool = False) -> int:
    """Return the bits of the smallest ring, 8 at least, in which the sum wraps with odds of at most `probability`.

    Args:
        load: what is added.
        probability: of any wrapped coordinate in one round.
        worst_case: leave the spread bound out: it does not hold for clients that choose their vectors by the rotation.

    Raises:
        ParameterError: a parameter is out of range, or no ring of 64 bits is enough.
    """
    if not 0.0 < probability < 1.0:
        raise ParameterError(f"overflow_probability={probability!r} must be above 0 and below 1, for example 2**-40")
    reach = _worst_case(load, probability)
    if load.block is not None and not worst_case:
        reach = min(reach, _spread(load, load.block, probability))
    bits = math.ceil(reach * (1.0 + 2.0**-20)).bit_length() + 1
    if bits > MAX_BITS:
        raise ParameterError(
            f"the sum of clients={load.clients} needs {bits} bits, a ring has {MAX_BITS}: coarsen step"
        )
    return max(bits, MIN_BITS)


def _spread(load: Load, block: int, probability: float) -> float:
    """Where the exponential bound on any coordinate, both signs, reaches the probability.

    Roundings are drawn again until they fit, which multiplies their moments by at most 1 / (1 - MISS) a client.
    """
    gaussian = (load.clients * load.norm) ** 2 / block + load.clients / 4
    needed = math.log(2.0 * load.length / probability) - load.clients * math.log1p(-MISS)
    return _least_reach(lambda tilt: gaussian * tilt * tilt / 2 + load.clients * load.log_moment(tilt), needed)


def _worst_case(load: Load, probability: float) -> float:
    """All that every client may put into one coordinate, and the tail of the noise."""
    most = math.isqrt(rounded_limit(load.norm, load.length))
    needed = math.log(2.0 * load.length / probability)
    return load.clients * most + _least_reach(lambda tilt: load.clients * load.log_moment(tilt), needed)


def _least_reach(log_moment: Callable[[float], float], needed: float) -> float:
    """Return the least (log_moment(tilt) + needed) / tilt found: by Markov's inequality every tilt gives a bound.

    As a function of the logarithm of the tilt it falls, then rises, so thirds close in on the least.
    """

    def reach(logarithm: float) -> float:
        tilt = math.exp(logarithm)
        return (log_moment(tilt) + needed) / tilt

    low, high = math.log(1e-12), math.log(20.0)
    for _ in range(120):
        third = (high - low) / 3
        if reach(low + third) <= reach(high - third):
            high -= third
        else:
            low += third
    return reach((low + high) / 2)
