"""MoCo v2: a view is told from a queue of other pictures' views, by a slowly following encoder.

He et al., "Momentum contrast for unsupervised visual representation learning" (CVPR 2020), with the
projection head and blur of Chen et al., "Improved baselines with momentum contrastive learning"
(2020). With batch norm a key would tell by its batch's statistics which query it belongs to. The
papers shuffle batches between devices against that; here there is one device, and keys are normed
by statistics that follow those of the query's branch, as its weights do (Cai et al., "Exponential
moving average normalization for self-supervised and semi-supervised learning", CVPR 2021): a key
depends on its own picture alone.
"""

from __future__ import annotations

import copy
from typing import Literal, NamedTuple, Self

import torch
from pydantic import Field
from torch import nn

from covidssl.networks.encoder import Encoder
from covidssl.pretext.contrastive import ContrastivePretext, ContrastiveTask, Projected, TwoViews
from covidssl.pretext.pretexts import Course, Setting
from covidssl.training import Losses

_FORGETTING = 4
"""Until their momentum is reached, statistics are means over steps with weights rising as the
step's number to one less than this: after 50 steps 3 % of the first ones are left."""


class MocoPretext(ContrastivePretext):
    """How views are compared.

    Attributes:
        temperature: of the softmax.
        momentum: share of itself that the following encoder keeps at each step.
        queue: keys of earlier steps that a view is told from; fewer than there are pictures, or
            each would be told from its own key of before. The paper's 65 536 are for millions.
    """

    kind: Literal["moco"] = "moco"
    temperature: float = Field(0.2, gt=0)
    momentum: float = Field(0.999, ge=0, lt=1)
    queue: int = Field(256, ge=2)

    def network(self, encoder: Encoder) -> MocoNetwork:
        return MocoNetwork(encoder, self)

    def task(self, setting: Setting) -> MocoTask:
        return MocoTask(self, setting)

    def largest_batch(self, pictures: int) -> int:
        return min(pictures, self.queue)

    def shortage(self, pictures: int, batch: int) -> str:
        few = super().shortage(pictures, batch)
        if few or self.queue < pictures:
            return few
        return (
            f"pretext.queue {self.queue} is not shorter than the {pictures} pictures to learn "
            f"from: every picture would be told from its own key of before. Give more, or set "
            f"pretext.queue to less than {pictures}, and training.batch_size to no more than that"
        )

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
        self.train(self.training)
        first = nn.functional.normalize(torch.randn(plan.queue, plan.features), dim=1)
        self.register_buffer("queue", first)
        self.register_buffer("enqueued", torch.zeros((), dtype=torch.int64))

    def train(self, mode: bool = True) -> Self:
        """As any module's; the key branch stays as in use, so that no batch norms its keys."""
        super().train(mode)
        self.key_encoder.eval()
        self.key_projection.eval()
        return self

    def forward(self, first: torch.Tensor, second: torch.Tensor) -> Compared:
        query = self.projection(self.encoder(first)[-1])
        with torch.no_grad():
            if self.training:
                self._follow(len(first))
            key = self.key_projection(self.key_encoder(second)[-1])
            earlier = self.queue.clone()
            if self.training:
                self._enqueue(key)
        return Compared(query, key, earlier)

    def _follow(self, pictures: int) -> None:
        # At first all the way: the encoder may have been given weights since it was copied.
        share = torch.where(self.enqueued == 0, 1.0, 1.0 - self.momentum)
        # Statistics begin at 0 and 1, far from what they will be: their beginning is forgotten.
        steps = self.enqueued / pictures
        newest = (_FORGETTING / (_FORGETTING + steps)).clamp_min(1.0 - self.momentum)
        for following, led in (
            (self.key_encoder, self.encoder),
            (self.key_projection, self.projection),
        ):
            for mine, its in zip(following.parameters(), led.parameters(), strict=True):
                mine.lerp_(its, share.to(mine.dtype))
            for held, new in zip(following.buffers(), led.buffers(), strict=True):
                if held.is_floating_point():
                    held.lerp_(new, newest.to(held.dtype))
                else:
                    held.copy_(new)

    def _enqueue(self, key: torch.Tensor) -> None:
        """The newest keys take the places of the oldest."""
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
