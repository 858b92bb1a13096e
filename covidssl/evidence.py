"""Why the classifier said so, and what the restoration network would lift off: two maps."""

from __future__ import annotations

import io

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.unet import RestorationUNet

Pictures = NDArray[np.float32]


@torch.no_grad()
def class_evidence(network: CovidClassifier, unit: torch.Tensor) -> torch.Tensor:
    """What each pixel adds to the logit: (B, 1, H, W) -> (B, H, W), in logits a pixel.

    The head is linear in the pooled features of all levels, so the logit is a sum over pixels,
    exactly (class activation mapping, Zhou et al. 2016, over every level): a mean spreads its
    share over its level's pixels, a maximum lays its share on the one pixel that it came from.
    The sum over a picture is its logit less the head's bias.
    """
    network.eval()
    height, width = unit.shape[2:]
    weight = network.head.weight[0] / network.feature_scale
    total = torch.zeros((len(unit), height, width), device=unit.device)
    first = 0
    for features in network.encoder(unit):
        channels = features.shape[1]
        middle, top = first + channels, first + 2 * channels
        means, maxima = weight[first:middle], weight[middle:top]
        pixels = features.shape[2] * features.shape[3]
        centred = features - network.feature_mean[first:middle, None, None]
        share = torch.einsum("c,bchw->bhw", means, centred) / pixels
        share = share + _at_maxima(features, maxima, network.feature_mean[middle:top])
        total += _enlarge(share, height, width)
        first = top
    return total


@torch.no_grad()
def lifted_off(network: RestorationUNet, unit: torch.Tensor, lungs: torch.Tensor) -> torch.Tensor:
    """Density that the restoration network takes off inside the lungs.

    Args:
        network: the restoration network.
        unit: (B, 1, H, W) frames in network units.
        lungs: (B, 1, H, W) bool.

    Returns:
        (B, H, W) network units, 0 or more.
    """
    network.eval()
    removed = (unit - network(unit).unit).clamp_min(0.0) * lungs
    return removed[:, 0]


def evidence_picture(
    frames: Pictures, evidence: Pictures, lifted: Pictures | None, captions: list[str]
) -> bytes:
    """A PNG with a row a slice: the frame, the classifier's evidence, what would be lifted off.

    Args:
        frames: (N, H, W) network units.
        evidence: (N, H, W) logits a pixel; warm colours speak for the positive class.
        lifted: (N, H, W) network units; None without a restoration network.
        captions: one a slice.
    """
    columns = 2 if lifted is None else 3
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
        if lifted is not None:
            panels[2].imshow(
                lifted[row],
                cmap="inferno",
                vmin=0,
                vmax=0.35,
                alpha=np.clip(lifted[row] / 0.1, 0, 0.8),
            )
            panels[2].set_title("lifted off by the restoration", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _at_maxima(features: torch.Tensor, weight: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    flat = features.flatten(2)
    values, places = flat.max(dim=2)
    share = torch.zeros_like(flat[:, 0])
    share.scatter_add_(1, places, (values - mean) * weight)
    return share.view(len(features), *features.shape[2:])


def _enlarge(share: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Bring (B, h, w) to (B, height, width), keeping the sum: h and w divide them."""
    rows, columns = height // share.shape[1], width // share.shape[2]
    spread = share.repeat_interleave(rows, dim=1).repeat_interleave(columns, dim=2)
    return spread / (rows * columns)


def restoration_picture(
    corrupted: torch.Tensor, restored: torch.Tensor, clean: torch.Tensor
) -> bytes:
    """A PNG with a row a slice: corrupted, restored, clean, and what was lifted off.

    Args:
        corrupted, restored, clean: (B, 1, H, W) network units.
    """
    titles = ("corrupted", "restored", "clean", "lifted off")
    figure = Figure(figsize=(8.4, 2.15 * len(clean)), dpi=100, layout="compressed")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(clean), len(titles), squeeze=False)
    for row, panels in enumerate(axes):
        shown = [picture[row, 0].float().numpy() for picture in (corrupted, restored, clean)]
        for panel, picture in zip(panels, shown, strict=False):
            panel.imshow(picture, cmap="gray", vmin=0, vmax=1)
        panels[-1].imshow(shown[0] - shown[1], cmap="RdBu_r", vmin=-0.4, vmax=0.4)
        for panel, title in zip(panels, titles, strict=True):
            panel.set_axis_off()
            if row == 0:
                panel.set_title(title, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()
