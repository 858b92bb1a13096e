"""The labelled sets are read once, as frames with lungs, from folders as they are downloaded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from shutil import copytree

import numpy as np
import pytest

from covidssl.errors import UsageError
from covidssl.rivals import thumbnail_features
from pipelines.study.targets import (
    FRAME,
    RUN_LENGTH,
    SETS,
    Targets,
    TargetSet,
    load_target,
    seen_as,
)
from tests.scan_files import chest_grey, write_png

EACH = 12


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both sets with twelve chests a class, in the folders and under the names of the downloads."""
    folder = tmp_path_factory.mktemp("data")
    sars, covid = (folder / name for name in SETS)
    for number in range(1, EACH + 1):
        chest = chest_grey(96, number)
        write_png(sars / "COVID" / f"Covid ({number}).png", chest[: 96 - number % 3])
        write_png(sars / "non-COVID" / f"Non-Covid ({number}).png", 255 - (255 - chest) // 2)
    for kind, piece in (("COVID", "2020.01.01.1-p{}-3%{}.png"), ("NonCOVID", "{}%{}.jpg")):
        names = [piece.format(number // 2, number % 2) for number in range(EACH)]
        for part, listed in (("train", names[:8]), ("val", names[8:])):
            list_file = covid / "Data-split" / kind / f"{part}CT_{kind}.txt"
            list_file.parent.mkdir(parents=True, exist_ok=True)
            list_file.write_text("\n".join(listed) + "\n", encoding="utf-8")
        for number, name in enumerate(names):
            write_png(covid / f"CT_{kind}" / name, chest_grey(96, 100 + number))
    return folder


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where frames are kept."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def sars(data: Path, runs: Path) -> TargetSet:
    """The set without patients."""
    return load_target("sars-cov-2-ct", data, runs)


def test_a_set_is_read_as_one_frame_an_image_with_its_lungs(sars: TargetSet) -> None:
    assert sars.frames.shape == sars.lungs.shape == (2 * EACH, FRAME.size, FRAME.size)
    assert (sars.frames.dtype, sars.lungs.dtype) == (np.uint16, np.bool_)
    assert sars.target.tolist() == [int(scan.positive) for scan in sars.scans]
    assert Counter(sars.target.tolist()) == {0: EACH, 1: EACH}
    share = sars.lungs.mean((1, 2))
    assert ((share > 0.1) & (share < 0.9)).mean() > 0.8


def test_images_stand_in_natural_file_order(sars: TargetSet) -> None:
    names = [Path(scan.name).stem for scan in sars.scans if scan.positive]
    assert names == [f"Covid ({number})" for number in range(1, EACH + 1)]


def test_rivals_are_given_the_size_of_the_original_and_its_thumbnail(sars: TargetSet) -> None:
    for row, scan in enumerate(sars.scans):
        number = int(scan.name.split("(")[1].split(")")[0])
        height = 96 - number % 3 if scan.positive else 96
        np.testing.assert_allclose(sars.sizes[row], (96, height, 96 / height), rtol=1e-6)
    assert sars.thumbnails.shape == (2 * EACH, 176)


def test_frames_are_cut_once(data: Path, runs: Path, sars: TargetSet) -> None:
    files = {file: file.stat().st_mtime_ns for file in (runs / "cache").iterdir()}
    again = load_target("sars-cov-2-ct", data, runs)
    np.testing.assert_array_equal(again.frames, sars.frames)
    assert again.group == sars.group
    assert {file: file.stat().st_mtime_ns for file in (runs / "cache").iterdir()} == files


def test_another_folder_of_data_is_read_though_the_runs_are_the_same(
    data: Path, tmp_path: Path
) -> None:
    other, runs = tmp_path / "other", tmp_path / "runs"
    copytree(data / "covid-ct", other / "covid-ct")
    (other / "covid-ct" / "CT_NonCOVID" / "0%0.jpg").unlink()
    first = load_target("covid-ct", data, runs)
    second = load_target("covid-ct", other, runs)
    assert len(second.scans) == len(first.scans) - 1
    places = {scan.files.paths[0].resolve().parents[2] for scan in second.scans}
    assert places == {other.resolve()}
    again = load_target("covid-ct", data, runs)
    assert again.loaded.fingerprint == first.loaded.fingerprint


def test_sets_are_read_once_and_only_where_frames_are_asked_for(
    data: Path, tmp_path: Path, sars: TargetSet
) -> None:
    targets = Targets(data, tmp_path / "runs", known=[sars])
    assert targets.of("sars-cov-2-ct") is sars
    assert not (tmp_path / "runs").exists()
    assert targets.frames("sars-cov-2-ct") == {"frames": sars.loaded.fingerprint}
    assert targets.frames("sars-cov-2-ct", called="learnt") == {"learnt": sars.loaded.fingerprint}
    small = FRAME.model_copy(update={"size": 32})
    assert targets.of("sars-cov-2-ct", small) is targets.of("sars-cov-2-ct", small)
    assert targets.frames("sars-cov-2-ct", small) != targets.frames("sars-cov-2-ct")
    unread = Targets(tmp_path / "none", tmp_path / "runs", reads_sets=False)
    assert unread.frames("covid-ct") == {}
    with pytest.raises(UsageError, match="Expected the set 'covid-ct' below DATA"):
        Targets(tmp_path / "none", tmp_path / "runs").frames("covid-ct")


def test_pieces_of_one_figure_are_one_group_and_files_of_nobody_known_are_runs(
    data: Path, runs: Path, sars: TargetSet
) -> None:
    covid = load_target("covid-ct", data, runs)
    assert len(covid.scans) == 2 * EACH
    assert set(Counter(covid.group).values()) == {2}
    assert all(name.startswith("patient ") for name in covid.group)
    assert max(Counter(sars.group).values()) <= RUN_LENGTH
    classes = {(group, label) for group, label in zip(sars.group, sars.target, strict=True)}
    assert len(classes) == len(set(sars.group))


def test_the_view_without_shortcuts_blanks_and_ranks_and_its_rivals_see_no_more(
    sars: TargetSet,
) -> None:
    assert seen_as(sars, "plain") is sars
    seen = seen_as(sars, "lungs_only_ranked")
    assert not seen.frames[~sars.lungs].any()
    for row in (0, EACH, 2 * EACH - 1):
        given, ranks = (one.frames[row][sars.lungs[row]].astype(int) for one in (sars, seen))
        order = np.argsort(given, kind="stable")
        assert (np.diff(ranks[order]) >= 0).all()
        expected = thumbnail_features(seen.frames[row].astype(np.float32) / 65535)
        np.testing.assert_array_equal(seen.thumbnails[row], expected)
    assert seen.group == sars.group
    np.testing.assert_array_equal(seen.target, sars.target)


def test_a_set_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="Expected the set 'covid-ct' below DATA"):
        load_target("covid-ct", tmp_path, tmp_path / "runs")
