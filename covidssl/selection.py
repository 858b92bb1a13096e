"""Selection on validation, and never on test: the best weights, calibration, operating point."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score
from torch import nn

from covidssl.calibration import (
    DEFAULT_POINT,
    Calibration,
    CalibrationKind,
    OperatingPointPlan,
    YoudenPoint,
    fit_calibration,
    one_sided,
)
from covidssl.diagnosis import scores_of
from covidssl.files import read_csv, write_csv
from covidssl.labelled_frames import LabelledFrames
from covidssl.model import Aggregation
from covidssl.networks.classifier import CovidClassifier
from covidssl.training import TrainingState
from covidssl.weights import read_weights, save_weights

LEAST_GROUPS = 3


class ScanLogits(NamedTuple):
    """Logits of scans: places in `LabelledFrames.scans`, logit and target, each (S,)."""

    places: NDArray[np.int64]
    logit: NDArray[np.float64]
    target: NDArray[np.int64]


def score_scans(
    network: CovidClassifier,
    frames: LabelledFrames,
    which: NDArray[np.int64],
    aggregation: Aggregation,
    device: torch.device,
) -> ScanLogits:
    """Logits of the scans whose frames `which` names, by the model's aggregation rule."""
    scores = scores_of(network, frames.frames[which], device)
    scan_of = frames.scan_of[which]
    places = np.unique(scan_of)
    slices = [scan_of == place for place in places]
    of_scan = np.array([aggregation.of(*(kind[one] for kind in scores)) for one in slices])
    target = np.array([int(frames.scans[place].positive) for place in places])
    return ScanLogits(places, of_scan, target)


class Rules(NamedTuple):
    """How validation decides: the kind of calibration, and the rule of the operating point."""

    calibration: CalibrationKind = "platt"
    operating_point: OperatingPointPlan = YoudenPoint()


BY_DEFAULT = Rules()


class Chosen(NamedTuple):
    """What validation decided."""

    calibration: Calibration
    operating_point: float
    rule: str
    metrics: dict[str, float]


class BestOnValidation:
    """Keeps the weights of least validation loss, in a file, so that a killed run keeps them."""

    def __init__(
        self,
        frames: LabelledFrames,
        which: NDArray[np.int64],
        aggregation: Aggregation,
        device: torch.device,
        file: Path,
    ) -> None:
        self.frames, self.which = frames, which
        self.aggregation, self.device, self.file = aggregation, device, file

    def consider(self, state: TrainingState, notes: dict[str, float]) -> dict[str, float]:
        """Score the state; if it is the best so far, keep it. Gives loss and AUROC."""
        weights = state.weights()
        scored = self._score(state.network, weights)
        chance = 1 / (1 + np.exp(-np.clip(scored.logit, -30, 30)))
        loss = float(log_loss(scored.target, chance, labels=[0, 1]))
        if loss < notes.get("best_loss", float("inf")):
            save_weights(self.file, weights)
            notes |= {"best_loss": loss, "best_step": float(state.step)}
        return {"loss": loss, "auroc": float(roc_auc_score(scored.target, scored.logit))}

    def choose(self, network: nn.Module, groups: int, rules: Rules = BY_DEFAULT) -> Chosen:
        """Load the best weights into `network`; fit calibration and operating point.

        Args:
            network: the classifier.
            groups: patients (or runs of files) of the rarer class; with few of them nothing is
                fitted, since a threshold learnt from one patient is that patient's.
            rules: how calibration and operating point are fitted.
        """
        network.load_state_dict(read_weights(self.file), strict=True)
        scored = self._scored(network)
        if groups < LEAST_GROUPS:
            why = f"validation holds {groups} patients or runs of a class, {LEAST_GROUPS} needed"
            rule = f"{DEFAULT_POINT}, since {why}"
            calibration = Calibration(reason=f"Not calibrated: {why}.", kind=rules.calibration)
            point = DEFAULT_POINT
        else:
            calibration = fit_calibration(scored.logit, scored.target, rules.calibration)
            given = calibration.probability(scored.logit)
            point = rules.operating_point.choose(given, scored.target)
            rule = rules.operating_point.words + one_sided(given, point)
        probability = calibration.probability(scored.logit)
        metrics = {
            "validation_auroc": float(roc_auc_score(scored.target, scored.logit)),
            "validation_accuracy": float(np.mean((probability >= point) == scored.target)),
            "validation_scans": float(len(scored.target)),
        }
        return Chosen(calibration, point, rule, metrics)

    def _score(self, network: nn.Module, weights: dict[str, torch.Tensor]) -> ScanLogits:
        now = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        network.load_state_dict(weights, strict=True)
        try:
            return self._scored(network)
        finally:
            network.load_state_dict(now, strict=True)

    def _scored(self, network: nn.Module) -> ScanLogits:
        if not isinstance(network, CovidClassifier):
            raise TypeError(f"Expected a CovidClassifier, got {type(network).__name__}.")
        return score_scans(network, self.frames, self.which, self.aggregation, self.device)


def append_validation(path: Path, step: int, found: dict[str, float]) -> None:
    """Add a row to `validation.csv`; rows of `step` and later, from before a kill, are replaced."""
    before = read_csv(path) if path.is_file() else []
    kept = [row for row in before if int(row["step"]) < step]
    write_csv(path, ("step", *found), [*kept, {"step": step, **found}])
