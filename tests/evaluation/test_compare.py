"""Models on the same scans: a difference is told with its tests, and other scans are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit

from covidssl.commands import compare, report
from covidssl.errors import DataError, UsageError
from covidssl.evaluation import COLUMNS, Evaluation
from covidssl.evaluation.compared import compare_all, read_evaluated
from covidssl.evaluation.scoring import scores_of
from covidssl.experiments import CompareConfig
from covidssl.files import read_csv, write_csv, write_json
from covidssl.metrics import holm, paired_delong
from covidssl.randomness import numpy_generator
from tests.evaluation.made import BOOTSTRAP, drawn

QUICK = CompareConfig(rounds=100)


def folder_of(path: Path, judged: Evaluation, **said: Any) -> Path:
    """What `evaluate` leaves of a model."""
    write_csv(path / "predictions.csv", COLUMNS, judged.rows())
    write_json(path / "metrics.json", {"threshold": 0.5, "split": "test", "leakage": ""} | said)
    return path


def weaker(judged: Evaluation, by: float, seed: int = 3) -> Evaluation:
    """The same scans, with noise on the model's logits."""
    logit = judged.logit + by * numpy_generator(seed, 9).normal(size=len(judged.logit))
    return replace(judged, logit=logit, probability=np.asarray(expit(logit)))


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    good = drawn(160, shift=1.5)
    models = {"good": good, "like it": weaker(good, 0.1), "poor": weaker(good, 6.0)}
    return [folder_of(tmp_path / name, one) for name, one in models.items()]


def test_every_pair_stands_under_every_test_corrected_for_their_number(
    folders: list[Path], tmp_path: Path
) -> None:
    compare.main(QUICK, folders, tmp_path / "out")
    rows = read_csv(tmp_path / "out" / "comparison.csv")
    assert len(rows) == 3 * 4
    delong = [row for row in rows if row["test"].startswith("paired DeLong")]
    assert [(row["first"], row["second"]) for row in delong] == [
        ("good", "like it"), ("good", "poor"), ("like it", "poor"),
    ]  # fmt: skip
    p = [float(row["p_value"]) for row in delong]
    assert [float(row["p_holm"]) for row in delong] == pytest.approx(holm(p), rel=1e-2)
    found = {(row["first"], row["second"]): float(row["p_holm"]) for row in delong}
    assert found["good", "poor"] < 0.05 < found["good", "like it"]


def test_pairs_are_those_of_the_test_itself(folders: list[Path]) -> None:
    found = compare_all(read_evaluated(folders[::2]), 0, 100)
    good, poor = found.evaluations
    said = (good.probability, poor.probability)
    assert found.pairs[0].tested == paired_delong(good.target, said, list(good.group))
    assert found.pairs[0].p_holm == found.pairs[0].tested.p_value  # one pair is no family


def test_each_model_is_held_at_its_own_operating_point(tmp_path: Path) -> None:
    judged = drawn(120)
    low = folder_of(tmp_path / "low", judged, threshold=0.0)
    half = folder_of(tmp_path / "half", judged, threshold=0.5)
    found = compare_all(read_evaluated([low, half]), 0, 100)
    (mcnemar,) = (pair for pair in found.pairs if pair.tested.test.startswith("McNemar"))
    expected = 0.5 - np.mean((judged.probability >= 0.5) == judged.target)
    assert mcnemar.tested.difference.value == pytest.approx(expected)
    assert found.pairs[0].tested.p_value == 1.0  # the areas are the same


def test_probabilities_that_differ_far_behind_the_point_are_no_ties(tmp_path: Path) -> None:
    """A network that is sure of itself says 0.9999999 of many scans, and they have an order."""
    judged = drawn(120)
    logit = judged.logit * 2 + 18
    sure = replace(judged, logit=logit, probability=np.asarray(expit(logit)), threshold=1 - 1e-9)
    scores = scores_of(sure, BOOTSTRAP)
    folders = [
        folder_of(tmp_path / "sure", sure, threshold=sure.threshold),
        folder_of(tmp_path / "plain", judged),
    ]
    found = compare_all(read_evaluated(folders), 0, 100)
    assert (found.evaluations[0].probability == sure.probability).all()
    assert found.scores[0].auroc.value == scores.model.auroc.value
    assert found.scores[0].accuracy.value == scores.model.accuracy.value
    assert 0.2 < np.mean(sure.probability >= sure.threshold) < 0.8


