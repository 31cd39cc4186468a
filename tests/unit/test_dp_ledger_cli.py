"""`secagg ledger`: what an auditor reads off a ledger's file alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dp import Budget, Charge, FileStorage, Ledger, Neighboring, SkellamSum
from protocols.cli import main

CHARGE = Charge(server=SkellamSum(variance=1e6, sensitivity=500.0), public=SkellamSum(variance=2e6, sensitivity=500.0))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "privacy.ledger"
    budget = Budget(epsilon=8.0, delta=1e-6, neighboring=Neighboring.ZERO_OUT)
    with Ledger.create(FileStorage(path), budget=budget) as ledger:
        for name in ("one", "two", "three"):
            ledger.reserve(name, CHARGE)
        ledger.commit("one")
        ledger.release("two")
    return path


def test_it_says_what_is_spent_on_whom(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", str(path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["rounds_reserved"], figures["rounds_committed"], figures["rounds_released"]) == (1, 1, 1)
    assert figures["within_budget"]
    assert 0.0 < figures["epsilon_public_view"] < figures["epsilon_server_view"] <= 8.0
    assert main(["ledger", str(path)]) == 0
    text = capsys.readouterr().out
    assert "1 reserved, 1 committed, 1 released" in text
    assert f"{figures['epsilon_server_view']:.4f}" in text
    assert figures["anchor"] in text
    assert max(map(len, text.splitlines())) <= 80


def test_it_needs_neither_lock_nor_note(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Ledger.open(FileStorage(path)):
        assert main(["ledger", str(path), "--json"]) == 0
    path.with_name("privacy.ledger.head").unlink()
    assert main(["ledger", str(path), "--json"]) == 0
    assert capsys.readouterr().err == ""


def test_an_anchor_shows_a_ledger_that_was_set_back(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ledger", str(path), "--json"]) == 0
    anchor = json.loads(capsys.readouterr().out)["anchor"]
    assert main(["ledger", str(path), "--anchor", anchor]) == 0
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    assert main(["ledger", str(path)]) == 0
    assert main(["ledger", str(path), "--anchor", anchor]) == 1
    assert "set back" in capsys.readouterr().err
    assert main(["ledger", str(path), "--anchor", "nonsense"]) == 2


def test_what_is_no_ledger_is_refused_in_one_line(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.write_bytes(path.read_bytes().replace(b'"one"', b'"oen"', 1))
    assert main(["ledger", str(path)]) == 1
    assert main(["ledger", str(path.parent / "nowhere")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert not (path.parent / "nowhere").exists()
