"""A split that leaks is not trained on; where that is allowed, every page says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from covidssl.cli import app
from covidssl.commands import evaluate, finetune, predict, report
from covidssl.comparison import Arm, compare, read_scored
from covidssl.config import load_config
from covidssl.datasets import read_dataset
from covidssl.errors import DataError, UsageError
from covidssl.experiments import EvaluateConfig, FinetuneConfig, PredictConfig
from covidssl.files import read_csv, write_csv, write_json
from covidssl.finetuning import Places
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels, hu_to_unit
from covidssl.io import natural_order, write_volume
from covidssl.labelled_frames import LabelledFrames, load_labelled_frames
from covidssl.model import load_model
from covidssl.phantom import phantom_chest
from covidssl.splits import SplitPlan, propose, refuse_leaks, settle
from tests.scan_files import write_png

SHAPE, SPACING = (4, 72, 72), (28.0, 4.8, 4.8)
SMALL = ["frame.size=32", "encoder.channels=[8,8,16]", "training.steps=2", "training.batch_size=4",
         "training.warmup_steps=1", "validate_every=2", "checkpoint_every=2"]  # fmt: skip
PLACES = ("train", "train", "train", "validation", "validation", "test", "test")
Row = dict[str, str]
LOUD = "on a split that leaks"


def config(*more: str) -> FinetuneConfig:
    return load_config(FinetuneConfig, None, [*SMALL, "frame.pixels=hu", *more])


@cache
def chest(seed: int, ill: bool, brighter: int = 0) -> Any:
    ct = phantom_chest(seed, ill, SHAPE, SPACING).ct
    return replace(ct, array=(ct.array + brighter).astype(np.int16))


class Bench:
    """Phantom chests of as many people, in given splits, and a place for runs."""

    def __init__(self, root: Path) -> None:
        self.root, self.data, self.run = root, root / "data", root / "run"
        self.labels = self.data / "labels.csv"
        self.rows: list[Row] = []
        for k, split in enumerate(PLACES):
            for ill, label in enumerate(("normal", "COVID")):
                ct = chest(2 * k + ill, bool(ill))
                self.add(f"{split}-{k}-{label}.nii.gz", label, split, ct)

    def add(self, name: str, label: str, split: str, ct: Any, patient: str | None = None) -> None:
        write_volume(ct, self.data / name)
        patient = name if patient is None else patient
        self.rows.append({"path": name, "label": label, "patient": patient, "split": split})
        write_csv(self.labels, ("path", "label", "patient", "split"), self.rows)

    def finetune(self, *more: str, splits: Path | None = None, **options: Any) -> Path:
        places = Places(self.run, device="cpu", splits=splits)
        return finetune.main(config(*more), self.labels, places, **options)

    def json(self, *parts: str) -> Any:
        return json.loads(self.root.joinpath(*parts).read_text())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def plant_equal(bench: Bench) -> None:
    bench.add("again.nii.gz", "normal", "test", chest(0, False))


def plant_near(bench: Bench) -> None:
    bench.add("again.nii.gz", "normal", "test", chest(0, False, brighter=3))


def plant_patient(bench: Bench) -> None:
    patient = bench.rows[0]["path"]
    bench.add("again.nii.gz", "normal", "test", chest(99, False), patient)


PLANTED = {
    "equal": (plant_equal, "1 pair of scans with the same voxels"),
    "near": (plant_near, "1 pair of near duplicates"),
    "patient": (plant_patient, "1 patient in more than one split"),
}


@pytest.mark.parametrize(("plant", "said"), PLANTED.values(), ids=PLANTED)
def test_planted_leak_is_refused_and_both_scans_are_named(
    plant: Callable[[Bench], None], said: str, bench: Bench
) -> None:
    plant(bench)
    with pytest.raises(DataError, match=said) as refusal:
        bench.finetune()
    for name in ("again.nii.gz (test)", "train-0-normal.nii.gz (train)", "--allow-leakage"):
        assert name in str(refusal.value)
    assert not (bench.run / "model").exists()
    assert not (bench.run / "splits.csv").exists()


@pytest.mark.parametrize(("plant", "said"), PLANTED.values(), ids=PLANTED)
def test_planted_leak_that_is_allowed_is_said_by_the_model_and_its_split(
    plant: Callable[[Bench], None], said: str, bench: Bench
) -> None:
    plant(bench)
    bench.finetune(allow_leakage=True)
    assert said in bench.json("run", "model", "card.json")["leakage"]
    split = bench.json("run", "splits.json")
    assert split["leakage_allowed"]
    assert said in split["leaks"][0]["text"]
    assert said in bench.json("run", "record.json")["splits"]["leakage"]


def test_allowed_leakage_is_said_on_every_page(bench: Bench) -> None:
    plant_near(bench)
    said = "1 pair of near duplicates"
    bench.finetune(allow_leakage=True)
    judged, told = bench.root / "judged", bench.root / "told"
    evaluate.main(EvaluateConfig(rounds=100), bench.run, bench.labels, judged)
    metrics = bench.json("judged", "metrics.json")
    assert said in metrics["leakage"]
    assert metrics["warnings"][0].startswith("THE MODEL LEARNT ON A SPLIT THAT LEAKS")
    scan = [bench.data / bench.rows[0]["path"]]
    predict.main(PredictConfig(), bench.run, scan, told, how=predict.How("cpu"))
    assert said in bench.json("told", "run.json")["model"]["leakage"]
    for folder in (bench.run, judged, told):
        page = bench.root / f"{folder.name}.html"
        report.main([folder], page)
        text = page.read_text()
        assert "There is leakage." in text
        assert text.count(LOUD) >= 2
        assert said in text


def test_leakage_stands_beside_the_rows_of_a_comparison(bench: Bench) -> None:
    plant_near(bench)
    bench.finetune(allow_leakage=True)
    evaluate.main(EvaluateConfig(rounds=100), bench.run, bench.labels, bench.root / "judged")
    scored = read_scored(bench.root / "judged", load_model(bench.run).card.operating_point)
    parts = [(scored.model, 0.5)]
    arms = [Arm("ours", 1.0, 10, parts, scored.leakage), Arm("other", 1.0, 10, parts)]
    rows = compare(arms, scored, seed=0)
    write_json(bench.root / "c" / "comparison.json", {"title": "Two arms", "rows": rows})
    report.main([bench.root / "c"], bench.root / "page.html")
    text = (bench.root / "page.html").read_text()
    assert "ours (LEAKS)" in text
    assert "other (LEAKS)" not in text
    assert "1 pair of near duplicates" in text
    assert "There is leakage." in text


def test_clean_phantoms_raise_no_alarm(bench: Bench) -> None:
    bench.finetune(allow_leakage=True)
    assert load_model(bench.run).card.leakage == ""
    split = bench.json("run", "splits.json")
    assert (split["leaks"], split["leakage_allowed"], split["set_aside"]) == ([], False, [])
    evaluate.main(EvaluateConfig(rounds=100), bench.run, bench.labels, bench.root / "judged")
    assert bench.json("judged", "metrics.json")["leakage"] == ""
    report.main([bench.run, bench.root / "judged"], bench.root / "page.html")
    text = (bench.root / "page.html").read_text()
    assert "There is leakage" not in text
    assert "given by the dataset&#39;s own column" in text


def test_card_from_before_there_was_a_gate_is_read(bench: Bench) -> None:
    bench.finetune()
    card = bench.json("run", "model", "card.json")
    del card["leakage"]
    write_json(bench.run / "model" / "card.json", card)
    assert load_model(bench.run).card.leakage == ""


def test_run_that_was_refused_goes_on_when_leakage_is_allowed(bench: Bench) -> None:
    plant_near(bench)
    with pytest.raises(DataError, match="this split leaks"):
        bench.finetune()
    record = bench.json("run", "record.json")
    assert record["status"] == "failed"
    assert "near duplicates" in record["splits"]["leakage"]
    assert not record["splits"]["leakage_allowed"]
    with pytest.raises(UsageError, match="exists already"):
        bench.finetune(allow_leakage=True)
    bench.finetune(allow_leakage=True, if_exists="resume")
    assert bench.json("run", "record.json")["splits"]["leakage_allowed"]


def test_near_duplicates_are_set_aside_when_that_is_asked_for(bench: Bench) -> None:
    plant_near(bench)
    bench.finetune("split.set_aside=true")
    split = bench.json("run", "splits.json")
    assert [one["scan"] for one in split["set_aside"]] == ["train-0-normal.nii.gz"]
    rows = {row["scan"]: row["split"] for row in read_csv(bench.run / "splits.csv")}
    assert (rows["train-0-normal.nii.gz"], rows["again.nii.gz"]) == ("gap", "test")
    assert load_model(bench.run).card.leakage == ""


def test_grouped_split_keeps_near_duplicates_together(bench: Bench) -> None:
    plant_near(bench)
    bench.finetune("split.kind=grouped", "split.test=0.3", "split.validation=0.3")
    rows = {row["scan"]: row for row in read_csv(bench.run / "splits.csv")}
    first, again = rows["train-0-normal.nii.gz"], rows["again.nii.gz"]
    assert (first["split"], first["group"]) == (again["split"], again["group"])
    before = (bench.run / "record.json").read_bytes()
    bench.finetune(
        "split.kind=grouped", "split.test=0.3", "split.validation=0.3", if_exists="resume"
    )
    assert (bench.run / "record.json").read_bytes() == before


# A file of splits


def by_hand(bench: Bench, turned: bool = False) -> Path:
    """Splits of the user's own; `turned` exchanges validation and test."""
    words = {"validation": "test", "test": "validation"} if turned else {}
    rows = [{"scan": r["path"], "split": words.get(r["split"], r["split"])} for r in bench.rows]
    path = bench.root / f"mine-{turned}.csv"
    write_csv(path, ("scan", "split"), rows)
    return path


