"""What leaks through a split: the same picture, its near duplicate or its patient on two sides."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from covidssl.datasets import SPLITS
from covidssl.duplicates import MOST_BITS
from covidssl.file_order import WITHIN
from covidssl.splits.plan import Assigned
from covidssl.splits.prints import Prints
from covidssl.splits.runs import order_of

_EXAMPLES = 5
_LEAST_TORN = 0.1  # below it are the few at the borders of blocks, and what chance finds alike
_FEWEST_TORN = 3


class Leak(BaseModel):
    """One way in which a split leaks.

    Attributes:
        kind: `equal` voxels in two splits; `near` duplicates in two splits; one `patient` in two;
            file `order` that carries patients and is torn apart; `init`, what the model that is
            started from has learnt.
        count: pairs, patients, or test scans that it is about.
        text: in words, with numbers and the first example.
        examples: names of the first few pairs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["equal", "near", "patient", "order", "init"]
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
    alike = prints.alike[_apart(split_of, prints, prints.alike)]
    pairs = [(prints.names[a], prints.names[b], int(bits)) for a, b, bits in alike]
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
        text=f"{many(len(torn), 'patient')} in more than one split; first: {name} ({split}) and "
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
        torn = pairs[_apart({name: one.split for name, one in of.items()}, prints, pairs)]
        across = [(of[prints.names[a]], of[prints.names[b]]) for a, b, _ in torn]
        if across:
            yield Leak.model_validate(
                {
                    "kind": kind,
                    "count": len(across),
                    "text": f"{many(len(across), 'pair')} of {what} {_of_splits(across)}",
                    "examples": [(a.scan.name, b.scan.name) for a, b in across[:_EXAMPLES]],
                }
            )


def _apart(
    split_of: Mapping[str, str], prints: Prints, pairs: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which pairs (P, 2 or more) stand in two splits."""
    code = {split: number for number, split in enumerate(SPLITS)}
    place = np.array([code.get(split_of.get(name, ""), -1) for name in prints.names], np.int64)
    first, second = place[pairs[:, 0]], place[pairs[:, 1]]
    return (first >= 0) & (second >= 0) & (first != second)


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
    of = {one.scan.name: one for one in assigned}
    scans_each = Counter(one.scan.patient for one in assigned)
    # A patient of one scan is in no other scan's way; whether it is one, the order must tell.
    alone = [
        one.scan for one in assigned if not one.scan.patient or scans_each[one.scan.patient] == 1
    ]
    found = order_of(alone, prints)
    if found is None or not found[1].carries_patients:
        return
    ordered, effect = [of[scan.name] for scan in found[0]], found[1]
    torn: list[tuple[Assigned, Assigned]] = []
    counted = []
    for scored in ("test", "validation"):
        beside = list(_beside(ordered, effect.nearest, scored))
        away = [(one, nearest) for one, nearest in beside if _teaches(nearest, scored)]
        if len(away) >= max(_FEWEST_TORN, _LEAST_TORN * len(beside)):
            torn += away
            counted.append(f"{len(away)} of {len(beside)} such neighbours of {scored} scans")
    if not torn:
        return
    first, other = torn[0]
    yield Leak(
        kind="order",
        count=len(torn),
        text=f"file order carries patients, and none are known: {effect}; the split tears "
        f"{' and '.join(counted)} away to where they are learnt from; first: {first.scan.name} "
        f"({first.split}) and {other.scan.name} ({other.split})",
        examples=tuple((a.scan.name, b.scan.name) for a, b in torn[:_EXAMPLES]),
    )


def _teaches(one: Assigned, scored: str) -> bool:
    """Whether a scan is learnt from, in this draw of a fraction of the labels or in another."""
    if one.split == "unused":
        return scored == "test" or one.was == "train"
    return one.split in SPLITS[: SPLITS.index(scored)]


def _beside(
    ordered: Sequence[Assigned], nearest: NDArray[np.int64], scored: str
) -> Iterator[tuple[Assigned, Assigned]]:
    """Scored scans with the one most like them, where that stands beside them in file order."""
    part = np.array([one.scan.positive for one in ordered])
    place = np.empty(len(part), np.int64)
    for rows in (np.flatnonzero(part == value) for value in (False, True)):
        place[rows] = np.arange(len(rows))
    for row, one in enumerate(ordered):
        like = int(nearest[row])
        if one.split == scored and like >= 0 and abs(place[row] - place[like]) <= WITHIN:
            yield one, ordered[like]


def many(count: int, what: str) -> str:
    """So many of them, in words."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
