"""Scaling: finished schedules, subsets of whole scans, tables that know what was learnt from."""

from __future__ import annotations

import shutil
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
from pipelines.study.frozen import frames_now
from pipelines.study.grid import cells_of
from pipelines.study.pretraining import run_folder, store_folder
from pipelines.study.records import read_record, write_images, write_record
from pipelines.study.scaling_plan import (
    SLICES,
    SLICES_SEEDS,
    config_of,
    is_shared,
    points,
    run_of,
    settings,
    slices_steps,
    step_counts,
    store_of,
)
from pipelines.study.scaling_tables import STUDY, answer, curve_table, lines, made_table
from pipelines.study.subsets import drawn_slices, prepare_subset, series_of
from pipelines.study.targets import SETS, VIEWS, Targets
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
    every = [(point, seed) for point in points() for seed in point.seeds]
    assert len({run_of(tmp_path, *one) for one in every}) == len(every)
    whole = next(point for point in points() if point.steps == step_counts()[-1])
    assert run_of(tmp_path, whole, 0) == run_folder(tmp_path, OURS)
    assert store_of(tmp_path, whole, 0) == store_folder(tmp_path)
    stores = {store_of(tmp_path, *one) for one in every}
    assert len(stores) == 1 + len(SLICES) * len(SLICES_SEEDS)


def test_two_processes_take_two_hours_beside_what_the_comparison_has_made(tmp_path: Path) -> None:
    every = stages(tmp_path, tmp_path, tmp_path)
    assert all(stage.left() for stage in every)
    shared = [stage for stage in every if "that of make reproduce" in stage.what]
    assert len(shared) == sum(is_shared(point, 0) for point in points()) == 2
    minutes = sum(stage.minutes for stage in every) - sum(stage.minutes for stage in shared)
    assert minutes <= 2 * 120


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
                slices = (point.slices or 891) if point.steps else 0
                about = settings(point) | {"slices": [slices for _ in point.seeds]}
                place = counts.index(point.steps) if point.steps else -1
                cells = [
                    cell for seed in point.seeds for cell in cells_of("probe", draws=1, seed=seed)
                ]
                facts = made_facts(point.arm, name, view=view)
                write_record(
                    folder / STUDY,
                    facts.model_copy(update={"settings": about}),
                    made_cells(images, 1.0 + 0.3 * place, number, cells),
                )
    return folder


def test_a_line_has_every_amount_and_what_learnt_nothing_beside_it(records: Path) -> None:
    line = lines(records, "slices")[0]
    assert line.curve.amount.tolist() == [50, 100, 250, 500, 891]
    steps = lines(records, "steps")
    assert len(steps) == 8
    for one in steps:
        assert one.curve.amount.tolist() == step_counts()
        assert one.nothing is not None
        assert one.nothing.value < one.curve.value[-1]
    assert NOTHING in {point.arm for point in points()}


def test_points_are_compared_by_the_seeds_that_all_of_them_have(records: Path) -> None:
    slices, steps = (lines(records, amount)[0] for amount in ("slices", "steps"))
    assert all(" to " not in one for one in slices.seeds)
    assert all(" to " in one for one in steps.seeds)


def test_a_record_of_no_point_or_of_other_settings_is_named_and_left_out(
    records: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "records"
    shutil.copytree(records, folder)
    study = folder / STUDY
    old = read_record(study / "covid-ct.blocked.plain.steps-200.parquet")
    strange = old.facts.model_copy(update={"arm": "steps 4096"})
    write_record(study, strange, old.cells)
    about = old.facts.settings | {"pretraining": {"seed": 0}}
    write_record(study, old.facts.model_copy(update={"settings": about}), old.cells)
    line = next(
        one for one in lines(folder, "steps") if (one.name, one.view) == ("covid-ct", "plain")
    )
    assert line.curve.amount.tolist() == [one for one in step_counts() if one != 200]
    said = made_table(folder)
    assert "`covid-ct.blocked.plain.steps-4096.parquet` (no point of the plan)" in said
    assert "`covid-ct.blocked.plain.steps-200.parquet` (made with another pretraining)" in said
    assert "Left out" not in made_table(records)


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
    assert "no encoder" in scaling.training_left(tmp_path, points()[1], 0)
    frames = frames_now(Targets(tmp_path, tmp_path))
    assert "no encoder" in scaling.asking_left(tmp_path, points()[1], tmp_path / STUDY, frames)
