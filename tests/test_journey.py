"""The whole journey on a phantom: every verb, its products, a kill in the middle, broken files."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from covidssl.commands import evaluate, finetune, predict, prepare, pretrain, preview, report
from covidssl.config import load_config
from covidssl.errors import DataError, UsageError
from covidssl.experiments import (
    EvaluateConfig,
    FinetuneConfig,
    PredictConfig,
    PrepareConfig,
    PretrainConfig,
    PreviewConfig,
)
from covidssl.files import read_csv, write_csv
from covidssl.finetuning import Places
from covidssl.io import write_volume
from covidssl.phantom import phantom_chest
from covidssl.prediction import predict as predict_one
from tests.scan_files import chest_grey, chest_hu, write_dicom, write_png

SHAPE, SPACING = (6, 72, 72), (16.0, 4.8, 4.8)
CPU = predict.How("cpu")
SMALL = ["frame.size=32", "frame.pixels=hu", "encoder.channels=[8,8,16]"]
PRETRAIN = [*SMALL, "training.steps=6", "training.batch_size=4", "training.warmup_steps=2",
            "checkpoint_every=2", "pictures_every=3"]  # fmt: skip
FINETUNE = [*SMALL, "training.steps=4", "training.batch_size=8", "training.warmup_steps=1",
            "validate_every=2", "checkpoint_every=2"]  # fmt: skip


class Journey:
    """Folders of one journey."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scans, self.labels = root / "scans", root / "labelled" / "labels.csv"
        self.store, self.preview = root / "store", root / "preview"
        self.pretrain, self.finetune = root / "pretrain", root / "finetune"
        self.evaluate, self.predict = root / "evaluate", root / "predict"


def pretrain_config(*more: str) -> PretrainConfig:
    return load_config(PretrainConfig, None, [*PRETRAIN, *more])


def finetune_config(*more: str) -> FinetuneConfig:
    return load_config(FinetuneConfig, None, [*FINETUNE, *more])


def write_data(j: Journey) -> None:
    for k in range(4):
        write_volume(phantom_chest(k, False, SHAPE, SPACING).ct, j.scans / f"p{k}.nii.gz")
    rows = []
    for k in range(24):
        name, label = f"p{k:02d}.nii.gz", "COVID" if k % 2 else "non-COVID"
        scan = phantom_chest(100 + k, bool(k % 2), SHAPE, SPACING).ct
        write_volume(scan, j.labels.parent / name)
        rows.append({"path": name, "label": label, "patient": f"person-{k}"})
    write_csv(j.labels, ("path", "label", "patient"), rows)


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """All verbs, once."""
    j = Journey(tmp_path_factory.mktemp("journey"))
    write_data(j)
    prepare.main(PrepareConfig(), [j.scans], j.store)
    look = load_config(PreviewConfig, None, ["frame.size=64", "frame.pixels=hu", "slices=2"])
    preview.main(look, j.store, j.preview)
    pretrain.main(pretrain_config(), j.store, j.pretrain, device="cpu")
    places = Places(j.finetune, j.pretrain, cache=j.root / "cache", device="cpu")
    finetune.main(finetune_config(), j.labels, places)
    evaluate.main(EvaluateConfig(rounds=200), j.finetune, j.labels, j.evaluate)
    (j.root / "broken.nii.gz").write_bytes(b"\x1f\x8b not a scan")
    failed = predict.main(
        PredictConfig(),
        j.finetune,
        [j.scans, j.root / "broken.nii.gz"],
        j.predict,
        how=CPU,
    )
    assert failed == 1
    report.main([j.store, j.preview, j.pretrain, j.finetune, j.evaluate, j.predict],
                j.root / "report.html")  # fmt: skip
    return j


@pytest.mark.parametrize(
    "verb", ["store", "preview", "pretrain", "finetune", "evaluate", "predict"]
)
def test_every_verb_leaves_a_record(journey: Journey, verb: str) -> None:
    folder = getattr(journey, verb)
    record = json.loads((folder / "record.json").read_text())
    assert record["status"] == "done"
    assert record["duration_s"] > 0
    assert record["packages"]["torch"]
    assert record["data"]
    assert (folder / "config.yaml").stat().st_size > 0
    assert (folder / "log.txt").is_file()


