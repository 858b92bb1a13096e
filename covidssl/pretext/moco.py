"""MoCo v2: a view is told from a queue of other pictures' views, by a slowly following encoder.

He et al., "Momentum contrast for unsupervised visual representation learning" (CVPR 2020), with the
projection head and blur of Chen et al., "Improved baselines with momentum contrastive learning"
(2020). The papers' batch norm is in the encoder, and batches are shuffled between devices so that
it does not tell a view's partner; here it is in the projection alone, and there is one device.
"""

from __future__ import annotations

import copy
from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import nn

from covidssl.networks.encoder import Encoder
from covidssl.pretext.contrastive import ContrastivePretext, ContrastiveTask, Projected, TwoViews
from covidssl.pretext.pretexts import Course, Setting
from covidssl.training import Losses


class MocoPretext(ContrastivePretext):
    """How views are compared.

    Attributes:
        temperature: of the softmax.
        momentum: share of itself that the following encoder keeps at each step.
        queue: keys of earlier steps that a view is told from. The paper's 65 536 would hold every
            slice of a small store many times over, as its own negative.
    """

    kind: Literal["moco"] = "moco"
    temperature: float = Field(0.2, gt=0)
    momentum: float = Field(0.999, ge=0, lt=1)
    queue: int = Field(1024, ge=2)

    def network(self, encoder: Encoder) -> MocoNetwork:
        return MocoNetwork(encoder, self)

    def task(self, setting: Setting) -> MocoTask:
        return MocoTask(self, setting)

    def misfits(self, course: Course) -> list[str]:
        found = super().misfits(course)
        step = course.training.batch_size
        if step > self.queue:
            found.append(
                f"pretext.queue {self.queue} must hold at least the {step} keys of one step "
                f"(training.batch_size)"
            )
        return found


class Compared(NamedTuple):
    """Features of length 1: of one view (B, F), the other (B, F), earlier pictures (K, F)."""

    query: torch.Tensor
    key: torch.Tensor
    queue: torch.Tensor


class MocoNetwork(nn.Module):
    """Two views -> `Compared`. While it is trained, every call moves the key encoder and the queue.

    The key encoder, the queue and how many keys ever came into it are part of the state, so that a
    resumed run goes on with them; no gradient reaches them.
    """

    queue: torch.Tensor
    enqueued: torch.Tensor

    def __init__(self, encoder: Encoder, plan: MocoPretext) -> None:
        super().__init__()
        self.momentum = plan.momentum
        self.encoder = encoder
        self.projection = Projected(encoder, plan.features, last_norm=False)
        self.key_encoder = copy.deepcopy(encoder).requires_grad_(False)
        self.key_projection = copy.deepcopy(self.projection).requires_grad_(False)
        first = nn.functional.normalize(torch.randn(plan.queue, plan.features), dim=1)
        self.register_buffer("queue", first)
        self.register_buffer("enqueued", torch.zeros((), dtype=torch.int64))

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> Compared:
        query = self.projection(self.encoder(first)[-1])
        with torch.no_grad():
            if self.training:
                self._follow()
            key = self.key_projection(self.key_encoder(second)[-1])
            earlier = self.queue.clone()
            if self.training:
                self._enqueue(key)
        return Compared(query, key, earlier)

    def _follow(self) -> None:
        # At first all the way: the encoder may have been given weights since it was copied.
        share = torch.where(self.enqueued == 0, 1.0, 1.0 - self.momentum)
        for following, led in (
            (self.key_encoder, self.encoder),
            (self.key_projection, self.projection),
        ):
            for mine, its in zip(following.parameters(), led.parameters(), strict=True):
                mine.lerp_(its, share.to(mine.dtype))

    def _enqueue(self, key: torch.Tensor) -> None:
        """The newest keys take the places of the oldest."""
        key = key[: len(self.queue)]  # a batch that was enlarged to fit the memory may hold more
        places = (self.enqueued + torch.arange(len(key), device=key.device)) % len(self.queue)
        self.queue[places] = key.to(self.queue.dtype)
        self.enqueued += len(key)


def info_nce(compared: Compared, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The first paper's equation 1, a mean over pictures, and the share of partners found."""
    query, key, queue = (features.float() for features in compared)
    with torch.autocast(query.device.type, enabled=False):
        right = (query * key).sum(1, keepdim=True)
        logits = torch.cat([right, query @ queue.T], dim=1) / temperature
    partner = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    # Where all features are the same, no partner is found.
    found = (logits[:, 0] > logits[:, 1:].amax(1)).to(torch.float32).mean()
    return nn.functional.cross_entropy(logits, partner), found


class MocoTask(ContrastiveTask):
    """The pretext as the training loop sees it."""

    def __init__(self, plan: MocoPretext, setting: Setting) -> None:
        super().__init__(plan, setting)
        self.temperature = plan.temperature

    def loss(self, network: nn.Module, examples: TwoViews) -> Losses:
        """InfoNCE of the whole batch against the queue."""
        loss, found = info_nce(network(examples.first, examples.second), self.temperature)
        return Losses(loss, {"accuracy": found})