def test_file_of_splits_is_used_in_place_of_the_datasets_own(bench: Bench) -> None:
    bench.finetune(splits=by_hand(bench, turned=True))
    rows = read_csv(bench.run / "splits.csv")
    assert {row["split"] for row in rows if row["scan"].startswith("test")} == {"validation"}
    split = bench.json("run", "splits.json")
    assert (split["kind"], split["reason"]) == ("file", "given by the user")


def test_splits_of_a_run_serve_another_run(bench: Bench) -> None:
    bench.finetune("split.kind=patient", "split.test=0.3", "split.validation=0.3")
    first, bench.run = bench.run, bench.root / "second"
    bench.finetune(splits=first / "splits.csv")
    assert (bench.run / "splits.csv").read_bytes() == (first / "splits.csv").read_bytes()
    assert bench.json("second", "splits.json") == bench.json("run", "splits.json")


def test_file_of_splits_that_leaks_is_refused(bench: Bench) -> None:
    plant_near(bench)
    with pytest.raises(DataError, match="near duplicates"):
        bench.finetune(splits=by_hand(bench))


def test_resume_with_another_file_of_splits_is_refused_before_anything_changes(
    bench: Bench,
) -> None:
    bench.finetune(splits=by_hand(bench))
    before = (bench.run / "splits.csv").read_bytes()
    with pytest.raises(UsageError, match="its data changed since it was started: splits"):
        bench.finetune(splits=by_hand(bench, turned=True), if_exists="resume")
    assert (bench.run / "splits.csv").read_bytes() == before


