"""Small clean pictures, and a short training on them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset

from covidssl.checkpoint import load_checkpoint, save_checkpoint
from covidssl.hounsfield import LUNG_WINDOW_HU
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.pretext import CleanSlices, Pretext, Setting
from covidssl.randomness import initial_weights, torch_generator
from covidssl.training import (
    StepReport,
    TrainingPlan,
    TrainingState,
    loader,
    make_fabric,
    train,
)

SEED = 3
SMALL = EncoderPlan(channels=(8, 8, 16))
SETTING = Setting(LUNG_WINDOW_HU, len(SMALL.channels), SEED)


def slices(n: int = 4, edge: int = 32) -> CleanSlices:
    """Two dark lungs of random size in a bright body that is darker towards the top."""
    generator = torch_generator(1)
    row, column = torch.arange(edge)[:, None], torch.arange(edge)[None]
    frames, lungs = [], []
    for _ in range(n):
        middle = torch.rand(2, generator=generator) * 0.1 + 0.45
        size = 0.12 + 0.08 * torch.rand(2, generator=generator)
        inside = torch.zeros((edge, edge), dtype=torch.bool)
        for side in (0.27, 0.73):
            y, x = (row / edge - middle[0]) / (2 * size[0]), (column / edge - side) / size[1]
            inside |= x**2 + y**2 < 1
        body = 36000 + 16000 * row / edge + 0 * column
        air = 5000 + 6000 * torch.rand((edge, edge), generator=generator)
        frames.append(torch.where(inside, air, body))
        lungs.append(inside)
    pixels = torch.stack(frames)[:, None].to(torch.uint16)
    return CleanSlices(pixels, torch.stack(lungs)[:, None], torch.full((n, 2), 320 / edge))


def volumes(n: int = 2, depth: int = 8, edge: int = 32) -> CleanSlices:
    """The same slice at every height."""
    flat = slices(n, edge)
    frames, lungs = (
        part[:, :, None].expand(-1, -1, depth, -1, -1).contiguous() for part in flat[:2]
    )
    return CleanSlices(frames, lungs, torch.full((n, 3), 320 / edge))


class InMemory(Dataset[CleanSlices]):
    """Clean pictures, one by one."""

    def __init__(self, pictures: CleanSlices) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures.frames)

    def __getitem__(self, index: int) -> CleanSlices:
        return CleanSlices(*(part[index] for part in self.pictures))


def network_of(pretext: Pretext, plan: EncoderPlan = SMALL) -> nn.Module:
    with initial_weights(SEED):
        return pretext.network(build_encoder(plan))


def state_of(pretext: Pretext, rate: float) -> TrainingState:
    network = network_of(pretext)
    learnt = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return TrainingState(network, torch.optim.AdamW(learnt, rate))


def teach(
    pretext: Pretext, plan: TrainingPlan, state: TrainingState, steps: int | None = None
) -> list[StepReport]:
    """Train on; stop after so many steps, as a kill would."""
    data = InMemory(slices(24))
    batches = loader(data, len(data), plan, SEED, state.step)
    reports = []
    task = pretext.task(SETTING)
    for report in train(make_fabric("cpu", plan.precision), state, batches, task, plan, SEED):
        reports.append(report)
        if len(reports) == steps:
            break
    return reports


def killed_and_resumed(pretext: Pretext, plan: TrainingPlan, folder: Path) -> TrainingState:
    """The state of a run that died after half of its steps and went on from its checkpoint."""
    state = state_of(pretext, plan.learning_rate)
    teach(pretext, plan, state, plan.steps // 2)
    save_checkpoint(folder, state, {})
    again = state_of(pretext, plan.learning_rate)
    load_checkpoint(folder, again)
    teach(pretext, plan, again)
    return again
