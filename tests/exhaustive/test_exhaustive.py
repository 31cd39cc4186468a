"""Small rounds, every way they can go: nothing but sums of all survivors can be read, and weakened rules are found out.

`python -m tests.exhaustive --clients 4` has the plans that take longer.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace

import pytest

from secagg.pairwise import checks
from secagg.pairwise import client as phases
from secagg.pairwise.messages import SurvivorSet
from secagg.pairwise.roster import Joined
from secagg.primitives.secret import Secret
from tests.exhaustive import __main__ as command
from tests.exhaustive.search import OTHER_MASKS, OTHER_SHARES, lying_server
from tests.exhaustive.silences import honest_server
from tests.proof.leg_model import Numbers, certified, explore

SMALL = [numbers for numbers in (*certified(3), *certified(4)) if len(numbers.honest) < 4]
NUMBERS = {
    f"n={each.clients} m={each.corrupt} d={each.dropped} t={each.threshold} q={each.quorum}": each for each in SMALL
}
BEARS_ONE = Numbers(clients=3, corrupt=0, dropped=1, threshold=2, quorum=2)
EVERYONE = frozenset(range(BEARS_ONE.clients))


@pytest.mark.parametrize("name", NUMBERS)
def test_a_lying_server_reads_no_partial_sum_whatever_it_shows_whom(name: str) -> None:
    numbers = NUMBERS[name]
    found = lying_server(numbers)
    assert not found.violations
    sums = {f"sum of {count}" for count in range(numbers.floor - numbers.corrupt, len(numbers.honest) + 1)}
    assert found.outcomes.keys() == {"nothing", *sums}  # every sum that is allowed is reached, and no other
    assert found.sums == explore(numbers).sums  # as in the model, which delivers in every order


@pytest.mark.parametrize("numbers", list(certified(3)), ids=repr)
def test_an_honest_server_comes_to_the_exact_sum_or_ends_where_too_few_are_left(numbers: Numbers) -> None:
    found = honest_server(numbers)
    assert not found.violations
    assert found.states == 6**numbers.clients
    assert f"sum of {numbers.clients}" in found.outcomes


# Mutants.


def test_a_client_that_holds_survivors_against_the_roster_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = checks.check_survivors

    def by_roster(
        message: SurvivorSet, *, invitation: checks.Invitation, joined: Joined, inbox: Collection[int]
    ) -> frozenset[int]:
        return genuine(message, invitation=invitation, joined=joined, inbox=joined.adverts.keys())

    monkeypatch.setattr(checks, "check_survivors", by_roster)
    assert "partial sum" in lying_server(BEARS_ONE, until="partial sum").violations


@pytest.mark.parametrize(
    "numbers",
    [
        pytest.param(Numbers(clients=4, corrupt=1, dropped=1, threshold=2, quorum=0), id="and nobody signs"),
        pytest.param(Numbers(clients=4, corrupt=2, dropped=0, threshold=2, quorum=4), id="the helpers' are enough"),
    ],
)
def test_a_threshold_that_is_too_small_is_found_out(numbers: Numbers) -> None:
    assert "both secrets" in lying_server(numbers, until="both secrets").violations


def test_a_quorum_that_is_too_small_is_found_out() -> None:
    numbers = Numbers(clients=4, corrupt=1, dropped=1, threshold=3, quorum=2)
    assert "two survivor sets" in lying_server(numbers, until="two survivor sets").violations


def test_a_client_that_leaves_a_mask_out_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks are held against the inbox by their bytes."""
    genuine = phases.AwaitingInput._mask_keys

    def forgetful(phase: phases.AwaitingInput) -> tuple[list[Secret], list[Secret]]:
        plus, minus = genuine(phase)
        return plus[:1], minus

    monkeypatch.setattr(phases.AwaitingInput, "_mask_keys", forgetful)
    assert OTHER_MASKS in lying_server(BEARS_ONE, until=OTHER_MASKS).violations


def test_a_client_that_reveals_the_other_share_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = phases.Held.reveal
    monkeypatch.setattr(phases.Held, "reveal", lambda held, survivors: genuine(held, EVERYONE - survivors))
    assert OTHER_SHARES in lying_server(BEARS_ONE, until=OTHER_SHARES).violations


def test_the_command_counts_what_it_found(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "certified", lambda clients: [BEARS_ONE])
    assert command.main(["--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["violations"] == 0
    assert figures["states"] == sum(figures["outcomes"].values()) > 6**3
    monkeypatch.setattr(command, "certified", lambda clients: [replace(BEARS_ONE, quorum=0, threshold=3)])
    assert command.main([]) == 1
    assert "two survivor sets" in capsys.readouterr().err
