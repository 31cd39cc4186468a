"""Shares: 500-of-1000 splitting and recovery, with weights computed anew, and recovery past lying holders."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks import harness
from secagg import field, shamir
from secagg.primitives.secret import Secret
from secagg.types import system_entropy

HOLDERS = 1_000
THRESHOLD = 500
SECRETS = 1_000
RESPONDERS = 700
LIARS = 100
REPEATS = 7


def run() -> dict[str, float | int | str]:
    """Measure splitting, decoding, recovery of a cohort and recovery past lying holders, in CPU milliseconds."""
    xs = np.arange(1, HOLDERS + 1)
    secrets = [Secret(system_entropy(shamir.SECRET_SIZE)) for _ in range(SECRETS)]
    works: dict[str, harness.Work] = {
        "split_ms": partial(shamir.split, secrets[:1], threshold=THRESHOLD, xs=xs, entropy=system_entropy),
        "split_two_ms": partial(shamir.split, secrets[:2], threshold=THRESHOLD, xs=xs, entropy=system_entropy),
        **_recoveries(secrets, xs),
    }
    seconds = harness.cpu_seconds(works, repeats=REPEATS)
    sizes = {"holders": HOLDERS, "threshold": THRESHOLD, "liars_of_700": LIARS}
    return {**sizes, **{name: 1000 * taken for name, taken in seconds.items()}}


def _recoveries(secrets: list[Secret], xs: field.Integers) -> dict[str, harness.Work]:
    responders = xs[HOLDERS - RESPONDERS :]
    shares = shamir.split(secrets, threshold=THRESHOLD, xs=responders, entropy=system_entropy)
    one, _ = shamir.decode_shares(shares[0])
    lies = one.copy()
    lies[::7] = (lies[::7] + 1 + np.arange(shamir.LIMBS)) % field.PRIME
    block = shares[:, :THRESHOLD].copy()
    del shares
    values, _ = shamir.decode_shares(block)
    verified = partial(shamir.recover_verified, xs=responders, threshold=THRESHOLD, verify=secrets[0].__eq__)
    return {
        "decode_500000_shares_ms": partial(shamir.decode_shares, block),
        "recover_1000_ms": partial(_recover_afresh, values, responders[:THRESHOLD]),
        "recover_verified_ms": partial(verified, one),
        "recover_past_100_liars_ms": partial(verified, lies),
    }


def _recover_afresh(values: field.Integers, xs: field.Integers) -> None:
    field.forget_weights()
    shamir.recover_many(values, xs)
