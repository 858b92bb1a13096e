"""A checklist says what a run says, and leaves open what it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from covidssl.files import write_csv
from covidssl.report.blocks import Table
from covidssl.report.checklist import checklist
from covidssl.report.guidelines import ITEMS

CARD = {
    "classes": ["normal", "COVID"],
    "encoder": {"kind": "unet", "dimensions": 2},
    "head": {"kind": "linear"},
    "frame": {"crop": "lungs", "size": 64, "pixels": "hu", "window_hu": [-1000, 400]},
    "aggregation": {"rule": "mean", "most_slices": 24},
    "calibration": {"kind": "platt", "reason": None},
    "operating_point": 0.4,
    "operating_point_rule": "Youden",
    "pretrained_from": "none",
    "leakage": "",
    "files": {"classifier.safetensors": "a" * 64},
}
CONFIG = """learns: all
validate_every: 25
training: {steps: 300, batch_size: 32, learning_rate: 0.0001}
"""
METRICS = {
    "split": "test", "n": 40, "positives": 20, "rounds": 2000, "groups": 40,
    "group_kind": "patient", "warnings": [], "leakage": "",
    "model": {"auroc": {"value": 0.8, "low": 0.7, "high": 0.9}},
}  # fmt: skip


def written(folder: Path, **files: Any) -> Path:
    """A run folder of JSON files, by their names without an ending."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def trained(folder: Path, patients: str = "abcd", allowed: bool = False, **card: Any) -> Path:
    """A fine-tuning run of four scans: two of train, one of validation, one of test."""
    places = ("train", "train", "validation", "test")
    rows = [
        {"scan": f"{k}.png", "patient": patients[k].strip(), "split": place}
        for k, place in enumerate(places)
    ]
    write_csv(folder / "splits.csv", tuple(rows[0]), rows)
    split = {"kind": "given", "reason": "given", "leakage_allowed": allowed, "leaks": []}
    written(folder, splits=split)
    written(folder / "model", card=CARD | card)
    (folder / "config.yaml").write_text(CONFIG)
    return folder


def filled(*runs: tuple[str, Path]) -> dict[str, str]:
    """What the items say that are filled."""
    table = checklist(runs)[1]
    assert isinstance(table, Table)
    return {str(row[0]): str(row[2]) for row in table.rows}


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    return written(tmp_path / "evaluate", metrics=METRICS)


def test_of_empty_and_broken_folders_nothing_is_said(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "metrics.json").write_text("{broken")
    verbs = ("prepare", "finetune", "predict", "robustness")
    for evaluated in (empty, broken):
        assert filled(*((verb, empty) for verb in verbs), ("evaluate", evaluated)) == {}


@pytest.mark.parametrize("missing", ["n", "model", "rounds", "warnings"])
def test_a_fact_whose_source_is_missing_is_left_out(missing: str, tmp_path: Path) -> None:
    less = {name: value for name, value in METRICS.items() if name != missing}
    assert "None" not in str(filled(("evaluate", written(tmp_path / "run", metrics=less))))


def test_a_whole_run_fills_how_it_learnt(scored: Path, tmp_path: Path) -> None:
    said = filled(("finetune", trained(tmp_path / "run")), ("evaluate", scored))
    assert said["CLAIM 2024, 20"] == "patients"
    assert said["CLAIM 2024, 25"] == "300 steps of 32, learning rate 0.0001, what learns: all"
    assert said["TRIPOD+AI, 12f"] == "calibration by platt fitted on validation"
    assert said["TRIPOD+AI, 15"].startswith("a calibrated probability of 'COVID'")
    assert said["TRIPOD+AI, 12b"] == said["CLAIM 2024, 9"]


def test_a_model_that_was_not_calibrated_is_not_told_to_be(scored: Path, tmp_path: Path) -> None:
    why = {"kind": "platt", "reason": "Not calibrated: fewer than 10 scans."}
    said = filled(("finetune", trained(tmp_path / "run", calibration=why)), ("evaluate", scored))
    assert "TRIPOD+AI, 12f" not in said
    assert said["TRIPOD+AI, 15"].startswith("an uncalibrated probability")
    assert said["CLAIM 2024, 26"].endswith("; not calibrated")


