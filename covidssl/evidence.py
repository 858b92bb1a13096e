"""Why the classifier said so, exactly, and pictures of both maps of a scan."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from covidssl.answers import Answer
from covidssl.networks.classifier import CovidClassifier
from covidssl.scan_frames import ScanFrames

if TYPE_CHECKING:
    from covidssl.maps import ScanMaps

Pictures = NDArray[np.float32]

_PICTURED = 3


@torch.no_grad()
def class_evidence(network: CovidClassifier, unit: torch.Tensor) -> torch.Tensor:
    """What each pixel adds to the logit: (B, 1, [Z,] Y, X) -> (B, [Z,] Y, X), in logits a pixel.

    The head is linear in the pooled features of all levels, so the logit is a sum over pixels,
    exactly (class activation mapping, Zhou et al. 2016, over every level): a mean spreads its
    share over its level's pixels, a maximum lays its share on the one pixel that it came from.
    The sum over a frame is its logit less the head's bias. What lies on the border that the
    encoder pads is the last row's, of which that border is a copy.

    A scan's logit is the mean of its slices' with weights (`Aggregation.weights`): so the maps of
    all its slices, each times its weight, add up to the scan's logit less the bias.
    """
    network.eval()
    shape = unit.shape[2:]
    padded = network.encoder.padded(unit).shape[2:]
    weight = network.head.weight[0] / network.feature_scale
    total: torch.Tensor = torch.zeros((len(unit), *padded), device=unit.device)
    first = 0
    for features in network.encoder(unit):
        channels = features.shape[1]
        middle, top = first + channels, first + 2 * channels
        means, maxima = weight[first:middle], weight[middle:top]
        flat = features.flatten(2)
        centred = flat - network.feature_mean[first:middle, None]
        share = torch.einsum("c,bcp->bp", means, centred) / flat.shape[2]
        share = share + _at_maxima(flat, maxima, network.feature_mean[middle:top])
        total += _enlarge(share.view(len(unit), *features.shape[2:]), padded)
        first = top
    return _fold_padding(total, shape)


def evidence_picture(
    frames: Pictures, evidence: Pictures, lesion: Pictures | None, captions: list[str]
) -> bytes:
    """A PNG with a row a slice: the frame, the classifier's evidence, the lesion map.

    Args:
        frames: (N, H, W) network units.
        evidence: (N, H, W) logits a pixel; warm colours speak for the positive class.
        lesion: (N, H, W) network units; None without a restoration network.
        captions: one a slice.
    """
    columns = 2 if lesion is None else 3
    figure = Figure(figsize=(2.6 * columns, 2.75 * len(frames)), dpi=85, layout="compressed")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(frames), columns, squeeze=False)
    # Maxima lie on single pixels, deep levels in blocks: smoothed for the eye, the sum stays.
    width = frames.shape[-1] / 40
    evidence = np.stack([gaussian_filter(one, width, mode="reflect") for one in evidence])
    strength = float(np.percentile(np.abs(evidence), 99.5)) or 1.0
    for row, (panels, frame, caption) in enumerate(zip(axes, frames, captions, strict=True)):
        for panel in panels:
            panel.imshow(frame, cmap="gray", vmin=0, vmax=1)
            panel.set_axis_off()
        panels[0].set_title(caption, fontsize=8)
        spoken = np.abs(evidence[row]) / strength
        panels[1].imshow(
            evidence[row],
            cmap="RdBu_r",
            vmin=-strength,
            vmax=strength,
            alpha=np.clip(spoken, 0, 0.6),
        )
        panels[1].set_title("evidence: red for, blue against", fontsize=8)
        if lesion is not None:
            panels[2].imshow(
                lesion[row],
                cmap="inferno",
                vmin=0,
                vmax=0.5,
                alpha=np.clip(lesion[row] / 0.2, 0, 0.8),
            )
            panels[2].set_title("lesion map, without labels", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def picture_of(cut: ScanFrames | None, answer: Answer, maps: ScanMaps | None) -> bytes:
    """The slices that decided, with maps that add up, over all slices, to the scan's logit.

    Raises:
        ValueError: when there was nothing to look at, or no maps were made.
    """
    if cut is None or maps is None:
        raise ValueError("There is no picture of a scan that was not looked at, or without maps.")
    volume = cut.frames.ndim == 4
    stored = cut.frames[0] if volume else cut.frames
    frames = stored.astype(np.float32) / np.float32(65535)
    adds = maps.evidence.sum(axis=(1, 2))
    if volume:
        loudest = _loudest_planes(adds)
        captions = [f"slice {maps.slices[k]}: adds {adds[k]:+.2f} to the logit" for k in loudest]
    else:
        said = answer.slices
        order = np.lexsort(([one.probability for one in said], [one.weight for one in said]))
        loudest = np.sort(order[-_PICTURED:])
        captions = [
            f"slice {said[k].slice}: probability {said[k].probability:.2f}, "
            f"weight {said[k].weight:.0%}"
            for k in loudest
        ]
    lesion = None if maps.lesion is None else maps.lesion[loudest]
    return evidence_picture(frames[loudest], maps.evidence[loudest], lesion, captions)


def _loudest_planes(adds: NDArray[np.float32]) -> NDArray[np.int64]:
    """The loudest planes of (depth,) that are no neighbours: those would look the same."""
    apart = max(len(adds) // (2 * _PICTURED), 1)
    chosen: list[int] = []
    for plane in np.argsort(-adds):
        if len(chosen) < _PICTURED and all(abs(plane - other) >= apart for other in chosen):
            chosen.append(int(plane))
    return np.sort(np.array(chosen))


def _at_maxima(flat: torch.Tensor, weight: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Share (B, P) of the maxima of features (B, C, P)."""
    values, places = flat.max(dim=2)
    share = torch.zeros_like(flat[:, 0])
    return share.scatter_add_(1, places, (values - mean) * weight)


