"""What a row says is reckoned from the scans that it names, and from nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from covidssl.calibration import Calibration
from covidssl.commands import robustness
from covidssl.datasets import LabelledScan, read_dataset
from covidssl.each_scan import no_progress
from covidssl.errors import DataError, UsageError
from covidssl.evaluation import Evaluation
from covidssl.evaluation.external import External
from covidssl.evaluation.scoring import Bootstrap
from covidssl.files import read_csv, write_bytes, write_csv, write_json
from covidssl.io import ScanFiles
from covidssl.metrics import Part, combined
from covidssl.model import load_model
from covidssl.report.blocks import Chart
from covidssl.report.robust import robust
from covidssl.robustness import suite as suite_module
from covidssl.robustness.suite import CLEAN, Condition, Suite, try_scans
from covidssl.robustness.table import Answers, Row, of_conditions
from covidssl.robustness.written import panels_of
from covidssl.splits import Assigned
from tests.robustness.bench import SMALL, Bench, write_labels
from tests.robustness.scans import write_model

ONE_WAY = SMALL.model_copy(
    update={"by": (), "kinds": ("hu_down",), "severities": (5,), "attack_hu": ()}
)
WAYS = [Condition(CLEAN, "clean"), Condition("blur", "smoother", 3, 2.0, "mm FWHM")]


def labelled(k: int) -> LabelledScan:
    name = f"{k}.nii.gz"
    return LabelledScan(name, ScanFiles(name, "nifti", (Path(name),)), k % 2 == 1)


def answers_of(before: Any, after: Any, groups: int, threshold: float = 0.5) -> Answers:
    """What is said of scans of both classes in turn, neighbours of one group."""
    n = len(before)
    scans = tuple(Assigned(labelled(k), f"g{k * groups // n}", "all") for k in range(n))
    target = np.arange(n) % 2
    before = np.asarray(before, dtype=np.float64)
    clean = Evaluation(scans, target, before, before, None, threshold, ("normal", "COVID"))
    return Answers("internal", clean, np.stack([before, np.asarray(after, np.float64)]), {})


def row_of(answers: Answers, rounds: int = 100) -> Row:
    (row,) = of_conditions(answers, WAYS, answers.logit, Bootstrap(0, rounds))
    return row


def test_difference_is_of_the_same_resamples_of_whole_groups_as_often_as_asked() -> None:
    generator = np.random.default_rng(0)
    # Scans of a group are told alike: other intervals than of single scans.
    of_group = np.repeat(generator.normal(0, 0.5, 12), 8)
    before = expit(np.tile([0.0, 1.0], 48) + of_group)
    after = expit(np.tile([0.0, 0.5], 48) + np.repeat(generator.normal(0, 0.8, 12), 8))
    answers = answers_of(before, after, 12)
    clean = answers.clean
    parts = (Part(answers.logit[1], 0.5, 1), Part(answers.logit[0], 0.5, -1))
    draws = Bootstrap(0, 0).generator
    expected = combined(clean.target, parts, clean.group, draws(), rounds=100)
    assert row_of(answers).difference == expected
    assert row_of(answers, 300).difference != expected
    single = combined(clean.target, parts, None, draws(), rounds=100)
    assert row_of(answers).difference != single


def test_labels_that_change_and_how_far_probabilities_move_are_counted() -> None:
    before = [0.1, 0.9, 0.4, 0.7, 0.3, 0.65, 0.2, 0.8]
    after = [0.1, 0.9, 0.65, 0.5, 0.3, 0.65, 0.1, 0.9]
    row = row_of(answers_of(before, after, 8, threshold=0.6))
    assert row.changed == 2 / 8
    assert row.moved == pytest.approx((0.25 + 0.2 + 0.1 + 0.1) / 8)


def test_labels_are_those_of_calibrated_probabilities(tmp_path: Path) -> None:
    calibration = Calibration(scale=3.0, bias=-0.4)
    labels = write_labels(tmp_path / "data")
    run = write_model(tmp_path / "run", calibration=calibration, operating_point=0.3)
    robustness.main(ONE_WAY, run, labels, tmp_path / "out")
    written = read_csv(tmp_path / "out" / "logits.csv")
    logit = {
        name: np.array([float(row["logit"]) for row in written if row["name"] == name])
        for name in ("clean", "hu_down")
    }
    said = {name: calibration.probability(values) for name, values in logit.items()}
    row = json.loads((tmp_path / "out" / "robustness.json").read_text())["rows"][-1]
    assert row["name"] == "hu_down"
    assert row["moved"] == pytest.approx(np.abs(said["hu_down"] - said["clean"]).mean(), abs=1e-5)
    bare = np.abs(expit(logit["hu_down"]) - expit(logit["clean"])).mean()
    assert abs(row["moved"] - bare) > 1e-4
    right = (said["hu_down"] >= 0.3) == [scan["scan"].endswith("COVID.nii.gz") for scan in
                                         written if scan["name"] == "clean"]  # fmt: skip
    cells = [row["scores"][name]["value"] for name in ("sensitivity", "specificity")]
    assert np.mean(cells) == pytest.approx(right.mean())


def test_what_is_kept_of_one_model_is_not_taken_for_another(tmp_path: Path) -> None:
    scans = read_dataset(write_labels(tmp_path / "data", 1), "COVID").scans
    first, second = (load_model(write_model(tmp_path / f"{k}", seed=k)) for k in (3, 4))
    logits = [
        try_scans(Suite(model, ONE_WAY), scans, tmp_path / "kept", no_progress).logit
        for model in (first, second, first)
    ]
    assert (logits[0] == logits[2]).all()
    assert (logits[0] != logits[1]).all()


def part_row(severity: int, scans: int, value: float, clean: float) -> Row:
    answers = answers_of(np.linspace(0, 1, 8), np.linspace(0, 1, 8), 8)
    row = row_of(answers)
    assert row.difference is not None
    auroc = row.scores["auroc"]._replace(value=value)
    return row._replace(
        name="slice_thickness", severity=severity, scans=scans, scores={"auroc": auroc},
        difference=row.difference._replace(value=value - clean),
    )  # fmt: skip


def test_a_curve_begins_where_its_own_scans_are_clean(tmp_path: Path) -> None:
    rows = [part_row(1, 4, 0.5, 0.75), part_row(2, 4, 0.25, 0.75), part_row(3, 10, 0.8, 0.9)]
    (panel,) = panels_of(rows, [Condition("slice_thickness", "thicker", 1)])
    assert panel.clean == [0.75, 0.75, 0.9]
    found = {"tolerated": 0.05, "rows": [row.as_json() for row in rows], "falls": []}
    write_json(tmp_path / "robustness.json", found)
    (chart,) = [block for block in robust(tmp_path) if isinstance(block, Chart)]
    few, all_of_them = chart.lines
    assert (list(few.x), list(few.y)) == ([0, 1, 2], [0.75, 0.5, 0.25])
    assert (list(all_of_them.x), list(all_of_them.y)) == ([0, 3], [0.9, 0.8])
    assert [text.endswith("of 4 scans") for text in few.hover or ()] == [True] * 3
    assert (all_of_them.hover or ("",))[-1].endswith("of 10 scans")


def test_columns_called_like_a_fact_of_the_suite_do_not_replace_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    rows = [
        {**row, "pixels": f"{512 + k} x 512", "millimetres": f"{k}"}
        for k, row in enumerate(read_csv(bench.labels))
    ]
    write_csv(bench.labels, tuple(rows[0]), rows)
    written = bench.go(ONE_WAY)
    assert not [row["name"] for row in written["rows"] if row["idiom"] == "subpopulation"]
    assert not any("say no voxel size" in text for text in written["warnings"])


def test_a_column_that_names_scans_is_refused_before_a_scan_is_read(tmp_path: Path) -> None:
    rows = []
    for k in range(24):
        rows.append({"path": f"{k}.nii.gz", "label": ("normal", "COVID")[k % 2], "id": f"x{k}"})
        write_bytes(tmp_path / "data" / f"{k}.nii.gz", b"no scan")
    write_csv(tmp_path / "data" / "labels.csv", ("path", "label", "id"), rows)
    config = ONE_WAY.model_copy(update={"by": ("id",)})
    with pytest.raises(DataError, match="Column 'id' has 24 different texts"):
        robustness.main(config, write_model(tmp_path / "run"), tmp_path / "data" / "labels.csv",
                        tmp_path / "out")  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_what_is_told_may_change_at_a_resume_and_what_is_done_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    bench.go(ONE_WAY)

    def never(_suite: Suite, scan: LabelledScan) -> None:
        raise AssertionError(f"{scan.name} was tried again")

    monkeypatch.setattr(suite_module, "try_scan", never)
    told = ONE_WAY.model_copy(update={"by": ("scanner",), "rounds": 150, "tolerated": 0.01})
    written = bench.go(told, if_exists="resume")
    assert (written["rounds"], written["tolerated"]) == (150, 0.01)
    assert {"scanner = A", "scanner = B"} <= {row["name"] for row in written["rows"]}
    done = ONE_WAY.model_copy(update={"severities": (4, 5)})
    with pytest.raises(UsageError, match="the configuration has changed"):
        bench.go(done, if_exists="resume")


def test_an_external_set_may_have_any_name(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    sets = tuple(External(name, bench.other) for name in ("classifier", "self", "clean"))
    beside = robustness.Beside(sets)
    config = ONE_WAY.model_copy(update={"kinds": ()})
    robustness.main(config, bench.run, bench.labels, bench.out, beside=beside)
    rows = read_csv(bench.out / "robustness.csv")
    assert [row["set"] for row in rows] == ["internal", "classifier", "self", "clean"]
    data = json.loads((bench.out / "record.json").read_text())["data"]
    assert data["classifier"] == load_model(bench.run).card.files["classifier.safetensors"]
