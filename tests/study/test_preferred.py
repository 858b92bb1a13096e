"""An arm at its best: its protocol is chosen by the labels of each fold and draw alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covidssl.errors import DataError
from pipelines.study.preferred import at_its_best
from pipelines.study.records import Cell, Record, read_record, write_record
from tests.study.made_records import made_cells, made_facts, made_found, made_images

IMAGES = made_images()


def record_of(tmp_path: Path, inners: dict[str, tuple[float, ...]]) -> Record:
    """An arm whose protocols do well in the folds that are said."""
    cells = {}
    for number, (protocol, values) in enumerate(inners.items()):
        for cell in (Cell(protocol, 0.1, draw) for draw in range(2 if number else 3)):
            found = made_found(IMAGES, 1.0, 10 * number + cell.draw)
            cells[cell] = found._replace(inner=float(np.mean(values)), inners=values)
    return read_record(write_record(tmp_path, made_facts("perlin"), cells))


def test_in_each_fold_the_protocol_is_chosen_by_that_folds_labels(tmp_path: Path) -> None:
    probe, tuned = (0.9, 0.9, 0.5, 0.5, 0.6), (0.6, 0.6, 0.6, 0.6, 0.6)
    record = record_of(tmp_path, {"probe": probe, "fine-tuned": tuned})
    best = at_its_best(record, IMAGES, 0.1, draws={0, 1})
    assert best.protocols == ("probe", "probe", "fine-tuned", "fine-tuned", "probe") * 2
    for draw, founds in best.by_draw.items():
        assert len(founds) == 1
        for fold, protocol in enumerate(best.protocols[:5]):
            rows, one = IMAGES.fold == fold, record.cells[Cell(protocol, 0.1, draw)]
            np.testing.assert_array_equal(founds[0].chance[rows], one.chance[rows])
    moved = {cell: found._replace(inner=0.0) for cell, found in record.cells.items()}
    told = {
        cell: found._replace(chance=IMAGES.target.astype(float))
        for cell, found in moved.items()
        if cell.protocol == "probe"
    }
    changed = record._replace(cells=moved | told)
    assert at_its_best(changed, IMAGES, 0.1, {0, 1}).protocols == best.protocols


def test_each_draw_chooses_for_itself_and_its_seeds_count_the_same(tmp_path: Path) -> None:
    record = record_of(tmp_path, {"probe": (0.7,) * 5, "fine-tuned": (0.8,) * 5})
    worse = record.cells[Cell("fine-tuned", 0.1, 1)]._replace(inners=(0.6,) * 5)
    seeds = {
        Cell("fine-tuned", 0.1, 0, seed): made_found(IMAGES, 1.0, 90 + seed) for seed in (0, 1)
    }
    seeds = {cell: found._replace(inners=(0.8,) * 5) for cell, found in seeds.items()}
    own = record._replace(cells=record.cells | seeds | {Cell("fine-tuned", 0.1, 1): worse})
    best = at_its_best(own, IMAGES, 0.1)
    assert best.protocols == ("fine-tuned",) * 5 + ("probe",) * 10
    assert [len(founds) for founds in best.by_draw.values()] == [2, 2, 2]
    assert at_its_best(own, IMAGES, 0.1, {1}).by_draw[1][0].chance.tolist() == (
        best.by_draw[1][0].chance.tolist()
    ), "which other draws are asked for must not change what a draw chooses"


def test_where_too_few_groups_choose_the_frozen_probe_stands(tmp_path: Path) -> None:
    tuned = (0.99, float("nan"), 0.99, float("nan"), 0.99)
    record = record_of(tmp_path, {"probe": (0.6,) * 5, "fine-tuned": tuned})
    chosen = at_its_best(record, IMAGES, 0.1, {0}).protocols
    assert chosen == ("fine-tuned", "probe", "fine-tuned", "probe", "fine-tuned")


def test_what_a_record_lacks_to_choose_by_is_said(tmp_path: Path) -> None:
    record = record_of(tmp_path, {"probe": (0.7,) * 5})
    with pytest.raises(DataError, match="no model of 1 of the labels"):
        at_its_best(record, IMAGES, 1.0)
    with pytest.raises(DataError, match=r"no model of draws \[7\]"):
        at_its_best(record, IMAGES, 0.1, {7})
    bare = {cell: found._replace(inners=()) for cell, found in made_cells(IMAGES, 1.0).items()}
    with pytest.raises(DataError, match="0 inner scores for 5 folds"):
        at_its_best(Record(record.facts, bare), IMAGES, 0.1)
