"""The graph nobody chose: regular, symmetric, connected whoever drops out, and uniform over the seeds."""

from __future__ import annotations

import collections
import hashlib
import hmac
import itertools
import math
import struct
from collections.abc import Collection, Iterator
from typing import Final

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import ECB
from hypothesis import given, settings
from hypothesis import strategies as st

from secagg import graph
from secagg.errors import ConfigError
from secagg.graph import Graph, complete, permutation, regular

WORDS: Final = 1 << 64
FALSE_ALARM: Final = 1e-9
"""Odds that an ideal generator fails one of the statistical tests here; their seeds are fixed, so it is drawn once."""

unhurried = settings(deadline=None)
shapes = st.integers(4, 60).flatmap(
    lambda clients: st.tuples(st.just(clients), st.integers(1, (clients - 2) // 2).map(lambda half: 2 * half))
)
seeds = st.binary(min_size=32, max_size=32)


def seed_of(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


def chi_square_tail(statistic: float, freedom: int) -> float:
    """P[X >= statistic] for X of the chi-square law: Q(freedom / 2, statistic / 2), by its recurrence."""
    half, power = statistic / 2, (freedom % 2) / 2
    tail = math.erfc(math.sqrt(half)) if freedom % 2 else 0.0
    while power < freedom / 2:
        tail += math.exp(power * math.log(half) - half - math.lgamma(power + 1))
        power += 1
    return tail


def test_the_tail_of_the_chi_square_law_is_that_of_the_tables() -> None:
    # Upper 0.001 quantiles, NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.4.
    for freedom, quantile in ((1, 10.828), (2, 13.816), (5, 20.515), (30, 59.703), (59, 98.324), (100, 149.449)):
        assert chi_square_tail(quantile, freedom) == pytest.approx(0.001, rel=2e-3)


# Shape.


@unhurried
@given(shapes, seeds)
def test_a_regular_graph_is_regular_symmetric_and_without_loops(shape: tuple[int, int], seed: bytes) -> None:
    clients, degree = shape
    drawn = regular(clients, degree, seed)
    around = [drawn.neighbors(position) for position in range(clients)]
    for position, neighbors in enumerate(around):
        assert len(neighbors) == degree
        assert list(neighbors) == sorted(set(neighbors))
        assert position not in neighbors
        assert all(position in around[peer] for peer in neighbors)
    assert sorted(drawn.circle) == list(range(clients))
    assert [drawn.circle[place] for place in drawn.places] == list(range(clients))


@unhurried
@given(shapes, seeds)
def test_neighbors_stand_within_half_the_degree_on_the_circle(shape: tuple[int, int], seed: bytes) -> None:
    clients, degree = shape
    drawn = regular(clients, degree, seed)
    for position in range(clients):
        for peer in drawn.neighbors(position):
            gap = abs(drawn.places[position] - drawn.places[peer])
            assert 1 <= min(gap, clients - gap) <= degree // 2


@pytest.mark.parametrize("clients", [2, 3, 20])
def test_the_complete_graph_joins_everyone_with_everyone(clients: int) -> None:
    drawn = complete(clients)
    assert drawn.degree == clients - 1
    for position in range(clients):
        assert set(drawn.neighbors(position)) == set(range(clients)) - {position}
        assert list(drawn.neighbors(position)) == sorted(drawn.neighbors(position))


@pytest.mark.parametrize(("clients", "degree"), [(10, 0), (10, -2), (10, 3), (10, 9), (10, 10), (4, 4), (3, 2)])
def test_a_degree_that_is_none_is_refused(clients: int, degree: int) -> None:
    with pytest.raises(ConfigError, match=f"for {clients} clients, got {degree}"):
        regular(clients, degree, bytes(32))


@unhurried
@given(shapes, seeds, st.integers(0, 255))
def test_a_graph_is_a_function_of_its_seed(shape: tuple[int, int], seed: bytes, bit: int) -> None:
    drawn = regular(*shape, seed)
    regular.cache_clear()
    assert regular(*shape, seed) == drawn
    changed = bytearray(seed)
    changed[bit // 8] ^= 1 << bit % 8
    if shape[0] >= 40:  # two orders of 40 agree with odds of 1 in 40!, about 2^-159
        assert regular(*shape, bytes(changed)).circle != drawn.circle


def reference_words(seed: bytes) -> Iterator[int]:
    """The stream of a seed with nothing of ours but its label: HKDF-SHA256 by hand, counter mode block by block."""
    extracted = hmac.digest(bytes(32), seed, "sha256")
    name = hmac.digest(extracted, b"secagg/v1/expand/graph\0\1", "sha256")[:28]
    block = Cipher(AES128(name[:16]), ECB()).encryptor()  # noqa: S305  # single blocks, to build counter mode from
    for counter in itertools.count(2):  # one segment is enough for 65,536 blocks of two words
        yield from struct.unpack("<2Q", block.update(name[16:] + counter.to_bytes(4, "big")))


def reference_order(count: int, seed: bytes) -> tuple[int, ...]:
    words, order = reference_words(seed), list(range(count))
    for last in range(count - 1, 0, -1):
        accepted = (word for word in words if word < WORDS // (last + 1) * (last + 1))
        swap = next(accepted) % (last + 1)
        order[last], order[swap] = order[swap], order[last]
    return tuple(order)


@pytest.mark.parametrize("count", [1, 2, 12, 1000])
def test_the_order_of_a_seed_is_that_of_the_specification(count: int) -> None:
    for number in range(5):
        assert permutation(count, seed_of(number)) == reference_order(count, seed_of(number))


def test_the_order_of_a_seed_is_fixed_for_good() -> None:
    # Another answer is another protocol: every client must draw the same graph.
    assert permutation(12, bytes(32)) == (9, 11, 6, 10, 4, 2, 0, 7, 5, 3, 8, 1)
    assert regular(12, 4, bytes(32)).neighbors(0) == (2, 4, 5, 7)


# Connectivity.


def is_connected(drawn: Graph, kept: Collection[int]) -> bool:
    start = next(iter(kept))
    seen, edge = {start}, [start]
    while edge:
        found = [peer for peer in drawn.neighbors(edge.pop()) if peer in kept and peer not in seen]
        seen.update(found)
        edge += found
    return len(seen) == len(kept)


@pytest.mark.parametrize(("clients", "degree"), [(n, k) for n in range(4, 11) for k in range(2, n - 1, 2)], ids=str)
def test_no_fewer_than_degree_drop_outs_disconnect_the_graph(clients: int, degree: int) -> None:
    # Harary 1962: the circulant graph is k-connected. Removing all but 2 or more of the positions, every way.
    drawn = regular(clients, degree, seed_of(clients))
    everyone = set(range(clients))
    for gone in itertools.combinations(range(clients), degree - 1):
        assert is_connected(drawn, everyone - set(gone)), gone


def test_a_client_whose_neighbors_all_drop_is_cut_off() -> None:
    drawn = regular(9, 4, seed_of(1))
    assert not is_connected(drawn, set(range(9)) - set(drawn.neighbors(3)))


# Uniformity.


def test_every_order_of_few_is_equally_likely() -> None:
    trials = 12_000
    counts = collections.Counter(permutation(4, seed_of(number)) for number in range(trials))
    expected = trials / math.factorial(4)
    statistic = sum((counts[order] - expected) ** 2 / expected for order in itertools.permutations(range(4)))
    assert chi_square_tail(statistic, math.factorial(4) - 1) > FALSE_ALARM


def test_every_pair_is_joined_equally_often() -> None:
    # Over uniform orders the indicators of the pairs {i, j} have mean p = k/(n-1), and their covariance commutes with
    # every relabelling. So it has the three eigenspaces of the Johnson scheme J(n, 2): zero on the first two (all
    # edges together, and the edges of a client, are constant), and one eigenvalue on the third, of dimension
    # n(n-3)/2, which the trace n(n-1)/2 * p(1-p) makes (n-1)/(n-3) * p(1-p). The statistic below is thus chi-square
    # with n(n-3)/2 degrees of freedom.
    clients, degree, trials = 11, 4, 4_000
    counts: collections.Counter[tuple[int, int]] = collections.Counter()
    for number in range(trials):
        drawn = regular.__wrapped__(clients, degree, seed_of(number))
        counts.update((i, j) for i in range(clients) for j in drawn.neighbors(i) if i < j)
    share = degree / (clients - 1)
    eigenvalue = (clients - 1) / (clients - 3) * share * (1 - share)
    pairs = itertools.combinations(range(clients), 2)
    statistic = sum((counts[pair] - trials * share) ** 2 for pair in pairs) / (trials * eigenvalue)
    assert chi_square_tail(statistic, clients * (clients - 3) // 2) > FALSE_ALARM
    assert chi_square_tail(statistic, clients * (clients - 3) // 2) < 1 - FALSE_ALARM  # nor is it too even


def test_every_place_in_the_circle_is_as_likely_for_everyone() -> None:
    clients, trials = 10, 4_000
    counts = collections.Counter(
        (place, client)
        for number in range(trials)
        for place, client in enumerate(permutation(clients, seed_of(number)))
    )
    # A table of permutation counts: (n-1)^2 degrees of freedom after the factor (n-1)/n.
    expected = trials / clients
    statistic = sum((counts[place, client] - expected) ** 2 for place in range(clients) for client in range(clients))
    assert chi_square_tail(statistic / expected * (clients - 1) / clients, (clients - 1) ** 2) > FALSE_ALARM


# Rejection.


def shuffled_by(words: list[int], count: int, monkeypatch: pytest.MonkeyPatch) -> tuple[tuple[int, ...], int]:
    """The order a stream of words gives, and how many of them it took."""
    taken = 0

    def crafted(seed: bytes, batch: int) -> Iterator[int]:
        nonlocal taken
        for word in words:
            taken += 1
            yield word

    monkeypatch.setattr(graph, "_words", crafted)
    return permutation(count, bytes(32)), taken


def test_the_shuffle_swaps_from_the_back(monkeypatch: pytest.MonkeyPatch) -> None:
    # Knuth's algorithm P: swap index word % 4 with 3, word % 3 with 2, word % 2 with 1.
    assert shuffled_by([0, 0, 0], 4, monkeypatch) == ((1, 2, 3, 0), 3)
    assert shuffled_by([3, 2, 1], 4, monkeypatch) == ((0, 1, 2, 3), 3)
    assert shuffled_by([7, 5, 2], 4, monkeypatch) == ((1, 0, 2, 3), 3)


@pytest.mark.parametrize("choices", [3, 5, 6, 7, 10, 1000, 65_535])
def test_a_word_beyond_the_last_whole_cycle_is_drawn_again(choices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cycle_end = WORDS - WORDS % choices
    rest = [0] * choices  # zeros are never drawn again
    plain, taken = shuffled_by([1, *rest], choices, monkeypatch)
    assert taken == choices - 1
    for word in (cycle_end, WORDS - 1):  # the first word beyond, and the last
        assert shuffled_by([word, word, 1, *rest], choices, monkeypatch) == (plain, taken + 2)
    last, taken_last = shuffled_by([cycle_end - 1, *rest], choices, monkeypatch)
    assert last == shuffled_by([choices - 1, *rest], choices, monkeypatch)[0]
    assert taken_last == choices - 1


@pytest.mark.parametrize("choices", [2, 4, 8, 65_536])
def test_where_words_divide_evenly_none_is_drawn_again(choices: int, monkeypatch: pytest.MonkeyPatch) -> None:
    order, taken = shuffled_by([WORDS - 1, *([0] * choices)], choices, monkeypatch)
    assert order == shuffled_by([choices - 1, *([0] * choices)], choices, monkeypatch)[0]
    assert taken >= choices - 1


def test_the_accepted_words_hit_every_index_equally_often() -> None:
    # What the rule accepts is a whole number of cycles, for every number of choices a graph can ask for.
    for choices in (*range(1, 3000), 65_535, 65_536):
        assert (WORDS - WORDS % choices) % choices == 0
        assert WORDS % choices < choices


def test_the_words_of_a_seed_are_an_endless_stream() -> None:
    small, large = graph._words(bytes(32), 3), graph._words(bytes(32), 50)
    assert [next(small) for _ in range(100)] == [next(large) for _ in range(100)]
    drawn = [next(large) for _ in range(200)]
    assert all(0 <= word < WORDS for word in drawn)
    assert max(drawn) > WORDS // 2  # all 64 bits are used
