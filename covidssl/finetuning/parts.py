"""The parts of fine-tuning: a classifier from where it starts, and the model that comes out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from covidssl.diagnosis import parameter_groups, pooled_features
from covidssl.errors import DataError
from covidssl.experiments import FinetuneConfig
from covidssl.hounsfield import Pixels
from covidssl.labelled_frames import LabelledFrames
from covidssl.lessons import Lessons, lessons
from covidssl.model import CLASSIFIER, Aggregation, Model, ModelCard, save_model
from covidssl.networks.classifier import CovidClassifier
from covidssl.out_of_distribution import (
    DistanceLimit,
    TrainingFeatures,
    distance_limit,
    fit_training_features,
    some_frames,
)
from covidssl.randomness import initial_weights
from covidssl.selection import BestOnValidation, Rules
from covidssl.splits import Assigned, learnt_from, splits_fingerprint
from covidssl.starting import Start, scan_rule
from covidssl.training import Task, TrainingState
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

    @cached_property
    def lessons(self) -> Lessons:
        """What the head learns from: the training split."""
        return lessons(self.config.head, self.frames, self.train)

    @property
    def task(self) -> Task[Any]:
        """The loss, with classes weighted as the training split has them."""
        config = self.config
        return self.lessons.task(config.augment, self.start.frame.window_hu, config.seed)

    @property
    def data(self) -> Dataset[Any]:
        """The training split."""
        return self.lessons.data

    @property
    def frozen_levels(self) -> int:
        """Levels of the encoder that do not learn."""
        if self.config.learns == "all":
            return self.config.frozen_levels
        return len(self.start.encoder.plan.channels)

    def first_state(self, device: torch.device) -> TrainingState:
        """The classifier on its encoder, its head from a linear probe; or all of it from `init`."""
        config, plan = self.config, self.config.training
        with initial_weights(config.seed):
            network = CovidClassifier(self.start.encoder, config.head).to(device)
        if self.init is not None:
            load_strictly(network, self.init.classifier.state_dict(), "classifier to start from")
        else:
            held_out = lessons(config.head, self.frames, self.validation)
            self.lessons.start(network, held_out, device)
        network.freeze(self.frozen_levels)
        rates = (config.head_rate, config.layer_decay, config.attention_rate)
        groups = parameter_groups(network, *rates)
        optimizer = torch.optim.AdamW(groups, plan.learning_rate, weight_decay=plan.weight_decay)
        return TrainingState(network, optimizer)

    def selection(self, device: torch.device, out: Path) -> BestOnValidation:
        """Keeps the best weights in the run folder."""
        file = out / "best.safetensors"
        return BestOnValidation(self.frames, self.validation, self.aggregation, device, file)

    @property
    def aggregation(self) -> Aggregation:
        """How frames become one answer; of a volume there is only one."""
        return scan_rule(self.config.aggregation, self.start.frame)

    def save(
        self, folder: Path, state: TrainingState, best: BestOnValidation, notes: dict[str, float]
    ) -> ModelCard:
        """Choose on validation, and write the model folder."""
        rules = Rules(self.config.calibration, self.config.operating_point)
        chosen = best.choose(state.network, self._validation_groups(), rules)
        features, limit = self._familiar(state.network, best.device)
        card = ModelCard(
            classes=self.classes,
            encoder=self.start.encoder.plan,
            head=self.config.head,
            frame=self.start.frame,
            operating_point=chosen.operating_point,
            operating_point_rule=chosen.rule,
            calibration=chosen.calibration,
            aggregation=self.aggregation,
            burden_threshold=self.config.burden_threshold,
            lesion_map=self.start.lesion_map,
            pretrained_from=self.start.sha256,
            continues=self.init.card.files[CLASSIFIER] if self.init else "",
            learns=self.config.learns,
            frozen_levels=self.frozen_levels,
            trained_on=Origin(
                data_fingerprint=self.frames.fingerprint,
                pictures=len(self.train),
                steps=int(notes["best_step"]),
                seed=self.config.seed,
            ),
            metrics=chosen.metrics,
            leakage=self.leakage,
            unchecked=self.start.unchecked,
            splits=splits_fingerprint(self.assigned),
            distance=limit,
            pixel_kinds=self._pixel_kinds,
            licence_note=self.start.licence_note,
            files={},
        )
        learnt = learnt_from(self.assigned, self.frames.prints, self.start.chosen_on)
        weights = state.network.state_dict()
        return save_model(folder, card, weights, self.start.restoration, learnt, features)

    @property
    def shortage(self) -> str:
        """That fewer examples are learnt from than a batch holds, in words."""
        found, batch = len(self.lessons.target), self.config.training.batch_size
        if found >= batch or self.config.learns == "probe":
            return ""
        return (
            f"Only {found} {self.lessons.what} to learn from, fewer than training.batch_size "
            f"{batch}: every batch holds some of them more than once. Set training.batch_size to "
            f"{found} or less."
        )

    def summary(self, card: ModelCard) -> dict[str, Any]:
        """What the record says at the end of a run: scans of each split, and what came out."""
        counts = Counter(one.split for one in self.assigned)
        frames = self.frames
        return {
            **{f"{split} scans": count for split, count in sorted(counts.items())},
            "scans dropped": len(frames.dropped),
            "scans without lungs, taken whole": len(frames.without_lungs),
            "scans read with a warning": len(frames.warned),
            **{
                name: round(value, 4) for name, value in card.metrics.items() if "scans" not in name
            },
        }

    def _familiar(
        self, network: torch.nn.Module, device: torch.device
    ) -> tuple[TrainingFeatures, DistanceLimit | None]:
        """What training's frames look like to the chosen weights, and how far is far."""
        if not isinstance(network, CovidClassifier):
            raise TypeError(f"Expected a CovidClassifier, got {type(network).__name__}.")
        train, validation = (
            pooled_features(network, self.frames.frames[which], device)
            for which in (some_frames(self.train, self.config.seed), self.validation)
        )
        features = fit_training_features(train)
        distances = features.of_scans(validation, self.frames.scan_of[self.validation])
        return features, distance_limit(distances)

    @property
    def _pixel_kinds(self) -> tuple[Pixels, ...]:
        """Kinds of pixel that the scans had which are learnt from."""
        of = self.frames.scan_of[self.train]
        return tuple(sorted({self.frames.pixels[scan] for scan in np.unique(of)}))

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
