"""Models Genesis: restore a picture whose intensities, texture and parts were spoilt.

Zhou et al., "Models Genesis", Medical Image Analysis 67 (2021) 101840, with the chances and sizes
of the authors' public code (github.com/MrGiovanni/ModelsGenesis, `pytorch/utils.py`): non-linear
intensity by a Bezier curve (0.9), local shuffling (0.5), painting (0.9: inside 0.2, outside 0.8),
mean squared error.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from pydantic import Field
from torch import nn

from covidssl.augment import AugmentRanges
from covidssl.intensity import STEPS, bend
from covidssl.networks.encoder import Encoder
from covidssl.networks.unet import RestorationUNet
from covidssl.pretext.clean import CleanSlices
from covidssl.pretext.pretexts import AS_SETS_DIFFER, Pretext, Setting
from covidssl.pretext.restoring import RestorationBatch, RestorationLoss, restored_beside
from covidssl.pretext.scatter import scatter_bits, scatter_unit, seeds_of
from covidssl.pretext.views import seen
from covidssl.randomness import torch_generator
from covidssl.training import Losses, Share

_AUGMENT_STREAM, _SPOIL_STREAM = 81, 82
_CURVE_POINTS, _TABLE = 1000, STEPS
_BOXES, _GOES_ON, _BORDER = 5, 0.95, 3


class ModelsGenesisPretext(Pretext):
    """What may be done to a picture.

    Attributes:
        augment: how pictures are moved and windowed before.
        nonlinear: chance that intensities go through a monotone curve, rising or falling.
        shuffle: chance that pixels change places within small blocks.
        paint: chance that parts are painted over with noise.
        inside: share of the painted pictures of which boxes are painted over; of the others all
            but boxes is.
    """

    kind: Literal["models_genesis"] = "models_genesis"
    augment: AugmentRanges = AS_SETS_DIFFER
    nonlinear: float = Field(0.9, ge=0, le=1)
    shuffle: float = Field(0.5, ge=0, le=1)
    paint: float = Field(0.9, ge=0, le=1)
    inside: float = Field(0.2, ge=0, le=1)

    def network(self, encoder: Encoder) -> RestorationUNet:
        return RestorationUNet(encoder, "none")

    def task(self, setting: Setting) -> ModelsGenesisTask:
        return ModelsGenesisTask(self, setting)


class Spoiling(NamedTuple):
    """One draw a picture of D axes.

    Attributes:
        curve: (B, 1025) new intensity of each old one, evenly from 0 to 1.
        shuffles: (B,) bool, whether pixels change places.
        block: (B, D, longest edge) along each axis, in which row of blocks a pixel lies.
        seeds: (B, 2) of the shuffling and of the noise.
        paints: (B,) 0: nothing, 1: the boxes, 2: all but the boxes.
        start: (B, 5, D) first pixel of each box.
        end: (B, 5, D) the pixel after its last; `start` for a box that is not used.
    """

    curve: torch.Tensor
    shuffles: torch.Tensor
    block: torch.Tensor
    seeds: torch.Tensor
    paints: torch.Tensor
    start: torch.Tensor
    end: torch.Tensor


def sample_spoiling(
    plan: ModelsGenesisPretext, generator: torch.Generator, n: int, shape: tuple[int, ...]
) -> Spoiling:
    """Draw `n` ways to spoil a picture of a shape ([Z,] Y, X) from a CPU generator.

    A draw does not depend on how many follow it.
    """
    axes, longest = len(shape), max(shape)
    columns = (3, 2, 6, _BOXES * (1 + 2 * axes), axes * longest)
    # In one call: the rows of a second one would depend on how many the first one had.
    draw = torch.rand((n, sum(columns)), generator=generator, dtype=torch.float64)
    chance, seeds, curves, boxes, blocks = draw.split(columns, dim=1)
    inside = chance[:, 2] < plan.inside
    paints = torch.where(inside, 1, 2) * (chance[:, 1] < plan.paint)
    start, end = _boxes(boxes.view(n, _BOXES, -1), shape, inside)
    return Spoiling(
        curve=_curves(curves, plan.nonlinear),
        shuffles=chance[:, 0] < plan.shuffle,
        block=_blocks(blocks.view(n, axes, longest), shape),
        seeds=seeds_of(seeds),
        paints=paints,
        start=start,
        end=end,
    )


def spoil(unit: torch.Tensor, params: Spoiling) -> torch.Tensor:
    """Shuffle, bend intensities and paint, in this order: (B, 1, [Z,] Y, X) in [0, 1]."""
    shape, pixel = tuple(unit.shape[2:]), (-1, *[1] * (unit.ndim - 1))
    shuffled = shuffle_in_blocks(unit, params.block, params.seeds[:, 0])
    texture = torch.where(params.shuffles.to(unit.device).view(pixel), shuffled, unit)
    bent = bend(texture, params.curve)
    noise = scatter_unit(params.seeds[:, 1], shape, unit.device)
    in_box = _in_any_box(params, shape, unit.device)
    paints = params.paints.to(unit.device).view(pixel)
    painted = ((paints == 1) & in_box) | ((paints == 2) & ~in_box)
    return torch.where(painted, noise, bent)


def shuffle_in_blocks(unit: torch.Tensor, block: torch.Tensor, seeds: torch.Tensor) -> torch.Tensor:
    """Let pixels (B, 1, [Z,] Y, X) change places within blocks (B, D, longest edge) at random.

    Every block keeps its values: it is a permutation.
    """
    shape = unit.shape[2:]
    number = torch.zeros((len(unit), *shape), dtype=torch.int64, device=unit.device)
    for axis, edge in enumerate(shape):
        row = block[:, axis, :edge].to(unit.device)
        number = number * edge + row.view(
            -1, *[edge if k == axis else 1 for k in range(len(shape))]
        )
    number = number.flatten(1)
    places = number.argsort(dim=1, stable=True)
    bits = scatter_bits(seeds, number.shape[1], unit.device)
    others = (number * 2**32 + bits).argsort(dim=1, stable=True)
    flat = unit.flatten(1)
    return torch.empty_like(flat).scatter_(1, places, flat.gather(1, others)).view(unit.shape)


class ModelsGenesisTask:
    """The pretext as the training loop sees it."""

    _loss = RestorationLoss(l1=0, l2=1, lesion_weight=1, lesion_map=0)
    parts = _loss.parts(lesion_map=False)

    def __init__(self, plan: ModelsGenesisPretext, setting: Setting) -> None:
        self.plan, self.setting = plan, setting

    def examples(self, batch: CleanSlices, share: Share) -> RestorationBatch:
        """Spoilt and clean pictures of one step; all skip connections stay open."""
        slices = self.plan.cut(batch, self.setting, share)
        clean = seen(slices, self.plan.augment, self.setting, (_AUGMENT_STREAM,), share)
        generator = torch_generator(self.setting.seed, _SPOIL_STREAM, share.step)
        shape = tuple(clean.shape[2:])
        params = share.rows(sample_spoiling(self.plan, generator, share.drawn, shape))
        spoilt = spoil(clean, params)
        keep = torch.ones((len(clean), self.setting.levels - 1), dtype=torch.bool)
        return RestorationBatch(
            spoilt, clean, (spoilt != clean).to(clean.dtype), keep.to(clean.device)
        )

    def loss(self, network: nn.Module, examples: RestorationBatch) -> Losses:
        """Mean squared error over all pixels."""
        return self._loss.of(network(examples.corrupted), examples)

    def shown(self, network: nn.Module, examples: RestorationBatch) -> dict[str, torch.Tensor]:
        """Corrupted, restored and clean pictures."""
        return restored_beside(network, examples)


def _curves(draw: torch.Tensor, chance: float) -> torch.Tensor:
    """Tables (n, 1025) of cubic Bezier curves from (0, 0) to (1, 1), or from (0, 1) to (1, 0)."""
    t = torch.linspace(0, 1, _CURVE_POINTS, dtype=draw.dtype)
    first, second = 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t)
    x, y = (
        (draw[:, k, None] * first + draw[:, k + 1, None] * second + t**3).sort(dim=1).values
        for k in (0, 2)
    )
    y = torch.where(draw[:, 4, None] < 0.5, y.flip(1), y)
    even = torch.linspace(0, 1, _TABLE + 1, dtype=draw.dtype).expand(len(draw), -1).contiguous()
    after = torch.searchsorted(x, even).clamp(1, _CURVE_POINTS - 1)
    low, high = x.gather(1, after - 1), x.gather(1, after)
    way = ((even - low) / (high - low).clamp_min(1e-12)).clamp(0, 1)
    table = torch.lerp(y.gather(1, after - 1), y.gather(1, after), way).clamp(0, 1)
    return torch.where(draw[:, 5, None] < chance, table, even).to(torch.float32)


def _blocks(draw: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """In which row of blocks each pixel lies along each axis; a row is 1 to edge // 10 wide."""
    widest = torch.tensor([max(1, edge // 10) for edge in shape])
    widths = (draw * widest[:, None]).long() + 1
    pixel = torch.arange(draw.shape[2]).expand(widths.shape).contiguous()
    return torch.searchsorted(widths.cumsum(2), pixel, right=True)


def _boxes(
    draw: torch.Tensor, shape: tuple[int, ...], inside: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """First pixels of the boxes and the ones after their last, (n, 5, D), at the code's sizes."""
    axes = len(shape)
    edge = torch.tensor(shape)
    smallest = torch.where(inside[:, None], edge // 6, edge - 4 * edge // 7)[:, None].clamp_min(1)
    largest = torch.where(inside[:, None], edge // 3, edge - 3 * edge // 7)[:, None].clamp_min(1)
    size = smallest + (draw[..., 1 : 1 + axes] * (largest - smallest + 1)).long()
    border = ((edge - size) // 2).clamp(max=_BORDER)
    start = border + (draw[..., 1 + axes :] * (edge - size - 2 * border + 1)).long()
    goes_on = draw[..., 0] < _GOES_ON
    goes_on[:, 0] |= ~inside  # at least one box is left of a picture that is painted all about
    used = goes_on.cumprod(1)[..., None].bool()
    return start, torch.where(used, start + size, start)


def _in_any_box(params: Spoiling, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """(B, 1, [Z,] Y, X) bool."""
    inside = torch.ones((), dtype=torch.bool, device=device)
    for axis, edge in enumerate(shape):
        pixel = torch.arange(edge, device=device)
        start, end = (ends[..., axis, None].to(device) for ends in (params.start, params.end))
        along = (pixel >= start) & (pixel < end)  # (B, boxes, edge)
        inside = inside & along.view(
            *along.shape[:2], *[edge if k == axis else 1 for k in range(len(shape))]
        )
    return inside.any(1, keepdim=True)