def test_pretraining_leaves_weights_cards_pictures_and_a_row_a_step(journey: Journey) -> None:
    run = journey.pretrain
    for name in ("encoder", "restoration"):
        assert (run / f"{name}.safetensors").is_file()
        assert json.loads((run / f"{name}.json").read_text())["holds"] == name
    rows = read_csv(run / "metrics.csv")
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert set(rows[0]) == {
        "step", "loss", "restoration", "lesion_map", "lr", "images_per_second",
    }  # fmt: skip
    assert [p.name for p in sorted((run / "pictures").iterdir())] == [
        "step-000003.png", "step-000006.png",
    ]  # fmt: skip
    assert list((run / "tensorboard").glob("events*"))


def test_the_encoder_in_the_classifier_file_is_close_to_the_pretrained_one(
    journey: Journey,
) -> None:
    """Four steps at a small rate: handed over whole, then moved a little."""
    from covidssl.model import load_model
    from covidssl.weights import load_encoder

    before, _ = load_encoder(journey.pretrain)
    after = load_model(journey.finetune).classifier.encoder
    for name, tensor in before.state_dict().items():
        assert float((after.state_dict()[name] - tensor).abs().max()) < 0.01, name


def test_the_splits_are_written_down_and_no_patient_stands_in_two(journey: Journey) -> None:
    places: dict[str, set[str]] = {}
    for row in read_csv(journey.finetune / "splits.csv"):
        places.setdefault(row["patient"], set()).add(row["split"])
    assert {split for found in places.values() for split in found} == {
        "train", "validation", "test",
    }  # fmt: skip
    assert all(len(found) == 1 for found in places.values())


def test_every_score_has_its_interval(journey: Journey) -> None:
    metrics = json.loads((journey.evaluate / "metrics.json").read_text())
    assert metrics["group_kind"] == "patient"
    for who in ("model", "rival"):
        assert set(metrics[who]) == {
            "accuracy", "balanced_accuracy", "sensitivity", "specificity", "ppv", "npv", "f1",
            "mcc", "brier", "auroc", "auprc",
        }  # fmt: skip
        for score in metrics[who].values():
            assert score["low"] <= score["value"] <= score["high"]
    for figure in ("roc.png", "confusion.png"):
        assert (journey.evaluate / figure).read_bytes().startswith(b"\x89PNG")


def test_one_broken_scan_never_stops_the_others(journey: Journey) -> None:
    rows = {row["scan"]: row for row in read_csv(journey.predict / "predictions.csv")}
    bad = rows.pop("broken.nii.gz")
    assert (bad["outcome"], bad["probability"]) == ("failed", "")
    assert "damaged" in bad["reasons"]
    assert len(rows) == 4
    for row in rows.values():
        assert row["outcome"] in ("ok", "warned")
        assert 0 <= float(row["probability"]) <= 1
        assert 0 <= float(row["lesion_percent"]) <= 100
        assert row["label"] in ("COVID", "non-COVID")


def test_every_answered_scan_has_its_picture_and_maps_on_its_own_grid(journey: Journey) -> None:
    import nibabel

    answered = [row for row in read_csv(journey.predict / "predictions.csv") if row["probability"]]
    assert len(answered) == 4
    for row in answered:
        files = json.loads((journey.predict / row["answer"]).read_text())["files"]
        assert (journey.predict / files["picture"]).read_bytes().startswith(b"\x89PNG")
        scan = nibabel.load(journey.root / row["scan"])
        for kind in ("lesion_map", "evidence_map"):
            drawn = nibabel.load(journey.predict / files[kind])
            assert drawn.shape == scan.shape
            assert np.allclose(drawn.affine, scan.affine)


def test_the_report_is_one_page_with_all_runs(journey: Journey) -> None:
    page = (journey.root / "report.html").read_text()
    assert page.count("data:image/png;base64") >= 6
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "<script src" not in page


def test_resuming_a_finished_run_changes_nothing(journey: Journey) -> None:
    before = (journey.pretrain / "encoder.safetensors").stat().st_mtime_ns
    pretrain.main(pretrain_config(), journey.store, journey.pretrain, "resume", device="cpu")
    assert (journey.pretrain / "encoder.safetensors").stat().st_mtime_ns == before


def test_predictions_resume_where_they_stopped(journey: Journey, tmp_path: Path) -> None:
    out = tmp_path / "predict"
    first = [journey.scans / "p0.nii.gz"]
    predict.main(PredictConfig(), journey.finetune, first, out, how=CPU)
    before = read_csv(out / "predictions.csv")
    picture = next((out / "pictures").iterdir()).stat().st_mtime_ns
    both = [*first, journey.scans / "p1.nii.gz"]
    predict.main(PredictConfig(), journey.finetune, both, out, "resume", how=CPU)
    after = read_csv(out / "predictions.csv")
    assert len(after) == 2
    assert before[0] in after
    assert picture in [path.stat().st_mtime_ns for path in (out / "pictures").iterdir()]


