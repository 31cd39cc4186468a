"""The walk over the rules finds nothing missing, would find it, and docs/validation.md says what it found."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from secagg.rules import Rule
from tests import rules
from tests.support.baits import CLIENT_REFUSES

ROOT = Path(__file__).resolve().parents[2]


def test_every_rule_is_proven() -> None:
    assert {proof.rule.value: proof.missing for proof in rules.walk() if proof.missing} == {}


def test_the_command_prints_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert rules.main(["--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["rules"], figures["unproven"]) == (len(Rule), 0)
    assert figures["bad_vectors"] >= 60


def test_people_get_a_line_a_rule(capsys: pytest.CaptureFixture[str]) -> None:
    assert rules.main([]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(Rule) + 1


# That it would find what is missing.

LONELY = Rule.SURVIVORS_INBOX


def lacking(**changes: Any) -> dict[Rule, tuple[str, ...]]:
    return {proof.rule: proof.missing for proof in rules.walk(**changes) if proof.missing}


def test_a_rule_the_page_does_not_state_is_unproven() -> None:
    page = rules.PAGE.read_text(encoding="utf-8").replace(LONELY.meaning, "all is well")
    assert lacking(page=page) == {LONELY: ("a row in docs/protocol.md",)}


def test_a_rule_without_a_bad_vector_is_unproven() -> None:
    counts = {rule: count for rule, count in rules.count_bad_vectors().items() if rule is not LONELY}
    assert lacking(bad_vectors=counts) == {LONELY: ("a bad vector",)}


def test_a_rule_no_code_enforces_is_unproven() -> None:
    tables = rules.make_tables()
    places = {rule: where for rule, where in tables.places().items() if rule is not LONELY}
    code: Any = SimpleNamespace(places=lambda: places, groups=tables.groups)
    assert lacking(code=code) == {LONELY: ("code that enforces it",)}


def test_a_rule_without_a_scenario_is_unproven(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = [(rule, scenario) for rule, scenario in CLIENT_REFUSES if rule is not LONELY]
    monkeypatch.setattr(rules, "CLIENT_REFUSES", kept)
    assert lacking() == {LONELY: ("an adversary scenario",)}
    assert rules.main(["--json"]) == 1
    assert json.loads(capsys.readouterr().out)["missing"] == {LONELY.value: ["an adversary scenario"]}


def test_an_outcome_whose_function_is_gone_is_unproven(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its place is named by hand, so it is looked for."""
    tables = rules.make_tables()
    gone = "no error: `pairwise/client.py` `_open_no_boxes`; nobody is left out"
    monkeypatch.setattr(tables, "OUTCOMES", {**tables.OUTCOMES, Rule.BOX_OPENS: gone})
    assert lacking(code=tables) == {Rule.BOX_OPENS: ("code that enforces it",)}


# The page.


def make_validation() -> Any:
    spec = importlib.util.spec_from_file_location("make_validation", ROOT / "docs" / "make_validation.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_code_says() -> None:
    script = make_validation()
    assert script.PAGE.read_text(encoding="utf-8") == script.page(), "run python docs/make_validation.py"


def test_the_diagrams_join_every_phase_from_beginning_to_end() -> None:
    script = make_validation()
    for path in script.PHASES.values():
        arrows = [(source, target) for source, target, _ in script.transitions(path)]
        reached = {script.OUTSIDE}
        for _ in arrows:
            reached |= {target for source, target in arrows if source in reached}
        assert reached == {phase for arrow in arrows for phase in arrow}
        assert len(reached) == 6
        assert [target for source, target in arrows if target == script.OUTSIDE] == [script.OUTSIDE]


def test_a_phase_that_leads_nowhere_would_show(tmp_path: Path) -> None:
    path = tmp_path / "phases.py"
    path.write_text(
        "class First(Phase):\n"
        "    def answer(self, message: Asked) -> tuple[Second, Said]:\n"
        "        with self._answering(): ...\n"
        "    def look(self) -> Said: ...\n"
        "class Second(Phase):\n"
        "    def receive(self, position: int, message: Heard) -> None: ...\n",
        encoding="utf-8",
    )
    assert list(make_validation().transitions(path)) == [
        ("[*]", "First", "a new round"),
        ("First", "Second", "answer(Asked) / Said"),
        ("Second", "Second", "receive(Heard)"),
    ]
