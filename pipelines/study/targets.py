"""The two labelled sets of the studies, as frames with their lungs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from covidssl.datasets import LabelledScan, read_dataset
from covidssl.each_scan import Progress, no_progress
from covidssl.errors import UsageError
from covidssl.evaluation.views import lungs_masked, lungs_only, lungs_only_ranked, ranked
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.labelled_frames import LabelledFrames, Look, load_labelled_frames
from covidssl.lungs import Lungs
from covidssl.rivals import thumbnail_features
from covidssl.splits import groups_of_scans
from covidssl.volume import Volume
from data.covid_ct.prepare import main as prepare_covid_ct
from data.sars_cov_2_ct.prepare import main as prepare_sars_cov_2_ct

Frames = NDArray[np.uint16]
Masks = NDArray[np.bool_]

SetName = Literal["sars-cov-2-ct", "covid-ct"]
SETS: tuple[SetName, ...] = ("sars-cov-2-ct", "covid-ct")
WORDS: Mapping[SetName, str] = {"sars-cov-2-ct": "SARS-CoV-2 CT", "covid-ct": "COVID-CT"}
POSITIVE = "COVID"
FRAME = Frame(size=128, crop="lungs", margin=0.12, pixels=Pixels.WINDOWED)

View = Literal["plain", "lungs_only_ranked", "whole", "lungs_only", "ranked", "lungs_masked"]
VIEWS: tuple[View, ...] = ("plain", "lungs_only_ranked")
"""Of the paper's table; the others are for the study of shortcuts."""

VIEW_WORDS: Mapping[View, str] = {
    "plain": "images as they are",
    "whole": "images as they are, features pooled over the whole frame",
    "lungs_only": "outside the lungs blanked",
    "ranked": "rank-equalised",
    "lungs_only_ranked": "rank-equalised, outside the lungs blanked",
    "lungs_masked": "the lungs masked out, features pooled over the whole frame",
}

_ALTERED: Mapping[View, Callable[[Frames, Masks], Frames]] = {
    "lungs_only": lungs_only,
    "ranked": ranked,
    "lungs_only_ranked": lungs_only_ranked,
    "lungs_masked": lungs_masked,
}
_POOLED_WHOLE: tuple[View, ...] = ("whole", "lungs_masked")

RUN_LENGTH = 20
"""Neighbouring files that stand for one patient where none is known."""

_AT_ONCE = 256


@dataclass(frozen=True)
class TargetSet:
    """One labelled set.

    Attributes:
        name: of the set.
        scans: its images in natural file order; one frame each.
        frames: (N, size, size) uint16, network units scaled to 0..65535, cropped about the lungs.
        lungs: (N, size, size) bool, the lungs in the frames.
        target: (N,) 1 for COVID.
        group: (N,) what is resampled whole: a patient, where known, or a run of 20 files.
        thumbnails: (N, 176) what the trivial rival sees of the whole picture.
        sizes: (N, 3) width, height and aspect of the picture.
        loaded: all that was read, with prints of the scans.
        table: the CSV that names them, for verbs.
    """

    name: SetName
    scans: tuple[LabelledScan, ...]
    frames: NDArray[np.uint16]
    lungs: NDArray[np.bool_]
    target: NDArray[np.int64]
    group: tuple[str, ...]
    thumbnails: NDArray[np.float32]
    sizes: NDArray[np.float32]
    loaded: LabelledFrames
    table: Path


def load_target(
    name: SetName,
    data: Path,
    runs: Path,
    progress: Progress = no_progress,
    frame: Frame = FRAME,
) -> TargetSet:
    """Read a set below `data`, its frames cut once and kept below `runs`.

    Args:
        name: of the set.
        data: folder of all sets.
        runs: folder of all runs.
        progress: shows how far it is.
        frame: how pictures are cut; another than `FRAME` only to learn what that is worth.

    Raises:
        UsageError: when the folder lacks the set.
        DataError: when the set cannot be used.
    """
    table = _table(name, data, runs)
    dataset = read_dataset(table, POSITIVE)
    look = Look("size-1", _size)
    loaded = load_labelled_frames(dataset.scans, frame, 1, runs / "cache", progress, look)
    every = np.arange(len(loaded.frames))
    return TargetSet(
        name=name,
        scans=loaded.scans,
        frames=loaded.frames,
        lungs=loaded.lungs(every),
        target=loaded.target,
        group=tuple(groups_of_scans(loaded.scans, RUN_LENGTH)),
        thumbnails=loaded.thumbnails,
        sizes=loaded.looked_at["size"],
        loaded=loaded,
        table=table,
    )


class Targets:
    """The labelled sets of a study: each is read once, when it is first asked for.

    Args:
        data: folder of all sets.
        runs: folder of all runs.
        reads_sets: whether records may be held against the frames, which then must be read.
        known: sets that were read already, cut by `FRAME`.
    """

    def __init__(
        self, data: Path, runs: Path, reads_sets: bool = True, known: Sequence[TargetSet] = ()
    ) -> None:
        self._data, self._runs, self._reads_sets = data, runs, reads_sets
        self._read = {(one.name, FRAME): one for one in known}
        self._prints: dict[tuple[SetName, Frame], str] = {}

    def of(self, name: SetName, frame: Frame = FRAME) -> TargetSet:
        """A set as it is.

        Raises:
            CovidsslError: as `load_target`.
        """
        if (name, frame) not in self._read:
            self._read[name, frame] = load_target(name, self._data, self._runs, frame=frame)
        return self._read[name, frame]

    def frames(self, name: SetName, frame: Frame = FRAME, called: str = "frames") -> dict[str, str]:
        """The fingerprint of a set's frames, as a source of a record; empty if it is not read."""
        if not self._reads_sets:
            return {}
        if (name, frame) not in self._prints:
            self._prints[name, frame] = self.of(name, frame).loaded.fingerprint
        return {called: self._prints[name, frame]}


def seen_as(target: TargetSet, view: View) -> TargetSet:
    """The set on images without what a shortcut feeds on, or as it is.

    Altered sets' thumbnails are of the altered frames: no rival sees what the network does not.
    Where the lungs are not to be looked at alone, the set names none, and features are pooled over
    the whole frame.
    """
    frames, lungs = target.frames, target.lungs
    if view in _POOLED_WHOLE:
        target = replace(target, lungs=np.zeros_like(lungs))
    if view not in _ALTERED:
        return target
    parts = [slice(at, at + _AT_ONCE) for at in range(0, len(frames), _AT_ONCE)]
    altered = np.concatenate([_ALTERED[view](frames[rows], lungs[rows]) for rows in parts])
    seen = [thumbnail_features(one.astype(np.float32) / 65535) for one in altered]
    return replace(target, frames=altered, thumbnails=np.stack(seen))


def _size(_scan: LabelledScan, ct: Volume, _lungs: Lungs) -> Mapping[str, NDArray[Any]]:
    height, width = ct.array.shape[-2:]
    return {"size": np.array([width, height, width / height], np.float32)}


def _table(name: SetName, data: Path, runs: Path) -> Path:
    source, out = data / name, runs / "tables" / name
    if not source.is_dir():
        raise UsageError(
            f"{source}: there is no such folder. Expected the set '{name}' below DATA."
        )
    # Each time: one that stands may name the images of another folder, or what is excluded by now.
    prepare = {"sars-cov-2-ct": prepare_sars_cov_2_ct, "covid-ct": prepare_covid_ct}[name]
    prepare(source, out, True)
    return out / "labels.csv"
