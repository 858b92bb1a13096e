"""Tables of label efficiency, from its records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np

from covidssl.metrics import Estimate
from covidssl.metrics.resampling import interval
from pipelines.study.arms import COMPARED, NOTHING, OURS, in_words
from pipelines.study.curves import Curve, Needed, curve_of, needed
from pipelines.study.frozen import Question
from pipelines.study.power_law import next_point, predict_last
from pipelines.study.records import Found, Record, images_file, read_images, read_record
from pipelines.study.scores import LIMITS
from pipelines.study.table_text import (
    difference_text,
    estimate_text,
    fraction_text,
    markdown_table,
    signed_text,
    value_text,
)
from pipelines.study.targets import SETS, VIEW_WORDS, VIEWS, WORDS, SetName, View
from pipelines.study.trivial import THUMBNAIL

STUDY = "label_efficiency"
"""Folder of its records."""

ARMS = (*COMPARED, THUMBNAIL)
SPLIT = "blocked"
FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)

_SAVED_FROM = 0.02
_FEW = 0.1


class Panel(NamedTuple):
    """The curves of one set under one view.

    Attributes:
        name, view: of what.
        shares: of the labels, rising.
        curves: by arm, over labels; all have the same.
    """

    name: SetName
    view: View
    shares: tuple[float, ...]
    curves: dict[str, Curve]

    @property
    def words(self) -> str:
        """What it is of, as a heading."""
        return f"{WORDS[self.name]}, {VIEW_WORDS[self.view]}"


def panels(records: Path) -> list[Panel]:
    """What is recorded of every set and view; those without a record are left out."""
    found = [_panel(records, name, view) for name in SETS for view in VIEWS]
    return [panel for panel in found if panel.curves]


def curves_table(records: Path) -> str:
    """AUROC of every arm at every share of the labels."""
    parts = []
    for panel in panels(records):
        labels = next(iter(panel.curves.values())).amount
        head = ["arm"] + [
            f"{fraction_text(share)}: {number:.0f}"
            for share, number in zip(panel.shares, labels, strict=True)
        ]
        rows = [
            [in_words(arm), *(estimate_text(one) for one in curve.estimates)]
            for arm, curve in panel.curves.items()
        ]
        parts.append(f"**{panel.words}**\n\n{markdown_table(head, rows)}")
    return "\n\n".join([*parts, LIMITS]) if parts else ""


def saved_table(records: Path) -> str:
    """How many labels do without pretraining what some do with it."""
    parts = []
    for panel in panels(records):
        if not {OURS, NOTHING} <= set(panel.curves):
            continue
        rows = list(_saved_rows(panel))
        head = ["share", "labels", "AUROC with pretraining", "labels without", "times as many"]
        head.append("labels of the trees")
        parts.append(f"**{panel.words}**\n\n{markdown_table(head, rows)}")
    return "\n\n".join(parts)


def laws_table(records: Path) -> str:
    """What the law of the points before the last says of the last one, and what all say beyond."""
    rows, held, errors = [], [], []
    for panel in panels(records):
        for arm, curve in panel.curves.items():
            told, ahead = predict_last(curve), next_point(curve, 2 * curve.amount[-1])
            if told is None or ahead is None:
                continue
            held.append(told.error.low <= 0 <= told.error.high)
            rows.append(
                [
                    panel.words,
                    in_words(arm),
                    told.law,
                    *(estimate_text(one) for one in (told.said, told.found)),
                    difference_text(told.error),
                    f"{estimate_text(ahead.said)}, {ahead.law}",
                ]
            )
            errors.append((panel.words, told.error.value))
    if not rows:
        return ""
    head = ["images", "arm", "law", "predicted", "found", "found less predicted"]
    head.append("predicted of twice the labels")
    said = (
        f"{sum(held)} of {len(held)} predictions have an error whose interval holds 0. "
        f"They share images, so they are not so many independent trials, and intervals are wide: "
        f"errors of mostly one sign tell of a law that is too low there. {_leaning(errors)}."
    )
    return f"{said}\n\n{markdown_table(head, rows, 3)}"


def _leaning(errors: Sequence[tuple[str, float]]) -> str:
    """How many predictions were too low, and the mean error, by set and view."""
    said = []
    for words in dict.fromkeys(words for words, _ in errors):
        own = [error for one, error in errors if one == words]
        low = sum(error > 0 for error in own)
        said.append(f"{words}: {low} of {len(own)} too low, mean {signed_text(fmean(own))}")
    return "; ".join(said)


def answer(records: Path) -> str:
    """What pretraining is worth with few labels and with all, in sentences."""
    lines = []
    for panel in panels(records):
        if not {OURS, NOTHING, THUMBNAIL} <= set(panel.curves):
            continue
        few = panel.shares.index(_FEW)
        said = []
        for place in (few, len(panel.shares) - 1):
            labels = panel.curves[OURS].amount[place]
            gains = [
                f"{difference_text(_gain(panel, rival, place))} over {words}"
                for rival, words in (
                    (NOTHING, "no pretraining"),
                    (THUMBNAIL, "trees on a thumbnail"),
                )
            ]
            said.append(f"with {labels:.0f} labels {' and '.join(gains)}")
        wants = needed(panel.curves[NOTHING], panel.curves[OURS], few)
        reached = _needed_text(wants, panel.curves[NOTHING])
        lines.append(
            f"- {panel.words}: AUROC of the pretrained encoder {'; '.join(said)}. Without "
            f"pretraining, its AUROC with {panel.curves[OURS].amount[few]:.0f} labels takes "
            f"{reached}."
        )
    return "\n".join(lines)


def made_table(records: Path) -> str:
    """When, on what and how long the records were made."""
    rows = []
    for arm in ARMS:
        found = [
            record
            for name in SETS
            for view in VIEWS
            if (record := _record(records, name, view, arm))
        ]
        if not found:
            continue
        facts = [record.facts for record in found]
        shas = {one.sources.get("encoder", "")[:12] for one in facts} - {""}
        draws = {len([c for c in record.cells if c.fraction == _FEW]) for record in found}
        rows.append(
            [
                in_words(arm),
                ", ".join(sorted(shas)) or "none",
                ", ".join(str(count) for count in sorted(draws)),
                value_text(sum(one.minutes for one in facts), 1),
                f"{facts[0].device}, {facts[0].threads} thread(s)",
            ]
        )
    head = ["arm", "SHA-256 of the encoder", f"draws of {fraction_text(_FEW)}", "minutes", "on"]
    return markdown_table(head, rows, 2) if rows else ""


def _panel(records: Path, name: SetName, view: View) -> Panel:
    shares: tuple[float, ...] = ()
    curves = {}
    for arm in ARMS:
        file = _file(records, name, view, arm)
        if file.is_file():
            rows = images_file(records, name, SPLIT)
            # Several tables are made of each curve.
            shares, curves[arm] = _curve(records, file, _changed(file), _changed(rows))
    return Panel(name, view, shares, curves)


@lru_cache(maxsize=64)
def _curve(records: Path, file: Path, *_changed: int) -> tuple[tuple[float, ...], Curve]:
    record = read_record(file)
    images = read_images(records, record.facts.set_name, record.facts.split)
    shares = tuple(sorted({cell.fraction for cell in record.cells}))
    founds: dict[float, list[Found]] = {}
    for share in shares:
        own = [found for cell, found in sorted(record.cells.items()) if cell.fraction == share]
        founds[float(np.mean([found.labels for found in own]))] = own
    return shares, curve_of(images, founds)


def _changed(file: Path) -> int:
    return file.stat().st_mtime_ns if file.is_file() else 0


def _file(records: Path, name: SetName, view: View, arm: str) -> Path:
    return records / STUDY / Question(name, SPLIT, view, arm).file


def _record(records: Path, name: SetName, view: View, arm: str) -> Record | None:
    file = _file(records, name, view, arm)
    return read_record(file) if file.is_file() else None


def _saved_rows(panel: Panel) -> Iterator[list[str]]:
    ours, nothing = panel.curves[OURS], panel.curves[NOTHING]
    trees = panel.curves.get(THUMBNAIL)
    for place, (share, estimate) in enumerate(zip(panel.shares, ours.estimates, strict=True)):
        if share < _SAVED_FROM:
            continue
        wants = needed(nothing, ours, place)
        times = Needed(*(one / ours.amount[place] for one in wants))
        yield [
            fraction_text(share),
            f"{ours.amount[place]:.0f}",
            estimate_text(estimate),
            _needed_text(wants, nothing),
            _times_text(times, float(nothing.amount[-1] / ours.amount[place])),
            "not run" if trees is None else _needed_text(needed(trees, ours, place), trees),
        ]


def _needed_text(wants: Needed, arm: Curve) -> str:
    def words(value: float) -> str:
        if np.isinf(value):
            return "never"
        return f"{'at most ' if value <= arm.amount[0] else ''}{value:.0f}"

    first = f"more than {arm.amount[-1]:.0f}" if np.isinf(wants.value) else words(wants.value)
    return f"{first} ({words(wants.low)} to {words(wants.high)})"


def _times_text(times: Needed, most: float) -> str:
    value, low, high = ("never" if np.isinf(one) else f"{one:.1f}" for one in times)
    return f"{f'more than {most:.1f}' if np.isinf(times.value) else value} ({low} to {high})"


def _gain(panel: Panel, rival: str, place: int) -> Estimate:
    ours, other = panel.curves[OURS], panel.curves[rival]
    drawn = ours.drawn[:, place] - other.drawn[:, place]
    return interval(float(ours.value[place] - other.value[place]), drawn)
