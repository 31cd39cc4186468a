"""Plans: what constructs is safe, what is refused says which numbers would do, and the examples of the docs hold."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import pickle
import re
from collections.abc import Iterator
from typing import Any

import pytest

from secagg import bounds
from secagg.errors import ConfigError
from secagg.plan import Odds, Plan
from secagg.types import MAX_CLIENTS, Adversary

ACTIVE, SEMI_HONEST = Adversary.ACTIVE, Adversary.SEMI_HONEST
PHONES = Plan.find(clients=20, max_dropped=3, max_corrupt=4)
SPARSE = Plan.find(clients=1000, max_dropped=50, max_corrupt=50, adversary=SEMI_HONEST)


def follow(text: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Make the changes that the end of a refusal proposes."""
    changes = re.findall(r"(lower|raise) (\w+) to (\d+)", text)
    assert changes, text
    for verb, name, number in changes:
        assert (int(number) < arguments[name]) == (verb == "lower"), text
        assert int(number) != arguments[name], text
    return arguments | {name: int(number) for _, name, number in changes}


def changed(plan: Plan, **changes: Any) -> Plan:
    """`dataclasses.replace` for values a type checker would refuse."""
    return dataclasses.replace(plan, **changes)


def refused(**arguments: Any) -> str:
    with pytest.raises(ConfigError) as refusal:
        Plan.find(**arguments)
    return str(refusal.value)


def test_example_of_the_first_screen() -> None:
    assert Plan(
        clients=20, max_dropped=3, max_corrupt=4, adversary=ACTIVE, degree=19, threshold=13, quorum=13
    ) == Plan.find(clients=20, max_dropped=3, max_corrupt=4)
    assert PHONES.min_survivors == 17
    assert PHONES.complete
    assert Odds(secrets_opened=-math.inf, disconnected=-math.inf, unrecoverable=-math.inf) == PHONES.odds


def test_example_of_a_thousand_clients() -> None:
    plan = Plan.find(clients=1000, max_dropped=50, max_corrupt=50, adversary="semi-honest")
    assert (plan.degree, plan.threshold, plan.quorum) == (34, 18, 0)
    assert (plan.adversary, plan.min_survivors, plan.complete) == (SEMI_HONEST, 950, False)
    odds = dataclasses.astuple(plan.odds)
    assert odds == pytest.approx((-42.32, -102.43, -37.41), abs=0.00501)


def test_example_of_a_refusal() -> None:
    assert refused(clients=20, max_dropped=9, max_corrupt=4) == (
        "clients=20, max_corrupt=4 need threshold >= 13; max_dropped=9 allows 11: lower max_dropped to 7"
    )


# Everything small.


def safe(n: int, d: int, m: int, adversary: Adversary, k: int, t: int, q: int) -> bool:
    """The certificate once more, in exact integers and on its own."""
    if n - d - m < 2:
        return False
    if adversary is ACTIVE:
        both = 2 * t > n + m and 2 * q > n + m
        return 3 <= n <= 2048 and k == n - 1 and both and t <= n - d and q <= n - d
    if q or t < 2:
        return False
    if k == n - 1:
        return n <= 2048 and m < t <= n - d
    whole = math.comb(n - 1, k)
    opened = sum(math.comb(m, x) * math.comb(n - 1 - m, k - x) for x in range(t, k + 1))
    lost = sum(math.comb(n - d - 1, x) * math.comb(d, k - x) for x in range(t))
    split = n * (n - k - 1) * math.comb(d + m, k)
    return (n * opened << 41) <= whole and (n * lost << 30) <= whole and (split << 41) <= 2 * math.comb(n, k)


def constructs(n: int, d: int, m: int, adversary: Adversary, k: int, t: int, q: int) -> bool:
    try:
        Plan(clients=n, max_dropped=d, max_corrupt=m, adversary=adversary, degree=k, threshold=t, quorum=q)
    except ConfigError:
        return False
    return True


