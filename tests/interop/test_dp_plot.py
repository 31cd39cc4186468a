"""The plot of `secagg budget`: what it draws is what was computed, it can be read, and it is a file of its form."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from dp.events import Neighboring
from protocols.budget import Choice
from protocols.cli import main, plot

ROOT = Path(__file__).parents[2]
CHOICE = Choice(
    population=4000,
    invited=100,
    rounds=100,
    clip=1.0,
    noise_multiplier=1.0,
    delta=1e-5,
    neighboring=Neighboring.ZERO_OUT,
)
TYPED = "--population 4000 --invited 100 --rounds 100 --clip 1 --noise-multiplier 1 --delta 1e-5"
ASKED = ["budget", *TYPED.split()]

CHOICES = {
    "as asked": CHOICE,
    "one round": replace(CHOICE, rounds=1),
    "a few rounds": replace(CHOICE, rounds=5, noise_multiplier=30.0),
    "many rounds": replace(CHOICE, rounds=1_000_000, noise_multiplier=50.0),
    "two alike": replace(CHOICE, population=100),
    "nearly alike": replace(CHOICE, population=140, noise_multiplier=4.0),
    "far apart": replace(CHOICE, population=400_000, delta=1e-6, noise_multiplier=14.0),
    "capped": replace(CHOICE, participations=4, max_dropped=10, max_corrupt=10),
    "next to nothing": replace(CHOICE, rounds=1, delta=2e-4, noise_multiplier=1000.0, population=5000),
}


def drawn(choice: Choice) -> Figure:
    figure = plot._draw(choice)
    figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_the_two_lines_are_the_two_curves(choice: Choice) -> None:
    (axes,) = drawn(choice).axes
    server, public = axes.get_lines()
    curve = choice.curve()
    assert np.array_equal(server.get_xydata(), [(at.round, at.server) for at in curve])
    assert np.array_equal(public.get_xydata(), [(at.round, at.public) for at in curve])
    low, high = axes.get_ylim()
    assert low <= curve[0].public
    assert high > curve[-1].server


@pytest.mark.parametrize("choice", CHOICES.values(), ids=CHOICES)
def test_every_word_is_on_the_picture_and_no_two_overlap(choice: Choice) -> None:
    figure = drawn(choice)
    (axes,) = figure.axes
    texts = [*figure.texts, *axes.texts, axes.xaxis.label, axes.yaxis.label]
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        texts += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes = [text.get_window_extent() for text in texts]
    inside = figure.bbox
    for text, box in zip(texts, boxes, strict=True):
        assert box.x0 >= inside.x0, text
        assert box.y0 >= inside.y0, text
        assert box.x1 <= inside.x1, text
        assert box.y1 <= inside.y1, text
    words = [box for text, box in zip(texts, boxes, strict=True) if text not in (axes.xaxis.label, axes.yaxis.label)]
    assert not [pair for pair in itertools.combinations(words, 2) if pair[0].overlaps(pair[1])]


def test_the_scale_is_logarithmic_where_the_figures_are_far_apart() -> None:
    assert drawn(CHOICES["as asked"]).axes[0].get_yscale() == "linear"
    assert drawn(CHOICES["far apart"]).axes[0].get_yscale() == "log"
    assert drawn(CHOICES["two alike"]).axes[0].get_yscale() == "linear"


def test_a_png_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = tmp_path / "epsilon.png"
    assert main([*ASKED, "--plot", str(image)]) == 0
    assert capsys.readouterr().err == ""
    assert image.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_an_svg_names_curves_figures_and_units_and_is_the_same_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    assert main([*ASKED, "--json", "--plot", str(first)]) == main([*ASKED, "--json", "--plot", str(second)]) == 0
    assert capsys.readouterr().err == ""
    assert first.read_bytes() == second.read_bytes()
    said = " ".join(ElementTree.parse(first).getroot().itertext())  # noqa: S314  # written a moment ago
    for words in ("against the server", "published model", "rounds", "epsilon spent, at delta 1e-05"):
        assert words in said
    for found in (CHOICE.server(), CHOICE.public()):
        assert f"{found.epsilon:.3g}" in said


def test_a_file_that_cannot_be_written_is_refused_before_anything_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*ASKED, "--plot", str(tmp_path / "missing" / "a.svg")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--plot" in err


def test_only_a_plot_loads_matplotlib_and_no_plot_opens_a_window() -> None:
    program = (
        "import sys, protocols.cli; early = 'matplotlib' in sys.modules; import protocols.cli.plot; "
        "print(early, 'matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)  # noqa: S603  # our own words
    assert done.stdout == "False True False\n"
