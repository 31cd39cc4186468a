"""Secret sharing against plain integers: exact arithmetic, canonical shares, and recovery past lying holders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pytest

from secagg import field, reed_solomon, shamir
from secagg.errors import ConfigError, MisuseError
from secagg.field import MAX_TERMS, PRIME, Integers
from secagg.primitives.secret import Secret
from secagg.shamir import (
    LIMBS,
    SHARE_SIZE,
    Recovery,
    decode_shares,
    encode_shares,
    recover_many,
    recover_verified,
    split,
)

ONES = bytes([255]) * 16


def positions(count: int) -> Integers:
    return np.arange(1, count + 1, dtype=np.int64)


def numbers(*values: int) -> Integers:
    return np.array(values, dtype=np.int64)


def secret_of(seed: int) -> Secret:
    return Secret(np.random.default_rng(seed).bytes(16))


def limbs_of(secret: bytes) -> list[int]:
    number = int.from_bytes(secret, "little")
    return [number >> 20 * index & 0xFFFFF for index in range(LIMBS)]


def words_for(elements: Iterable[int]) -> bytes:
    """What a generator must return for these field elements to be drawn."""
    return b"".join(element.to_bytes(4, "little") for element in elements)


def evaluate(coefficients: Sequence[int], x: int) -> int:
    return sum(coefficient * pow(x, power, PRIME) for power, coefficient in enumerate(coefficients)) % PRIME


def at_zero(xs: Sequence[int], ys: Sequence[int]) -> int:
    """Lagrange interpolation at zero in plain integers."""
    total = 0
    for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
        for j, other in enumerate(xs):
            if j != i:
                y = y * other * pow(other - x, -1, PRIME) % PRIME  # noqa: PLW2901  # the term, factor by factor
        total += y
    return total % PRIME


def dealt(secret: Secret, *, threshold: int, holders: int) -> Integers:
    """Decoded shares of one secret, shape (holders, LIMBS)."""
    block = split([secret], threshold=threshold, xs=positions(holders), entropy=os.urandom)
    values, valid = decode_shares(block)
    assert valid.all()
    shares: Integers = values[0]
    return shares


def lied(values: Integers, holders: Iterable[int], *, seed: int = 0) -> Integers:
    """The shares with those of `holders` (indexes) replaced by random elements."""
    rng = np.random.default_rng(seed)
    altered = values.copy()
    for holder in holders:
        altered[holder] = (altered[holder] + rng.integers(1, PRIME, LIMBS)) % PRIME
    return altered


def bent(values: Integers, *, zeros: Sequence[int], liars: Sequence[int]) -> Integers:
    """The shares after `liars` added a polynomial that vanishes at the x coordinates `zeros`; only those are hidden."""
    altered = values.copy()
    for liar in liars:
        offset = 1
        for zero in zeros:
            offset = offset * (liar - zero) % PRIME
        altered[liar - 1] = (altered[liar - 1] + offset) % PRIME
    return altered


def opens(secret: Secret) -> Callable[[Secret], bool]:
    return lambda candidate: candidate == secret


# The field.


def test_the_modulus_is_the_largest_prime_below_two_to_the_21() -> None:
    def is_prime(number: int) -> bool:
        return all(number % divisor for divisor in range(2, int(number**0.5) + 1))

    assert is_prime(PRIME)
    assert not any(is_prime(number) for number in range(PRIME + 1, 2**21))


def test_a_sum_of_the_largest_products_is_an_exact_float() -> None:
    assert (PRIME - 1) ** 2 * MAX_TERMS < 2**53
    for terms in (1, MAX_TERMS, MAX_TERMS + 1, 2 * MAX_TERMS + 1):
        most = np.full((1, terms), float(PRIME - 1))
        assert field.matmul(most, most.T).tolist() == [[terms % PRIME]]


def test_reduction_is_exact_around_every_kind_of_multiple() -> None:
    quotients = [0, 1, 2, 3, 2**20, 2**31 - 1, 2**31, 2**32 - 21, 2**53 // PRIME - 1, 2**53 // PRIME]
    quotients += np.random.default_rng(1).integers(0, 2**53 // PRIME, 20_000).tolist()
    offsets = (0, 1, 2, PRIME // 2, PRIME - 2, PRIME - 1)
    sums = [q * PRIME + offset for q in quotients for offset in offsets if q * PRIME + offset < 2**53]
    reduced = field.reduce(np.array(sums, dtype=np.float64))
    assert reduced.tolist() == [float(value % PRIME) for value in sums]


@pytest.mark.parametrize("piece", [5, 10, 20, 1 << 15])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 8, 9, 30])
def test_powers(count: int, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field, "_PIECE_ELEMENTS", piece)
    xs = numbers(1, 2, 3, PRIME - 1, 123_456)
    assert field.powers(xs, count).tolist() == [[pow(x, j, PRIME) for x in xs.tolist()] for j in range(count)]


def test_inverses() -> None:
    values = numbers(1, 2, 3, 1000, PRIME - 1)
    assert (values * field.invert(values) % PRIME).tolist() == [1] * 5


@pytest.mark.parametrize("nodes", [[1, 2, 3, 4, 5], [4, 1, 9], [PRIME - 1, 1, 77_777], [5]], ids=str)
def test_interpolation_weights_from_a_table_and_without(nodes: list[int]) -> None:
    coefficients = [5, PRIME - 1, 77, 123_456, 9][: len(nodes)]
    points = [0, 10, 2_000_000]
    weights = field.lagrange(numbers(*nodes), numbers(*points))
    values = np.array([[evaluate(coefficients, x)] for x in nodes], dtype=np.float64)
    assert field.matmul(weights, values)[:, 0].tolist() == [evaluate(coefficients, x) for x in points]


def test_large_sets_of_nodes_are_worked_on_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    xs = positions(50)
    whole = field.differences_product(xs, xs)
    monkeypatch.setattr(field, "_TABLE_ELEMENTS", 130)
    assert field.differences_product(xs, xs).tolist() == whole.tolist()
    factors = [[int(x - other) for other in xs if other != x] for x in xs]
    for product, row in zip(whole.tolist(), factors, strict=True):
        assert product == np.prod(np.array(row, dtype=object)) % PRIME


# Coefficients.


def test_every_field_element_is_drawn_from_exactly_one_of_the_2_to_the_21_words() -> None:
    every = np.arange(2**21, dtype="<u4")
    asked: list[int] = []

    def all_words_once(count: int) -> bytes:
        asked.append(count)
        return every.tobytes() if len(asked) == 1 else every[: count // 4].tobytes()

    drawn = shamir._uniform(2**21, all_words_once)
    assert asked == [4 * 2**21, 4 * (2**21 - PRIME)], "nine words are rejected, and nine are drawn again"
    assert drawn[:PRIME].tolist() == list(range(PRIME))


def test_bits_above_the_21st_do_not_matter_and_rejected_words_are_replaced_in_order() -> None:
    script = [
        words_for([7 | 1 << 21, PRIME, 2**32 - 1, 9 | 1 << 31]),
        words_for([PRIME + 3, 0]),
        words_for([PRIME - 1]),
    ]
    assert shamir._uniform(4, lambda _: script.pop(0)).tolist() == [7, 9, 0, PRIME - 1]


def test_a_generator_that_is_not_one_is_noticed() -> None:
    with pytest.raises(MisuseError, match="returned 3 bytes where 4"):
        shamir._uniform(1, lambda _: b"abc")
    with pytest.raises(MisuseError, match="entropy is not random"):
        shamir._uniform(1, lambda count: b"\xff" * count)


# Shares.


@pytest.mark.parametrize("xs", [[1, 2, 3, 4], [9, 2, 500, PRIME - 1, 3]], ids=str)
def test_shares_are_the_values_of_the_polynomials_packed_to_21_bits(xs: list[int]) -> None:
    secrets = [bytes(range(16)), ONES]
    rng = np.random.default_rng(5)
    coefficients = rng.integers(0, PRIME, (2, 2 * LIMBS)).tolist()  # the powers 1 and 2 of every limb
    block = split(
        [Secret(secret) for secret in secrets],
        threshold=3,
        xs=numbers(*xs),
        entropy=lambda _: words_for(coefficients[0] + coefficients[1]),
    )
    assert block.shape == (2, len(xs), SHARE_SIZE)
    assert block.dtype == np.uint8
    for s, secret in enumerate(secrets):
        for h, x in enumerate(xs):
            elements = [
                evaluate([limb, coefficients[0][s * LIMBS + i], coefficients[1][s * LIMBS + i]], x)
                for i, limb in enumerate(limbs_of(secret))
            ]
            number = sum(element << 21 * i for i, element in enumerate(elements))
            assert block[s, h].tobytes() == number.to_bytes(SHARE_SIZE, "little")


def test_no_secrets_make_no_shares() -> None:
    assert split([], threshold=2, xs=positions(3), entropy=os.urandom).shape == (0, 3, SHARE_SIZE)


@pytest.mark.parametrize(("threshold", "holders"), [(1, 3), (0, 3), (-1, 3), (4, 3), (2, 1), (2049, 2100)])
def test_a_threshold_out_of_range_is_refused_with_the_range(threshold: int, holders: int) -> None:
    with pytest.raises(ConfigError, match=f"threshold={threshold} must be from 2 to {min(holders, 2048)}"):
        split([secret_of(0)], threshold=threshold, xs=positions(holders), entropy=os.urandom)


def test_the_largest_threshold_is_exact() -> None:
    block = split(
        [Secret(ONES)], threshold=2048, xs=positions(2048), entropy=lambda count: b"\xf6\xff\x1f\0" * (count // 4)
    )
    values, valid = decode_shares(block)
    assert valid.all()
    # every coefficient is p - 1 = -1, so the value at x is limb - (x + ... + x**2047)
    for index in (0, 1, 2046):
        x = index + 1
        tail = sum(pow(x, power, PRIME) for power in range(1, 2048))
        assert values[0, index].tolist() == [(limb - tail) % PRIME for limb in limbs_of(ONES)]
    recovered = recover_many(values, positions(2048))
    assert recovered == (Secret(ONES),)


@pytest.mark.parametrize(
    ("xs", "says"),
    [
        (numbers(0, 1, 2), "from 1 to"),
        (numbers(1, 2, PRIME), "from 1 to"),
        (numbers(-1, 2, 3), "from 1 to"),
        (np.array([1, 2, 2**64 - 1], dtype=np.uint64), "from 1 to"),
        (numbers(1, 2, 1), "distinct: 3 coordinates name 2 holders"),
        (np.ones((1, 3), dtype=np.int64), "vector of integers"),
        (np.array([1.0, 2.0, 3.0]), "vector of integers"),
        (np.array([True, False]), "vector of integers"),
    ],
)
def test_coordinates_are_distinct_and_never_zero(xs: Any, says: str) -> None:
    values = np.zeros((len(xs), LIMBS), dtype=np.int64)
    with pytest.raises(ConfigError, match=says):
        split([secret_of(0)], threshold=2, xs=xs, entropy=os.urandom)
    with pytest.raises(ConfigError, match=says):
        recover_many(values[None], xs)
    with pytest.raises(ConfigError, match=says):
        recover_verified(values, xs, threshold=2, verify=lambda _: True)


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_only_16_bytes_are_shared(size: int) -> None:
    with pytest.raises(MisuseError, match=f"has 16 bytes, got {size}"):
        split([secret_of(0), Secret(bytes(size))], threshold=2, xs=positions(3), entropy=os.urandom)


def test_encoding_is_one_to_one_on_valid_shares_and_no_other_bytes_are_valid() -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(0, PRIME, (4, 5, LIMBS))
    values[0, 0] = PRIME - 1
    values[0, 1] = 0
    block = encode_shares(values)
    assert block.shape == (4, 5, SHARE_SIZE)
    decoded, valid = decode_shares(block)
    assert valid.all()
    assert np.array_equal(decoded, values)
    noise = rng.integers(0, 256, (10_000, SHARE_SIZE), dtype=np.uint8)
    noise[:, -1] &= 7
    decoded, valid = decode_shares(noise)
    assert 0.99 < valid.mean() <= 1
    assert np.array_equal(encode_shares(decoded[valid]), noise[valid])


def test_an_element_not_below_the_prime_makes_a_share_invalid() -> None:
    for limb in range(LIMBS):
        for element in range(PRIME, 2**21):
            raw = (element << 21 * limb).to_bytes(SHARE_SIZE, "little")
            assert not decode_shares(np.frombuffer(raw, dtype=np.uint8))[1]
        raw = ((PRIME - 1) << 21 * limb).to_bytes(SHARE_SIZE, "little")
        assert decode_shares(np.frombuffer(raw, dtype=np.uint8))[1]


def test_a_padding_bit_makes_a_share_invalid() -> None:
    for bit in range(21 * LIMBS, 8 * SHARE_SIZE):
        raw = (1 << bit).to_bytes(SHARE_SIZE, "little")
        assert not decode_shares(np.frombuffer(raw, dtype=np.uint8))[1]


def test_a_block_decodes_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    block = encode_shares(np.random.default_rng(4).integers(0, PRIME, (7, 3, LIMBS)))
    whole, _ = decode_shares(block)
    monkeypatch.setattr(shamir, "_CODEC_BLOCK", 4)
    assert np.array_equal(decode_shares(block)[0], whole)
    assert decode_shares(block[:0])[0].shape == (0, 3, LIMBS)


def test_shares_of_another_form_are_refused() -> None:
    for block in (np.zeros(18, dtype=np.uint8), np.zeros((2, 20), dtype=np.uint8), np.zeros(19, dtype=np.int64)):
        with pytest.raises(MisuseError, match="shares are uint8"):
            decode_shares(block)  # type: ignore[arg-type]  # a wrong type is one of the points
    for values in (np.zeros(6, dtype=np.int64), np.zeros(7, dtype=np.int32)):
        with pytest.raises(MisuseError, match="share values are int64"):
            encode_shares(values)  # type: ignore[arg-type]  # the same
    for outside in (-1, PRIME):
        with pytest.raises(MisuseError, match="leave out shares that decode as invalid"):
            encode_shares(np.full(LIMBS, outside))


# Recovery of many.


@pytest.mark.parametrize(("threshold", "holders"), [(2, 2), (2, 5), (5, 9), (11, 21), (64, 100)])
def test_many_secrets_come_back_from_the_threshold_or_more(threshold: int, holders: int) -> None:
    secrets = [secret_of(seed) for seed in range(33)] + [Secret(bytes(16)), Secret(ONES)]
    block = split(secrets, threshold=threshold, xs=positions(holders), entropy=os.urandom)
    values, _ = decode_shares(block)
    for count in {threshold, holders}:
        chosen = np.random.default_rng(count).permutation(holders)[:count]
        assert recover_many(values[:, chosen], positions(holders)[chosen]) == tuple(secrets)
    assert recover_many(values[:0], positions(holders)) == ()


def test_fewer_shares_than_the_threshold_give_another_value() -> None:
    secrets = [secret_of(seed) for seed in range(20)]
    values, _ = decode_shares(split(secrets, threshold=5, xs=positions(9), entropy=os.urandom))
    assert all(
        found != secret for found, secret in zip(recover_many(values[:, :4], positions(4)), secrets, strict=True)
    )


@pytest.mark.parametrize(
    ("limb", "value"), [(0, 2**20), (3, PRIME - 1), (5, 2**20 + 1), (6, 2**8), (6, 2**20 - 1), (6, PRIME - 1)]
)
def test_a_value_that_is_not_16_bytes_is_reported_never_truncated(limb: int, value: int) -> None:
    elements = np.zeros((3, 2, LIMBS), dtype=np.int64)
    elements[1, :, limb] = value  # a constant polynomial
    assert recover_many(elements, positions(2)) == (Secret(bytes(16)), None, Secret(bytes(16)))


def test_the_largest_limbs_are_a_secret() -> None:
    elements = np.array(limbs_of(ONES))
    assert elements.max() == 2**20 - 1
    assert elements[-1] == 2**8 - 1
    assert recover_many(np.broadcast_to(elements, (1, 2, LIMBS)), positions(2)) == (Secret(ONES),)


def test_recovery_of_many_refuses_what_does_not_fit() -> None:
    for shape in [(2, LIMBS), (1, 3, LIMBS), (1, 2, LIMBS, LIMBS)]:
        with pytest.raises(MisuseError, match="values must have shape"):
            recover_many(np.zeros(shape, dtype=np.int64), positions(2))
    for outside in (-1, PRIME):
        with pytest.raises(MisuseError, match="leave out shares"):
            recover_many(np.full((1, 2, LIMBS), outside), positions(2))


# Recovery past liars.


def check(recovery: Recovery, secret: Secret, bad_indexes: Iterable[int]) -> None:
    assert recovery.secret == secret
    assert recovery.bad_holders == tuple(sorted(index + 1 for index in bad_indexes))
    assert not recovery.dealer_at_fault


@pytest.mark.parametrize(("threshold", "holders"), [(2, 2), (3, 3), (3, 8), (11, 20)])
def test_honest_shares_name_nobody_and_are_checked_once(threshold: int, holders: int) -> None:
    secret = secret_of(1)
    asked: list[Secret] = []
    values = dealt(secret, threshold=threshold, holders=holders)

    def verify(candidate: Secret) -> bool:
        asked.append(candidate)
        return candidate == secret

    recovery = recover_verified(values, positions(holders), threshold=threshold, verify=verify)
    check(recovery, secret, [])
    assert recovery.agreeing == holders
    assert len(asked) == 1


@pytest.mark.parametrize("liar", range(6))
def test_one_liar_among_two_spare_shares_is_named_wherever_it_sits(liar: int) -> None:
    secret = secret_of(2)
    values = lied(dealt(secret, threshold=4, holders=6), [liar])
    recovery = recover_verified(values, positions(6), threshold=4, verify=opens(secret))
    check(recovery, secret, [liar])
    assert recovery.agreeing == 5


@pytest.mark.parametrize("limb", range(LIMBS))
def test_a_lie_in_one_limb_is_a_lie(limb: int) -> None:
    secret = secret_of(3)
    values = dealt(secret, threshold=3, holders=7)
    values[[0, 6], limb] = (values[[0, 6], limb] + 1) % PRIME
    check(recover_verified(values, positions(7), threshold=3, verify=opens(secret)), secret, [0, 6])


@pytest.mark.parametrize(("threshold", "holders"), [(2, 16), (5, 19), (11, 20), (30, 60), (60, 100)])
def test_random_lies_up_to_7_of_8_spare_shares_decode(
    threshold: int, holders: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reed_solomon, "SEARCH_LIMIT", 0)
    secret, spare = secret_of(4), holders - threshold
    values = dealt(secret, threshold=threshold, holders=holders)
    for errors in {1, spare // 2, spare // 2 + 1, 7 * spare // 8}:
        liars = np.random.default_rng(errors).permutation(holders)[:errors].tolist()
        altered = lied(values, liars, seed=errors)
        check(recover_verified(altered, positions(holders), threshold=threshold, verify=opens(secret)), secret, liars)


def test_up_to_8_spare_shares_all_but_one_may_lie_at_random() -> None:
    assert [7 * spare // 8 for spare in range(2, 9)] == [spare - 1 for spare in range(2, 9)]


@pytest.mark.parametrize(("threshold", "holders"), [(2, 3), (2, 8), (3, 5), (5, 9), (7, 12), (16, 20), (98, 100)])
def test_every_spare_share_may_lie_where_the_search_is_complete(threshold: int, holders: int) -> None:
    secret, spare = secret_of(5), holders - threshold
    values = dealt(secret, threshold=threshold, holders=holders)
    for place in ("first", "last", "anywhere"):
        order = np.random.default_rng(holders).permutation(holders).tolist()
        liars = {"first": range(spare), "last": range(threshold, holders), "anywhere": order[:spare]}[place]
        altered = lied(values, liars)
        recovery = recover_verified(altered, positions(holders), threshold=threshold, verify=opens(secret))
        check(recovery, secret, liars)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_lies_that_are_alike_in_most_limbs_decode_up_to_their_rank(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reed_solomon, "SEARCH_LIMIT", 0)
    secret, threshold, holders = secret_of(6), 8, 32
    values = dealt(secret, threshold=threshold, holders=holders)
    errors = rank * (holders - threshold) // (rank + 1)
    values[:errors, :rank] = (
        values[:errors, :rank] + np.random.default_rng(rank).integers(1, PRIME, (errors, rank))
    ) % PRIME
    recovery = recover_verified(values, positions(holders), threshold=threshold, verify=opens(secret))
    check(recovery, secret, range(errors))


def test_the_least_distrusted_are_tried_first() -> None:
    """The liar turns the secret of the first three shares into other 16 bytes: refusing them takes a check."""
    secret = secret_of(7)
    values = dealt(secret, threshold=3, holders=7)
    weight_of_liar = at_zero([1, 2, 3], [1, 0, 0])
    values[0] = (values[0] + pow(weight_of_liar, -1, PRIME)) % PRIME
    asked: list[Secret] = []

    def verify(candidate: Secret) -> bool:
        asked.append(candidate)
        return candidate == secret

    for distrust, checks in [(None, 2), ([2, 0, 1, 0, 0.5, 0, 0], 1), ([0, 0, 0, 9, 9, 9, 9], 2)]:
        asked.clear()
        check(recover_verified(values, positions(7), threshold=3, verify=verify, distrust=distrust), secret, [0])
        assert len(asked) == checks


@pytest.mark.parametrize("spare", [1, 2, 5])
def test_a_dealer_whose_shares_agree_on_a_wrong_secret_is_at_fault(spare: int) -> None:
    values = dealt(secret_of(8), threshold=3, holders=3 + spare)
    recovery = recover_verified(values, positions(3 + spare), threshold=3, verify=lambda _: False)
    assert recovery == Recovery(secret=None, bad_holders=(), dealer_at_fault=True, agreeing=3 + spare)


def test_a_dealer_of_values_that_are_no_secret_is_at_fault_and_they_are_not_checked() -> None:
    values = np.full((5, LIMBS), 2**20)
    recovery = recover_verified(values, positions(5), threshold=3, verify=lambda _: pytest.fail("not 16 bytes"))
    assert recovery == Recovery(secret=None, bad_holders=(), dealer_at_fault=True, agreeing=5)


def test_a_liar_does_not_hide_the_dealers_fault() -> None:
    values = lied(dealt(secret_of(9), threshold=3, holders=6), [0])
    recovery = recover_verified(values, positions(6), threshold=3, verify=lambda _: False)
    assert recovery == Recovery(secret=None, bad_holders=(), dealer_at_fault=True, agreeing=5)


def test_without_spare_shares_nobody_is_named() -> None:
    values = lied(dealt(secret_of(10), threshold=4, holders=4), [2])
    recovery = recover_verified(values, positions(4), threshold=4, verify=opens(secret_of(10)))
    assert recovery == Recovery(secret=None, bad_holders=(), dealer_at_fault=False, agreeing=4)


@pytest.mark.parametrize(("threshold", "holders"), [(3, 7), (5, 9), (11, 40)])
def test_shares_that_agree_on_nothing_give_nothing(threshold: int, holders: int) -> None:
    values = np.random.default_rng(11).integers(0, PRIME, (holders, LIMBS))
    recovery = recover_verified(values, positions(holders), threshold=threshold, verify=lambda _: False)
    assert recovery == Recovery(secret=None, bad_holders=(), dealer_at_fault=False, agreeing=threshold)


@pytest.mark.parametrize(("threshold", "holders"), [(2, 5), (3, 17), (5, 30)])
def test_shares_that_agree_on_nothing_point_at_nobody(threshold: int, holders: int) -> None:
    values = np.random.default_rng(17).integers(0, PRIME, (holders, LIMBS))
    assert list(reed_solomon.suspects(positions(holders), values, threshold)) == []


def test_colluders_cannot_make_honest_holders_look_bad() -> None:
    """Two liars add a polynomial that is zero at zero and at t - 2 honest holders: their secret verifies."""
    secret, threshold, holders = secret_of(12), 4, 8
    liars, hidden = [1, 2], [3, 4]
    values = bent(dealt(secret, threshold=threshold, holders=holders), zeros=[0, *hidden], liars=liars)
    assert at_zero([1, 2, 3, 4], values[:4, 0].tolist()) == limbs_of(secret.reveal())[0]
    recovery = recover_verified(values, positions(holders), threshold=threshold, verify=opens(secret))
    check(recovery, secret, [0, 1])


def test_colluders_cannot_put_the_blame_on_the_dealer_while_its_secret_can_be_found() -> None:
    """Two liars bend the polynomial around t - 1 honest holders: t + 1 shares then agree on a wrong secret."""
    secret, threshold, holders = secret_of(13), 4, 6
    values = bent(dealt(secret, threshold=threshold, holders=holders), zeros=[3, 4, 5], liars=[1, 2])
    recovery = recover_verified(values, positions(holders), threshold=threshold, verify=opens(secret))
    assert recovery.secret == secret
    assert not recovery.dealer_at_fault


def test_the_polynomial_judged_is_that_of_a_secret_and_then_the_most_agreed_one() -> None:
    """Of 7 holders at threshold 3, five that agree on a secret cannot be outnumbered."""
    secret = secret_of(18)

    def judged(*outcomes: tuple[Secret | None, int]) -> tuple[Secret | None, int, bool]:
        attempts = (shamir._Attempt(found, np.arange(7) < agreeing) for found, agreeing in outcomes)
        recovery = shamir._judge(positions(7), 3, attempts)
        assert recovery.bad_holders == (() if recovery.secret is None else tuple(range(recovery.agreeing + 1, 8)))
        return recovery.secret, recovery.agreeing, recovery.dealer_at_fault

    assert judged((secret, 4), (None, 6), (None, 3)) == (secret, 4, False)
    assert judged((secret, 3), (secret, 4), (secret, 3)) == (secret, 4, False)
    assert judged((None, 6), (secret, 5), (secret, 7)) == (secret, 5, False)
    assert judged((None, 3), (None, 5), (None, 4)) == (None, 5, True)
    assert judged((None, 3)) == (None, 3, False)


def test_the_search_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = secret_of(14)
    values = lied(dealt(secret, threshold=3, holders=6), [0, 1, 2])
    monkeypatch.setattr(reed_solomon, "SEARCH_LIMIT", 20)  # 3 of 6
    check(recover_verified(values, positions(6), threshold=3, verify=opens(secret)), secret, [0, 1, 2])
    monkeypatch.setattr(reed_solomon, "SEARCH_LIMIT", 19)
    recovery = recover_verified(values, positions(6), threshold=3, verify=opens(secret))
    assert recovery == Recovery(secret=None, bad_holders=(), dealer_at_fault=False, agreeing=3)


def test_the_search_runs_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = secret_of(15)
    values = lied(dealt(secret, threshold=3, holders=7), [0, 2, 4, 6])
    monkeypatch.setattr(reed_solomon, "_BATCH_ELEMENTS", 30)
    check(recover_verified(values, positions(7), threshold=3, verify=opens(secret)), secret, [0, 2, 4, 6])


def test_recovery_past_liars_refuses_what_does_not_fit() -> None:
    values = dealt(secret_of(16), threshold=3, holders=5)

    def attempt(values: Integers = values, threshold: int = 3, distrust: Sequence[float] | None = None) -> Recovery:
        return recover_verified(values, positions(5), threshold=threshold, verify=lambda _: True, distrust=distrust)

    with pytest.raises(MisuseError, match="5 shares cannot recover a secret of threshold=6"):
        attempt(threshold=6)
    for threshold in (1, 2049):
        with pytest.raises(ConfigError, match=f"threshold={threshold} must be from 2 to 2048"):
            attempt(threshold=threshold)
    with pytest.raises(MisuseError, match="values must have shape"):
        attempt(values[:4])
    with pytest.raises(MisuseError, match="values must have shape"):
        attempt(values[None])
    with pytest.raises(MisuseError, match="one number for each of 5 holders, got 2"):
        attempt(distrust=[1, 2])
    with pytest.raises(MisuseError, match="leave out shares"):
        attempt(values + PRIME)


def test_a_recovery_does_not_print_its_secret() -> None:
    secret = Secret(b"\x11" * 16)
    recovery = recover_verified(dealt(secret, threshold=2, holders=3), positions(3), threshold=2, verify=opens(secret))
    assert "<Secret of 16 bytes>" in repr(recovery)
    assert "\\x11" not in repr(recovery)
    assert "1111" not in repr(recovery)


def test_interpolation_weights_can_be_forgotten() -> None:
    first = field.lagrange(positions(3), numbers(0))
    assert field.lagrange(positions(3), numbers(0)) is first
    field.forget_weights()
    assert field.lagrange(positions(3), numbers(0)) is not first
    assert not first.flags.writeable
