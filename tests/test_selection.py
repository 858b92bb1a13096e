"""What validation decides, and by which rules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from scipy.special import expit

from covidssl.calibration import DEFAULT_POINT, OperatingPointPlan
from covidssl.datasets import LabelledScan
from covidssl.hounsfield import Pixels
from covidssl.io import ScanFiles
from covidssl.labelled_frames import LabelledFrames
from covidssl.lessons import lessons
from covidssl.model import Aggregation
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.heads import HeadPlan
from covidssl.networks.plan import EncoderPlan
from covidssl.randomness import initial_weights, numpy_generator
from covidssl.selection import BestOnValidation, Chosen, Rules, ScanLogits, score_scans
from covidssl.training import TrainingState

CPU = torch.device("cpu")
SCANS = 160
MANY_GROUPS = 20


class Validation:
    """Scans of one slice with a bright patch; its size tells the classes apart, mostly."""

    def __init__(self, folder: Path) -> None:
        draw = numpy_generator(51)
        target = np.arange(SCANS) % 3 == 0
        edges = np.clip(12 + 4 * target + 4 * draw.normal(size=SCANS), 2, 30).astype(int)
        frames = draw.integers(0, 5000, (SCANS, 32, 32), dtype=np.uint16)
        for frame, edge in zip(frames, edges, strict=True):
            frame[:edge, :edge] += 50000
        self.frames = LabelledFrames(
            frames=frames,
            scan_of=np.arange(SCANS),
            scans=tuple(
                LabelledScan(str(k), ScanFiles(str(k), "picture", ()), bool(ill))
                for k, ill in enumerate(target)
            ),
            thumbnails=np.empty((SCANS, 0), np.float32),
            hashes=np.empty((SCANS, 32), np.uint8),
            voxels=("",) * SCANS,
            pixels=(Pixels.HU,) * SCANS,
            dropped=(),
            without_lungs=(),
            warned=(),
        )
        with initial_weights(1):
            plan = EncoderPlan(channels=(8, 8), groups=4)
            self.network = CovidClassifier(build_encoder(plan))
        learnt = lessons(HeadPlan(), self.frames, np.arange(SCANS))
        learnt.start(self.network, learnt, CPU)
        which = np.arange(SCANS)
        self.best = BestOnValidation(
            self.frames, which, Aggregation(), CPU, folder / "best.safetensors"
        )
        optimizer = torch.optim.SGD(self.network.parameters(), 0.1)
        self.found = self.best.consider(TrainingState(self.network, optimizer), {})

    def scored(self) -> ScanLogits:
        return score_scans(self.network, self.frames, np.arange(SCANS), Aggregation(), CPU)

    def chosen(self, groups: int = MANY_GROUPS, **rules: object) -> Chosen:
        if isinstance(rules.get("operating_point"), dict):
            adapter = TypeAdapter(OperatingPointPlan)
            rules["operating_point"] = adapter.validate_python(rules["operating_point"])
        return self.best.choose(self.network, groups, Rules(**rules))

    def sensitivity_and_specificity(self, chosen: Chosen) -> tuple[float, float]:
        scored = self.scored()
        called = chosen.calibration.probability(scored.logit) >= chosen.operating_point
        return called[scored.target == 1].mean(), 1 - called[scored.target == 0].mean()


@pytest.fixture(scope="module")
def validation(tmp_path_factory: pytest.TempPathFactory) -> Validation:
    made = Validation(tmp_path_factory.mktemp("validation"))
    assert 0.6 < made.found["auroc"] < 0.99
    return made


@pytest.mark.parametrize("kind", ["platt", "temperature", "isotonic"])
def test_the_calibration_that_is_asked_for_is_fitted(kind: str, validation: Validation) -> None:
    chosen = validation.chosen(calibration=kind)
    assert (chosen.calibration.kind, chosen.calibration.reason) == (kind, None)
    assert bool(chosen.calibration.knots) == (kind == "isotonic")
    assert (chosen.calibration.bias == 0) == (kind != "platt")
    scored = validation.scored()
    given = chosen.calibration.probability(scored.logit)
    if kind != "temperature":
        assert given.mean() == pytest.approx(scored.target.mean(), abs=0.03)
    loss = np.mean((given - scored.target) ** 2)
    assert loss < np.mean((expit(scored.logit) - scored.target) ** 2)


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
@pytest.mark.parametrize("target", [0.6, 0.9, 1.0])
def test_target_sensitivity_is_reached_and_not_by_more_than_needed(
    target: float, kind: str, validation: Validation
) -> None:
    plan = {"kind": "sensitivity", "target": target}
    chosen = validation.chosen(calibration=kind, operating_point=plan)
    sensitivity, _ = validation.sensitivity_and_specificity(chosen)
    assert sensitivity >= target
    higher = chosen._replace(operating_point=chosen.operating_point + 0.2)
    assert validation.sensitivity_and_specificity(higher)[0] < target
    assert chosen.rule.startswith(f"highest threshold with a sensitivity of {target:g} or more")


def test_a_dearer_miss_gives_a_lower_threshold(validation: Validation) -> None:
    points = [
        validation.chosen(operating_point={"kind": "cost", "ratio": ratio}).operating_point
        for ratio in (0.2, 1.0, 5.0)
    ]
    assert points[0] > points[1] > points[2]


def test_costs_far_from_even_give_all_of_one_side(validation: Validation) -> None:
    missed = validation.chosen(operating_point={"kind": "cost", "ratio": 1e6})
    assert validation.sensitivity_and_specificity(missed)[0] == 1.0
    rare = validation.chosen(operating_point={"kind": "cost", "prevalence": 1e-6})
    assert validation.sensitivity_and_specificity(rare)[1] == 1.0
    assert rare.rule.startswith(
        "least cost on validation, a missed positive at 1 times a false alarm, prevalence 1e-06"
    )


def test_by_default_it_is_youdens_point_on_platts_probability(validation: Validation) -> None:
    chosen = validation.best.choose(validation.network, MANY_GROUPS)
    assert chosen == validation.chosen(calibration="platt", operating_point={"kind": "youden"})
    assert chosen.rule == "highest sensitivity + specificity on validation (Youden)"


def test_with_few_patients_nothing_is_fitted_whatever_is_asked_for(validation: Validation) -> None:
    plan = {"kind": "sensitivity", "target": 0.99}
    chosen = validation.chosen(groups=2, calibration="isotonic", operating_point=plan)
    assert chosen.operating_point == DEFAULT_POINT
    assert chosen.rule.startswith("0.5, since validation holds 2 patients")
    assert chosen.calibration.knots == ()
    assert chosen.calibration.reason is not None
