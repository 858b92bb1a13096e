"""What is exported says what the model says, on pictures of any size, or it is not kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from covidssl.box import Box, Region
from covidssl.calibration import Calibration
from covidssl.commands import evaluate
from covidssl.commands.export import main
from covidssl.diagnosis import scores_of
from covidssl.errors import UsageError, WeightsError
from covidssl.experiments import EvaluateConfig
from covidssl.export import Format, scorer_of
from covidssl.export import programs as export_programs
from covidssl.export.checks import INPUTS, compare
from covidssl.export.scorer import Calibrated, Scorer
from covidssl.files import read_csv
from covidssl.frames import frame_pixels, frame_volume
from covidssl.hounsfield import Pixels
from covidssl.model import ModelCard, load_model
from covidssl.networks.heads import HeadPlan
from covidssl.prediction import predict
from covidssl.randomness import torch_generator
from covidssl.weights import save_weights
from tests.export.taught_models import HU_SLICES, HU_VOLUME, SLICES, card_of, write_taught
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_png
from tests.test_evaluate import rows_of, save_untrained, write_scans

ATTENTION = HeadPlan(kind="attention", attention_features=4)
KNOTS = ((-0.6, 0.1), (-0.1, 0.3), (0.2, 0.35), (0.9, 0.9))
CARDS = {
    "slices": card_of(SLICES),
    "isotonic": card_of(HU_SLICES).model_copy(
        update={"calibration": Calibration(kind="isotonic", knots=KNOTS)}
    ),
    "attention": card_of(HU_SLICES, ATTENTION),
    "volume": card_of(HU_VOLUME),
}


def model_folder(tmp_path: Path, name: str) -> Path:
    return write_taught(tmp_path / "model", CARDS[name])


def hu(*shape: int) -> torch.Tensor:
    return torch.rand((3, 1, *shape), generator=torch_generator(6)) * 1600 - 1200


def said_by(scorer: Scorer, pixels: torch.Tensor) -> list[np.ndarray]:
    with torch.no_grad():
        return [column.numpy() for column in scorer(pixels)]


# The graph


def test_graph_does_what_prediction_does_with_a_crop(tmp_path: Path) -> None:
    model = load_model(model_folder(tmp_path, "attention"))
    crop = hu(45, 57)
    frames = frame_pixels(crop[:, 0].numpy(), Pixels.HU, Box(0, 45, 0, 57), model.card.frame)
    expected = scores_of(model.classifier, frames, model.device)
    logit, probability, attention = said_by(scorer_of(model), crop)
    np.testing.assert_allclose(logit, expected.logit, atol=2e-3)
    np.testing.assert_allclose(attention, expected.attention, atol=2e-3)
    np.testing.assert_allclose(
        probability, model.card.calibration.probability(expected.logit), atol=1e-3
    )
    assert np.ptp(logit) > 0.02


def test_graph_of_volumes_does_what_prediction_does_with_a_block(tmp_path: Path) -> None:
    model = load_model(model_folder(tmp_path, "volume"))
    block = hu(11, 40, 45)[:1]
    region = Region(range(11), Box(0, 40, 0, 45))
    frame = frame_volume(block[0, 0].numpy(), Pixels.HU, region, model.card.frame)
    expected = scores_of(model.classifier, frame[None], model.device)
    np.testing.assert_allclose(said_by(scorer_of(model), block)[0], expected.logit, atol=2e-3)


@pytest.mark.parametrize(
    "calibration",
    [
        Calibration(1.5, -0.25),
        Calibration(0.3, kind="temperature"),
        Calibration(kind="isotonic", knots=KNOTS),
    ],
    ids=lambda one: one.kind,
)
def test_graph_calibrates_as_the_card_does(calibration: Calibration) -> None:
    logits = torch.linspace(-3, 3, 61)
    found = Calibrated(calibration)(logits).numpy()
    np.testing.assert_allclose(found, calibration.probability(logits.numpy()), atol=1e-6)


# Files that run without covidssl


@pytest.mark.parametrize("name", ["attention", "isotonic", "volume"])
def test_onnx_file_says_what_the_model_says(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    folder, out = model_folder(tmp_path, name), tmp_path / "out" / "model.onnx"
    said = main(folder, "onnx", out)
    assert said[0] == str(out)
    assert said[1].startswith(f"checked on {INPUTS} inputs: probabilities differ by at most ")
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    pixels = hu(21, 29, 41) if name == "volume" else hu(29, 41)
    expected = said_by(scorer_of(load_model(folder)), pixels)
    found = session.run(None, {"pixels": pixels.numpy()})
    calibration = load_model(folder).card.calibration
    np.testing.assert_allclose(found[1], calibration.probability(found[0]), atol=1e-5)
    outputs = [output.name for output in session.get_outputs()]
    assert outputs == ["logit", "probability", "attention"][: 3 if name == "attention" else 2]
    for ours, theirs in zip(expected, found, strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-4)
    kept = session.get_modelmeta().custom_metadata_map["covidssl"]
    assert ModelCard.model_validate_json(kept) == load_model(folder).card
    assert sorted(path.name for path in out.parent.iterdir()) == ["model.onnx", "model.onnx.json"]


def test_exported_program_says_what_the_model_says(tmp_path: Path) -> None:
    folder, out = model_folder(tmp_path, "slices"), tmp_path / "model.pt2"
    main(folder, "pt2", out)
    files = {"card.json": ""}
    again = torch.export.load(out, extra_files=files).module()
    grey = torch.rand((3, 1, 61, 33), generator=torch_generator(6)) * 255
    for ours, theirs in zip(scorer_of(load_model(folder))(grey), again(grey), strict=True):
        torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)
    assert ModelCard.model_validate_json(files["card.json"]) == load_model(folder).card


def test_what_the_graph_does_not_hold_is_said_beside_it(tmp_path: Path) -> None:
    main(model_folder(tmp_path, "slices"), "pt2", tmp_path / "m.pt2")
    said = json.loads((tmp_path / "m.pt2.json").read_text())
    assert said["input"]["values"] == "grey values 0 to 255, windowed"
    assert said["input"]["becomes_0_and_1"] == [0.0, 255.0]
    assert said["input"]["window_hu"] == [-1000.0, 400.0]
    assert said["input"]["from_hu"] == "255 * clip((hu - low) / (high - low), 0, 1)"
    assert said["before"]["crop"] == "lungs"
    assert said["after"]["rule"] == "mean"
    assert said["after"]["calibration"] == {"scale": 1.5, "bias": -0.25}
    assert said["after"]["operating_point"] == 0.4
    assert said["after"]["scan_probability"] == "1 / (1 + exp(-(scale * scan_logit + bias)))"
    assert said["check"]["inputs"] == INPUTS
    assert 0 <= said["check"]["probability"] <= 1e-4
    assert "Not a medical device" in said["intended_use"]


def test_knots_of_an_isotonic_calibration_stand_beside_the_graph(tmp_path: Path) -> None:
    main(model_folder(tmp_path, "isotonic"), "pt2", tmp_path / "m.pt2")
    after = json.loads((tmp_path / "m.pt2.json").read_text())["after"]
    assert after["calibration"] == {"knots": [list(knot) for knot in KNOTS]}
    assert after["scan_probability"].startswith("linear in scan_logit between the knots")


def test_file_that_says_something_else_is_refused(tmp_path: Path) -> None:
    scorer = scorer_of(load_model(model_folder(tmp_path, "slices")))

    def other(pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return scorer(pixels + 1.0)

    with pytest.raises(WeightsError, match=r"m\.onnx: the written file does not say .* not kept"):
        compare(scorer, other, "m.onnx")


def test_file_of_a_network_that_says_nothing_is_not_kept(tmp_path: Path) -> None:
    folder = model_folder(tmp_path, "slices")
    model = load_model(folder)
    weights = {n: t * float("nan") for n, t in model.classifier.state_dict().items()}
    card = json.loads((folder / "card.json").read_text())
    name = "classifier.safetensors"
    card["files"][name] = save_weights(folder / name, weights)
    (folder / "card.json").write_text(json.dumps(card))
    formats: list[tuple[Format, str]] = [("pt2", "m.pt2"), ("monai-bundle", "bundle")]
    for to, out in formats:
        with pytest.raises(WeightsError, match="does not say what the network says"):
            main(folder, to, tmp_path / "out" / out)
    assert list((tmp_path / "out").iterdir()) == []


def test_missing_onnx_packages_are_named_with_their_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        export_programs, "find_spec", lambda name: None if name != "onnx" else find_spec("json")
    )
    with pytest.raises(
        UsageError, match=r"onnxruntime and onnxscript must be installed: pip install 'covidssl\[e"
    ):
        main(model_folder(tmp_path, "slices"), "onnx", tmp_path / "m.onnx")


# MONAI's bundle


def run_bundle(bundle: Path, **arguments: Path) -> subprocess.CompletedProcess[str]:
    """`python -m monai.bundle run`; without `fire`, which reads its arguments, what that calls."""
    config = "configs/inference.json"
    if find_spec("fire") is not None:
        more = [text for key, value in arguments.items() for text in (f"--{key}", str(value))]
        command = ["-m", "monai.bundle", "run", "--config_file", config, *more]
    else:
        keys = "".join(f", {key}={str(value)!r}" for key, value in arguments.items())
        command = ["-c", f"from monai.bundle import run; run(config_file={config!r}{keys})"]
    return subprocess.run(
        [sys.executable, *command],
        cwd=bundle, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


def test_monai_bundle_runs_on_scans_and_says_what_predict_says(tmp_path: Path) -> None:
    folder, bundle = model_folder(tmp_path, "attention"), tmp_path / "bundle"
    main(folder, "monai-bundle", bundle)
    scans = tmp_path / "scans"
    lps_nifti(scans / "one.nii.gz", chest_hu(seed=1))
    lps_nifti(scans / "two.nii.gz", chest_hu(seed=2))
    (scans / "broken.nii.gz").write_bytes(b"no scan")
    done = run_bundle(bundle, dataset_dir=scans, output_dir=tmp_path / "said")
    assert done.returncode == 0, done.stderr[-2000:]
    rows = {row["scan"]: row for row in read_csv(tmp_path / "said" / "predictions.csv")}
    assert set(rows) == {"one.nii.gz", "two.nii.gz", "broken.nii.gz"}
    assert rows["broken.nii.gz"]["probability"] == ""
    assert "broken.nii.gz" in rows["broken.nii.gz"]["problem"]
    for name in ("one.nii.gz", "two.nii.gz"):
        expected = predict(folder, scans / name)
        assert float(rows[name]["probability"]) == pytest.approx(expected.probability, abs=1e-4)
        assert rows[name]["label"] == expected.label


def test_monai_bundle_has_the_entries_that_monai_asks_for(tmp_path: Path) -> None:
    from monai.bundle.workflows import ConfigWorkflow

    bundle = tmp_path / "bundle"
    main(model_folder(tmp_path, "slices"), "monai-bundle", bundle)
    (bundle / "data").mkdir()
    write_png(bundle / "data" / "0.png", chest_grey(64))
    workflow = ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.json"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        workflow_type="inference",
        bundle_root=str(bundle),
    )
    workflow.initialize()
    assert workflow.check_properties() == []
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    # The specification's required keys (docs.monai.io, "MONAI Bundle Specification").
    assert {
        "version", "changelog", "monai_version", "pytorch_version", "numpy_version",
        "required_packages_version", "task", "description", "authorship", "copyright",
        "network_data_format",
    } <= metadata.keys()  # fmt: skip
    assert metadata["window_hu"] == [-1000.0, 400.0]
    files = sorted(str(p.relative_to(bundle)) for p in bundle.rglob("*") if p.is_file())
    assert files == [
        "LICENSE", "configs/inference.json", "configs/metadata.json", "data/0.png",
        "docs/MODEL.md", "docs/README.md", "docs/covidssl.json", "export.json",
        "models/card.json", "models/model.pt",
    ]  # fmt: skip


# The card


def test_card_shows_the_scores_of_an_evaluation_with_their_intervals(tmp_path: Path) -> None:
    labels = write_scans(tmp_path / "data", rows_of(("test", "test")))
    save_untrained(tmp_path / "run", 1)
    save_untrained(tmp_path / "other", 2)
    config = EvaluateConfig(split="all", rounds=100)
    scored = evaluate.main(config, tmp_path / "run", labels, tmp_path / "evaluate")
    main(tmp_path / "run", "card", tmp_path / "CARD.md", scored)
    auroc = json.loads((scored / "metrics.json").read_text())["model"]["auroc"]
    text = (tmp_path / "CARD.md").read_text()
    assert f"| auroc | {auroc['value']:.3f} | {auroc['low']:.3f} to {auroc['high']:.3f} |" in text
    assert "4 scans, 2 of them COVID" in text
    with pytest.raises(WeightsError, match="is an evaluation of another model"):
        main(tmp_path / "other", "card", tmp_path / "OTHER.md", scored)
    with pytest.raises(UsageError, match="is no finished run of `covidssl evaluate`"):
        main(tmp_path / "run", "card", tmp_path / "OTHER.md", tmp_path / "data")