def shapes(n: int, adversary: Adversary) -> Iterator[tuple[int, int, int]]:
    """Degrees, thresholds and quorums worth trying: all of them on the graph the adversary calls for, few elsewhere."""
    for k in range(1, n):
        if adversary is ACTIVE:
            few = (0, n // 2, n)
            yield from itertools.product([k], *((range(n + 1), range(n + 1)) if k == n - 1 else (few, few)))
        elif k == n - 1 or k % 2 == 0:
            yield from itertools.product([k], range(k + 2), (0, 1))


@pytest.mark.parametrize("adversary", Adversary)
@pytest.mark.parametrize("n", range(2, 13))
def test_exactly_the_safe_plans_construct(n: int, adversary: Adversary) -> None:
    people = itertools.product(range(n + 1), repeat=2)
    for (d, m), (k, t, q) in itertools.product(people, shapes(n, adversary)):
        assert constructs(n, d, m, adversary, k, t, q) == safe(n, d, m, adversary, k, t, q), (d, m, k, t, q)


@pytest.mark.parametrize("adversary", Adversary)
def test_find_is_safe_or_proposes_numbers_that_are(adversary: Adversary) -> None:
    for n in range(2, 13):
        for d, m in itertools.product(range(n + 2), repeat=2):
            arguments: dict[str, Any] = {"clients": n, "max_dropped": d, "max_corrupt": m, "adversary": adversary}
            possible = any(safe(n, d, m, adversary, *shape) for shape in shapes(n, adversary))
            if possible:
                Plan.find(**arguments)
            else:
                proposed = follow(refused(**arguments), arguments)
                Plan.find(**proposed)
                if proposed["clients"] == n:
                    assert proposed["max_dropped"] <= d
                    assert proposed["max_corrupt"] <= m


def test_active_plans_have_the_smallest_threshold_and_quorum() -> None:
    for n in range(3, 13):
        for d, m in itertools.product(range(n), repeat=2):
            shapes_that_do = [(t, q) for k, t, q in shapes(n, ACTIVE) if safe(n, d, m, ACTIVE, k, t, q)]
            if shapes_that_do:
                plan = Plan.find(clients=n, max_dropped=d, max_corrupt=m)
                assert (plan.threshold, plan.quorum) == min(shapes_that_do)
                assert 2 * (plan.threshold - 1) <= n + m
                for smaller in range(1, plan.threshold):
                    with pytest.raises(ConfigError, match=f"raise threshold to {plan.threshold}"):
                        dataclasses.replace(plan, threshold=smaller)
                    with pytest.raises(ConfigError, match=f"raise quorum to {plan.quorum}"):
                        dataclasses.replace(plan, quorum=smaller)


# What each class of adversary gets.


def test_active_needs_two_honest_survivors_even_where_the_threshold_is_met() -> None:
    text = refused(clients=5, max_dropped=0, max_corrupt=4)
    assert text == "clients=5, max_dropped=0, max_corrupt=4 leave 1 honest survivors of 2: lower max_corrupt to 3"
    assert Plan.find(clients=5, max_dropped=0, max_corrupt=3).threshold == 5


def test_active_ends_where_the_complete_graph_does() -> None:
    assert Plan.find(clients=2048, max_dropped=500, max_corrupt=500).threshold == 1275
    assert Plan.find(clients=3, max_dropped=0, max_corrupt=1).threshold == 3
    assert refused(clients=2049, max_dropped=600, max_corrupt=900).endswith(
        "range of the active adversary: lower clients to 2048 and lower max_dropped to 573"
    )
    assert refused(clients=2, max_dropped=0, max_corrupt=0).endswith("raise clients to 3")


def test_active_on_a_sparse_graph_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"degree=34 leaves out neighbors.*raise degree to 999"):
        dataclasses.replace(SPARSE, adversary=ACTIVE)
    plan = Plan.find(clients=1000, max_dropped=50, max_corrupt=50)
    assert (plan.degree, plan.threshold, plan.quorum) == (999, 526, 526)


@pytest.mark.parametrize(
    ("n", "d", "m", "degree", "threshold"),
    [
        (2, 0, 0, 1, 2),
        (3, 1, 0, 2, 2),
        (10, 2, 2, 9, 6),  # a majority
        (10, 6, 0, 9, 4),  # only four are left
        (63, 3, 40, 62, 41),  # more than the corrupt
        (63, 30, 30, 62, 32),
        (64, 3, 3, 8, 4),  # from here on a sparse graph
        (100, 48, 50, 99, 51),  # no degree below 99 will do
        (2048, 1023, 1023, 2047, 1025),  # nor here
        (2048, 0, 2046, 2047, 2047),
    ],
)
def test_semi_honest_graphs_and_thresholds(n: int, d: int, m: int, degree: int, threshold: int) -> None:
    plan = Plan.find(clients=n, max_dropped=d, max_corrupt=m, adversary=SEMI_HONEST)
    assert (plan.degree, plan.threshold, plan.quorum) == (degree, threshold, 0)


