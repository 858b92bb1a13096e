"""What was asked of the method beforehand, and whether the records show it; the paper's margins."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from covidssl.metrics import Estimate, holm
from pipelines.study.arms import NOTHING, OURS
from pipelines.study.scores import difference, p_value, pooled
from pipelines.study.standing import OTHERS, Field, field_of, words_of
from pipelines.study.table_text import (
    difference_text,
    estimate_text,
    fraction_text,
    markdown_table,
    p_text,
    points_text,
)
from pipelines.study.targets import SETS, WORDS, SetName

GAINS = {1.0: 4.0, 0.1: 8.0}
"""Points of accuracy over no pretraining, by share of the labels."""

LEVEL = 0.05
OVER_RIVAL, KEPT = 0.03, 0.92
PAPER = {"SARS-CoV-2 CT": 6.57, "Jinan COVID-19": 3.03}
"""Points of accuracy over the model pretrained on large-scale images, as the abstract says."""


class _Row(NamedTuple):
    set_name: SetName
    asked: str
    found: str
    met: bool


def targets_table(records: Path) -> str:
    """Every target of the comparison, met or not."""
    rows: list[_Row] = []
    for name in SETS:
        plain = field_of(records, name, "blocked", "plain")
        ranked = field_of(records, name, "blocked", "lungs_only_ranked")
        if plain is None or OURS not in plain.records:
            continue
        rows += [_gain(name, plain, share) for share in GAINS if NOTHING in plain.records]
        rows += _over_others(name, plain)
        rows += _over_rivals(name, plain, ranked)
    if not rows:
        return ""
    cells = [
        [WORDS[row.set_name], row.asked, row.found, "met" if row.met else "**not met**"]
        for row in rows
    ]
    return markdown_table(["set", "target", "found", ""], cells, words=4)


def _gain(name: SetName, field: Field, share: float) -> _Row:
    pair = field.paired(field.standing(OURS, share), field.standing(NOTHING, share), share)
    gain = difference(field.images, *pair, "accuracy")
    asked = (
        f"ours over no pretraining, {fraction_text(share)} of the labels: at least {GAINS[share]:g}"
        f" points of accuracy"
    )
    return _Row(name, asked, f"{points_text(gain)} points", 100 * gain.value >= GAINS[share])


def _over_others(name: SetName, field: Field) -> list[_Row]:
    """Ours against each other pretext at 10 % of the labels; Holm over these."""
    others = [arm for arm in OTHERS if arm in field.records]
    ours = field.standing(OURS, 0.1)
    pairs = {arm: field.paired(ours, field.standing(arm, 0.1), 0.1) for arm in others}
    p = [p_value(field.images, *pair) for pair in pairs.values()]
    rows = []
    for (arm, pair), corrected in zip(pairs.items(), holm(p), strict=True):
        gain = difference(field.images, *pair)
        rows.append(
            _Row(
                name,
                f"ours over {words_of(arm)}, 10 % of the labels: a higher AUROC, p < {LEVEL:g}",
                f"{difference_text(gain)}, p {p_text(float(corrected))}",
                bool(gain.value > 0 and corrected < LEVEL),
            )
        )
    return rows


def _over_rivals(name: SetName, plain: Field, ranked: Field | None) -> list[_Row]:
    """The arm that its own labels prefer against the highest trivial rival."""
    if not plain.rivals:
        return []
    arm = max(plain.learnt, key=lambda one: plain.inner(one, 1.0))
    standing = plain.standing(arm, 1.0)
    areas = {one: pooled(plain.images, plain.founds(plain.standing(one, 1.0), 1.0))
             for one in plain.rivals}  # fmt: skip
    rival = max(areas, key=lambda one: areas[one].value)
    gain = difference(plain.images, *plain.paired(standing, plain.standing(rival, 1.0), 1.0))
    rows = [
        _Row(
            name,
            f"best arm over the best trivial rival ({rival}): at least {OVER_RIVAL:g} of AUROC, "
            f"interval above 0",
            f"{words_of(arm)}: {difference_text(gain)}",
            gain.value >= OVER_RIVAL and gain.low > 0,
        )
    ]
    if ranked is not None and arm in ranked.records:
        kept = pooled(ranked.images, ranked.founds(ranked.standing(arm, 1.0), 1.0))
        asked = f"the same arm on rank-equalised lungs alone: AUROC of at least {KEPT:g}"
        rows.append(_Row(name, asked, f"{estimate_text(kept)}", kept.value >= KEPT))
    return rows


def margins_table(records: Path) -> str:
    """The paper's margins beside ours, which are over other baselines and on another split."""
    rows = [
        [f"the paper, {name}", "ImageNet, supervised", f"+{points:.2f}", "not known"]
        for name, points in PAPER.items()
    ]
    found = False
    for name in SETS:
        field = field_of(records, name, "blocked", "plain")
        if field is None or OURS not in field.records:
            continue
        found = True
        for arm in ("imagenet", NOTHING):
            rows.append(_margin(field, name, arm))
    head = ["where", "baseline", "points of accuracy, 100 % of the labels", "split"]
    return markdown_table(head, rows, words=2) if found else ""


def _margin(field: Field, name: SetName, arm: str) -> list[str]:
    where, split = f"here, {WORDS[name]}", "blocked, 5 folds"
    if arm not in field.records:
        return [where, words_of(arm), "not run: its weights were not given", split]
    pair = field.paired(field.standing(OURS, 1.0), field.standing(arm, 1.0), 1.0)
    gain: Estimate = difference(field.images, *pair, "accuracy")
    return [where, words_of(arm), points_text(gain), split]
