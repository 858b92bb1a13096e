"""Labelled frames to rehearse with: all where a cache holds them, else those of a few scans."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch.utils.data import Subset

from covidssl.datasets import LabelledScan
from covidssl.finetuning import FineTuning
from covidssl.frames import Frame
from covidssl.labelled_frames import LabelledFrames, load_labelled_frames
from covidssl.rehearsal.forecast import Line, Products, in_time, weights_bytes
from covidssl.rehearsal.trial import Trial, pictures_in
from covidssl.splits import Assigned, Proposed

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_OF_A_KIND = 3
"""Scans that are tried of each class in each split that is learnt from or chosen by."""

_LEARNING = ("train", "validation")
_USED = (*_LEARNING, "test")


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
        found = [kinds.get((s, p), [])[:_OF_A_KIND] for s in _LEARNING for p in (False, True)]
        return [one for kind in found for one in kind]
    few = []
    for positive in (False, True):
        of_class = [scan for scan in proposed.dataset.scans if scan.positive == positive]
        taken = of_class[: 2 * _OF_A_KIND]
        few += [Assigned(scan, scan.name, _LEARNING[k % 2]) for k, scan in enumerate(taken)]
    return few


@dataclass(frozen=True)
class LabelledRun:
    """A fine-tuning on labelled frames, of which there may be a few that stand for all.

    Attributes:
        tuning: on the frames that are there.
        look: at them.
        proposed: the split of all scans.
        fabric: device and precision.
        processes: that will share each batch.
    """

    tuning: FineTuning
    look: Look
    proposed: Proposed
    fabric: Fabric
    processes: int

    @property
    def surely(self) -> int:
        """As many pictures as are learnt from at the least: one a scan, where not all are cut."""
        return pictures_in(self.tuning.data) if self.look.whole else self._scans_to_learn_from()

    def trial(self) -> Trial:
        """The run as it will learn, with as many pictures as it will have."""
        tuning, data = self.tuning, self.tuning.data
        pictures = here = pictures_in(data)
        if not self.look.whole:
            tried = len({one.scan.name for one in tuning.assigned if one.split == "train"})
            pictures = max(here, round(here * self._scans_to_learn_from() / tried))
        repeated = Subset(data, [place % here for place in range(pictures)])
        state, plan = tuning.first_state(self.fabric.device), tuning.config.training
        made_of = (self.fabric, state, repeated, tuning.task, plan, tuning.config.seed)
        return Trial(*made_of, self.processes)

    def products(self, trial: Trial) -> Products:
        """Weights, and the time of all validations: one is made, aside."""
        network, restoration = trial.state.network, self.tuning.start.restoration or {}
        handed_on = sum(t.numel() * t.element_size() for t in restoration.values())
        plan, every = self.tuning.config.training, self.tuning.config.validate_every
        seconds = self._seconds_validating(trial) * (1 + -(-plan.steps // every))
        # The best weights, and the model folder's.
        return Products(2 * weights_bytes(network) + handed_on, seconds=seconds)

    def lines(self) -> list[Line]:
        """What is learnt from, and what is left out."""
        look, classes = self.look, self.tuning.classes
        assigned = self.tuning.assigned if look.whole else self.proposed.assigned
        lines = [look.line, *_split_lines(assigned, look.frames if look.whole else None, classes)]
        dropped = len(look.frames.dropped)
        if look.whole:
            return [*lines, Line("left out", f"{dropped} scans that could not be read")]
        tried = dropped + len(look.frames.scans)
        return [*lines, Line("tried", f"{tried} scans, {dropped} of them could not be read")]

    def _scans_to_learn_from(self) -> int:
        proposed = self.proposed
        if proposed.assigned is not None:
            return sum(one.split == "train" for one in proposed.assigned)
        share = 1 - proposed.plan.test - proposed.plan.validation
        return max(1, int(self.look.scans * share * proposed.plan.label_fraction))

    def _seconds_validating(self, trial: Trial) -> float:
        with tempfile.TemporaryDirectory() as aside:
            best = self.tuning.selection(trial.fabric.device, Path(aside))
            began = time.perf_counter()
            best.consider(trial.state, {})
            once = time.perf_counter() - began
        here, all_of_them = map(_validating, (self.tuning.assigned, self.proposed.assigned or ()))
        return once * max(all_of_them / here, 1.0)


def _validating(assigned: Iterable[Assigned]) -> int:
    return sum(one.split == "validation" for one in assigned)


def _split_lines(
    assigned: Iterable[Assigned] | None, frames: LabelledFrames | None, classes: tuple[str, str]
) -> list[Line]:
    """How many scans of each class every split has, and frames, where they are cut.

    Args:
        assigned: the split; None where it follows the pictures, which are not cut yet.
        frames: of all scans; None where they are not cut.
        classes: names of the negative and of the positive class.
    """
    if assigned is None:
        return [Line("splits", "grouped by what the pictures show: known when they are cut")]
    sides: dict[str, list[LabelledScan]] = {}
    for one in assigned:
        sides.setdefault(one.split, []).append(one.scan)
    return [
        Line(split if split in _USED else f"left out ({split})", _side(scans, frames, classes))
        for split, scans in sorted(sides.items(), key=lambda item: _order(item[0]))
    ]


def _side(
    scans: list[LabelledScan], frames: LabelledFrames | None, classes: tuple[str, str]
) -> str:
    counts = Counter(scan.positive for scan in scans)
    of_classes = ", ".join(f"{counts[positive]} {classes[positive]}" for positive in (False, True))
    said = f"{len(scans)} scans ({of_classes})"
    if frames is not None:
        said += f", {len(frames.of(scan.name for scan in scans))} frames"
    return said


def _order(split: str) -> int:
    return _USED.index(split) if split in _USED else len(_USED)
