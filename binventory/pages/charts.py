"""Charts as HTML text: lines, scatter and timeline as SVG, bars as a table.

Colours come from the stylesheet, so charts follow light, dark and print: Okabe and Ito's palette, which colour-blind
readers can tell apart. Dashes tell lines apart without colour.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 640, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 14, 12, 40
_ROW = 24
_SERIES = 6
"""Classes that the stylesheet has for series: `s0` to `s5`."""
_DASHES = ("", "6 3", "2 3", "8 3 2 3")
_MOST = 1e100
_SAME = 1e-12


@dataclass(frozen=True)
class Series:
    """A named line. Faint ones are context for the others. Points that cannot be drawn are left out."""

    name: str
    points: Sequence[tuple[float, float]]
    faint: bool = False


@dataclass(frozen=True)
class Dot:
    """A point with its label. The best one is drawn larger, and points of one group have one colour."""

    x: float
    y: float
    label: str
    note: str
    best: bool = False
    group: str = ""


@dataclass(frozen=True)
class Span:
    """A span of time, in seconds since the start."""

    name: str
    start: float
    end: float
    note: str
    style: str
    level: int = 0


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    start: float
    end: float
    log: bool = False

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, *, log: bool = False) -> _Axis:
        scaled = [math.log10(value) if log else value for value in values]
        low, high = min(scaled), max(scaled)
        most, spread = max(abs(low), abs(high)), high - low
        # Around one value, or values that are one but for rounding, an axis is as long as can be seen beside them.
        margin = spread * 0.04 if spread > max(most * _SAME, 1 / _MOST) else max(0.5, most / 10)
        return cls(low - margin, high + margin, start, end, log)

    def place(self, value: float) -> float:
        scaled = math.log10(value) if self.log else value
        return self.start + (scaled - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[tuple[float, str]]:
        """Place and label of some round values: tens on a wide logarithmic axis, 1-2-5 elsewhere."""
        values = self._tens() if self.log else _steps(self.low, self.high)
        if self.log and len(values) < 2:  # between two neighbours of 1-2-5
            values = _steps(10**self.low, 10**self.high)
        digits = _digits(values)
        return [(self.place(value), f"{value:.{digits}g}") for value in values]

    def _tens(self) -> list[float]:
        tens = range(math.floor(self.low), math.ceil(self.high) + 1)
        bases = (1,) if self.high - self.low > 2.5 else (1, 2, 5)
        return [base * 10.0**ten for ten in tens for base in bases if self.low <= math.log10(base) + ten <= self.high]


def _steps(low: float, high: float) -> list[float]:
    """Multiples of 1, 2 or 5 times a ten between two values, about five of them."""
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step = next(step * m for m in (1, 2, 5, 10, 20) if (high - low) / (step * m) <= 6)
    first = math.ceil(low / step)
    return [(first + i) * step for i in range(math.floor(high / step) - first + 1)]


def _digits(values: Sequence[float]) -> int:
    """Significant digits with which values of equal distance read differently, six at least."""
    step = min((after - before for before, after in itertools.pairwise(values)), default=0.0)
    most = max(map(abs, values), default=0.0)
    return max(6, math.ceil(math.log10(most / step)) + 1) if step > 0 else 6


def lines(title: str, series: Sequence[Series], *, x_label: str, log_y: bool = False) -> str:
    """A line chart; the faint series share one entry in the legend, and a series of one point is a dot."""
    kept = [Series(one.name, [p for p in one.points if _drawable(*p, log_y=log_y)], one.faint) for one in series]
    points = [point for one in kept for point in one.points]
    if not points:
        return _without_data(title)
    x_axis = _Axis.over([x for x, _ in points], _LEFT, WIDTH - _RIGHT)
    y_axis = _Axis.over([y for _, y in points], HEIGHT - _BOTTOM, _TOP, log=log_y)
    drawn, legend, strong = [], [], 0
    for one in kept:
        style, dash = "faint", ""
        if not one.faint:
            style, dash = f"s{strong % _SERIES}", _DASHES[strong % len(_DASHES)]
            strong += 1
        drawn.append(_line(one, style, dash, x_axis, y_axis))
        entry = f'<span><i class="{style}"></i>{escape("trials" if one.faint else one.name)}</span>'
        if entry not in legend:
            legend.append(entry)
    return _figure(title, _grid(x_axis, y_axis, x_label) + "".join(drawn), " ".join(legend))


def _line(series: Series, style: str, dash: str, x_axis: _Axis, y_axis: _Axis) -> str:
    places = [(x_axis.place(x), y_axis.place(y)) for x, y in series.points]
    name = f"<title>{escape(series.name)}</title>"
    if len(places) == 1:
        ((x, y),) = places
        return f'<circle class="point {style}" cx="{x:.1f}" cy="{y:.1f}" r="4">{name}</circle>'
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'<polyline class="line {style}" points="{path}"{dashed}>{name}</polyline>'


def _drawable(x: float, y: float, *, log_x: bool = False, log_y: bool = False) -> bool:
    """Whether a point has a place: of much larger or smaller numbers, the ends of an axis cannot be computed."""
    logarithmic = (value for value, log in ((x, log_x), (y, log_y)) if log)
    return all(abs(value) < _MOST for value in (x, y)) and all(value > 1 / _MOST for value in logarithmic)


def scatter(title: str, dots: Sequence[Dot], *, x_label: str, log_x: bool, log_y: bool) -> str:
    """A scatter chart with a label at each dot, and a legend where the dots have groups.

    Dots that cannot be drawn are left out.
    """
    dots = [dot for dot in dots if _drawable(dot.x, dot.y, log_x=log_x, log_y=log_y)]
    if not dots:
        return _without_data(title)
    x_axis = _Axis.over([dot.x for dot in dots], _LEFT, WIDTH - _RIGHT, log=log_x)
    y_axis = _Axis.over([dot.y for dot in dots], HEIGHT - _BOTTOM, _TOP + 14, log=log_y)
    groups = list(dict.fromkeys(dot.group for dot in dots))
    legend = [f'<span><i class="s{i % _SERIES}"></i>{escape(name)}</span>' for i, name in enumerate(groups) if name]
    drawn = []
    for dot in dots:
        x, y = x_axis.place(dot.x), y_axis.place(dot.y)
        radius = 6 if dot.best else 4
        style = f"dot s{groups.index(dot.group) % _SERIES}{' best' if dot.best else ''}"
        drawn.append(
            f'<circle class="{style}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">'
            f"<title>{escape(dot.note)}</title></circle>"
            f'<text x="{x:.1f}" y="{y - radius - 4:.1f}" text-anchor="middle">{escape(dot.label)}</text>'
        )
    return _figure(title, _grid(x_axis, y_axis, x_label) + "".join(drawn), " ".join(legend))


def timeline(title: str, spans: Sequence[Span]) -> str:
    """One row a span, in minutes from the start."""
    if not spans:
        return _without_data(title)
    names = 132
    height = _TOP + _ROW * len(spans) + 34
    longest = max(span.end for span in spans) or 1.0
    axis = _Axis(0.0, longest / 60, names, WIDTH - _RIGHT)
    floor = height - 34
    drawn = [
        f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{floor}"/>'
        f'<text x="{at:.1f}" y="{floor + 16}" text-anchor="middle">{label}</text>'
        for at, label in axis.ticks()
    ]
    drawn.append(f'<text x="{(names + WIDTH) / 2:.0f}" y="{height - 4}" text-anchor="middle">minutes</text>')
    for row, span in enumerate(spans):
        y = _TOP + _ROW * row
        start, end = axis.place(span.start / 60), axis.place(span.end / 60)
        thick = 14 if span.level == 0 else 8
        drawn.append(
            f'<text x="{12 * span.level}" y="{y + 16}">{escape(span.name)}</text>'
            f'<rect class="bar {span.style}" x="{start:.1f}" y="{y + 12 - thick / 2:.1f}" height="{thick}" rx="2" '
            f'width="{max(2.0, end - start):.1f}"><title>{escape(span.note)}</title></rect>'
        )
    return _figure(title, "".join(drawn), "", height=height)


def bars(values: Mapping[str, int], *, warn: bool = False) -> str:
    """A table of whole numbers, each with a bar as long as its part of the largest and with its share of the sum."""
    total, most = sum(values.values()) or 1, max(values.values(), default=0) or 1
    rows = "".join(
        f'<tr><td>{escape(str(name))}</td><td class="bar"><i style="width:{100 * value / most:.1f}%"></i></td>'
        f'<td class="number">{value:,}</td><td class="number">{value / total:.1%}</td></tr>'
        for name, value in values.items()
    )
    return f'<table class="bars{" warn" if warn else ""}">{rows}</table>'


def _grid(x_axis: _Axis, y_axis: _Axis, x_label: str) -> str:
    floor = HEIGHT - _BOTTOM
    middle = (_LEFT + WIDTH) / 2
    parts = [f'<text x="{middle:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>']
    for place, label in y_axis.ticks():
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{place + 4:.1f}" text-anchor="end">{label}</text>')
    for place, label in x_axis.ticks():
        parts.append(f'<line class="grid" x1="{place:.1f}" x2="{place:.1f}" y1="{_TOP}" y2="{floor}"/>')
        parts.append(f'<text x="{place:.1f}" y="{floor + 16}" text-anchor="middle">{label}</text>')
    return "".join(parts)


def _without_data(title: str) -> str:
    return f"<figure><figcaption>{escape(title)}: no data</figcaption></figure>"


def _figure(title: str, drawing: str, legend: str, *, height: int = HEIGHT) -> str:
    key = f'<p class="legend">{legend}</p>' if legend else ""
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{escape(title, quote=True)}">{drawing}</svg>{key}</figure>'
    )
