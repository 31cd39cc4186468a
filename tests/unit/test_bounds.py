"""Tail bounds: against exact integers, against every placement on small circles, against public reference values."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from secagg import bounds
from secagg.errors import ConfigError

VECTORS = Path(__file__).parents[1] / "vectors" / "secaggplus_params.csv"
ROWS = tuple(csv.DictReader(VECTORS.read_text(encoding="ascii").splitlines()))
ON_CIRCLE = tuple(row for row in ROWS if row["graph"] == "harary")
SEMI_HONEST = tuple(row for row in ON_CIRCLE if row["adversary"] == "semi_honest")

# Exact integers: a probability is a count of ways over a count of ways, and a bound is a comparison of products.


def ways(population: int, marked: int, draws: int, hits: range) -> int:
    return sum(
        math.comb(marked, x) * math.comb(population - marked, draws - x)
        for x in hits
        if 0 <= x <= marked and 0 <= draws - x <= population - marked
    )


def log2_ratio(part: int, whole: int) -> float:
    return math.log2(part) - math.log2(whole) if part else -math.inf


def exact_e1(n: int, m: int, k: int, t: int, bits: int) -> bool:
    return (n * ways(n - 1, m, k, range(t, k + 1)) << bits) <= math.comb(n - 1, k)


def exact_e2(n: int, m: int, d: int, k: int, bits: int) -> bool:
    return (n * (n - k - 1) * math.comb(m + d, k) << bits) <= 2 * math.comb(n, k)


def exact_e3(n: int, d: int, k: int, t: int, bits: int) -> bool:
    return (n * ways(n - 1, n - d - 1, k, range(t)) << bits) <= math.comb(n - 1, k)


def first_pair_by_scan(n: int, m: int, d: int) -> tuple[int, int] | None:
    """The smallest even degree below n - 1 at which any threshold will do, and the smallest such threshold."""
    for k in range(2, n - 1, 2):
        if exact_e2(n, m, d, k, 41):
            for t in range(2, k + 1):
                if exact_e1(n, m, k, t, 41):
                    if exact_e3(n, d, k, t, 30):
                        return k, t
                    break  # a larger threshold loses secrets more often still
    return None


def test_reference_file_is_complete() -> None:
    assert (len(ROWS), len(ON_CIRCLE), len(SEMI_HONEST)) == (144, 127, 48)


@pytest.mark.parametrize("row", SEMI_HONEST, ids=lambda row: f"{row['n']}-{row['corrupt']}-{row['dropped']}")
def test_smallest_degree_equals_the_reference(row: dict[str, str]) -> None:
    n, m, d, k = (int(row[name]) for name in ("n", "corrupt", "dropped", "k"))
    bits = {"security_bits": int(row["sigma"]), "correctness_bits": int(row["eta"])}
    assert bounds.smallest_degree(clients=n, corrupt=m, dropped=d, **bits) == (k, int(row["t_min"]))
    assert bounds.smallest_threshold(clients=n, corrupt=m, degree=k) == int(row["t_min"])
    assert bounds.largest_threshold(clients=n, dropped=d, degree=k) == int(row["t_max"])


def test_odds_equal_the_reference() -> None:
    """Every row on a circle, other adversaries too: c_max is the largest count of corrupt neighbors E1 tolerates."""
    for row in ON_CIRCLE:
        n, m, d, k = (int(row[name]) for name in ("n", "corrupt", "dropped", "k"))
        ours = (
            bounds.log2_secrets_opened(clients=n, corrupt=m, degree=k, threshold=int(row["c_max"]) + 1),
            bounds.log2_disconnected(clients=n, corrupt=m, dropped=d, degree=k),
            bounds.log2_unrecoverable(clients=n, dropped=d, degree=k, threshold=int(row["t_min"])),
        )
        theirs = tuple(float(row[name]) for name in ("log2_p_E1", "log2_p_E2", "log2_p_E3_at_tmin"))
        assert ours == pytest.approx(theirs, abs=0.00501), row


@pytest.mark.parametrize(
    ("clients", "expected"),
    [
        # shares corrupt/dropped: .05/.05, .05/.33, .1/.1, .2/.2, .33/.05, .33/.33
        (300, [(26, 14), (58, 16), (42, 22), (80, 42), (64, 49), (172, 88)]),
        (3000, [(36, 20), (94, 29), (58, 31), (126, 66), (96, 71), (412, 211)]),
        (10_000, [(38, 21), (102, 32), (60, 32), (136, 71), (104, 77), (480, 246)]),
    ],
)
def test_smallest_degree_equals_the_reference_table(clients: int, expected: list[tuple[int, int]]) -> None:
    shares = [(5, 5), (5, 33), (10, 10), (20, 20), (33, 5), (33, 33)]
    found = [
        bounds.smallest_degree(clients=clients, corrupt=clients * m // 100, dropped=clients * d // 100)
        for m, d in shares
    ]
    assert found == expected


def test_a_billion_clients_need_fewer_than_a_thousand_neighbors() -> None:
    """The abstract of Bell et al. 2020 puts a billion clients at the cost of a thousand on the complete graph."""
    n = 10**9
    degrees = [
        bounds.smallest_degree(clients=n, corrupt=share, dropped=share).degree for share in (n // 20, n // 5, n // 3)
    ]
    assert degrees == [52, 190, 716]


def test_smallest_degree_is_the_first_one_a_scan_in_exact_integers_finds() -> None:
    for n in (4, 5, 6, 7, 10, 13, 24, 25):
        for m, d in itertools.product(range(n), repeat=2):
            found = bounds.find_degree(clients=n, corrupt=m, dropped=d, security_bits=40, correctness_bits=30)
            expected = first_pair_by_scan(n, m, d) if n - m - d >= 2 else None
            assert found == expected, (n, m, d)


@pytest.mark.parametrize("row", [row for row in SEMI_HONEST if int(row["k"]) <= 60], ids=lambda row: row["k"])
def test_reference_rows_hold_in_exact_integers_and_no_smaller_degree_does(row: dict[str, str]) -> None:
    n, m, d = (int(row[name]) for name in ("n", "corrupt", "dropped"))
    assert first_pair_by_scan(n, m, d) == (int(row["k"]), int(row["t_min"]))


def test_degree_is_smallest_where_feasibility_comes_and_goes() -> None:
    """The reason for a search without a bisection over degrees: a degree can do where the next even one does not."""
    n, m, d = 1000, 14, 492

    def will_do(k: int) -> bool:
        lowest = bounds.smallest_threshold(clients=n, corrupt=m, degree=k)
        highest = bounds.largest_threshold(clients=n, dropped=d, degree=k)
        return lowest <= highest and exact_e2(n, m, d, k, 41)

    good = [k for k in range(2, 100, 2) if will_do(k)]
    assert good[:2] == [86, 90]
    assert bounds.smallest_degree(clients=n, corrupt=m, dropped=d) == (86, 14)


@pytest.mark.parametrize(
    ("population", "marked", "draws", "hits"),
    [
        (9_999, 500, 38, 21),
        (9_999, 3_300, 480, 246),
        (9_999, 5_000, 5_000, 4_999),
        (65_535, 655, 40_000, 600),
        (65_535, 20_000, 480, 246),
        (65_535, 32_000, 4_000, 2_200),
        (65_535, 655, 38_688, 655),
    ],
)
def test_tails_of_large_populations_agree_with_exact_integers(
    population: int, marked: int, draws: int, hits: int
) -> None:
    whole = math.comb(population, draws)
    part = term = math.comb(marked, hits) * math.comb(population - marked, draws - hits)
    for x in range(hits, min(marked, draws)):
        term = term * (marked - x) * (draws - x) // ((x + 1) * (population - marked - draws + x + 1))
        part += term
    above = bounds.log2_tail_at_least(population=population, marked=marked, draws=draws, hits=hits)
    below = bounds.log2_tail_below(population=population, marked=marked, draws=draws, hits=hits)
    assert above == pytest.approx(log2_ratio(part, whole), abs=bounds.ROUNDING_BITS)
    assert below == pytest.approx(log2_ratio(whole - part, whole), abs=bounds.ROUNDING_BITS)


def test_tails_at_their_ends() -> None:
    tail = bounds.log2_tail_at_least
    assert tail(population=10, marked=4, draws=8, hits=2) == 0.0  # two draws must be marked
    assert tail(population=10, marked=4, draws=8, hits=-5) == 0.0
    assert tail(population=10, marked=4, draws=8, hits=5) == -math.inf
    assert tail(population=10, marked=4, draws=8, hits=4) == pytest.approx(log2_ratio(15, 45))
    assert tail(population=0, marked=0, draws=0, hits=0) == 0.0
    assert bounds.log2_tail_below(population=10, marked=4, draws=8, hits=2) == -math.inf
    assert bounds.log2_tail_below(population=10, marked=4, draws=8, hits=5) == 0.0


def test_a_near_certainty_keeps_its_distance_from_one() -> None:
    """A sum of nearly all terms would round to certain; one minus the other tail does not."""
    question = {"population": 9_999, "marked": 3_300, "draws": 480, "hits": 80}
    missed = 2.0 ** bounds.log2_tail_below(**question)
    assert 0 < missed < 1e-12
    assert bounds.log2_tail_at_least(**question) == pytest.approx(-missed / math.log(2), rel=1e-9, abs=0)


@pytest.mark.parametrize("wrong", [{"marked": 11}, {"draws": -1}, {"marked": True}, {"draws": 2.0}])
def test_tails_refuse_what_is_not_in_the_population(wrong: dict[str, int]) -> None:
    for tail in (bounds.log2_tail_at_least, bounds.log2_tail_below):
        with pytest.raises(ConfigError, match="must be an integer from 0 to 10"):
            tail(**{"population": 10, "marked": 4, "draws": 5, "hits": 2} | wrong)


def fraction(n: int, size: int, event: Callable[[frozenset[int]], bool]) -> float:
    """How many of all choices of `size` places on a circle of n make an event happen."""
    chosen = [frozenset(places) for places in itertools.combinations(range(n), size)]
    return sum(event(places) for places in chosen) / len(chosen)


def circle(n: int, k: int) -> list[frozenset[int]]:
    return [frozenset((p + step) % n for step in range(-(k // 2), k // 2 + 1) if step) for p in range(n)]


def connected(neighbors: list[frozenset[int]], alive: frozenset[int]) -> bool:
    reached, frontier = set[int](), set(itertools.islice(alive, 1))
    while frontier:
        reached |= frontier
        frontier = {q for p in frontier for q in neighbors[p] & alive} - reached
    return reached == alive


SMALL_CIRCLES = pytest.mark.parametrize(("n", "k"), [(8, 2), (9, 4), (11, 4), (12, 6), (13, 4)])
ABOVE = 1 + 1e-12
"""Both sides of these comparisons are floats."""


@SMALL_CIRCLES
def test_e1_is_above_the_truth_for_every_placement(n: int, k: int) -> None:
    neighbors = circle(n, k)
    for m, t in itertools.product(range(n), range(1, k + 1)):

        def opened(corrupt: frozenset[int], t: int = t) -> bool:
            return any(len(around & corrupt) >= t for around in neighbors)

        truth = fraction(n, m, opened)
        bound = 2.0 ** bounds.log2_secrets_opened(clients=n, corrupt=m, degree=k, threshold=t)
        assert truth <= bound * ABOVE
        assert (truth > 0) == (bound > 0)


@SMALL_CIRCLES
def test_e2_is_above_the_truth_for_every_placement(n: int, k: int) -> None:
    neighbors, everyone = circle(n, k), frozenset(range(n))
    for missing in range(n - 1):
        truth = fraction(n, missing, lambda gone: not connected(neighbors, everyone - gone))
        m = missing // 2
        bound = 2.0 ** bounds.log2_disconnected(clients=n, corrupt=m, dropped=missing - m, degree=k)
        assert truth <= bound * ABOVE
        assert (truth > 0) == (bound > 0)


@SMALL_CIRCLES
def test_e3_is_above_the_truth_for_every_placement(n: int, k: int) -> None:
    neighbors = circle(n, k)
    for d, t in itertools.product(range(n), range(1, k + 1)):

        def lost(dropped: frozenset[int], t: int = t) -> bool:
            return any(len(around - dropped) < t for around in neighbors)

        truth = fraction(n, d, lost)
        bound = 2.0 ** bounds.log2_unrecoverable(clients=n, dropped=d, degree=k, threshold=t)
        assert truth <= bound * ABOVE
        assert (truth > 0) == (bound > 0)


def test_nobody_is_cut_off_when_everyone_is_a_neighbor_or_too_few_are_missing() -> None:
    assert bounds.log2_disconnected(clients=9, corrupt=4, dropped=4, degree=8) == -math.inf
    assert bounds.log2_disconnected(clients=20, corrupt=1, dropped=2, degree=4) == -math.inf
    assert bounds.log2_disconnected(clients=20, corrupt=2, dropped=2, degree=4) == pytest.approx(
        math.log2(20 * 15 / 2 / math.comb(20, 4))
    )


def test_more_corrupt_or_dropped_or_bits_never_need_a_smaller_degree() -> None:
    def degree(*, m: int = 100, d: int = 100, s: int = 40, c: int = 30) -> int:
        return bounds.smallest_degree(clients=1000, corrupt=m, dropped=d, security_bits=s, correctness_bits=c).degree

    for degrees in (
        [degree(m=m) for m in range(0, 400, 20)],
        [degree(d=d) for d in range(0, 400, 20)],
        [degree(s=s) for s in range(40, 129, 8)],
        [degree(c=c) for c in range(30, 129, 8)],
    ):
        assert degrees == sorted(degrees)
        assert degrees[0] < degrees[-1]


def test_thresholds_move_with_their_reasons() -> None:
    lowest = [bounds.smallest_threshold(clients=500, corrupt=m, degree=60) for m in range(0, 300, 10)]
    highest = [bounds.largest_threshold(clients=500, dropped=d, degree=60) for d in range(0, 300, 10)]
    assert lowest == sorted(lowest)
    assert highest == sorted(highest, reverse=True)
    assert (lowest[0], highest[0]) == (2, 60)
    assert bounds.smallest_threshold(clients=500, corrupt=499, degree=60) == 61  # more than it has neighbors
    assert bounds.largest_threshold(clients=500, dropped=499, degree=60) == 0  # not one share is certain to be left


def test_bounds_meet_only_with_rounding_to_spare() -> None:
    assert bounds.meets(-math.inf, 40)
    assert bounds.meets(-40.0 - 2e-9, 40)
    assert not bounds.meets(-40.0, 40)
    assert not bounds.meets(0.0, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"clients": 3},
        {"clients": 1 << 33},
        {"clients": 100.0},
        {"corrupt": -1},
        {"dropped": -1},
        {"dropped": True},
        {"security_bits": 0},
        {"correctness_bits": 0},
    ],
)
def test_smallest_degree_refuses_arguments_out_of_range(wrong: dict[str, int]) -> None:
    (name,) = wrong
    with pytest.raises(ConfigError, match=rf"{name}=.* must be an integer from \d+ to \d+"):
        bounds.smallest_degree(**{"clients": 100, "corrupt": 5, "dropped": 5} | wrong)


@pytest.mark.parametrize(
    ("clients", "corrupt", "dropped", "proposed"),
    [
        (100, 50, 49, {"corrupt": 50, "dropped": 47}),
        (65_536, 30_000, 30_000, {"corrupt": 30_000, "dropped": 27_367}),  # the threshold would pass 2048
        (10, 9, 0, {"corrupt": 7, "dropped": 0}),
        (10, 2, 20, {"corrupt": 2, "dropped": 5}),
        (100, 200, 2, {"corrupt": 95, "dropped": 2}),
        (100, 200, 200, {"corrupt": 97, "dropped": 0}),
    ],
)
def test_smallest_degree_proposes_the_largest_numbers_that_will_do(
    clients: int, corrupt: int, dropped: int, proposed: dict[str, int]
) -> None:
    with pytest.raises(ConfigError) as refusal:
        bounds.smallest_degree(clients=clients, corrupt=corrupt, dropped=dropped)
    text = f"corrupt={proposed['corrupt']} with dropped={proposed['dropped']} would do"
    assert text in str(refusal.value)
    bounds.smallest_degree(clients=clients, **proposed)
    more = "dropped" if proposed["dropped"] != dropped else "corrupt"
    with pytest.raises(ConfigError):
        bounds.smallest_degree(clients=clients, **proposed | {more: proposed[more] + 1})


def test_active_threshold_is_where_no_split_of_the_honest_opens_both_secrets() -> None:
    """Each honest holder gives one kind of share, each corrupt one both: t is safe when no split gives t of each."""
    for n in range(1, 15):
        for m in range(n):
            safe = bounds.smallest_active_threshold(clients=n, corrupt=m)
            for t in range(1, n + 2):
                opened = any(a + m >= t and (n - m - a) + m >= t for a in range(n - m + 1))
                assert opened == (t < safe), (n, m, t)


def test_quorum_is_where_no_two_survivor_sets_are_both_signed() -> None:
    for n in range(1, 15):
        for m in range(n):
            safe = bounds.smallest_quorum(clients=n, corrupt=m)
            for q in range(1, n + 2):
                both = any(a + m >= q and (n - m - a) + m >= q for a in range(n - m + 1))
                assert both == (q < safe), (n, m, q)
