"""A value of a part as bars in SVG: a panel for each setting, a bar for each contender."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from benchmarks.comparison.parts import Part, Value
from benchmarks.comparison.spreads import Row
from benchmarks.comparison.tables import number

_NAMES, _BARS, _NUMBERS, _LINE, _TOP = 250, 170, 64, 20, 50  # Pixels.
_OURS, _OTHERS, _SPREAD, _TEXT = "#1a73e8", "#9aa0a6", "#3c4043", "#202124"


def bars(part: Part, value: Value, rows: Sequence[Row]) -> str:
    """The plot of `spreads.rows`: medians or means as bars, the spread as a thin line on each."""
    settings = list(dict.fromkeys(row.setting for row in rows))
    names = list(dict.fromkeys(row.contender for row in rows))
    width = _NAMES + len(settings) * (_BARS + _NUMBERS)
    height = _TOP + len(names) * _LINE + 10
    better = "longer" if value.larger_is_better else "shorter"
    shapes = [_text(8, 18, f"{value.title}, {value.unit} ({better} is better)", bold=True)]
    for line, name in enumerate(names):
        shapes.append(_text(_NAMES - 8, _y(line) + 14, name, name == part.ours, end=True))
    for panel, setting in enumerate(settings):
        left = _NAMES + panel * (_BARS + _NUMBERS)
        shapes.append(_text(left, 40, setting, bold=True))
        shapes += _panel(
            [row for row in rows if row.setting == setting], names, left, part.ours.split(",")[0]
        )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="{width}" height="{height}" fill="white"/>\n'
        + "\n".join(shapes)
        + "\n</svg>\n"
    )


def _panel(rows: Sequence[Row], names: Sequence[str], left: float, ours: str) -> list[str]:
    most = max((row.measured.most for row in rows if row.measured), default=1) or 1
    shapes = []
    for row in rows:
        y = _y(names.index(row.contender))
        if row.measured is None:
            shapes.append(_text(left, y + 14, "no result"))
            continue
        middle, least, last = (
            _BARS * length / most
            for length in (row.measured.middle, row.measured.least, row.measured.most)
        )
        colour = _OURS if row.contender.startswith(ours) else _OTHERS
        shapes.append(_rectangle(left, y + 3, middle, _LINE - 6, colour))
        shapes.append(_rectangle(left + least, y + _LINE / 2 - 0.5, last - least, 1, _SPREAD))
        shapes.append(_text(left + last + 4, y + 14, number(row.measured.middle)))
    return shapes


def _y(line: int) -> float:
    return _TOP + line * _LINE


def _text(x: float, y: float, text: str, bold: bool = False, end: bool = False) -> str:
    style = (' font-weight="bold"' if bold else "") + (' text-anchor="end"' if end else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" fill="{_TEXT}"{style}>{escape(text)}</text>'


def _rectangle(x: float, y: float, width: float, height: float, colour: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{colour}"/>'
    )
