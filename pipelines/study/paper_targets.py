"""What was asked of the method beforehand, and whether the records show it; the paper's margins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from covidssl.metrics import Estimate, holm
from pipelines.study.arms import NOTHING, OURS
from pipelines.study.paper import WITH_TARGETS
from pipelines.study.scores import (
    LIMITS,
    TESTED,
    by_draws,
    difference,
    founds_of,
    p_value,
    pooled,
    protocols_of,
)
from pipelines.study.standing import (
    OTHERS,
    Field,
    field_of,
    flat,
    only,
    shared_draws,
    way_words,
    words_of,
)
from pipelines.study.table_text import (
    difference_text,
    estimate_text,
    fraction_text,
    markdown_table,
    p_text,
    points_text,
    signed_range_text,
)
from pipelines.study.targets import SETS, WORDS, SetName

GAINS = {1.0: 4.0, 0.1: 8.0}
"""Points of accuracy over no pretraining, by share of the labels."""

LEVEL = 0.05
OVER_RIVAL, KEPT = 0.03, 0.92
PAPER = {"SARS-CoV-2 CT": 6.57, "Jinan COVID-19": 3.03}
"""Points of accuracy over the model pretrained on large-scale images, as the abstract says."""


CHOSEN = (
    "Best arm: the one whose linear probes have the highest inner AUROC at all labels. The second "
    "corpus holds the images that choose, without their labels: it is told beside, and never "
    "chosen. Both are held against the trivial rival with the highest AUROC."
)
"""How the arm of the last targets is chosen; said below them."""


FAMILY = (
    "p of this table: corrected by Holm for the other pretexts of one set, which were asked about. "
    "The tables above correct for all of their rows, so that p is higher there."
)
"""What the p-values of the targets are corrected for; said below them."""

MET, NOT_MET = "met", "**not met**"
BY_VALUE = "met by its value (the interval holds 0)"


class _Row(NamedTuple):
    set_name: SetName
    asked: str
    found: str
    verdict: str


def targets_table(records: Path) -> str:
    """Every target of the comparison, met or not."""
    rows = _rows(records)
    if not rows:
        return ""
    cells = [[WORDS[row.set_name], row.asked, row.found, row.verdict] for row in rows]
    table = markdown_table(["set", "target", "found", ""], cells, words=4)
    return "\n\n".join((table, CHOSEN, FAMILY, LIMITS, TESTED))


def targets_count(records: Path) -> str:
    """How many targets are met, in a sentence; for the first page."""
    verdicts = Counter(row.verdict.strip("*") for row in _rows(records))
    told = [
        f"{verdicts[one]} {one}" for one in (MET, BY_VALUE, NOT_MET.strip("*")) if verdicts[one]
    ]
    return f"Of {verdicts.total()} targets set beforehand: {'; '.join(told)}." if told else ""


def _rows(records: Path) -> list[_Row]:
    rows: list[_Row] = []
    for name in SETS:
        plain = field_of(records, name, "blocked", "plain")
        ranked = field_of(records, name, "blocked", "lungs_only_ranked")
        if plain is None or OURS not in plain.records:
            continue
        rows += [_gain(name, plain, share) for share in GAINS if NOTHING in plain.records]
        rows += _over_others(name, plain)
        rows += _over_rivals(name, plain, ranked)
    return rows


def _gain(name: SetName, field: Field, share: float) -> _Row:
    pair = field.paired(OURS, NOTHING, share)
    gain = difference(field.images, *pair.flat, "accuracy")
    asked = (
        f"ours over no pretraining, {fraction_text(share)} of the labels: at least {GAINS[share]:g}"
        f" points of accuracy"
    )
    found = f"{points_text(gain)} points"
    if share < 1.0:
        single = by_draws(field.images, pair.one, pair.other, "accuracy")
        points = signed_range_text([100 * one for one in single], 1)
        found += f"; {_draws_text(single, points)}"
    found += f"; each way alone: {_by_way(field, share)}"
    verdict = _verdict(100 * gain.value >= GAINS[share])
    return _Row(name, asked, found, BY_VALUE if verdict == MET and gain.low <= 0 else verdict)


def _by_way(field: Field, share: float) -> str:
    """Points over no pretraining of each way to use labels that both were given."""
    said = []
    ours, nothing = field.records[OURS], field.records[NOTHING]
    for way in protocols_of(ours, share):
        if way not in protocols_of(nothing, share):
            continue
        draws = shared_draws(only((way,), ours, share), share)
        draws &= shared_draws(only((way,), nothing, share), share)
        one, other = (founds_of(record, way, share, draws) for record in (ours, nothing))
        gain = difference(field.images, one, other, "accuracy")
        said.append(f"{way_words(way)} {points_text(gain)}")
    return ", ".join(said)


def _verdict(is_met: bool) -> str:
    return MET if is_met else NOT_MET


def _draws_text(single: Sequence[float], words: str) -> str:
    """How far single draws lie apart."""
    return f"single draws ({len(single)}): {words}"


def _over_others(name: SetName, field: Field) -> list[_Row]:
    """Ours against each other pretext at 10 % of the labels; Holm over these."""
    others = [arm for arm in OTHERS if arm in field.records]
    pairs = {arm: field.paired(OURS, arm, 0.1) for arm in others}
    p = [p_value(field.images, *pair.flat) for pair in pairs.values()]
    rows = []
    for (arm, pair), corrected in zip(pairs.items(), holm(p), strict=True):
        gain = difference(field.images, *pair.flat)
        single = by_draws(field.images, pair.one, pair.other)
        rows.append(
            _Row(
                name,
                f"ours over {words_of(arm)}, 10 % of the labels: a higher AUROC, p < {LEVEL:g}, "
                f"higher on every draw",
                f"{difference_text(gain)}, p {p_text(float(corrected))}; "
                f"{_draws_text(single, signed_range_text(single))}",
                _verdict(gain.value > 0 and corrected < LEVEL and min(single) > 0),
            )
        )
    return rows


def _over_rivals(name: SetName, plain: Field, ranked: Field | None) -> list[_Row]:
    """The arm whose probes its own labels prefer against the highest trivial rival.

    The second corpus holds the images that choose, and is only told beside.
    """
    able = [arm for arm in plain.learnt if arm != WITH_TARGETS]
    if not plain.rivals or not able:
        return []
    arm = max(able, key=lambda one: plain.inner(one, 1.0))
    areas = {one: pooled(plain.images, flat(plain.founds(plain.frozen(one, 1.0), 1.0)))
             for one in plain.rivals}  # fmt: skip
    rival = max(areas, key=lambda one: areas[one].value)
    told = [arm, *(one for one in (WITH_TARGETS,) if one in plain.records)]
    gains = [difference(plain.images, *plain.paired(one, rival, 1.0).flat) for one in told]
    found = "; ".join(
        f"{words_of(one)}: {difference_text(gain)}" for one, gain in zip(told, gains, strict=True)
    )
    rows = [
        _Row(
            name,
            f"best arm over the best trivial rival ({rival}): at least {OVER_RIVAL:g} of AUROC, "
            f"interval above 0",
            found,
            _verdict(gains[0].value >= OVER_RIVAL and gains[0].low > 0),
        )
    ]
    if ranked is not None and arm in ranked.records:
        kept = {
            one: pooled(ranked.images, flat(ranked.founds(ranked.frozen(one, 1.0), 1.0)))
            for one in told
            if one in ranked.records
        }
        asked = f"the same arm on rank-equalised lungs alone: AUROC of at least {KEPT:g}"
        found = "; ".join(f"{words_of(one)}: {estimate_text(area)}" for one, area in kept.items())
        rows.append(_Row(name, asked, found, _verdict(kept[arm].value >= KEPT)))
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
    pair = field.paired(OURS, arm, 1.0)
    gain: Estimate = difference(field.images, *pair.flat, "accuracy")
    return [where, words_of(arm), points_text(gain), split]
