"""How likely a round is to fail, and the smallest graph and thresholds for which that is unlikely enough.

Promise: pure functions of integers. Every probability is a log2, so 2^-300 is as exact as 2^-3; an event that cannot
happen is -inf. Decisions leave `ROUNDING_BITS` for floating point, so what is accepted holds in exact integers too.

On a k-regular graph (semi-honest server) three things can go wrong. The chance is over the random order that
`graph.regular` draws after m corrupt and d dropped clients are fixed; n is the number of clients invited:

* E1, `log2_secrets_opened`: some client has t corrupt neighbors, who hold enough shares of both its secrets;
* E2, `log2_disconnected`: the honest survivors fall into two groups, and each group's sum shows;
* E3, `log2_unrecoverable`: some client has fewer than t surviving neighbors, and its secrets stay lost.

They are the conditions of a good graph of Bell, Bonawitz, Gascón, Lepoint and Raykova, "Secure Single-Server
Aggregation with (Poly)Logarithmic Overhead", CCS 2020. Two details are ours, both on the
strict side: E1 and E2 share 2^-security_bits in equal halves, and nobody is its own neighbor, so neighbors are drawn
from n - 1. A client also keeps a share of its own secrets. E1 to E3 leave it out: an honest client's own share is not
the adversary's, and a surviving one only helps recovery.

Against a lying server nothing is left to chance: see `smallest_active_threshold` and `smallest_quorum`.

Imports the errors of this package, and `math` for numbers.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import Final, NamedTuple

from secagg.errors import ConfigError

MAX_THRESHOLD: Final = 2048
"""Largest threshold of any plan: up to here shares are made and opened in float64 products that are exact."""

MIN_THRESHOLD: Final = 2
"""With a threshold of one, any single holder opens the secret."""

MIN_HONEST: Final = 2
"""Honest survivors of any sum: were there one, the colluders would subtract their own inputs and read the last."""

ROUNDING_BITS: Final = 1e-9
"""More than the rounding error of any log2 here up to 65,536 clients (tested against exact integers)."""

_MAX_POPULATION: Final = 1 << 32
_NEGLIGIBLE: Final = 2.0**-60
_SERIES_FROM: Final = 16


class RegularGraph(NamedTuple):
    """The degree k and the threshold t of a plan on a k-regular graph."""

    degree: int
    threshold: int


def log2_tail_at_least(*, population: int, marked: int, draws: int, hits: int) -> float:
    """Return log2 P[X >= hits], X hypergeometric: the marked among `draws` taken without putting back.

    Above the mean the terms fall ever faster, so they are summed relative to the first until they no longer count.
    Below the mean the answer is one minus the other tail.

    Args:
        population: how many there are to draw from.
        marked: how many of them are marked.
        draws: how many are drawn.
        hits: the count asked about; any integer.

    Raises:
        ConfigError: marked or draws is not from 0 to population.
    """
    _check_range("marked", marked, 0, population)
    _check_range("draws", draws, 0, population)
    fewest, most = max(0, marked + draws - population), min(marked, draws)
    if hits <= fewest:
        return 0.0
    if hits > most:
        return -math.inf
    if hits * population <= marked * draws:
        below = log2_tail_below(population=population, marked=marked, draws=draws, hits=hits)
        return math.log1p(-(2.0**below)) / math.log(2)
    ways = _log2_choose(marked, hits) + _log2_choose(population - marked, draws - hits)
    total = term = 1.0
    for x in range(hits, most):
        term *= (marked - x) * (draws - x) / ((x + 1) * (population - marked - draws + x + 1))
        total += term
        if term < total * _NEGLIGIBLE:
            break
    return min(0.0, ways - _log2_choose(population, draws) + math.log2(total))


def log2_tail_below(*, population: int, marked: int, draws: int, hits: int) -> float:
    """Return log2 P[X < hits]: fewer than `hits` marked is more than `draws - hits` unmarked.

    Arguments and errors are those of `log2_tail_at_least`.
    """
    _check_range("marked", marked, 0, population)
    unmarked = population - marked
    return log2_tail_at_least(population=population, marked=unmarked, draws=draws, hits=draws - hits + 1)


def log2_secrets_opened(*, clients: int, corrupt: int, degree: int, threshold: int) -> float:
    """E1: log2 of n * P[Hyp(n-1, m, k) >= t], a union bound on any client having t corrupt neighbors."""
    tail = log2_tail_at_least(population=clients - 1, marked=corrupt, draws=degree, hits=threshold)
    return min(0.0, math.log2(clients) + tail)


def log2_disconnected(*, clients: int, corrupt: int, dropped: int, degree: int) -> float:
    """E2: log2 of n(n-k-1)/2 * prod_{j<k} (m+d-j)/(n-j), a union bound on the honest survivors falling apart.

    Where everyone reaches k/2 places to either side of a circle, it takes two gaps to cut it: two runs of k/2 places
    that hold only corrupt or dropped clients, with someone between them on both sides. There are n(n-k-1)/2 such pairs
    of runs, and the product is the chance that one given pair holds nobody else. Corrupt and dropped are counted as
    different clients, which is the worse case.
    """
    pairs_of_gaps = clients * (clients - degree - 1) // 2
    if pairs_of_gaps == 0:
        return -math.inf
    missing = min(clients, corrupt + dropped)
    tail = log2_tail_at_least(population=clients, marked=missing, draws=degree, hits=degree)
    return min(0.0, math.log2(pairs_of_gaps) + tail)


def log2_unrecoverable(*, clients: int, dropped: int, degree: int, threshold: int) -> float:
    """E3: log2 of n * P[Hyp(n-1, n-d-1, k) < t], a union bound on any client having under t surviving neighbors.

    Among the others of a survivor n - d - 1 survive. Among the others of a dropped client one more does, so its part
    of the bound is on the safe side.
    """
    tail = log2_tail_below(population=clients - 1, marked=clients - dropped - 1, draws=degree, hits=threshold)
    return min(0.0, math.log2(clients) + tail)


def meets(log2_odds: float, bits: int) -> bool:
    """Whether odds are at most 2^-bits, rounding errors included."""
    return log2_odds <= -bits - ROUNDING_BITS


def smallest_threshold(*, clients: int, corrupt: int, degree: int, security_bits: int = 40) -> int:
    """Smallest threshold, at least 2, for which E1 is at most 2^-(security_bits + 1) on this degree.

    There always is one: nobody has degree + 1 corrupt neighbors.
    """

    def hides(threshold: int) -> bool:
        odds = log2_secrets_opened(clients=clients, corrupt=corrupt, degree=degree, threshold=threshold)
        return meets(odds, security_bits + 1)

    return _first(hides, MIN_THRESHOLD, degree + 1)


def largest_threshold(*, clients: int, dropped: int, degree: int, correctness_bits: int = 30) -> int:
    """Largest threshold for which E3 is at most 2^-correctness_bits on this degree; 0 if not even 1 will do."""

    def loses(threshold: int) -> bool:
        odds = log2_unrecoverable(clients=clients, dropped=dropped, degree=degree, threshold=threshold)
        return not meets(odds, correctness_bits)

    return _first(loses, 1, degree + 1) - 1


def smallest_degree(
    *, clients: int, corrupt: int, dropped: int, security_bits: int = 40, correctness_bits: int = 30
) -> RegularGraph:
    """Find the smallest even degree for which E1, E2 and E3 hold at some threshold, and the smallest such threshold.

    E1 and E2 are each at most 2^-(security_bits + 1), E3 at most 2^-correctness_bits.

    Args:
        clients: n, at least 4, so that a degree of 2 is not yet everyone.
        corrupt: m, clients that pool what they see with the server.
        dropped: d, clients that drop out or never join.
        security_bits: how unlikely it is that anything but the sum shows.
        correctness_bits: how unlikely it is that a round with no more than d dropped fails.

    Raises:
        ConfigError: an argument is out of range, fewer than two honest clients survive, or no degree below n - 1 with
            a threshold of at most `MAX_THRESHOLD` will do; the text has numbers that do.
    """
    for name, value, low in (
        ("clients", clients, 4),
        ("corrupt", corrupt, 0),
        ("dropped", dropped, 0),
        ("security_bits", security_bits, 1),
        ("correctness_bits", correctness_bits, 1),
    ):
        _check_range(name, value, low, _MAX_POPULATION)

    def find(dropped: int, corrupt: int) -> RegularGraph | None:
        return find_degree(
            clients=clients,
            corrupt=corrupt,
            dropped=dropped,
            security_bits=security_bits,
            correctness_bits=correctness_bits,
        )

    found = find(dropped, corrupt)
    if found is None:
        near = nearest_bearable(lambda d, m: find(d, m) is not None, dropped=dropped, corrupt=corrupt)
        raise ConfigError(
            f"clients={clients}, corrupt={corrupt}, dropped={dropped}: no degree below {clients - 1} meets "
            f"security_bits={security_bits} and correctness_bits={correctness_bits}; "
            f"corrupt={near.corrupt} with dropped={near.dropped} would do"
        )
    return found


def find_degree(
    *, clients: int, corrupt: int, dropped: int, security_bits: int, correctness_bits: int
) -> RegularGraph | None:
    """`smallest_degree` on checked arguments, or None where no degree will do.

    Two maps drive the search. For a threshold t, k(t) is the smallest even degree with E2 and E3 in bounds; for a
    degree k, t(k) is `smallest_threshold`. One more neighbor never makes E2 or E3 likelier nor E1 less likely, and one
    more share never makes E1 likelier nor E3 less likely. So both maps are non-decreasing, and (k, t) will do exactly
    when k >= k(t) and t >= t(k). The search starts below every such pair, and applying a map keeps it there; where it
    comes to rest is such a pair, hence the smallest in both coordinates (Kleene's least fixed point).
    """
    if clients - dropped - corrupt < MIN_HONEST:
        return None

    def degree_for(threshold: int, *, start: int) -> int:
        def lasts(half: int) -> bool:
            split = log2_disconnected(clients=clients, corrupt=corrupt, dropped=dropped, degree=2 * half)
            lost = log2_unrecoverable(clients=clients, dropped=dropped, degree=2 * half, threshold=threshold)
            return meets(split, security_bits + 1) and meets(lost, correctness_bits)

        return 2 * _first(lasts, start // 2, (clients - 2) // 2)

    degree, threshold = 2, MIN_THRESHOLD
    while threshold <= MAX_THRESHOLD:
        degree = degree_for(threshold, start=degree)
        if degree >= clients - 1:
            return None
        needed = smallest_threshold(clients=clients, corrupt=corrupt, degree=degree, security_bits=security_bits)
        if needed <= threshold:
            return RegularGraph(degree, threshold)
        threshold = needed
    return None


class Bearable(NamedTuple):
    """Numbers of dropped and corrupt clients that a round can bear."""

    dropped: int
    corrupt: int


def nearest_bearable(bearable: Callable[[int, int], bool], *, dropped: int, corrupt: int) -> Bearable:
    """The numbers to propose where `bearable(dropped, corrupt)` is false: fewer dropped, or fewer corrupt, or both.

    Fewer of either never makes E1, E2 or E3 likelier at the same degree and threshold, so halving finds the largest
    number. `bearable(0, 0)` must hold; every proposal has been put to `bearable`.
    """
    if bearable(0, corrupt):
        return Bearable(_last(lambda d: bearable(d, corrupt), dropped), corrupt)
    if bearable(dropped, 0):
        return Bearable(dropped, _last(lambda m: bearable(dropped, m), corrupt))
    return Bearable(0, _last(lambda m: bearable(0, m), corrupt))


def smallest_active_threshold(*, clients: int, corrupt: int) -> int:
    """Smallest t with 2t > n + m: no lying server collects both secrets of one honest client (Bonawitz et al. 2017).

    On the complete graph the n holders of a client's secrets are all clients, itself included.
    Each of the n - m honest ones answers once and gives one of the two secrets: at most n - m shares in all.
    Each of the m corrupt ones gives both: 2m more. Opening both takes 2t, so 2t <= n + m would have to hold.

    This is the bound of Bonawitz et al., CCS 2017, for a stated m instead of m < n/3.
    """
    return (clients + corrupt) // 2 + 1


def smallest_quorum(*, clients: int, corrupt: int) -> int:
    """Smallest q with 2q > n + m: no two different survivor sets both find q signers.

    Each of the n - m honest clients signs one set: at most n - m signatures over two sets.
    Each of the m corrupt ones signs both: 2m more.
    Two sets with q signatures each take 2q, so 2q <= n + m would have to hold.
    """
    return (clients + corrupt) // 2 + 1


def _first(holds: Callable[[int], bool], start: int, stop: int) -> int:
    """Smallest value of start..stop at which a test that stays true once it is true holds; stop + 1 if at none."""
    return start + bisect.bisect_left(range(start, stop + 1), x=True, key=holds)


def _last(holds: Callable[[int], bool], stop: int) -> int:
    """Largest value below `stop` at which a test that holds at 0 and stays false once it is false holds."""
    return _first(lambda value: not holds(value), 1, stop - 1) - 1


def _log2_choose(total: int, chosen: int) -> float:
    """log2 of the binomial coefficient by Stirling's formula and its remainder (DLMF 5.11.1).

    The large parts cancel on paper, not in floating point, as they would in a difference of log-gammas: the error
    stays near 1e-16 of the result (Loader, "Fast and accurate computation of binomial probabilities", 2000).
    """
    few, many = sorted((chosen, total - chosen))
    if few == 0:
        return 0.0
    entropy = few * math.log(total / few) + many * math.log1p(few / many)
    peak = 0.5 * math.log(total / (2 * math.pi * few * many))
    return (entropy + peak + _remainder(total) - _remainder(few) - _remainder(many)) / math.log(2)


def _remainder(x: int) -> float:
    """Natural log of x! over Stirling's sqrt(2 pi x) (x/e)^x, for x >= 1; the series is cut below 1e-14."""
    if x < _SERIES_FROM:
        return math.log(math.factorial(x)) - 0.5 * math.log(2 * math.pi * x) - x * math.log(x) + x
    y = 1 / (x * x)
    return (1 / 12 - y * (1 / 360 - y * (1 / 1260 - y / 1680))) / x


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(f"{name}={value!r:.40} must be an integer from {low} to {high}")
