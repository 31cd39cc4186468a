"""What the server saw, as a picture: one client's update beside the words that reached the server.

Promise: a picture shows the numbers it is given and claims nothing. That masked words look uniform is no proof that
they are; that is in the protocol. `chi_square` is the plain statistic, with what uniform words would give beside it.

Imports numpy and `outcome`.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from protocols.demo.outcome import Glimpse, Integers
from protocols.demo.task import SettingError
from secagg import Ring
from secagg.ring import Words

PART_BITS: Final = 4
PARTS: Final = 1 << PART_BITS
"""Equal parts of the ring that words are counted in."""

Shades = npt.NDArray[np.float64]
"""Darkness of each coordinate, from 0 to 1."""


@dataclass(frozen=True, kw_only=True)
class Glyphs:
    """The characters a terminal draws with.

    Attributes:
        shades: from light to dark.
        bars: from low to high.
    """

    shades: str
    bars: str


BLOCKS: Final = Glyphs(shades=" ░▒▓█", bars="▁▂▃▄▅▆▇█")
ASCII: Final = Glyphs(shades=" .:*#", bars="_.-=+*%#")


def glyphs_for(encoding: str | None) -> Glyphs:
    """Return block characters where the terminal's encoding has them."""
    try:
        (BLOCKS.shades + BLOCKS.bars).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def update_shades(glimpse: Glimpse) -> Shades:
    """Shade each coordinate of the update by its magnitude; the largest twentieth is black, zero is white.

    Without that cut the weight and the metrics, which are far larger than any coordinate, would leave the rest white.
    """
    magnitudes = np.abs(glimpse.update)
    return np.minimum(magnitudes / max(float(np.quantile(magnitudes, 0.95)), 1.0), 1.0)


def received_shades(glimpse: Glimpse) -> Shades:
    """Shade each word by where it lies in the ring."""
    return glimpse.received / float(glimpse.ring.modulus)


def strip(shades: Shades, glyphs: Glyphs, *, width: int) -> list[str]:
    """Draw one character a coordinate, in lines of `width`."""
    levels = np.minimum((shades * len(glyphs.shades)).astype(np.intp), len(glyphs.shades) - 1)
    text = "".join(glyphs.shades[level] for level in levels.tolist())
    return [text[start : start + width] for start in range(0, len(text), width)]


def count_parts(words: Words, ring: Ring) -> Integers:
    """Count words by the one of PARTS equal parts of the ring they lie in; zero lies in the middle."""
    shifted = words + ring.word(ring.modulus // 2)
    ring.reduce(shifted)
    parts = (shifted >> ring.word(ring.bits - PART_BITS)).astype(np.intp)
    return np.bincount(parts, minlength=PARTS).astype(np.int64)


def histogram(counts: Integers, glyphs: Glyphs) -> str:
    """Draw one bar a count, the largest being full."""
    top = max(int(counts.max()), 1)
    return "".join(glyphs.bars[int(count) * (len(glyphs.bars) - 1) // top] for count in counts)


def chi_square(counts: Integers) -> float:
    """Return Pearson's statistic of counts against equal ones: near `len(counts) - 1` for uniform words.

    Raises:
        SettingError: nothing was counted.
    """
    expected = int(counts.sum()) / len(counts)
    if not expected:
        raise SettingError("chi-square needs words that were counted, got none")
    return float(np.sum((counts - expected) ** 2) / expected)


_CELL: Final = 6
_ACROSS: Final = 112
_MARGIN: Final = 12
_TEXT: Final = 20


def svg(glimpse: Glimpse) -> str:
    """Draw both strips as one SVG image, one square a coordinate."""
    name = html.escape(glimpse.client)
    panels = (
        (f"what {name} trained in round {glimpse.number}", update_shades(glimpse)),
        ("what the server received of it", received_shades(glimpse)),
    )
    rows = -(-len(glimpse.update) // _ACROSS)
    panel_height = _TEXT + rows * _CELL + _MARGIN
    width, height = 2 * _MARGIN + _ACROSS * _CELL, _MARGIN + len(panels) * panel_height
    drawn = [_panel(title, shades, _MARGIN + index * panel_height) for index, (title, shades) in enumerate(panels)]
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">',
            f'<rect width="{width}" height="{height}" fill="#fff"/>',
            *drawn,
            "</svg>\n",
        )
    )


def _panel(title: str, shades: Shades, top: int) -> str:
    squares = [
        f'<rect x="{_MARGIN + index % _ACROSS * _CELL}" y="{top + _TEXT + index // _ACROSS * _CELL}" '
        f'width="{_CELL}" height="{_CELL}" fill="{_grey(shade)}"/>'
        for index, shade in enumerate(shades.tolist())
    ]
    text = f'<text x="{_MARGIN}" y="{top + _TEXT - 6}" font-family="sans-serif" font-size="13">{title}</text>'
    return "\n".join((text, *squares))


def _grey(shade: float) -> str:
    level = 255 - round(230 * min(shade, 1.0))
    return f"#{level:02x}{level:02x}{level:02x}"
