"""What every pretext has: a network that it teaches, and the task that teaches it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from covidssl.augment import AugmentRanges
from covidssl.hounsfield import Window
from covidssl.networks.encoder import Encoder
from covidssl.pretext.clean import CleanSlices
from covidssl.pretext.patches import Patch, cut_patches
from covidssl.training import Share, Task, TrainingPlan

# As wide as the public sets differ: their lungs lie at grey values from 28 to 107 of 255. All
# pretexts begin with the same pictures, so that arms differ in what is asked of them alone.
AS_SETS_DIFFER = AugmentRanges(window_low_hu=(-1600.0, -950.0), window_high_hu=(100.0, 450.0))


class Setting(NamedTuple):
    """What a task must know of the run that it is in.

    Attributes:
        window_hu: of the frames; windowed pictures are taken for ones seen through it.
        levels: of the encoder.
        seed: of the run.
    """

    window_hu: Window
    levels: int
    seed: int


class Course(NamedTuple):
    """What the rest of a configuration says.

    Attributes:
        frame: its shape, (Y, X) or (Z, Y, X).
        levels: of the encoder.
        training: batch and parts.
    """

    frame: tuple[int, ...]
    levels: int
    training: TrainingPlan


class PretextTask(Task[CleanSlices], Protocol):
    """A task that can also show what it is about."""

    def shown(self, network: nn.Module, examples: Any, /) -> dict[str, torch.Tensor]:
        """Pictures (B, 1, [Z,] Y, X) to look at, by their titles."""


class Pretext(BaseModel, ABC):
    """A pretext as a configuration says it; `kind` names it.

    Attributes:
        patch: voxels (z, y, x) of the patch that is learnt from, of volumes alone; None: the
            whole frame.
        needs_whole_batch: whether pictures of a batch are compared with each other, so that it
            can neither be accumulated in parts nor shared between processes.
        teaches: whether anything is learnt at all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    needs_whole_batch: ClassVar[bool] = False
    teaches: ClassVar[bool] = True

    patch: Patch | None = None

    @abstractmethod
    def network(self, encoder: Encoder) -> nn.Module:
        """The network that learns; its part `encoder` is handed on.

        A `RestorationUNet` is kept as well.
        """

    @abstractmethod
    def task(self, setting: Setting, /) -> PretextTask:
        """The task as the training loop sees it."""

    def cut(self, slices: CleanSlices, setting: Setting, share: Share) -> CleanSlices:
        """The part of the frames that one step learns from."""
        return cut_patches(CleanSlices(*slices), self.patch, setting.seed, share)

    def largest_batch(self, pictures: int) -> int:
        """The largest batch that can be learnt from, of so many pictures."""
        return pictures

    def shortage(self, pictures: int, batch: int) -> str:
        """Why a batch of this size cannot be learnt from on so few pictures, in words."""
        if self.needs_whole_batch and pictures < batch:
            return (
                f"there are {pictures} pictures to learn from, fewer than training.batch_size "
                f"{batch}: a batch would hold some of them more than once, and this pretext would "
                f"tell a picture from itself. Give more, or set training.batch_size={pictures} or "
                f"less"
            )
        return ""

    def misfits(self, course: Course) -> list[str]:
        """What does not go with the rest of a configuration, in words that name the keys."""
        frame, _, training = course
        found = []
        if self.patch is not None and len(frame) == 2:
            found.append("pretext.patch is of volumes: set frame.depth too, or leave it out")
        elif self.patch is not None and any(
            not 8 <= edge <= most for edge, most in zip(self.patch, frame, strict=True)
        ):
            found.append(
                f"pretext.patch {list(self.patch)} must be at least 8 voxels and at most the frame "
                f"{list(frame)} along every axis"
            )
        if self.needs_whole_batch and training.accumulate > 1:
            found.append(
                "this pretext compares the pictures of a batch with each other, so that it cannot "
                "come in parts: set training.accumulate=1, and a smaller training.batch_size where "
                "memory is short"
            )
        if self.needs_whole_batch and training.batch_size < 2:
            found.append("training.batch_size must be at least 2: pictures are compared")
        return found
