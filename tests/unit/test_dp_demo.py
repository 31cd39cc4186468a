"""The demonstration under a privacy budget: what it prints, that the budget holds, and that epsilon only grows."""

from __future__ import annotations

import functools
import itertools
import json
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from dp import Against, Budget, Neighboring, Skellam, epsilon
from dp.events import Repeated
from protocols.cli import main
from protocols.demo import digits
from protocols.demo.outcome import DEFAULT_DELTA, Outcome, RoundRecord, Settings
from protocols.demo.secure import Federation, Ledgers
from protocols.demo.supervised import SupervisedTask
from protocols.demo.task import SettingError
from protocols.demo.training_plain import ScheduledRound
from protocols.simulate import LegReport
from secagg import Adversary

CAPSYS = pytest.CaptureFixture[str]

SMALL = ["demo", "digits", "--clients", "9", "--rounds", "2", "--dropout", "0.3", "--epsilon", "8", "--delta", "1e-5"]
SETTINGS = Settings(
    clients=9,
    rounds=3,
    dropout=0.3,
    max_dropped=0.3,
    max_corrupt=0.1,
    adversary=Adversary.ACTIVE,
    seed_data=0,
    epsilon=6.0,
    delta=1e-6,
)
PRIVATE_KEYS = {
    "epsilon_budget",
    "delta",
    "epsilon_server_view",
    "epsilon_public_view",
    "accountant",
    "neighboring",
    "rounds_planned",
    "rounds_run",
    "halted_by_budget",
    "most_rounds_of_a_client",
    "clip",
    "noise_std",
}


@functools.cache
def task() -> SupervisedTask:
    return digits.load()


@dataclass
class Spy:
    """A screen that only writes down the rounds, and what they had cost when they were shown."""

    records: list[RoundRecord] = field(default_factory=list)

    def opened(self, federation: Federation) -> None:
        pass

    def leg(self, scheduled: ScheduledRound, report: LegReport) -> None:
        pass

    def round(self, record: RoundRecord) -> None:
        self.records.append(record)

    def comparing(self, what: str) -> None:
        pass


@functools.cache
def ran(**changes: Any) -> tuple[Federation, Outcome, Spy]:
    federation, spy = Federation(task(), replace(SETTINGS, **changes)), Spy()
    return federation, federation.run(spy), spy


# The command.


def test_json_says_what_was_spent_and_the_budget_holds(capsys: CAPSYS) -> None:
    assert main([*SMALL, "--json"]) == 0
    shown = capsys.readouterr()
    figures: dict[str, Any] = json.loads(shown.out)
    assert figures.keys() >= PRIVATE_KEYS
    assert figures["epsilon_budget"] == 8.0
    assert figures["delta"] == 1e-5
    assert 0.0 < figures["epsilon_server_view"] <= 8.0
    # Against an active server a colluder may have left its noise out, so who sees the models only gains nothing.
    assert figures["epsilon_public_view"] == figures["epsilon_server_view"]
    assert figures["accountant"] == "renyi"
    assert figures["neighboring"] == "zero_out"
    assert figures["rounds_planned"] == 2
    assert figures["rounds_run"] >= 2  # the plan's fewest survivors are what was planned for
    assert figures["rounds_run"] > figures["rounds_aborted"]
    assert isinstance(figures["halted_by_budget"], bool)
    assert 0 < figures["most_rounds_of_a_client"] <= figures["rounds_run"]
    assert figures["noise_std"] > 0.0
    assert figures["largest_difference"] == figures["rounding_step"] == 0.0
    assert shown.err.count(", epsilon ") == figures["rounds_run"]


def test_a_semi_honest_server_leaves_the_public_view_cheaper() -> None:
    _, outcome, _ = ran(adversary=Adversary.SEMI_HONEST, rounds=1)
    assert outcome.privacy is not None
    spent = outcome.privacy.spent
    assert 0.0 < spent.public.epsilon < spent.server.epsilon <= 6.0


def test_sums_without_a_budget_say_nothing_about_one(capsys: CAPSYS) -> None:
    assert main(["demo", "digits", "--clients", "9", "--rounds", "1", "--dropout", "0.3", "--json"]) == 0
    assert not PRIVATE_KEYS & json.loads(capsys.readouterr().out).keys()


def test_what_is_printed_for_people_fits_80_columns(capsys: CAPSYS) -> None:
    assert main(SMALL) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert "budget epsilon 8.0 at delta 1e-05" in text
    assert "Privacy: delta 1e-05" in text
    assert "who sees the models only" in text
    assert "its own ledger says so" in text
    assert "all noised" in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--delta", "1e-5"], "give --epsilon"),
        (["--epsilon", "0"], "epsilon=0.0"),
        (["--epsilon", "-1"], "epsilon=-1.0"),
        (["--epsilon", "nan"], "epsilon=nan"),
        (["--epsilon", "501"], "epsilon=501.0"),
        (["--epsilon", "1", "--delta", "0"], "delta=0.0"),
        (["--epsilon", "1", "--delta", "1"], "delta=1.0"),
        (["--epsilon", "1e-7"], "epsilon="),
    ],
)
def test_a_budget_that_cannot_be_is_refused_in_one_line(arguments: list[str], text: str, capsys: CAPSYS) -> None:
    assert main(["demo", "digits", "--clients", "9", "--rounds", "1", *arguments, "--json"]) == 2
    shown = capsys.readouterr()
    assert text in shown.err
    assert shown.out == ""
    assert "Traceback" not in shown.err


