"""One evaluation with all that it can be asked for: subgroups, an external set, views, the page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from covidssl import labelled_frames
from covidssl.audit.shortcuts import MODELS
from covidssl.commands import evaluate, report
from covidssl.datasets import read_dataset
from covidssl.each_scan import no_progress
from covidssl.errors import DataError, UsageError
from covidssl.evaluation import LOOK
from covidssl.evaluation.external import External
from covidssl.evaluation.views import VIEWS
from covidssl.files import read_csv, write_bytes, write_csv
from covidssl.io import ScanFiles, read_scan
from covidssl.labelled_frames import load_labelled_frames
from covidssl.report.blocks import Block, Note, Table
from covidssl.report.checklist import checklist
from covidssl.volume import Volume
from tests.evaluation.bench import FRAME, Bench, rows_of, write_scans

PLACES = ("train",) * 3 + ("validation",) * 2 + ("test",) * 6
ASKED = {"views": True, "by": ("age", "site"), "prevalence": (0.03,)}


class Whole:
    """A bench with columns, an external set that holds a copy of a training scan, and the page."""

    def __init__(self, root: Path) -> None:
        rows = [
            {**row, "age": str(30 + 7 * k % 50), "site": "north" if k % 3 else ""}
            for k, row in enumerate(rows_of(PLACES))
        ]
        self.bench = Bench(root, rows, taught=True)
        others = rows_of(("test",) * 4)
        self.clinic = write_scans(root / "clinic", others, first_seed=40)
        taught = self.bench.labels.parent / rows[1]["path"]
        write_bytes(self.clinic.parent / others[1]["path"], taught.read_bytes())
        beside = evaluate.Beside(None, "cpu", (External("clinic", self.clinic),))
        self.metrics = self.bench.score(asked=ASKED, beside=beside)
        self.out = root / "out"
        report.main([self.out], root / "page.html")
        self.page = (root / "page.html").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(tmp_path_factory.mktemp("whole"))


def test_model_and_rival_have_all_scores_with_intervals(whole: Whole) -> None:
    names = {"auroc", "auprc", "accuracy", "balanced_accuracy", "mcc", "brier", "sensitivity"}
    for of in ("model", "rival"):
        assert names <= whole.metrics[of].keys()
        assert all(one["low"] <= one["value"] <= one["high"] for one in whole.metrics[of].values())
    assert whole.metrics["delong"]["value"] == pytest.approx(
        whole.metrics["model"]["auroc"]["value"]
    )
    assert whole.metrics["calibration"]["bins"] == "10 bins of equal width"


def test_trivial_models_and_views_stand_beside_the_score_in_one_table(whole: Whole) -> None:
    rows = [row for row in read_csv(whole.out / "views.csv") if not row["set"]]
    trivial = {row["key"] for row in rows if row["kind"] == "trivial"}
    assert {"rival", "border", "outside", "shape", "rival_nearest"} <= trivial
    assert trivial <= {model.key for model in MODELS}
    views = [row for row in rows if row["kind"] == "view"]
    assert [row["key"] for row in views] == [view.key for view in VIEWS]
    for row in rows:
        plain = whole.metrics["model"]["auroc"]["value"]
        assert float(row["auroc"]) + float(row["model_minus_this"]) == pytest.approx(
            plain, abs=2e-4
        )


def test_subgroups_are_scored_and_rows_that_say_nothing_told(whole: Whole) -> None:
    rows = read_csv(whole.out / "subgroups.csv")
    own = [row for row in rows if not row["set"]]
    assert {row["column"] for row in own} == {"age", "site"}
    site = {row["value"]: int(row["n"]) for row in own if row["column"] == "site"}
    assert site == {"north": 8, "not given": 4}
    assert any("4 of 12 scans say nothing in column 'site'" in t for t in whole.metrics["warnings"])


def test_external_set_is_scored_with_the_same_operating_point(whole: Whole) -> None:
    found = whole.metrics["external"]["clinic"]
    assert (found["n"], found["positives"], found["split"]) == (8, 4, "all")
    assert found["threshold"] == whole.metrics["threshold"]
    assert len(read_csv(whole.out / "external-clinic.csv")) == 8
    assert found["rival"]["auroc"]
    assert {"auroc", "accuracy", "brier"} <= found["shift"]["differences"].keys()
    difference = found["model"]["auroc"]["value"] - whole.metrics["model"]["auroc"]["value"]
    assert found["shift"]["differences"]["auroc"]["value"] == pytest.approx(difference)


def test_external_scan_that_was_learnt_from_is_found_by_its_picture(whole: Whole) -> None:
    assert whole.metrics["external"]["clinic"]["leakage"].startswith("1 of 8 scans are among what")
    assert whole.metrics["leakage"].startswith("external set clinic: 1 of 8 scans")
    assert "There is leakage." in whole.page


def test_columns_that_an_external_set_lacks_are_told_and_not_refused(whole: Whole) -> None:
    warnings = whole.metrics["external"]["clinic"]["warnings"]
    assert "has no column 'age': no subgroups by it" in warnings
    assert whole.metrics["external"]["clinic"]["subgroups"] == []


def test_curves_in_the_file_are_those_on_the_page(whole: Whole) -> None:
    assert {"roc", "pr", "reliability", "decision"} == whole.metrics["curves"].keys()
    for title in ("ROC curve", "Precision and sensitivity", "Decision curve", "mean what it says"):
        assert title in whole.page
        assert f"External set clinic: {title}" in whole.page or "mean what" in title


def test_page_shows_what_stands_beside_the_score(whole: Whole) -> None:
    assert whole.metrics["verdicts"]
    for words in (
        *(one["text"][:30] for one in whole.metrics["verdicts"]),
        "lungs only: everything outside the lungs blanked",
        "the lungs masked out",
        "shape of the lungs alone",
        "External set clinic: what shifts",
        "What an answer means where the disease is as frequent as said",
        "3.0%",
        "AUROC, interval by DeLong",
    ):
        assert words in whole.page, words


def told(block: Block) -> dict[str, str]:
    """What a table of the checklist says to each item."""
    assert isinstance(block, Table)
    return {str(row[0]): str(row[2]) for row in block.rows}


def test_checklist_is_filled_from_the_run_and_the_rest_is_left_to_the_authors(
    whole: Whole,
) -> None:
    assert "Reporting checklist" in whole.page
    note, filled, left = checklist([("evaluate", whole.out)])
    rows = told(filled)
    assert "split 'test': 12 scans, 6 positive" in rows["CLAIM 2024, 32"]
    assert "clinic: 8 scans, 4 positive" in rows["CLAIM 2024, 33"]
    assert re.search(r"auroc 0\.\d{3} \(\d\.\d{3} to", rows["CLAIM 2024, 37"])
    missing = told(left)
    assert missing["CLAIM 2024, 44"] == "no run can know it"
    assert missing["CLAIM 2024, 25"] == "none of the runs on this page tells it"
    assert not rows.keys() & missing.keys()
    assert isinstance(note, Note)
    assert note.text.startswith(f"{len(rows)} of ")


def test_without_an_evaluation_there_is_no_checklist(whole: Whole) -> None:
    assert checklist([("finetune", whole.bench.run)]) == []


def test_of_the_training_run_the_checklist_tells_more(whole: Whole) -> None:
    _, filled, _ = checklist([("finetune", whole.bench.run), ("evaluate", whole.out)])
    rows = told(filled)
    assert "crop: lungs; 32 pixels; pixels as hu" in rows["CLAIM 2024, 9"]
    assert rows["CLAIM 2024, 20"] == "patients"


def test_no_patient_stands_on_the_page_or_among_the_metrics(whole: Whole) -> None:
    assert "person-" not in whole.page
    assert "person-" not in json.dumps(whole.metrics)


def score(whole: Whole, tmp_path: Path, **given: Any) -> dict[str, Any]:
    """The same run into another folder."""
    whole.bench.root = tmp_path
    return whole.bench.score(**given)


def test_views_can_be_switched_off(whole: Whole, tmp_path: Path) -> None:
    found = score(whole, tmp_path)
    assert found["rival"]
    assert found["beside"] == found["verdicts"] == found["subgroups"] == []
    difference = found["model"]["auroc"]["value"] - found["rival"]["auroc"]["value"]
    assert found["model_minus_rival"]["value"] == pytest.approx(difference)
    assert not (tmp_path / "out" / "views.csv").exists()
    assert found["model"] == whole.metrics["model"]


def test_each_scan_is_read_once(
    whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(files: ScanFiles) -> Volume:
        read.append(files.name)
        return read_scan(files)

    monkeypatch.setattr(labelled_frames, "read_scan", counted)
    found = score(whole, tmp_path, asked=ASKED)
    # Six of train and twelve of test: nothing learns from validation.
    assert len(read) == len(set(read)) == 18
    assert found["model"] == whole.metrics["model"]


def test_what_was_looked_at_comes_back_from_the_cache(whole: Whole, tmp_path: Path) -> None:
    scans = read_dataset(whole.clinic, "COVID").scans
    first = load_labelled_frames(scans, FRAME, 3, tmp_path, no_progress, LOOK)
    again = load_labelled_frames(scans, FRAME, 3, tmp_path, no_progress, LOOK)
    assert first.looked_at.keys() == again.looked_at.keys()
    assert all((first.looked_at[name] == again.looked_at[name]).all() for name in ("fine", "facts"))
    assert first.masks is not None
    assert again.masks is not None
    assert (first.masks == again.masks).all()
    assert load_labelled_frames(scans, FRAME, 3, tmp_path).masks is None
    assert len(list(tmp_path.glob("frames-*.safetensors"))) == 2


def test_unknown_column_is_refused_before_anything_is_written(whole: Whole, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--by scanner: labels\.csv has no such column.*age, si"):
        score(whole, tmp_path, asked={"by": ("scanner",)})
    assert not (tmp_path / "out").exists()


def test_external_set_without_the_positive_class_is_refused(whole: Whole, tmp_path: Path) -> None:
    rows = [{**row, "label": row["label"].replace("COVID", "NCP")} for row in rows_of(("test",))]
    path = write_scans(tmp_path / "else", rows)
    beside = evaluate.Beside(None, "cpu", (External("other", path),))
    with pytest.raises(DataError, match=r"External set 'other': .*no class is called 'COVID'"):
        score(whole, tmp_path, beside=beside)


def test_external_set_of_which_nothing_can_be_read_is_told_and_the_others_are_scored(
    whole: Whole, tmp_path: Path
) -> None:
    path = write_scans(tmp_path / "else", rows_of(("test",)))
    for file in path.parent.glob("*.nii.gz"):
        file.write_bytes(b"no scan")
    sets = (External("other", path), External("clinic", whole.clinic))
    found = score(whole, tmp_path, beside=evaluate.Beside(None, "cpu", sets))
    assert found["model"] == whole.metrics["model"]
    assert found["external"]["other"].keys() == {"not_scored"}
    assert found["external"]["other"]["not_scored"].startswith("Not one of 2 scans")
    assert found["external"]["clinic"]["n"] == 8
    report.main([tmp_path / "out"], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "External set other is not scored: Not one of 2 scans" in page
    assert "External set clinic: what shifts" in page


def test_external_sets_of_one_class_or_one_patient_are_told_and_the_rest_stands(
    whole: Whole, tmp_path: Path
) -> None:
    path = write_scans(tmp_path / "else", rows_of(("test",) * 2))
    for file in path.parent.glob("*COVID.nii.gz"):
        file.write_bytes(b"no scan")
    alone = [{**row, "patient": "person-x"} for row in rows_of(("test",) * 2)]
    one = write_scans(tmp_path / "one", alone, first_seed=80)
    sets = (External("other", path), External("one", one))
    found = score(whole, tmp_path, beside=evaluate.Beside(None, "cpu", sets))
    assert "No scan of one class" in found["external"]["other"]["not_scored"]
    assert "one group" in found["external"]["one"]["not_scored"]
    assert "person-" not in json.dumps(found)
    assert not (tmp_path / "out" / "external-one.csv").exists()
    assert found["model"] == whole.metrics["model"]


def test_external_column_that_names_scans_is_refused_before_anything_is_read(
    whole: Whole, tmp_path: Path
) -> None:
    rows = [{**row, "age": f"{20 + k} years"} for k, row in enumerate(rows_of(("test",) * 11))]
    path = tmp_path / "labels.csv"
    write_csv(path, tuple(rows[0]), rows)
    for row in rows:
        (tmp_path / row["path"]).write_bytes(b"never read")
    beside = evaluate.Beside(None, "cpu", (External("other", path),))
    with pytest.raises(DataError, match="External set 'other': Column 'age' has 22 different"):
        score(whole, tmp_path, asked={"by": ("age",)}, beside=beside)
    assert not (tmp_path / "out").exists()


def test_external_rows_name_the_classes_as_their_set_does(whole: Whole, tmp_path: Path) -> None:
    rows = [
        {**row, "label": row["label"].replace("normal", "CAP")} for row in rows_of(("test",) * 3)
    ]
    path = write_scans(tmp_path / "else", rows, first_seed=70)
    score(whole, tmp_path, beside=evaluate.Beside(None, "cpu", (External("other", path),)))
    found = read_csv(tmp_path / "out" / "external-other.csv")
    assert {row["label"] for row in found} == {"CAP", "COVID"}
    assert {row["predicted"] for row in found} <= {"CAP", "COVID"}
    own = read_csv(tmp_path / "out" / "predictions.csv")
    assert {row["label"] for row in own} == {"normal", "COVID"}


def test_finished_run_is_refused_with_more_or_fewer_external_sets(
    whole: Whole, tmp_path: Path
) -> None:
    beside = evaluate.Beside(None, "cpu", (External("clinic", whole.clinic),))
    words = "its data changed since it was started: external sets"
    score(whole, tmp_path / "without")
    with pytest.raises(UsageError, match=words):
        score(whole, tmp_path / "without", beside=beside, if_exists="resume")
    score(whole, tmp_path / "with", beside=beside)
    with pytest.raises(UsageError, match=words):
        score(whole, tmp_path / "with", if_exists="resume")


def test_finished_run_is_refused_once_a_column_that_was_asked_for_says_something_else(
    whole: Whole, tmp_path: Path
) -> None:
    score(whole, tmp_path, asked={"by": ("age",)})
    rows = read_csv(whole.bench.labels)
    for row in rows:
        row["site"] = "south"
    other = whole.bench.labels.with_name("other.csv")
    write_csv(other, tuple(rows[0]), rows)
    score(whole, tmp_path, labels=other, asked={"by": ("age",)}, if_exists="resume")
    rows[-1]["age"] = "99"
    write_csv(other, tuple(rows[0]), rows)
    with pytest.raises(UsageError, match="its data changed since it was started: columns"):
        score(whole, tmp_path, labels=other, asked={"by": ("age",)}, if_exists="resume")


def test_finished_run_is_refused_with_another_external_set_of_that_name(
    whole: Whole, tmp_path: Path
) -> None:
    beside = evaluate.Beside(None, "cpu", (External("clinic", whole.clinic),))
    score(whole, tmp_path, beside=beside)
    rows = read_csv(whole.clinic)[:-2]
    other = whole.clinic.with_name("fewer.csv")
    write_csv(other, tuple(rows[0]), rows)
    beside = evaluate.Beside(None, "cpu", (External("clinic", other),))
    with pytest.raises(UsageError, match="its data changed since it was started: splits of clinic"):
        score(whole, tmp_path, beside=beside, if_exists="resume")


def test_what_a_column_says_cannot_become_markup_or_a_formula(whole: Whole, tmp_path: Path) -> None:
    rows = read_csv(whole.clinic)
    hostile = "<script>alert(1)</script>"
    for k, row in enumerate(rows):
        row["ward"] = hostile if k % 4 > 1 else "=1+1"
    path = whole.clinic.with_name("hostile.csv")
    write_csv(path, tuple(rows[0]), rows)
    score(whole, tmp_path, split="all", labels=path, asked={"by": ("ward",)})
    report.main([tmp_path / "out"], tmp_path / "page.html")
    assert hostile not in (tmp_path / "page.html").read_text()
    text = (tmp_path / "out" / "subgroups.csv").read_text()
    assert ",'=1+1," in text
    assert ",=1+1," not in text


def test_command_refuses_what_it_cannot_mean_with_one_message(whole: Whole) -> None:
    from typer.testing import CliRunner

    from covidssl.cli import app

    plain = ["evaluate", whole.bench.run, "--data", whole.bench.labels, "--out", "never"]
    for more, words in (
        (["--external", "clinic"], "expected NAME=PATH"),
        (["--prevalence", "1.5"], "prevalence"),
        (["--by", "age", "--by", "age"], "is given twice"),
    ):
        done = CliRunner().invoke(app, [str(one) for one in [*plain, *more]])
        assert isinstance(done.exception, UsageError), done.output
        assert words in str(done.exception)
    assert not Path("never").exists()
