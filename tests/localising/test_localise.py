"""Localisation from end to end on made scans, and the table made of its records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covidssl.clean_slices import open_slices, stored_pictures
from covidssl.commands import prepare
from covidssl.config import load_config
from covidssl.errors import DataError, UsageError
from covidssl.experiments import PrepareConfig, PretrainConfig
from covidssl.frames import Frame
from covidssl.quality.plan import QualityPlan
from pipelines.localise import blocks, main, table
from pipelines.localising.cases import looked_at, read_localised
from pipelines.localising.judging import bar_of
from pipelines.localising.thresholds import has_learnt_from
from tests.localising.made_cases import EDGE, write_case, write_pretrained
from tests.quality.made import write_chests

DESIGN, TEST = (1, 3, 6), (2, 4, 7)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Design cases, test cases that are no scans at all, and what was measured without them."""
    root = tmp_path_factory.mktemp("localise")
    medseg = root / "data" / "medseg-9"
    for case in DESIGN:
        write_case(medseg, case, marks=case != 6)
    for case in TEST:
        (medseg / f"case{case}_image.nii.gz").write_bytes(b"kept for the end")
    run = write_pretrained(root)
    main(
        root / "data",
        root / "runs",
        [f"ours={run}"],
        root / "store",
        root / "docs" / "records" / "localise",
        design_only=True,
    )
    return root


def records(root: Path) -> Path:
    return root / "docs" / "records" / "localise"


def record(root: Path, name: str = "ours") -> dict[str, Any]:
    return dict(json.loads((records(root) / f"{name}.json").read_text(encoding="utf-8")))


def test_every_score_of_every_case_is_recorded_with_intervals(root: Path) -> None:
    scores = record(root)["scores"] | record(root, "rivals")["scores"]
    assert {"lesion map", "removal alone", "predicted map"} < set(scores)
    assert {"brightness", "density alone", "PCA reconstruction"} < set(scores)
    for score in scores.values():
        for case in ("1", "3"):
            ap = score["cases"][case]["ap"]
            assert 0 <= ap["low"] <= ap["value"] <= ap["high"] <= 1


def test_a_dense_square_in_dark_lungs_is_found(root: Path) -> None:
    found = record(root)["cases"]["3"]
    assert found["ap"]["value"] > 0.9
    assert found["auroc"]["value"] > 0.95


def test_a_case_without_marks_says_only_how_much_is_called_lesion(root: Path) -> None:
    assert set(record(root)["cases"]["6"]) == {"above_percent"}


def test_the_bar_has_no_threshold_fixed_beforehand(root: Path) -> None:
    bar = record(root, "rivals")["scores"]["brightness"]
    assert bar["threshold"] is None
    assert bar["cases"]["1"]["dice"] is None
    assert bar["cases"]["1"]["ap_over_brightness"] == {"value": 0, "low": 0, "high": 0}


def test_a_record_tells_the_run_it_came_from(root: Path) -> None:
    facts = record(root)["pretraining"]
    card = json.loads((root / "run" / "restoration.json").read_text())
    assert facts["weights_sha256"] == card["sha256"]
    assert facts["lesions"] == "covid"
    assert facts["steps"] == 2
    assert len(facts["config_sha256"]) == 64
    assert "torch" in facts["packages"]


def test_the_card_of_a_network_finds_its_numbers_at_the_top(root: Path) -> None:
    held = record(root)
    assert held["cases"] == held["scores"]["lesion map"]["cases"]
    assert held["threshold"] == held["scores"]["lesion map"]["threshold"]
    assert "resamples of whole runs of neighbouring slices" in held["protocol"]


def test_pictures_go_to_the_runs_and_the_docs_get_a_chart_alone(root: Path) -> None:
    shown = sorted(file.name for file in (root / "runs").rglob("*.png"))
    assert shown == ["case1.png", "case3.png", "case6.png"]
    docs = sorted(file.name for file in (root / "docs").rglob("*") if file.is_file())
    assert docs == ["localisation.png", "ours.json", "rivals.json"]


