"""Masks cancel: whoever survives, the sum of the inputs is what is left when the right masks are removed."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg import masking
from secagg.masking import accumulate, mask_input, pair_sign
from secagg.primitives import prg
from secagg.primitives.secret import Secret
from secagg.ring import Ring, Words
from secagg.testing.masks import net_mask, self_mask

Pair = tuple[int, int]

rings = st.integers(8, 64).map(Ring)
lengths = st.integers(0, 40)
seeds = st.integers(0, 2**32 - 1)
unhurried = settings(deadline=None)  # a busy machine is no failure


def fresh_keys(seed: int, count: int) -> list[Secret]:
    rng = np.random.default_rng(seed)
    return [Secret(rng.bytes(prg.STREAM_KEY_SIZE)) for _ in range(count)]


def fresh_input(ring: Ring, length: int, seed: int) -> Words:
    raw = np.random.default_rng(seed).integers(0, 2**64 - 1, length, dtype=np.uint64, endpoint=True)
    words: Words = (raw & np.uint64(ring.modulus - 1)).astype(ring.word)
    return words


def keys_around(position: int, pair_keys: dict[Pair, Secret]) -> dict[int, Secret]:
    """The keys a client shares, by the position of its neighbor."""
    return {sum(pair) - position: stream for pair, stream in pair_keys.items() if position in pair}


@unhurried
@given(rings, lengths, st.integers(2, 6), seeds, st.data())
def test_pairwise_masks_of_any_graph_sum_to_zero(
    ring: Ring, length: int, clients: int, seed: int, data: st.DataObject
) -> None:
    edges = data.draw(st.sets(st.sampled_from(list(itertools.combinations(range(clients), 2)))))
    self_keys = fresh_keys(seed, clients)
    pair_keys = dict(zip(sorted(edges), fresh_keys(seed + 1, len(edges)), strict=True))
    total = np.zeros(length, dtype=ring.word)
    for position, self_key in enumerate(self_keys):
        total += net_mask(position, self_key, keys_around(position, pair_keys), ring=ring, length=length)
        total -= self_mask(self_key, ring=ring, length=length)
    ring.reduce(total)
    assert not total.any()


@unhurried
@given(rings, lengths, st.integers(2, 6), seeds, st.data())
def test_a_server_left_with_survivors_unmasks_exactly_their_sum(
    ring: Ring, length: int, clients: int, seed: int, data: st.DataObject
) -> None:
    """A round without the messages: clients mask packed inputs, the server adds them and removes what is left."""
    survivors = sorted(data.draw(st.sets(st.integers(0, clients - 1), min_size=1)))
    self_keys = fresh_keys(seed, clients)
    pairs = list(itertools.combinations(range(clients), 2))
    pair_keys = dict(zip(pairs, fresh_keys(seed + 1, len(pairs)), strict=True))
    inputs = [fresh_input(ring, length, seed + position) for position in range(clients)]
    aggregate = np.zeros(length, dtype=ring.word)
    plus: list[Secret] = []
    minus: list[Secret] = []
    for position in survivors:
        around = keys_around(position, pair_keys)
        added = [around[peer] for peer in around if pair_sign(position, peer) == 1]
        subtracted = [around[peer] for peer in around if pair_sign(position, peer) == -1]

        def read(start: int, stop: int, words: Words = inputs[position]) -> Words:
            return words[start:stop].copy()

        upload = mask_input(read, ring=ring, length=length, plus=[self_keys[position], *added], minus=subtracted)
        ring.add_packed(aggregate, upload)
        minus.append(self_keys[position])
        for peer in set(around) - set(survivors):
            (minus if pair_sign(position, peer) == 1 else plus).append(around[peer])
    accumulate(aggregate, plus=plus, minus=minus)
    ring.reduce(aggregate)
    expected = [sum(int(inputs[position][i]) for position in survivors) % ring.modulus for i in range(length)]
    assert aggregate.tolist() == expected


@unhurried
@given(rings, seeds)
def test_one_mask_left_in_spoils_the_sum(ring: Ring, seed: int) -> None:
    """The checks above can fail: a mask that nobody removed is not zero."""
    assert self_mask(fresh_keys(seed, 1)[0], ring=ring, length=16).any()


@unhurried
@given(
    st.sampled_from([np.uint32, np.uint64]),
    st.integers(0, 300),
    st.integers(0, 4),
    st.integers(0, 4),
    st.integers(0, 50),
    st.sampled_from([128, 384, 4096]),
    st.integers(1, 4),
    seeds,
)
def test_the_kernel_does_not_depend_on_chunk_start_or_workers(
    word: type[np.uint32 | np.uint64],
    length: int,
    plus: int,
    minus: int,
    place: int,
    chunk: int,
    workers: int,
    seed: int,
) -> None:
    streams = fresh_keys(seed, plus + minus)
    start = place * masking.SPLIT_WORDS
    ring = Ring(8 * np.dtype(word).itemsize)
    expected = np.zeros(start + length, dtype=word)
    for index, stream in enumerate(streams):
        mask = self_mask(stream, ring=ring, length=start + length)
        expected += mask if index < plus else -mask
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as executor:
        patch.setattr(masking, "CHUNK_BYTES", chunk)
        patch.setattr(masking, "SHARED_CHUNK_BYTES", chunk)
        patch.setattr(masking, "MIN_BYTES_PER_WORKER", 1)
        acc = np.zeros(length, dtype=word)
        accumulate(acc, plus=streams[:plus], minus=streams[plus:], start=start, executor=executor, workers=workers)
    assert acc.tolist() == expected[start:].tolist()
