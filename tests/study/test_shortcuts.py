"""The study of shortcuts: what is seen, what is asked, and what its tables say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covidssl.audit.shortcuts import MODELS
from covidssl.config import dump_config
from covidssl.errors import DataError
from pipelines import shortcuts
from pipelines.study import frozen
from pipelines.study.folds import cut, labels_of
from pipelines.study.frozen import (
    Made,
    Question,
    Sources,
    answer_to,
    frames_now,
    frames_of,
    hashes_of,
    is_answered,
    left_of,
    record_answers,
    settings_of,
)
from pipelines.study.grid import cells_of
from pipelines.study.pretraining import pretrain_config
from pipelines.study.records import Cell
from pipelines.study.shortcut_tables import (
    FEATURES,
    STUDY,
    THUMBNAIL,
    answer_table,
    features_table,
    share_kept,
    views_table,
)
from pipelines.study.targets import Targets, TargetSet, seen_as
from pipelines.study.trivial import audited, nearest_thumbnail
from tests.study.made_records import made_found, made_images, write_made_study
from tests.study.made_targets import made_target, with_other_labels


@pytest.fixture(scope="module")
def target() -> TargetSet:
    return made_target(60, size=16)


def test_with_the_lungs_masked_out_nothing_of_them_is_seen_or_pooled(target: TargetSet) -> None:
    seen = seen_as(target, "lungs_masked")
    assert (seen.frames[target.lungs] == 0).all()
    assert seen.frames.any()
    assert not seen.lungs.any()


def test_with_the_lungs_alone_all_else_is_black(target: TargetSet) -> None:
    seen = seen_as(target, "lungs_only")
    assert (seen.frames[~target.lungs] == 0).all()
    assert np.array_equal(seen.frames[target.lungs], target.frames[target.lungs])
    assert np.array_equal(seen.lungs, target.lungs)


def test_a_whole_view_changes_where_features_are_pooled_and_no_picture(target: TargetSet) -> None:
    seen = seen_as(target, "whole")
    assert np.array_equal(seen.frames, target.frames)
    assert not seen.lungs.any()


@pytest.mark.parametrize("nearest", [False, True])
def test_a_trivial_model_learns_nothing_of_what_it_scores(target: TargetSet, nearest: bool) -> None:
    features = target.sizes
    labels = labels_of(target, cut(target, "blocked")[0], 1.0, 0)
    fit = audited(features, nearest)
    said = fit(target, labels).chance
    again = fit(with_other_labels(target, labels.score), labels).chance
    assert np.array_equal(said, again)
    other = fit(with_other_labels(target, labels.all), labels).chance
    assert not np.array_equal(said, other)


def test_what_is_recorded_is_done_until_encoder_settings_or_frames_are_others(
    target: TargetSet, tmp_path: Path
) -> None:
    study, run = tmp_path / STUDY, tmp_path / "pretrain" / "perlin"
    question = Question(target.name, "blocked", "plain", "perlin")
    config = pretrain_config("perlin")
    made = [Made(run, config, tmp_path / "store")]
    settings = settings_of(made, (1.0,))
    now = frames_now(Targets(tmp_path, tmp_path, known=[target]))
    assert "no encoder of perlin" in left_of(study, [question], made, settings, now)
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(dump_config(config), encoding="utf-8")
    (run / "record.json").write_text('{"status": "done"}', encoding="utf-8")
    (run / "encoder.json").write_text('{"sha256": "one"}', encoding="utf-8")
    assert "is missing" in left_of(study, [question], made, settings, now)
    answers = [(audited(target.sizes, True), cells_of("nearest", (1.0,)))]
    sources = Sources(hashes_of(made), settings)
    record_answers(study, target, question, answers, sources)
    assert left_of(study, [question], made, settings, now) == ""
    frames = target.loaded.frames.copy()
    frames[0, 0, 0] ^= 1
    moved = replace(target, loaded=replace(target.loaded, frames=frames))
    others = frames_now(Targets(tmp_path, tmp_path, known=[moved]))
    assert "frames is another than" in left_of(study, [question], made, settings, others)
    unread = frames_now(Targets(tmp_path, tmp_path, reads_sets=False))
    assert left_of(study, [question], made, settings, unread) == "", "a dry run reads no set"
    record = answer_to(study, question)
    assert record is not None
    assert list(record.cells) == [Cell("nearest", 1.0)]
    assert np.isfinite(record.cells[Cell("nearest", 1.0)].chance).all()
    assert is_answered(study, question, sources, frames_of(target))
    assert not is_answered(study, question, sources, {"frames": "others"})
    assert {"drawing", "fractions", "gaps", "strengths"} <= settings.keys()
    with_more = settings_of(made, (0.1, 1.0))
    assert "fractions is set otherwise" in left_of(study, [question], made, with_more, now)
    (run / "encoder.json").write_text('{"sha256": "two"}', encoding="utf-8")
    assert "encoder is another than" in left_of(study, [question], made, settings, now)


def test_what_stands_is_not_asked_again_after_a_stop(
    target: TargetSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the rival's records one is gone: that one alone is made again."""
    # The quicker of the rivals: boosted trees would take most of a minute here.
    monkeypatch.setattr(frozen, "trees_on_thumbnail", nearest_thumbnail)
    study, targets = tmp_path / STUDY, Targets(tmp_path, tmp_path, known=[target])
    rival = (target.name, THUMBNAIL)
    shortcuts.ask_views(*rival, targets, tmp_path, study)
    before = {file: file.stat().st_mtime_ns for file in study.glob("*.parquet")}
    assert len(before) == len(shortcuts.views_questions(*rival))
    gone = sorted(before)[1]
    gone.unlink()
    shortcuts.ask_views(*rival, targets, tmp_path, study)
    after = {file: file.stat().st_mtime_ns for file in study.glob("*.parquet")}
    assert [file for file in before if after[file] != before[file]] == [gone]


