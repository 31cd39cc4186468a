"""The kept results are what the pages say, and every benchmark that is listed can be run."""

from __future__ import annotations

import dataclasses
import importlib
import json
from html import escape
from html.parser import HTMLParser

import pytest

from benchmarks import growth, page, plots, report, results
from benchmarks.__main__ import CASES, PAGES, main
from benchmarks.peers import page as peers_page
from benchmarks.results import Result
from benchmarks.targets import TARGETS, Target, Verdict

KEPT = results.load()


def test_the_table_of_the_performance_page_is_that_of_the_kept_results() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert text.count(page.BEGIN) == text.count(page.END) == 1
    assert page.rewritten(text, KEPT) == text, "run python -m benchmarks page"


def test_a_changed_result_changes_the_table() -> None:
    kernel = KEPT["kernel"]
    changed = dataclasses.replace(kernel, figures={**kernel.figures, "ratio_to_aes_ctr": 0.123})
    text = page.PAGE.read_text(encoding="utf-8")
    assert "| 0.123 | missed |" in page.rewritten(text, {**KEPT, "kernel": changed})


def test_the_page_of_peers_is_that_of_the_kept_cells() -> None:
    kept = json.loads(peers_page.KEPT.read_text(encoding="utf-8"))
    assert peers_page.PAGE.read_text(encoding="utf-8") == peers_page.page(kept), "run python -m benchmarks page"
    assert kept["figures"] == KEPT["peers"].figures
    assert kept["command"] == KEPT["peers"].command


def peer_cells(**peer: object) -> dict[str, object]:
    """A document of one cell, in which the peer's own numbers are twice ours but for what is passed."""
    numbers = ("client_cpu_s", "server_cpu_s", "client_masks_cpu_s", "server_masks_cpu_s", "uplink_bytes")
    ours = {"rounds": 3, "client_peak_bytes": 2e6} | dict.fromkeys(numbers, 0.5)
    theirs = {name: 2 * value for name, value in ours.items()} | peer
    cell = {"clients": 10, "length": 1000, "dropped_percent": 30, "parties": {"ours": ours, "flwr_secagg": theirs}}
    kept = json.loads(peers_page.KEPT.read_text(encoding="utf-8"))
    return {**kept, "cells": [cell]}


def test_a_row_of_peers_says_both_and_their_ratio() -> None:
    row = peers_page.page(peer_cells()).splitlines()[-1]
    whole = "| 500 / 1,000 | 2.00 | 2.00 "
    assert row == f"| 10 | 1,000 | 30 % {whole}{whole}| 0.000500 / 0.00100 | 2.00 | 2.00 / 4.00 | 2.00 |"


def test_a_row_of_peers_has_a_dash_for_what_was_not_measured() -> None:
    row = peers_page.page(peer_cells(client_peak_bytes=None, server_masks_cpu_s=0.0)).splitlines()[-1]
    assert row.endswith("| 500 / 1,000 | 2.00 | - | 0.000500 / 0.00100 | 2.00 | 2.00 / - | - |")


def test_a_peer_that_did_not_finish_has_its_reason_in_its_row() -> None:
    row = peers_page.page(peer_cells(failed="no answer within 900 s")).splitlines()[-1]
    assert row.startswith("| 10 | 1,000 | 30 % | no answer within 900 s |")
    assert row.count("|") == peers_page.page(peer_cells()).splitlines()[-1].count("|")


@pytest.mark.parametrize("name", [*CASES, *PAGES])
def test_every_listed_name_is_a_module_that_does_its_part(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert callable(module.run if name in CASES else module.write)


def test_what_is_not_listed_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing"]) == 2
    assert main(["codec", "--full"]) == 2
    assert "leave out --full" in capsys.readouterr().err
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in (*CASES, *PAGES))


def test_results_say_what_made_them_and_where() -> None:
    assert KEPT
    for name, result in KEPT.items():
        assert result.command.startswith(("python -m benchmarks ", "python -m benchmarks."))
        assert name in result.command
        assert {"processor", "python"} <= set(result.machine)


def target(*, more: bool) -> Target:
    gate, goal = (1.0, 2.0) if more else (2.0, 1.0)
    return Target(what="a figure", gate=gate, goal=goal, source=("bench", "figure"), more=more)


@pytest.mark.parametrize(
    ("more", "value", "verdict"),
    [
        (True, 2.0, Verdict.GOAL),
        (True, 1.99996, Verdict.GOAL),  # shown as 2
        (True, 1.999, Verdict.GATE),
        (True, 0.99, Verdict.MISSED),
        (False, 1.0, Verdict.GOAL),
        (False, 1.001, Verdict.GATE),
        (False, 2.001, Verdict.MISSED),
        (True, "it failed", Verdict.UNKNOWN),
    ],
)
def test_a_figure_is_judged_as_it_is_shown(more: bool, value: float | str, verdict: Verdict) -> None:  # noqa: FBT001  # a case
    kept = {"bench": Result(name="bench", command="", date="", machine={}, figures={"figure": value})}
    assert target(more=more).verdict(kept) is verdict
    assert target(more=more).verdict({}) is Verdict.UNKNOWN


class Balanced(HTMLParser):
    """Every plot that is opened is closed."""

    depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert not any(value and "http" in value for _, value in attrs), "the page is self-contained"
        self.depth += tag in ("svg", "table", "div", "main")

    def handle_endtag(self, tag: str) -> None:
        self.depth -= tag in ("svg", "table", "div", "main")


def test_the_report_is_one_whole_page_of_whatever_is_kept() -> None:
    for kept in (KEPT, {}, {"kernel": KEPT["kernel"]}):
        written = report.page(kept)
        parser = Balanced()
        parser.feed(written)
        assert parser.depth == 0
        assert written.count("<script") == 0
        assert all(escape(each.what) in written for each in TARGETS)


def test_an_exponent_is_the_slope_on_logarithmic_axes() -> None:
    assert growth.exponent({10: 3.0 * 10**1.5, 20: 3.0 * 20**1.5, 40: 3.0 * 40**1.5}) == pytest.approx(1.5)


def test_a_bar_passes_the_line_exactly_where_the_figure_passes_its_gate() -> None:
    for value, past in ((1.0, 0), (2.0, 1), (0.5, -1)):
        assert plots._beyond(value, 1.0, more=True) == past
        assert plots._beyond(value, 1.0, more=False) == -past
