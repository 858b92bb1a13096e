"""Tables of the study of shortcuts, from its records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from covidssl.audit.shortcuts import MODELS
from covidssl.metrics import Estimate
from covidssl.metrics.resampling import interval
from pipelines.study.arms import NOTHING, OURS, in_words
from pipelines.study.folds import SPLITS
from pipelines.study.frozen import Question, answer_to
from pipelines.study.grouped import Scored, drawn
from pipelines.study.records import Found, Images, read_images
from pipelines.study.scores import LIMITS, difference, pooled
from pipelines.study.table_text import (
    estimate_text,
    markdown_table,
    points_text,
)
from pipelines.study.targets import SETS, VIEW_WORDS, WORDS, View
from pipelines.study.trivial import THUMBNAIL

STUDY = "shortcuts"
"""Folder of its records."""

FEATURES = (
    "size",
    "border",
    "outside",
    "blanked",
    "percentiles",
    "histogram",
    "inside",
    "rival",
    "rival_nearest",
    "fine",
    "ranked",
    "ranked_lungs",
    "shape",
    "own_scale",
)
"""Those of the audit's models that are tried, by their keys."""

SEEN: tuple[View, ...] = (
    "plain",
    "whole",
    "lungs_only",
    "ranked",
    "lungs_only_ranked",
    "lungs_masked",
)
"""How the images are seen."""

ENCODERS = (OURS, NOTHING)
ARMS = (*ENCODERS, THUMBNAIL)

_BLAMED: Mapping[str, str] = {
    "files": "the files",
    "background": "what lies about the lungs",
    "window": "window and scanner, or disease",
    "anatomy": "anatomy and slice level, or disease",
    "memory": "memory of the patient",
}
_HALF = 0.5


def features_table(records: Path) -> str:
    """Models that cannot know disease, under both splits."""
    parts = []
    for name in SETS:
        rows = []
        for model in (model for model in MODELS if model.key in FEATURES):
            scores = _scores(records, name, "plain", model.key)
            if scores is not None:
                rows.append([model.words, _BLAMED[model.blames], *scores])
        if rows:
            head = ["model on", "what it can tell by", *_HEAD]
            parts.append(f"**{WORDS[name]}**\n\n{markdown_table(head, rows, 2)}")
    return _with_limits(parts)


def views_table(records: Path) -> str:
    """The arms on images of which a part was taken away, under both splits."""
    parts = []
    for name in SETS:
        rows = []
        for view in SEEN:
            for arm in ARMS:
                scores = _scores(records, name, view, arm)
                if scores is not None:
                    rows.append([VIEW_WORDS[view], in_words(arm), *scores])
        if rows:
            parts.append(
                f"**{WORDS[name]}**\n\n{markdown_table(['images', 'arm', *_HEAD], rows, 2)}"
            )
    return _with_limits(parts)


class _Step(NamedTuple):
    """One answer of the last table: what is asked of whom, and what it shows."""

    words: str
    split: str
    view: View
    arm: str


_STEPS = (
    _Step("boosted trees on a thumbnail", "random", "plain", THUMBNAIL),
    _Step("the network, images as they are", "random", "plain", OURS),
    _Step("the network, lungs masked out", "random", "lungs_masked", OURS),
    _Step("histogram of the pixels outside the lungs", "random", "plain", "outside"),
    _Step("shape of the lungs alone", "random", "plain", "shape"),
    _Step("boosted trees on a thumbnail", "blocked", "plain", THUMBNAIL),
    _Step("the network, images as they are", "blocked", "plain", OURS),
    _Step("the network, lungs masked out", "blocked", "lungs_masked", OURS),
    _Step("the network, rank-equalised, lungs only", "blocked", "lungs_only_ranked", OURS),
    _Step("histogram inside the lungs, scaled by its own lung", "blocked", "plain", "own_scale"),
)


class _Fall(NamedTuple):
    """A difference of two answers of the network: what is taken away, from what to what."""

    words: str
    first: tuple[str, View]
    then: tuple[str, View]