def test_semi_honest_beyond_the_complete_graph_refuses_what_no_degree_can_do() -> None:
    arguments = {"clients": 60_000, "max_dropped": 30_000, "max_corrupt": 29_000, "adversary": SEMI_HONEST}
    text = refused(**arguments)
    assert text.startswith("clients=60000, max_dropped=30000, max_corrupt=29000: no degree meets security_bits=40")
    proposed = follow(text, arguments)
    assert proposed["max_corrupt"] == 29_000
    Plan.find(**proposed)
    refused(**proposed | {"max_dropped": proposed["max_dropped"] + 1})


def test_the_largest_cohort_has_a_plan() -> None:
    plan = Plan.find(clients=MAX_CLIENTS, max_dropped=20_000, max_corrupt=10_000, adversary=SEMI_HONEST)
    assert plan.threshold <= 2048
    assert plan.degree < 300


def test_a_sparse_plan_may_be_more_generous_than_find_but_not_less() -> None:
    dataclasses.replace(SPARSE, threshold=19)
    dataclasses.replace(SPARSE, degree=36, threshold=20)
    dataclasses.replace(SPARSE, degree=999, threshold=51)
    for changes, advice in (
        ({"threshold": 17}, "odds of a client's secrets opened are 2^-37.41, must be at most 2^-41: raise threshold"),
        ({"threshold": 20}, "must be at most 2^-30: lower threshold to 18"),
        ({"degree": 32}, "odds of a secret lost are 2^-29.83, must be at most 2^-30: raise degree to 34"),
        ({"degree": 8, "threshold": 2}, "raise degree to 34 and raise threshold to 18"),
        ({"degree": 999, "threshold": 50}, "need threshold from 51 to 950; got threshold=50: raise threshold to 51"),
        ({"degree": 999, "threshold": 951}, "lower threshold to 950"),
        ({"quorum": 1}, "quorum=1 means nothing with a semi-honest server: lower quorum to 0"),
        ({"security_bits": 60}, "must be at most 2^-61: raise degree to 40 and raise threshold to 23"),
        ({"correctness_bits": 60}, "must be at most 2^-60: raise degree to 44 and raise threshold to 20"),
        ({"max_corrupt": 949}, "leave 1 honest survivors of 2: lower max_dropped to 49"),
    ):
        with pytest.raises(ConfigError) as refusal:
            changed(SPARSE, **changes)
        assert advice in str(refusal.value)


def test_a_sum_that_could_split_is_refused() -> None:
    """Half are corrupt and every neighbor must give its share: no secret opens or is lost, but the circle is cut."""
    arguments: dict[str, Any] = {
        "clients": 1000, "max_dropped": 0, "max_corrupt": 500, "adversary": SEMI_HONEST, "quorum": 0
    }  # fmt: skip
    plan = Plan(**arguments, degree=58, threshold=58)
    assert plan.odds.unrecoverable == -math.inf
    assert plan.odds.secrets_opened < -41 - 8
    with pytest.raises(ConfigError, match="odds of the sum split in two"):
        Plan(**arguments, degree=56, threshold=56)
    with pytest.raises(ConfigError, match="threshold=1 lets one holder open a secret: raise threshold to 2"):
        Plan(**arguments | {"max_corrupt": 0}, degree=2, threshold=1)


def test_the_complete_graph_ends_at_2048_for_everyone() -> None:
    text = "degree=2999 is the complete graph, which ends at clients=2048: lower degree to 36 and lower threshold to 20"
    arguments: dict[str, Any] = {"clients": 3000, "max_dropped": 150, "max_corrupt": 150, "adversary": SEMI_HONEST}
    with pytest.raises(ConfigError, match=text):
        Plan(**arguments, degree=2999, threshold=1501, quorum=0)


