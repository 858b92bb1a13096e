"""What a head learns from: single frames, or whole scans."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from covidssl.augment import AugmentRanges
from covidssl.diagnosis import (
    DiagnosisTask,
    FramesInMemory,
    ProbeData,
    pooled_features,
    start_from_probe,
)
from covidssl.hounsfield import Window
from covidssl.labelled_frames import LabelledFrames
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.heads import HeadPlan
from covidssl.scan_bags import BagTask, ScansInMemory
from covidssl.training import Task


class Lessons(ABC):
    """The frames of a dataset that `which` (N,) names, as a head learns from them.

    Attributes:
        what: examples in words.
        target: (M,) class of each example.
    """

    what: str
    target: NDArray[np.int64]

    def __init__(self, frames: LabelledFrames, which: NDArray[np.int64]) -> None:
        self.frames, self.which = frames, which

    @property
    @abstractmethod
    def data(self) -> Dataset[Any]:
        """The examples as a dataset."""

    @abstractmethod
    def task(self, augment: AugmentRanges, window_hu: Window, seed: int) -> Task[Any]:
        """The loss, with classes weighted as they are here."""

    @abstractmethod
    def averaged(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (M, F) of the examples, from those of their frames (N, F)."""

    def start(self, network: CovidClassifier, validation: Lessons, device: torch.device) -> float:
        """Let the head start from a linear probe; gives its validation loss.

        What the probe is given for a scan is the mean of its slices' features, as the head itself
        takes it before attention has learnt anything. Centre and scale are those of frames.
        """
        pooled, held = (one.pooled(network, device) for one in (self, validation))
        return start_from_probe(
            network,
            ProbeData(self.averaged(pooled), self.target),
            ProbeData(validation.averaged(held), validation.target),
            spread=pooled,
        )

    def pooled(self, network: CovidClassifier, device: torch.device) -> NDArray[np.float32]:
        """Pooled features (N, F) of the frames."""
        return pooled_features(network, self.frames.frames[self.which], device)


class FrameLessons(Lessons):
    """Every frame, slice or volume, is an example."""

    what = "frames"

    def __init__(self, frames: LabelledFrames, which: NDArray[np.int64]) -> None:
        super().__init__(frames, which)
        self.target = frames.target[which]

    @property
    def data(self) -> FramesInMemory:
        return FramesInMemory(self.frames.frames[self.which], self.target)

    def task(self, augment: AugmentRanges, window_hu: Window, seed: int) -> DiagnosisTask:
        return DiagnosisTask(augment, window_hu, self.target, seed)

    def averaged(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        return pooled


class ScanLessons(Lessons):
    """Every scan is an example: a bag of its slices."""

    what = "scans"

    def __init__(self, frames: LabelledFrames, which: NDArray[np.int64]) -> None:
        super().__init__(frames, which)
        scan_of = frames.scan_of[which]
        scans = np.unique(scan_of)
        self.places = [np.flatnonzero(scan_of == scan) for scan in scans]
        self.target = np.array([int(frames.scans[scan].positive) for scan in scans])

    @property
    def data(self) -> ScansInMemory:
        places = [self.which[of_scan] for of_scan in self.places]
        return ScansInMemory(self.frames.frames, places, self.target)

    def task(self, augment: AugmentRanges, window_hu: Window, seed: int) -> BagTask:
        return BagTask(augment, window_hu, self.target, seed)

    def averaged(self, pooled: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.stack([pooled[places].mean(axis=0) for places in self.places])


_LESSONS = {"linear": FrameLessons, "attention": ScanLessons}


def lessons(head: HeadPlan, frames: LabelledFrames, which: NDArray[np.int64]) -> Lessons:
    """What such a head learns from the frames that `which` names."""
    return _LESSONS[head.kind](frames, which)