def test_an_audit_of_other_images_is_refused(target: TargetSet) -> None:
    shortcuts.must_be_alike(target, target.scans)
    with pytest.raises(DataError, match="Expected the same"):
        shortcuts.must_be_alike(target, target.scans[1:])


def test_tables_are_empty_without_records(tmp_path: Path) -> None:
    assert answer_table(tmp_path) == features_table(tmp_path) == views_table(tmp_path) == ""


def test_tables_hold_what_was_recorded(tmp_path: Path) -> None:
    shifts = {"perlin": 2.0, "none": 1.0, "trees on thumbnail": 3.0, "outside": 0.5}
    views = ("plain", "lungs_only", "lungs_only_ranked", "whole", "lungs_masked")
    write_made_study(
        tmp_path, STUDY, shifts, ("covid-ct",), views=views, cells=[Cell("probe", 1.0)]
    )
    trivial = features_table(tmp_path)
    assert "**COVID-CT**" in trivial
    assert "SARS" not in trivial
    assert "| histogram outside the lungs | what lies about the lungs |" in trivial
    assert views_table(tmp_path).count("no pretraining") == len(views)
    answer = answer_table(tmp_path)
    first = next(line for line in answer.splitlines() if "| random |" in line)
    assert "boosted trees on a thumbnail" in first
    assert first.endswith("| 1.00 (1.00 to 1.00) |")
    # The made-up answers are the same under every split and view: nothing is lost.
    assert (
        "| the blocked split: no neighbour in the file order is learnt from | 0.0 (0.0 to 0.0) |"
        in answer
    )


def test_a_share_is_of_what_lies_above_a_coin() -> None:
    images = made_images(10, 4)
    full, nothing = made_found(images, 40.0), made_found(images, 40.0)
    nothing = nothing._replace(chance=np.where(np.arange(len(images.fold)) % 2, 0.9, 0.1))
    assert share_kept((images, [full]), (images, [full])).value == 1
    assert share_kept((images, [nothing]), (images, [full])).value == pytest.approx(0)


def test_every_feature_that_is_tried_is_one_of_the_audit_s() -> None:
    assert set(FEATURES) <= {model.key for model in MODELS}