def test_a_store_of_another_pixel_kind_is_refused(journey: Journey, tmp_path: Path) -> None:
    config = pretrain_config("frame.pixels=windowed")
    with pytest.raises(UsageError, match=r"holds 'hu' pixels.*--set frame.pixels=hu"):
        pretrain.main(config, journey.store, tmp_path / "run")


def test_eight_bit_never_reaches_a_network_of_hu(journey: Journey, tmp_path: Path) -> None:
    write_png(tmp_path / "slice.png", chest_grey(128))
    failed = predict.main(
        PredictConfig(),
        journey.finetune,
        [tmp_path / "slice.png"],
        tmp_path / "out",
        how=CPU,
    )
    assert failed == 1
    (row,) = read_csv(tmp_path / "out" / "predictions.csv")
    assert row["outcome"] == "abstained"
    assert "network was trained on HU" in row["reasons"]


def test_a_dicom_folder_and_nifti_of_one_scan_get_the_same_answer(
    journey: Journey, tmp_path: Path
) -> None:
    hu = chest_hu(6, 96)
    write_dicom(tmp_path / "series", hu)
    from covidssl.io import read_ct

    ct = read_ct(tmp_path / "series")
    write_volume(ct, tmp_path / "same.nii.gz")
    said = [predict_one(journey.finetune, tmp_path / name) for name in ("series", "same.nii.gz")]
    assert said[0].probability == pytest.approx(said[1].probability, abs=1e-6)


def test_a_scan_lying_on_its_side_gets_the_same_answer(journey: Journey, tmp_path: Path) -> None:
    import nibabel

    upright = journey.scans / "p1.nii.gz"
    image = nibabel.load(upright)
    turned = np.swapaxes(np.asarray(image.dataobj), 0, 1)[::-1]
    turn = np.array([[0, 1, 0, 0], [-1, 0, 0, turned.shape[0] - 1], [0, 0, 1, 0], [0, 0, 0, 1]])
    nibabel.save(
        nibabel.Nifti1Image(turned.copy(), image.affine @ turn), tmp_path / "turned.nii.gz"
    )
    expected = predict_one(journey.finetune, upright)
    found = predict_one(journey.finetune, tmp_path / "turned.nii.gz")
    assert found.probability == pytest.approx(expected.probability, abs=1e-6)


def test_a_dataset_of_one_class_is_refused(journey: Journey, tmp_path: Path) -> None:
    rows = [row for row in read_csv(journey.labels) if row["label"] == "COVID"]
    for row in rows:
        row["path"] = str(journey.labels.parent / row["path"])
    write_csv(tmp_path / "labels.csv", ("path", "label", "patient"), rows)
    with pytest.raises(DataError, match="expected two classes, found 1"):
        finetune.main(finetune_config(), tmp_path / "labels.csv", Places(tmp_path / "run"))


def test_initial_weights_are_a_third_thing(journey: Journey, tmp_path: Path) -> None:
    out = tmp_path / "more"
    pretrain.main(pretrain_config(), journey.store, out, init=journey.pretrain, device="cpu")
    first = [float(read_csv(run / "metrics.csv")[0]["loss"]) for run in (journey.pretrain, out)]
    assert first[0] != first[1]


def test_fine_tuning_from_scratch_has_no_burden(journey: Journey, tmp_path: Path) -> None:
    places = Places(tmp_path / "scratch", None, device="cpu")
    finetune.main(finetune_config(), journey.labels, places)
    assert not (tmp_path / "scratch" / "model" / "restoration.safetensors").exists()
    said = predict_one(tmp_path / "scratch", journey.scans / "p0.nii.gz")
    assert said.answer.burden is None


