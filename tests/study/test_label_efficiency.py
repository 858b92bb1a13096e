"""Label efficiency from records: curves, labels saved, laws, the chart, and what is left to do."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from covidssl.errors import UsageError
from pipelines import label_efficiency
from pipelines.label_efficiency import (
    CHART,
    arm_left,
    ask_arm,
    blocks,
    cells,
    draw,
    questions,
    stages,
)
from pipelines.study import frozen
from pipelines.study.arms import NOTHING, OURS
from pipelines.study.efficiency_tables import (
    ARMS,
    FRACTIONS,
    STUDY,
    THUMBNAIL,
    answer,
    curves_table,
    panels,
    saved_table,
)
from pipelines.study.frozen import frames_now
from pipelines.study.records import Cell, read_records
from pipelines.study.scores import pooled
from pipelines.study.table_text import estimate_text
from pipelines.study.targets import SETS, Targets
from pipelines.study.trivial import nearest_thumbnail
from tests.study.made_records import write_made_study
from tests.study.made_targets import made_target

CELLS = [Cell("probe", share, draw) for share in FRACTIONS for draw in range(1 + (share < 0.1))]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ours is better than nothing learnt; the trees are worse than both."""
    folder = tmp_path_factory.mktemp("records")
    shifts = {OURS: 2.0, NOTHING: 1.2, "mae": 1.4, THUMBNAIL: 0.5}
    write_made_study(folder, STUDY, shifts, splits=("blocked",), cells=CELLS)
    return folder


def test_few_labels_are_drawn_more_often_and_all_of_them_once() -> None:
    draws = {share: sum(cell.fraction == share for cell in cells("probe")) for share in FRACTIONS}
    assert draws == {0.01: 10, 0.02: 10, 0.05: 10, 0.1: 5, 0.25: 5, 0.5: 5, 1.0: 1}


def test_the_table_of_curves_has_the_scores_of_the_records(records: Path) -> None:
    table = curves_table(records)
    found = {record.facts.file: record for record in read_records(records / STUDY)}
    ours = found["sars-cov-2-ct.blocked.plain.perlin.parquet"]
    images = write_made_study(records, "unused", {}, splits=("blocked",))
    few = [one for cell, one in ours.cells.items() if cell.fraction == 0.05]
    assert len(few) == 2
    assert estimate_text(pooled(images, few)) in table
    assert table.count("| no pretraining |") == 4
    assert "| 5 %: 10 |" in table


def test_labels_saved_are_told_from_both_sides(records: Path) -> None:
    table = saved_table(records)
    ours, nothing = (panels(records)[0].curves[arm] for arm in (OURS, NOTHING))
    assert nothing.value[-1] < ours.value[-1]
    row = next(line for line in table.splitlines() if line.startswith("| 100 % |"))
    assert "more than 200 (" in row
    few = next(line for line in table.splitlines() if line.startswith("| 2 % |"))
    assert "not run" not in few


def test_the_answer_is_a_sentence_a_set_and_view(records: Path) -> None:
    said = answer(records).splitlines()
    assert len(said) == 4
    assert all("with 20 labels +" in line and "over no pretraining" in line for line in said)


def test_without_records_nothing_is_said_and_nothing_drawn(tmp_path: Path) -> None:
    assert {block.make(tmp_path) for block in blocks()} == {""}
    assert draw(tmp_path, tmp_path / "images") is None
    assert not (tmp_path / "images").exists()


def test_every_block_says_something_of_records(records: Path) -> None:
    assert [block.key for block in blocks() if not block.make(records)] == []


def test_the_same_records_draw_the_same_picture(records: Path, tmp_path: Path) -> None:
    first, second = (draw(records, tmp_path / name) for name in ("a", "b"))
    assert first == tmp_path / "a" / CHART
    assert second is not None
    assert first.read_bytes() == second.read_bytes()
    assert Image.open(BytesIO(first.read_bytes())).width == 1600


def test_an_arm_without_encoder_says_what_to_run(tmp_path: Path) -> None:
    targets = Targets(tmp_path, tmp_path)
    left = arm_left(tmp_path / STUDY, tmp_path, "mae", frames_now(targets))
    assert "reproduce_paper --only pretrain-mae" in left
    with pytest.raises(UsageError, match="Make it first: python -m"):
        ask_arm("mae", targets, tmp_path, tmp_path / STUDY)


def test_there_is_a_stage_an_arm_under_two_hours_each(tmp_path: Path) -> None:
    every = stages(tmp_path, tmp_path, tmp_path)
    assert len({stage.name for stage in every}) == len(ARMS)
    assert all(0 < stage.minutes < 120 and stage.left() for stage in every)


def test_an_arm_is_asked_once_record_by_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On made-up sets: what is recorded is not made again, and other shares are."""
    # The quicker of the rivals: boosted trees would take most of a minute here.
    monkeypatch.setattr(frozen, "trees_on_thumbnail", nearest_thumbnail)
    sets = [made_target(200, name=name) for name in SETS]
    targets = Targets(tmp_path, tmp_path, known=sets)
    now = frames_now(targets)
    monkeypatch.setattr(label_efficiency, "FRACTIONS", (0.1, 1.0))
    monkeypatch.setattr(label_efficiency, "DRAWS", 1)
    monkeypatch.setattr(frozen, "seen_as", lambda target, _view: target)
    study = tmp_path / "records" / STUDY
    ask_arm(THUMBNAIL, targets, tmp_path, study)
    assert arm_left(study, tmp_path, THUMBNAIL, now) == ""
    frames = sets[1].loaded.frames.copy()
    frames[0, 0, 0] ^= 1
    moved = replace(sets[1], loaded=replace(sets[1].loaded, frames=frames))
    of_others = Targets(tmp_path, tmp_path, known=[sets[0], moved])
    (stage,) = (
        one
        for one in stages(tmp_path, tmp_path, tmp_path / "records", of_others)
        if one.name == "label-efficiency-trees-on-thumbnail"
    )
    assert "frames is another than that of covid-ct.blocked" in stage.left()

    before = {file: file.stat().st_mtime_ns for file in study.glob("*.parquet")}
    assert len(before) == len(questions(THUMBNAIL)) == 4

    gone = sorted(before)[2]
    gone.unlink()
    assert arm_left(study, tmp_path, THUMBNAIL, now) == f"{gone.name} is missing"
    ask_arm(THUMBNAIL, targets, tmp_path, study)
    after = {file: file.stat().st_mtime_ns for file in study.glob("*.parquet")}
    assert [file for file in before if after[file] != before[file]] == [gone]

    monkeypatch.setattr(label_efficiency, "DRAWS", 2)
    assert "draws is set otherwise" in arm_left(study, tmp_path, THUMBNAIL, now)
