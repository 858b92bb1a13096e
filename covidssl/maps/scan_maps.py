"""The maps of one scan, at the resolution of the network's frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from covidssl.answers import Burden
from covidssl.box import Box, Region, lungs_box, lungs_region
from covidssl.evidence import class_evidence
from covidssl.frames import (
    ADULT_LUNGS_HEIGHT_MM,
    Frame,
    frame_pixels,
    frame_volume_mask,
    heights_along,
    mask_planes,
    unit_from_frames,
)
from covidssl.hounsfield import Pixels
from covidssl.lesion_model import Answering
from covidssl.lungs import RIGHT, Lungs
from covidssl.maps.burden import burden_of
from covidssl.maps.lesion import Looked, lesion_scores
from covidssl.maps.planes import Planes
from covidssl.model import Model
from covidssl.scan_frames import ScanFrames
from covidssl.volume import Volume

APART_MM = 3.0
"""The lesion map is made on every slice, or on slices so far apart at most where they are thinner;
between them it is interpolated."""

_AT_ONCE = 16


@dataclass(frozen=True)
class ScanMaps:
    """Maps of one scan; small, since they lie on the frames and not on the scan's grid.

    Attributes:
        slices: (N,) which slices of the scan the classifier looked at; of a volume the nearest to
            each of its planes.
        box: the rectangle of the scan that the maps show.
        evidence: (N, size, size) float32, what each pixel adds to the scan's logit; None of a
            model without a classifier.
        lesion: (N, size, size) float32 in [0, 1], network units, on the same slices; None without
            a restoration network or lungs.
        burden: of the whole scan.
        evidence_planes: the evidence, for placing it on the scan's grid.
        lesion_planes: the lesion map over all slices that show lung, not cut to the lungs.
        threshold: network units above which a pixel counts as lesion.
    """

    slices: NDArray[np.int64]
    box: Box
    evidence: NDArray[np.float32] | None
    lesion: NDArray[np.float32] | None
    burden: Burden | None
    evidence_planes: Planes | None = None
    lesion_planes: Planes | None = None
    threshold: float = 0.0


def maps_of(
    model: Answering,
    ct: Volume,
    lungs: Lungs,
    cut: ScanFrames,
    weight: NDArray[np.float64] | None = None,
    evidence: NDArray[np.float32] | None = None,
) -> ScanMaps:
    """The maps of a scan that was looked at.

    Args:
        model: with its restoration network, where it has one.
        ct: the scan.
        lungs: of it.
        cut: the frames that the classifier saw.
        weight: (N,) by how much each frame counts in the scan's logit; None of a model without a
            classifier, which has no evidence map.
        evidence: (N, [D,] size, size), what each pixel adds to its frame's logit, where that is
            known already; otherwise the classifier is asked.
    """
    frame, threshold = model.card.frame, model.card.burden_threshold
    at, seen, summed = _heights(cut, lungs, frame, len(ct.array)), None, None
    if isinstance(model, Model) and weight is not None:
        adds = _asked(model, cut) if evidence is None else evidence
        summed = adds * weight.astype(np.float32).reshape(-1, *(1,) * (adds.ndim - 1))
        summed = summed if frame.depth is None else summed[0]
        seen = Planes(summed, at, _reach(cut.slices))
    if model.restoration is None or not lungs.usable or ct.pixels is None:
        return ScanMaps(cut.slices, cut.box, summed, None, None, seen, None, threshold)
    shown = _slices(ct, lungs, cut, at, frame)
    scores = np.minimum(lesion_scores(model.restoration, shown.looked), 1)
    lesions = Planes(scores, shown.at, _reach(shown.at))
    burden = burden_of(lungs, scores > threshold, shown.looked.inside, shown.right, shown.at)
    lesion = lesions.on(cut.slices) if frame.depth is None else scores
    lesion = lesion * (cut.lungs if frame.depth is None else cut.lungs[0])
    return ScanMaps(cut.slices, cut.box, summed, lesion, burden, seen, lesions, threshold)


def _orientation_known(ct: Volume) -> bool:
    """Whether the scan's file says how it lies."""
    return ct.affine is not None or ct.stored is not None


