"""The architecture of an encoder, as configurations and cards say it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["unet", "resnet18", "resnet50", "densenet121", "light"]
Dimensions = Literal[2, 3]

UNET_CHANNELS = (16, 32, 64, 96, 128)


class EncoderPlan(BaseModel):
    """Architecture of an encoder; written in its card, so that it can be built again.

    Attributes:
        kind: the family; `unet` is the plain contracting path (Ronneberger et al. 2015).
        dimensions: 2 for slices, 3 for volumes.
        channels: features of each level, shallow first; of `unet` they are free, the others' are
            their own and may be left out.
        norm: `group` keeps a picture's features independent of the batch it is in; `batch` is for
            weights that were trained with it.
        groups: groups of each GroupNorm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind = "unet"
    dimensions: Dimensions = 2
    channels: tuple[int, ...] = Field(UNET_CHANNELS, min_length=2)
    norm: Literal["group", "batch"] = "group"
    groups: int = Field(8, ge=1)

    @model_validator(mode="after")
    def _groups_are_whole(self) -> Self:
        wrong = [n for n in self.channels if n < 1 or n % min(self.groups, n)]
        if wrong:
            raise ValueError(f"{wrong[0]} channels cannot be cut into {self.groups} groups")
        return self
