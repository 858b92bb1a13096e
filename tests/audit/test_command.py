"""`covidssl audit` from folders to page, on made-up patients whose slices follow each other."""

from __future__ import annotations

import html
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from covidssl.audit import Audit, Given, audit_dataset, see, write_page
from covidssl.cli import app
from covidssl.commands import audit as verb
from covidssl.datasets import read_dataset
from covidssl.errors import UsageError
from covidssl.experiments import AuditConfig
from covidssl.files import read_csv, write_bytes
from covidssl.report import build_report
from covidssl.splits import leaks, read_split_file
from tests.audit.made_up import write_patients

CONFIG = AuditConfig(folds=2, gap=3, rounds=100, permutations=199, examples=2)
HOSTILE = '<img src=x onerror="alert(1)">&.png'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight patients of six slices a class, brighter borders in one; a copy and a broken file."""
    folder = write_patients(tmp_path_factory.mktemp("data") / "set", patients=8, bright=60)
    copy = (folder / "COVID" / "slice 3.png").read_bytes()
    write_bytes(folder / "COVID" / HOSTILE, copy)
    write_bytes(folder / "normal" / "slice 99.png", b"no picture")
    return folder


@pytest.fixture(scope="module")
def out(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an audit with a cache."""
    out = tmp_path_factory.mktemp("audits") / "out"
    verb.main(CONFIG, folder, out, "refuse", verb.Beside(cache=out.parent / "cache"))
    return out


@pytest.fixture(scope="module")
def written(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "audit.json").read_text())
    return found


def alarms(written: dict[str, Any]) -> set[str]:
    return {one["code"] for one in written["findings"] if one["alarm"]}


def test_what_was_planted_is_found(written: dict[str, Any]) -> None:
    assert alarms(written) >= {"unreadable", "equal", "order_thumbnail", "memory", "scanner"}
    assert written["facts"]["equal"]["within"] == {"COVID": 1, "normal": 0}
    assert written["order"]["thumbnail and histogram"]["carries_patients"]


def test_every_number_has_its_n_its_seed_and_its_interval(written: dict[str, Any]) -> None:
    assert len(written["shortcuts"]) > 20
    for row in written["shortcuts"]:
        assert row["n"] == 97
        assert row["seed"] == 0
        for name in ("accuracy", "auroc"):
            score = row[name]
            assert 0 <= score["low"] <= score["value"] <= score["high"] <= 1
    for order in written["order"].values():
        assert {"n", "seed", "p", "permutations", "chance"} <= order.keys()


def test_border_tells_the_class_and_the_inside_of_the_lungs_does_not(
    written: dict[str, Any],
) -> None:
    by = {(row["model"], row["split"]): row["auroc"] for row in written["shortcuts"]}
    assert by["border", "blocked"]["value"] > 0.95
    assert by["inside", "blocked"]["low"] < 0.55


def test_broken_file_is_in_the_table_of_dropped_scans(out: Path) -> None:
    (row,) = read_csv(out / "dropped.csv")
    assert row["scan"] == "normal/slice 99.png"


def test_proposed_splits_can_be_used_and_do_not_leak(
    out: Path, folder: Path, written: dict[str, Any]
) -> None:
    assert [one["kind"] for one in written["proposals"]] == ["blocked"]
    dataset = read_dataset(folder, "COVID")
    assigned, notes = read_split_file(out / "splits-blocked.csv", dataset)
    assert notes.kind == "blocked"
    assert {one.split for one in assigned} >= {"train", "validation", "test"}
    assert not leaks(assigned, see(dataset, 8).prints)


def test_page_is_one_file_with_its_pictures_and_no_script(out: Path) -> None:
    page = (out / "audit.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert "<script" not in page
    assert page.count("data:image/png;base64,") >= 3 + 4
    assert len(page) < 2_000_000
    assert "Research" in page or "research only" in page


def test_command_on_the_page_is_one_that_finetune_takes(out: Path) -> None:
    (shown,) = re.findall(r"<code>(covidssl finetune .*?)</code>", (out / "audit.html").read_text())
    words = shlex.split(html.unescape(shown))
    finetune = typer.main.get_command(app).commands["finetune"]  # type: ignore[attr-defined]
    given = dict(zip(words[2::2], words[3::2], strict=True))
    offered = {name for option in finetune.params for name in option.opts}
    needed = {option.opts[0] for option in finetune.params if option.required}
    assert needed <= given.keys() <= offered
    assert (out / given["--splits"]).is_file()


def test_hostile_file_names_are_escaped(out: Path) -> None:
    page = (out / "audit.html").read_text()
    assert HOSTILE not in page
    assert "COVID/&lt;img src=x onerror=&#34;alert(1)&#34;&gt;&amp;.png" in page


def test_page_shows_neighbours_and_the_split_that_tears_them_apart(out: Path) -> None:
    page = (out / "audit.html").read_text()
    assert "Neighbours that a random split tears apart" in page
    assert re.search(r"\d places? apart in file order; random split: folds \d and \d", page)


def test_no_absolute_path_is_written(out: Path, folder: Path) -> None:
    for name in ("audit.html", "audit.json", "dropped.csv"):
        assert str(folder.parent) not in (out / name).read_text()


def test_finished_audit_is_resumed_at_once_and_refused_without(out: Path, folder: Path) -> None:
    before = (out / "audit.json").stat().st_mtime_ns
    verb.main(CONFIG, folder, out, "resume")
    assert (out / "audit.json").stat().st_mtime_ns == before
    with pytest.raises(UsageError):
        verb.main(CONFIG, folder, out)


def test_a_report_tells_what_the_audit_found(
    out: Path, written: dict[str, Any], tmp_path: Path
) -> None:
    build_report([out], tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert written["verdict"] in html.unescape(page)
    assert all(one["words"] in html.unescape(page) for one in written["shortcuts"])
    assert "Incomplete" not in page


@pytest.fixture(scope="module")
def again(out: Path, folder: Path) -> Audit:
    """The same audit once more, from the cache."""
    cache = out.parent / "cache"
    dataset = read_dataset(folder, "COVID")
    return audit_dataset(dataset, see(dataset, 8, cache), CONFIG, Given(cache=cache))


def test_same_seed_gives_the_same_numbers(again: Audit, written: dict[str, Any]) -> None:
    assert json.loads(json.dumps(again.as_json())) == written


def test_same_audit_gives_the_same_page(again: Audit, out: Path, tmp_path: Path) -> None:
    write_page(tmp_path / "again.html", again)
    assert (tmp_path / "again.html").read_bytes() == (out / "audit.html").read_bytes()


def test_page_of_files_that_have_gone_is_still_written(again: Audit, tmp_path: Path) -> None:
    def gone(scan: Any) -> Any:
        return replace(scan, files=replace(scan.files, paths=(tmp_path / "gone.png",)))

    seen = replace(again.seen, scans=tuple(map(gone, again.seen.scans)))
    write_page(tmp_path / "page.html", replace(again, seen=seen))
    assert "slice" in (tmp_path / "page.html").read_text()


def test_command_says_where_the_page_is(folder: Path, out: Path) -> None:
    ran = CliRunner().invoke(
        app, ["audit", str(folder), "--out", str(out), "--resume", *_set(CONFIG)]
    )
    assert ran.exit_code == 0, ran.output
    assert ran.output.strip().endswith("audit.html")


def _set(config: AuditConfig) -> list[str]:
    given = config.model_dump(exclude_defaults=True)
    return [part for key, value in given.items() for part in ("--set", f"{key}={value}")]
