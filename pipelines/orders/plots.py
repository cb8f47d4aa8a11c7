"""Plots as inline SVG: bars, lying bars, heat maps. Numbers are floats here: they become lengths and colours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH = 1000.0
"""What plots of full width measure; smaller ones say so. Text is 13 of these units high."""


class Bar(NamedTuple):
    """``label`` stands below (or left of) it, empty for none; ``hint`` is shown under the pointer."""

    label: str
    value: float
    hint: str


class Cell(NamedTuple):
    """None is no cell at all."""

    value: float | None
    hint: str = ""


def ticks(highest: float, about: int = 5) -> list[float]:
    """Return round numbers from 0 to the first one that isn't below ``highest``: steps of 1, 2 or 5."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step for step in (power, 2 * power, 5 * power, 10 * power) if step >= rough * 0.999)
    return [n * step for n in range(math.ceil(highest / step - 1e-9) + 1)]


def short(number: float) -> str:
    """Write a number of an axis: ``950``, ``20k``, ``1.5M``."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:g}{letter}"
    return f"{number:g}"


def bars(title: str, of: Sequence[Bar], *, axis: str, below: str = "", width: float = WIDTH) -> str:
    """Return standing bars; ``axis`` says what they measure, ``below`` what stands along them."""
    left, top, height = 56.0, 26.0, 220.0
    scale = ticks(max((bar.value for bar in of), default=0.0))
    step = (width - left - 8) / max(len(of), 1)
    thick = step * (0.72 if step > 6 else 0.9)
    parts = [_text(0, 12, axis, "axis")]
    for tick in scale:
        y = top + height - tick / scale[-1] * height
        parts.append(_line(left, y, width, y, "grid" if tick else "base"))
        parts.append(_text(left - 8, y + 4, short(tick), "tick end"))
    every = math.ceil(56 / step) if any(len(bar.label) > 2 for bar in of) else math.ceil(22 / step)
    shown = 0
    for n, bar in enumerate(of):
        x = left + n * step
        high = max(bar.value, 0) / scale[-1] * height
        parts.append(_box(x + (step - thick) / 2, top + height - high, thick, high, "bar", bar.hint))
        if bar.label and n >= shown:
            parts.append(_text(x + step / 2, top + height + 18, bar.label, "tick middle"))
            shown = n + every
    if below:
        parts.append(_text(left + (width - left) / 2, top + height + 40, below, "axis middle"))
    return _svg(title, width, top + height + (48 if below else 26), parts)


def lying(title: str, of: Sequence[tuple[Bar, str]], *, labels: float, width: float = WIDTH) -> str:
    """Return lying bars, each with its value written behind it; ``labels`` is the room for their names."""
    row, behind = 26.0, 96.0
    highest = max((bar.value for bar, _ in of), default=0.0) or 1.0
    parts: list[str] = []
    for n, (bar, value) in enumerate(of):
        y = n * row + 4
        long = max(bar.value, 0) / highest * (width - labels - behind)
        parts.append(_text(labels - 8, y + 14, bar.label, "name end", bar.hint))
        parts.append(_box(labels, y, max(long, 1), row - 7, "bar", bar.hint))
        parts.append(_text(labels + long + 8, y + 14, value, "tick"))
    return _svg(title, width, len(of) * row + 4, parts)


def heat(
    title: str,
    rows: Sequence[tuple[str, Sequence[Cell]]],
    columns: Sequence[str],
    *,
    labels: float,
    unit: str,
    width: float = WIDTH,
) -> str:
    """Return a table of coloured cells, the largest value darkest, with a scale above that names the unit."""
    top, row = 46.0, 24.0
    highest = max((cell.value or 0 for _, cells in rows for cell in cells), default=0.0)
    step = (width - labels) / max(len(columns), 1)
    scale = labels + 7.5 * len(unit) + 30
    parts = [_text(labels, 12, unit, "axis"), _text(scale - 6, 12, "0", "axis end")]
    for n in range(20):
        parts.append(_box(scale + n * 6, 2, 6, 12, "cell", "", _shade((n + 1) / 20)))
    parts.append(_text(scale + 128, 12, short(float(f"{highest:.3g}")), "axis"))
    shown = 0
    every = math.ceil((52 if any(len(column) > 2 for column in columns) else 20) / step)
    for n, column in enumerate(columns):
        if column and n >= shown:
            parts.append(_text(labels + (n + 0.5) * step, top - 8, column, "tick middle"))
            shown = n + every
    for n, (label, cells) in enumerate(rows):
        y = top + n * row
        parts.append(_text(labels - 8, y + row / 2 + 4, label, "name end", label))
        for m, cell in enumerate(cells):
            where = (labels + m * step + 1, y + 1, step - 2, row - 2)
            if cell.value is None:
                parts.append(_box(*where, "none", cell.hint))
            else:
                shade = _shade(cell.value / highest if highest else 0)
                parts.append(_box(*where, "cell", cell.hint, shade))
    return _svg(title, width, top + len(rows) * row + 2, parts)


def _shade(share: float) -> str:
    """More of the colour for more; the square root, so that small ones can be told apart."""
    return f"fill-opacity:{0.06 + 0.94 * math.sqrt(max(share, 0)):.2f}"


def _svg(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    least = ' style="min-width:700px"' if width == WIDTH else ""  # a narrow window scrolls it
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(title)}"{least}>'
    return "\n".join([head, *parts, "</svg>"])


def _hint(hint: str) -> str:
    return f"<title>{escape(hint)}</title>" if hint else ""


def _text(x: float, y: float, text: str, kind: str, hint: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}">{escape(text)}{_hint(hint)}</text>'


def _line(x: float, y: float, to_x: float, to_y: float, kind: str) -> str:
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" class="{kind}"/>'


def _box(x: float, y: float, width: float, height: float, kind: str, hint: str = "", style: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}"'
    styled = f' style="{style}"' if style else ""
    return f'<rect {place} class="{kind}"{styled}>{_hint(hint)}</rect>'
