"""Labelled frames to rehearse with: all where a cache holds them, else those of a few scans."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covidssl.frames import Frame
from covidssl.labelled_frames import LabelledFrames, load_labelled_frames
from covidssl.rehearsal.forecast import Line, in_time
from covidssl.splits import Assigned, Proposed

if TYPE_CHECKING:
    pass

_OF_A_KIND = 3
"""Scans that are tried of each class in each split that is learnt from or chosen by."""

LEARNING = ("train", "validation")
"""Splits that a fine-tuning learns from or chooses by."""


@dataclass(frozen=True)
class Look:
    """Labelled frames, as far as they can be had without cutting them all.

    Attributes:
        frames: of all scans, or of a few.
        seconds: of cutting those that lack.
        scans: in the dataset.
        whole: whether the frames are of all scans.
    """

    frames: LabelledFrames
    seconds: float
    scans: int
    whole: bool

    @property
    def line(self) -> Line:
        """Whether scans must be cut first, and for how long."""
        if self.whole:
            return Line("frames", "in the cache, none must be cut")
        return Line(
            "frames",
            f"not in a cache: {self.scans} scans are cut first, about {in_time(self.seconds)}",
        )


class _CutFirstError(Exception):
    """The cache does not hold the frames."""


def look_at(
    proposed: Proposed, frame: Frame, most_slices: int, cache: Path | None
) -> tuple[Look, list[Assigned] | None]:
    """The frames of all scans from the cache, or of a few that are cut now; nothing is written.

    Args:
        proposed: the split; a few scans of each of its sides are tried.
        frame: of the network.
        most_slices: frames of one scan at most.
        cache: folder of frames that were cut before; None for none.

    Returns:
        The frames; and the splits of those few scans, None where all frames are there and the
        split is settled as in a run.

    Raises:
        DataError: when no scan of a class could be read.
    """
    scans = proposed.dataset.scans
    if cache is not None:
        try:
            frames = load_labelled_frames(scans, frame, most_slices, cache, _refuse)
            return Look(frames, 0.0, len(scans), whole=True), None
        except _CutFirstError:
            pass
    few = _few(proposed)
    began = time.perf_counter()
    frames = load_labelled_frames([one.scan for one in few], frame, most_slices)
    seconds = (time.perf_counter() - began) / len(few) * len(scans)
    return Look(frames, seconds, len(scans), whole=False), few


def _refuse(_items: Iterable[Any], _what: str, _count: int) -> Iterable[Any]:
    raise _CutFirstError


def _few(proposed: Proposed) -> list[Assigned]:
    """Some scans of either class that learn and validate; by turns, where no split is known yet."""
    if proposed.assigned is not None:
        kinds: dict[tuple[str, bool], list[Assigned]] = {}
        for one in proposed.assigned:
            kinds.setdefault((one.split, one.scan.positive), []).append(one)
        found = [kinds.get((s, p), [])[:_OF_A_KIND] for s in LEARNING for p in (False, True)]
        return [one for kind in found for one in kind]
    few = []
    for positive in (False, True):
        of_class = [scan for scan in proposed.dataset.scans if scan.positive == positive]
        taken = of_class[: 2 * _OF_A_KIND]
        few += [Assigned(scan, scan.name, LEARNING[k % 2]) for k, scan in enumerate(taken)]
    return few
