"""One graph from pixels to a probability: window, size, network and calibration in one module."""

from __future__ import annotations

import torch
from torch import nn

from covidssl.calibration import Calibration
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.model import Model, ModelCard
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder

GREY_LEVELS = (0.0, 255.0)


class Calibrated(nn.Module):
    """Logits (B,) -> calibrated probabilities (B,), as `Calibration.probability`."""

    left: torch.Tensor
    width: torch.Tensor
    rise: torch.Tensor

    def __init__(self, calibration: Calibration) -> None:
        super().__init__()
        self.scale, self.bias = calibration.scale, calibration.bias
        self.has_knots = bool(calibration.knots)
        if not self.has_knots:
            return
        at, given = torch.tensor(calibration.knots, dtype=torch.float64).T
        # No part of the weights: files of these hold the network's alone.
        for name, values in (("left", at[:-1]), ("width", at.diff()), ("rise", given.diff())):
            self.register_buffer(name, values.float(), persistent=False)
        self.lowest = float(given[0])

    def forward(self, logit: torch.Tensor) -> torch.Tensor:
        if not self.has_knots:
            return torch.sigmoid(self.scale * logit + self.bias)
        share = ((logit[:, None] - self.left) / self.width).clamp(0.0, 1.0)
        return self.lowest + (share * self.rise).sum(dim=1)


class Scorer(nn.Module):
    """(B, 1, [Z,] Y, X) pixels -> logit, probability and, of an attention head, attention: (B,).

    Pixels are HU, or grey values 0..255 of a model of windowed slices, as float32: crops about the
    lungs of any size, which are windowed first and then resized, as frames are. Each frame is
    answered for by itself; how frames become a scan's answer is said beside the graph.
    """

    def __init__(self, classifier: CovidClassifier, card: ModelCard) -> None:
        super().__init__()
        self.classifier = classifier
        self.frame = card.frame
        self.low, self.high = levels_of(card.frame)
        self.calibrated = Calibrated(card.calibration)
        self.has_attention = card.head.kind == "attention"

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        unit = ((pixels - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
        found = self.classifier.scores(self._resized(unit))
        probability = self.calibrated(found.logit)
        more = (found.attention,) if self.has_attention else ()
        return (found.logit, probability, *more)

    def _resized(self, unit: torch.Tensor) -> torch.Tensor:
        """In-plane, and of a volume then along the body, each with anti-aliasing."""
        square = (self.frame.size, self.frame.size)
        depth = self.frame.depth
        if depth is None:
            return _resize(unit, square)
        planes = unit.flatten(0, 2)[:, None]
        rows = _resize(planes, square).reshape(unit.shape[0], 1, unit.shape[2], -1)
        return _resize(rows, (depth, self.frame.size**2)).reshape(-1, 1, depth, *square)


def _resize(unit: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    resized = nn.functional.interpolate(
        unit, size=size, mode="bilinear", antialias=True, align_corners=False
    )
    return resized.clamp(0.0, 1.0)


def levels_of(frame: Frame) -> tuple[float, float]:
    """The pixel values that become 0 and 1."""
    return frame.window_hu if frame.pixels is Pixels.HU else GREY_LEVELS


def scorer_of(model: Model) -> Scorer:
    """The graph of a loaded model, on the CPU."""
    return Scorer(model.to(torch.device("cpu")).classifier, model.card).eval()


def built_classifier(card: ModelCard) -> CovidClassifier:
    """The classifier of a card, with weights as they are first drawn."""
    return CovidClassifier(build_encoder(card.encoder), card.head)