def _enlarge(share: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Bring (B, ...) to (B, *shape), keeping the sum: its edges divide those of `shape`."""
    for axis, edge in enumerate(shape, start=1):
        times = edge // share.shape[axis]
        share = share.repeat_interleave(times, dim=axis) / times
    return share


def _fold_padding(total: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Cut (B, ...) to (B, *shape), what is cut off added to the last row of each axis."""
    for axis, edge in enumerate(shape, start=1):
        beyond = total.narrow(axis, edge, total.shape[axis] - edge).sum(axis)
        total = total.narrow(axis, 0, edge).clone()
        total.select(axis, edge - 1).add_(beyond)
    return total


def restoration_picture(columns: Mapping[str, torch.Tensor]) -> bytes:
    """A PNG with a row a picture: corrupted, restored, clean, and what was lifted off.

    Args:
        columns: `corrupted`, `restored` and `clean`, (B, 1, [Z,] Y, X) network units each; of a
            volume the slice is shown in which most was changed.
    """
    if columns["clean"].ndim == 5:
        change = (columns["corrupted"] - columns["clean"]).abs().sum((1, 3, 4))
        rows, planes = torch.arange(len(change), device=change.device), change.argmax(dim=1)
        columns = {title: volumes[rows, :, planes] for title, volumes in columns.items()}
    lifted = columns["corrupted"] - columns["restored"]
    return columns_picture(columns, {"lifted off": lifted})


def columns_picture(
    columns: Mapping[str, torch.Tensor], changes: Mapping[str, torch.Tensor] | None = None
) -> bytes:
    """A PNG with a row a picture and a column an entry.

    Args:
        columns: pictures (B, 1, [Z,] Y, X) in network units, by their titles; of volumes the middle
            slice is shown.
        changes: differences of such pictures, drawn in colours beside them.
    """
    entries = [(title, pictures, False) for title, pictures in columns.items()]
    entries += [(title, pictures, True) for title, pictures in (changes or {}).items()]
    rows = len(entries[0][1])
    figure = Figure(figsize=(2.1 * len(entries), 2.15 * rows), dpi=100, layout="compressed")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, len(entries), squeeze=False)
    for column, (title, pictures, is_change) in enumerate(entries):
        axes[0, column].set_title(title, fontsize=9)
        for row, picture in enumerate(pictures[:, 0].float().cpu().numpy()):
            plane = picture if picture.ndim == 2 else picture[len(picture) // 2]
            if is_change:
                axes[row, column].imshow(plane, cmap="RdBu_r", vmin=-0.4, vmax=0.4)
            else:
                axes[row, column].imshow(plane, cmap="gray", vmin=0, vmax=1)
            axes[row, column].set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
