"""No pretext: the encoder keeps its first weights; what every other pretext must beat."""

from __future__ import annotations

from typing import ClassVar, Literal, NoReturn

from torch import nn

from covidssl.errors import UsageError
from covidssl.networks.encoder import Encoder
from covidssl.pretext.pretexts import Pretext, Setting


class NoPretext(Pretext):
    """Nothing is learnt: the encoder is written as it was drawn."""

    teaches: ClassVar[bool] = False

    kind: Literal["none"] = "none"

    def network(self, encoder: Encoder) -> Untaught:
        return Untaught(encoder)

    def task(self, _setting: Setting) -> NoReturn:
        raise UsageError("pretext.kind none teaches nothing: there is no step to take.")


class Untaught(nn.Module):
    """An encoder alone."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder
