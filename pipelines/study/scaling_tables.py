"""Tables of the study of scale, from its records."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from covidssl.metrics import Estimate
from covidssl.metrics.resampling import interval
from pipelines.study.arms import NOTHING
from pipelines.study.curves import Curve, curve_of
from pipelines.study.frozen import Question
from pipelines.study.power_law import next_point, predict_last
from pipelines.study.records import Found, Images, Record, read_images, read_record
from pipelines.study.scaling_plan import FRACTIONS, points, settings
from pipelines.study.scores import LIMITS, each, pooled
from pipelines.study.table_text import (
    difference_text,
    estimate_text,
    fraction_text,
    markdown_table,
    range_text,
    value_text,
)
from pipelines.study.targets import SETS, VIEW_WORDS, VIEWS, WORDS, SetName, View

STUDY = "scaling"
"""Folder of its records."""

SPLIT = "blocked"
AMOUNTS = ("slices", "steps")


class Line(NamedTuple):
    """One line of the study.

    Attributes:
        name, view, share: set, view and share of the labels.
        curve: AUROC over the amount.
        nothing: AUROC of encoders that learnt nothing; None where that is not recorded.
        seeds: the least and the most of the seeds at each amount, as text.
    """

    name: SetName
    view: View
    share: float
    curve: Curve
    nothing: Estimate | None
    seeds: tuple[str, ...]

    @property
    def words(self) -> str:
        """What it is of."""
        return f"{WORDS[self.name]}, {VIEW_WORDS[self.view]}, {fraction_text(self.share)}"


def lines(records: Path, amount: str) -> list[Line]:
    """Every set, view and share that has two amounts or more.

    Args:
        records: folder of all records.
        amount: `slices` or `steps`.
    """
    found = [
        _line(records, amount, name, view, share)
        for name in SETS
        for view in VIEWS
        for share in FRACTIONS
    ]
    return [line for line in found if line is not None]


def curve_table(amount: str) -> Callable[[Path], str]:
    """What makes the table of AUROC over an amount."""

    def make(records: Path) -> str:
        parts = []
        for line in lines(records, amount):
            rows = [
                [f"{number:.0f}", estimate_text(one), seeds]
                for number, one, seeds in zip(
                    line.curve.amount, line.curve.estimates, line.seeds, strict=True
                )
            ]
            if line.nothing is not None:
                rows.insert(0, ["0", estimate_text(line.nothing), ""])
            table = markdown_table([amount, "AUROC", "seeds"], rows, 0)
            parts.append(f"**{line.words} of the labels**\n\n{table}")
        return "\n\n".join([*parts, LIMITS]) if parts else ""

    return make


def laws_table(records: Path) -> str:
    """What the law of the points before the last says of the last, and what all say of twice it."""
    rows = []
    for amount in AMOUNTS:
        for line in lines(records, amount):
            told = predict_last(line.curve)
            ahead = next_point(line.curve, 2 * line.curve.amount[-1])
            if told is None or ahead is None:
                continue
            rows.append(
                [
                    amount,
                    line.words,
                    told.law,
                    *(estimate_text(one) for one in (told.said, told.found)),
                    difference_text(told.error),
                    f"{estimate_text(ahead.said)}, {ahead.law}",
                ]
            )
    head = ["over", "images, labels", "law", "predicted", "found", "found less predicted"]
    return markdown_table([*head, "predicted of twice as many"], rows, 3) if rows else ""


def answer(records: Path) -> str:
    """Is more worth it: what the last doubling or so brought, in sentences."""
    said = []
    for amount in AMOUNTS:
        for line in lines(records, amount):
            said.append(f"- {line.words} of the labels: {_grown(line.curve, amount)}.")
    return "\n".join(said)


def made_table(records: Path) -> str:
    """How long the records were in the making, and which of the folder are left out."""
    found, left_out = _sorted(records)
    said = [f"Left out of all tables and figures: {one}." for one in left_out]
    if not found:
        return "\n".join(said)
    rows = []
    for arm in dict.fromkeys(record.facts.arm for record in found):
        own = [record.facts for record in found if record.facts.arm == arm]
        settings = own[0].settings
        rows.append(
            [
                "no pretraining" if arm == NOTHING else arm,
                ", ".join(str(count) for count in settings.get("slices", [])),
                str(settings.get("steps", "")),
                ", ".join(
                    sha[:12] for name, sha in sorted(own[0].sources.items()) if "encoder" in name
                ),
                value_text(sum(one.minutes for one in own), 1),
            ]
        )
    head = ["point", "slices, a seed each", "steps", "SHA-256 of the encoders", "minutes of probes"]
    return "\n\n".join([markdown_table(head, rows, 1), *said])


def _grown(curve: Curve, amount: str) -> str:
    gains = []
    for first in (0, len(curve.amount) - 2):
        drawn = curve.drawn[:, -1] - curve.drawn[:, first]
        gain = interval(float(curve.value[-1] - curve.value[first]), drawn)
        gains.append(f"{difference_text(gain)} from {curve.amount[first]:.0f}")
    return f"{curve.amount[-1]:.0f} {amount} bring an AUROC of {' and '.join(dict.fromkeys(gains))}"


def _line(records: Path, amount: str, name: SetName, view: View, share: float) -> Line | None:
    own: dict[float, Record] = {}
    nothing = None
    for record in _sorted(records)[0]:
        facts = record.facts
        if (facts.set_name, facts.view) != (name, view):
            continue
        if facts.arm == NOTHING:
            nothing = record
        elif amount in facts.settings.get("lines", []):
            own[_amount(record, amount)] = record
    if len(own) < 2:
        return None
    images = read_images(records, name, SPLIT)
    # A point of fewer seeds would be compared by another seed as much as by its amount.
    seeds = set.intersection(*({cell.seed for cell in record.cells} for record in own.values()))
    own = {number: _of_seeds(record, seeds) for number, record in own.items()}
    nothing = None if nothing is None else _of_seeds(nothing, seeds)
    founds = {number: _founds(record, share) for number, record in own.items()}
    return Line(
        name,
        view,
        share,
        curve_of(images, founds),
        None if nothing is None else pooled(images, _founds(nothing, share)),
        tuple(_by_seed(images, own[number], share) for number in sorted(own)),
    )


def _amount(record: Record, amount: str) -> float:
    if amount == "steps":
        return float(record.facts.settings["steps"])
    slices = record.facts.settings["slices"]
    return float(sum(slices) / len(slices))


def _founds(record: Record, share: float) -> list[Found]:
    return [found for cell, found in sorted(record.cells.items()) if cell.fraction == share]


def _by_seed(images: Images, record: Record, share: float) -> str:
    seeds = sorted({cell.seed for cell in record.cells})
    means = []
    for seed in seeds:
        own = [
            found
            for cell, found in record.cells.items()
            if (cell.fraction, cell.seed) == (share, seed)
        ]
        scores = each(images, own)
        means.append(sum(scores) / len(scores))
    return range_text(means)


def _of_seeds(record: Record, seeds: set[int]) -> Record:
    cells = {cell: found for cell, found in record.cells.items() if cell.seed in seeds}
    return Record(record.facts, cells)


@lru_cache(maxsize=1)
def _planned() -> dict[str, dict[str, Any]]:
    """Settings of every record of the plan as it stands, by its file's name."""
    found = {}
    for point in points():
        now = json.loads(json.dumps(settings(point)))
        for name in SETS:
            for view in VIEWS:
                found[question(name, view, point.arm).file] = now
    return found


def _sorted(records: Path) -> tuple[list[Record], list[str]]:
    """Records of the plan as it stands, and the other files of the folder with the reason."""
    planned = _planned()
    found, left_out = [], []
    for file in sorted((records / STUDY).glob("*.parquet")):
        now = planned.get(file.name)
        if now is None:
            left_out.append(f"`{file.name}` (no point of the plan)")
            continue
        record = _read(file, file.stat().st_mtime_ns)
        held = record.facts.settings
        other = [name for name, value in now.items() if held.get(name) != value]
        if other:
            left_out.append(f"`{file.name}` (made with another {', '.join(other)})")
        else:
            found.append(record)
    return found, left_out


@lru_cache(maxsize=128)
def _read(file: Path, _changed: int) -> Record:
    """Several tables are made of each file."""
    return read_record(file)


def question(name: SetName, view: View, arm: str) -> Question:
    """What one record of the study answers."""
    return Question(name, SPLIT, view, arm)
