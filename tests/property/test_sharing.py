"""Secret sharing: any t shares give the secret, fewer fit every secret, and no lie becomes a verified secret."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg.field import PRIME, Integers
from secagg.primitives.secret import Secret
from secagg.shamir import LIMBS, decode_shares, recover_many, recover_verified, split

unhurried = settings(deadline=None)  # a busy machine is no failure
secret_bytes = st.binary(min_size=16, max_size=16)
elements = st.integers(0, PRIME - 1)
coordinates = st.one_of(st.integers(1, 40), st.integers(1, PRIME - 1))


class Dealing(NamedTuple):
    threshold: int
    xs: Integers


@st.composite
def dealings(draw: st.DrawFn, *, most: int = 12) -> Dealing:
    xs = draw(st.lists(coordinates, min_size=2, max_size=most, unique=True))
    return Dealing(draw(st.integers(2, len(xs))), np.array(xs, dtype=np.int64))


def limbs_of(secret: bytes) -> list[int]:
    number = int.from_bytes(secret, "little")
    return [number >> 20 * index & 0xFFFFF for index in range(LIMBS)]


def polynomial_through(points: list[tuple[int, int]]) -> list[int]:
    """Coefficients of the one polynomial of degree below len(points) through them, in plain integers."""
    coefficients = [0] * len(points)
    for i, (x, y) in enumerate(points):
        basis, scale = [1], y
        for j, (other, _) in enumerate(points):
            if j != i:
                basis = [(up - other * same) % PRIME for up, same in zip([0, *basis], [*basis, 0], strict=True)]
                scale = scale * pow(x - other, -1, PRIME) % PRIME
        coefficients = [(c + scale * b) % PRIME for c, b in zip(coefficients, basis, strict=True)]
    return coefficients


@unhurried
@given(st.lists(secret_bytes, min_size=1, max_size=4), dealings(), st.data())
def test_any_t_shares_give_the_secrets(secrets: list[bytes], dealing: Dealing, data: st.DataObject) -> None:
    block = split([Secret(s) for s in secrets], threshold=dealing.threshold, xs=dealing.xs, entropy=os.urandom)
    values, valid = decode_shares(block)
    assert valid.all()
    count = data.draw(st.integers(dealing.threshold, len(dealing.xs)))
    chosen = data.draw(st.permutations(range(len(dealing.xs))))[:count]
    assert recover_many(values[:, chosen], dealing.xs[chosen]) == tuple(Secret(s) for s in secrets)


@unhurried
@given(secret_bytes, secret_bytes, dealings(most=8), st.data())
def test_fewer_than_t_shares_fit_every_secret_in_exactly_one_way(
    secret: bytes, candidate: bytes, dealing: Dealing, data: st.DataObject
) -> None:
    """Shamir's argument, run: t - 1 shares and a candidate fix the coefficients, and they deal those very shares.

    One set of coefficients for each candidate, all sets equally likely: the shares say nothing about the secret.
    """
    threshold, xs = dealing
    block = split([Secret(secret)], threshold=threshold, xs=xs, entropy=os.urandom)
    values, _ = decode_shares(block)
    seen = data.draw(st.permutations(range(len(xs))))[: threshold - 1]
    polynomials = [
        polynomial_through([(0, limb), *((int(xs[holder]), int(values[0, holder, index])) for holder in seen)])
        for index, limb in enumerate(limbs_of(candidate))
    ]
    drawn = [polynomial[power] for power in range(1, threshold) for polynomial in polynomials]

    def scripted(count: int) -> bytes:
        return np.array(drawn, dtype="<u4").tobytes()[:count]

    again = split([Secret(candidate)], threshold=threshold, xs=xs, entropy=scripted)
    assert np.array_equal(again[0, seen], block[0, seen])
    everyone, _ = decode_shares(again)
    assert recover_many(everyone, xs) == (Secret(candidate),)


@unhurried
@given(secret_bytes, dealings(), st.data())
def test_lies_of_up_to_half_the_spare_shares_are_always_found_and_named(
    secret: bytes, dealing: Dealing, data: st.DataObject
) -> None:
    threshold, xs = dealing
    values = decode_shares(split([Secret(secret)], threshold=threshold, xs=xs, entropy=os.urandom))[0][0]
    most = (len(xs) - threshold) // 2
    liars = data.draw(st.lists(st.integers(0, len(xs) - 1), max_size=most, unique=True))
    for liar in liars:
        lie = data.draw(st.dictionaries(st.integers(0, LIMBS - 1), st.integers(1, PRIME - 1), min_size=1))
        for limb, offset in lie.items():
            values[liar, limb] = (values[liar, limb] + offset) % PRIME
    distrust = data.draw(st.none() | st.lists(st.floats(0, 9), min_size=len(xs), max_size=len(xs)))
    recovery = recover_verified(values, xs, threshold=threshold, verify=Secret(secret).__eq__, distrust=distrust)
    assert recovery.secret == Secret(secret)
    assert recovery.bad_holders == tuple(sorted(xs[liars].tolist()))
    assert recovery.agreeing == len(xs) - len(liars)
    assert not recovery.dealer_at_fault


@unhurried
@given(secret_bytes, dealings(most=10), st.data())
def test_while_t_holders_are_honest_the_secret_comes_back_and_never_another(
    secret: bytes, dealing: Dealing, data: st.DataObject
) -> None:
    """Any number of lies, any lies: what is returned passed the check, and t honest shares are enough to find it."""
    threshold, xs = dealing
    values = decode_shares(split([Secret(secret)], threshold=threshold, xs=xs, entropy=os.urandom))[0][0]
    liars = data.draw(st.lists(st.integers(0, len(xs) - 1), unique=True))
    for liar in liars:
        values[liar] = data.draw(
            st.lists(elements, min_size=LIMBS, max_size=LIMBS) | elements.map(lambda element: [element] * LIMBS)
        )
    recovery = recover_verified(values, xs, threshold=threshold, verify=Secret(secret).__eq__)
    assert recovery.secret in (None, Secret(secret))
    if len(xs) - len(liars) >= threshold:
        assert recovery.secret == Secret(secret)
        assert not recovery.dealer_at_fault
    if recovery.secret is None:
        assert recovery.bad_holders == ()


@unhurried
@given(secret_bytes, dealings(most=9), st.data())
def test_a_consistent_dealer_that_committed_to_something_else_is_at_fault(
    secret: bytes, dealing: Dealing, data: st.DataObject
) -> None:
    threshold, xs = dealing
    values = decode_shares(split([Secret(secret)], threshold=threshold, xs=xs, entropy=os.urandom))[0][0]
    recovery = recover_verified(values, xs, threshold=threshold, verify=lambda _: False)
    assert recovery.secret is None
    assert recovery.dealer_at_fault == (len(xs) > threshold)
    assert recovery.agreeing == len(xs)
