"""Masks of real keys against a fair coin: each bit plane, the whole range, one mask against another, every process.

The keys are fresh on every run. False alarms, all bounds without approximation:

* a count of N fair coins is `SIGMAS` = 8 standard deviations off with odds below 2 exp(-32) = 3e-14 (Hoeffding 1963);
  some 2,000 are taken: below 6e-11;
* the linear complexity of N fair bits is `SLACK` = 28 or more from N / 2 with odds below 2^-54 (Rueppel 1986, chapter
  4: the counts are exact and are held against all short sequences below); some 300 are taken: below 2e-14;
* a value that is expected 64 times is missed with odds below exp(-64); 10,000 are looked for: below 2e-24;
* two draws of 128 bits or more are equal with odds below 2^-128; noise of 64 samples with odds below 2^-300.

The whole file is red by chance in less than 1 run of 10^10.
"""

from __future__ import annotations

import collections
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from secagg.pairwise import keys
from secagg.primitives import agreement
from secagg.primitives.prg import STREAM_KEY_SIZE
from secagg.primitives.secret import Secret
from secagg.ring import Ring
from secagg.testing import masks

ROOT = Path(__file__).resolve().parents[2]
SIGMAS = 8.0
SLACK = 28
PLANE = 4_096
"""Bits of a plane whose complexity is taken."""

Bits = npt.NDArray[np.bool_]
Lanes = npt.NDArray[np.uint64]


def fresh_key() -> Secret:
    return Secret(os.urandom(STREAM_KEY_SIZE))


def mask_of(key: Secret, bits: int, length: int) -> Lanes:
    return masks.self_mask(key, ring=Ring(bits), length=length).astype(np.uint64)


def plane(words: Lanes, bit: int) -> Bits:
    return (words >> np.uint64(bit) & np.uint64(1)).astype(np.bool_)


def assert_fair(coins: Bits) -> None:
    """As many heads as tails, within SIGMAS standard deviations."""
    assert abs(int(coins.sum()) - coins.size / 2) < SIGMAS * coins.size**0.5 / 2


# Linear complexity.


def linear_complexity(bits: Bits) -> int:
    """Length of the shortest linear feedback shift register that makes these bits (Massey 1969).

    Polynomials and the bits seen so far are integers, so a step is a shift, an AND and a count of ones.
    """
    connection, previous, length, since = 1, 1, 0, 1
    seen = 0  # bit j is the bit j places back
    for place, bit in enumerate(bits.tolist()):
        seen = seen << 1 | bit
        if not (connection & seen).bit_count() & 1:
            since += 1
        elif 2 * length <= place:
            connection, previous = connection ^ previous << since, connection
            length, since = place + 1 - length, 1
        else:
            connection ^= previous << since
            since += 1
    return length


def number_with(length: int, complexity: int) -> int:
    """How many of the 2**length sequences have this complexity (Rueppel 1986, proposition 4.2)."""
    return 1 if complexity == 0 else 1 << min(2 * (length - complexity), 2 * complexity - 1)


def assert_complex(bits: Bits) -> None:
    """No shift register much shorter, nor longer, than half the bits makes them."""
    assert abs(linear_complexity(bits) - len(bits) / 2) < SLACK


@pytest.mark.parametrize("length", range(1, 13))
def test_the_complexities_of_all_short_sequences_are_those_of_the_theory(length: int) -> None:
    counts = collections.Counter(
        linear_complexity(np.array(sequence, dtype=np.bool_)) for sequence in itertools.product((0, 1), repeat=length)
    )
    assert counts == {complexity: number_with(length, complexity) for complexity in range(length + 1)}


