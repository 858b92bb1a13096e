"""Learnt at one site, asked at another: the images of both, and what is fitted on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from pipelines.study.folds import Labels, Rows, cut
from pipelines.study.probes import Features, Fit
from pipelines.study.records import Found, Images
from pipelines.study.targets import SetName, TargetSet

SPLIT = "cross-site"
"""The split of records whose images are of another set than what was learnt from."""


class Way(NamedTuple):
    """From where to where.

    Attributes:
        source: the set that is learnt from.
        tested: the set whose images are scored; the same for a model that stays at home.
    """

    source: SetName
    tested: SetName

    @property
    def name(self) -> str:
        """In records."""
        return f"{self.source}-to-{self.tested}"


AWAY = (Way("sars-cov-2-ct", "covid-ct"), Way("covid-ct", "sars-cov-2-ct"))
HOME = Way("covid-ct", "covid-ct")
"""The official split: what COVID-CT's own training images teach about its validation images."""


@dataclass(frozen=True)
class Crossing:
    """Both sets of a way, seen alike.

    Attributes:
        source: the set that is learnt from.
        tested: the set whose images are scored.
    """

    source: TargetSet
    tested: TargetSet

    @property
    def taught(self) -> Rows:
        """Rows of the source: its official training part, or all where it has none."""
        return _part(self.source, "train")

    @property
    def asked(self) -> Rows:
        """Rows of the tested set: its official validation part, or all where it has none."""
        return _part(self.tested, "validation")

    @property
    def images(self) -> Images:
        """Label and group of each image that is asked about; all are of one fold."""
        _, group = np.unique(np.array(self.tested.group), return_inverse=True)
        rows = self.asked
        fold = np.zeros(len(rows), np.int64)
        return Images(self.tested.target[rows], group[rows].astype(np.int64), fold)

    @property
    def labels(self) -> Labels:
        """Rows of `joined`: all of the source's that are taught, and those that are asked.

        One block of the source chooses. Images beside it are learnt from, so that an inner score is
        too high: nothing is chosen by it here.
        """
        choose = np.intersect1d(cut(self.source, "blocked")[0].choose, self.taught)
        learn = np.setdiff1d(self.taught, choose)
        return Labels(learn, choose, len(self.source.target) + self.asked)

    def joined(self) -> TargetSet:
        """Both sets as one, the source first, to fit on; its scans and prints are the source's."""
        both = (self.source, self.tested)
        groups = (f"{at} {name}" for at, one in enumerate(both) for name in one.group)
        return replace(
            self.source,
            frames=np.concatenate([one.frames for one in both]),
            lungs=np.concatenate([one.lungs for one in both]),
            target=np.concatenate([one.target for one in both]),
            group=tuple(groups),
            thumbnails=np.concatenate([one.thumbnails for one in both]),
            sizes=np.concatenate([one.sizes for one in both]),
        )


def asked_across(crossing: Crossing, fit: Fit) -> Found:
    """What a fit on the source says of the tested images: one chance for each of them.

    Args:
        crossing: the sets.
        fit: its features must be those of `Crossing.joined`.
    """
    labels = crossing.labels
    fitted = fit(crossing.joined(), labels)
    return Found(fitted.chance, len(labels.all), fitted.inner, (fitted.chosen,), (fitted.inner,))


def stacked(crossing: Crossing, of: Callable[[TargetSet], Features], centred: bool) -> Features:
    """Features of both sets, the source's first: (N of both, F).

    Args:
        crossing: the sets.
        of: the features of one set.
        centred: each set's by its own mean and deviation, over all of its images and without their
            labels: those that are asked about among them.
    """
    parts = [of(one) for one in (crossing.source, crossing.tested)]
    found: Features = np.concatenate([_centred(part) if centred else part for part in parts])
    return found


def _centred(features: Features) -> Features:
    spread = features.std(0)
    found: Features = (features - features.mean(0)) / np.where(spread > 1e-6, spread, 1.0)
    return found.astype(np.float32)


def _part(target: TargetSet, split: str) -> Rows:
    rows = [row for row, scan in enumerate(target.scans) if scan.split in (None, split)]
    return np.array(rows, np.int64)
