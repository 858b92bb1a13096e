"""A small labelled set that an encoder is probed on while it is pretrained."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covidssl.datasets import Dataset, LabelledScan
from covidssl.each_scan import Progress, no_progress
from covidssl.frames import Frame
from covidssl.labelled_frames import LabelledFrames, load_labelled_frames
from covidssl.metrics import Estimate, evaluate
from covidssl.networks.encoder import Encoder
from covidssl.quality.features import Features, level_features, mean_of_scans
from covidssl.quality.folds import Folds, make_folds
from covidssl.quality.plan import VOLUME_IN_SLICES, QualityPlan
from covidssl.quality.probing import out_of_fold, probe_quality
from covidssl.randomness import numpy_generator
from covidssl.splits import Learnt, groups_of_scans

_STREAM = 94
_MOST_SLICES = 8
_RUN_LENGTH = 20


@dataclass(frozen=True)
class ProbeSet:
    """Labelled scans in folds.

    Attributes:
        frames: of the scans that could be read.
        folds: of those scans.
        group: of each scan, what is resampled whole: its patient, or a run of neighbouring files.
        neighbours: of the k-NN.
    """

    frames: LabelledFrames
    folds: Folds
    group: tuple[str, ...]
    neighbours: int

    def quality(self, encoder: Encoder) -> dict[str, float]:
        """AUROC over scans of a linear probe and of a k-NN on the features of all levels."""
        return probe_quality(
            self._features(encoder), self._target, self.folds.folds, self.neighbours
        )

    def intervals(self, encoder: Encoder) -> dict[str, Estimate]:
        """The AUROC of both with 95 % intervals, whole groups resampled."""
        found = out_of_fold(
            self._features(encoder), self._target, self.folds.folds, self.neighbours
        )
        named = {"probe_auroc": found.probe, "knn_auroc": found.neighbours}
        return {
            name: evaluate(
                self._target, chances, 0.5, self.group, numpy_generator(_STREAM), rounds=1000
            ).auroc
            for name, chances in named.items()
        }

    @property
    def learnt(self) -> Learnt:
        """Prints of the scans, as of ones that chose the weights and did not teach them."""
        prints = self.frames.prints
        voxels = np.array([np.frombuffer(bytes.fromhex(one), np.uint8) for one in prints.voxels])
        return Learnt(prints.hashes, voxels, np.ones(len(prints.names), np.uint8))

    @property
    def _target(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return np.array([int(scan.positive) for scan in self.frames.scans], np.int64)

    def _features(self, encoder: Encoder) -> Features:
        levels = level_features(encoder, self.frames.frames)
        return mean_of_scans(np.concatenate(levels, axis=1), self.frames.scan_of)


def load_probe_set(
    dataset: Dataset,
    plan: QualityPlan,
    frame: Frame,
    progress: Progress = no_progress,
) -> ProbeSet:
    """Read the scans that are probed on: all, or as many of each class, spread evenly over it.

    Args:
        dataset: the labelled set; it must not be the one that is tested on later.
        plan: how many frames, which folds, and where cut frames are kept.
        frame: of the network.
        progress: shows how far it is.

    Raises:
        DataError: when no scan of a class can be read, or there are too few for folds.
    """
    most = plan.probe_frames
    if frame.depth is not None:
        most = max(2, most // VOLUME_IN_SLICES)
    chosen = _thinned(dataset.scans, most)
    slices = min(max(most // len(chosen), 1), _MOST_SLICES)
    frames = load_labelled_frames(chosen, frame, slices, plan.cache, progress)
    # Counted among the scans that were chosen, the gap spans the same files.
    gap = -(-plan.gap * len(chosen) // len(dataset.scans))
    groups = groups_of_scans(dataset.scans, _RUN_LENGTH)
    group_of = dict(zip((scan.name for scan in dataset.scans), groups, strict=True))
    return ProbeSet(
        frames,
        make_folds(frames.scans, frames.prints, plan.folds, gap),
        tuple(group_of[scan.name] for scan in frames.scans),
        plan.neighbours,
    )


def _thinned(scans: tuple[LabelledScan, ...], most: int) -> tuple[LabelledScan, ...]:
    if len(scans) <= most:
        return scans
    kept: set[int] = set()
    for positive in (False, True):
        rows = [row for row, scan in enumerate(scans) if scan.positive == positive]
        wanted = max(1, len(rows) * most // len(scans))
        kept |= {rows[int(place)] for place in np.linspace(0, len(rows) - 1, wanted).round()}
    return tuple(scan for row, scan in enumerate(scans) if row in kept)
