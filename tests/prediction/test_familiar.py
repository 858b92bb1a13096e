"""What fine-tuning writes of the scans that it learnt from, and what predictions make of it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from covidssl.answers import Answer
from covidssl.commands import finetune
from covidssl.config import load_config
from covidssl.diagnosis import pooled_features
from covidssl.experiments import FinetuneConfig
from covidssl.files import write_csv
from covidssl.finetuning import Places
from covidssl.hounsfield import Pixels
from covidssl.io import read_ct
from covidssl.lungs import segment_lungs
from covidssl.model import Model, load_model
from covidssl.phantom import phantom_chest
from covidssl.prediction import AnswerPlan, Predictor
from covidssl.scan_frames import frames_of_scan
from tests.prediction.models import CPU
from tests.scan_files import lps_nifti

SPLITS = {"train": range(12), "validation": range(100, 112), "test": range(200, 202)}
SLICES = 3
PLAN = AnswerPlan(maps=False, force=True)
SETTINGS = (
    "frame.size=32 encoder.channels=[8,8] encoder.groups=4 positive_class=ill learns=all "
    "training.steps=4 training.batch_size=4 training.learning_rate=0.1 training.warmup_steps=1 "
    f"validate_every=2 aggregation.most_slices={SLICES}"
).split()


class Tuned(NamedTuple):
    """A fine-tuning run of scans of several slices in HU, and where its scans lie."""

    run: Path
    scans: Path

    @property
    def model(self) -> Model:
        """What came out."""
        return load_model(self.run)

    def scan(self, seed: int) -> Path:
        """One of the scans."""
        return self.scans / f"{seed}.nii.gz"


@cache
def _hu(seed: int) -> np.ndarray:
    return phantom_chest(seed, bool(seed % 2), (9, 40, 40), (20.0, 8.6, 8.6)).ct.array


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    root = tmp_path_factory.mktemp("familiar")
    made = Tuned(root / "run", root / "set")
    rows = []
    for split, seeds in SPLITS.items():
        for seed in seeds:
            lps_nifti(made.scan(seed), _hu(seed), 8.6)
            label = ("well", "ill")[seed % 2]
            rows.append({"path": f"{seed}.nii.gz", "label": label, "split": split})
    write_csv(made.scans / "set.csv", ("path", "label", "split"), rows)
    config = load_config(FinetuneConfig, None, SETTINGS)
    finetune.main(config, made.scans / "set.csv", Places(made.run, device="cpu"))
    return made


def answers_of(model: Model, paths: list[Path]) -> list[Answer]:
    predictor = Predictor([model], PLAN)
    return [predictor.answer(predictor.prepare(read_ct(path))).answer for path in paths]


def test_the_limit_is_that_of_the_validation_scans_as_predictions_see_them(tuned: Tuned) -> None:
    found = tuned.model.card.distance
    assert found is not None
    # Otherwise the last weights would be the best ones, and a limit of those no mistake.
    assert tuned.model.card.trained_on.steps < 4
    answers = answers_of(tuned.model, [tuned.scan(seed) for seed in SPLITS["validation"]])
    assert {len(answer.slices) for answer in answers} == {SLICES}
    assert max(answer.distance or 0.0 for answer in answers) == pytest.approx(found.limit, 1e-5)
    assert found.scans == 12
    assert found.false_alarms == pytest.approx(1 / 13)
    page = (tuned.run / "model" / "MODEL.md").read_text()
    assert f"than {found.limit:.3g} (about 1 is usual). Of 12 validation scans" in page


def test_what_is_usual_is_taken_from_the_frames_of_training(tuned: Tuned) -> None:
    model, frames = tuned.model, []
    for seed in SPLITS["train"]:
        ct = read_ct(tuned.scan(seed))
        frames.append(frames_of_scan(ct, segment_lungs(ct), model.card.frame, SLICES).frames)
    features = pooled_features(model.classifier, np.concatenate(frames), CPU)
    assert model.features is not None
    np.testing.assert_allclose(model.features.centre, features.mean(0), rtol=1e-4, atol=1e-5)
    assert len(model.features.spread) == len(features) // 3 == SLICES * 12 // 3


def test_hu_are_no_surprise_to_a_network_that_learnt_from_hu_through_a_window(
    tuned: Tuned,
) -> None:
    model = tuned.model
    assert model.card.frame.pixels is Pixels.WINDOWED
    assert model.card.pixel_kinds == (Pixels.HU,)

    def warned(kinds: tuple[Pixels, ...], *others: Model) -> bool:
        one = replace(model, card=model.card.model_copy(update={"pixel_kinds": kinds}))
        prepared = Predictor([one, *others], PLAN).prepare(read_ct(tuned.scan(200)))
        return "through_window" in [reason.code for reason in prepared.reasons]

    assert not warned((Pixels.HU,))
    assert not warned((Pixels.HU, Pixels.WINDOWED))
    assert warned((Pixels.WINDOWED,))
    # Cards from before do not say; of an ensemble all must have learnt from HU.
    assert warned(())
    files = {**model.card.files, "classifier.safetensors": "another"}
    card = model.card.model_copy(update={"pixel_kinds": (), "files": files})
    assert warned((Pixels.HU,), replace(model, card=card))
