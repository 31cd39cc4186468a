"""What a changed policy, plan or bound would get away with, if no other test looked."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from secagg import bounds, plan, policy
from secagg.errors import ConfigError, Violation
from secagg.plan import Odds, Plan
from secagg.policy import Policy
from secagg.rules import Rule
from secagg.types import Adversary

ACTIVE, SEMI_HONEST = Adversary.ACTIVE, Adversary.SEMI_HONEST


# Policy.


def test_a_clients_floors_unless_it_says_otherwise() -> None:
    assert dataclasses.asdict(Policy()) == {
        "adversaries": frozenset({ACTIVE}),
        "min_survivors": 3,
        "min_honest": 2,
        "min_corrupt": 0,
        "max_length": 2**32,
        "max_chunk_words": 2**22,
        "max_round_step": 2**20,
        "session": None,
    }


def test_floors_are_named_never_counted_off() -> None:
    floors: tuple[Any, ...] = (frozenset({ACTIVE}), 3)
    with pytest.raises(TypeError):
        Policy(*floors)


def test_one_adversary_that_exists_does_not_excuse_one_that_does_not() -> None:
    mixed: Any = frozenset({ACTIVE, "lazy"})
    with pytest.raises(ConfigError, match="adversaries"):
        Policy(adversaries=mixed)


def test_the_lowest_ceilings_are_one() -> None:
    assert Policy(max_length=1, max_round_step=1).max_length == 1
    for name in ("max_length", "max_round_step"):
        floors: dict[str, Any] = {name: 0}
        with pytest.raises(ConfigError):
            Policy(**floors)


def test_a_class_that_is_not_allowed_is_refused_before_its_plan_is_looked_at() -> None:
    """The plan is no plan at all, so whoever looked would raise another error."""
    with pytest.raises(Violation) as refusal:
        Policy().make_plan(adversary=SEMI_HONEST, no_such_number=1)
    assert refusal.value.rule is Rule.OFFER_POLICY


# What is data, stays.


@pytest.mark.parametrize("kind", [Policy, Plan, Odds], ids=lambda kind: kind.__name__)
def test_plans_and_floors_are_frozen(kind: type) -> None:
    parameters = kind.__dataclass_params__  # type: ignore[attr-defined]  # a dataclass has them
    assert parameters.frozen
    assert parameters.eq


@pytest.mark.parametrize("kind", [Plan, Odds], ids=lambda kind: kind.__name__)
def test_plans_and_odds_take_names_and_nothing_besides(kind: type) -> None:
    assert all(field.kw_only for field in dataclasses.fields(kind))
    assert "__dict__" not in dir(kind)
    assert policy._HARD_FLOOR == bounds.MIN_HONEST == 2
    assert plan.MAX_COMPLETE == bounds.MAX_THRESHOLD == 2048


# A plan by hand that no shape can mend.


def test_a_complete_graph_beyond_its_end_that_no_shape_mends_is_told_to_ask_for_less() -> None:
    with pytest.raises(ConfigError, match=r"ends at clients=2048: lower max_dropped to \d+"):
        Plan(
            clients=2049,
            max_dropped=1023,
            max_corrupt=1024,
            adversary=SEMI_HONEST,
            degree=2048,
            threshold=1025,
            quorum=0,
        )


@pytest.mark.parametrize(("name", "floor"), [("security_bits", 40), ("correctness_bits", 30)])
def test_bits_are_a_number_from_one_on_and_too_few_all_the_same(name: str, floor: int) -> None:
    sound = Plan.find(clients=20, max_dropped=3, max_corrupt=4)
    few: dict[str, Any] = {name: 1}
    none: dict[str, Any] = {name: 0}
    with pytest.raises(ConfigError, match=f"{name}=1 is below {floor}: raise {name} to {floor}"):
        dataclasses.replace(sound, **few)
    with pytest.raises(ConfigError, match=f"{name}=0 must be an integer from 1 to 128: raise {name} to 1"):
        dataclasses.replace(sound, **none)


def test_a_degree_is_told_its_whole_range() -> None:
    with pytest.raises(ConfigError, match="degree=0 must be an integer from 1 to 19: raise degree to 1"):
        dataclasses.replace(Plan.find(clients=20, max_dropped=3, max_corrupt=4), degree=0)


def test_the_first_cohort_that_could_be_sparse_is_told_why_it_is_not() -> None:
    for clients, told in ((63, "all 62 others."), (64, "all 63 others; no sparser one meets the odds.")):
        found = Plan.find(clients=clients, max_dropped=31, max_corrupt=clients - 33, adversary=SEMI_HONEST)
        assert f"each client shares masks with {told}\n" in found.explain()


# Bounds.


def test_the_series_is_cut_below_what_it_says() -> None:
    for x in range(bounds._SERIES_FROM, 2 * bounds._SERIES_FROM):
        exact = math.log(math.factorial(x)) - 0.5 * math.log(2 * math.pi * x) - x * math.log(x) + x
        assert abs(bounds._remainder(x) - exact) < 2e-13


def test_a_sum_that_falls_apart_has_half_of_the_odds_and_no_less() -> None:
    cohort = {"clients": 60, "corrupt": 7, "dropped": 28}
    found = bounds.find_degree(**cohort, security_bits=40, correctness_bits=1)
    assert found is not None
    assert -42 < bounds.log2_disconnected(**cohort, degree=found.degree) < -41
    assert bounds.log2_disconnected(**cohort, degree=found.degree - 2) > -41


def test_of_all_dropped_and_nobody_corrupt_just_that_is_proposed() -> None:
    assert bounds.nearest_bearable(lambda d, m: m == 0, dropped=5, corrupt=3) == (5, 0)


def test_the_last_value_is_below_the_end_even_where_all_hold() -> None:
    assert bounds._last(lambda value: True, 5) == 4
    assert bounds._last(lambda value: value < 3, 5) == 2


def test_odds_of_exactly_the_limit_meet_it() -> None:
    assert bounds.meets(-40 - bounds.ROUNDING_BITS, 40)
    assert not bounds.meets(-40.0, 40)


def test_the_least_that_can_be_asked_for_is_four_clients_and_one_bit() -> None:
    least = {"clients": 4, "corrupt": 0, "dropped": 0, "security_bits": 1, "correctness_bits": 1}
    assert bounds.smallest_degree(**least) == bounds.RegularGraph(degree=2, threshold=2)
    for name in ("clients", "security_bits", "correctness_bits"):
        with pytest.raises(ConfigError, match=f"{name}={least[name] - 1} must be an integer from {least[name]}"):
            bounds.smallest_degree(**(least | {name: least[name] - 1}))


def test_where_no_degree_will_do_all_of_them_are_named() -> None:
    with pytest.raises(ConfigError, match="no degree below 9 meets"):
        bounds.smallest_degree(clients=10, corrupt=4, dropped=4)


def test_fewer_dropped_are_proposed_first_and_be_it_none() -> None:
    assert bounds.nearest_bearable(lambda d, m: d == 0, dropped=5, corrupt=3) == (0, 3)


def test_a_cohort_that_no_degree_serves_is_told_what_would_do() -> None:
    with pytest.raises(ConfigError, match=r"no degree meets security_bits=40 .* lower max_dropped to \d+"):
        Plan.find(clients=2049, max_dropped=1023, max_corrupt=1024, adversary=SEMI_HONEST)
