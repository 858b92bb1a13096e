"""The parts of fine-tuning: a classifier from where it starts, and the model that comes out."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from covidssl.diagnosis import (
    DiagnosisTask,
    FramesInMemory,
    parameter_groups,
    pooled_features,
    start_from_probe,
)
from covidssl.errors import DataError
from covidssl.experiments import FinetuneConfig
from covidssl.labelled_frames import LabelledFrames
from covidssl.model import Model, ModelCard, save_model
from covidssl.networks.classifier import CovidClassifier
from covidssl.selection import BestOnValidation
from covidssl.splits import UNKNOWN, Assigned, learnt_from, splits_fingerprint
from covidssl.starting import Start
from covidssl.training import TrainingState
from covidssl.weights import Origin, load_strictly


@dataclass(frozen=True)
class FineTuning:
    """One fine-tuning: its configuration, where it starts, its labelled frames and their splits.

    `leakage` is what leaks through the splits, in words, where that was allowed; `init` the model
    whose classifier is started from.
    """

    config: FinetuneConfig
    start: Start
    frames: LabelledFrames
    classes: tuple[str, str]
    assigned: list[Assigned]
    leakage: str = ""
    init: Model | None = None

    @cached_property
    def train(self) -> NDArray[np.int64]:
        """Places of the frames that are learnt from."""
        return self._frames_of("train")

    @cached_property
    def validation(self) -> NDArray[np.int64]:
        """Places of the frames that choose the weights, the calibration and the operating point."""
        return self._frames_of("validation")

    @property
    def task(self) -> DiagnosisTask:
        """The loss, with classes weighted as the training split has them."""
        target = self.frames.target[self.train]
        return DiagnosisTask(
            self.config.augment, self.start.frame.window_hu, target, self.config.seed
        )

    @property
    def data(self) -> FramesInMemory:
        """The training split."""
        return FramesInMemory(self.frames.frames[self.train], self.frames.target[self.train])

    def first_state(self, device: torch.device) -> TrainingState:
        """The classifier on its encoder, its head from a linear probe; or all of it from `init`."""
        network = CovidClassifier(self.start.encoder).to(device)
        if self.init is not None:
            load_strictly(network, self.init.classifier.state_dict(), "classifier to start from")
        else:
            start_from_probe(
                network,
                (self._pooled(network, self.train, device), self.frames.target[self.train]),
                (
                    self._pooled(network, self.validation, device),
                    self.frames.target[self.validation],
                ),
            )
        plan = self.config.training
        groups = parameter_groups(network, self.config.head_rate, self.config.layer_decay)
        optimizer = torch.optim.AdamW(groups, plan.learning_rate, weight_decay=plan.weight_decay)
        return TrainingState(network, optimizer)

    def selection(self, device: torch.device, out: Path) -> BestOnValidation:
        """Keeps the best weights in the run folder."""
        return BestOnValidation(
            self.frames,
            self.validation,
            self.config.aggregation,
            device,
            out / "best.safetensors",
        )

    def save(
        self, folder: Path, state: TrainingState, best: BestOnValidation, notes: dict[str, float]
    ) -> ModelCard:
        """Choose on validation, and write the model folder."""
        chosen = best.choose(state.network, self._validation_groups())
        card = ModelCard(
            classes=self.classes,
            encoder=self.start.encoder.plan,
            frame=self.start.frame,
            operating_point=chosen.operating_point,
            operating_point_rule=chosen.rule,
            calibration=chosen.calibration,
            aggregation=self.config.aggregation,
            burden_threshold=self.config.burden_threshold,
            pretrained_from=self.start.sha256,
            trained_on=Origin(
                data_fingerprint=self.frames.fingerprint,
                pictures=len(self.train),
                steps=int(notes["best_step"]),
                seed=self.config.seed,
            ),
            metrics=chosen.metrics,
            leakage=self.leakage,
            unchecked=self.unchecked,
            splits=splits_fingerprint(self.assigned),
            files={},
        )
        before = self.init.learnt if self.init else None
        learnt = learnt_from(self.assigned, self.frames.prints, before)
        weights = state.network.state_dict()
        return save_model(folder, card, weights, self.start.restoration, learnt)

    @property
    def unchecked(self) -> str:
        """What could not be checked for leakage, in words."""
        if self.init is None:
            return ""
        return self.init.card.unchecked or (UNKNOWN if self.init.learnt is None else "")

    def _validation_groups(self) -> int:
        """Patients (or runs of files) in validation, of the class that has fewer."""
        of = [(a.scan.positive, a.group) for a in self.assigned if a.split == "validation"]
        return min(len({group for p, group in of if p == positive}) for positive in (False, True))

    def _frames_of(self, split: str) -> NDArray[np.int64]:
        names = [one.scan.name for one in self.assigned if one.split == split]
        places = self.frames.of(names)
        if len(set(self.frames.target[places])) < 2:
            raise DataError(
                f"The {split} split has {len(places)} readable frames and not both classes; it "
                f"needs both. Look at splits.csv and dropped.csv, give more scans or another split."
            )
        return places

    def _pooled(
        self, network: CovidClassifier, which: NDArray[np.int64], device: torch.device
    ) -> NDArray[np.float32]:
        return pooled_features(network, self.frames.frames[which], device)
