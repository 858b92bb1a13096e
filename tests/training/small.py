"""A lesson so small that a step takes milliseconds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from covidssl.augment import AugmentRanges
from covidssl.diagnosis import DiagnosisTask, FramesInMemory
from covidssl.hounsfield import LUNG_WINDOW_HU
from covidssl.learning import Learning, Notes, OnStep, learn
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.randomness import initial_weights, numpy_generator
from covidssl.training import (
    StepReport,
    TrainingPlan,
    TrainingState,
    loader,
    make_fabric,
    train,
)

PLAN = TrainingPlan(steps=8, batch_size=6, learning_rate=1e-2, warmup_steps=2, ema_decay=0.9)
SMALL = EncoderPlan(channels=(8, 8, 16))
SEED = 3


def pictures() -> FramesInMemory:
    """Twenty frames of 32 px; the positive ones are brighter in the middle."""
    generator = numpy_generator(1)
    frames = generator.integers(0, 40000, (20, 32, 32)).astype("uint16")
    target = (generator.random(20) > 0.5).astype("int64")
    frames[target == 1, 12:20, 12:20] += 20000
    return FramesInMemory(frames, target)


def new_state(plan: TrainingPlan = PLAN, device: str = "cpu") -> TrainingState:
    with initial_weights(SEED):
        network = CovidClassifier(build_encoder(SMALL)).to(device)
    return TrainingState(network, torch.optim.AdamW(network.parameters(), plan.learning_rate))


def task() -> DiagnosisTask:
    return DiagnosisTask(AugmentRanges(), LUNG_WINDOW_HU, pictures().target, SEED)


def run(
    state: TrainingState, plan: TrainingPlan = PLAN, steps: int | None = None, device: str = "cpu"
) -> list[StepReport]:
    """Train on; stop after so many steps, as a kill would."""
    data = pictures()
    batches = loader(data, len(data), plan, SEED, state.step)
    reports = []
    for report in train(make_fabric(device, plan.precision), state, batches, task(), plan, SEED):
        reports.append(report)
        if len(reports) == steps:
            break
    return reports


def losses(reports: list[StepReport]) -> list[float]:
    return [report.loss for report in reports]


def lesson(out: Path, plan: TrainingPlan = PLAN, checkpoint_every: int = 3) -> Learning:
    fabric = make_fabric("cpu", plan.precision)
    return Learning(out, fabric, pictures(), task(), plan, SEED, checkpoint_every)


def learnt(
    out: Path,
    on_step: OnStep = lambda *_: None,
    plan: TrainingPlan = PLAN,
    first: Callable[[Notes], None] = lambda _: None,
) -> tuple[TrainingState, Notes]:
    """Learn in a run folder, from its newest checkpoint if there is one."""
    state = new_state(plan)
    return state, learn(lesson(out, plan), state, on_step, first)
