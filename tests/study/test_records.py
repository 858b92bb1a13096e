"""Records keep what tables need, name nobody, and are refused where they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covidssl.errors import DataError
from pipelines.study.records import (
    Cell,
    Facts,
    read_images,
    read_record,
    read_records,
    write_images,
    write_record,
)
from tests.study.made_records import made_cells, made_facts, made_images

CELLS = (Cell("probe", 0.025, 3, 1), Cell("fine-tuned, low rate", 1.0))


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    images = made_images()
    cells = made_cells(images, 2.0, cells=CELLS)
    file = write_record(tmp_path, made_facts("perlin"), cells)
    record = read_record(file)
    assert record.facts == made_facts("perlin")
    assert list(record.cells) == list(CELLS)
    for cell, found in record.cells.items():
        np.testing.assert_array_equal(found.chance, cells[cell].chance)
        assert found.inner == pytest.approx(cells[cell].inner, abs=6e-5)
        assert found.inners == pytest.approx(cells[cell].inners, abs=6e-5)
        assert (found.labels, found.chosen) == (cells[cell].labels, cells[cell].chosen)


def test_chances_keep_four_digits_and_images_that_were_not_scored_stay_so(tmp_path: Path) -> None:
    found = made_cells(made_images(), 2.0, cells=CELLS)[CELLS[0]]
    given = np.linspace(0, 1, len(found.chance))
    given[[0, 7]] = np.nan
    file = write_record(tmp_path, made_facts("perlin"), {CELLS[0]: found._replace(chance=given)})
    chance = read_record(file).cells[CELLS[0]].chance
    np.testing.assert_array_equal(np.isnan(chance), np.isnan(given))
    assert np.nanmax(np.abs(chance - given)) <= 0.5e-4 + 1e-12
    assert np.nanmin(chance) >= 0
    assert np.nanmax(chance) == 1


def test_the_same_answers_are_the_same_bytes(tmp_path: Path) -> None:
    cells = made_cells(made_images(), 2.0)
    files = [write_record(tmp_path / at, made_facts("perlin"), cells) for at in ("a", "b")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_a_record_is_small_enough_to_be_committed(tmp_path: Path) -> None:
    images = made_images()
    file = write_record(tmp_path, made_facts("perlin"), made_cells(images, 2.0))
    assert file.stat().st_size < 6 * (2 * len(images.target) + 1000)


@pytest.mark.parametrize("cell", [*CELLS, Cell("probe", 1.0), Cell("probe", 0.1, 4, 2)])
def test_a_column_names_its_cell(cell: Cell) -> None:
    assert Cell.of(cell.column) == cell


def test_all_records_of_a_study_are_read_by_their_names(tmp_path: Path) -> None:
    for arm in ("none", "Models Genesis", "perlin + targets"):
        write_record(tmp_path, made_facts(arm), made_cells(made_images(), 1.0, cells=CELLS))
    names = [path.name for path in sorted(tmp_path.iterdir())]
    assert names[0] == "sars-cov-2-ct.blocked.plain.models-genesis.parquet"
    read = read_records(tmp_path)
    assert [record.facts.arm for record in read] == ["Models Genesis", "none", "perlin + targets"]
    assert read_records(tmp_path / "nothing") == []


def test_facts_of_now_say_how_a_record_was_made() -> None:
    facts = Facts.now(
        1.234, set_name="covid-ct", split="random", view="plain", arm="none", sources={}
    )
    assert facts.minutes == 1.23
    assert facts.packages["torch"]
    assert facts.made.endswith("+00:00")


def test_images_are_written_once_and_others_are_refused(tmp_path: Path) -> None:
    images = made_images()
    file = write_images(tmp_path, "covid-ct", "blocked", images)
    before = file.read_bytes()
    for written, read in zip(images, read_images(tmp_path, "covid-ct", "blocked"), strict=True):
        np.testing.assert_array_equal(written, read)
    assert write_images(tmp_path, "covid-ct", "blocked", images) == file
    other = images._replace(fold=images.fold[::-1].copy())
    with pytest.raises(DataError, match="others than those of the data given"):
        write_images(tmp_path, "covid-ct", "blocked", other)
    assert file.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"not a table", None])
def test_a_file_that_is_no_record_is_named(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "covid-ct.blocked.plain.none.parquet"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=r"none\.parquet: no record of a study"):
        read_record(file)
