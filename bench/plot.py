"""Curves as SVG: a grid of panels, both axes of each logarithmic, one colour for each curve all through.

Knows numbers and their titles, and nothing of what was measured.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

_WIDTH, _HEIGHT = 300, 190  # of a panel with its labels
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 18, 26, 40  # its margins
_LEGEND: Final = 34
_COLOURS: Final = ("#0b5fa5", "#c2410c", "#15803d", "#7e22ce")

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    x_title: str
    y_title: str
    curves: Mapping[str, Points]  # by their names; a point that is not positive is left out


def svg(title: str, rows: Sequence[Sequence[Panel]]) -> str:
    """Return the picture of a grid of panels; the panels of a row share the range of y, those of a column that of x."""
    names = list(dict.fromkeys(name for row in rows for panel in row for name in panel.curves))
    colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}
    width, height = _WIDTH * max(map(len, rows)), _LEGEND + _HEIGHT * len(rows)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        ' font-family="sans-serif" font-size="11">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for number, (name, colour) in enumerate(colours.items()):
        x = _LEFT + 190 * number
        parts.append(f'<line x1="{x}" y1="17" x2="{x + 24}" y2="17" stroke="{colour}" stroke-width="2.5"/>')
        parts.append(f'<text x="{x + 30}" y="21" font-size="13">{escape(name)}</text>')
    x_ranges = [_range(column, 0) for column in zip(*rows, strict=True)]
    for row_number, row in enumerate(rows):
        y_range = _range(row, 1)
        for column, panel in enumerate(row):
            x, y = column * _WIDTH, _LEGEND + row_number * _HEIGHT
            parts.append(f'<g transform="translate({x} {y})">')
            parts.extend(_panel(panel, x_ranges[column], y_range, colours))
            parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def _range(panels: Iterable[Panel], axis: int) -> tuple[int, int]:
    """Return the whole decades that hold all values of one axis (0: x, 1: y)."""
    values = [point[axis] for panel in panels for points in panel.curves.values() for point in points if min(point) > 0]
    if not values:
        return 0, 1
    low, high = math.floor(math.log10(min(values)) + 1e-9), math.ceil(math.log10(max(values)) - 1e-9)
    return low, max(high, low + 1)


def _panel(
    panel: Panel, x_range: tuple[int, int], y_range: tuple[int, int], colours: Mapping[str, str]
) -> Iterator[str]:
    right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = (math.log10(point[0]) - x_range[0]) / (x_range[1] - x_range[0])
        y = (math.log10(point[1]) - y_range[0]) / (y_range[1] - y_range[0])
        return round(_LEFT + x * (right - _LEFT), 1), round(bottom - y * (bottom - _TOP), 1)

    for power in range(x_range[0], x_range[1] + 1):
        x, _ = place((10.0**power, 10.0 ** y_range[0]))
        yield f'<line x1="{x}" y1="{_TOP}" x2="{x}" y2="{bottom}" stroke="#ddd"/>'
        yield f'<text x="{x}" y="{bottom + 14}" text-anchor="middle">{_number(power)}</text>'
    for power in range(y_range[0], y_range[1] + 1):
        _, y = place((10.0 ** x_range[0], 10.0**power))
        yield f'<line x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}" stroke="#ddd"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{_number(power)}</text>'
    yield f'<text x="{(_LEFT + right) / 2}" y="{bottom + 30}" text-anchor="middle">{escape(panel.x_title)}</text>'
    yield f'<text x="{_LEFT}" y="{_TOP - 8}" font-weight="bold">{escape(panel.y_title)}</text>'
    for name, points in panel.curves.items():
        places = [place(point) for point in points if min(point) > 0]
        line = " ".join(f"{x},{y}" for x, y in places)
        yield f'<polyline points="{line}" fill="none" stroke="{colours[name]}" stroke-width="2"/>'
        for x, y in places:
            yield f'<circle cx="{x}" cy="{y}" r="2.8" fill="{colours[name]}"/>'


def _number(power: int) -> str:
    for suffix, thousands in (("M", 6), ("k", 3)):
        if power >= thousands:
            return f"{10 ** (power - thousands)}{suffix}"
    return f"{10.0**power:g}"
