"""Pretraining watched: quality is measured, written down and drawn, the best encoder kept."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import Subset
from torch.utils.tensorboard import SummaryWriter

from covidssl.clean_slices import StoredPictures
from covidssl.experiments import PretrainConfig
from covidssl.figures import quality_figure
from covidssl.files import read_csv, write_bytes
from covidssl.lesions import LesionRanges
from covidssl.pretext import CleanSlices, PerlinPretext
from covidssl.pretraining.labelled import lifts_lesions
from covidssl.pretraining.parts import Pretraining
from covidssl.quality import (
    BEST,
    BEST_STEP,
    ChosenOn,
    HeldOut,
    LesionSet,
    ProbeSet,
    QualityWatch,
    draw_lesion_set,
    hold_out,
    row_at,
    rows_before,
    write_chosen_on,
)
from covidssl.quality.rule import Notes
from covidssl.runs import RunFolder
from covidssl.training import StepReport, TrainingState
from covidssl.weights import read_weights

log = logging.getLogger(__name__)

BEST_FILES, FIGURE = "best-", "quality.png"

Weights = dict[str, torch.Tensor]


class Kept(NamedTuple):
    """The weights that a run hands on.

    Attributes:
        weights: of the network; of one that does not restore, perhaps its encoder's alone.
        step: after which they were what they are.
        metrics: of their quality, for the card.
        words: which they are, and why.
    """

    weights: Weights
    step: int
    metrics: dict[str, float]
    words: str


class Look(NamedTuple):
    """What one step gave: the weights, where they are the best so far, and whether to stop."""

    best: Kept | None
    stop: bool


@dataclass(frozen=True)
class Watching:
    """A pretraining as it is watched.

    Attributes:
        watch: what is measured.
        slices: all pictures of the store.
        learnt: those that are learnt from, all but those of scans held out.
        out: the run folder.
        steps: of the plan.
        chosen: the labelled scans that choose among its encoders, or chose what it starts from.
    """

    watch: QualityWatch
    slices: StoredPictures
    learnt: Subset[CleanSlices]
    out: Path
    steps: int
    chosen: ChosenOn

    def first(self, state: TrainingState) -> None:
        """Measure the first weights: what all that is learnt is held against."""
        if self.watch.sees:
            self.watch.write(0, self.watch.measure(state.weights()))

    def step(
        self, state: TrainingState, report: StepReport, notes: Notes, board: SummaryWriter
    ) -> Look:
        """Measure the weights where they are due, and judge them by the rule."""
        if not self.watch.due(report.step, self.steps):
            return Look(None, stop=False)
        weights = state.weights()
        found = self.watch.measure(weights)
        self.watch.write(report.step, found)
        judged = self.watch.judge(report.step, found, notes)
        for name, value in found.items():
            board.add_scalar(f"quality/{name}", value, report.step)
        self._draw(notes.get(BEST_STEP))
        if judged.stop:
            log.info(
                "%s: %s has not gained %g in %d evaluations; the best is %.4f, of step %d.",
                self.out.name, self.watch.metric, self.watch.plan.minimum_gain,
                self.watch.plan.patience or 0, notes[BEST], notes[BEST_STEP],
            )  # fmt: skip
        best = Kept(weights, report.step, self._metrics(report.step), f"the best by {self._rule}")
        return Look(best if judged.best and self.watch.keeps_best else None, judged.stop)

    def kept(self, state: TrainingState, notes: Notes) -> Kept:
        """The best weights by the rule, or the last ones, as the plan says."""
        best = int(notes.get(BEST_STEP, -1)) if self.watch.sees else -1
        if self.watch.plan.keep == "last" or best in (-1, state.step):
            words = "the last" if best != state.step else f"the last, the best by {self._rule}"
            return Kept(state.weights(), state.step, self._metrics(state.step), words)
        if (self.out / f"{BEST_FILES}restoration.safetensors").is_file():
            weights = read_weights(self.out / f"{BEST_FILES}restoration.safetensors")
        else:
            encoder = read_weights(self.out / f"{BEST_FILES}encoder.safetensors")
            weights = {f"encoder.{name}": tensor for name, tensor in encoder.items()}
        words = f"the best by {self._rule}, of step {best} of {state.step}"
        return Kept(weights, best, self._metrics(best), words)

    @property
    def _rule(self) -> str:
        return str(self.watch.metric)

    def _metrics(self, step: int) -> dict[str, float]:
        if not self.watch.sees:
            return {}
        found = row_at(self.watch.table, step)
        found.pop("seconds", None)
        return {"kept_step": float(step), **found}

    def _draw(self, best: float | None) -> None:
        rows = read_csv(self.watch.table)
        steps = [float(row["step"]) for row in rows]
        columns = {name: [float(row[name]) for row in rows] for name in rows[0] if name != "step"}
        write_bytes(self.out / FIGURE, quality_figure(steps, columns, best))


def begin_watching(begun: Pretraining, probed: ProbeSet | None, run: RunFolder) -> Watching:
    """Hold scans out, draw the lesions, and record what is used for what.

    Of several processes the first one alone measures; all of them learn from the same pictures.

    Args:
        begun: what is trained, and how.
        probed: labelled scans, where there are some and this process is the first.
        run: the run folder.
    """
    config, slices, before = begun.config, begun.slices, begun.chosen_before
    plan, network = config.quality, begun.state.network
    held = hold_out(slices, plan)
    learnt = Subset(slices, held.learnt.tolist())
    lesions = None
    if plan.every is not None and run.writes and lifts_lesions(config, network):
        lesions = _lesion_set(config, slices, held)
    watch = QualityWatch(plan, network, lesions, probed, run.path)
    if watch.sees:
        run.note(quality=_record(watch, held, lesions, probed))
    chosen = before
    if run.writes:
        # Where nothing is learnt, there is one encoder alone, and nothing to choose.
        choosing = probed if config.pretext.teaches and watch.labels_choose else None
        chosen = write_chosen_on(run.path, choosing.learnt if choosing else None, before)
    return Watching(watch, slices, learnt, run.path, config.training.steps, chosen)


def quality_summary(watching: Watching, state: TrainingState, kept: Kept) -> dict[str, Any]:
    """What the record and the log say of quality at the end of a run."""
    if not watching.watch.sees:
        return {}
    rows = rows_before(watching.watch.table, state.step + 1)
    seconds = [float(row["seconds"]) for row in rows]
    said: dict[str, Any] = {"encoder kept": kept.words}
    metric = watching.watch.metric
    if metric is not None and metric in kept.metrics and rows and rows[0]["step"] == "0":
        first, last = float(rows[0][metric]), kept.metrics[metric]
        said[metric] = f"{last:.3f}, untrained {first:.3f}"
        if last <= first:
            log.warning(
                "%s of the encoder that is kept is %.3f, and was %.3f before anything was learnt: "
                "this pretraining has taught nothing that it can see.", metric, last, first,
            )  # fmt: skip
    probed = watching.watch.intervals(kept.weights)
    said |= {
        f"{name}, 95 % interval": f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"
        for name, one in probed.items()
    }
    if seconds:
        said["seconds an evaluation"] = round(sum(seconds) / len(seconds), 2)
    return said


def _lesion_set(config: PretrainConfig, slices: StoredPictures, held: HeldOut) -> LesionSet:
    ranges = config.pretext.lesions if isinstance(config.pretext, PerlinPretext) else LesionRanges()
    drawn_on = [slices[int(place)] for place in held.drawn_on]
    chosen = CleanSlices(*(torch.stack(parts) for parts in zip(*drawn_on, strict=True)))
    return draw_lesion_set(chosen, ranges, config.frame.window_hu)


def _record(
    watch: QualityWatch, held: HeldOut, lesions: LesionSet | None, probed: ProbeSet | None
) -> dict[str, Any]:
    """Which pictures and scans are used, and for what; of names their digest alone."""
    record: dict[str, Any] = {"rule": watch.metric, "keep": watch.plan.keep}
    if lesions is not None:
        record["lesions"] = {
            "pictures": len(lesions.clean),
            "scans_held_out": held.scans,
            "from": "scans that nothing is learnt from" if held.scans else "scans learnt from",
            "digest": held.digest,
        }
    if probed is not None:
        names = "\n".join(scan.name for scan in probed.frames.scans)
        record["probe"] = {
            "scans": len(probed.frames.scans),
            "positive": sum(scan.positive for scan in probed.frames.scans),
            "frames": len(probed.frames.frames),
            "dropped": len(probed.frames.dropped),
            "folds": probed.folds.text,
            "names_sha256": hashlib.sha256(names.encode()).hexdigest(),
            "fingerprint": probed.frames.fingerprint,
        }
    return record
