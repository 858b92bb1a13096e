"""What is pretrained to see how AUROC grows with unlabelled slices and with steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from covidssl.experiments import PretrainConfig
from pipelines.study.arms import NOTHING, OURS, ArmName
from pipelines.study.frozen import Made, settings_of
from pipelines.study.pretraining import CONFIGS, pretrain_config, run_folder, store_folder

SEEDS, SLICES_SEEDS = (0, 1), (0,)
"""Of weights, draws and which scans are in a subset: of the steps, and of the slices, which are
pretrained once each so that all fits two hours on two cores."""

FRACTIONS = (0.1, 1.0)
"""Of the labels, at which probes are asked."""

SLICES = (50, 100, 250, 500)
"""Slices drawn; beside them all that the corpus has."""

HALVINGS = 4
"""So often the steps of the comparison are halved."""

_LEAST_SHARE = 10
_IMAGES_A_SECOND = 25.0
_PREPARED_A_SECOND = 11.0
_ASKED_MINUTES = 6.0


class Point(NamedTuple):
    """One amount of pretraining, of all seeds.

    Attributes:
        arm: its name in records.
        slices: drawn; None: all there are.
        steps: of one whole schedule; 0: nothing is learnt.
    """

    arm: str
    slices: int | None
    steps: int

    @property
    def seeds(self) -> tuple[int, ...]:
        """Of its pretrainings."""
        return SEEDS if self.slices is None else SLICES_SEEDS


def points(configs: Path = CONFIGS) -> list[Point]:
    """All points: no pretraining, rising steps on all slices, rising slices at a quarter of them.

    The last of the steps is the pretraining of the comparison itself. Slices are compared at fewer
    steps, all at the same number: what differs is how often each slice is seen again.
    """
    steps = step_counts(configs)
    few = slices_steps(configs)
    return [
        Point(NOTHING, None, 0),
        *(Point(f"steps {count}", None, count) for count in steps),
        *(Point(f"slices {count}", count, few) for count in SLICES),
    ]


def step_counts(configs: Path = CONFIGS) -> list[int]:
    """Steps of the schedules, from the shortest to that of the comparison."""
    most = pretrain_config(OURS, configs=configs).training.steps
    return [max(1, most // 2**halving) for halving in range(HALVINGS, -1, -1)]


def slices_steps(configs: Path = CONFIGS) -> int:
    """Steps of every point of the slices."""
    return step_counts(configs)[-3]


def config_of(point: Point, seed: int, configs: Path = CONFIGS) -> PretrainConfig:
    """How a point is pretrained: a schedule of its own that ends with its last step.

    A checkpoint on the way of a longer one would not do: its rate has not come down yet.
    """
    if point.steps == 0:
        return pretrain_config(NOTHING, seed, configs=configs)
    whole = pretrain_config(OURS, seed, configs=configs)
    if point.steps == whole.training.steps:
        return whole
    # The rise of the rate must not take up a short schedule.
    warmup = min(whole.training.warmup_steps, point.steps // _LEAST_SHARE)
    own = [f"training.steps={point.steps}", f"training.warmup_steps={warmup}"]
    return pretrain_config(OURS, seed, own, configs)


def run_of(runs: Path, point: Point, seed: int, configs: Path = CONFIGS) -> Path:
    """Where a point's pretraining lies; that of the comparison is shared with it."""
    arm: ArmName = NOTHING if point.steps == 0 else OURS
    variant = ""
    if point.slices is not None:
        variant = f"slices-{point.slices}-steps-{point.steps}"
    elif point.steps not in (0, step_counts(configs)[-1]):
        variant = f"steps-{point.steps}"
    return run_folder(runs, arm, seed=seed, variant=variant)


def store_of(runs: Path, point: Point, seed: int) -> Path:
    """Where the slices lie that a point learns from."""
    whole = store_folder(runs)
    if point.slices is None:
        return whole
    return whole.with_name(f"{whole.name}-{point.slices}-slices-seed-{seed}")


def is_shared(point: Point, seed: int, configs: Path = CONFIGS) -> bool:
    """Whether a pretraining is that of the comparison, which is done where that was run."""
    return seed == 0 and point.slices is None and point.steps in (0, step_counts(configs)[-1])


def made(runs: Path, point: Point, configs: Path = CONFIGS) -> list[Made]:
    """The pretrainings of a point, a seed each."""
    return [
        Made(
            run_of(runs, point, seed, configs),
            config_of(point, seed, configs),
            store_of(runs, point, seed),
            f"encoder of seed {seed}",
        )
        for seed in point.seeds
    ]


def settings(point: Point, configs: Path = CONFIGS) -> dict[str, Any]:
    """What a record of a point says of how it was made: a record of other settings is no point."""
    on = []
    if point.steps:
        on = ["steps"] if point.slices is None else []
        on += ["slices"] if point.steps == slices_steps(configs) else []
    about = settings_of(made(Path(), point, configs), FRACTIONS)
    own = {"steps": point.steps, "seeds": list(point.seeds), "lines": on}
    return about | own | {"asked for": point.slices or "all"}


def pretraining_minutes(point: Point, configs: Path = CONFIGS) -> float:
    """Minutes of one seed on one thread."""
    config = config_of(point, 0, configs)
    images = point.steps * config.training.batch_size
    prepared = (point.slices or 0) / _PREPARED_A_SECOND
    return (images / _IMAGES_A_SECOND + prepared) / 60 + 0.5


def asking_minutes(point: Point) -> float:
    """Minutes to ask a point's encoders about both sets and views, on one thread."""
    return _ASKED_MINUTES * len(point.seeds)
