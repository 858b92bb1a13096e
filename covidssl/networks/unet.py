"""The restoration network: an encoder with a decoder that lifts pseudo-lesions off."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from covidssl.networks.contracting import double_convolution
from covidssl.networks.encoder import Encoder, memory_format


class Restored(NamedTuple):
    """What the restoration network says of a batch, each of the pictures' shape, float.

    Attributes:
        unit: the picture without its lesions, network units.
        lesion_logit: how sure it is that a pixel belongs to a lesion.
    """

    unit: torch.Tensor
    lesion_logit: torch.Tensor


class Decoder(nn.Module):
    """Feature maps of all levels -> (B, 2, ...): what to add to the picture, a lesion logit."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        from monai.networks.blocks.upsample import UpSample  # when it is built, as in `contracting`

        plan, channels = encoder.plan, encoder.channels
        axes = plan.dimensions
        steps = list(zip(channels[:0:-1], channels[-2::-1], strict=True))
        self.ups = nn.ModuleList(
            UpSample(
                axes,
                deep,
                shallow,
                scale_factor=2,
                mode="nontrainable",
                interp_mode="linear",
                align_corners=False,
            )
            for deep, shallow in steps
        )
        self.blocks = nn.ModuleList(
            double_convolution(plan, 2 * shallow, shallow) for _, shallow in steps
        )
        self.last = (nn.Conv2d if axes == 2 else nn.Conv3d)(channels[0], 2, kernel_size=1)
        # It starts as the identity: nothing is lifted off until something was learnt.
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)
        self.to(memory_format=memory_format(axes))  # type: ignore[call-overload]

    def forward(
        self, levels: list[torch.Tensor], keep_skips: torch.Tensor | None = None
    ) -> torch.Tensor:
        features = levels[-1]
        for index, (up, block) in enumerate(zip(self.ups, self.blocks, strict=True)):
            level = len(levels) - 2 - index
            skip = levels[level]
            if keep_skips is not None:
                kept = keep_skips[:, level].to(skip.dtype)
                skip = skip * kept.view(-1, *[1] * (skip.ndim - 1))
            features = block(torch.cat([up(features), skip], dim=1))
        return self.last(features)


class RestorationUNet(nn.Module):
    """(B, 1, [Z,] Y, X) corrupted, in [0, 1] -> `Restored`; pictures of any size.

    `keep_skips` (B, levels - 1), bool, closes skip connections of single pictures while it learns:
    with all of them open the decoder leans on the shallow levels and the deepest one learns least.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = Decoder(encoder)

    def forward(self, unit: torch.Tensor, keep_skips: torch.Tensor | None = None) -> Restored:
        decoded = self.decoder(self.encoder(unit), keep_skips)
        here = (..., *(slice(edge) for edge in unit.shape[2:]))
        change, lesion_logit = decoded[here].split(1, dim=1)
        return Restored(unit + change, lesion_logit)
