"""A chart as drawn by the page: places in pixels, ticks, and what each point says."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeVar

from covidssl.report.blocks import Chart, Line

T = TypeVar("T")

WIDTH = 520
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 12, 46
_MOST_POINTS = 240
_TICKS = 6
_MOST_OF_IT = 0.35  # of 0 to 1: shares that span more are drawn on all of it


class Tick(NamedTuple):
    """A mark of an axis, in pixels, and its number."""

    at: float
    text: str


class Curve(NamedTuple):
    """One line of a chart.

    Attributes:
        name: in the legend.
        path: SVG path that joins the points; empty where they are not joined.
        band: SVG path around the intervals; empty where they are whiskers, or there are none.
        whiskers: SVG path of an upright line at each point.
        marks: places of points that are marked.
        points: JSON of [x, y, what is said] a point, for those who point at it.
    """

    name: str
    path: str
    band: str
    whiskers: str
    marks: Sequence[tuple[float, float]]
    points: str


class Drawn(NamedTuple):
    """A chart in pixels: the frame of its axes, their ticks, its curves, a table of its points.

    `rows` are the points that are drawn, `of` is how many there are.
    """

    chart: Chart
    height: int
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: Sequence[Tick]
    y_ticks: Sequence[Tick]
    curves: Sequence[Curve]
    diagonal: str
    rows: Sequence[tuple[str, str]]
    of: int


class _Axis(NamedTuple):
    low: float
    high: float
    step: float
    first: float
    last: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.first + share * (self.last - self.first), 1)

    def ticks(self) -> list[Tick]:
        start = math.ceil(self.low / self.step - 1e-9)
        count = math.floor(self.high / self.step + 1e-9) - start + 1
        values = [(start + k) * self.step for k in range(count)]
        return [Tick(self.at(value), number_text(value, self.step)) for value in values]


class _Point(NamedTuple):
    x: float
    y: float
    low: float | None
    high: float | None
    said: str


def drawn(chart: Chart) -> Drawn:
    """The chart in pixels; points without a finite place are left out."""
    lines = [list(_points(line, chart)) for line in chart.lines]
    across = [point.x for points in lines for point in points]
    up = [y for points in lines for p in points for y in (p.y, p.low, p.high) if y is not None]
    x_low, x_high = _range(across, chart.diagonal)
    y_low, y_high = _range(up, chart.diagonal)
    square = (x_low, x_high) == (y_low, y_high) == (0.0, 1.0)
    plot = WIDTH - _LEFT - _RIGHT
    height = _TOP + _BOTTOM + (plot * 4 // 5 if square else plot // 2)
    x = _axis(x_low, x_high, _LEFT, WIDTH - _RIGHT)
    y = _axis(y_low, y_high, height - _BOTTOM, _TOP)
    diagonal = f"M{x.at(x.low)},{y.at(y.low)}L{x.at(x.high)},{y.at(y.high)}"
    return Drawn(
        chart, height, _LEFT, WIDTH - _RIGHT, _TOP, height - _BOTTOM, x.ticks(), y.ticks(),
        [_curve(line, points, x, y) for line, points in zip(chart.lines, lines, strict=True)],
        diagonal if chart.diagonal else "",
        [(line.name, one.said) for line, points in zip(chart.lines, lines, strict=True)
         for one in points],
        sum(min(len(line.x), len(line.y)) for line in chart.lines),
    )  # fmt: skip


def number_text(value: float, step: float) -> str:
    """A number with as many digits as the step of its axis needs."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    digits += not math.isclose(round(step, digits), step)  # a quarter of ten
    return f"{value:.{digits}f}" if abs(value) < 1e5 else f"{value:.3g}"


def _points(line: Line, chart: Chart) -> Iterator[_Point]:
    both = line.low is not None and line.high is not None
    kept = [k for k in range(len(line.x)) if math.isfinite(line.x[k]) and math.isfinite(line.y[k])]
    for k in _thinned(kept, _MOST_POINTS):
        x, y = float(line.x[k]), float(line.y[k])
        low, high = (float(line.low[k]), float(line.high[k])) if both else (None, None)  # type: ignore[index]
        if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
            low = high = None
        said = f"{chart.x_label} {x:.4g}, {chart.y_label} {y:.4g}"
        said += "" if low is None or high is None else f" ({low:.4g} to {high:.4g})"
        yield _Point(x, y, low, high, line.hover[k] if line.hover else said)


def _thinned(points: Sequence[T], most: int) -> list[T]:
    """At most so many, evenly, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(k * (len(points) - 1) / (most - 1))] for k in range(most)]


def _range(values: Sequence[float], unit: bool) -> tuple[float, float]:
    """Ends of an axis: 0 to 1 for most shares, else a little beyond the values."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    share = low >= 0 and high <= 1
    if share and (unit or high - low > _MOST_OF_IT):
        return 0.0, 1.0
    margin = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    low, high = low - (margin if low else 0), high + margin
    return (max(low, 0.0), min(high, 1.0)) if share else (low, high)


def _axis(low: float, high: float, first: float, last: float) -> _Axis:
    rough = (high - low) / (_TICKS - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= rough * 0.999)
    return _Axis(low, high, step, first, last)


def _curve(line: Line, points: Sequence[_Point], x: _Axis, y: _Axis) -> Curve:
    at = [(x.at(one.x), y.at(one.y)) for one in points]
    ends = [
        (x.at(one.x), y.at(one.low), y.at(one.high))
        for one in points
        if one.low is not None and one.high is not None
    ]
    band = whiskers = ""
    if line.points:
        whiskers = "".join(f"M{a},{low}V{high}" for a, low, high in ends)
    elif ends:
        outline = [(a, high) for a, _, high in ends] + [(a, low) for a, low, _ in reversed(ends)]
        band = _path(outline) + "Z"
    said = [[*place, one.said] for place, one in zip(at, points, strict=True)]
    return Curve(
        line.name,
        _path(at) if len(at) > 1 else "",
        band,
        whiskers,
        at if line.points or len(at) == 1 else [],
        json.dumps(said, ensure_ascii=False, separators=(",", ":")),
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{a:g},{b:g}" for a, b in points) if points else ""
