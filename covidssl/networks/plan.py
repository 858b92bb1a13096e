"""The architecture of an encoder, as configurations and cards say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["unet", "resnet18", "resnet50", "densenet121", "light", "genesis"]
Dimensions = Literal[2, 3]
LesionMap = Literal["decoder", "bottleneck", "none"]
"""What a restoration network predicts the lesion map from, if at all."""

UNET_CHANNELS = (16, 32, 64, 96, 128)
MOST_LEVELS = 10
"""The deepest level of so many is 512 times smaller than the picture."""

Width = Annotated[int, Field(ge=1, le=4096)]
"""Features of a layer; no network of pictures is wider."""


class Built(NamedTuple):
    """An architecture whose widths are its own.

    Attributes:
        channels: features of each level, shallow first.
        width_step: every layer's width is a multiple of it; groups of a norm must divide it.
    """

    channels: tuple[int, ...]
    width_step: int


BUILT: Mapping[str, Built] = {
    "resnet18": Built((64, 64, 128, 256, 512), 64),
    "resnet50": Built((64, 256, 512, 1024, 2048), 64),
    "densenet121": Built((64, 256, 512, 1024, 1024), 32),
    "light": Built((16, 32, 64, 96, 128), 8),
    "genesis": Built((64, 128, 256, 512), 32),
}


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
    channels: tuple[Width, ...] = Field(UNET_CHANNELS, min_length=2, max_length=MOST_LEVELS)
    norm: Literal["group", "batch"] = "group"
    groups: int = Field(8, ge=1, le=4096)

    @model_validator(mode="before")
    @classmethod
    def _own_channels_may_be_left_out(cls, values: Any) -> Any:
        built = isinstance(values, Mapping) and BUILT.get(str(values.get("kind")))
        return {"channels": built.channels} | dict(values) if built else values

    @model_validator(mode="after")
    def _channels_are_its_own(self) -> Self:
        if self.kind in BUILT and self.channels != BUILT[self.kind].channels:
            raise ValueError(
                f"channels of {self.kind} are {list(BUILT[self.kind].channels)} and cannot be "
                f"chosen: leave 'channels' out, or take kind unet (it says {list(self.channels)})"
            )
        return self

    @model_validator(mode="after")
    def _groups_are_whole(self) -> Self:
        if self.kind in BUILT:
            step = BUILT[self.kind].width_step
            wrong = [step] if step % self.groups else []
        else:
            wrong = [n for n in self.channels if n < 1 or n % min(self.groups, n)]
        if wrong:
            raise ValueError(f"{wrong[0]} channels cannot be cut into {self.groups} groups")
        return self
