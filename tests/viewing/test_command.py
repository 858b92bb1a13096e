"""After a prediction the command that shows a scan and its map is told, and it is right."""

from __future__ import annotations

import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from covidssl.cli import app
from covidssl.commands import predict as verb
from covidssl.experiments import PredictConfig
from covidssl.inference.engines import Engine
from covidssl.io import Policy
from covidssl.viewing import ViewConfig, shown_map, shown_scan
from tests.inference.folders import model as model
from tests.inference.folders import rows_of, write_pictures
from tests.scan_files import chest_hu, lps_nifti, write_dicom

MAPS = PredictConfig()


def told(model: Path, given: Path, out: Path, config: PredictConfig = MAPS) -> list[str]:
    """The lines that are told; the scans are read in a thread."""
    lines: list[str] = []
    how = verb.How("cpu", Engine("local", 0), tell=lines.append)
    verb.main(config, model, [given], out, how=how)
    return lines


def command_of(lines: list[str]) -> list[str]:
    (line,) = lines
    return shlex.split(line.partition(": ")[2])


def test_the_line_opens_the_scan_with_its_map(model: Path, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "in here", 1)  # first in the table, and no volume
    lps_nifti(folder / "volume.nii.gz", chest_hu(6, 64), 10.0)
    lines = told(model, folder, tmp_path / "out")
    drawn = tmp_path / "out" / rows_of(tmp_path / "out")["volume.nii.gz"]["evidence_map"]
    scan = folder / "volume.nii.gz"
    assert command_of(lines) == ["covidssl", "view", str(scan), "--map", str(drawn)]
    looked = shown_scan(scan)
    assert shown_map(drawn, looked.ct).array.shape == looked.ct.array.shape
    assert "covidssl view" not in (tmp_path / "out" / "log.txt").read_text()


def test_a_series_is_opened_by_its_folder_and_as_it_was_read(model: Path, tmp_path: Path) -> None:
    write_dicom(tmp_path / "in" / "series", chest_hu(6, 64))
    config = MAPS.model_copy(update={"policy": Policy.REPAIR})
    command = command_of(told(model, tmp_path / "in", tmp_path / "out", config))
    assert command[2] == str(tmp_path / "in" / "series")
    assert command[-2:] == ["--set", "policy=repair"]
    ct = shown_scan(Path(command[2]), reading=ViewConfig(policy=Policy.REPAIR).reading).ct
    assert shown_map(Path(command[4]), ct).array.shape == ct.array.shape


def test_an_archive_is_opened_where_it_holds_one_scan_alone(model: Path, tmp_path: Path) -> None:
    lps_nifti(tmp_path / "a.nii.gz", chest_hu(6, 64), 10.0)
    for count in (1, 2):
        with zipfile.ZipFile(tmp_path / f"{count}.zip", "w") as archive:
            for number in range(count):
                archive.write(tmp_path / "a.nii.gz", f"{number}.nii.gz")
    command = command_of(told(model, tmp_path / "1.zip", tmp_path / "one"))
    assert command[2] == str(tmp_path / "1.zip")
    assert told(model, tmp_path / "2.zip", tmp_path / "two") == []


@pytest.mark.parametrize("config", [
    PredictConfig(maps=False), MAPS.model_copy(update={"hash_paths": True}),
])  # fmt: skip
def test_nothing_is_told_without_maps_or_where_places_are_hidden(
    config: PredictConfig, model: Path, tmp_path: Path
) -> None:
    lps_nifti(tmp_path / "in" / "volume.nii.gz", np.asarray(chest_hu(6, 64)), 10.0)
    assert told(model, tmp_path / "in", tmp_path / "out", config) == []


def test_pictures_and_scans_that_failed_have_no_line(model: Path, tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "in", 1)
    (folder / "broken.nii.gz").write_bytes(b"no scan")
    assert told(model, folder, tmp_path / "out") == []


def test_the_line_goes_past_the_path_that_is_piped(model: Path, tmp_path: Path) -> None:
    lps_nifti(tmp_path / "in" / "volume.nii.gz", chest_hu(6, 64), 10.0)
    given = ["predict", model, tmp_path / "in", "-o", tmp_path / "out", "--workers", "0"]
    done = CliRunner().invoke(app, [str(one) for one in given], catch_exceptions=False)
    assert done.stdout == f"{tmp_path / 'out' / 'predictions.csv'}\n"
    assert f"covidssl view {tmp_path / 'in' / 'volume.nii.gz'} --map " in done.stderr
