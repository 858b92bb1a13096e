"""What a model learnt from: its scans are known again in other data, without their names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.datasets import SPLITS
from covidssl.duplicates import HASH_BYTES, MOST_BITS, Hashes, near_across
from covidssl.errors import DataError
from covidssl.splits.leaks import Leak, many
from covidssl.splits.plan import Assigned
from covidssl.splits.prints import Prints

LEARNT_FROM = ("train", "validation")
"""Splits that teach the weights, or choose them."""

UNKNOWN = "the model that it started from does not say what it learnt from"


@dataclass(frozen=True)
class Learnt:
    """Prints of the scans that a model, and those it was started from, learnt from.

    Attributes:
        hashes: (N, 32) uint8, `picture_hash` of each.
        voxels: (N, 32) uint8, the SHA-256 of the voxels of each.
        chose: (N,) uint8, 1 for a validation scan, which chose the weights, 0 for a training scan.
    """

    hashes: Hashes
    voxels: NDArray[np.uint8]
    chose: NDArray[np.uint8]

    def __post_init__(self) -> None:
        n = len(self.chose)
        shapes = {self.hashes.shape, self.voxels.shape, (n, HASH_BYTES)}
        kinds = {array.dtype for array in (self.hashes, self.voxels, self.chose)}
        if len(shapes) > 1 or self.chose.shape != (n,) or kinds != {np.dtype(np.uint8)}:
            raise DataError("Hashes, voxels and splits of what was learnt from do not fit.")

    def joined(self, more: Learnt) -> Learnt:
        """These scans, and after them those of `more`."""
        return Learnt(
            np.concatenate((self.hashes, more.hashes)),
            np.concatenate((self.voxels, more.voxels)),
            np.concatenate((self.chose, more.chose)),
        )

    @property
    def taught(self) -> Learnt:
        """The training scans alone."""
        rows = self.chose == 0
        return Learnt(self.hashes[rows], self.voxels[rows], self.chose[rows])


class Overlap(NamedTuple):
    """Scans that a model has learnt from.

    Attributes:
        of: how many scans were looked at.
        equal: names of those with the same voxels.
        near: names of further ones that are near duplicates.
    """

    of: int
    equal: tuple[str, ...]
    near: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return self.equal + self.near

    def __str__(self) -> str:
        return (
            f"{len(self.names)} of {many(self.of, 'scan')} are among what the model learnt from "
            f"({len(self.equal)} with the same voxels, {len(self.near)} near duplicates: at most "
            f"{MOST_BITS} of the 256 bits of their hashes differ); first: {self.names[0]}"
            if self.names
            else f"none of {many(self.of, 'scan')} is among what the model learnt from"
        )


class StartsFrom(NamedTuple):
    """What is known of the model whose classifier is started from.

    Attributes:
        learnt: what it learnt from; None where it does not say.
        leakage: what leaks through the split that it learnt on, in words.
    """

    learnt: Learnt | None
    leakage: str


def learnt_from(
    assigned: Sequence[Assigned], prints: Prints, before: Learnt | None = None
) -> Learnt:
    """Prints of the train and validation scans of a split, after those learnt from before."""
    split_of = {one.scan.name: one.split for one in assigned if one.split in LEARNT_FROM}
    rows = [row for row, name in enumerate(prints.names) if name in split_of]
    chose = [split_of[prints.names[row]] == "validation" for row in rows]
    now = Learnt(
        prints.hashes[rows], _bytes(prints.voxels[row] for row in rows), np.array(chose, np.uint8)
    )
    return now if before is None else before.joined(now)


def overlap(learnt: Learnt, prints: Prints, names: Iterable[str]) -> Overlap:
    """Which of the named scans are among what was learnt from, by their pictures alone.

    Args:
        learnt: what was learnt from.
        prints: of scans, those named among them.
        names: of the scans to look at; those without prints are left out.
    """
    wanted = set(names)
    rows = np.array([row for row, name in enumerate(prints.names) if name in wanted], np.int64)
    known = {voxels.tobytes() for voxels in learnt.voxels}
    same = np.array([bytes.fromhex(prints.voxels[row]) in known for row in rows], np.bool_)
    alike = np.zeros(len(rows), np.bool_)
    alike[near_across(prints.hashes[rows], learnt.hashes)[:, 0]] = True
    equal, near = (
        tuple(prints.names[row] for row in rows[which]) for which in (same, alike & ~same)
    )
    return Overlap(len(rows), equal, near)


def leaks_of_start(
    assigned: Sequence[Assigned], start: StartsFrom, prints: Prints | None = None
) -> Iterator[Leak]:
    """What leaks through the model that is started from.

    Validation scans may be those that chose its weights, but none that taught them; test scans
    neither.

    Args:
        assigned: the split.
        start: the model.
        prints: of the scans that could be read; without them only its own leakage is told.
    """
    if start.leakage:
        yield Leak(
            kind="init",
            count=1,
            text=f"the model that it starts from learnt on a split that leaks: {start.leakage}",
            examples=(),
        )
    if start.learnt is None or prints is None:
        return
    for split, learnt in ((SPLITS[2], start.learnt), (SPLITS[1], start.learnt.taught)):
        found = overlap(learnt, prints, (one.scan.name for one in assigned if one.split == split))
        if found.names:
            yield Leak(
                kind="init",
                count=len(found.names),
                text=f"in the {split} split, which the model that it starts from has seen: {found}",
                examples=(),
            )


def _bytes(digests: Iterable[str]) -> NDArray[np.uint8]:
    whole = b"".join(bytes.fromhex(digest) for digest in digests)
    return np.frombuffer(whole, np.uint8).reshape(-1, HASH_BYTES)
