"""What the noise samplers make of a stream of words, written down plainly: decimals and integers, one sample at a time.

Imports nothing of this project. `python tests/reference/dp_noise_oracle.py` writes tests/vectors/dp_noise_golden.json.
Probabilities come from decimal exponentials and from backward recurrence, acceptances are compared as they are, and no
floating-point number has a part in it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from decimal import Decimal, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR

VECTORS = Path(__file__).parent.parent / "vectors" / "dp_noise_golden.json"
SEED = hashlib.sha256(b"golden noise").digest()
COUNT = 3000
DIGITS = 150
FULL = 1 << 64


class Words:
    """The little-endian 64-bit words of AES-128-CTR under the first key of a seed."""

    def __init__(self, seed: bytes) -> None:
        key = hashlib.sha256(seed + bytes(8)).digest()
        self._stream = Cipher(AES128(key[:16]), CTR(key[16:])).encryptor()

    def take(self, count: int) -> list[int]:
        raw = self._stream.update(bytes(8 * count))
        return [int.from_bytes(raw[8 * i : 8 * i + 8], "little") for i in range(count)]


def gaussian(sigma2: Fraction, reach: int) -> list[Decimal]:
    """Probabilities of 0 to reach."""
    weights = [(-Decimal(k * k) * sigma2.denominator / (2 * sigma2.numerator)).exp() for k in range(reach + 1)]
    total = weights[0] + 2 * sum(weights[1:])
    return [weight / total for weight in weights]


def skellam(variance: Fraction, reach: int) -> list[Decimal]:
    """Probabilities of 0 to reach."""
    above, here, weights = Decimal(0), Decimal(1), []
    for k in range(2 * reach + 60, 0, -1):
        above, here = here, above + here * (2 * k * variance.denominator) / variance.numerator
        if k <= reach + 1:
            weights.append(here)
    weights.reverse()
    assert weights[-1] < weights[0].scaleb(-30), "what is beyond `reach` must be negligible"
    total = weights[0] + 2 * sum(weights[1:])
    return [weight / total for weight in weights]


def masses(half: list[Decimal]) -> tuple[int, list[int]]:
    """The widest value that owns words, and the words of -it to it and then of the question for more bits."""
    words = [int(probability * FULL) for probability in half]
    reach = max(k for k, mass in enumerate(words) if mass)
    whole = [words[abs(k)] for k in range(-reach, reach + 1)]
    return reach, [*whole, FULL - sum(whole)]


def alias(masses: list[int]) -> Callable[[int], int]:
    """How a word chooses among values 0, 1, ... of these masses."""
    slots = 2
    while slots < len(masses):
        slots *= 2
    cell = FULL // slots
    left = masses + [0] * (slots - len(masses))
    own, other = [cell] * slots, list(range(slots))
    light, heavy = [i for i in range(slots) if left[i] < cell], [i for i in range(slots) if left[i] > cell]
    while light:
        poor, rich = light.pop(), heavy.pop()
        own[poor], other[poor] = left[poor], rich
        left[rich] -= cell - left[poor]
        if left[rich] > cell:
            heavy.append(rich)
        elif left[rich] < cell:
            light.append(rich)
    return lambda word: word // cell if word % cell < own[word // cell] else other[word // cell]


def listed(half: list[Decimal], words: Words, *, scan: bool) -> list[int]:
    """Samples of a law that is listed value by value."""
    reach, shares = masses(half)

    def count_thresholds(word: int) -> int:
        index, threshold = 0, shares[0]
        while word >= threshold:
            index += 1
            threshold += shares[index]
        return index

    choose = count_thresholds if scan else alias(shares)
    chosen = [choose(word) for word in words.take(COUNT)]
    assert len(shares) - 1 not in chosen, "a golden stream does not ask for more bits"
    return [index - reach for index in chosen]


def blocks(variance: int) -> Iterator[int]:
    """exp(-k^2 / (2 variance)) at multiples of the block width, in units of 2^-160, by the recurrence of the code."""
    width = 1 << block_bits(variance)
    with localcontext(prec=DIGITS):
        ratio = int((-Decimal(width * width) / (2 * variance)).exp() * (1 << 160))
    square, weight = ratio * ratio >> 160, 1 << 160
    while True:
        yield weight
        weight, ratio = weight * ratio >> 160, ratio * square >> 160


def block_bits(variance: int) -> int:
    """A block is between 1/512 and 1/256 of a standard deviation wide."""
    deviation, bits = math.isqrt(variance), 0
    while deviation >> (bits + 9):
        bits += 1
    return bits


def wide(variance: int, weight: Callable[[int], Decimal], words: Words) -> list[int]:
    """Samples of a law that is proposed in blocks; `weight` is its probability times sqrt(2 pi variance)."""
    bits, deviation = block_bits(variance), math.isqrt(variance)
    width, radius = 1 << bits, math.isqrt(180 * variance)
    edge = -(-6 * deviation // width)
    steps, bounds = blocks(variance), []
    for _ in range(edge + 1):
        step = next(steps)
        bounds.append(step + step // 2048)
    tail_values = 2 * (radius - edge * width) + 1
    areas = [bounds[j if j >= 0 else -j - 1] for j in range(-edge, edge)]
    areas.append(bounds[edge] * tail_values // width + 1)
    unit = (FULL - len(areas)) * 2**160 // sum(areas)
    shares = [area * unit // 2**160 + 1 for area in areas]
    shares[edge] += FULL - sum(shares)
    choose = alias(shares)

    def propose(count: int) -> list[int | None]:
        chosen, places = [choose(word) for word in words.take(count)], words.take(count)
        values: list[int | None] = []
        for index, place in zip(chosen, places, strict=True):
            assert index < 2 * edge, "a golden stream does not reach the tail"
            k, level = (index - edge) * width + place % width, place // width
            accepted = Decimal(level) * shares[index] < unit * weight(k) * 2 ** (64 - bits)
            values.append(k if accepted else None)
        return values

    values = propose(COUNT)
    while None in values:
        again = iter(propose(values.count(None)))
        values = [next(again) if value is None else value for value in values]
    return [value for value in values if value is not None]


def wide_skellam(variance: int, words: Words) -> list[int]:
    probabilities = skellam(Fraction(variance), 14 * math.isqrt(variance))
    norm = (2 * Decimal(PI) * variance).sqrt()
    return wide(variance, lambda k: probabilities[abs(k)] * norm, words)


PI = "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798"


def vectors() -> list[dict[str, Any]]:
    """Every case: what the code is asked for, and what it must answer."""
    with localcontext(prec=DIGITS):
        cases: list[tuple[str, str, bool, list[int]]] = [
            ("DiscreteGaussian", "1/2", False, listed(gaussian(Fraction(1, 4), 40), Words(SEED), scan=False)),
            ("DiscreteGaussian", "3", False, listed(gaussian(Fraction(9), 80), Words(SEED), scan=False)),
            ("DiscreteGaussian", "3", True, listed(gaussian(Fraction(9), 80), Words(SEED), scan=True)),
            ("DiscreteGaussian", "100", False, listed(gaussian(Fraction(10_000), 1500), Words(SEED), scan=False)),
            ("Skellam", "1/3", False, listed(skellam(Fraction(1, 3), 60), Words(SEED), scan=False)),
            ("Skellam", "10", False, listed(skellam(Fraction(10), 120), Words(SEED), scan=False)),
            ("Skellam", "10", True, listed(skellam(Fraction(10), 120), Words(SEED), scan=True)),
            ("DiscreteGaussian", "2000", False, wide(2000**2, _gaussian_weight(2000**2), Words(SEED))),
            ("DiscreteGaussian", "50000000", False, wide(10**16 // 4, _gaussian_weight(10**16 // 4), Words(SEED))),
            ("Skellam", "1500000", False, wide_skellam(1_500_000, Words(SEED))),
        ]
    return [
        {"law": law, "parameter": parameter, "constant_time": scan, "first": samples[:12], "digest": digest(samples)}
        for law, parameter, scan, samples in cases
    ]


def _gaussian_weight(variance: int) -> Callable[[int], Decimal]:
    return lambda k: (-Decimal(k * k) / (2 * variance)).exp()


def digest(samples: list[int]) -> str:
    """SHA-256 of the samples as 8-byte little-endian integers."""
    return hashlib.sha256(b"".join(sample.to_bytes(8, "little", signed=True) for sample in samples)).hexdigest()


def write() -> None:
    content = {"seed": SEED.hex(), "count": COUNT, "cases": vectors()}
    VECTORS.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