class _Shown(NamedTuple):
    """What the lesion map is made of, and the share of the right lung in each of its pixels."""

    at: NDArray[np.float64]
    looked: Looked
    right: NDArray[np.float32] | None


def _asked(model: Model, cut: ScanFrames) -> NDArray[np.float32]:
    parts = []
    for first in range(0, len(cut.frames), _AT_ONCE):
        frames = torch.from_numpy(cut.frames[first : first + _AT_ONCE]).to(model.device)
        parts.append(class_evidence(model.classifier, unit_from_frames(frames)[:, None]).cpu())
    return torch.cat(parts).numpy()


def _heights(
    cut: ScanFrames, lungs: Lungs, frame: Frame, slices: int
) -> NDArray[np.float64]:  # fmt: skip
    """Where the planes of the frames lie, counted in slices of the scan."""
    if frame.depth is None:
        return cut.slices.astype(np.float64)
    return heights_along(_region(lungs, frame, slices).slices, frame.depth)


def _region(lungs: Lungs, frame: Frame, slices: int) -> Region:
    mask = np.asarray(lungs.mask.array, dtype=bool)
    return frame.region(lungs_region(mask) if lungs.usable else None, (slices, *mask.shape[1:]))


def _reach(at: NDArray[np.generic]) -> float:
    """Half a gap beyond either end: what was looked at stands for what lies nearest to it."""
    return max(0.5, float(np.diff(at).max(initial=1)) / 2)


def _slices(
    ct: Volume, lungs: Lungs, cut: ScanFrames, at: NDArray[np.float64], frame: Frame
) -> _Shown:
    mask = np.asarray(lungs.mask.array, dtype=bool)
    spacing_mm = ct.spacing_mm if lungs.spacing_known else None
    known = None if spacing_mm is None else spacing_mm[1:]
    pixel_mm = float(np.mean(frame.pixel_mm(cut.box, lungs_box(mask), known)))
    pixels = ct.pixels or Pixels.HU
    # A picture may be mirrored: without an orientation nobody knows which side is the right one.
    sides = lungs.sides if _orientation_known(ct) else None
    if frame.depth is not None:
        looked = Looked(
            cut.frames[0], cut.lungs[0].astype(np.float32), pixels, frame.window_hu, pixel_mm
        )
        region = _region(lungs, frame, len(ct.array))
        if sides is None:
            return _Shown(at, looked, None)
        right = frame_volume_mask(sides == RIGHT, region, frame)
        return _Shown(at, looked, right.astype(np.float32))
    rows = _with_lung(lungs, None if spacing_mm is None else spacing_mm[0])
    looked = Looked(
        frame_pixels(ct.array[rows], pixels, cut.box, frame),
        mask_planes(mask[rows], cut.box, frame),
        pixels,
        frame.window_hu,
        pixel_mm,
    )
    shares = None if sides is None else mask_planes(sides[rows] == RIGHT, cut.box, frame)
    return _Shown(rows.astype(np.float64), looked, shares)


def _with_lung(lungs: Lungs, z_mm: float | None) -> NDArray[np.int64]:
    """The slices from the lowest to the highest with lung, `APART_MM` apart at most if thinner."""
    found = np.flatnonzero(lungs.slice_share)
    first, last = int(found[0]), int(found[-1])
    if z_mm is None:
        z_mm = ADULT_LUNGS_HEIGHT_MM / (last + 1 - first)
    # The last one is always there.
    count = -(-(last - first) // max(1, int(APART_MM / z_mm))) + 1
    return np.unique(np.rint(np.linspace(first, last, count)).astype(np.int64))
