from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from tests.dicom_files import deflate_bomb
from tests.fuzz import workers
from tests.fuzz.__main__ import cases_of, main
from tests.fuzz.good import FORMATS, good_files
from tests.fuzz.reading import Case, Outcome, read_folder, run
from tests.fuzz.workers import run_all


@pytest.mark.parametrize("format", FORMATS)
def test_the_good_file_of_each_format_is_read(tmp_path: Path, format: str) -> None:
    for name, content in good_files(format).items():
        (tmp_path / name).write_bytes(content)
    assert read_folder(tmp_path) == Outcome("read")


def test_a_case_is_the_same_every_time_and_unlike_the_others() -> None:
    for format in FORMATS:
        files = [Case(0, format, index).files() for index in (7, 7, 8)]
        assert files[0] == files[1]
        assert files[0] != files[2]


def test_two_thousand_broken_files_bring_no_reader_down() -> None:
    report = run_all(cases_of(2000, seed=0), workers=2)
    told = [f"{case.format}:{case.index} {outcome}" for case, outcome in report.failures]
    assert not told
    assert report.cases == 2000
    # Breaking neither leaves all files whole, nor ruins them all beyond their first line.
    read = sum(count for (_, kind), count in report.counts.items() if kind == "read")
    assert 200 < read < 1800


@dataclass(frozen=True)
class Wicked(Case):
    """A case whose making does what a bad reader would do."""

    def files(self) -> dict[str, bytes]:
        if self.index == 1:
            os.abort()
        if self.index == 2:
            time.sleep(60)
        if self.index == 3:
            raise KeyError("not foreseen")
        if self.index == 4:
            np.zeros(3 * 2**30, np.uint8)
        return good_files("png")


def test_death_hanging_and_greed_of_a_worker_are_told_by_their_case(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "SECONDS", 1)
    report = run_all([Wicked(0, "png", index) for index in range(6)], workers=1)
    assert [(case.index, outcome.kind) for case, outcome in report.failures] == [
        (1, "death"),
        (2, "hang"),
        (3, "crash"),
        (4, "crash"),
    ]
    assert "MemoryError" in report.failures[3][1].detail
    assert report.counts["png", "read"] == 2


@dataclass(frozen=True)
class Bomb(Case):
    """Half a megabyte that would be more than a worker's memory."""

    def files(self) -> dict[str, bytes]:
        return {
            name: deflate_bomb(content, 3000)
            for name, content in good_files("dicom-deflated").items()
        }


def test_a_deflate_bomb_is_read_in_the_memory_of_a_worker() -> None:
    report = run_all([Bomb(0, "dicom-deflated", 0)], workers=1)
    assert dict(report.counts) == {("dicom-deflated", "read"): 1}


def test_one_case_is_read_again_by_its_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = run(Case(3, "nii", 5))
    code = main(["--seed", "3", "--replay", "nii:5", "--keep", str(tmp_path)])
    assert code == 0
    assert capsys.readouterr().out.startswith(f"{outcome.kind}: {outcome.detail}")
    assert (tmp_path / "3-nii-5" / "scan.nii").read_bytes() == Case(3, "nii", 5).files()["scan.nii"]