def test_what_evaluations_warn_of_is_said_of_their_comparison(tmp_path: Path) -> None:
    judged = drawn(60)
    doubt = "whether scans were learnt from could not be checked"
    paths = [
        folder_of(tmp_path / "a", judged, split="train"),
        folder_of(tmp_path / "b", judged, split="train", warnings=[doubt]),
    ]
    out = compare.main(QUICK, paths, tmp_path / "out")
    said = json.loads((out / "comparison.json").read_text())["cautions"]
    assert f"b: {doubt}" in said
    for name in "ab":
        assert f"{name}: the train split: scored on data that chose or taught the weights" in said
    report.main([out], tmp_path / "page.html")
    assert f"b: {doubt}" in (tmp_path / "page.html").read_text()


def test_finished_comparison_is_refused_once_an_evaluation_says_something_else(
    folders: list[Path], tmp_path: Path
) -> None:
    compare.main(QUICK, folders, tmp_path / "out")
    compare.main(QUICK, folders, tmp_path / "out", "resume")
    write_json(
        folders[0] / "metrics.json",
        {"threshold": 0.9, "split": "test", "leakage": "3 of 160 scans were learnt from"},
    )
    with pytest.raises(UsageError, match="its data changed since it was started: metrics"):
        compare.main(QUICK, folders, tmp_path / "out", "resume")


def test_comparison_stands_on_the_page(folders: list[Path], tmp_path: Path) -> None:
    folder_of(folders[2], drawn(160, shift=1.5), leakage="2 scans of both splits")
    out = compare.main(QUICK, folders, tmp_path / "out")
    report.main([out], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Models on the same scans" in page
    assert "Paired tests on the same scans" in page
    assert "good against poor" in page
    assert "2 scans of both splits" in page
    assert (out / "roc.png").is_file()
    assert json.loads((out / "record.json").read_text())["summary"]["pairs"] == 3


def without(judged: Evaluation, row: int) -> Evaluation:
    kept: NDArray[np.bool_] = np.arange(len(judged.target)) != row
    return judged.part(kept)


def test_other_scans_are_refused_and_named(tmp_path: Path) -> None:
    judged = drawn(40)
    paths = [folder_of(tmp_path / "a", judged), folder_of(tmp_path / "b", without(judged, 7))]
    with pytest.raises(DataError, match=r"a and b did not.*1 is in a alone, first: 007\.png"):
        compare.main(QUICK, paths, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_class_of_the_same_scan_is_refused(tmp_path: Path) -> None:
    judged = drawn(40)
    target = judged.target.copy()
    target[3] = 1 - target[3]
    other = replace(judged, target=target)
    paths = [folder_of(tmp_path / "a", judged), folder_of(tmp_path / "b", other)]
    with pytest.raises(DataError, match=r"give 1 scan another class, first: 003\.png"):
        read_evaluated(paths)


def test_other_groups_of_the_same_scans_are_refused(tmp_path: Path) -> None:
    judged = drawn(40)
    other = replace(judged, scans=tuple(replace(one, group="x") for one in judged.scans))
    paths = [folder_of(tmp_path / "a", judged), folder_of(tmp_path / "b", other)]
    with pytest.raises(DataError, match=r"another group, .*with the same run_length"):
        read_evaluated(paths)


def test_one_evaluation_is_no_comparison(tmp_path: Path) -> None:
    only = folder_of(tmp_path / "a", drawn(40))
    for given in ([only], [only, tmp_path / "." / "a"]):
        with pytest.raises(UsageError, match="at least two different folders"):
            read_evaluated(given)


def test_a_folder_given_twice_among_others_is_refused(folders: list[Path]) -> None:
    with pytest.raises(UsageError, match="is given twice"):
        read_evaluated([*folders, folders[0]])


def test_folders_of_one_name_are_told_apart_by_those_above_them(tmp_path: Path) -> None:
    paths = [folder_of(tmp_path / one / "evaluate", drawn(40)) for one in ("a", "b")]
    assert [one.name for one in read_evaluated(paths)] == ["a/evaluate", "b/evaluate"]


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("metrics.json", None, r"holds no metrics\.json"),
        ("predictions.csv", None, r"holds no predictions\.csv"),
        ("metrics.json", "[1]", r"cannot be read"),
        ("metrics.json", '{"split": "test"}', r"cannot be read \(KeyError\)"),
        ("predictions.csv", "scan,label\na,b\n", "no scored scans"),
        ("predictions.csv", "scan,group,target,probability\na,b,1,high\n", "is no number"),
    ],
)
def test_a_folder_that_holds_no_evaluation_is_refused(
    file: str, content: str | None, words: str, folders: list[Path]
) -> None:
    broken = folders[0] / file
    broken.unlink()
    if content is not None:
        broken.write_text(content)
    with pytest.raises(DataError, match=words):
        read_evaluated(folders)
