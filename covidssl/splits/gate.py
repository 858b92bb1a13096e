"""The gate before training: a split is dealt, cleaned where meant, refused where it leaks."""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from covidssl.datasets import Dataset
from covidssl.errors import DataError
from covidssl.splits.dealing import (
    check_splits,
    kind_of,
    split_dataset,
    take_fraction,
    with_bearable_gap,
)
from covidssl.splits.file import SplitNotes, read_split_file, splits_fingerprint
from covidssl.splits.leaks import Leak, leakage_in_words, leaks, set_aside
from covidssl.splits.learnt import StartsFrom, leaks_of_start
from covidssl.splits.plan import Assigned, SplitPlan
from covidssl.splits.prints import Prints
from covidssl.splits.runs import in_runs

log = logging.getLogger(__name__)

_SET_ASIDE_BY_ITSELF = ("patient", "blocked")
_MOST_ASIDE = 0.05
"""Share of the scans to learn from that may be set aside; a split that needs more is no split."""


@dataclass(frozen=True)
class Proposed:
    """A split before the pictures are read.

    Attributes:
        dataset: that it is of.
        plan: its configuration.
        seed: of what is drawn.
        notes: its kind and reason.
        assigned: every scan's split; None for a `grouped` one, which follows the pictures.
    """

    dataset: Dataset
    plan: SplitPlan
    seed: int
    notes: SplitNotes
    assigned: list[Assigned] | None

    @property
    def fingerprint(self) -> str:
        """Of the split as it is proposed, or of what it will be dealt from."""
        if self.assigned is not None:
            return splits_fingerprint(self.assigned)
        scans = [(one.name, one.positive, one.patient) for one in self.dataset.scans]
        text = json.dumps([self.plan.model_dump(mode="json"), self.seed, scans])
        return hashlib.sha256(text.encode()).hexdigest()


def propose(dataset: Dataset, plan: SplitPlan, seed: int, file: Path | None = None) -> Proposed:
    """The split as far as it can be known before any picture is read.

    Args:
        dataset: the scans.
        plan: how they are split.
        seed: of what is drawn.
        file: a file of splits to use in place of the plan's kind.

    Raises:
        CovidsslError: when it cannot be dealt, or when the file is not of this dataset.
    """
    if file is not None:
        assigned, notes = read_split_file(file, dataset)
        log.info("The split is taken from %s (%s); split.kind is not asked.", file.name, notes.kind)
        assigned = take_fraction(assigned, plan, seed)
        check_splits(assigned, dataset)
        notes = notes.model_copy(update={"reason": notes.reason + _fraction(plan)})
        return Proposed(dataset, plan, seed, notes, assigned)
    kind = kind_of(dataset, plan)
    plan = plan.model_copy(update={"kind": kind})
    if kind == "blocked":
        plan = with_bearable_gap(plan, dataset)
    notes = SplitNotes(
        kind=kind, reason=_reason(plan), seed=seed, plan=plan.model_dump(mode="json")
    )
    dealt = None if kind == "grouped" else split_dataset(dataset, plan, seed)
    return Proposed(dataset, plan, seed, notes, dealt)


def refuse_early(proposed: Proposed, allowed: bool, start: StartsFrom | None = None) -> None:
    """Refuse what can be seen without a picture.

    Raises:
        DataError: when a patient stands in two splits, or the model that is started from learnt on
            a split that leaks, unless that is allowed.
    """
    found = list(leaks_of_start((), start)) if start else []
    if proposed.assigned is not None:
        found += leaks(proposed.assigned)
    refuse_leaks(proposed.dataset, found, allowed)


