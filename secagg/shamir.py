"""Shamir's secret sharing for 16-byte seeds: split, recover many at once, and recover past lying holders.

Promise: any t shares give the secret, fewer say nothing about it, and no recovered value is returned as a secret
unless it is one exactly; with a check supplied, not unless it passes.

A secret is 7 limbs of 20 bits, little-endian, the top 12 bits of the last one zero. Each limb is the value at zero of
its own polynomial of degree t - 1 over the field of `field.PRIME` elements, and the holder at position i gets the 7
values at x = i + 1 (Shamir, Communications of the ACM 22(11), 1979). A share is those 7 elements of 21 bits,
little-endian, in 19 bytes with zero padding.

Imports numpy, the errors, the types, `field`, `packing`, `reed_solomon` and the primitives `secret` and `suite`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from secagg import field, reed_solomon
from secagg.errors import ConfigError, MisuseError
from secagg.field import ELEMENT_BITS, MAX_TERMS, PRIME, Integers
from secagg.packing import pack_rows, unpack_rows
from secagg.primitives.secret import Secret
from secagg.primitives.suite import SEED_SIZE
from secagg.types import Entropy

SECRET_SIZE: Final = SEED_SIZE
LIMBS: Final = 7
LIMB_BITS: Final = 20
SHARE_SIZE: Final = 19
MIN_THRESHOLD: Final = 2
MAX_THRESHOLD: Final = MAX_TERMS
"""A larger threshold would not keep the products exact; so a recovery takes at most this many shares, too."""

_LAST_LIMB_BITS = 8 * SECRET_SIZE - LIMB_BITS * (LIMBS - 1)
_LAST_BYTE_BITS = LIMBS * ELEMENT_BITS - 8 * (SHARE_SIZE - 1)
_DRAW_BYTES = 4
_MAX_DRAWS = 64  # nine words in two million are rejected: a sound generator rarely needs a second draw
_CODEC_BLOCK = 4_096  # shares decoded at a time
_SECRETS_BLOCK = 32  # secrets recovered at a time, so that their shares as float64 take little memory

ShareBlock = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What the shares of one secret say.

    Attributes:
        secret: the one that passed the check, or None.
        bad_holders: x coordinates, ascending, of the shares off the polynomial of the secret; empty without one.
            Where they are at most half of the spare shares, no other polynomial comes as close. Beyond that,
            two or more colluding holders can bend the polynomial around an honest one.
        dealer_at_fault: no subset gave a secret, and at least t + 1 shares agree on one polynomial that fails.
        agreeing: how many shares lie on the polynomial judged: that of the secret, or else the most agreed one.
            With t + m of them failing the check, m colluding holders cannot have forged the dealer's fault.
    """

    secret: Secret | None
    bad_holders: tuple[int, ...]
    dealer_at_fault: bool
    agreeing: int


class _Attempt(NamedTuple):
    secret: Secret | None
    agrees: reed_solomon.Mask


def split(secrets: Sequence[Secret], *, threshold: int, xs: Integers, entropy: Entropy) -> ShareBlock:
    """Split each secret among the holders at `xs`; any `threshold` of them can recover it.

    Args:
        secrets: each of SECRET_SIZE bytes.
        threshold: t, from 2 to the number of holders and at most MAX_THRESHOLD.
        xs: the holders' x coordinates (position + 1): distinct integers in [1, p), shape (holders,).
        entropy: source of the coefficients; the same bytes give the same shares.

    Returns:
        Shape (len(secrets), len(xs), SHARE_SIZE).

    Raises:
        ConfigError: the threshold or a coordinate is out of range.
        MisuseError: a secret has another size, or entropy returns another number of bytes than asked for.
    """
    points = _require_points(xs)
    highest = min(MAX_THRESHOLD, len(points))
    if not MIN_THRESHOLD <= threshold <= highest:
        raise ConfigError(f"threshold={threshold} must be from {MIN_THRESHOLD} to {highest} for {len(points)} holders")
    polynomials = np.empty((threshold, len(secrets) * LIMBS))
    polynomials[0] = _limbs(secrets).reshape(-1)
    polynomials[1:] = _uniform((threshold - 1) * len(secrets) * LIMBS, entropy).reshape(threshold - 1, -1)
    values = field.matmul(field.powers(points, threshold).T, polynomials)
    polynomials.fill(0)  # the coefficients are as secret as the secrets; best effort, as everywhere
    by_secret = values.reshape(len(points), len(secrets), LIMBS).transpose(1, 0, 2)
    return encode_shares(by_secret.astype(np.int64))


