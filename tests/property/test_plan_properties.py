"""Theorems about plans: tails are exact, what constructs is safe, what is proposed works, more never costs less."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
import re
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from secagg import bounds
from secagg.errors import ConfigError
from secagg.plan import Plan
from secagg.types import MAX_CLIENTS, Adversary

ACTIVE, SEMI_HONEST = Adversary.ACTIVE, Adversary.SEMI_HONEST
deadline_free = settings(deadline=None)


@st.composite
def draws_from_a_population(draw: st.DrawFn, *, largest: int) -> dict[str, int]:
    population = draw(st.integers(1, largest))
    marked, draws = draw(st.integers(0, population)), draw(st.integers(0, population))
    fewest, most = max(0, marked + draws - population), min(marked, draws)
    return {
        "population": population,
        "marked": marked,
        "draws": draws,
        "hits": draw(st.integers(fewest, most) | st.sampled_from((fewest - 1, fewest + 1, most, most + 1))),
    }


@st.composite
def demands(draw: st.DrawFn, *, largest: int = 3000) -> dict[str, Any]:
    """Numbers that are often possible, and often not."""
    clients = draw(st.integers(2, 80) | st.integers(2, largest))
    return {
        "clients": clients,
        "max_dropped": draw(st.integers(0, clients // 2) | st.integers(0, clients + 1)),
        "max_corrupt": draw(st.integers(0, clients // 2) | st.integers(0, clients + 1)),
        "adversary": draw(st.sampled_from(Adversary)),
        "security_bits": draw(st.just(40) | st.integers(40, 128)),
        "correctness_bits": draw(st.just(30) | st.integers(30, 128)),
    }


def found(demand: dict[str, Any]) -> Plan | None:
    try:
        return Plan.find(**demand)
    except ConfigError:
        return None


def refusal_of(fields: dict[str, Any]) -> ConfigError | None:
    try:
        Plan(**fields)
    except ConfigError as refusal:
        return refusal
    return None


def proposed_by(refusal: ConfigError) -> dict[str, int]:
    return {name: int(number) for name, number in re.findall(r"(?:lower|raise) (\w+) to (\d+)", str(refusal))}


def holds_in_exact_integers(plan: Plan) -> bool:
    """The certificate once more: nothing of `secagg.bounds`, no floating point."""
    n, d, m, k, t = plan.clients, plan.max_dropped, plan.max_corrupt, plan.degree, plan.threshold
    if n - d - m < 2 or t < 2 or t > 2048 or plan.security_bits < 40 or plan.correctness_bits < 30:
        return False
    if plan.adversary is ACTIVE:
        both = 2 * t > n + m and 2 * plan.quorum > n + m
        return 3 <= n <= 2048 and k == n - 1 and both and max(t, plan.quorum) <= n - d
    if k == n - 1:
        return n <= 2048 and m < t <= n - d and plan.quorum == 0
    whole = math.comb(n - 1, k)
    opened = sum(math.comb(m, x) * math.comb(n - 1 - m, k - x) for x in range(t, min(m, k) + 1))
    lost = sum(math.comb(d, k - x) * math.comb(n - 1 - d, x) for x in range(max(0, k - d), min(t, k + 1)))
    cut = n * (n - k - 1) * math.comb(m + d, k)
    return (
        k % 2 == 0
        and plan.quorum == 0
        and (n * opened << (plan.security_bits + 1)) <= whole
        and (cut << (plan.security_bits + 1)) <= 2 * math.comb(n, k)
        and (n * lost << plan.correctness_bits) <= whole
    )


@deadline_free
@given(draws_from_a_population(largest=10_000))
def test_tails_agree_with_exact_integers(question: dict[str, int]) -> None:
    population, marked, draws, hits = question.values()
    fewest, most = max(0, marked + draws - population), min(marked, draws)
    whole, above = math.comb(population, draws), 0
    start = max(hits, fewest)
    if start <= most:
        above = term = math.comb(marked, start) * math.comb(population - marked, draws - start)
        for x in range(start, most):
            term = term * (marked - x) * (draws - x) // ((x + 1) * (population - marked - draws + x + 1))
            above += term
    for ours, part in (
        (bounds.log2_tail_at_least(**question), above),
        (bounds.log2_tail_below(**question), whole - above),
    ):
        if part == 0:
            assert ours == -math.inf
        else:
            assert abs(ours - (math.log2(part) - math.log2(whole))) <= bounds.ROUNDING_BITS


@deadline_free
@given(demands())
def test_a_plan_found_holds_in_exact_integers(demand: dict[str, Any]) -> None:
    plan = found(demand)
    assume(plan is not None)
    assert plan is not None
    assert holds_in_exact_integers(plan)
    assert {name: getattr(plan, name) for name in demand} == demand


@deadline_free
@given(demands(), st.data())
def test_whatever_constructs_holds_in_exact_integers(demand: dict[str, Any], data: st.DataObject) -> None:
    """Start from a plan or from nothing, and turn any of its numbers by a little or a lot."""
    clients = demand["clients"]
    plan = found(demand)
    shape = (plan.degree, plan.threshold, plan.quorum) if plan else (clients - 1, clients // 2 + 1, 0)
    numbers = dict(demand, degree=shape[0], threshold=shape[1], quorum=shape[2])
    for name in data.draw(st.sets(st.sampled_from(sorted(numbers.keys() - {"adversary"})), max_size=3)):
        near = st.integers(numbers[name] - 2, numbers[name] + 2)
        numbers[name] = data.draw(near | st.integers(0, clients), label=name)
    if refusal_of(numbers) is None:
        assert holds_in_exact_integers(Plan(**numbers))


@deadline_free
@given(demands())
def test_what_a_refusal_proposes_is_a_plan(demand: dict[str, Any]) -> None:
    assume(found(demand) is None)
    with pytest.raises(ConfigError) as refusal:
        Plan.find(**demand)
    changes = proposed_by(refusal.value)
    assert changes
    assert changes.keys() <= {"clients", "max_dropped", "max_corrupt"}
    plan = Plan.find(**demand | changes)
    assert holds_in_exact_integers(plan)
    if changes.keys() == {"max_dropped"}:
        assert found(demand | {"max_dropped": plan.max_dropped + 1}) is None, "the most that can drop is proposed"


@deadline_free
@given(demands(), st.sampled_from(("degree", "threshold", "quorum")), st.integers(-40, 40))
def test_following_refusals_by_hand_ends_at_a_plan(demand: dict[str, Any], name: str, change: int) -> None:
    """A plan with one number turned: each refusal names what to turn back, and that is soon over."""
    plan = found(demand)
    assume(plan is not None)
    assert plan is not None
    fields = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    holders = plan.clients if name == "quorum" else plan.degree + (name == "threshold")
    least = 0 if name == "quorum" else 1
    fields[name] = min(max(fields[name] + change, least), holders)
    for _ in range(4):
        refusal = refusal_of(fields)
        if refusal is None:
            return
        assert proposed_by(refusal), refusal
        fields |= proposed_by(refusal)
    Plan(**fields)


@deadline_free
@given(demands(largest=400))
def test_no_smaller_degree_or_threshold_would_do(demand: dict[str, Any]) -> None:
    plan = found(demand)
    assume(plan is not None)
    assert plan is not None
    if plan.adversary is ACTIVE:
        assert 2 * (plan.threshold - 1) <= plan.clients + plan.max_corrupt
        assert plan.quorum == plan.threshold
        return
    assume(plan.clients >= 64)
    for k in range(2, plan.degree, 2):
        arguments = {"clients": plan.clients, "degree": k}
        lowest = bounds.smallest_threshold(**arguments, corrupt=plan.max_corrupt, security_bits=plan.security_bits)
        highest = bounds.largest_threshold(
            **arguments, dropped=plan.max_dropped, correctness_bits=plan.correctness_bits
        )
        split = bounds.log2_disconnected(**arguments, corrupt=plan.max_corrupt, dropped=plan.max_dropped)
        assert lowest > highest or not bounds.meets(split, plan.security_bits + 1)


@deadline_free
@given(demands(), st.sampled_from(("max_dropped", "max_corrupt", "security_bits", "correctness_bits")))
def test_asking_for_more_never_costs_less(demand: dict[str, Any], name: str) -> None:
    harder = found(demand | {name: demand[name] + 1})
    assume(harder is not None)
    assert harder is not None
    plan = found(demand)
    assert plan is not None, "what can be had with more can be had with less"
    assert plan.degree <= harder.degree
    if plan.adversary is ACTIVE or not harder.complete:
        assert plan.threshold <= harder.threshold
    assert plan.quorum <= harder.quorum


@deadline_free
@given(demands())
def test_plans_are_values(demand: dict[str, Any]) -> None:
    plan = found(demand)
    assume(plan is not None)
    for twin in (copy.copy(plan), copy.deepcopy(plan), pickle.loads(pickle.dumps(plan)), found(demand)):  # noqa: S301  # our own bytes
        assert twin == plan
        assert hash(twin) == hash(plan)


@deadline_free
@given(st.integers(2049, MAX_CLIENTS), st.floats(0, 0.42), st.floats(0, 0.42))
def test_large_cohorts_meet_their_odds(clients: int, dropped: float, corrupt: float) -> None:
    plan = Plan.find(
        clients=clients,
        max_dropped=int(clients * dropped),
        max_corrupt=int(clients * corrupt),
        adversary=SEMI_HONEST,
    )
    assert plan.odds.secrets_opened <= -41
    assert plan.odds.disconnected <= -41
    assert plan.odds.unrecoverable <= -30
    assert plan.threshold <= 2048
    assert plan.degree < clients - 1
