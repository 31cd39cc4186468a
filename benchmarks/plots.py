"""Plots as SVG text: stacked bars, lines on logarithmic axes, and a bar that shows how far a figure is past its gate.

Colors are names of CSS variables, which the page defines for light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

WIDTH = 720
_LEFT = 200
_ROW = 30
_BAR = 18


def stacked_bars(rows: Mapping[str, Mapping[str, float]], colors: Mapping[str, str], *, unit: str) -> str:
    """One bar a row, its parts in order; the sum is written behind it."""
    most = max(sum(parts.values()) for parts in rows.values())
    scale = (WIDTH - _LEFT - 90) / most
    return _svg(_ROW * len(rows) + 8, _bars(rows, colors, scale, unit), label="bars by stage")


def _bars(rows: Mapping[str, Mapping[str, float]], colors: Mapping[str, str], scale: float, unit: str) -> Iterator[str]:
    for index, (name, parts) in enumerate(rows.items()):
        top, left = 4 + index * _ROW, float(_LEFT)
        yield _text(_LEFT - 10, top + 14, name, anchor="end")
        for stage, value in parts.items():
            width = value * scale
            title = f"<title>{escape(stage)}: {value:.3g} {unit}</title>"
            yield f'<rect x="{left:.1f}" y="{top}" width="{max(width - 1, 0.4):.1f}" height="{_BAR}" rx="2" '
            yield f'fill="var(--{colors[stage]})">{title}</rect>'
            left += width
        total = sum(parts.values())
        shown = f"{total:,.0f}" if total >= 1000 else f"{total:.3g}"
        yield _text(left + 8, top + 14, f"{shown} {unit}", css="strong")


def log_lines(series: Mapping[str, Mapping[float, float]], colors: Mapping[str, str], *, x: str, y: str) -> str:
    """Lines through points on two logarithmic axes, each with its name at its end."""
    xs = [size for points in series.values() for size in points]
    ys = [value for points in series.values() for value in points.values()]
    horizontal = _Axis(min(xs), max(xs), 70, WIDTH - 210)
    vertical = _Axis(min(ys), max(ys), 300, 20)
    return _svg(350, _lines(series, colors, horizontal, vertical, x, y), label=f"{y} by {x}")


class _Axis:
    """A logarithmic axis from pixel to pixel, a little wider than its data."""

    def __init__(self, least: float, most: float, begin: float, end: float) -> None:
        self._low, self._high = math.log10(least) - 0.08, math.log10(most) + 0.08
        self._begin, self._end = begin, end

    def place(self, value: float) -> float:
        return self._begin + (math.log10(value) - self._low) / (self._high - self._low) * (self._end - self._begin)

    def ticks(self) -> list[float]:
        steps = [digit * 10.0**power for power in range(-4, 10) for digit in (1, 2, 5)]
        return [step for step in steps if self._low <= math.log10(step) <= self._high]


def _lines(
    series: Mapping[str, Mapping[float, float]],
    colors: Mapping[str, str],
    horizontal: _Axis,
    vertical: _Axis,
    x: str,
    y: str,
) -> Iterator[str]:
    for tick in vertical.ticks():
        at = vertical.place(tick)
        yield f'<line x1="70" x2="{WIDTH - 210}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>'
        yield _text(62, at + 4, _number(tick), anchor="end")
    for tick in horizontal.ticks():
        yield _text(horizontal.place(tick), 320, _number(tick), anchor="middle")
    yield _text((70 + WIDTH - 210) / 2, 343, x, anchor="middle", css="strong")
    yield _text(70, 12, y, css="strong")
    for name, points in series.items():
        places = [(horizontal.place(size), vertical.place(value)) for size, value in points.items()]
        path = " ".join(f"{left:.1f},{top:.1f}" for left, top in places)
        yield f'<polyline points="{path}" fill="none" stroke="var(--{colors[name]})" stroke-width="2.5"/>'
        for (left, top), (size, value) in zip(places, points.items(), strict=True):
            yield f'<circle cx="{left:.1f}" cy="{top:.1f}" r="4" fill="var(--{colors[name]})">'
            yield f"<title>{escape(name)}, {size:g}: {value:.3g}</title></circle>"
        left, top = places[-1]
        yield _text(left + 10, top + 4, name, css="strong")


def _number(value: float) -> str:
    """A tick as people write it: 20, 500, 10k, 2M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= 10 * size or value == size or value in (2 * size, 5 * size):
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def bullet(value: float, gate: float, goal: float, *, more: bool, color: str) -> str:
    """A bar that passes the line where the figure passes its gate; each doubling beyond is as long again."""
    reached, wanted = (_beyond(number, gate, more=more) for number in (value, goal))
    width, line = 220.0, 90.0
    bar, mark = (min(max(line + beyond * 65, 2.0), width - 4) for beyond in (reached, wanted))
    shapes = (
        f'<rect x="0" y="6" width="{width:g}" height="8" rx="4" class="track"/>',
        f'<rect x="0" y="6" width="{bar:.1f}" height="8" rx="4" fill="var(--{color})"/>',
        f'<line x1="{line:g}" x2="{line:g}" y1="1" y2="19" class="gate"/>',
        f'<path d="M{mark:.1f} 4 l5 6 l-5 6 l-5 -6 z" class="goal"/>',
    )
    return _svg(20, shapes, label="how far the figure is past its gate", width=width, css="bullet")


def _beyond(value: float, gate: float, *, more: bool) -> float:
    """How many times the value is twice as good as the gate."""
    tiny = 1e-3
    ratio = max(value, tiny) / gate if more else gate / max(value, tiny)
    return math.log2(ratio)


def _text(x: float, y: float, words: str, *, anchor: str = "start", css: str = "label") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}">{escape(words)}</text>'


def _svg(
    height: float, shapes: Sequence[str] | Iterator[str], *, label: str, width: float = WIDTH, css: str = "plot"
) -> str:
    opening = f'<svg viewBox="0 0 {width:g} {height:g}" class="{css}" role="img" aria-label="{escape(label)}">'
    return opening + "".join(shapes) + "</svg>"