def settle(
    proposed: Proposed, prints: Prints, allowed: bool = False, start: StartsFrom | None = None
) -> tuple[list[Assigned], SplitNotes]:
    """The split to train on, and what is to be said of it: what was left out, and what leaks.

    Args:
        proposed: the split.
        prints: of the scans that could be read.
        allowed: whether a split that leaks will be used, with a note on every page.
        start: the model whose classifier is started from; what it has learnt leaks too.

    Raises:
        DataError: when nothing is left of a class.
    """
    dataset, notes = proposed.dataset, proposed.notes
    assigned = proposed.assigned
    if assigned is None:
        assigned = split_dataset(dataset, proposed.plan, proposed.seed, prints)
    wanted = proposed.plan.set_aside
    if wanted or (wanted is None and notes.kind in _SET_ASIDE_BY_ITSELF):
        assigned, notes = _cleaned(assigned, notes, prints, bool(wanted))
        check_splits(assigned, dataset)
    assigned = in_runs(assigned, prints, proposed.plan.run_length)
    found = (*(leaks_of_start(assigned, start, prints) if start else ()), *leaks(assigned, prints))
    update = {"leaks": found, "leakage_allowed": allowed and bool(found)}
    return assigned, notes.model_copy(update=update)


def refuse_leaks(dataset: Dataset, found: Sequence[Leak], allowed: bool) -> None:
    """Refuse a split that leaks, or warn loudly where that is allowed.

    Raises:
        DataError: with all leaks, and what to do.
    """
    if not found:
        return
    if allowed:
        log.warning("THIS SPLIT LEAKS, which was allowed: %s.", leakage_in_words(found))
        return
    raise DataError(
        f"{dataset.name}: this split leaks, so that a score would show memory: "
        f"{leakage_in_words(found)}. {_advice(found)} Or go on with --allow-leakage, which every "
        f"page made from it will say."
    )


def _cleaned(
    assigned: list[Assigned], notes: SplitNotes, prints: Prints, asked_for: bool
) -> tuple[list[Assigned], SplitNotes]:
    kept, aside = set_aside(assigned, prints)
    learnt = sum(one.split in ("train", "validation") for one in assigned)
    # Unasked, a few at most: a split with many is not what it is taken for, and is refused.
    if not aside or (len(aside) > _MOST_ASIDE * learnt and not asked_for):
        return assigned, notes
    counts = Counter(one.was for one in aside)
    counted = ", ".join(f"{count} of {split}" for split, count in counts.most_common())
    log.warning(
        "%d near duplicates of scans of other splits are left out (%s); first: %s (%s) is like %s.",
        len(aside), counted, aside[0].scan, aside[0].was, aside[0].of,
    )  # fmt: skip
    reason = f"{notes.reason}; {len(aside)} near duplicates across splits left out ({counted})"
    update = {"reason": reason, "set_aside": (*notes.set_aside, *aside)}
    return kept, notes.model_copy(update=update)


def _advice(found: Sequence[Leak]) -> str:
    kinds = {leak.kind for leak in found}
    if "init" in kinds:
        return (
            "Start from a model that learnt on this split's own training scans, such as with its "
            "run's --splits RUN/splits.csv, or from none."
        )
    if "patient" in kinds:
        return "Split by patient, not by scan: --set split.kind=patient."
    if "order" in kinds:
        return "Keep neighbours together: --set split.kind=blocked, with a gap."
    return (
        "Keep near duplicates together: --set split.kind=grouped; or leave them out of train and "
        "validation: --set split.set_aside=true."
    )


def _reason(plan: SplitPlan) -> str:
    return {
        "given": "given by the dataset's own column",
        "patient": "by patient, so that nobody stands in two splits",
        "grouped": "near duplicates, and the scans of a patient where known, stay in one split",
        "blocked": f"contiguous blocks of the file order of each class, since patients may follow "
        f"each other there; {plan.gap} scans left out at each border",
        "random": "at random, scan by scan",
    }[plan.kind] + _fraction(plan)


def _fraction(plan: SplitPlan) -> str:
    if plan.label_fraction == 1:
        return ""
    return f"; {plan.label_fraction:.3g} of the labels used, draw {plan.label_draw}"