@pytest.mark.parametrize("output", [["--json"], []])
def test_a_budget_beyond_the_samplers_is_refused_or_runs(output: list[str], capsys: CAPSYS) -> None:
    """Noise for an epsilon this large is refused or does what it says; it does not end in a run of no round."""
    arguments = ["demo", "digits", "--clients", "9", "--rounds", "1", "--epsilon", "100", *output]
    code = main(arguments)
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    if code == 0 and output:
        assert json.loads(shown.out)["rounds_run"] >= 1
    else:
        assert code in (0, 2)


# The run behind it.


def test_epsilon_grows_from_round_to_round_and_stays_within_the_budget() -> None:
    federation, outcome, spy = ran()
    spent = [record.spent for record in outcome.records]
    assert None not in spent
    for view in ("server", "public"):
        grown = [getattr(each, view).epsilon for each in spent]
        assert all(before < after for before, after in itertools.pairwise(grown))
        assert grown[0] > 0.0
        assert grown[-1] <= 6.0
    assert all(each.server.against is Against.SERVER and each.server.delta == 1e-6 for each in spent if each)
    assert [record.spent for record in spy.records] == spent
    assert outcome.privacy is not None
    assert outcome.privacy.spent == spent[-1]
    assert len(outcome.records) >= federation.settings.rounds


def test_what_is_shown_is_what_the_survivors_cost() -> None:
    """The figure again, from the records alone: every round at its survivors, less the colluders."""
    federation, outcome, _ = ran()
    recipe, plan = federation.recipe, federation.plan
    events = [recipe.charge(plan, survivors=len(record.survivors) or None).server for record in outcome.records]
    budget = Budget(epsilon=6.0, delta=1e-6, neighboring=Neighboring.ZERO_OUT)
    again = epsilon(events, delta=budget.noise_delta, neighboring=Neighboring.ZERO_OUT, against=Against.SERVER)
    assert outcome.privacy is not None
    assert outcome.privacy.spent.server.epsilon == pytest.approx(again.epsilon, rel=1e-9)


def test_the_run_halts_where_the_next_round_might_not_fit() -> None:
    federation, outcome, _ = ran()
    assert outcome.privacy is not None
    assert outcome.privacy.halted_by_budget
    assert len(outcome.records) < federation.settings.most_rounds
    assert outcome.privacy.client_rounds <= len(outcome.records)
    worst = federation.recipe.charge(federation.plan).server
    happened = [
        federation.recipe.charge(federation.plan, survivors=len(record.survivors) or None).server
        for record in outcome.records
    ]
    one_more = epsilon([*happened, worst], delta=1e-6, neighboring=Neighboring.ZERO_OUT, against=Against.SERVER).epsilon
    assert one_more > 6.0


def test_the_planned_rounds_fit_at_the_fewest_survivors() -> None:
    federation, _, _ = ran()
    planned = Repeated(event=federation.recipe.charge(federation.plan).server, count=federation.settings.rounds)
    budget = Budget(epsilon=6.0, delta=1e-6, neighboring=Neighboring.ZERO_OUT)
    found = epsilon([planned], delta=budget.noise_delta, neighboring=Neighboring.ZERO_OUT, against=Against.SERVER)
    assert 0.99 * 6.0 < found.epsilon <= 6.0
    assert isinstance(federation.recipe.noise, Skellam)
    with ExitStack() as closing:
        ledgers = Ledgers(federation, closing)
        for number in range(federation.settings.rounds):
            assert ledgers.would_allow()
            ledgers.server.reserve(f"round {number}", federation.recipe.charge(federation.plan))
        assert not ledgers.would_allow()


def test_no_weight_travels_under_a_budget_and_every_update_is_clipped_to_the_private_clip() -> None:
    federation, _, _ = ran()
    assert federation.recipe.weight is None
    assert federation.recipe.clip == task().private_clip
    assert dict(federation.recipe.metrics) == dict(task().metric_bounds)


def test_rounds_that_abort_are_charged_all_the_same() -> None:
    """Three rounds lose more clients than the plan bears, all of them after inputs were asked for."""
    _, outcome, _ = ran(clients=12, rounds=4, max_dropped=0.2)
    aborted = [record for record in outcome.records if record.aborted is not None]
    assert aborted
    for record in aborted:
        assert record.spent is not None
        assert record.survivors == ()
    assert outcome.privacy is not None
    assert outcome.privacy.spent.server.epsilon <= 6.0


def test_settings_refuse_a_budget_out_of_range() -> None:
    assert SETTINGS.most_rounds > SETTINGS.rounds
    assert replace(SETTINGS, epsilon=None).most_rounds == SETTINGS.rounds
    wrongs: tuple[dict[str, Any], ...] = ({"epsilon": 0.0}, {"epsilon": float("inf")}, {"delta": 0.0}, {"delta": 1.0})
    for wrong in wrongs:
        with pytest.raises(SettingError):
            replace(SETTINGS, **wrong)
    assert 0.0 < DEFAULT_DELTA < 1e-3
