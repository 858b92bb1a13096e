"""The restoration network: an encoder with a decoder that lifts pseudo-lesions off."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn

from covidssl.networks.contracting import double_convolution
from covidssl.networks.encoder import Encoder, memory_format
from covidssl.networks.plan import LesionMap


class Restored(NamedTuple):
    """What the restoration network says of a batch, each of the pictures' shape, float.

    Attributes:
        unit: the picture without its lesions, network units.
        lesion_logit: how sure it is that a pixel belongs to a lesion; None from a network that
            predicts no lesion map.
    """

    unit: torch.Tensor
    lesion_logit: torch.Tensor | None


class Decoder(nn.Module):
    """Feature maps of all levels -> (B, outputs, ...) of the padded picture's size.

    Each step doubles the size and takes in the skip connection of the level that has it; where the
    first level is smaller than the picture, the last steps have none.
    """

    def __init__(self, encoder: Encoder, outputs: int = 2) -> None:
        super().__init__()
        from monai.networks.blocks.upsample import UpSample  # when it is built, as in `contracting`

        plan, axes = encoder.plan, encoder.plan.dimensions
        skips, widths = _steps(encoder)
        before = (encoder.channels[-1], *widths[:-1])
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
            for deep, shallow in zip(before, widths, strict=True)
        )
        self.blocks = nn.ModuleList(
            double_convolution(plan, width + skip, width)
            for width, skip in zip(widths, skips, strict=True)
        )
        self.last = (nn.Conv2d if axes == 2 else nn.Conv3d)(widths[-1], outputs, kernel_size=1)
        # It starts as the identity: nothing is lifted off until something was learnt.
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)
        self.to(memory_format=memory_format(axes))  # type: ignore[call-overload]

    def forward(
        self, levels: list[torch.Tensor], keep_skips: torch.Tensor | None = None
    ) -> torch.Tensor:
        features = levels[-1]
        for index, (up, block) in enumerate(zip(self.ups, self.blocks, strict=True)):
            features = up(features)
            level = len(levels) - 2 - index
            if level >= 0:
                skip = levels[level]
                if keep_skips is not None:
                    kept = keep_skips[:, level].to(skip.dtype)
                    skip = skip * kept.view(-1, *[1] * (skip.ndim - 1))
                features = torch.cat([features, skip], dim=1)
            features = block(features)
        return self.last(features)


def _steps(encoder: Encoder) -> tuple[list[int], list[int]]:
    """Features of each step's skip connection (0: there is none), and those that come out of it."""
    channels, strides = encoder.channels, encoder.strides
    if any(deep != 2 * shallow for shallow, deep in zip(strides, strides[1:], strict=False)):
        raise ValueError(f"A decoder needs levels that halve each other, got strides {strides}.")
    # The plain path is mirrored. The decoder is thrown away: behind the wide networks it is narrow.
    mirrored = encoder.plan.kind == "unet"
    widths = [n if mirrored else min(n, 16 * s) for n, s in zip(channels, strides, strict=True)]
    more = strides[0].bit_length() - 1
    skips = [*channels[-2::-1], *[0] * more]
    return skips, [*widths[-2::-1], *[min(channels[0] // 2, 16)] * more]


class RestorationUNet(nn.Module):
    """(B, 1, [Z,] Y, X) corrupted, in [0, 1] -> `Restored`; pictures of any size.

    `keep_skips` (B, levels - 1), bool, closes skip connections of single pictures while it learns:
    with all of them open the decoder leans on the shallow levels and the deepest one learns least.

    Attributes:
        encoder: the part that is handed on.
        lesion_map: what the lesion map is predicted from: the decoder's last features, the deepest
            level of the encoder (a coarse map, but one that teaches that level), or not at all.
    """

    def __init__(self, encoder: Encoder, lesion_map: LesionMap = "decoder") -> None:
        super().__init__()
        self.encoder, self.lesion_map = encoder, lesion_map
        self.decoder = Decoder(encoder, outputs=2 if lesion_map == "decoder" else 1)
        if lesion_map == "bottleneck":
            convolution = nn.Conv2d if encoder.plan.dimensions == 2 else nn.Conv3d
            self.lesion_head = convolution(encoder.channels[-1], 1, kernel_size=1)
            for parameter in self.lesion_head.parameters():
                nn.init.zeros_(parameter)

    def forward(self, unit: torch.Tensor, keep_skips: torch.Tensor | None = None) -> Restored:
        levels = self.encoder(unit)
        decoded = self.decoder(levels, keep_skips)
        # What was padded is cut off again.
        here = (slice(None), slice(None), *(slice(edge) for edge in unit.shape[2:]))
        if self.lesion_map == "decoder":
            change, lesion_logit = decoded[here].split(1, dim=1)
            return Restored(unit + change, lesion_logit)
        coarse = self._coarse_map(levels[-1])[here] if self.lesion_map == "bottleneck" else None
        return Restored(unit + decoded[here], coarse)

    def _coarse_map(self, deepest: torch.Tensor) -> torch.Tensor:
        mode = "bilinear" if self.encoder.plan.dimensions == 2 else "trilinear"
        return nn.functional.interpolate(
            self.lesion_head(deepest),
            scale_factor=float(self.encoder.strides[-1]),
            mode=mode,
            align_corners=False,
        )
