"""SimCLR: two views of a picture are more alike than views of different pictures.

Chen et al., "A simple framework for contrastive learning of visual representations" (ICML 2020),
with a batch norm after both layers of the projection as in the authors' code
(github.com/google-research/simclr).
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from covidssl.networks.encoder import Encoder
from covidssl.pretext.contrastive import ContrastivePretext, ContrastiveTask, Projected, TwoViews
from covidssl.pretext.pretexts import Setting
from covidssl.training import Losses


class SimclrPretext(ContrastivePretext):
    """How views are compared.

    Attributes:
        temperature: of the softmax. The authors' code takes 0.5 for CIFAR-10, and 0.1 for ImageNet
            with batches of 4096.
    """

    kind: Literal["simclr"] = "simclr"
    temperature: float = Field(0.5, gt=0)

    def network(self, encoder: Encoder) -> SimclrNetwork:
        return SimclrNetwork(encoder, self.features)

    def task(self, setting: Setting) -> SimclrTask:
        return SimclrTask(self, setting)


class SimclrNetwork(nn.Module):
    """(B, 1, [Z,] Y, X) -> (B, F) of length 1."""

    def __init__(self, encoder: Encoder, features: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = Projected(encoder, features, last_norm=True)

    def forward(self, unit: torch.Tensor) -> torch.Tensor:
        return self.projection(self.encoder(unit)[-1])


def nt_xent(
    first: torch.Tensor, second: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The paper's equation 1, a mean over all 2 B views, and the share of partners found.

    Args:
        first: (B, F) features of length 1, of one view.
        second: of the other view of the same pictures.
        temperature: of the softmax.
    """
    views = torch.cat([first, second]).float()
    with torch.autocast(views.device.type, enabled=False):
        alike = views @ views.T / temperature
    alike.fill_diagonal_(float("-inf"))
    partner = torch.arange(len(views), device=views.device).roll(len(first))
    found = (alike.argmax(1) == partner).to(torch.float32).mean()
    return nn.functional.cross_entropy(alike, partner), found


class SimclrTask(ContrastiveTask):
    """The pretext as the training loop sees it."""

    def __init__(self, plan: SimclrPretext, setting: Setting) -> None:
        super().__init__(plan, setting)
        self.temperature = plan.temperature

    def loss(self, network: nn.Module, examples: TwoViews) -> Losses:
        """NT-Xent of the whole batch."""
        first, second = network(torch.cat(examples)).chunk(2)
        loss, found = nt_xent(first, second, self.temperature)
        return Losses(loss, {"accuracy": found})