def test_the_table_is_made_of_the_records(root: Path) -> None:
    text = table(records(root))
    ap = record(root)["cases"]["3"]["ap"]
    assert f"{ap['value']:.3f} ({ap['low']:.3f} to {ap['high']:.3f})" in text
    (block,) = blocks()
    assert block.make(root / "docs" / "records") == text
    assert block.make(root / "nothing") == ""


def test_a_digit_that_differs_in_a_record_differs_in_the_table(root: Path, tmp_path: Path) -> None:
    for name in ("ours", "rivals"):
        (tmp_path / f"{name}.json").write_text(json.dumps(record(root, name)), encoding="utf-8")
    before, held = table(tmp_path), record(root)
    held["scores"]["lesion map"]["cases"]["1"]["ap"]["value"] += 0.001
    (tmp_path / "ours.json").write_text(json.dumps(held), encoding="utf-8")
    assert table(tmp_path) != before


def test_networks_without_their_rivals_are_no_table(root: Path, tmp_path: Path) -> None:
    (tmp_path / "ours.json").write_text(json.dumps(record(root)), encoding="utf-8")
    with pytest.raises(DataError, match=r"holds no rivals\.json"):
        table(tmp_path)


@pytest.mark.parametrize("given", ["ours", "=run", "rivals=run", "../ours=run", "ours="])
def test_a_network_is_given_as_name_and_run(given: str, root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected NAME=RUN"):
        main(root / "data", tmp_path, [given], root / "store", tmp_path / "a" / "b")


def test_a_run_that_has_not_ended_is_refused_by_name(root: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"restoration\.safetensors is not there"):
        main(root / "data", tmp_path, [f"ours={tmp_path}"], root / "store", tmp_path / "a" / "b")


def test_a_network_of_another_store_is_refused(root: Path, tmp_path: Path) -> None:
    write_chests(tmp_path / "chests", 4)
    (tmp_path / "chests" / "labels.csv").unlink()
    prepare.main(PrepareConfig(), [tmp_path / "chests"], tmp_path / "store")
    given = [f"ours={root / 'run'}"]
    with pytest.raises(UsageError, match=r"learnt from another store than the one given"):
        main(root / "data", tmp_path, given, tmp_path / "store", tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()


def test_a_record_says_whether_its_thresholds_are_on_slices_that_were_learnt_from(
    root: Path,
) -> None:
    pictures = stored_pictures(open_slices(root / "store"), Frame(size=32))
    assert not has_learnt_from(pictures, QualityPlan())
    assert has_learnt_from(pictures, QualityPlan(every=None))
    learnt = load_config(PretrainConfig, root / "run" / "config.yaml").quality
    said = record(root)["pretraining"]["learnt_from_threshold_slices"]
    assert said == has_learnt_from(pictures, learnt)
    column = table(records(root)).partition("set on slices that it learnt from")[2]
    assert column.splitlines()[2].split(" | ")[6] == ("yes" if said else "no")


def test_planes_of_frames_come_back_to_where_they_were_cut(root: Path) -> None:
    frame = Frame(size=32)
    case = read_localised(root / "data" / "medseg-9", 1, frame)
    looked = looked_at(case, frame)
    back = case.placed((looked.frames / 65535 * 255).astype(np.float32))
    own = case.inside(case.grey)
    assert case.grey.shape[1:] == (EDGE, EDGE)
    assert np.corrcoef(back, own)[0, 1] > 0.75
    assert np.corrcoef(back, own[::-1])[0, 1] < 0.5


def test_faint_glass_is_what_is_unmarked_wide_and_not_dense(tmp_path: Path) -> None:
    frame = Frame(size=128)
    write_case(tmp_path, 1)
    case = read_localised(tmp_path, 1, frame)
    assert bar_of(case, looked_at(case, frame)).clear.all()
    case.grey[1, 20:40, 38:54] = 75  # some -660 HU between lung at 46 and tissue at 200
    bar = bar_of(case, looked_at(case, frame))
    assert 100 < (~bar.clear).sum() <= 20 * 16
    assert not (~bar.clear & bar.marked.lesion).any()
