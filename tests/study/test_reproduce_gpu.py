"""The commands of the comparison on a GPU, and what `make` hands to the studies."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from pipelines.reproduce_gpu import APP

ROOT = Path(__file__).resolve().parents[2]
RUN = CliRunner()

by_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def said_by_make(*given: str) -> subprocess.CompletedProcess[str]:
    """What `make` would run; the environment counts as made."""
    asked = ["make", "--dry-run", "--assume-old=.venv/.covidssl", "DATA=sets", "RUNS=runs", *given]
    return subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
@pytest.mark.parametrize(
    "asked",
    [
        ["all", "--data", "sets", "--runs", "runs"],
        ["piece", "0", "--pack", "pack", "--out", "out", "--device", "cuda"],
    ],
)
def test_without_a_gpu_it_says_what_is_needed_and_what_runs_here(
    asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sets").mkdir()
    said = RUN.invoke(APP, asked)
    assert said.exit_code == 1
    assert "no CUDA device is here" in said.output
    assert "make reproduce SCALE=cpu" in said.output
    assert list(tmp_path.iterdir()) == [tmp_path / "sets"]


def test_a_dry_run_reads_no_set_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    folders = ["--data", str(tmp_path / "sets"), "--runs", str(tmp_path / "runs")]
    said = RUN.invoke(APP, ["all", *folders, "--dry-run"])
    assert said.exit_code == 0, said.output
    lines = said.output.splitlines()
    assert lines[0].startswith("to do: not packed yet")
    assert sum(line.startswith("to do") for line in lines) == 1 + 2 + 3 * 2 * 3
    assert list(tmp_path.iterdir()) == [tmp_path / "sets"]


@by_make
def test_a_scale_has_a_command_of_its_own() -> None:
    asked = "pipelines.reproduce_gpu all --data sets --runs runs"
    assert asked in said_by_make("reproduce", "SCALE=gpu").stdout
    assert "--dry-run" in said_by_make("reproduce", "SCALE=gpu", "DRY=1").stdout
    assert "pipelines.reproduce_paper --data sets" in said_by_make("reproduce").stdout
    refused = said_by_make("reproduce", "SCALE=tpu")
    assert refused.returncode != 0
    assert "SCALE is cpu or gpu" in refused.stderr


@by_make
@pytest.mark.parametrize(
    "study", ["reproduce", "label-efficiency", "scaling", "cross-site", "ablate", "shortcuts"]
)
def test_a_study_is_told_its_stage(study: str) -> None:
    assert "--only 'a-*'" in said_by_make(study, "STAGE=a-*").stdout
    assert "--only" not in said_by_make(study).stdout


@by_make
def test_a_study_without_stages_refuses_one() -> None:
    assert "--only" not in said_by_make("localise").stdout
    refused = said_by_make("localise", "STAGE=a")
    assert refused.returncode != 0
    assert "localise has no stages" in refused.stderr


@by_make
def test_help_says_what_can_be_made() -> None:
    said = subprocess.run(
        ["make", "--no-print-directory", "help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.startswith("Two commands: `make demo`")
    assert "make reproduce DATA=" in said.stdout
    assert "PYTHON" not in said.stdout
