"""A client's floors: an offer meets all of them, or the client leaves; none of them can be lower than sense."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import pytest

from secagg.config import RoundConfig
from secagg.errors import ConfigError, Violation
from secagg.plan import Plan
from secagg.policy import Policy
from secagg.rules import Rule
from secagg.testing.plans import LaxPolicy, UncertifiedPlan
from secagg.types import Adversary

PLAN: Final = Plan.find(clients=20, max_dropped=3, max_corrupt=4)  # 17 survivors or more, 13 of them honest
SEMI_HONEST: Final = Plan.find(clients=20, max_dropped=3, max_corrupt=4, adversary=Adversary.SEMI_HONEST)


def config_of(plan: Plan = PLAN, *, length: int = 1000) -> RoundConfig:
    return RoundConfig(
        session=bytes(16),
        round=1,
        plan=plan,
        invited_digest=bytes(32),
        recipe_digest=bytes(32),
        instructions_digest=bytes(32),
        ring_bits=32,
        length=length,
    )


def refusal(policy: Policy, config: RoundConfig) -> str:
    with pytest.raises(Violation) as refused:
        policy.check(config)
    assert refused.value.rule is Rule.OFFER_POLICY
    return str(refused.value)


def test_the_default_takes_an_active_round_and_no_semi_honest_one() -> None:
    Policy().check(config_of())
    assert "semi-honest" in refusal(Policy(), config_of(SEMI_HONEST))
    Policy(adversaries=frozenset(Adversary)).check(config_of(SEMI_HONEST))
    assert "active" in refusal(Policy(adversaries=frozenset({Adversary.SEMI_HONEST})), config_of())


EDGES: Final[list[tuple[str, int, int, str]]] = [
    ("min_survivors", 17, 18, r"17 clients, the floor is 18"),
    ("min_honest", 13, 14, r"13 honest survivors, the floor is 14"),
    ("min_corrupt", 4, 5, r"4 colluders, the floor is 5"),
    ("max_length", 1000, 999, r"1000 words, the ceiling is 999"),
    ("max_chunk_words", 1000, 999, r"4194304 words, the ceiling is 999"),
]


@pytest.mark.parametrize(("name", "met", "missed", "text"), EDGES)
def test_each_floor_holds_at_its_edge(name: str, met: int, missed: int, text: str) -> None:
    floors: dict[str, Any] = {name: met}
    Policy(**floors).check(config_of())
    floors[name] = missed
    assert text in refusal(Policy(**floors), config_of())


def test_every_floor_has_an_edge_here() -> None:
    names = {field.name for field in dataclasses.fields(Policy)}
    assert names == {"adversaries", "session", "max_round_step"} | {name for name, *_ in EDGES}


def test_a_client_of_one_session_serves_no_other() -> None:
    Policy(session=bytes(16)).check(config_of())
    assert "another session" in refusal(Policy(session=b"s" * 16), config_of())


def test_the_default_wants_three_survivors_and_two_honest_ones() -> None:
    def plan(dropped: int, corrupt: int) -> Plan:
        return UncertifiedPlan(
            clients=5,
            max_dropped=dropped,
            max_corrupt=corrupt,
            adversary=Adversary.ACTIVE,
            degree=4,
            threshold=2,
            quorum=2,
        )

    Policy().check(config_of(plan(2, 1)))
    assert "2 clients" in refusal(Policy(), config_of(plan(3, 0)))
    assert "1 honest" in refusal(Policy(), config_of(plan(2, 2)))
    LaxPolicy().check(config_of(plan(3, 0)))
    assert "1 honest" in refusal(LaxPolicy(), config_of(plan(3, 1)))  # a sum of one is no sum, whatever the policy


def test_the_honest_are_counted_without_all_colluders() -> None:
    policy = Policy(min_honest=14)
    refusal(policy, config_of())
    policy.check(config_of(dataclasses.replace(PLAN, max_corrupt=3)))
    policy.check(config_of(dataclasses.replace(PLAN, max_dropped=2)))


IMPOSSIBLE: Final[list[dict[str, Any]]] = [
    {"min_honest": 1},
    {"min_honest": 0},
    {"min_honest": -1},
    {"min_survivors": 1},
    {"min_survivors": -3},
    {"min_corrupt": -1},
    {"max_length": 0},
    {"max_chunk_words": 0},
    {"max_round_step": 0},
    {"min_honest": 2.5},
    {"min_honest": True},
    {"min_survivors": float("nan")},
    {"min_corrupt": None},
    {"max_length": "long"},
    {"adversaries": frozenset()},
    {"adversaries": frozenset({"lazy"})},
]


@pytest.mark.parametrize("floors", IMPOSSIBLE, ids=str)
@pytest.mark.parametrize("kind", [Policy, LaxPolicy])
def test_a_floor_below_sense_does_not_exist(kind: type[Policy], floors: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(floors))):
        kind(**floors)


def test_a_policy_cannot_be_lowered_once_it_exists() -> None:
    policy = Policy()
    with pytest.raises(dataclasses.FrozenInstanceError):
        policy.min_survivors = 2  # type: ignore[misc]  # that it is frozen is the test
    with pytest.raises(ConfigError):
        dataclasses.replace(policy, min_honest=1)


def test_only_the_policy_of_tests_takes_an_uncertified_plan() -> None:
    assert Policy().plan_type is Plan
    assert LaxPolicy().plan_type is UncertifiedPlan
    assert "plan_type" not in {field.name for field in dataclasses.fields(Policy)}
