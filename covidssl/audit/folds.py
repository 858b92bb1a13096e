"""The splits under which trivial models are tried: every scan is scored once a split."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from covidssl.audit.seen import Seen
from covidssl.duplicates import groups_of
from covidssl.experiments import AuditConfig
from covidssl.randomness import numpy_generator
from covidssl.splits import Assigned, widest_gap

FoldKind = Literal["random", "grouped", "blocked", "patient", "given", "file"]
Rows = NDArray[np.int64]

_STREAM = 52
WORDS: dict[str, str] = {
    "random": "random",
    "grouped": "near duplicates together",
    "blocked": "blocks of the file order",
    "patient": "by patient",
    "given": "the set's own splits",
    "file": "the split file",
}


@dataclass(frozen=True)
class Folds:
    """One way to split: pairs of rows to learn from and rows to score.

    Attributes:
        kind: of the split.
        text: how it was made, with its numbers.
        pairs: rows to learn from and rows to score, a pair a fold.
        fold: (N,) which fold scores each scan; -1 where none does.
    """

    kind: FoldKind
    text: str
    pairs: tuple[tuple[Rows, Rows], ...]
    fold: Rows


def all_folds(
    seen: Seen, config: AuditConfig, assigned: Sequence[Assigned] | None = None
) -> list[Folds]:
    """Every split that the dataset allows; one that leaves a fold without a class is left out.

    Args:
        seen: the scans.
        config: of the audit.
        assigned: a split file's scans, as one more split; None for none.
    """
    target = seen.target
    found = [*_drawn(seen, config), _blocked(target, config), *_fixed(seen, assigned)]
    return [folds for folds in found if _usable(folds, target)]


def _drawn(seen: Seen, config: AuditConfig) -> Iterator[Folds]:
    n, target = len(seen.scans), seen.target
    whole = f"{config.folds} folds, seed {config.seed}"
    kinds: list[tuple[FoldKind, str, Rows]] = [("random", whole, np.arange(n))]
    alike = seen.prints.alike
    if len(alike):
        kinds.append(("grouped", f"{whole}; near duplicates in one fold", groups_of(n, alike)))
    if all(scan.patient for scan in seen.scans):
        names = [str(scan.patient) for scan in seen.scans]
        patients = np.unique(names, return_inverse=True)[1].astype(np.int64)
        kinds.append(("patient", f"{whole}; {patients.max() + 1} patients", patients))
    for kind, text, group in kinds:
        fold = _dealt(group, target, config.folds, config.seed)
        yield Folds(kind, text, _pairs(fold), fold)


def _dealt(group: Rows, target: Rows, folds: int, seed: int) -> Rows:
    """The fold of each scan: whole groups, dealt class by class so that folds stay alike."""
    fold_of: Rows = np.zeros(int(group.max()) + 1, np.int64)
    _, first = np.unique(group, return_index=True)
    for positive in (0, 1):
        # A group goes with the class of its first scan.
        names = group[first[target[first] == positive]]
        order = numpy_generator(seed, _STREAM, positive).permutation(len(names))
        fold_of[names[order]] = np.arange(len(names)) % folds
    return fold_of[group]


def _blocked(target: Rows, config: AuditConfig) -> Folds:
    gap = min(config.gap, widest_gap(np.bincount(target).tolist(), config.folds))
    fold: Rows = np.empty(len(target), np.int64)
    place: Rows = np.empty(len(target), np.int64)
    for positive in (0, 1):
        rows = np.flatnonzero(target == positive)
        place[rows] = np.arange(len(rows))
        fold[rows] = np.arange(len(rows)) * config.folds // max(len(rows), 1)
    pairs = []
    for number in range(config.folds):
        scored = fold == number
        near = np.zeros(len(target), np.bool_)
        for positive in (0, 1):
            places = place[scored & (target == positive)]
            if len(places):
                beside = (place >= places.min() - gap) & (place <= places.max() + gap)
                near |= beside & (target == positive)
        pairs.append((np.flatnonzero(~near), np.flatnonzero(scored)))
    text = f"{config.folds} contiguous ranges of each class, {gap} scans left out at each border"
    return Folds("blocked", text, tuple(pairs), fold)


def _fixed(seen: Seen, assigned: Sequence[Assigned] | None) -> Iterator[Folds]:
    own = {scan.name: str(scan.split) for scan in seen.scans if scan.split}
    if own:
        yield _held_out(seen, own, "given")
    if assigned:
        yield _held_out(seen, {one.scan.name: one.split for one in assigned}, "file")


def _held_out(seen: Seen, split_of: dict[str, str], kind: FoldKind) -> Folds:
    splits = np.array([split_of.get(scan.name, "") for scan in seen.scans])
    scored = "test" if "test" in splits else "validation"
    learnt = ("train", "validation") if scored == "test" else ("train",)
    train, test = np.flatnonzero(np.isin(splits, learnt)), np.flatnonzero(splits == scored)
    fold = np.full(len(splits), -1, np.int64)
    fold[test] = 0
    text = f"learnt from {' and '.join(learnt)}, scored on {scored}"
    return Folds(kind, text, ((train, test),), fold)


def _pairs(fold: Rows) -> tuple[tuple[Rows, Rows], ...]:
    return tuple(
        (np.flatnonzero(fold != number), np.flatnonzero(fold == number))
        for number in range(int(fold.max()) + 1)
    )


def _usable(folds: Folds, target: Rows) -> bool:
    """Whether every fold learns from both classes, and both are scored in all."""
    both = all(len(np.unique(target[train])) == 2 for train, _ in folds.pairs)
    scored = np.concatenate([rows for _, rows in folds.pairs])
    return both and len(np.unique(target[scored])) == 2


def apart(
    all_of: Sequence[Folds], carries_patients: bool, leaking: Collection[str] = ()
) -> Folds | None:
    """The split that keeps patients apart best; None where there is no split but by chance.

    By patient; else blocks, where file order carries patients; else the set's own.

    Args:
        all_of: the splits.
        carries_patients: whether file order does.
        leaking: kinds of those through which something leaks: they prove nothing.
    """
    order: list[FoldKind] = ["patient", "file", "given", "blocked"]
    if carries_patients:
        order.insert(1, "blocked")
    by_kind = {folds.kind: folds for folds in all_of if folds.kind not in leaking}
    return next((by_kind[kind] for kind in order if kind in by_kind), None)