def test_a_plane_of_fair_bits_is_within_the_slack_but_for_the_odds_stated() -> None:
    within = [number_with(PLANE, complexity) for complexity in range(PLANE // 2 - SLACK + 1, PLANE // 2 + SLACK)]
    assert 1 - Fraction(sum(within), 1 << PLANE) < Fraction(1, 1 << 54)


def test_a_shift_register_has_its_own_length() -> None:
    """x^31 + x^3 + 1 is primitive: its sequences need 31 places and no more."""
    state = [1] + [0] * 30
    for place in range(31, 1_000):
        state.append(state[place - 31] ^ state[place - 28])
    assert linear_complexity(np.array(state, dtype=np.bool_)) == 31


@pytest.mark.parametrize("bits", [8, 20, 33, 64])
def test_every_bit_plane_of_a_mask_is_fair_and_as_complex_as_chance(bits: int) -> None:
    words = mask_of(fresh_key(), bits, PLANE)
    for bit in range(bits):
        assert_fair(plane(words, bit))
        assert_complex(plane(words, bit))


def test_a_mask_read_bit_by_bit_is_fair_and_as_complex_as_chance() -> None:
    """Across words too, in the order of the wire."""
    stream = np.unpackbits(
        np.frombuffer(Ring(32).pack(masks.self_mask(fresh_key(), ring=Ring(32), length=512)), np.uint8)
    )
    assert_fair(stream.astype(np.bool_))
    assert_complex(stream.astype(np.bool_))


# The whole range.


@pytest.mark.parametrize("bits", [8, 12])
def test_every_value_of_a_small_ring_is_reached_and_none_beyond(bits: int) -> None:
    words = mask_of(fresh_key(), bits, 64 << bits)
    counts = np.bincount(words.astype(np.int64))
    assert len(counts) == 1 << bits
    assert counts.all()


@pytest.mark.parametrize("bits", [20, 32, 33, 47, 63, 64])
def test_a_large_ring_is_filled_to_both_ends(bits: int) -> None:
    """Cut into 1,024 equal parts, by the top bits and by the bottom ones, each has a word."""
    words = mask_of(fresh_key(), bits, 1 << 16)
    assert int(words.max()) < 1 << bits
    top, bottom = words >> np.uint64(bits - 10), words & np.uint64(1023)
    for part in (top, bottom):
        assert np.bincount(part.astype(np.int64), minlength=1024).all()


def test_a_negated_mask_reaches_every_value_too() -> None:
    words = masks.pairwise_mask(fresh_key(), ring=Ring(8), length=64 << 8, sign=-1)
    assert np.bincount(words.astype(np.int64), minlength=256).all()


# One mask against another.


class Client:
    """One client of a fresh round: its secrets, and its end of a pair."""

    def __init__(self, root: bytes, *, config: bytes, position: int) -> None:
        self.config, self.position = config, position
        self.secrets = keys.round_secrets(Secret(root), config_digest=config, position=position)
        self.endpoint = keys.Endpoint(position, agreement.public_key(self.secrets.mask_private))

    def self_key(self) -> Secret:
        return keys.self_mask_key(self.secrets.self_mask_seed, config_digest=self.config, box=self.secrets.box)

    def pair_key(self, peer: keys.Endpoint, roster: bytes) -> Secret:
        return keys.pairwise_mask_key(
            self.secrets.mask_private, self.endpoint, peer, config_digest=self.config, roster_digest=roster
        )


def masks_that_must_not_agree() -> Iterator[tuple[str, Secret]]:
    """Keys that differ in one thing: round, roster, position, peer, client, or what they are for."""
    root, another, config, next_config, roster, next_roster = (os.urandom(32) for _ in range(6))
    one, two, three = (Client(root, config=config, position=position) for position in range(3))
    later = Client(root, config=next_config, position=0)
    stranger = Client(another, config=config, position=0)
    yield "self", one.self_key()
    yield "self, another position", two.self_key()
    yield "self, the next round", later.self_key()
    yield "self, another client", stranger.self_key()
    yield "pair", one.pair_key(two.endpoint, roster)
    yield "pair, another peer", one.pair_key(three.endpoint, roster)
    yield "pair, another roster", one.pair_key(two.endpoint, next_roster)
    yield "pair, the next round", later.pair_key(two.endpoint, roster)
    yield "pair, another client", stranger.pair_key(two.endpoint, roster)
    yield "coefficients", coefficients(root, config, roster)


def coefficients(root: bytes, config: bytes, roster: bytes) -> Secret:
    """A stream that is no mask, of the same secret: 28 bytes of it name a mask of their own here."""
    with keys.coefficient_entropy(Secret(root), config_digest=config, roster_digest=roster) as draw:
        return Secret(draw(STREAM_KEY_SIZE))


def test_masks_that_differ_in_one_thing_are_independent_in_every_plane() -> None:
    words = {what: mask_of(key, 32, PLANE) for what, key in masks_that_must_not_agree()}
    for one, other in itertools.combinations(words.values(), 2):
        for bit in range(32):
            assert_fair(plane(one ^ other, bit))
        assert_fair(plane(one + other, 31))  # not by carries either
    for one, other in itertools.pairwise(words.values()):
        assert_complex(plane(one ^ other, 0))


def test_a_mask_is_independent_of_itself_some_places_on() -> None:
    words = mask_of(fresh_key(), 32, PLANE + 1_024)
    for lag in (1, 2, 4, 16, 1_024):  # neighbors, one block, blocks
        for bit in range(32):
            assert_fair(plane(words[:PLANE] ^ words[lag : lag + PLANE], bit))


def test_neighboring_planes_are_independent() -> None:
    words = mask_of(fresh_key(), 64, PLANE)
    for bit in range(63):
        assert_fair(plane(words ^ words >> np.uint64(1), bit))


# These checks can fail.


def counting(length: int) -> Lanes:
    return np.arange(length, dtype=np.uint64)


def xorshift(length: int) -> Lanes:
    """Marsaglia's xorshift64: uniform to a count of ones, and linear in every plane."""
    words, state = np.empty(length, dtype=np.uint64), 0x9E3779B97F4A7C15
    for place in range(length):
        state ^= state << 13 & (1 << 64) - 1
        state ^= state >> 7
        state ^= state << 17 & (1 << 64) - 1
        words[place] = state
    return words


@pytest.mark.parametrize("generator", [counting, xorshift])
def test_a_weak_generator_is_seen_in_every_plane(generator: Callable[[int], Lanes]) -> None:
    words = generator(PLANE)
    for bit in range(0, 64, 9):
        assert linear_complexity(plane(words, bit)) <= PLANE // 2 - SLACK


def test_one_coin_in_ten_that_shows_the_same_side_is_seen() -> None:
    loaded = plane(mask_of(fresh_key(), 32, PLANE * 4), 0)
    loaded[::10] = True
    with pytest.raises(AssertionError):
        assert_fair(loaded)


# Processes.


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_no_process_draws_what_another_drew(method: str) -> None:
    """Keys, commitments, identities and noise: of three children and their parent no two are alike."""
    command = [sys.executable, "-m", "tests.support.offspring", method]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120, check=True)  # noqa: S603  # our own
    drawn: dict[str, list[str]] = json.loads(done.stdout)
    assert len(drawn) == 13
    for what, values in drawn.items():
        assert len(set(values)) == 4, what
    everything = [value for values in drawn.values() for value in values]
    assert len(set(everything)) == len(everything)
