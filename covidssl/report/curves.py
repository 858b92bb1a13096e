"""The curves of `metrics.json` as charts whose values can be pointed at."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, Field, FiniteFloat

from covidssl.report.blocks import Block, Chart, Line
from covidssl.report.reading import Interval

_LOWEST = -0.1  # net benefit below it is a loss, however large
_LAST = 0.95  # threshold probability: beyond, net benefit is dominated by single scans


class Curve(BaseModel):
    """One curve: its points, and the threshold of each; None where nothing is called positive."""

    name: str
    x: list[FiniteFloat]
    y: list[FiniteFloat]
    threshold: list[float | None]


class Point(BaseModel):
    """One bin of the reliability curve."""

    n: int
    probability: FiniteFloat
    share: FiniteFloat


class Decision(BaseModel):
    """Net benefit at threshold probabilities."""

    prevalence: FiniteFloat
    thresholds: list[FiniteFloat]
    model: list[Interval]
    treat_all: list[Interval]


class Curves(BaseModel):
    """All curves of a set."""

    roc: list[Curve] = Field(default_factory=list)
    pr: list[Curve] = Field(default_factory=list)
    reliability: list[Point] = Field(default_factory=list)
    decision: Decision | None = None


def charts(found: Curves, of: str, bins: str) -> list[Block]:
    """ROC, precision-recall, reliability and decision curves.

    Args:
        found: the curves.
        of: the set, for the titles; empty for the internal one.
        bins: how probabilities were binned, in words.
    """
    blocks: list[Block] = []
    if found.roc:
        lines = [_line(one, "1 − specificity", "sensitivity") for one in found.roc]
        blocks.append(Chart(f"{of}ROC curve", "1 − specificity", "sensitivity", lines, True))
    if found.pr:
        lines = [_line(one, "sensitivity", "precision") for one in found.pr]
        title = f"{of}Precision and sensitivity"
        blocks.append(Chart(title, "sensitivity (recall)", "precision", lines))
    if found.reliability:
        title = f"{of}Does a probability mean what it says? ({bins})"
        line = _reliability(found.reliability)
        blocks.append(
            Chart(title, "probability given", "observed share of positives", [line], True)
        )
    if found.decision is not None:
        title = f"{of}Decision curve: what acting on the model is worth"
        lines = _decision(found.decision)
        blocks.append(Chart(title, "threshold probability", "net benefit", lines))
    return blocks


def _line(curve: Curve, x_name: str, y_name: str) -> Line:
    hover = [
        f"{_at(threshold)}: {y_name} {y:.3f}, {x_name} {x:.3f}"
        for x, y, threshold in zip(curve.x, curve.y, curve.threshold, strict=False)
    ]
    return Line(curve.name, curve.x, curve.y, hover=hover)


def _at(threshold: float | None) -> str:
    return "nothing called positive" if threshold is None else f"threshold {threshold:.3f}"


def _reliability(points: Sequence[Point]) -> Line:
    hover = [
        f"{one.n} scans: mean probability {one.probability:.3f}, share of positives {one.share:.3f}"
        for one in points
    ]
    x, y = [one.probability for one in points], [one.share for one in points]
    return Line("model", x, y, hover=hover, points=True)


def _decision(found: Decision) -> list[Line]:
    kept = [k for k, at in enumerate(found.thresholds) if at <= _LAST]
    at = [found.thresholds[k] for k in kept]
    model = [found.model[k] for k in kept]
    everyone = [
        (found.thresholds[k], found.treat_all[k].value)
        for k in kept
        if found.treat_all[k].value >= _LOWEST
    ]
    return [
        Line(
            "model",
            at,
            [max(one.value, _LOWEST) for one in model],
            [max(one.low, _LOWEST) for one in model],
            [max(one.high, _LOWEST) for one in model],
            [
                f"threshold probability {x:.2f}: net benefit {one.value:.3f} "
                f"({one.low:.3f} to {one.high:.3f})"
                for x, one in zip(at, model, strict=True)
            ],
        ),
        Line("act on all", [x for x, _ in everyone], [y for _, y in everyone]),
        Line("act on none", [at[0], at[-1]], [0.0, 0.0]),
    ]
