"""What a fine-tuning has before any picture is read: where it starts, its scans, their splits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from covidssl.datasets import Dataset, read_dataset
from covidssl.errors import UsageError
from covidssl.experiments import FinetuneConfig
from covidssl.finetuning.parts import FineTuning
from covidssl.labelled_frames import LabelledFrames
from covidssl.model import CLASSIFIER, Model, load_model
from covidssl.splits import UNKNOWN, Assigned, Proposed, StartsFrom, propose, refuse_early
from covidssl.starting import (
    FROM_SCRATCH,
    Start,
    must_agree,
    must_have_levels,
    scan_rule,
    start_from,
)
from covidssl.training import Machines, must_have_right_gradients


@dataclass(frozen=True)
class Places:
    """Where things lie.

    Attributes:
        out: the run folder; the model will be in `out/model`.
        encoder: a pretraining run or encoder file; None from scratch.
        init: a model whose classifier to start from, head and all.
        cache: folder in which cut frames are kept between runs.
        device: where the network runs; with several processes each of them comes here.
        splits: a file of splits to use in place of the configuration's.
    """

    out: Path
    encoder: Path | None = None
    init: Path | None = None
    cache: Path | None = None
    device: str | Machines = "auto"
    splits: Path | None = None


@dataclass(frozen=True)
class Opening:
    """What a fine-tuning has before any picture is read.

    Attributes:
        config: what is trained, and how.
        start: the encoder, and the frame that it sees.
        dataset: the labelled scans.
        proposed: their split.
        most_slices: of a scan that are looked at.
        init: the model whose classifier is started from.
        before: what a model that is started from has learnt, or was chosen on.
    """

    config: FinetuneConfig
    start: Start
    dataset: Dataset
    proposed: Proposed
    most_slices: int
    init: Model | None
    before: StartsFrom | None

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of what a run must be given again when it is resumed, as far as it is known already."""
        return {
            "encoder": self.start.sha256,
            "init": self.init.card.files[CLASSIFIER] if self.init else FROM_SCRATCH,
            "splits": self.proposed.fingerprint,
        }

    def must_learn_rightly(self, device: torch.device) -> None:
        """Refuse a device that cannot learn what the configuration asks.

        Raises:
            UsageError: before anything is written.
        """
        if self.config.learns != "probe":
            precision = self.config.training.precision
            must_have_right_gradients(self.start.encoder.plan.dimensions, precision, device)

    def tuning(
        self, frames: LabelledFrames, assigned: list[Assigned], leakage: str = ""
    ) -> FineTuning:
        """The fine-tuning on frames that were cut, and on the split that was settled."""
        classes = self.dataset.classes
        return FineTuning(self.config, self.start, frames, classes, assigned, leakage, self.init)


def open_finetuning(
    config: FinetuneConfig, data: Path, places: Places, allow_leakage: bool
) -> Opening:
    """Load what is started from, read the labels and propose their split.

    Raises:
        CovidsslError: for data, weights or a configuration that cannot be used together, and for a
            split that can be seen to leak unless that is allowed.
    """
    start = start_from(places.encoder, config.frame, config.encoder, config.seed)
    most = scan_rule(config.aggregation, start.frame).most_slices  # told before anything is read
    must_have_levels(config.frozen_levels, start.encoder.plan)
    dataset = read_dataset(data, config.positive_class)
    proposed = propose(dataset, config.split, config.seed, places.splits)
    init = _initial(places.init, start, config)
    if init is not None:
        start = _continued(start, init)
    before = None
    if init is not None or start.chosen_on is not None:
        before = StartsFrom(start.chosen_on, init.card.leakage if init else "")
    refuse_early(proposed, allow_leakage, before)
    return Opening(config, start, dataset, proposed, most, init, before)


def _continued(start: Start, init: Model) -> Start:
    """Where a model is gone on from: all of the weights are its own, and so is what they are of."""
    return start._replace(
        sha256=init.card.pretrained_from,
        restoration=init.restoration.state_dict() if init.restoration else None,
        lesion_map=init.card.lesion_map,
        licence_note=init.card.licence_note,
        chosen_on=init.learnt,
        unchecked=init.card.unchecked or (UNKNOWN if init.learnt is None else ""),
    )


def _initial(path: Path | None, start: Start, config: FinetuneConfig) -> Model | None:
    """The model whose classifier to start from, if it sees what this one will see."""
    if path is None:
        return None
    if config.learns == "probe":
        raise UsageError(
            f"{path}: with learns probe the head is fitted anew, and nothing of the model that is "
            f"started from would be left. Leave --init out, or set learns to head or all."
        )
    model = load_model(path)
    if model.card.head != config.head:
        raise UsageError(
            f"{path}: this model's head is {model.card.head.kind} "
            f"({model.card.head.attention_features} attention features), and the configuration's "
            f"is {config.head.kind} ({config.head.attention_features}). Set head to the model's."
        )
    must_agree(
        path,
        {
            "frame": (start.frame, model.card.frame),
            "encoder": (start.encoder.plan, model.card.encoder),
        },
    )
    return model
