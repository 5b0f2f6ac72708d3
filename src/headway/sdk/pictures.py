"""Small pictures of lines: SVG for notebooks, block characters for terminals. Extremes stay visible at any width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import compress, pairwise
from typing import Any, NamedTuple

BLOCKS = "▁▂▃▄▅▆▇█"
GAP = " "
COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")
WIDTH, HEIGHT, MARGIN = 360, 80, 4


class Extent(NamedTuple):
    """The least and the greatest finite value among consecutive points."""

    low: float
    high: float


def condense(values: Sequence[float], width: int) -> list[Extent | None]:
    """At most ``width`` stretches of equal length; None where a stretch holds no finite value.

    >>> condense([1, 5, 2, float("nan")], 2)
    [Extent(low=1, high=5), Extent(low=2, high=2)]
    """
    count = len(values)
    columns = min(width, count)
    bounds = [count * column // columns for column in range(columns + 1)] if columns else []
    return [_extent(values[start:end]) for start, end in pairwise(bounds)]


def _extent(values: Any) -> Extent | None:
    finite = list(compress(values, map(math.isfinite, values)))
    return Extent(min(finite), max(finite)) if finite else None


def text_line(values: Sequence[float], width: int = 40) -> str:
    """``values`` as block characters, each at the middle of its stretch.

    >>> text_line([0.0, 0.5, 1.0])
    '▁▅█'
    """
    stretches = condense(values, width)
    middles = [None if extent is None else extent.low / 2 + extent.high / 2 for extent in stretches]
    known = [middle for middle in middles if middle is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    return "".join(GAP if middle is None else BLOCKS[_level(middle, low, high)] for middle in middles)


def _level(value: float, low: float, high: float) -> int:
    share = _share(value, low, high)
    return min(len(BLOCKS) - 1, int(share * len(BLOCKS)))


def _share(value: float, low: float, high: float) -> float:
    """Where ``value`` lies between ``low`` and ``high``; halved first, since their difference may be too large."""
    span = high / 2 - low / 2
    return (value / 2 - low / 2) / span if span > 0 else 0.5


def svg_lines(lines: Sequence[Sequence[float]], title: str) -> str:
    """The lines over their points' numbers, as inline SVG without any script; ``title`` may be anybody's text."""
    stretches = [condense(line, WIDTH) for line in lines]
    known = [extent for line in stretches for extent in line if extent is not None]
    if not known:
        return ""
    low, high = min(extent.low for extent in known), max(extent.high for extent in known)
    paths = "".join(
        f'<path d="{_path(line, low, high)}" fill="none" stroke-linecap="round" stroke="{COLOURS[number % len(COLOURS)]}"/>'
        for number, line in enumerate(stretches)
    )
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg {size} role="img" xmlns="http://www.w3.org/2000/svg"><title>{escape(title)}</title>{paths}</svg>'


def _path(line: Sequence[Extent | None], low: float, high: float) -> str:
    """One vertical stroke a stretch, joined to the next; a gap where nothing is finite."""
    parts, joined = [], False
    for number, extent in enumerate(line):
        if extent is None:
            joined = False
            continue
        x = MARGIN + (WIDTH - 2 * MARGIN) * (number / max(1, len(line) - 1))
        top, bottom = (_height(value, low, high) for value in (extent.high, extent.low))
        parts.append(f"{'L' if joined else 'M'}{x:.1f} {bottom:.1f}L{x:.1f} {top:.1f}")
        joined = True
    return "".join(parts)


def _height(value: float, low: float, high: float) -> float:
    return MARGIN + (HEIGHT - 2 * MARGIN) * (1 - _share(value, low, high))
