"""One graph from pixels to a probability: window, size, network and calibration in one module."""

from __future__ import annotations

import torch
from torch import nn

from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.model import Model, ModelCard
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder

GREY_LEVELS = (0.0, 255.0)


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
        self.scale, self.bias = card.calibration.scale, card.calibration.bias
        self.has_attention = card.head.kind == "attention"

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        unit = ((pixels - self.low) / (self.high - self.low)).clamp(0.0, 1.0)
        found = self.classifier.scores(self._resized(unit))
        probability = torch.sigmoid(self.scale * found.logit + self.bias)
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