def encode_shares(values: Integers) -> ShareBlock:
    """Encode field elements, shape (..., LIMBS), as shares, shape (..., SHARE_SIZE).

    Raises:
        MisuseError: another shape, or a value outside [0, p).
    """
    _require_values(values)
    rows = values.astype(np.uint64).reshape(-1, LIMBS)
    return pack_rows(rows, ELEMENT_BITS).reshape(*values.shape[:-1], SHARE_SIZE)


def decode_shares(block: ShareBlock) -> tuple[Integers, reed_solomon.Mask]:
    """Decode shares, shape (..., SHARE_SIZE), into values, shape (..., LIMBS), and whether each share is valid.

    A share is valid when its values are below p and its padding is zero: then `encode_shares` gives its bytes back.
    The values of an invalid share are meaningless and must not be used. Nothing is raised whatever the bytes are.

    Raises:
        MisuseError: block is not an array of bytes of that shape.
    """
    if block.dtype != np.uint8 or block.ndim == 0 or block.shape[-1] != SHARE_SIZE:
        raise MisuseError(f"shares are uint8 of shape (..., {SHARE_SIZE}), got {block.dtype} of {block.shape}")
    rows = block.reshape(-1, SHARE_SIZE)
    values = np.empty((len(rows), LIMBS), dtype=np.int64)
    for first in range(0, len(rows), _CODEC_BLOCK):
        part = slice(first, first + _CODEC_BLOCK)
        values[part] = unpack_rows(rows[part], ELEMENT_BITS, LIMBS)
    valid = (values < PRIME).all(axis=1) & (rows[:, -1] >> _LAST_BYTE_BITS == 0)
    return values.reshape(*block.shape[:-1], LIMBS), valid.reshape(block.shape[:-1])


def recover_many(values: Integers, xs: Integers) -> tuple[Secret | None, ...]:
    """Recover many secrets from the same holders, with one set of weights.

    Every share given is used and none is checked: for shares that may be wrong use `recover_verified`.

    Args:
        values: decoded shares, shape (secrets, holders, LIMBS), with as many holders as the threshold, or more.
        xs: the holders' x coordinates, shape (holders,).

    Returns:
        One secret each, or None where the value at zero is not 16 bytes, as happens when a share is wrong.

    Raises:
        ConfigError: a coordinate is out of range or there twice.
        MisuseError: a shape does not fit or a value is outside [0, p).
    """
    points = _require_points(xs)
    if values.ndim != 3 or values.shape[1] != len(points):
        raise MisuseError(f"values must have shape (secrets, {len(points)}, {LIMBS}), got {values.shape}")
    weights = field.lagrange(points, np.zeros(1, dtype=np.int64))
    limbs = np.empty((len(values), LIMBS), dtype=np.int64)
    for first in range(0, len(values), _SECRETS_BLOCK):
        part = values[first : first + _SECRETS_BLOCK]
        _require_values(part)
        limbs[first : first + len(part)] = field.matmul(weights, part.astype(np.float64))[:, 0]
    return _secrets(limbs)


