"""The model of the legs holds in every state it can reach, fails where a rule is weakened, and is the product's model.

What fails is found with its shortest way there, and the ways are those of the attack catalogue: a survivor outside a
victim's inbox, both secrets by two survivor sets, colluders that open alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from operator import ne

import pytest

from secagg import graph
from secagg.config import RoundConfig
from secagg.errors import ConfigError, RemoteError
from secagg.identity import client_id
from secagg.pairwise import checks
from secagg.pairwise.messages import KeyAdvert, SurvivorSet
from secagg.pairwise.roster import Joined
from secagg.plan import Plan
from secagg.testing.table import VectorRecipe, client_names
from secagg.types import Adversary
from secagg.wire import pack_positions
from tests.proof.leg_model import (
    Numbers,
    Rules,
    View,
    accepts_survivors,
    certified,
    explore,
    holds,
    subsets,
)

BOTH, TWO, PARTIAL = "both secrets", "two survivor sets", "partial sum"
SAFE = [*certified(3), *certified(4)]


def label(numbers: Numbers) -> str:
    return f"n={numbers.clients} m={numbers.corrupt} d={numbers.dropped} t={numbers.threshold} q={numbers.quorum}"


def rules_for(numbers: Numbers) -> Rules:
    """Four honest clients with rosters of their own are a million states; the search of the real phases has them."""
    return Rules(rosters=len(numbers.honest) < 4)


@pytest.mark.parametrize("numbers", SAFE, ids=label)
def test_no_state_of_a_safe_plan_opens_both_secrets_or_shows_a_partial_sum(numbers: Numbers) -> None:
    found = explore(numbers, rules_for(numbers))
    assert not found.violations
    assert (1 << len(numbers.honest)) - 1 in found.sums  # and the whole sum does come out, so the search got there
    assert all(members.bit_count() >= 2 for members in found.sums)


def weakened(clients: int, corrupt: int, *, dropped: int, threshold: int, quorum: int) -> Numbers:
    return Numbers(clients=clients, corrupt=corrupt, dropped=dropped, threshold=threshold, quorum=quorum)


BY_ROSTER = Rules(against_inbox=False)
ONE_IS_ENOUGH = Rules(honest_floor=1)
ONE_ROSTER = Rules(rosters=False)

MUTANTS = {
    "roster instead of inbox": (weakened(3, 0, dropped=1, threshold=2, quorum=2), BY_ROSTER, PARTIAL),
    "roster instead of inbox, m=1": (weakened(4, 1, dropped=1, threshold=3, quorum=3), BY_ROSTER, PARTIAL),
    "threshold one too small, no quorum": (weakened(3, 1, dropped=1, threshold=2, quorum=0), ONE_IS_ENOUGH, BOTH),
    "threshold too small, no quorum": (weakened(4, 1, dropped=1, threshold=2, quorum=0), ONE_ROSTER, BOTH),
    "as many shares as colluders": (weakened(4, 1, dropped=1, threshold=1, quorum=3), Rules(), BOTH),
    "quorum one too small": (weakened(4, 0, dropped=1, threshold=3, quorum=2), ONE_ROSTER, TWO),
    "one honest is enough": (weakened(3, 1, dropped=1, threshold=2, quorum=2), ONE_IS_ENOUGH, PARTIAL),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_weakened_rule_is_found_out(name: str) -> None:
    numbers, rules, wrong = MUTANTS[name]
    assert wrong in explore(numbers, rules, until=wrong).violations


def test_the_way_to_a_partial_sum_is_a_survivor_outside_an_inbox() -> None:
    numbers, rules, wrong = MUTANTS["roster instead of inbox"]
    way = explore(numbers, rules, until=wrong).violations[wrong]
    assert any(view.unmasked and view.survivors & ~view.inbox for view in way[-1])
    assert way[0] == tuple(View() for _ in numbers.honest)
    assert all(sum(map(ne, before, after)) == 1 for before, after in itertools.pairwise(way))  # one delivery a step


# The model is of the product: plans and survivor sets are accepted by both or by neither.


@pytest.mark.parametrize("clients", [3, 4, 5])
def test_the_plans_of_the_model_are_those_of_the_product(clients: int) -> None:
    def numbers_found() -> Iterator[Numbers]:
        for corrupt, dropped in itertools.product(range(clients), repeat=2):
            try:
                plan = Plan.find(clients=clients, max_dropped=dropped, max_corrupt=corrupt)
            except ConfigError:
                continue
            yield weakened(clients, corrupt, dropped=dropped, threshold=plan.threshold, quorum=plan.quorum)

    assert list(numbers_found()) == list(certified(clients))


def invitation_for(numbers: Numbers, position: int) -> checks.Invitation:
    plan = Plan(
        clients=numbers.clients,
        max_dropped=numbers.dropped,
        max_corrupt=numbers.corrupt,
        adversary=Adversary.ACTIVE,
        degree=numbers.clients - 1,
        threshold=numbers.threshold,
        quorum=numbers.quorum,
    )
    names = client_names(numbers.clients)
    config = RoundConfig.create(
        session=bytes(16), round=1, plan=plan, invited=names, recipe=VectorRecipe(length=1, bits=32)
    )
    invited = tuple(client_id(name) for name in names)
    return checks.Invitation(config, invited, position, min_survivors=plan.min_survivors, min_honest=2)


def positions(members: int) -> list[int]:
    return [position for position in range(members.bit_length()) if holds(members, position)]


@pytest.mark.parametrize("numbers", SAFE, ids=label)
def test_the_product_believes_the_survivor_sets_that_the_model_believes(numbers: Numbers) -> None:
    """Client 0, for every roster, inbox and survivor set; roster and inbox need not be ones it would have taken."""
    invitation = invitation_for(numbers, 0)
    advert = KeyAdvert(bytes(32), bytes(32), bytes(32), bytes(64))
    believed = 0
    for roster in subsets(numbers.everyone):
        joined = Joined(dict.fromkeys(positions(roster), advert), bytes(32), graph.complete(numbers.clients))
        for inbox, survivors in itertools.product(subsets(roster), subsets(numbers.everyone)):
            message = SurvivorSet(survivors=pack_positions(positions(survivors), numbers.clients))
            try:
                checks.check_survivors(message, invitation=invitation, joined=joined, inbox=positions(inbox | 1))
                accepted = True
            except RemoteError:
                accepted = False
            view = View(roster=roster, inbox=inbox | 1)
            assert accepted == accepts_survivors(numbers, Rules(), view, 0, survivors)
            believed += accepted
    assert believed
