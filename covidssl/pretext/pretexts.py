"""What every pretext has: a network that it teaches, and the task that teaches it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict
from torch import nn

from covidssl.hounsfield import Window
from covidssl.networks.encoder import Encoder
from covidssl.pretext.clean import CleanSlices
from covidssl.training import Task


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


class Pretext(BaseModel, ABC):
    """A pretext as a configuration says it; `kind` names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def network(self, encoder: Encoder) -> nn.Module:
        """The network that learns; its part `encoder` is handed on.

        A `RestorationUNet` is kept as well, to lift lesions off.
        """

    @abstractmethod
    def task(self, setting: Setting) -> Task[CleanSlices]:
        """The task as the training loop sees it."""
