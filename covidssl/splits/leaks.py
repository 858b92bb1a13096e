"""What leaks through a split: the same picture, its near duplicate or its patient on two sides."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from covidssl.datasets import SPLITS
from covidssl.duplicates import MOST_BITS
from covidssl.file_order import WITHIN, order_effect
from covidssl.io import natural_order
from covidssl.splits.plan import Assigned
from covidssl.splits.prints import Prints

_EXAMPLES = 5
_LEAST_TORN = 0.1  # below it are the few at the borders of blocks, and what chance finds alike
_FEWEST_TORN = 3


class Leak(BaseModel):
    """One way in which a split leaks.

    Attributes:
        kind: `equal` voxels in two splits; `near` duplicates in two splits; one `patient` in two;
            file `order` that carries patients and is torn apart.
        count: pairs, patients, or test scans that it is about.
        text: in words, with numbers and the first example.
        examples: names of the first few pairs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["equal", "near", "patient", "order"]
    count: int
    text: str
    examples: tuple[tuple[str, str], ...]


class SetAside(BaseModel):
    """A scan that was left out since it is like one of a split that matters more.

    Attributes:
        scan: its name.
        was: the split that it was taken out of.
        of: the scan that it is like.
        bits: of 256 in which their hashes differ.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scan: str
    was: str
    of: str
    bits: int


def leaks(assigned: Sequence[Assigned], prints: Prints | None = None) -> tuple[Leak, ...]:
    """All that leaks through a split.

    Args:
        assigned: the split.
        prints: of the scans that could be read; without them only patients are looked at.
    """
    found = list(_patients(assigned))
    if prints is not None:
        found += _duplicates(assigned, prints)
        found += _order(assigned, prints)
    return tuple(found)


def leakage_in_words(found: Sequence[Leak]) -> str:
    """The leaks as one text for messages, cards and pages; empty when there are none."""
    if len(found) == 1:
        return found[0].text
    return "; ".join(f"({number}) {leak.text}" for number, leak in enumerate(found, start=1))


def set_aside(
    assigned: Sequence[Assigned], prints: Prints
) -> tuple[list[Assigned], tuple[SetAside, ...]]:
    """Take scans that have a near duplicate in a split that matters more out, as `gap`.

    Test scans stay; validation gives way to test, and train to both.
    """
    split_of = {one.scan.name: one.split for one in assigned if one.split in SPLITS}
    out: dict[str, SetAside] = {}
    pairs = [(prints.names[a], prints.names[b], int(bits)) for a, b, bits in prints.alike]
    # What goes because of the test split draws nobody out of train any more.
    for stays in reversed(SPLITS):
        for pair in pairs:
            for goes, of in (pair[:2], pair[1::-1]):
                if not (goes in split_of and of in split_of) or goes in out or of in out:
                    continue
                was = split_of[goes]
                if split_of[of] == stays and SPLITS.index(was) < SPLITS.index(stays):
                    out[goes] = SetAside(scan=goes, was=was, of=of, bits=pair[2])
    kept = [replace(one, split="gap") if one.scan.name in out else one for one in assigned]
    return kept, tuple(out.values())


def _patients(assigned: Sequence[Assigned]) -> Iterator[Leak]:
    places: dict[str, dict[str, str]] = defaultdict(dict)
    for one in assigned:
        if one.scan.patient and one.split in SPLITS:
            places[one.scan.patient].setdefault(one.split, one.scan.name)
    torn = [found for found in places.values() if len(found) > 1]
    if not torn:
        return
    examples = []
    for found in torn[:_EXAMPLES]:
        first, second = list(found.items())[:2]
        examples.append((first[1], second[1]))
    (split, name), (other_split, other) = list(torn[0].items())[:2]
    # By the names of scans: an identifier of a patient is in no message.
    yield Leak(
        kind="patient",
        count=len(torn),
        text=f"{_many(len(torn), 'patient')} in more than one split; first: {name} ({split}) and "
        f"{other} ({other_split}) are of one patient",
        examples=tuple(examples),
    )


def _duplicates(assigned: Sequence[Assigned], prints: Prints) -> Iterator[Leak]:
    of = {one.scan.name: one for one in assigned if one.split in SPLITS}
    near = f"near duplicates (at most {MOST_BITS} of the 256 bits of their hashes differ)"
    for kind, what, pairs in (
        ("equal", "scans with the same voxels", prints.equal),
        ("near", near, prints.near),
    ):
        across = list(_across(of, prints.names, pairs))
        if across:
            yield Leak.model_validate(
                {
                    "kind": kind,
                    "count": len(across),
                    "text": f"{_many(len(across), 'pair')} of {what} {_of_splits(across)}",
                    "examples": [(a.scan.name, b.scan.name) for a, b in across[:_EXAMPLES]],
                }
            )


def _across(
    of: dict[str, Assigned], names: Sequence[str], pairs: NDArray[np.int64]
) -> Iterator[tuple[Assigned, Assigned]]:
    for a, b, _ in pairs:
        first, second = of.get(names[a]), of.get(names[b])
        if first and second and first.split != second.split:
            yield first, second


def _of_splits(across: Sequence[tuple[Assigned, Assigned]]) -> str:
    """Which splits, how many with opposite labels, and the first pair."""
    splits = Counter(" and ".join(sorted((a.split, b.split), key=SPLITS.index)) for a, b in across)
    counted = ", ".join(f"{count} in {both}" for both, count in splits.most_common())
    opposite = sum(a.scan.positive != b.scan.positive for a, b in across)
    labels = f"; {opposite} with opposite labels" if opposite else ""
    a, b = across[0]
    return f"({counted}{labels}); first: {a.scan.name} ({a.split}) and {b.scan.name} ({b.split})"


def _order(assigned: Sequence[Assigned], prints: Prints) -> Iterator[Leak]:
    """Order that carries patients, where none are known and the split tears them apart."""
    row = {name: place for place, name in enumerate(prints.names)}
    ordered = sorted(
        (one for one in assigned if not one.scan.patient and one.scan.name in row),
        key=lambda one: natural_order(one.scan.name),
    )
    part = np.array([int(one.scan.positive) for one in ordered], dtype=np.int64)
    if not len(part) or np.bincount(part).max() < 3:
        return
    effect = order_effect(prints.thumbnails[[row[one.scan.name] for one in ordered]], part)
    scored = "test" if any(one.split == "test" for one in ordered) else "validation"
    beside = list(_beside(ordered, part, effect.nearest, scored))
    # What a fraction of the labels leaves unused is learnt from in another draw of it.
    learnt = {*SPLITS[: SPLITS.index(scored)], "unused"}
    torn = [(one, nearest) for one, nearest in beside if nearest.split in learnt]
    enough = max(_FEWEST_TORN, _LEAST_TORN * len(beside))
    if not effect.carries_patients or len(torn) < enough:
        return
    first, other = torn[0]
    yield Leak(
        kind="order",
        count=len(torn),
        text=f"file order carries patients, and none are known: {effect}; the split tears "
        f"{len(torn)} of {len(beside)} such neighbours of {scored} scans away to where they are "
        f"learnt from; first: {first.scan.name} ({first.split}) and {other.scan.name} "
        f"({other.split})",
        examples=tuple((a.scan.name, b.scan.name) for a, b in torn[:_EXAMPLES]),
    )


def _beside(
    ordered: Sequence[Assigned], part: NDArray[np.int64], nearest: NDArray[np.int64], scored: str
) -> Iterator[tuple[Assigned, Assigned]]:
    """Scored scans with the one most like them, where that stands beside them in file order."""
    place = np.empty(len(part), np.int64)
    for rows in (np.flatnonzero(part == value) for value in np.unique(part)):
        place[rows] = np.arange(len(rows))
    for row, one in enumerate(ordered):
        like = int(nearest[row])
        if one.split == scored and like >= 0 and abs(place[row] - place[like]) <= WITHIN:
            yield one, ordered[like]


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
