"""What changed secret sharing would get away with, if no other test looked."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import pytest

from secagg import reed_solomon, shamir
from secagg.errors import ConfigError, MisuseError
from secagg.field import PRIME
from secagg.primitives.secret import Secret
from secagg.shamir import LIMBS, MAX_THRESHOLD, Recovery
from tests.support.whitebox import is_wiped


def positions(count: int) -> Any:
    return np.arange(1, count + 1, dtype=np.int64)


def test_a_finding_is_frozen_named_and_has_no_room_for_more() -> None:
    parameters = Recovery.__dataclass_params__  # type: ignore[attr-defined]  # a dataclass has them
    assert parameters.frozen
    assert all(field.kw_only for field in dataclasses.fields(Recovery))
    assert "__dict__" not in dir(Recovery)


def test_the_coefficients_are_overwritten_once_they_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def empty(shape: Any, dtype: Any = float) -> Any:
        made.append(np.zeros(shape, dtype))
        return made[-1]

    drawn: list[bytes] = []

    def entropy(count: int) -> bytes:
        drawn.append(bytes(range(1, 5)) * (count // 4))
        return drawn[-1]

    monkeypatch.setattr(shamir.np, "empty", empty)  # type: ignore[attr-defined]  # the numpy it computes with
    shamir.split([Secret(b"s" * 16)], threshold=3, xs=positions(4), entropy=entropy)
    (polynomials,) = [array for array in made if array.shape == (3, LIMBS)]
    assert drawn
    assert not polynomials.any()


def test_a_generator_is_asked_64_times_and_then_given_up() -> None:
    asked: list[int] = []

    def stuck(count: int) -> bytes:
        asked.append(count)
        return b"\xff" * count

    with pytest.raises(MisuseError, match="64 draws in a row"):
        shamir.split([Secret(bytes(16))], threshold=2, xs=positions(2), entropy=stuck)
    assert asked == [4 * LIMBS] * 64


def test_a_generator_that_gives_too_little_is_told_how_much_was_asked_for() -> None:
    with pytest.raises(MisuseError, match=f"returned 3 bytes where {4 * LIMBS} were asked for"):
        shamir.split([Secret(bytes(16))], threshold=2, xs=positions(2), entropy=lambda count: bytes(3))


def test_the_largest_threshold_lacks_shares_and_is_not_out_of_range() -> None:
    values = np.zeros((3, LIMBS), dtype=np.int64)

    def verify(secret: Secret) -> bool:
        return True

    with pytest.raises(MisuseError, match="3 shares cannot recover"):
        shamir.recover_verified(values, positions(3), threshold=MAX_THRESHOLD, verify=verify)
    with pytest.raises(ConfigError, match="threshold=2049"):
        shamir.recover_verified(values, positions(3), threshold=MAX_THRESHOLD + 1, verify=verify)


def test_refusals_name_the_last_element_of_the_field() -> None:
    with pytest.raises(ConfigError, match=f"from 1 to {PRIME - 1}"):
        shamir.recover_many(np.zeros((1, 1, LIMBS), dtype=np.int64), np.array([PRIME], dtype=np.int64))
    with pytest.raises(MisuseError, match=f"from 0 to {PRIME - 1}"):
        shamir.encode_shares(np.full(LIMBS, PRIME, dtype=np.int64))


def test_of_two_secrets_the_one_that_fewer_shares_agree_on_is_overwritten() -> None:
    fewer, more = Secret(b"f" * 16), Secret(b"m" * 16)
    attempts = [shamir._Attempt(secret, np.arange(7) < count) for secret, count in ((fewer, 3), (more, 5))]
    assert shamir._judge(positions(7), 3, iter(attempts)).secret is more
    assert is_wiped(fewer)
    assert not is_wiped(more)


def test_bad_holders_are_named_in_ascending_order() -> None:
    xs = np.array([9, 4, 7, 2, 5], dtype=np.int64)
    attempt = shamir._Attempt(Secret(bytes(16)), np.array([False, True, False, True, False]))
    assert shamir._judge(xs, 2, iter([attempt])).bad_holders == (5, 7, 9)


def shares(secret: Secret, *, threshold: int, holders: int, liars: list[int]) -> Any:
    """Decoded shares of one secret; those of the liars, by index, are any."""
    block = shamir.split([secret], threshold=threshold, xs=positions(holders), entropy=os.urandom)
    values = shamir.decode_shares(block)[0][0]
    values[liars] = np.random.default_rng(1).integers(0, PRIME, (len(liars), LIMBS))
    return values


def test_no_subset_is_tried_once_decoding_has_found_the_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reed_solomon, "subsets", lambda *_: pytest.fail("searched"))
    secret = Secret(b"s" * 16)
    values = shares(secret, threshold=2, holders=16, liars=list(range(12)))
    found = shamir.recover_verified(values, positions(16), threshold=2, verify=lambda other: other == secret)
    assert (found.secret, found.agreeing) == (secret, 4)


def test_of_those_that_decoding_leaves_no_more_are_believed_than_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reed_solomon, "suspects", lambda *_: iter([np.arange(6) == 0]))
    monkeypatch.setattr(reed_solomon, "subsets", lambda *_: iter(()))
    secret = Secret(b"s" * 16)
    values = shares(secret, threshold=3, holders=6, liars=[0, 4])
    found = shamir.recover_verified(values, positions(6), threshold=3, verify=lambda other: other == secret)
    assert (found.secret, found.bad_holders) == (secret, (1, 5))