# Bits.


def test_bits_have_floors_and_a_ceiling() -> None:
    people: dict[str, Any] = {"clients": 1000, "max_dropped": 50, "max_corrupt": 50, "adversary": SEMI_HONEST}
    assert refused(**people, security_bits=39) == "security_bits=39 is below 40: raise security_bits to 40"
    assert refused(**people, correctness_bits=29) == "correctness_bits=29 is below 30: raise correctness_bits to 30"
    assert refused(**people, security_bits=129) == (
        "security_bits=129 must be an integer from 1 to 128: lower security_bits to 128"
    )
    strictest = Plan.find(**people, security_bits=128, correctness_bits=128)
    assert strictest.degree > SPARSE.degree
    assert strictest.odds.secrets_opened <= -129
    with pytest.raises(ConfigError, match="raise security_bits to 40"):
        dataclasses.replace(PHONES, security_bits=39)


# Types and ranges.


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clients", 1),
        ("clients", MAX_CLIENTS + 1),
        ("clients", 20.0),
        ("clients", "20"),
        ("max_dropped", -1),
        ("max_dropped", True),
        ("max_dropped", None),
        ("max_corrupt", -1),
        ("max_corrupt", False),
        ("security_bits", 40.0),
        ("security_bits", 0),
        ("correctness_bits", True),
        ("correctness_bits", 129),
        ("degree", 0),
        ("degree", 20),
        ("degree", 19.0),
        ("threshold", 0),
        ("threshold", 21),
        ("threshold", True),
        ("quorum", -1),
        ("quorum", 21),
        ("quorum", False),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: Any) -> None:
    text = re.escape(f"{name}={value!r}") + r" must be an integer from \d+ to \d+"
    if type(value) is int:
        text += rf": (lower|raise) {name} to \d+$"
    with pytest.raises(ConfigError, match=text):
        changed(PHONES, **{name: value})
    if name not in {"degree", "threshold", "quorum"}:
        assert re.match(text, refused(**{"clients": 20, "max_dropped": 3, "max_corrupt": 4} | {name: value}))


@pytest.mark.parametrize("name", ["max_dropped", "max_corrupt"])
def test_as_many_as_there_are_clients_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}=20 must be below clients=20: lower {name} to \d+"):
        changed(PHONES, **{name: 20})


def test_thresholds_stay_within_what_shares_can_do() -> None:
    plan = Plan.find(clients=5000, max_dropped=0, max_corrupt=1500, adversary=SEMI_HONEST)
    with pytest.raises(ConfigError, match="threshold=2049 must be an integer from 1 to 2048"):
        dataclasses.replace(plan, degree=4000, threshold=2049)


def test_odd_degrees_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"degree=33 must be even, .* or 999 .*: raise degree to 34"):
        dataclasses.replace(SPARSE, degree=33)


@pytest.mark.parametrize("adversary", ["ACTIVE", "malicious", "", None, 1, [], Adversary])
def test_unknown_adversaries_are_refused(adversary: Any) -> None:
    text = refused(clients=20, max_dropped=3, max_corrupt=4, adversary=adversary)
    assert text.endswith("must be one of 'active', 'semi-honest'")


def test_find_takes_the_names_of_adversaries_and_plans_hold_the_members() -> None:
    for adversary in Adversary:
        plan = Plan.find(clients=20, max_dropped=3, max_corrupt=4, adversary=adversary.value)
        assert plan.adversary is adversary
    with pytest.raises(ConfigError, match="adversary='active' must be an Adversary"):
        changed(PHONES, adversary="active")


# Values.


@pytest.mark.parametrize("plan", [PHONES, SPARSE])
def test_plans_are_values(plan: Plan) -> None:
    for twin in (copy.copy(plan), copy.deepcopy(plan), pickle.loads(pickle.dumps(plan))):  # noqa: S301  # our own bytes
        assert twin is not plan
        assert twin == plan
        assert hash(twin) == hash(plan)
    assert len({PHONES, SPARSE, copy.copy(plan)}) == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.threshold = 1  # type: ignore[misc]  # the point of the test


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda plan: pickle.loads(pickle.dumps(plan))])  # noqa: S301  # our own bytes
def test_copies_are_certified_again(duplicate: Any) -> None:
    forged = copy.copy(PHONES)
    object.__setattr__(forged, "threshold", 5)
    with pytest.raises(ConfigError, match="raise threshold to 13"):
        duplicate(forged)


