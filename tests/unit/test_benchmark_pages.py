"""The kept results are what the pages say, and every benchmark that is listed can be run."""

from __future__ import annotations

import dataclasses
import importlib
from html import escape
from html.parser import HTMLParser

import pytest

from benchmarks import growth, page, plots, report, results
from benchmarks.__main__ import CASES, PAGES, main
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