def test_a_run_that_was_killed_before_its_first_checkpoint_resumes_to_the_same_losses(
    journey: Journey, tmp_path: Path
) -> None:
    """Later kills, and those of fine-tuning, are those of `benchmarks.kill_resume`."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = [sys.executable, "-m", "covidssl.cli"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}

    def make(j: Journey, out: Path) -> list[str]:
        sets = [*PRETRAIN, "training.steps=30", "checkpoint_every=1000"]
        data = ["--data", str(j.store), "--out", str(out)]
        return ["pretrain", *data, *(f"--set={one}" for one in sets)]

    subprocess.run([*command, *make(journey, whole)], check=True, env=environment)
    victim = subprocess.Popen([*command, *make(journey, killed)], env=environment)
    until = time.monotonic() + 120
    while rows_of(killed) < 7 and time.monotonic() < until and victim.poll() is None:
        time.sleep(0.002)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert 7 <= rows_of(killed) < 30
    again = [*command, *make(journey, killed), "--resume"]
    subprocess.run(again, check=True, env=environment)
    losses = [[row["loss"] for row in read_csv(run / "metrics.csv")] for run in (whole, killed)]
    assert losses[0] == losses[1]
    weights = "encoder.safetensors"
    assert (whole / weights).read_bytes() == (killed / weights).read_bytes()


def rows_of(run: Path) -> int:
    path = run / "metrics.csv"
    if not path.is_file():
        return 0
    with path.open() as lines:
        return max(0, len(list(csv.reader(lines))) - 1)


def test_nothing_of_a_header_reaches_any_product(journey: Journey, tmp_path: Path) -> None:
    canaries = {
        "PatientName": "CANARY^NAME", "PatientID": "CANARY-ID", "StudyDate": "19991231",
        "PatientBirthDate": "19311130", "InstitutionName": "CANARY HOSPITAL",
        "ReferringPhysicianName": "CANARY^DOCTOR", "SeriesDescription": "CANARY SERIES",
        "AccessionNumber": "CANARY-ACC", "SeriesInstanceUID": "1.2.826.0.1.3680043.8.498.424242",
    }  # fmt: skip
    write_dicom(tmp_path / "in" / "good", chest_hu(5, 96), **canaries)
    gap = [0, 2.5, 5, 15, 17.5]
    write_dicom(tmp_path / "in" / "gap", chest_hu(5, 96), z_mm=gap, **canaries)
    failed = predict.main(
        PredictConfig(),
        journey.finetune,
        [tmp_path / "in"],
        tmp_path / "out",
        how=CPU,
    )
    assert failed == 1
    prepare.main(PrepareConfig(), [tmp_path / "in"], tmp_path / "store")
    report.main([tmp_path / "out", tmp_path / "store"], tmp_path / "report.html")
    products = [p for p in tmp_path.rglob("*") if p.is_file() and "in" not in p.parts[-3:]]
    assert len(products) > 8
    for path in products:
        content = path.read_bytes()
        for canary in canaries.values():
            assert canary.encode() not in content, (path.name, canary)


def test_another_patient_of_the_same_name_is_never_given_the_first_ones_row(
    journey: Journey, tmp_path: Path
) -> None:
    for clinic, source in (("a", "p0"), ("b", "p1")):
        (tmp_path / clinic).mkdir()
        content = (journey.scans / f"{source}.nii.gz").read_bytes()
        (tmp_path / clinic / "scan.nii.gz").write_bytes(content)
    out = tmp_path / "out"
    predict.main(PredictConfig(), journey.finetune, [tmp_path / "a"], out, how=CPU)
    predict.main(PredictConfig(), journey.finetune, [tmp_path / "b"], out, "resume", how=CPU)
    (row,) = read_csv(out / "predictions.csv")
    expected = predict_one(journey.finetune, tmp_path / "b" / "scan.nii.gz")
    assert float(row["probability"]) == pytest.approx(expected.probability, abs=1e-4)


def test_a_finished_run_is_not_taken_for_one_on_other_data(
    journey: Journey, tmp_path: Path
) -> None:
    prepare.main(PrepareConfig(min_lung_share=0.1), [journey.scans], tmp_path / "store")
    with pytest.raises(UsageError, match="changed since it was started: store"):
        pretrain.main(
            pretrain_config(), tmp_path / "store", journey.pretrain, "resume", device="cpu"
        )


def test_a_start_of_another_pixel_kind_is_refused(journey: Journey, tmp_path: Path) -> None:
    config = finetune_config("frame.pixels=windowed")
    places = Places(tmp_path / "run", None, init=journey.finetune, device="cpu")
    with pytest.raises(UsageError, match=r"frame\.pixels: windowed -> hu"):
        finetune.main(config, journey.labels, places)


def test_a_resume_from_another_start_is_refused(journey: Journey, tmp_path: Path) -> None:
    out = tmp_path / "run"
    pretrain.main(pretrain_config(), journey.store, out, init=journey.pretrain, device="cpu")
    with pytest.raises(UsageError, match="changed since it was started: init"):
        pretrain.main(pretrain_config(), journey.store, out, "resume", device="cpu")