def test_command_takes_a_file_of_splits_and_the_leave_to_leak(bench: Bench) -> None:
    plant_near(bench)
    settings = [f"--set={one}" for one in [*SMALL, "frame.pixels=hu"]]
    where = ["--data", bench.labels, "--out", bench.run, "--splits", by_hand(bench)]
    command = ["finetune", *map(str, where), "--encoder", "none", "--device", "cpu", *settings]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, DataError)
    done = CliRunner().invoke(app, [*command, "--allow-leakage", "--resume"])
    assert done.exit_code == 0, done.output
    assert "near duplicates" in load_model(bench.run).card.leakage


# Started from a model


def first_run(bench: Bench, **options: Any) -> Path:
    """A run whose model is started from; the next one goes elsewhere."""
    bench.finetune(**options)
    first, bench.run = bench.run, bench.root / "second"
    return first


def from_model(bench: Bench, init: Path, splits: Path | None = None, **options: Any) -> Path:
    places = Places(bench.run, init=init, device="cpu", splits=splits)
    return finetune.main(config(), bench.labels, places, **options)


def test_start_from_a_model_of_the_same_split_is_no_leak(bench: Bench) -> None:
    first = first_run(bench)
    from_model(bench, first)
    card = load_model(bench.run).card
    assert (card.leakage, card.unchecked) == ("", "")
    evaluate.main(EvaluateConfig(rounds=100), bench.run, bench.labels, bench.root / "judged")
    assert bench.json("judged", "metrics.json")["leakage"] == ""


def test_start_from_a_model_that_learnt_from_the_test_scans_is_refused(bench: Bench) -> None:
    first = first_run(bench)
    with pytest.raises(DataError, match="in the test split, which the model that it starts from"):
        from_model(bench, first, by_hand(bench, turned=True))
    from_model(bench, first, by_hand(bench, True), allow_leakage=True, if_exists="resume")
    said = "4 of 4 scans are among what the model learnt from (4 with the same voxels"
    assert said in load_model(bench.run).card.leakage


