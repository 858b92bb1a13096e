"""Which scans of a store nothing is learnt from, so that lesions drawn on them are new."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.clean_slices import StoredFrames, StoredPictures
from covidssl.quality.plan import VOLUME_IN_SLICES, QualityPlan
from covidssl.randomness import numpy_generator

_STREAM = 92
_MOST_SCANS = 64
_RUN = 5

Places = NDArray[np.int64]


class HeldOut(NamedTuple):
    """How a store's pictures are used.

    Attributes:
        learnt: places of the pictures to learn from, in their order.
        drawn_on: places of those that pseudo-lesions are drawn on for the watch.
        scans: that nothing is learnt from; 0: lesions are drawn on pictures that are learnt from.
        digest: SHA-256 over the places that are drawn on.
    """

    learnt: Places
    drawn_on: Places
    scans: int
    digest: str


def hold_out(pictures: StoredPictures, plan: QualityPlan) -> HeldOut:
    """Take a few scans out of training, the same ones in every run on the store.

    They are taken in runs of up to five neighbours, since scans of one patient follow each other,
    64 scans at most. Of a store so small that the share is less than a scan none is taken out.
    """
    scan_of = _scan_of(pictures)
    scans = np.unique(scan_of)
    count = min(int(plan.held_out * len(scans)), _MOST_SCANS) if plan.every else 0
    out = np.isin(scan_of, scans[_drawn(len(scans), count)])
    learnt = np.flatnonzero(~out)
    pool = np.flatnonzero(out) if count else learnt
    most = plan.lesion_slices
    if pictures.frame.depth is not None:
        most = max(1, most // VOLUME_IN_SLICES)
    chosen = pool[np.unique(np.linspace(0, len(pool) - 1, most).round().astype(int))]
    digest = hashlib.sha256(chosen.astype("<i8").tobytes()).hexdigest()
    return HeldOut(learnt, chosen, count, digest)


def _scan_of(pictures: StoredPictures) -> Places:
    """(N,) number of the scan of each picture; a volume is a scan."""
    if isinstance(pictures, StoredFrames):
        return np.asarray(pictures.store.slices.scan_numbers, np.int64)
    return np.arange(len(pictures), dtype=np.int64)


def _drawn(scans: int, count: int) -> Places:
    """Places of `count` scans, in runs of neighbours; keyed by nothing but the numbers."""
    runs = np.arange(scans) // _RUN
    order = numpy_generator(_STREAM).permutation(int(runs[-1]) + 1)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return np.argsort(rank[runs], kind="stable")[:count]