def recover_verified(
    values: Integers,
    xs: Integers,
    *,
    threshold: int,
    verify: Callable[[Secret], bool],
    distrust: Sequence[float] | None = None,
) -> Recovery:
    """Recover one secret past wrong shares, and name the holders that sent them.

    Tried in turn, until a secret passes `verify`: the t least distrusted shares; the shares left by Reed-Solomon
    decoding, which never fails for up to half of the spare shares wrong and, short of a coincidence of probability
    about 1/p, corrects 7/8 of them when the lies are random; every subset, where there are at most
    `reed_solomon.SEARCH_LIMIT`, which corrects all spare shares. The first polynomial off more than half of the
    spare shares is held back for one that more shares agree on.

    Args:
        values: decoded valid shares, shape (R, LIMBS).
        xs: the holders' x coordinates, shape (R,).
        threshold: t.
        verify: whether a candidate opens the dealer's commitment or public key.
        distrust: one number a holder, higher for less trusted; changes the order of work, never the rules.

    Raises:
        ConfigError: the threshold or a coordinate is out of range.
        MisuseError: fewer than t shares, a shape that does not fit, or a value outside [0, p).
    """
    points = _require_points(xs)
    _require_values(values)
    if values.ndim != 2 or len(values) != len(points):
        raise MisuseError(f"values must have shape ({len(points)}, {LIMBS}), got {values.shape}")
    if not MIN_THRESHOLD <= threshold <= MAX_THRESHOLD:
        raise ConfigError(f"threshold={threshold} must be from {MIN_THRESHOLD} to {MAX_THRESHOLD}")
    if len(points) < threshold:
        raise MisuseError(f"{len(points)} shares cannot recover a secret of threshold={threshold}")
    if distrust is not None and len(distrust) != len(points):
        raise MisuseError(f"distrust must have one number for each of {len(points)} holders, got {len(distrust)}")
    order = np.argsort(np.zeros(len(points)) if distrust is None else np.asarray(distrust), kind="stable")
    return _judge(points, threshold, _attempts(values, points, threshold, order, verify))


def _attempts(
    values: Integers, points: Integers, threshold: int, order: Integers, verify: Callable[[Secret], bool]
) -> Iterator[_Attempt]:
    """Polynomials through t shares, in the order `recover_verified` states; the search ends at its first secret."""
    first = _attempt(values, points, order[:threshold], verify)
    yield first
    opened = first.secret is not None
    for errors in reed_solomon.suspects(points, values, threshold):
        attempt = _attempt(values, points, order[~errors[order]][:threshold], verify)
        yield attempt
        opened = opened or attempt.secret is not None
    if opened:
        return
    for left_out, limbs in reed_solomon.subsets(points, values, threshold, order):
        for row in np.flatnonzero(_are_secrets(limbs)):
            attempt = _attempt(values, points, np.setdiff1d(order, left_out[row]), verify)
            yield attempt
            if attempt.secret is not None:
                return


def _attempt(values: Integers, points: Integers, kept: Integers, verify: Callable[[Secret], bool]) -> _Attempt:
    """Interpolate through the holders at indexes `kept`, check the secret and see who agrees."""
    kept = np.sort(kept)  # one order, one entry in the cache of weights
    others = np.ones(len(points), dtype=np.bool_)
    others[kept] = False
    zero_and_others = np.concatenate([np.zeros(1, dtype=np.int64), points[others]])
    expected = field.matmul(field.lagrange(points[kept], zero_and_others), values[kept].astype(np.float64))
    agrees = ~others
    agrees[others] = (expected[1:] == values[others]).all(axis=1)
    (secret,) = _secrets(expected[:1].astype(np.int64))
    return _Attempt(secret if secret is not None and verify(secret) else None, agrees)


def _judge(points: Integers, threshold: int, attempts: Iterator[_Attempt]) -> Recovery:
    """Take the first polynomial of a secret that no other can beat, else the most agreed one."""
    unique = len(points) - (len(points) - threshold) // 2  # agreeing shares above which no other polynomial has more
    best = next(attempts)
    while best.secret is None or best.agrees.sum() < unique:
        attempt = next(attempts, None)
        if attempt is None:
            break
        worse, best = sorted((attempt, best), key=_rank)
        if worse.secret is not None:
            worse.secret.wipe()
    agreeing = int(best.agrees.sum())
    if best.secret is None:
        return Recovery(secret=None, bad_holders=(), dealer_at_fault=agreeing > threshold, agreeing=agreeing)
    bad = tuple(sorted(points[~best.agrees].tolist()))
    return Recovery(secret=best.secret, bad_holders=bad, dealer_at_fault=False, agreeing=agreeing)


