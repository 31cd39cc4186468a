"""`Noising`: an update as integers that one client's noise is already in.

Promise: whatever the update holds, the client sends a vector of integers whose norm before noise is within the
sensitivity that is accounted for, plus fresh noise; nothing about the data decides whether it takes part. Only the
integer check, the sampler and the accountant are trusted for privacy: no float is.

The way there: real vector within the clip -> rotated -> in units of the step -> rounded until its norm fits -> noise
added -> reduced into the ring. Back: centered sum -> rotated back -> times the step.

Tensors and the numbers that travel with them are one vector under one norm. Numbers beside the tensors take `part` of
the clip each, and all is shrunk by one factor so that the norm stays within the clip: what they cost is accuracy of the
tensors, never privacy.

Imports numpy and `dp`.
"""

from __future__ import annotations

import functools
import hashlib
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
import numpy.typing as npt

from dp.budgeting import DEFAULT_RESOLUTION, sensitivity_of
from dp.errors import ParameterError
from dp.law import IntegerNoise
from dp.ledger import Charge
from dp.noise import DiscreteGaussian, Skellam
from dp.overflow import Load, bits_for
from dp.rotation import Rotation
from dp.rounding import round_within, rounded_limit
from protocols.errors import RecipeError

Vector = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

DEFAULT_PART: Final = 0.25
_SEED_LABEL: Final = b"secagg rotation seed, version 1"
_TAGS: Final[Mapping[type[object], bytes]] = {Skellam: b"skellam", DiscreteGaussian: b"discrete gaussian"}


@dataclass(frozen=True, kw_only=True)
class Noising:
    """How a vector becomes noised integers.

    Attributes:
        noise: what each client adds, on its step.
        clip: the L2 bound of the whole vector, in real units.
        length: coordinates, the numbers beside the tensors included.
        numbers: how many of them, the last ones, stand beside the tensors.
        part: of the clip that each of those takes.
        overflow_probability: of a wrapped coordinate in one round.

    Raises:
        RecipeError: a field is out of range, or the noise has no step.
    """

    noise: IntegerNoise
    clip: float
    length: int
    numbers: int
    part: float = DEFAULT_PART
    overflow_probability: float

    def __post_init__(self) -> None:
        if type(self.noise) not in _TAGS:
            raise RecipeError(f"noise is of type {type(self.noise).__name__}: give dp.Skellam or dp.DiscreteGaussian")
        if isinstance(self.part, bool) or not isinstance(self.part, int | float) or not 0.0 < self.part <= 1.0:
            raise RecipeError(f"part={self.part!r:.40} must be above 0 and at most 1: a number's part of the clip")
        try:
            self.bits(1)
        except ParameterError as error:
            raise RecipeError(str(error)) from error

    @property
    def step(self) -> float:
        """What one integer unit of the rotated vector is worth, before shrinking."""
        return self.clip / DEFAULT_RESOLUTION if self.noise.step is None else self.noise.step

    @functools.cached_property
    def limit(self) -> int:
        """The largest squared L2 norm of a client's integers before noise; checked on every vector."""
        return rounded_limit(self.clip / self.step, self.length)

    @property
    def sensitivity(self) -> float:
        """Its root, rounded up: what the accountant uses."""
        return sensitivity_of(self.limit)

    @property
    def shrink(self) -> float:
        """The factor on the whole vector that makes room under the clip for the numbers."""
        return 1.0 / math.sqrt(1.0 + self.numbers * self.part**2)

    @property
    def unit(self) -> float:
        """What one integer unit of the sum is worth in the units of the tensors."""
        return self.step / self.shrink

    @property
    def canonical(self) -> bytes:
        """Everything that decides the encoding and its cost, as bytes."""
        parameter = self.noise.sigma if isinstance(self.noise, DiscreteGaussian) else self.noise.variance
        exact = str(Fraction(parameter)).encode("ascii")  # 9, 9.0 and Fraction(9) are one law
        numbers = (self.step, self.clip, float(self.part), self.overflow_probability)
        head = struct.pack(">4dQQI", *numbers, self.length, self.numbers, len(exact))
        return head + exact + _TAGS[type(self.noise)]

    def bits(self, clients: int) -> int:
        """Return the bits of the smallest ring that the sum of so many clients wraps in with the stated odds.

        Raises:
            dp.ParameterError: no ring of 64 bits is enough, or clip / step leaves the norm check no room.
        """
        load = Load(
            clients=clients,
            norm=self.clip / self.step,
            length=self.length,
            block=self._rotation(bytes(32)).block,
            log_moment=self.noise.log_moment,
        )
        return bits_for(load, probability=self.overflow_probability)

    def charge(self, *, clients: int, unknown: int, added: int) -> Charge:
        """Return what a round costs.

        Args:
            clients: how many were invited, and may have added noise.
            unknown: how many survivors' noise neither the server nor a colluder of it knows.
            added: how many survivors have added noise for certain; it hides from who sees only what is published.

        Raises:
            dp.ParameterError: nobody's noise counts.
        """
        return Charge(
            server=self.noise.event(parties=unknown, sensitivity=self.sensitivity),
            public=self.noise.event(parties=added, sensitivity=self.sensitivity),
            sampler_error=math.nextafter(float(clients * self.length * self.noise.total_variation), 1.0),
        )

    def encode(self, vector: Vector, seed: bytes) -> tuple[Integers, bool]:
        """Return a client's integers, noise included, and whether they stand for the vector that was given.

        Args:
            vector: float64, (length,), tensors then numbers, numbers as parts of their bounds; it is overwritten.
            seed: 32 public bytes of the round, see `rotation_seed`.
        """
        rounded = round_within(self._rotation(seed).apply(self.scaled(vector)), self.limit)
        return rounded.values + self.noise.sample(self.length), rounded.faithful

    def scaled(self, vector: Vector) -> Vector:
        """Bring a vector, in place, to integer units and under one norm with its numbers."""
        vector[self.length - self.numbers :] *= self.part * self.clip
        vector *= self.shrink / self.step
        return vector

    def decode(self, values: Integers, seed: bytes) -> Vector:
        """Return the real sum: tensors in the unit of the clip, numbers as parts of their bounds."""
        vector = self._rotation(seed).invert(values.astype(np.float64))
        vector *= self.unit
        vector[self.length - self.numbers :] /= self.part * self.clip
        return vector

    def deviation(self, survivors: int) -> float:
        """Standard deviation of the noise in each coordinate of the tensors' sum, in the unit of the clip."""
        return math.sqrt(survivors * float(self.noise.variance)) * self.unit

    def _rotation(self, seed: bytes) -> Rotation:
        return Rotation(length=self.length, seed=seed)


def rotation_seed(recipe_digest: bytes, instructions_digest: bytes) -> bytes:
    """Return the seed of a round's rotation: public, and bound to what is summed and what the clients execute."""
    return hashlib.sha256(_SEED_LABEL + recipe_digest + instructions_digest).digest()
