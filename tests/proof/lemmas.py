"""Lemmas of counting and of width, as formulas: premises, a claim, and the weakened copies that must fail.

Variables are integers without bound, so what is proved holds for every number of clients, every limit, every sum.

Imports z3, and the constants of the field they speak of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import z3  # type: ignore[import-untyped]  # z3 ships no types

from secagg import field

Formula = Any  # z3's own


@dataclass(frozen=True)
class Lemma:
    """Premises that force a claim.

    Attributes:
        premises: by name.
        claim: what follows.
        weakened: name of a mutant -> the premises it puts in the place of those of the same names.
    """

    premises: Mapping[str, Formula]
    claim: Formula
    weakened: Mapping[str, Mapping[str, Formula]]


def answer(formulas: Sequence[Formula]) -> str:
    solver = z3.Solver()
    solver.set("timeout", 60_000)  # an answer in time is "sat" or "unsat"; these take milliseconds
    solver.add(*formulas)
    return str(solver.check())


def counting() -> dict[str, Lemma]:
    """Who can open, who can confirm: n invited, d missing, m colluding, threshold t, quorum q."""
    n, m, d, t, q = z3.Ints("n m d t q")
    cohort = z3.And(n >= 1, m >= 0, m <= n, d >= 0, d <= n)
    seed, key = z3.Ints("honest_seed_shares honest_key_shares")
    ones, others = z3.Ints("honest_signers_of_one honest_signers_of_another")
    counts = z3.And(seed >= 0, key >= 0, ones >= 0, others >= 0)
    found: dict[str, Lemma] = {}

    # A client's secrets have n holders. An honest holder gives one share of one of the two secrets, a colluder both.
    found["both secrets of one client are out of reach"] = Lemma(
        premises={
            "cohort": cohort,
            "counts": counts,
            "each honest holder answers for one secret": seed + key <= n - m,
            "threshold": 2 * t > n + m,
        },
        claim=z3.Not(z3.And(seed + m >= t, key + m >= t)),
        weakened={
            "threshold one too small": {"threshold": 2 * t >= n + m},
            "colluders not counted": {"threshold": 2 * t > n},
            "holders answer for both": {
                "each honest holder answers for one secret": z3.And(seed <= n - m, key <= n - m)
            },
        },
    )

    # Two disjoint sets of holders, with the colluders' shares on either side: only one side opens anything.
    side, far_side = z3.Ints("holders_here holders_there")
    found["two disjoint sets of holders do not both open"] = Lemma(
        premises={
            "cohort": cohort,
            "disjoint": z3.And(side >= 0, far_side >= 0, side + far_side <= n),
            "threshold": 2 * t > n + m,
        },
        claim=z3.Not(z3.And(side >= t, far_side >= t)),
        weakened={
            "half the holders": {"threshold": 2 * t >= n},
            "not disjoint": {"disjoint": z3.And(side >= 0, side <= n, far_side >= 0, far_side <= n)},
        },
    )

    # The colluders hold m shares of each secret from the start.
    found["colluders alone open nothing and confirm nothing"] = Lemma(
        premises={"cohort": cohort, "threshold": 2 * t > n + m, "quorum": 2 * q > n + m},
        claim=z3.And(t > m, q > m),
        weakened={
            "a majority for a threshold": {"threshold": 2 * t > n},
            "a majority for a quorum": {"quorum": 2 * q > n},
        },
    )

    # An honest client signs one survivor set, a colluder any.
    found["one survivor set finds a quorum"] = Lemma(
        premises={
            "cohort": cohort,
            "counts": counts,
            "each honest client signs one set": ones + others <= n - m,
            "quorum": 2 * q > n + m,
        },
        claim=z3.Not(z3.And(ones + m >= q, others + m >= q)),
        weakened={
            "quorum one too small": {"quorum": 2 * q >= n + m},
            "colluders not counted": {"quorum": 2 * q > n},
            "signing twice": {"each honest client signs one set": z3.And(ones <= n - m, others <= n - m)},
        },
    )

    # 2t > n + m by integer division, as `bounds` writes it.
    found["(n + m) // 2 + 1 is the smallest safe number"] = Lemma(
        premises={"cohort": cohort, "formula": t == (n + m) / 2 + 1},
        claim=z3.And(2 * t > n + m, z3.Not(2 * (t - 1) > n + m)),
        weakened={
            "rounded down": {"formula": t == (n + m) / 2},
            "rounded up": {"formula": t == (n + m + 1) / 2},
            "one more": {"formula": t == (n + m) / 2 + 2},
        },
    )

    clients = z3.Int("survivors")
    # What d missing clients leave is enough for both, and m liars among them still leave two honest.
    found["a plan's round ends with a sum that hides two"] = Lemma(
        premises={
            "cohort": cohort,
            "bounds": z3.And(2 * t > n + m, 2 * q > n + m, t <= n - d, q <= n - d),
            "not too small": n - d - m >= 2,
            "survivors": z3.And(clients <= n, clients >= n - d),
        },
        claim=z3.And(clients >= t, clients >= q, clients - m >= 2),
        weakened={
            "threshold above the survivors": {"bounds": z3.And(2 * t > n + m, 2 * q > n + m, q <= n - d)},
            "survivors below the plan": {"survivors": z3.And(clients <= n, clients >= n - d - 1)},
            "one honest is enough": {"not too small": n - d - m >= 1},
        },
    )

    return found


def widths() -> dict[str, Lemma]:
    """What fits: sums of inputs in their ring, sums of products in float64."""
    total, limit, added, half, reach = z3.Ints("total limit added half reach")
    found: dict[str, Lemma] = {}

    # |sum of k inputs| <= k * limit by induction over k: `reach` stands for k * limit, so all stays linear.
    found["one more input moves a sum by one limit"] = Lemma(
        premises={
            "so far": z3.And(limit >= 0, reach >= 0, -reach <= total, total <= reach),
            "bounded": z3.And(-limit <= added, added <= limit),
        },
        claim=z3.And(-(reach + limit) <= total + added, total + added <= reach + limit),
        weakened={"an input beyond its limit": {"bounded": z3.And(-limit <= added, added <= limit + 1)}},
    )

    # b = (2 * n * limit).bit_length() says 2^(b-1) <= 2 n limit < 2^b; `half` is 2^(b-1), `reach` is n * limit.
    found["a sum stays in the centered range of its ring"] = Lemma(
        premises={
            "sum": z3.And(reach >= 1, -reach <= total, total <= reach),
            "bits": z3.And(half <= 2 * reach, 2 * reach < 2 * half),
        },
        claim=z3.And(-half <= total, total < half),
        weakened={
            "a bit less": {"bits": z3.And(2 * half <= 2 * reach, 2 * reach < 4 * half)},
            "no bit for the sign": {"bits": z3.And(half <= reach, reach < 2 * half)},
            "n * limit may fill the ring": {"bits": z3.And(half <= 2 * reach, 2 * reach <= 2 * half)},
        },
    )

    # Shamir's products in float64: t terms below p^2, exact below 2^53.
    terms, largest, product = z3.Ints("terms largest product")
    p = field.PRIME
    found["2048 products of field elements are exact in float64"] = Lemma(
        premises={
            "terms": z3.And(terms >= 0, terms <= field.MAX_TERMS),
            "elements": largest == (p - 1) * (p - 1),
            "product": product == terms * ((p - 1) * (p - 1)),
        },
        claim=z3.And(product < 2**53, largest < 2**53),
        weakened={"one term more": {"terms": z3.And(terms >= 0, terms <= field.MAX_TERMS + 1)}},
    )

    found["the reduction modulo p is off by one at most"] = reduction()
    return found


def reduction() -> Lemma:
    """`field.reduce`: a float64 product with a reciprocal that is a little low, floored, leaves a rest below 2p.

    `slip` is what rounding adds to the product, at most one part in 2^53 of it.
    """
    p, reciprocal = field.PRIME, Fraction(field._RECIPROCAL)
    s, quotient = z3.Ints("s quotient")
    product, slip = z3.Reals("product slip")

    def times_s(factor: Fraction) -> Formula:
        return z3.ToReal(s) * z3.Q(factor.numerator, factor.denominator)

    def rounded(factor: Fraction) -> Formula:
        most = times_s(factor / 2**53)
        return z3.And(-most <= slip, slip <= most, product == times_s(factor) + slip)

    return Lemma(
        premises={
            "exact integers": z3.And(s >= 0, s < 2**53),
            "product": rounded(reciprocal),
            "floor": z3.And(z3.ToReal(quotient) <= product, product < z3.ToReal(quotient) + 1),
        },
        claim=z3.And(s - quotient * p >= 0, s - quotient * p < 2 * p),
        weakened={
            "the reciprocal is a little high": {"product": rounded((1 + Fraction(1, 2**50)) / p)},
            "the reciprocal is far too low": {"product": rounded(reciprocal * Fraction(2**20 - 1, 2**20))},
            "no floor": {"floor": z3.And(z3.ToReal(quotient) <= product, product < z3.ToReal(quotient) + 2)},
        },
    )


LEMMAS = counting() | widths()