def _rank(attempt: _Attempt) -> tuple[bool, int]:
    return attempt.secret is not None, int(attempt.agrees.sum())


def _require_points(xs: Integers) -> Integers:
    if xs.ndim != 1 or not np.issubdtype(xs.dtype, np.integer):
        raise ConfigError(f"xs must be a vector of integers, got {xs.dtype} of shape {xs.shape}")
    if len(xs) and not (int(xs.min()) >= 1 and int(xs.max()) < PRIME):
        raise ConfigError(f"xs must be from 1 to {PRIME - 1}, got {xs.min()} to {xs.max()}; use position + 1")
    if len(np.unique(xs)) != len(xs):
        raise ConfigError(f"xs must be distinct: {len(xs)} coordinates name {len(np.unique(xs))} holders")
    return xs.astype(np.int64)


def _require_values(values: Integers) -> None:
    if values.dtype != np.int64 or values.ndim == 0 or values.shape[-1] != LIMBS:
        raise MisuseError(f"share values are int64 of shape (..., {LIMBS}), got {values.dtype} of {values.shape}")
    if values.size and values.view(np.uint64).max() >= PRIME:  # a negative value is a large one without its sign
        raise MisuseError(f"share values must be from 0 to {PRIME - 1}; leave out shares that decode as invalid")


def _uniform(count: int, entropy: Entropy) -> Integers:
    """Draw `count` uniform field elements by rejection: 21 bits of each 4-byte little-endian word, again if not < p."""
    accepted = np.empty(0, dtype=np.int64)
    for _ in range(_MAX_DRAWS):
        missing = count - len(accepted)
        if missing == 0:
            return accepted
        drawn = entropy(_DRAW_BYTES * missing)
        if len(drawn) != _DRAW_BYTES * missing:
            raise MisuseError(f"entropy returned {len(drawn)} bytes where {_DRAW_BYTES * missing} were asked for")
        candidates = np.frombuffer(drawn, dtype="<u4").astype(np.int64) & ((1 << ELEMENT_BITS) - 1)
        accepted = np.concatenate([accepted, candidates[candidates < PRIME]])
    raise MisuseError(f"entropy is not random: {_MAX_DRAWS} draws in a row held an element that is not below p")


def _limbs(secrets: Sequence[Secret]) -> Integers:
    """Limbs of each secret, shape (len(secrets), LIMBS)."""
    for secret in secrets:
        if len(secret) != SECRET_SIZE:
            raise MisuseError(f"a secret to share has {SECRET_SIZE} bytes, got {len(secret)}")
    rows = np.zeros((len(secrets), -(-LIMBS * LIMB_BITS // 8)), dtype=np.uint8)
    joined = b"".join(secret.reveal() for secret in secrets)
    rows[:, :SECRET_SIZE] = np.frombuffer(joined, dtype=np.uint8).reshape(-1, SECRET_SIZE)
    return unpack_rows(rows, LIMB_BITS, LIMBS).astype(np.int64)


def _are_secrets(limbs: Integers) -> reed_solomon.Mask:
    """Which rows of limbs are 16 bytes: every limb below 2**20, and the last one below 2**8."""
    return (limbs < 1 << LIMB_BITS).all(axis=1) & (limbs[:, -1] < 1 << _LAST_LIMB_BITS)


def _secrets(limbs: Integers) -> tuple[Secret | None, ...]:
    """The secret each row of limbs is, or None."""
    recovered: list[Secret | None] = [None] * len(limbs)
    valid = np.flatnonzero(_are_secrets(limbs))
    rows = pack_rows(limbs[valid].astype(np.uint64), LIMB_BITS)[:, :SECRET_SIZE]
    for index, row in zip(valid.tolist(), rows, strict=True):
        recovered[index] = Secret(row.tobytes())
    return tuple(recovered)