def test_partitions_that_leak_are_not_called_disjoint(scored: Path, tmp_path: Path) -> None:
    leaks = trained(tmp_path / "leaks", allowed=True, leakage="1 patient of both")
    said = filled(("finetune", leaks), ("evaluate", scored))
    assert said["CLAIM 2024, 20"] == "not disjoint, which was allowed: 1 patient of both"
    assert said["CLAIM 2024, 19"].endswith("LEAKAGE WAS ALLOWED: 1 patient of both")
    for patients, words in (("abca", "not patients: 1 are in"), ("ab d", "not all known")):
        run = trained(tmp_path / patients, patients)
        assert words in filled(("finetune", run), ("evaluate", scored))["CLAIM 2024, 20"]


def test_leakage_stands_beside_the_scores_that_it_flatters(tmp_path: Path) -> None:
    run = written(tmp_path / "run", metrics=METRICS | {"leakage": "3 of 40 scans"})
    said = filled(("evaluate", run))
    for number in ("32", "37"):
        assert said[f"CLAIM 2024, {number}"].endswith("; THERE IS LEAKAGE: 3 of 40 scans")


def test_the_training_of_another_model_says_nothing_of_this_one(tmp_path: Path) -> None:
    scored = written(tmp_path / "run", metrics=METRICS, record={"data": {"classifier": "b" * 64}})
    one = trained(tmp_path / "one", files={"classifier.safetensors": "b" * 64})
    two = trained(tmp_path / "two", pretrained_from="c" * 64)
    said = filled(("finetune", one), ("finetune", two), ("evaluate", scored))
    assert said["CLAIM 2024, 24"] == "from scratch"
    assert "CLAIM 2024, 24" not in filled(("finetune", two), ("evaluate", scored))


def test_maps_and_ensembles_are_told_where_they_were_made(scored: Path, tmp_path: Path) -> None:
    run = written(tmp_path / "predict", run={"ensemble": []})
    (run / "config.yaml").write_text("maps: true\n")
    assert (
        not {"CLAIM 2024, 27", "CLAIM 2024, 31"}
        & filled(("evaluate", scored), ("predict", run)).keys()
    )
    (run / "maps").mkdir()
    (run / "maps" / "ab-evidence.png").write_bytes(b"")
    written(run, run={"ensemble": [CARD, CARD]})
    said = filled(("evaluate", scored), ("predict", run))
    assert said["CLAIM 2024, 27"].startswith("3 models")
    assert said["CLAIM 2024, 31"] == "maps of what moved the answer (evidence map)"


@pytest.mark.parametrize(("small", "told"), [(True, False), (False, True)])
def test_subgroups_are_told_where_two_are_large_enough(
    small: bool, told: bool, tmp_path: Path
) -> None:
    parts = [
        {"column": "site", "value": value, "small": small and value == "b", "scores": {"auroc": {}}}
        for value in "ab"
    ]
    words = "site: fewer than two subgroups" if small else "site: the worst subgroup is a"
    metrics = METRICS | {"subgroups": parts, "worst_subgroups": [words]}
    said = filled(("evaluate", written(tmp_path / "run", metrics=metrics)))
    assert ("TRIPOD+AI, 23b" in said) is told


def test_an_external_set_that_was_not_scored_is_no_external_test(tmp_path: Path) -> None:
    metrics = METRICS | {"external": {"clinic": {"not_scored": "Not one of 8 scans"}}}
    assert "CLAIM 2024, 33" not in filled(("evaluate", written(tmp_path / "run", metrics=metrics)))


def test_what_no_software_knows_is_left_to_the_authors() -> None:
    left = {f"{one.guide}, {one.number}" for one in ITEMS if not one.told_by}
    assert {"TRIPOD+AI, 14", "TRIPOD+AI, 27a", "TRIPOD+AI, 18f", "CLAIM 2024, 43"} <= left
