"""Line and scatter charts as SVG text: no script, no library, readable in print and without colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 14, 40
# The page's variables hold Okabe and Ito's palette, told apart by colour-blind readers, lighter ones on dark; dashes
# tell the lines apart without colour.
_COLOURS = tuple(f"var(--c{number})" for number in range(7))
_DASHES = ("", "6 3", "2 3", "8 3 2 3")


@dataclass(frozen=True)
class Line:
    """A named series of points (x, y); points that are not finite are left out."""

    name: str
    points: Sequence[tuple[float, float]]


def chart(
    title: str, lines: Sequence[Line], *, x_label: str, log_x: bool = False, log_y: bool = False, dots: bool = False
) -> str:
    """An SVG figure of the lines, or of their points alone (`dots`)."""
    scaled = [Line(line.name, _usable(line.points, log_x, log_y)) for line in lines]
    points = [point for line in scaled for point in line.points]
    if not points:
        return f"<figure><figcaption>{escape(title)}: no data</figcaption></figure>"
    x_axis = _Axis.over([x for x, _ in points], _LEFT, WIDTH - _RIGHT, log_x)
    y_axis = _Axis.over([y for _, y in points], HEIGHT - _BOTTOM, _TOP, log_y)
    parts = [_grid(x_axis, y_axis, x_label)]
    for number, line in enumerate(scaled):
        parts.append(_series(line, number, x_axis, y_axis, dots))
    legend = " ".join(
        f'<span><i style="background:{_COLOURS[i % len(_COLOURS)]}"></i>{escape(line.name)}</span>'
        for i, line in enumerate(scaled)
    )
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title, quote=True)}">{"".join(parts)}</svg><p class="legend">{legend}</p></figure>'
    )


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float
    log: bool

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, log: bool) -> _Axis:
        low, high = min(values), max(values)
        if low == high:
            low, high = (low - 0.5, high + 0.5)
        return cls(low, high, start, end, log)

    def place(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Place and label of about five round values."""
        step = 10 ** math.floor(math.log10((self.high - self.low) / 4))
        step = next(step * m for m in (1, 2, 5, 10, 20) if (self.high - self.low) / (step * m) <= 6)
        first = math.ceil(self.low / step - 1e-9)
        values = [(first + i) * step for i in range(8) if (first + i) * step <= self.high + 1e-9 * step]
        return [(self.place(value), f"{10**value:.2g}" if self.log else f"{value:.6g}") for value in values]


def _usable(points: Sequence[tuple[float, float]], log_x: bool, log_y: bool) -> list[tuple[float, float]]:
    kept = []
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)) or (log_x and x <= 0) or (log_y and y <= 0):
            continue
        kept.append((math.log10(x) if log_x else x, math.log10(y) if log_y else y))
    return kept


def _grid(x_axis: _Axis, y_axis: _Axis, x_label: str) -> str:
    floor = HEIGHT - _BOTTOM
    parts = [f'<text x="{(_LEFT + WIDTH) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>']
    for place, label in y_axis.ticks():
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{place + 4:.1f}" text-anchor="end">{label}</text>')
    for place, label in x_axis.ticks():
        parts.append(f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{floor}"/>')
        parts.append(f'<text x="{place:.1f}" y="{floor + 16}" text-anchor="middle">{label}</text>')
    return "".join(parts)


def _series(line: Line, number: int, x_axis: _Axis, y_axis: _Axis, dots: bool) -> str:
    colour = _COLOURS[number % len(_COLOURS)]
    places = [(x_axis.place(x), y_axis.place(y)) for x, y in line.points]
    if dots or len(places) == 1:
        return "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in places)
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dash = _DASHES[number % len(_DASHES)]
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>'
