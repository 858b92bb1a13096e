"""Files may be called whatever they like: no name runs anything where it is shown."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from covidssl.files import read_csv, write_csv
from covidssl.io import find_scans
from covidssl.legible import legible
from covidssl.manifest import read_manifest
from tests.browser import Browser
from tests.model_folders import write_untrained_model
from tests.scan_files import chest_grey, write_png
from tests.security.hostile import (
    COLUMN,
    ESCAPE,
    FORMULAS,
    MARKUP,
    NAMES,
    acting,
    write_clinic,
    write_labelled,
    wrong_in,
)
from tests.security.verbs import Ran, ran

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="file names of any characters")


class Runs(NamedTuple):
    predict: Ran
    prepare: Ran
    evaluate: Ran
    compare: Ran
    report: Ran


_KEPT: list[Runs] = []


@pytest.fixture
def runs(tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str]) -> Runs:
    """Prediction, store and report of a clinic whose files are named to attack; made once."""
    if not _KEPT:
        root = tmp_path_factory.mktemp("names")
        clinic, model = write_clinic(root / "clinic"), write_untrained_model(root / "model")
        out, store, page = root / "predict", root / "store", root / "report" / "report.html"
        predict = ran(out, capfd, "predict", model, clinic, "--out", out)
        prepare = ran(store, capfd, "prepare", clinic, "--out", store)
        labelled, scores = write_labelled(root / "labelled"), root / "scores"
        plain = [f"--set={one}" for one in ("rounds=100", "rival=false", "views=false")]
        evaluate = ran(
            scores, capfd, "evaluate", model, "--data", labelled, "--split", "all", "--out", scores,
            "--by", COLUMN, *plain,
        )  # fmt: skip
        # A copy with other probabilities is an evaluation of another model.
        other = shutil.copytree(scores, root / "=1 \x1b[31m\u202eowned")
        table = other / "predictions.csv"
        rows = read_csv(table)
        write_csv(
            table, list(rows[0]), [row | {"probability": f"{k / 99}"} for k, row in enumerate(rows)]
        )
        versus = root / "versus"
        compare = ran(versus, capfd, "compare", scores, other, "--out", versus, "--set=rounds=100")
        report = ran(page.parent, capfd, "report", out, store, scores, versus, "--out", page)
        _KEPT.append(Runs(predict, prepare, evaluate, compare, report))
    return _KEPT[0]


def test_every_file_gets_its_row_whatever_it_is_called(runs: Runs) -> None:
    table = read_csv(runs.predict.products / "predictions.csv")
    rows = {row["scan"]: row["outcome"] for row in table}
    for name in NAMES:
        assert rows[legible(name)] != "failed", name
    failed = [name for name, status in rows.items() if status == "failed"]
    assert len(failed) >= 6
    assert len(read_manifest(runs.prepare.products)) > len(NAMES) - 3
    assert (runs.predict.code, runs.report.code) == (1, 0), runs.report.said


def test_no_product_of_predict_runs_a_name(runs: Runs) -> None:
    assert not wrong_in(runs.predict.products)


def test_no_product_of_prepare_runs_a_name(runs: Runs) -> None:
    assert not wrong_in(runs.prepare.products)


def test_no_product_of_evaluate_runs_a_name(runs: Runs) -> None:
    assert runs.evaluate.code == 0, runs.evaluate.said
    assert "forged" in (runs.evaluate.products / "predictions.csv").read_text(encoding="utf-8")
    parts = read_csv(runs.evaluate.products / "subgroups.csv")
    assert {row["column"] for row in parts} == {legible(COLUMN)}
    assert len({row["value"] for row in parts}) > 2
    assert not wrong_in(runs.evaluate.products)


def test_no_product_of_compare_runs_a_name(runs: Runs) -> None:
    assert runs.compare.code == 0, runs.compare.said
    assert "owned" in (runs.compare.products / "comparison.csv").read_text(encoding="utf-8")
    assert not wrong_in(runs.compare.products)


def test_no_page_runs_a_name(runs: Runs) -> None:
    page = (runs.report.products / "report.html").read_text(encoding="utf-8")
    assert "forged" in page
    assert not wrong_in(runs.report.products)


@pytest.mark.parametrize("verb", ["predict", "prepare", "evaluate", "compare", "report"])
def test_the_terminal_is_not_given_a_name_as_commands(runs: Runs, verb: str) -> None:
    said = getattr(runs, verb).said
    assert said
    assert not acting(said)


def test_formulas_come_back_from_the_table_as_the_names_they_are(runs: Runs) -> None:
    table = runs.predict.products / "predictions.csv"
    for formula in FORMULAS:
        assert f"'{formula}.png" in table.read_text(encoding="utf-8")
    assert {f"{formula}.png" for formula in FORMULAS} <= {row["scan"] for row in read_csv(table)}


def test_a_browser_runs_nothing_of_the_report(runs: Runs, browser: Browser) -> None:
    browser.open(runs.report.products / "report.html")
    assert browser.run("return document.readyState") == "complete"
    assert browser.run("return document.querySelectorAll('[onerror], [onload]').length") == 0
    assert MARKUP[:12] in browser.run("return document.body.textContent")
    browser.assert_quiet()


@pytest.mark.parametrize("given", [f"{ESCAPE}gone", f"{ESCAPE}{MARKUP}"])
def test_a_refusal_that_names_a_path_is_no_command_to_the_terminal(
    given: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = write_untrained_model(tmp_path / "model")
    told = ran(tmp_path, capfd, "predict", model, tmp_path / given, "--out", tmp_path / "out")
    assert told.code == 2
    assert "owned" in told.said
    assert not acting(told.said)


def test_names_that_differ_in_hidden_signs_stay_two_scans(tmp_path: Path) -> None:
    write_png(tmp_path / "a\u202eb.png", chest_grey())
    write_png(tmp_path / os.fsdecode(b"a\\u202eb.png"), chest_grey(seed=1))
    names = [scan.name for scan in find_scans([tmp_path]).scans]
    assert len(set(names)) == 2
    assert not [name for name in names if acting(name)]
