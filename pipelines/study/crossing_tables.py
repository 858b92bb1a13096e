"""Tables of the study across sites, from its records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from covidssl.metrics import Metric
from pipelines.study.arms import NOTHING, OURS, in_words
from pipelines.study.choices import AS_EVER, NARROW, NO_VIEWS, UNCROPPED
from pipelines.study.crossing import AWAY, HOME, SPLIT, Way
from pipelines.study.frozen import TREES, Question, answer_to
from pipelines.study.records import Found, Images, read_images
from pipelines.study.scores import LIMITS, PROBE, difference, founds_of, pooled
from pipelines.study.table_text import (
    difference_text,
    estimate_text,
    markdown_table,
    value_text,
)
from pipelines.study.targets import WORDS, View
from pipelines.study.trivial import LINEAR, THUMBNAIL

STUDY = "cross_site"
"""Folder of its records."""

CENTRED = ", features centred by site"
"""What the protocol's name ends in where each site's features are centred by themselves."""

HISTOGRAM = "trees on lung histogram"
"""On the histogram inside the lungs, scaled by the image's own lung: a change of window that is a
straight line changes nothing in it, so that it is the trivial model with most to say elsewhere."""

TRIVIAL = {THUMBNAIL: TREES, LINEAR: PROBE, HISTOGRAM: TREES}
"""Models that cannot see disease, and the protocol of each."""

FIXED = (OURS, NOTHING, *TRIVIAL)
SHORT = (AS_EVER, NARROW, NO_VIEWS, UNCROPPED)
"""Short pretrainings, the first of which is what the others are held against."""

SEEN: tuple[View, ...] = ("plain", "lungs_only", "ranked", "lungs_only_ranked")


class _Asked(NamedTuple):
    """Answers of one model across a way."""

    images: Images
    founds: Sequence[Found]


class _Change(NamedTuple):
    """A change that may help, and what it is held against: arm, view and whether centred."""

    words: str
    here: tuple[str, View, bool]
    against: tuple[str, View, bool]


_NOT_RUN = ["not run yet", "", "", ""]
_AT_HALF: tuple[Metric, ...] = ("accuracy", "sensitivity")
_BASE: tuple[str, View, bool] = (OURS, "plain", False)
_SHORT: tuple[str, View, bool] = (AS_EVER.name, "plain", False)
_CHANGES = (
    _Change("pretraining, against none", _BASE, (NOTHING, "plain", False)),
    _Change("the network, against trees on a thumbnail", _BASE, (THUMBNAIL, "plain", False)),
    _Change("the network, against a linear model on it", _BASE, (LINEAR, "plain", False)),
    _Change(
        "the network, against trees on the lungs' histogram, scaled by the own lung",
        _BASE,
        (HISTOGRAM, "plain", False),
    ),
    _Change("histogram normalisation: each image rank-equalised", (OURS, "ranked", False), _BASE),
    _Change("outside the lungs blanked", (OURS, "lungs_only", False), _BASE),
    _Change("both", (OURS, "lungs_only_ranked", False), _BASE),
    _Change("features centred by each site, unlabelled", (OURS, "plain", True), _BASE),
    _Change("both, and features centred", (OURS, "lungs_only_ranked", True), _BASE),
    _Change(
        "no pretraining: all three against images as they are",
        (NOTHING, "lungs_only_ranked", True),
        (NOTHING, "plain", False),
    ),
    _Change(
        "trees on a thumbnail: all three against images as they are",
        (THUMBNAIL, "lungs_only_ranked", True),
        (THUMBNAIL, "plain", False),
    ),
    _Change("pretrained with wide windows, not narrow ones", _SHORT, (NARROW.name, "plain", False)),
    _Change(
        "pretrained with views that hold no shortcut, not without",
        _SHORT,
        (NO_VIEWS.name, "plain", False),
    ),
    _Change(
        "cropped to the lungs, pretraining and images, not whole pictures",
        _SHORT,
        (UNCROPPED.name, "plain", False),
    ),
)


def badness_table(records: Path) -> str:
    """Each arm at home and away, on the same images."""
    parts = []
    for way in AWAY:
        rows, most = [], ""
        for arm in FIXED:
            away, home = _asked(records, way, (arm, "plain", False)), _home(records, way, arm)
            if away is None or home is None:
                continue
            share = float(away.images.target.mean())
            most = value_text(max(share, 1 - share))
            rows.append(
                [
                    in_words(arm),
                    estimate_text(pooled(*home)),
                    estimate_text(pooled(*away)),
                    difference_text(difference(away.images, away.founds, home.founds)),
                    *(estimate_text(pooled(*away, metric)) for metric in _AT_HALF),
                ]
            )
        if rows:
            head = [
                "arm",
                "AUROC at home",
                "AUROC away",
                "away less home",
                "accuracy away",
                "recall away",
            ]
            text = (
                f"**From {WORDS[way.source]} to {WORDS[way.tested]}** (always naming the larger "
                f"class: accuracy {most})"
            )
            parts.append(f"{text}\n\n{markdown_table(head, rows)}")
    return "\n\n".join([*parts, LIMITS]) if parts else ""


def carried_list(records: Path) -> str:
    """What carries over, in a line a way: AUROC away of each arm; for the first page."""
    lines = []
    for way in AWAY:
        asked = {arm: _asked(records, way, (arm, "plain", False)) for arm in FIXED}
        told = [
            f"{in_words(arm)} {estimate_text(pooled(*one))}"
            for arm, one in asked.items()
            if one is not None
        ]
        if told:
            lines.append(
                f"- Taught on {WORDS[way.source]}, asked about {WORDS[way.tested]}: AUROC "
                f"{'; '.join(told)}"
            )
    return "\n".join(lines)


def help_table(records: Path) -> str:
    """Every change that may help, held against what it changes."""
    parts = []
    for way in AWAY:
        rows = []
        for change in _CHANGES:
            here, base = (_asked(records, way, one) for one in (change.here, change.against))
            told = _NOT_RUN if here is None or base is None else _beside(here, base)
            rows.append([change.words, *told])
        if any(row[1:] != _NOT_RUN for row in rows):
            head = ["change", "AUROC with it", "without it", "difference", "of accuracy"]
            text = f"**From {WORDS[way.source]} to {WORDS[way.tested]}**"
            parts.append(f"{text}\n\n{markdown_table(head, rows)}")
    return "\n\n".join([*parts, LIMITS]) if parts else ""


def _beside(here: _Asked, base: _Asked) -> list[str]:
    images, ours, others = here.images, here.founds, base.founds
    return [
        estimate_text(pooled(*here)),
        estimate_text(pooled(*base)),
        difference_text(difference(images, ours, others)),
        difference_text(difference(images, ours, others, "accuracy")),
    ]


def _asked(records: Path, way: Way, model: tuple[str, View, bool]) -> _Asked | None:
    arm, view, centred = model
    record = answer_to(records / STUDY, Question(way.name, SPLIT, view, arm))
    if record is None:
        return None
    protocol = TRIVIAL.get(arm, PROBE)
    founds = founds_of(record, f"{protocol}{CENTRED if centred else ''}", 1.0)
    return _Asked(read_images(records, way.name, SPLIT), founds)


def _home(records: Path, way: Way, arm: str) -> _Asked | None:
    """The same images, answered by a model of their own set."""
    if way.tested == HOME.tested:
        return _asked(records, HOME, (arm, "plain", False))
    record = answer_to(records / STUDY, Question(way.tested, "blocked", "plain", arm))
    if record is None:
        return None
    images = read_images(records, way.tested, "blocked")
    return _Asked(images, founds_of(record, TRIVIAL.get(arm, PROBE), 1.0))
