"""What pretexts that compare views of a picture share: two views, and projected features."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, NamedTuple

import torch
from pydantic import Field
from torch import nn

from covidssl.augment import AugmentRanges
from covidssl.networks.encoder import Encoder
from covidssl.pretext.clean import CleanSlices
from covidssl.pretext.pretexts import Pretext, Setting
from covidssl.pretext.views import Blur, blurred, seen
from covidssl.training import Losses, Share

_VIEW_STREAM, _BLUR_STREAM = 86, 87

# Crop and resize becomes zoom and shift, colour becomes the window: a CT has no other colour.
VIEWS = AugmentRanges(
    zoom=(1.0, 2.0), shift=0.15, window_low_hu=(-1600.0, -950.0), window_high_hu=(100.0, 450.0)
)


class ContrastivePretext(Pretext):
    """Two views of every picture, drawn alike.

    Attributes:
        augment: how a view is moved and windowed.
        blur: how a view is blurred.
        features: of the projection that is compared.
    """

    needs_whole_batch: ClassVar[bool] = True

    augment: AugmentRanges = VIEWS
    blur: Blur = Blur()
    features: int = Field(128, ge=2)

    @abstractmethod
    def task(self, setting: Setting) -> ContrastiveTask: ...


class TwoViews(NamedTuple):
    """Two views of every picture, each (B, 1, [Z,] Y, X) in network units."""

    first: torch.Tensor
    second: torch.Tensor


class Projected(nn.Module):
    """Deepest level, averaged, through two linear layers: (B, C, ...) -> (B, F) of length 1.

    Batch norm stands in it although the encoders have none by default: without it all features
    became the same, and the loss stayed where it began (trial on CT slices, learning rate 2e-3).
    """

    def __init__(self, encoder: Encoder, features: int, last_norm: bool) -> None:
        super().__init__()
        width = encoder.channels[-1]
        self.layers = nn.Sequential(
            nn.Linear(width, width, bias=False),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, features, bias=not last_norm),
            nn.BatchNorm1d(features, affine=False) if last_norm else nn.Identity(),
        )

    def forward(self, deepest: torch.Tensor) -> torch.Tensor:
        projected = self.layers(deepest.flatten(2).mean(2))
        return nn.functional.normalize(projected.float(), dim=1)


class ContrastiveTask:
    """Views of one step; what they are compared by is the network's and the kind's own."""

    parts: tuple[str, ...] = ("accuracy",)

    def __init__(self, plan: ContrastivePretext, setting: Setting) -> None:
        self.plan, self.setting = plan, setting

    def examples(self, batch: CleanSlices, share: Share) -> TwoViews:
        """Two views of every picture of one step."""
        plan, seed = self.plan, self.setting.seed
        slices = plan.cut(batch, self.setting, share)
        return TwoViews(
            *(
                blurred(
                    seen(slices, plan.augment, self.setting, (_VIEW_STREAM, view), share),
                    plan.blur, seed, (_BLUR_STREAM, view), share,
                )
                for view in range(2)
            )
        )  # fmt: skip

    @abstractmethod
    def loss(self, network: nn.Module, examples: TwoViews) -> Losses:
        """What comparing the views costs."""

    def shown(self, _network: nn.Module, examples: TwoViews) -> dict[str, torch.Tensor]:
        """The two views."""
        return {"one view": examples.first, "the other": examples.second}