_FALLS = (
    _Fall(
        "the blocked split: no neighbour in the file order is learnt from",
        ("random", "plain"),
        ("blocked", "plain"),
    ),
    _Fall("then all outside the lungs is blanked", ("blocked", "plain"), ("blocked", "lungs_only")),
    _Fall(
        "then the window too (rank-equalised)",
        ("blocked", "lungs_only"),
        ("blocked", "lungs_only_ranked"),
    ),
    _Fall(
        "all three together: random split and whole images against what is left",
        ("random", "plain"),
        ("blocked", "lungs_only_ranked"),
    ),
    _Fall(
        "only the lungs are masked out, random split",
        ("random", "whole"),
        ("random", "lungs_masked"),
    ),
    _Fall(
        "only the lungs are masked out, blocked split",
        ("blocked", "whole"),
        ("blocked", "lungs_masked"),
    ),
)


def answer_table(records: Path) -> str:
    """What part of the accuracy on a random split is not disease, for each set."""
    parts = [text for name in SETS if (text := _answer(records, name))]
    return _with_limits(parts)


def _answer(records: Path, name: str) -> str:
    first = _STEPS[0]
    full = _asked(records, name, first.split, first.view, first.arm)
    if full is None:
        return ""
    rows = []
    for step in _STEPS:
        asked = _asked(records, name, step.split, step.view, step.arm)
        if asked is not None:
            images, founds = asked
            rows.append(
                [
                    step.words,
                    step.split,
                    estimate_text(pooled(images, founds, "accuracy")),
                    estimate_text(share_kept(asked, full), 2),
                ]
            )
    head = ["what answers", "split", "accuracy", "share of the way from 0.5 to the first row"]
    falls = []
    for fall in _FALLS:
        one, other = (_asked(records, name, *at, OURS) for at in (fall.first, fall.then))
        if one is not None and other is not None:
            falls.append(
                [
                    fall.words,
                    points_text(difference(one[0], other[1], one[1], "accuracy")),
                    points_text(difference(one[0], other[1], one[1], "auroc")),
                ]
            )
    lower = ["what is taken from the network", "points of accuracy", "points of AUROC"]
    tables = [markdown_table(head, rows, 2)]
    tables += [markdown_table(lower, falls)] if falls else []
    return "\n\n".join([f"**{WORDS[next(one for one in SETS if one == name)]}**", *tables])


_Asked = tuple[Images, Sequence[Found]]
_HEAD = tuple(f"{split}: {metric}" for split in SPLITS[::-1] for metric in ("accuracy", "AUROC"))


def _asked(records: Path, name: str, split: str, view: View, arm: str) -> _Asked | None:
    record = answer_to(records / STUDY, Question(name, split, view, arm))
    if record is None:
        return None
    return read_images(records, name, split), tuple(record.cells.values())


def _scores(records: Path, name: str, view: View, arm: str) -> list[str] | None:
    """Accuracy and AUROC of a model under the random, then the blocked split."""
    found = []
    for split in SPLITS[::-1]:
        asked = _asked(records, name, split, view, arm)
        if asked is None:
            return None
        found += [estimate_text(pooled(*asked, metric)) for metric in ("accuracy", "auroc")]
    return found


def share_kept(asked: _Asked, full: _Asked) -> Estimate:
    """How much of another's accuracy above one half is kept, on the same resamples."""
    above, whole = (_accuracy(one) - _HALF for one in (asked, full))
    share = above / np.where(whole > 0, whole, np.nan)
    return interval(float(share[0]), share[1:])


def _accuracy(asked: _Asked) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    images, founds = asked
    each = [drawn(Scored(images.target, images.group, one.chance), "accuracy") for one in founds]
    return np.asarray(np.mean(each, axis=0), np.float64)


def _with_limits(parts: Sequence[str]) -> str:
    return "\n\n".join([*parts, LIMITS]) if parts else ""
