"""Fine-tunings of the studies: one fold's labels, scored on the rows that it has not seen.

The parts are those of `covidssl finetune`; what a set's frames are is read once for all of them.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict
from scipy.special import expit

from covidssl.config import load_config
from covidssl.diagnosis import scores_of
from covidssl.experiments import FinetuneConfig
from covidssl.files import read_csv
from covidssl.finetuning import FineTuning, Validating
from covidssl.learning import Learning, Notes, learn
from covidssl.networks.classifier import CovidClassifier
from covidssl.splits import Assigned
from covidssl.starting import Start
from covidssl.training import make_fabric
from covidssl.weights import read_weights
from covidssl.yaml_text import read_yaml
from pipelines.study.folds import Labels, groups_of_rarer
from pipelines.study.pretraining import CONFIGS, OVERRIDES, Scale, as_overrides
from pipelines.study.targets import TargetSet

LOW_RATE, LAYER_DECAY = "fine-tuned, low rate", "fine-tuned, layer decay"
PROTOCOLS: Mapping[str, str] = {LOW_RATE: "low_rate", LAYER_DECAY: "layer_decay"}
"""Protocols, and where `finetune.yaml` keeps what each has of its own."""

SCORED = "raw logit, cut at 0; inner of the last step"
"""How answers are taken from a model: in the settings of a record, and changed when this is."""


class Said(BaseModel):
    """What one fine-tuning says of the rows of a fold that are scored.

    Attributes:
        chance: of these rows, in their order; not calibrated, one half is where the training with
            balanced classes puts it, as with probes and rivals.
        inner: AUROC on the rows that choose, of the last step's weights: which of the weights are
            taken is chosen on the same rows, so the score of those would be too high.
        groups: of the rarer class among the rows that choose.
        chosen: in words.
        labels: how many were used.
        minutes: that it took.
        of: what it was made from and with, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chance: list[float]
    inner: float
    groups: int
    chosen: str
    labels: int
    minutes: float
    of: dict[str, str]


class Work(NamedTuple):
    """One fine-tuning.

    Attributes:
        start: the encoder.
        config: how it is tuned.
        labels: the rows that it may use, and those that it is scored on.
    """

    start: Start
    config: FinetuneConfig
    labels: Labels


def finetune_config(
    protocol: str, seed: int = 0, configs: Path = CONFIGS, scale: Scale = "cpu"
) -> FinetuneConfig:
    """What a protocol fine-tunes with, the same for every arm.

    Args:
        protocol: of `PROTOCOLS`.
        seed: of batches and augmentation.
        configs: folder with `finetune.yaml`, `protocols.yaml` and `gpu.yaml`.
        scale: `gpu` takes the keys of `gpu.yaml` under `finetune`, too.
    """
    own = read_yaml(configs / OVERRIDES / "protocols.yaml")[PROTOCOLS[protocol]]
    larger = read_yaml(configs / OVERRIDES / "gpu.yaml")["finetune"] if scale == "gpu" else {}
    given = [*as_overrides(larger), *as_overrides(own), f"seed={seed}"]
    return load_config(FinetuneConfig, configs / "finetune.yaml", given)


def fine_tune(
    target: TargetSet, work: Work, out: Path, of: Mapping[str, str], device: str = "cpu"
) -> Said:
    """Fine-tune on the rows that learn, choose on those that choose, score those of the fold.

    Args:
        target: the set; its frames must be cut as the encoder's were.
        work: what is tuned.
        out: folder for what a training writes; it is emptied before and taken away after.
        of: what the answer is made from and with, to be known again by.
        device: where the network runs.
    """
    began = time.monotonic()
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    fabric = make_fabric(device, work.config.training.precision)
    labels = work.labels
    tuning = FineTuning(
        work.config, work.start, target.loaded, ("other", "COVID"), _assigned(target, labels)
    )
    network, step, inner = _tuned(tuning, fabric, out)
    logits = scores_of(network, target.frames[labels.score], fabric.device).logit
    shutil.rmtree(out)
    return Said(
        chance=[round(float(one), 5) for one in expit(logits)],
        inner=inner,
        groups=groups_of_rarer(target.target, np.array(target.group), labels.choose),
        chosen=f"step {step}",
        labels=len(labels.all),
        minutes=round((time.monotonic() - began) / 60, 3),
        of=dict(of),
    )


def _tuned(tuning: FineTuning, fabric: Any, out: Path) -> tuple[CovidClassifier, int, float]:
    """The model of least validation loss, its step, and the AUROC there of the last step's."""
    config = tuning.config
    state = tuning.first_state(fabric.device)
    best = tuning.selection(fabric.device, out)
    table = out / "validation.csv"
    validating = Validating(best, state, table, config.validate_every, config.training.steps)
    notes: Notes = learn(
        Learning(
            out,
            fabric,
            tuning.data,
            tuning.task,
            config.training,
            config.seed,
            config.checkpoint_every,
        ),
        state,
        validating.step,
        validating.first,
    )
    if not isinstance(state.network, CovidClassifier):
        raise TypeError(f"Expected a CovidClassifier, got {type(state.network).__name__}.")
    last = read_csv(table)[-1]
    if int(last["step"]) != config.training.steps:
        raise RuntimeError(f"{table}: ends with step {last['step']}, not with the last one.")
    state.network.load_state_dict(read_weights(best.file), strict=True)
    return state.network, int(notes["best_step"]), float(last["auroc"])


def _assigned(target: TargetSet, labels: Labels) -> list[Assigned]:
    split = np.full(len(target.scans), "gap", dtype="U10")
    split[labels.learn], split[labels.choose], split[labels.score] = "train", "validation", "test"
    of = zip(target.scans, target.group, split.tolist(), strict=True)
    return [Assigned(scan, group, place) for scan, group, place in of]
