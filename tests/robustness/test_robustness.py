"""The verb: one table of four idioms, nothing scored that was not done, nothing done twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from covidssl.altering import Key, Unaltered, altered, logit_of, scan_key, under
from covidssl.cli import app
from covidssl.commands import report, robustness
from covidssl.config import load_config
from covidssl.errors import UsageError
from covidssl.evaluation.external import External
from covidssl.files import read_csv, write_bytes
from covidssl.hounsfield import Pixels
from covidssl.lungs import Lungs
from covidssl.metrics import Estimate
from covidssl.robustness import suite as suite_module
from covidssl.robustness.kinds import KINDS, Corruption, corruptions
from covidssl.robustness.plan import RobustnessConfig
from covidssl.robustness.summary import falls
from covidssl.robustness.table import Row
from covidssl.volume import Volume
from tests.robustness.bench import SMALL, Bench
from tests.robustness.scans import KEY, card, chest, model, write_model
from tests.scan_files import chest_grey, write_png


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = Bench(tmp_path_factory.mktemp("robustness"))
    bench.go()
    return bench


@pytest.fixture
def rows(found: Bench) -> list[dict[str, str]]:
    return read_csv(found.out / "robustness.csv")


def test_one_table_holds_all_four_idioms(rows: list[dict[str, str]]) -> None:
    assert {(row["set"], row["name"]) for row in rows if row["idiom"] == "evaluation set"} == {
        ("internal", "clean"),
        ("elsewhere", "clean"),
    }
    names = {row["name"] for row in rows if row["idiom"] == "subpopulation"}
    assert {"scanner = A", "scanner = B"} <= names
    altered_rows = [
        (row["name"], row["severity"], float(row["amount"]), row["unit"])
        for row in rows
        if row["idiom"] == "transformation"
    ]
    assert altered_rows == [
        ("dose_noise", "2", 0.25, "share of the dose"),
        ("dose_noise", "5", 0.03, "share of the dose"),
        ("hu_down", "2", -20, "HU"),
        ("hu_down", "5", -160, "HU"),
    ]
    attacks = [row for row in rows if row["idiom"] == "attack"]
    assert [(float(row["amount"]), row["unit"]) for row in attacks] == [(5, "HU"), (20, "HU")]


def test_differences_are_those_of_the_same_scans_clean(rows: list[dict[str, str]]) -> None:
    clean = float(rows[0]["auroc"])
    for row in rows:
        if row["idiom"] in ("transformation", "attack"):
            difference = float(row["auroc"]) - clean
            assert float(row["difference"]) == pytest.approx(difference, abs=2e-4)
            assert float(row["difference_low"]) <= float(row["difference"])
            assert float(row["difference"]) <= float(row["difference_high"])


def test_attack_does_not_raise_the_score(found: Bench, rows: list[dict[str, str]]) -> None:
    logits: dict[tuple[str, str], dict[str, float]] = {}
    for row in read_csv(found.out / "logits.csv"):
        if row["logit"] and row["set"] == "internal":
            logits.setdefault((row["name"], row["severity"]), {})[row["scan"]] = float(row["logit"])
    clean = logits["clean", ""]
    for severity in ("1", "2"):
        for scan, logit in logits["attack", severity].items():
            assert logit < clean[scan] if "COVID" in scan else logit > clean[scan]
    attacks = [float(row["auroc"]) for row in rows if row["idiom"] == "attack"]
    assert float(rows[0]["auroc"]) >= attacks[0] >= attacks[1]


def test_what_does_not_apply_has_a_reason_and_no_row(
    found: Bench, rows: list[dict[str, str]]
) -> None:
    lacking = json.loads((found.out / "robustness.json").read_text())["not_applied"]
    told = {(one["name"], one["severity"]): one for one in lacking}
    assert set(told) == {("jpeg", 2), ("jpeg", 5), ("slice_thickness", 2), ("slice_thickness", 5)}
    assert told["jpeg", 2]["reason"] == "is in HU: JPEG holds 8 bits"
    assert "28 mm apart already" in told["slice_thickness", 5]["reason"]
    assert not {"jpeg", "slice_thickness"} & {row["name"] for row in rows}
    logits = read_csv(found.out / "logits.csv")
    assert {row["logit"] for row in logits if row["name"] == "jpeg"} == {""}


def test_fall_is_told_in_words(found: Bench) -> None:
    written = json.loads((found.out / "robustness.json").read_text())
    texts = [one["text"] for one in written["falls"]]
    assert len(texts) == 3
    assert texts[-1].startswith("attack: the AUROC on internal")
    assert all("at severity" in text or "up to severity" in text for text in texts)
    means = [one["mean"] for one in written["falls"] if one["name"] != "attack"]
    assert written["mean_fall"] == pytest.approx(np.mean(means))


def test_numbers_of_the_table_are_numbers(rows: list[dict[str, str]]) -> None:
    for row in rows:
        for name in ("auroc", "auroc_low", "difference", "difference_low", "amount"):
            assert row[name] == "" or np.isfinite(float(row[name]))


def test_lungs_that_are_kept_are_not_found_again() -> None:
    kept = {one.kind: one.finds_lungs_again for one in corruptions(tuple(KINDS), (1,), False)}
    assert {kind for kind, again in kept.items() if again} == {"slice_thickness", "field_of_view"}
    assert all(one.finds_lungs_again for one in corruptions(tuple(KINDS), (1,)))
    assert altered(chest(), Corruption("hu_up", 1, False), KEY).lungs.usable


def fallen(severity: int, value: float, high: float) -> Row:
    difference = Estimate(value - 0.9, value - 1.0, high)
    return Row(
        "internal", "transformation", "blur", severity, 2.0 * severity, "mm FWHM", 9, 4, 9,
        {"auroc": Estimate(value, value - 0.1, value + 0.1)}, difference,
    )  # fmt: skip


def test_mildest_severity_of_a_fall_is_named_with_its_amount() -> None:
    (found,) = falls([fallen(3, 0.5, -0.2), fallen(1, 0.87, 0.01), fallen(2, 0.8, 0.01)], 0.05)
    assert found.text == (
        "smoother kernel: the AUROC on internal falls below 0.850 at severity 2 (4 mm FWHM): "
        "0.800, 0.100 less than clean; the interval of that difference holds 0."
    )
    assert (found.severity, found.sure) == (2, False)
    assert found.mean == pytest.approx((0.03 + 0.1 + 0.4) / 3)
    (none,) = falls([fallen(1, 0.91, 0.1), fallen(2, 0.9, 0.1)], 0.05)
    assert none.text.endswith("up to severity 2 (4 mm FWHM); it never falls.")
    assert none.severity is None


def test_page_shows_the_sentences_and_the_tables(found: Bench, tmp_path: Path) -> None:
    assert (found.out / "robustness.png").read_bytes().startswith(b"\x89PNG")
    report.main([found.out], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Brooks and Di Chiro 1976" in page
    assert "attack: the AUROC on internal" in page
    assert "is in HU: JPEG holds 8 bits" in page


def test_stopped_run_goes_on_behind_the_last_whole_scan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(tmp_path)
    tried: list[str] = []
    most = 3
    try_scan = suite_module.try_scan

    def stopping(suite: Any, scan: Any) -> Any:
        if len(tried) == most:
            raise KeyboardInterrupt
        tried.append(scan.name)
        return try_scan(suite, scan)

    monkeypatch.setattr(suite_module, "try_scan", stopping)
    with pytest.raises(KeyboardInterrupt):
        bench.go()
    first = list(tried)
    tried.clear()
    most = 100
    bench.go(if_exists="resume")
    assert not set(first) & set(tried[: 8 - len(first)])
    assert len(first) + len(tried) == 8 + 4
    resumed = (bench.out / "robustness.csv").read_bytes()
    bench.go(if_exists="overwrite")
    assert (bench.out / "robustness.csv").read_bytes() == resumed


def test_bad_scan_never_stops_the_rest(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    write_bytes(bench.labels.parent / "p0-normal.nii.gz", b"no scan")
    written = bench.go(SMALL.model_copy(update={"kinds": ("hu_down",), "attack_hu": ()}))
    assert written["rows"][0]["scans"] == 7
    assert any("1 of 8 scans could not be scored" in text for text in written["warnings"])


def test_fewer_scans_are_taken_evenly_and_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    few = {"kinds": ("hu_down",), "attack_hu": (), "most_scans": 4, "by": ()}
    written = bench.go(SMALL.model_copy(update=few))
    assert (written["rows"][0]["scans"], written["rows"][0]["positives"]) == (4, 2)
    assert "internal: 4 of 8 scans were tried." in written["warnings"]


def test_pictures_of_unknown_size_are_tried_in_grey_levels(tmp_path: Path) -> None:
    run = write_model(tmp_path / "run", Pixels.WINDOWED)
    for k in range(3):
        for label in ("normal", "COVID"):
            grey = chest_grey(64, 2 * k + (label == "COVID"))
            write_png(tmp_path / "data" / label / f"{k}.png", grey)
    config = load_config(
        RobustnessConfig, None,
        ["split=all", "severities=[3]", "attack_grey=[2]", "attack_steps=2", "rounds=100"],
    )  # fmt: skip
    robustness.main(config, run, tmp_path / "data", tmp_path / "out")
    written = json.loads((tmp_path / "out" / "robustness.json").read_text())
    kinds = {row["name"] for row in written["rows"] if row["idiom"] == "transformation"}
    assert kinds == {
        "dose_noise", "blur", "sharpen", "level_up", "level_down", "window_width",
        "field_of_view", "motion", "metal", "jpeg",
    }  # fmt: skip
    assert written["rows"][-1]["unit"] == "grey levels"
    assert any("reckoned from lungs 270 mm wide" in text for text in written["warnings"])


class Broken:
    """An alteration with a fault in it."""

    name = "broken"
    finds_lungs_again = False

    def __call__(self, _ct: Volume, _lungs: Lungs, _key: Key, /) -> Volume:
        raise ZeroDivisionError


class Cropping(Broken):
    """One that forgets that its lungs no longer fit."""

    def __call__(self, ct: Volume, _lungs: Lungs, _key: Key, /) -> Volume:
        return replace(ct, array=ct.array[:, 1:])


def test_alteration_that_fails_costs_itself_alone_and_says_why() -> None:
    of, scan = model(card()), chest()
    ways = (Unaltered(), Corruption("jpeg", 1), Broken(), Cropping(), Corruption("hu_up", 3))
    found = under(of, scan, ways, KEY)
    assert np.isfinite(found.logit).tolist() == [True, False, False, False, True]
    assert found.logit[0] == logit_of(of, scan) != found.logit[4]
    assert found.reasons[1] == "scan: is in HU: JPEG holds 8 bits"
    assert found.reasons[2] == "unexpected ZeroDivisionError"
    assert "Such an alteration must find them again" in found.reasons[3]


def test_draws_depend_on_the_name_of_the_scan_and_the_seed() -> None:
    keys = {scan_key(seed, name) for seed in (0, 1) for name in ("a", "b")}
    assert len(keys) == 4
    assert scan_key(0, "a") == scan_key(0, "a")


def test_clean_scan_is_no_alteration() -> None:
    scan = chest()
    assert altered(scan, Unaltered(), KEY).ct is scan.ct


def test_dry_run_says_how_many_and_how_long_and_writes_nothing(found: Bench) -> None:
    out = found.out.parent / "dry"
    done = CliRunner().invoke(
        app,
        [
            "robustness", str(found.run), "--data", str(found.labels), "--split", "all",
            "--out", str(out), "--by", "scanner", "--external", f"elsewhere={found.other}",
            "--set", "kinds=[blur,jpeg]", "--set", "attack_hu=[]", "--dry-run",
        ],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "internal: 8 scans x 11 ways to show each" in done.output
    assert "elsewhere: 4 scans x 1 ways" in done.output
    assert "time in all" in done.output
    assert not out.exists()


def test_wrong_settings_are_refused_before_a_scan_is_read(found: Bench) -> None:
    with pytest.raises(UsageError, match="no corruption 'rain'"):
        load_config(RobustnessConfig, None, ["kinds=[rain]"])
    with pytest.raises(UsageError, match="--by hospital"):
        found.go(SMALL.model_copy(update={"by": ("hospital",)}), if_exists="overwrite")
    beside = robustness.Beside((External("internal", found.other),))
    with pytest.raises(UsageError, match="the model's own data are called so"):
        robustness.main(SMALL, found.run, found.labels, found.out.parent / "no", beside=beside)
    with pytest.raises(UsageError, match=r"has no splits\.csv"):
        robustness.main(
            SMALL.model_copy(update={"split": "test"}), found.run, found.labels,
            found.out.parent / "no",
        )  # fmt: skip