class Uncertified(Plan):
    """What tests of the protocol use: ranges are checked, safety is not."""

    def _certify(self) -> None:
        pass


def test_a_subclass_may_leave_out_the_certificate_and_nothing_else() -> None:
    small = Uncertified(clients=8, max_dropped=4, max_corrupt=2, adversary=SEMI_HONEST, degree=4, threshold=2, quorum=0)
    assert type(copy.copy(small)) is Uncertified
    assert small.odds.secrets_opened == 0.0
    assert small.odds.disconnected > -41
    assert small.explain()
    with pytest.raises(ConfigError, match="threshold=6 must be an integer from 1 to 5"):
        dataclasses.replace(small, threshold=6)
    assert Uncertified.find(clients=20, max_dropped=3, max_corrupt=4) != PHONES


def test_odds_of_an_uncertified_complete_graph_are_certain_failures() -> None:
    low = Uncertified(clients=8, max_dropped=3, max_corrupt=2, adversary=ACTIVE, degree=7, threshold=5, quorum=5)
    assert (low.odds.secrets_opened, low.odds.unrecoverable) == (0.0, -math.inf)
    high = dataclasses.replace(low, threshold=6)
    assert (high.odds.secrets_opened, high.odds.unrecoverable) == (-math.inf, 0.0)
    assert dataclasses.replace(low, adversary=SEMI_HONEST).odds.secrets_opened == -math.inf


def test_odds_are_those_of_the_bounds() -> None:
    assert SPARSE.odds == Odds(
        secrets_opened=bounds.log2_secrets_opened(clients=1000, corrupt=50, degree=34, threshold=18),
        disconnected=bounds.log2_disconnected(clients=1000, corrupt=50, dropped=50, degree=34),
        unrecoverable=bounds.log2_unrecoverable(clients=1000, dropped=50, degree=34, threshold=18),
    )


# Words.


def test_explain_active() -> None:
    assert PHONES.explain().splitlines() == [
        "Who: the server lies and equivocates (active); up to 4 of 20 help it.",
        "Missing: up to 3 clients at any point; every sum is of 17 or more, 13 of them honest.",
        "Graph: complete; each client shares masks with all 19 others.",
        "Threshold: 13 shares open a secret; 2 * 13 > 20 + 4, so nobody opens both of one client.",
        "Quorum: 13 signatures; 2 * 13 > 20 + 4, so no two survivor sets get as many.",
        "Odds: a client's secrets opened never; the sum split in two never; a secret lost never.",
        "Refused: under 17 joined; under 17 survivors; under 13 signatures on them.",
    ]


def test_explain_semi_honest() -> None:
    assert SPARSE.explain().splitlines() == [
        "Who: the server follows the protocol and pools what it sees (semi-honest); up to 50 of 1000 help it.",
        "Missing: up to 50 clients at any point; every sum is of 950 or more, 900 of them honest.",
        "Graph: sparse; 34 neighbors a client, placed at random once every key is in.",
        "Threshold: 18 shares open a secret; the server's helpers among its holders are fewer.",
        "Quorum: 0; this server names the same survivors to everyone.",
        "Odds: a client's secrets opened 2^-42.32; the sum split in two 2^-102.43; a secret lost 2^-37.41.",
        "Refused: under 950 joined; under 950 survivors.",
    ]


def test_explain_says_why_a_large_semi_honest_graph_is_complete() -> None:
    forced = Plan.find(clients=100, max_dropped=48, max_corrupt=50, adversary=SEMI_HONEST)
    assert "Graph: complete; each client shares masks with all 99 others; no sparser one meets the odds." in (
        forced.explain()
    )
    assert "the server's 50 helpers are fewer" in forced.explain()
    chosen = dataclasses.replace(SPARSE, degree=999, threshold=501)
    assert "with all 999 others; degree 34 meets the odds." in chosen.explain()
    small = Plan.find(clients=20, max_dropped=3, max_corrupt=4, adversary=SEMI_HONEST)
    assert "with all 19 others.\n" in small.explain()
