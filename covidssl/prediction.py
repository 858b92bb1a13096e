"""One scan in, a probability with its evidence out."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from covidssl.diagnosis import scores_of
from covidssl.evidence import class_evidence, evidence_picture, lifted_off
from covidssl.frames import unit_from_frames
from covidssl.hounsfield import Pixels
from covidssl.io import read_ct
from covidssl.lungs import segment_lungs
from covidssl.model import Model, load_model
from covidssl.scan_frames import ScanFrames, frames_of_scan
from covidssl.volume import Volume

_PICTURED = 3


class Prediction(NamedTuple):
    """What the model says of one scan.

    Attributes:
        probability: calibrated, of the positive class.
        label: name of the class at the operating point.
        lesion_burden: share of the lungs' pixels, in the slices looked at, from which the
            restoration network lifts density; None without one or without lungs.
        slices: which slices were looked at; of a volume, the one nearest to each of its planes.
        slice_probability: calibrated probability of each of them by itself; of a volume (1,), that
            of the whole.
        slice_weight: by how much each of them counts in the scan's logit; they sum to 1.
        warnings: in plain words.
        picture: PNG of the slices that count most, of equal ones those that speak loudest; of a
            volume, of the planes that add most to its logit.
    """

    probability: float
    label: str
    lesion_burden: float | None
    slices: NDArray[np.int64]
    slice_probability: NDArray[np.float64]
    slice_weight: NDArray[np.float64]
    warnings: tuple[str, ...]
    picture: bytes


def predict(model: Model | Path | str, scan: Volume | Path | str) -> Prediction:
    """The probability of COVID-19 for one scan, with its evidence. Research use only.

    Args:
        model: a loaded model, or the path of a model folder or fine-tuning run.
        scan: an upright CT, or the path of a file or of a DICOM folder.

    Raises:
        ScanError: when the scan cannot be read or its pixels do not suit the network.
        WeightsError: when the model cannot be loaded.
    """
    model = model if isinstance(model, Model) else load_model(model)
    ct = scan if isinstance(scan, Volume) else read_ct(scan)
    lungs = segment_lungs(ct)
    cut = frames_of_scan(ct, lungs, model.card.frame, model.card.aggregation.most_slices)
    scores = scores_of(model.classifier, cut.frames, model.device)
    weight = model.card.aggregation.weights(*scores)
    calibration = model.card.calibration
    probability = float(calibration.probability(model.card.aggregation.of(*scores)))
    lifted = _lifted(model, cut) if lungs.usable else None
    warnings = cut.warnings
    if ct.pixels is Pixels.HU and model.card.frame.pixels is Pixels.WINDOWED:
        low, high = model.card.frame.window_hu
        warnings += (f"HU seen through the window {low:g}..{high:g} of an 8-bit network",)
    slice_probability = calibration.probability(scores.logit)
    return Prediction(
        probability,
        model.card.classes[probability >= model.card.operating_point],
        _burden(lifted, cut, model.card.burden_threshold),
        cut.slices,
        slice_probability,
        weight,
        warnings,
        _picture_of_volume(model, cut, lifted)
        if model.card.frame.depth is not None
        else _picture(model, cut, (slice_probability, weight), lifted),
    )


def _lifted(model: Model, cut: ScanFrames) -> NDArray[np.float32] | None:
    if model.restoration is None:
        return None
    found = []
    for first in range(0, len(cut.frames), 16):
        part = slice(first, first + 16)
        lungs = torch.from_numpy(cut.lungs[part])[:, None].to(model.device)
        found.append(lifted_off(model.restoration, _unit(model, cut.frames[part]), lungs).cpu())
    return torch.cat(found).numpy()


def _burden(lifted: NDArray[np.float32] | None, cut: ScanFrames, threshold: float) -> float | None:
    if lifted is None or not cut.lungs.any():
        return None
    return float((lifted[cut.lungs] > threshold).mean())


def _picture(
    model: Model,
    cut: ScanFrames,
    said: tuple[NDArray[np.float64], NDArray[np.float64]],
    lifted: NDArray[np.float32] | None,
) -> bytes:
    """The slices that decided, with maps that add up, over all slices, to the scan's logit."""
    probability, weight = said
    loudest = np.sort(np.lexsort((probability, weight))[-_PICTURED:])
    unit = _unit(model, cut.frames[loudest])
    captions = [
        f"slice {cut.slices[k]}: probability {probability[k]:.2f}, weight {weight[k]:.0%}"
        for k in loudest
    ]
    evidence = class_evidence(model.classifier, unit).cpu().numpy()
    return evidence_picture(
        unit[:, 0].cpu().numpy(),
        evidence * weight[loudest, None, None].astype(np.float32),
        None if lifted is None else lifted[loudest],
        captions,
    )


def _picture_of_volume(model: Model, cut: ScanFrames, lifted: NDArray[np.float32] | None) -> bytes:
    """The planes that add most to the logit, of the maps that add up to it over all planes."""
    unit = _unit(model, cut.frames)
    evidence = class_evidence(model.classifier, unit)[0].cpu().numpy()
    adds = evidence.sum(axis=(1, 2))
    loudest = _loudest_planes(adds)
    captions = [f"slice {cut.slices[k]}: adds {adds[k]:+.2f} to the logit" for k in loudest]
    return evidence_picture(
        unit[0, 0, loudest].cpu().numpy(),
        evidence[loudest],
        None if lifted is None else lifted[0, loudest],
        captions,
    )


def _loudest_planes(adds: NDArray[np.float32]) -> NDArray[np.int64]:
    """The loudest planes of (depth,) that are no neighbours: those would look the same."""
    apart = max(len(adds) // (2 * _PICTURED), 1)
    chosen: list[int] = []
    for plane in np.argsort(-adds):
        if len(chosen) < _PICTURED and all(abs(plane - other) >= apart for other in chosen):
            chosen.append(int(plane))
    return np.sort(np.array(chosen))


def _unit(model: Model, frames: NDArray[np.uint16]) -> torch.Tensor:
    return unit_from_frames(torch.from_numpy(frames).to(model.device))[:, None]
