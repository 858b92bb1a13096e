"""The rule: which evaluation is the best so far, and when it is time to stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from covidssl.errors import UsageError
from covidssl.quality.plan import Metric, QualityPlan

Notes = dict[str, float]

BY_LABELS: tuple[Metric, ...] = ("probe_auroc", "knn_auroc")

BEST, BEST_STEP = "quality_best", "quality_best_step"
_MARK, _IDLE = "quality_mark", "quality_idle"


class Judged(NamedTuple):
    """Of one evaluation: whether it is the best so far, and whether patience has run out."""

    best: bool
    stop: bool


def labels_choose(plan: QualityPlan, metric: Metric | None) -> bool:
    """Whether labels decide which encoder is handed on, or when the run ends."""
    return metric in BY_LABELS and (plan.keep == "best" or plan.patience is not None)


def metric_of(plan: QualityPlan, probed: bool, restores: bool, maps: bool) -> Metric | None:
    """The number that the rule goes by; None where nothing is there to go by.

    Args:
        plan: what the configuration says.
        probed: whether there is a labelled set.
        restores: whether the network lifts lesions off.
        maps: whether it says where they were.

    Raises:
        UsageError: when the configuration names a number that cannot be had.
    """
    if plan.rule == "auto":
        return "probe_auroc" if probed else "lesion_auroc" if restores else None
    if plan.rule in BY_LABELS and not probed:
        raise UsageError(
            f"quality.rule {plan.rule} needs a labelled set: give --probe-data, or choose "
            f"quality.rule=auto."
        )
    if plan.rule in ("lesion_auroc", "lesion_map_auroc") and not restores:
        raise UsageError(
            f"quality.rule {plan.rule} needs a network that restores; this pretext has none. "
            f"Choose quality.rule=probe_auroc and give --probe-data."
        )
    if plan.rule == "lesion_map_auroc" and not maps:
        raise UsageError(
            "quality.rule lesion_map_auroc needs a lesion map, and with pretext.lesion_head none "
            "there is none. Set pretext.lesion_head to decoder or bottleneck, or choose "
            "quality.rule=lesion_auroc."
        )
    return plan.rule


def judge(
    plan: QualityPlan, metric: Metric, step: int, found: Mapping[str, float], notes: Notes
) -> Judged:
    """Hold one evaluation against those before it; `notes` remember them, for a killed run too.

    Any gain makes the best; patience is renewed by a gain of at least `plan.minimum_gain` over the
    evaluation that renewed it last.
    """
    value = found[metric]
    best = value > notes.get(BEST, float("-inf"))
    if best:
        notes |= {BEST: value, BEST_STEP: float(step)}
    gained = _MARK not in notes or value >= notes[_MARK] + max(plan.minimum_gain, 1e-12)
    notes |= {_MARK: value, _IDLE: 0.0} if gained else {_IDLE: notes[_IDLE] + 1}
    return Judged(best, plan.patience is not None and notes[_IDLE] >= plan.patience)