def test_model_started_from_one_that_leaks_says_so_first(bench: Bench) -> None:
    plant_near(bench)
    first = first_run(bench, allow_leakage=True)
    bench.rows.pop()
    write_csv(bench.labels, ("path", "label", "patient", "split"), bench.rows)
    with pytest.raises(DataError, match="the model that it starts from learnt on a split that l"):
        from_model(bench, first)
    from_model(bench, first, allow_leakage=True)
    leakage = load_model(bench.run).card.leakage
    assert leakage.startswith("the model that it starts from learnt on a split that leaks: 1 pair")


def test_what_the_first_model_learnt_from_is_known_to_the_last(bench: Bench) -> None:
    first = first_run(bench)
    rows = [row for row in bench.rows if row["path"] != "train-0-normal.nii.gz"]
    write_csv(bench.labels, ("path", "label", "patient", "split"), rows)
    from_model(bench, first)
    evaluate.main(
        EvaluateConfig(rounds=100, split="all"), bench.run, bench.labels, bench.root / "judged"
    )
    write_csv(bench.labels, ("path", "label", "patient", "split"), bench.rows)
    out = bench.root / "again"
    evaluate.main(EvaluateConfig(rounds=100, split="all"), bench.run, bench.labels, out)
    counts = [
        bench.json(name, "metrics.json")["leakage"].split(" scans")[0]
        for name in ("judged", "again")
    ]
    assert counts == ["9 of 13", "10 of 14"]


def test_start_that_does_not_say_what_it_learnt_from_is_told(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    first = first_run(bench)
    (first / "model" / "learnt.safetensors").unlink()
    from_model(bench, first)
    said = "the model that it started from does not say what it learnt from"
    assert said in caplog.text
    assert load_model(bench.run).card.unchecked == said


# Slices whose file order carries patients


def write_slices(folder: Path, patients: int = 10, slices_each: int = 6) -> Path:
    """Slices of people who follow each other in the file order of each class."""
    for ill, name in ((True, "COVID"), (False, "normal")):
        for p in range(patients):
            ct = phantom_chest(40 + 2 * p + ill, ill, (2 * slices_each, 72, 72), (10.0, 4.8, 4.8))
            for k in range(slices_each):
                grey = np.rint(255 * hu_to_unit(ct.ct.array[slices_each // 2 + k]))
                path = folder / name / f"slice ({p * slices_each + k}).png"
                write_png(path, grey.astype(np.uint8))
    return folder


def frames_of(data: Path | Sequence[Any]) -> LabelledFrames:
    scans = read_dataset(data, "COVID").scans if isinstance(data, Path) else data
    return load_labelled_frames(tuple(scans), Frame(size=32, pixels=Pixels.WINDOWED), 1)


def test_random_split_of_slices_in_the_order_of_patients_is_refused(tmp_path: Path) -> None:
    data = write_slices(tmp_path / "slices")
    places = Places(tmp_path / "run", device="cpu")
    settings = load_config(
        FinetuneConfig, None, [*SMALL, "frame.pixels=windowed", "split.kind=random"]
    )
    with pytest.raises(DataError, match=r"file order carries patients.*split\.kind=blocked"):
        finetune.main(settings, data, places)
    finetune.main(settings, data, places, "resume", allow_leakage=True)
    assert "file order carries patients" in load_model(tmp_path / "run").card.leakage


def test_blocks_of_slices_are_trained_on(tmp_path: Path) -> None:
    data = write_slices(tmp_path / "slices")
    blocks = ["split.kind=blocked", "split.blocks=5", "split.test_blocks=[2]", "split.gap=3"]
    settings = load_config(FinetuneConfig, None, [*SMALL, "frame.pixels=windowed", *blocks])
    finetune.main(settings, data, Places(tmp_path / "run", device="cpu"))
    assert load_model(tmp_path / "run").card.leakage == ""


@pytest.mark.realdata
def test_real_slices_are_torn_apart_by_chance_and_kept_together_by_blocks(real_data: Path) -> None:
    """The first 100 of each class of SARS-CoV-2 CT, whose file order follows the patients."""
    whole = read_dataset(real_data / "sars-cov-2-ct", "COVID")
    scans = []
    for positive in (False, True):
        of_class = [scan for scan in whole.scans if scan.positive == positive]
        scans += sorted(of_class, key=lambda scan: natural_order(scan.name))[:100]
    some = replace(whole, scans=tuple(scans))
    prints = frames_of(scans).prints
    by_chance, by_blocks = (
        settle(propose(some, plan, 0), prints)[1].leaks
        for plan in (SplitPlan(kind="random"), SplitPlan(kind="blocked", blocks=5, gap=5,
                     test_blocks=(2,)))
    )  # fmt: skip
    with pytest.raises(DataError, match="file order carries patients, and none are known"):
        refuse_leaks(some, by_chance, allowed=False)
    assert not by_blocks
