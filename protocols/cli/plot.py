"""Epsilon over rounds, drawn to a file.

Promise: both curves are those of `protocols.budget`, nothing is smoothed, and no window is opened. Imported only where
a plot is asked for, since matplotlib comes with the extra `report`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from protocols.budget import Choice, Point

_SERVER: Final = "#b5442c"
_PUBLIC: Final = "#1f6aa5"
_INK: Final = "#222222"
_FAINT: Final = "#767676"

_STYLE: Final[dict[Any, Any]] = {  # matplotlib's own type of the keys differs between versions
    "font.family": "sans-serif",
    "font.size": 10,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "secagg",  # the same choice gives the same file
}

_WIDE_APART: Final = 20.0
"""From how many times the smaller figure on the scale is logarithmic: on a linear one it would lie on the axis."""

_LEFT: Final = 0.115
_LOWEST: Final = 0.10
"""Where plot and titles begin, as a part of the width; how low a label may stand, as a part of the plot's height."""

_FEW: Final = 12
"""Up to how many rounds each is marked."""

_ALIKE: Final = 0.97
"""From which part of the larger figure on the curves lie on one another."""

_CLOSEST: Final = 0.17
"""How near two labels may come, as a part of the height."""


def save(path: Path, choice: Choice) -> None:
    """Draw both figures of a choice over its rounds, in the form that the file's suffix names.

    Raises:
        OSError: the file cannot be written.
    """
    with rc_context(_STYLE):
        figure = _draw(choice)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, dpi=160, metadata=metadata)


def _draw(choice: Choice) -> Figure:
    curve = choice.curve()
    figure = Figure(figsize=(7.6, 4.6))
    axes = figure.add_axes((_LEFT, 0.12, 0.64, 0.68))
    _curves(axes, curve)
    _axes(axes, choice, curve)
    _labels(axes, curve)
    _title(figure, choice)
    return figure


def _curves(axes: Axes, curve: tuple[Point, ...]) -> None:
    rounds = [at.round for at in curve]
    marker = "o" if len(curve) <= _FEW else ""
    below = 4.5 if curve[-1].public > _ALIKE * curve[-1].server else 2.0  # to be seen under the other
    for values, color, width in (
        ([at.server for at in curve], _SERVER, below),
        ([at.public for at in curve], _PUBLIC, 2.0),
    ):
        axes.plot(rounds, values, color=color, linewidth=width, marker=marker, markersize=2.0 * width, clip_on=False)


def _axes(axes: Axes, choice: Choice, curve: tuple[Point, ...]) -> None:
    top = max(at.server for at in curve)
    least = min(at.public for at in curve)
    if curve[-1].server > _WIDE_APART * curve[-1].public > 0.0 and least > 0.0:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if top < 1e3 * least else (1.0,)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylim(least / 1.3, top * 1.3)
    else:
        axes.set_ylim(0.0, top * 1.06 if top > 0.0 else 1.0)
    axes.set_xlim(0.0, choice.rounds)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("rounds", color=_INK)
    axes.set_ylabel(f"epsilon spent, at delta {choice.delta:g}", color=_INK)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_FAINT, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#b0b0b0")


def _labels(axes: Axes, curve: tuple[Point, ...]) -> None:
    """Name each curve where it ends, and keep the two names apart."""
    last = curve[-1]
    to_height = axes.transData + axes.transAxes.inverted()
    server, public = (float(to_height.transform((last.round, value))[1]) for value in (last.server, last.public))
    for height, name, epsilon, color in (
        (server, "against the server", last.server, _SERVER),
        (max(_LOWEST, min(public, server - _CLOSEST)), "against the\npublished model", last.public, _PUBLIC),
    ):
        text = f"{name}\n{epsilon:.3g}"
        axes.text(1.02, height, text, transform=axes.transAxes, color=color, va="center", linespacing=1.25)


def _title(figure: Figure, choice: Choice) -> None:
    figure.text(_LEFT, 0.93, "What the rounds cost in privacy", fontsize=13, fontweight="bold", color=_INK)
    noise = f"{choice.mechanism.value.capitalize()} noise, multiplier {choice.noise_multiplier:.4g}"
    less = f", that of {choice.honest:,} counted" if choice.honest < choice.invited else ""
    who = f"{choice.invited:,} of {choice.population:,} clients a round"
    figure.text(_LEFT, 0.875, f"{who}; {noise}{less}; clip {choice.clip:g}", fontsize=9.5, color=_FAINT)
