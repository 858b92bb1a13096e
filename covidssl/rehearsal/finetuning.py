"""A fine-tuning rehearsed: what it would take, and the batch that there is memory for."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch.utils.data import Subset

from covidssl.checkpoint import newest_step
from covidssl.datasets import LabelledScan
from covidssl.experiments import FinetuneConfig
from covidssl.finetuning import FineTuning, Opening, Places, open_finetuning
from covidssl.labelled_frames import LabelledFrames
from covidssl.rehearsal.batch_size import largest_batch, with_fitting_batch
from covidssl.rehearsal.forecast import Line, Products, forecast, weights_bytes
from covidssl.rehearsal.labelled import LEARNING, Look, look_at
from covidssl.rehearsal.trial import Trial, one_process, pictures_in
from covidssl.runs import IfExists
from covidssl.shared_runs import rehearsed_run
from covidssl.splits import Assigned, Proposed, refuse_leaks, settle

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_USED = (*LEARNING, "test")


def rehearse_finetuning(
    config: FinetuneConfig,
    data: Path,
    places: Places,
    if_exists: IfExists = "refuse",
    allow_leakage: bool = False,
) -> list[Line]:
    """What a run would take, by a few of its own steps; nothing is written.

    Raises:
        CovidsslError: for what the run itself would refuse, and for too little memory.
    """
    folder = rehearsed_run(places.out, "finetune", config, if_exists)
    opening = open_finetuning(config, data, places, allow_leakage)
    folder.note_data(**opening.fingerprints)
    if folder.done:
        return [Line("steps", "none: the run is finished already")]
    run = _labelled_run(opening, places, allow_leakage)
    if config.learns == "probe":
        return [*run.lines(), Line("steps", "none: nothing learns once the probe is fitted")]
    trial = run.trial()
    taken = newest_step(places.out / "checkpoints") if folder.resumed else 0
    said = forecast(trial, places.out, run.products(trial, taken), taken)
    return [*run.lines(), *said.lines()]


def fitted_finetuning(
    config: FinetuneConfig, data: Path, places: Places, if_exists: IfExists = "refuse"
) -> FinetuneConfig:
    """The configuration with the largest batch that the device has memory for.

    Raises:
        CovidsslError: for what the run itself would refuse, and where no picture fits.
    """

    def choose() -> int:
        opening = open_finetuning(config, data, places, allow_leakage=True)
        run = _labelled_run(opening, places, allow_leakage=True)
        return largest_batch(run.trial(), run.surely)

    return with_fitting_batch(config, places.out, if_exists, choose)


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

    def products(self, trial: Trial, taken: int) -> Products:
        """Weights, and the time of the validations after so many steps: one is made, aside."""
        network, restoration = trial.state.network, self.tuning.start.restoration or {}
        handed_on = sum(t.numel() * t.element_size() for t in restoration.values())
        plan, every = self.tuning.config.training, self.tuning.config.validate_every
        seconds = self._seconds_validating(trial) * (1 + -(-(plan.steps - taken) // every))
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


def _labelled_run(opening: Opening, places: Places, allow_leakage: bool) -> LabelledRun:
    """The run on all frames, if they are cut already; otherwise on those of a few scans."""
    fabric, processes = one_process(places.device, opening.config.training.precision)
    opening.must_learn_rightly(fabric.device)
    proposed = opening.proposed
    look, assigned = look_at(proposed, opening.start.frame, opening.most_slices, places.cache)
    if assigned is None:
        assigned, notes = settle(proposed, look.frames.prints, allow_leakage, opening.before)
        refuse_leaks(opening.dataset, notes.leaks, allow_leakage)
    tuning = opening.tuning(look.frames, assigned)
    return LabelledRun(tuning, look, proposed, fabric, processes)


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
