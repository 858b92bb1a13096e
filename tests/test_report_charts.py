"""Charts of the page: places in pixels, and what each point says."""

from __future__ import annotations

import json
import math

import pytest

from covidssl.report.blocks import Chart, Line
from covidssl.report.charts import WIDTH, drawn, number_text


def chart(*lines: Line, diagonal: bool = False) -> Chart:
    return Chart("ROC", "1 − specificity", "sensitivity", lines, diagonal)


def test_shares_that_span_most_of_it_are_drawn_from_zero_to_one() -> None:
    shown = drawn(chart(Line("model", [0.1, 0.9], [0.3, 0.8])))
    assert [tick.text for tick in shown.x_ticks] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert shown.x_ticks[0].at == shown.left
    assert shown.x_ticks[-1].at == shown.right
    assert shown.y_ticks[0].at == shown.bottom
    assert shown.y_ticks[-1].at == shown.top


def test_values_that_lie_close_together_fill_the_height() -> None:
    shown = drawn(chart(Line("model", [0, 5], [0.91, 0.95])))
    first, last = json.loads(shown.curves[0].points)
    assert first[1] - last[1] > 0.7 * (shown.bottom - shown.top)
    assert all(shown.top <= tick.at <= shown.bottom for tick in shown.y_ticks)


def test_point_says_its_values_and_its_interval_unless_it_is_told_what_to_say() -> None:
    line = Line("model", [0.25], [0.5], [0.4], [0.625])
    (point,) = json.loads(drawn(chart(line)).curves[0].points)
    assert point[2] == "1 − specificity 0.25, sensitivity 0.5 (0.4 to 0.625)"
    (point,) = json.loads(drawn(chart(line._replace(hover=["at 0.47"]))).curves[0].points)
    assert point[2] == "at 0.47"


def test_long_curve_keeps_its_ends_and_few_points() -> None:
    steps = list(range(100_000))
    shown = drawn(chart(Line("loss", steps, [math.exp(-s / 20_000) for s in steps])))
    points = json.loads(shown.curves[0].points)
    assert len(points) == 240
    assert points[0][2].startswith("1 − specificity 0,")
    assert points[-1][2].startswith("1 − specificity 1e+05,")
    assert [said for _, said in shown.rows] == [said for _, _, said in points]
    assert shown.of == 100_000
    assert all(0 <= x <= WIDTH for x, _, _ in points)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_point_that_is_not_finite_is_left_out(value: float) -> None:
    line = Line("model", [0, 1, 2], [0.5, value, 0.6], [0.4, 0.4, value], [0.6, 0.6, 0.7])
    shown = drawn(chart(line))
    points = json.loads(shown.curves[0].points)
    assert [said for _, _, said in points] == [
        "1 − specificity 0, sensitivity 0.5 (0.4 to 0.6)",
        "1 − specificity 2, sensitivity 0.6",
    ]
    assert "nan" not in shown.curves[0].path + shown.curves[0].band


def test_curve_has_a_band_and_marked_points_have_whiskers() -> None:
    line = Line("model", [0, 1], [0.5, 0.6], [0.4, 0.5], [0.6, 0.7])
    joined = drawn(chart(line)).curves[0]
    marked = drawn(chart(line._replace(points=True))).curves[0]
    assert (bool(joined.band), bool(joined.whiskers), len(joined.marks)) == (True, False, 0)
    assert (bool(marked.band), bool(marked.whiskers), len(marked.marks)) == (False, True, 2)


@pytest.mark.parametrize("y", [[], [0.5], [3.0, 3.0], [0.0, 0.0], [-1e9, 1e9], [1e-12, 2e-12]])
def test_chart_of_few_or_odd_values_is_drawn(y: list[float]) -> None:
    shown = drawn(chart(Line("model", list(range(len(y))), y), diagonal=not y))
    assert len(json.loads(shown.curves[0].points)) == len(y)
    assert 2 <= len(shown.y_ticks) <= 12
    assert len({tick.text for tick in shown.y_ticks}) == len(shown.y_ticks)


def test_chance_is_drawn_from_corner_to_corner() -> None:
    shown = drawn(chart(Line("model", [0, 1], [0, 1]), diagonal=True))
    ends = f"M{float(shown.left)},{float(shown.bottom)}L{float(shown.right)},{float(shown.top)}"
    assert shown.diagonal == ends


@pytest.mark.parametrize(
    ("value", "step", "text"), [(0.1, 0.1, "0.1"), (0.25, 0.25, "0.25"), (3e6, 1e6, "3e+06")]
)
def test_tick_has_as_many_digits_as_it_needs(value: float, step: float, text: str) -> None:
    assert number_text(value, step) == text
