"""Scaling: finished schedules, subsets of whole scans, tables that know what was learnt from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covidssl.commands import prepare
from covidssl.errors import DataError
from covidssl.experiments import PrepareConfig
from covidssl.store import Store
from pipelines import scaling
from pipelines.scaling import blocks, draw, stages
from pipelines.study.arms import NOTHING, OURS
from pipelines.study.grid import cells_of
from pipelines.study.pretraining import run_folder, store_folder
from pipelines.study.records import write_images, write_record
from pipelines.study.scaling_plan import (
    SEEDS,
    SLICES,
    config_of,
    points,
    pretraining_minutes,
    run_of,
    slices_steps,
    step_counts,
    store_of,
)
from pipelines.study.scaling_tables import STUDY, answer, curve_table, lines
from pipelines.study.subsets import drawn_slices, prepare_subset, series_of
from pipelines.study.targets import SETS, VIEWS
from pipelines.study.unlabelled import LUNA16
from tests.scan_files import chest_grey, write_png
from tests.study.made_records import made_cells, made_facts, made_images

SCANS = 9


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Nine scans of two slices each, and their store."""
    data = tmp_path_factory.mktemp("data")
    folder = data / LUNA16
    folder.mkdir()
    for scan in range(SCANS):
        for number in (40, 60):
            write_png(folder / f"1.2.{scan}.mhd_{number}.png", chest_grey(64, 100 * scan + number))
    whole = tmp_path_factory.mktemp("runs") / "store"
    prepare.main(PrepareConfig(), [folder], whole)
    return data, whole


def test_whole_scans_are_drawn_and_smaller_draws_lie_in_larger_ones(
    corpus: tuple[Path, Path],
) -> None:
    store = Store.open(corpus[1])
    assert len(store.slices) == 2 * SCANS
    few, more = drawn_slices(store, 5, seed=0), drawn_slices(store, 12, seed=0)
    assert (len(few), len(more)) == (6, 12)
    assert set(few) < set(more)
    assert {sum(series_of(name) == one for name in few) for one in map(series_of, few)} == {2}
    assert drawn_slices(store, 5, seed=0) == few != drawn_slices(store, 5, seed=1)


def test_a_store_of_the_drawn_slices_alone_is_as_the_whole_one(
    corpus: tuple[Path, Path], tmp_path: Path
) -> None:
    data, whole = corpus
    prepare_subset(data, whole, tmp_path / "few", 6, seed=1)
    every, few = Store.open(whole), Store.open(tmp_path / "few")
    assert sorted(one.scan for one in few.slices) == list(drawn_slices(every, 6, seed=1))
    first = few.slices[0]
    same = next(one for one in every.slices if one.scan == first.scan)
    for ours, theirs in zip(few.read(first), every.read(same), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_more_than_there_is_cannot_be_drawn(corpus: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match="has 18 slices with enough lung, and 19"):
        drawn_slices(Store.open(corpus[1]), 19, seed=0)
    with pytest.raises(DataError, match="is not called as the slices"):
        series_of("slice-1.png")


def test_every_point_is_a_schedule_of_its_own() -> None:
    counts = step_counts()
    assert len(counts) == 5
    assert counts[-1] // 16 == counts[0]
    for point in points():
        plan = config_of(point, 1)
        assert plan.seed == 1
        if point.steps:
            assert plan.training.steps == point.steps
            assert plan.training.warmup_steps <= max(point.steps / 10, 30)
            assert plan.quality.every is None
    assert {point.steps for point in points() if point.slices} == {slices_steps()}


def test_points_share_no_folder_and_the_last_is_the_comparisons_own(tmp_path: Path) -> None:
    every = [(point, seed) for point in points() for seed in SEEDS]
    assert len({run_of(tmp_path, *one) for one in every}) == len(every)
    whole = next(point for point in points() if point.steps == step_counts()[-1])
    assert run_of(tmp_path, whole, 0) == run_folder(tmp_path, OURS)
    assert store_of(tmp_path, whole, 0) == store_folder(tmp_path)
    stores = {store_of(tmp_path, *one) for one in every}
    assert len(stores) == 1 + len(SLICES) * len(SEEDS)


@pytest.mark.parametrize("part", ["slices", "steps"])
def test_each_part_takes_less_than_two_hours_on_two_cores(part: str, tmp_path: Path) -> None:
    every = stages(tmp_path, tmp_path, tmp_path)
    minutes = sum(stage.minutes for stage in every if f"-{part}-" in stage.name)
    shared = pretraining_minutes(points()[-6]) * len(SEEDS)
    assert minutes / 2 + shared < 120
    assert all(stage.left() for stage in every)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More steps are better, slices make no difference; two seeds."""
    folder = tmp_path_factory.mktemp("records")
    images = made_images()
    counts = step_counts()
    for name in SETS:
        write_images(folder, name, "blocked", images)
        for view in VIEWS:
            for number, point in enumerate(points()):
                settings = {"slices": [0, 0], "steps": point.steps, "lines": []}
                if point.steps:
                    slices = point.slices or 891
                    on = ["slices"] * (point.steps == slices_steps())
                    on += ["steps"] * (point.slices is None)
                    settings |= {"slices": [slices, slices + 1], "lines": on}
                place = counts.index(point.steps) if point.steps else -1
                cells = [cell for seed in SEEDS for cell in cells_of("probe", draws=1, seed=seed)]
                facts = made_facts(point.arm, name, view=view)
                write_record(
                    folder / STUDY,
                    facts.model_copy(update={"settings": settings}),
                    made_cells(images, 1.0 + 0.3 * place, number, cells),
                )
    return folder


def test_a_line_has_every_amount_and_what_learnt_nothing_beside_it(records: Path) -> None:
    line = lines(records, "slices")[0]
    assert line.curve.amount.tolist() == [50.5, 100.5, 250.5, 500.5, 891.5]
    steps = lines(records, "steps")
    assert len(steps) == 8
    for one in steps:
        assert one.curve.amount.tolist() == step_counts()
        assert one.nothing is not None
        assert one.nothing.value < one.curve.value[-1]
    assert NOTHING in {point.arm for point in points()}


def test_the_answer_tells_what_the_last_step_of_growth_brought(records: Path) -> None:
    said = answer(records)
    assert said.count(f"{step_counts()[-1]} steps bring an AUROC of +") == 8
    assert said.count(f"from {step_counts()[-2]}") == 8
    assert "| 0 | " in curve_table("steps")(records)


def test_every_block_says_something_of_records_and_nothing_without(
    records: Path, tmp_path: Path
) -> None:
    assert [block.key for block in blocks() if not block.make(records)] == []
    assert {block.make(tmp_path) for block in blocks()} == {""}
    assert draw(tmp_path, tmp_path / "images") == []


def test_both_charts_are_drawn_and_are_the_same_again(records: Path, tmp_path: Path) -> None:
    first, second = (draw(records, tmp_path / name) for name in "ab")
    assert [file.name for file in first] == ["scaling-slices.png", "scaling-steps.png"]
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_a_stage_says_why_it_is_left(tmp_path: Path) -> None:
    assert scaling.training_left(tmp_path, points()[1], 0).endswith("or was made otherwise")
    assert "no encoder" in scaling.asking_left(tmp_path, points()[1], tmp_path / STUDY)
