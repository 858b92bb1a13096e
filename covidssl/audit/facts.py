"""What is so before any model: unreadable files, pictures twice, patients, formats by class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.audit.seen import Seen
from covidssl.datasets import Dataset
from covidssl.splits import Assigned, Leak, leaks


class Pair(NamedTuple):
    """Two scans that show the same: places in `Seen.scans`, and the bits in which they differ."""

    first: int
    second: int
    bits: int


@dataclass(frozen=True)
class Facts:
    """What an audit finds without training anything.

    Attributes:
        counts: scans by class, also those that could not be read.
        dropped: name and reason of every scan that could not be read.
        equal: pairs with the same voxels.
        near: further pairs whose hashes differ in few bits.
        patients: how many are known.
        without_patient: scans of which none is.
        kinds: by class, how many scans of each format and colour mode.
        sizes: by class, how many scans of each width and height, the most frequent first.
        without_lungs: by class, scans in which no usable lungs were found.
        leaks: by the name of a split, what leaks through it.
    """

    counts: dict[str, int]
    dropped: tuple[tuple[str, str], ...]
    equal: tuple[Pair, ...]
    near: tuple[Pair, ...]
    patients: int
    without_patient: int
    kinds: dict[str, dict[str, int]]
    sizes: dict[str, dict[str, int]]
    without_lungs: dict[str, int]
    leaks: dict[str, tuple[Leak, ...]]


def gather(seen: Seen, dataset: Dataset, assigned: Sequence[Assigned] | None = None) -> Facts:
    """All facts of a dataset.

    Args:
        seen: its scans.
        dataset: its table.
        assigned: of a split file, to be held against the pictures; None for none.
    """
    prints = seen.prints
    scans = dataset.scans
    classes = dataset.classes
    label = [classes[scan.positive] for scan in seen.scans]
    blind = set(seen.without_lungs)
    return Facts(
        counts={name: sum(classes[scan.positive] == name for scan in scans) for name in classes},
        dropped=seen.dropped,
        equal=_pairs(prints.equal),
        near=_pairs(prints.near),
        patients=len({scan.patient for scan in scans if scan.patient}),
        without_patient=sum(not scan.patient for scan in scans),
        kinds=_by_class(classes, label, [f"{one.format} {one.mode}" for one in seen.facts]),
        sizes=_by_class(classes, label, [f"{one.width} × {one.height}" for one in seen.facts]),
        without_lungs={
            name: sum(
                of == name and scan.name in blind
                for of, scan in zip(label, seen.scans, strict=True)
            )
            for name in classes
        },
        leaks={
            name: leaks(split, prints)
            for name, split in (("given", marked(dataset)), ("file", assigned))
            if split
        },
    )


def marked(dataset: Dataset) -> list[Assigned]:
    """The scans that the dataset itself puts into a split."""
    return [
        Assigned(scan, scan.patient or scan.name, scan.split)
        for scan in dataset.scans
        if scan.split
    ]


def by_place(pairs: Sequence[Pair], target: NDArray[np.int64], classes: Sequence[str]) -> str:
    """How many pairs lie within each class and across, in words."""
    within = Counter(int(target[pair.first]) for pair in pairs if _alike(pair, target))
    across = len(pairs) - within.total()
    inside = ", ".join(f"{within[k]} within {name}" for k, name in enumerate(classes))
    return f"{inside}, {across} across the classes"


def of_one_patient(pair: Pair, seen: Seen) -> bool:
    """Whether both scans are known to be of one patient and carry one label."""
    first, second = seen.scans[pair.first], seen.scans[pair.second]
    same = first.patient is not None and first.patient == second.patient
    return same and first.positive == second.positive


def as_json(facts: Facts, seen: Seen, classes: Sequence[str]) -> dict[str, Any]:
    """The facts for `audit.json`, scans by their names."""
    target = seen.target
    return {
        "counts": facts.counts,
        "read": len(seen.scans),
        "dropped": len(facts.dropped),
        **{
            name: {
                "pairs": len(pairs),
                "within": {
                    of: sum(_alike(p, target) and int(target[p.first]) == k for p in pairs)
                    for k, of in enumerate(classes)
                },
                "across": sum(not _alike(p, target) for p in pairs),
                "of_one_patient": sum(of_one_patient(p, seen) for p in pairs),
                "scans": [
                    [seen.scans[p.first].name, seen.scans[p.second].name, p.bits] for p in pairs
                ],
            }
            for name, pairs in (("equal", facts.equal), ("near", facts.near))
        },
        "patients": facts.patients,
        "without_patient": facts.without_patient,
        "kinds": facts.kinds,
        "sizes": {name: len(sizes) for name, sizes in facts.sizes.items()},
        "without_lungs": facts.without_lungs,
        "leaks": {
            name: [leak.model_dump(mode="json") for leak in found]
            for name, found in facts.leaks.items()
        },
    }


def _alike(pair: Pair, target: NDArray[np.int64]) -> bool:
    return bool(target[pair.first] == target[pair.second])


def _pairs(rows: NDArray[np.int64]) -> tuple[Pair, ...]:
    return tuple(Pair(*map(int, row)) for row in rows)


def _by_class(
    classes: Sequence[str], label: Sequence[str], words: Sequence[str]
) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {name: Counter() for name in classes}
    for name, word in zip(label, words, strict=True):
        counts[name][word] += 1
    return {name: dict(found.most_common()) for name, found in counts.items()}
