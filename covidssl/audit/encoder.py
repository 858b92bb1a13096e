"""What a pretrained encoder sees of each scan, for the order test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from covidssl.audit.seen import Seen
from covidssl.audit.study import Features
from covidssl.diagnosis import pooled_features
from covidssl.each_scan import Progress, no_progress
from covidssl.frames import Frame
from covidssl.labelled_frames import load_labelled_frames
from covidssl.networks.classifier import CovidClassifier
from covidssl.weights import load_encoder


def encoder_features(
    encoder: Path,
    seen: Seen,
    most_slices: int,
    cache: Path | None = None,
    progress: Progress = no_progress,
) -> Features:
    """Pooled features of all levels (M, F), the mean over a scan's slices, and its row in `seen`.

    Args:
        encoder: `encoder.safetensors`, or the run that wrote it.
        seen: the scans.
        most_slices: slices of one scan that are looked at.
        cache: folder for cut frames; None for none.
        progress: shows how far it is.

    Raises:
        WeightsError: when weights or card do not fit.
        DataError: when the encoder cannot see scans of this kind.
    """
    network, card = load_encoder(encoder)
    frame = card.frame or Frame()  # foreign weights were taught on none of ours
    frames = load_labelled_frames(seen.scans, frame, most_slices, cache, progress)
    pooled = pooled_features(CovidClassifier(network), frames.frames, torch.device("cpu"))
    sums = np.zeros((len(frames.scans), pooled.shape[1]))
    np.add.at(sums, frames.scan_of, pooled)
    counts = np.bincount(frames.scan_of, minlength=len(frames.scans))
    place = {scan.name: row for row, scan in enumerate(seen.scans)}
    rows = np.array([place[scan.name] for scan in frames.scans], np.int64)
    return sums / counts[:, None], rows
