"""What is left of questions is told from records, encoders and frames, as little read as needed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from covidssl.errors import DataError, UsageError
from pipelines import cross_site
from pipelines.study.crossing import AWAY, HOME, SPLIT
from pipelines.study.crossing_tables import STUDY
from pipelines.study.frozen import Question, frames_now, left_of, settings_of
from pipelines.study.records import read_facts, read_record, write_record
from pipelines.study.targets import SETS, Targets, TargetSet
from pipelines.study.trivial import THUMBNAIL
from tests.study.made_records import made_cells, made_facts, made_images
from tests.study.made_targets import made_target


def moved(target: TargetSet) -> TargetSet:
    """The same set with another pixel."""
    frames = target.loaded.frames.copy()
    frames[0, 0, 0] ^= 1
    return replace(target, loaded=replace(target.loaded, frames=frames))


def test_sets_are_read_only_where_all_else_stands(tmp_path: Path) -> None:
    question = Question("covid-ct", "blocked", "plain", "perlin")
    nowhere = frames_now(Targets(tmp_path / "none", tmp_path))
    assert "is missing" in left_of(tmp_path, [question], (), {}, nowhere)
    facts = made_facts("perlin", "covid-ct").model_copy(update={"settings": {"folds": 5}})
    write_record(tmp_path, facts, {})
    assert "folds is set otherwise" in left_of(tmp_path, [question], (), {"folds": 4}, nowhere)
    with pytest.raises(UsageError, match="there is no such folder"):
        left_of(tmp_path, [question], (), {"folds": 5}, nowhere)


def test_records_across_sites_are_of_the_frames_of_both(tmp_path: Path) -> None:
    sets = {name: made_target(60 - at, name=name) for at, name in enumerate(SETS)}
    prints = {name: one.loaded.fingerprint for name, one in sets.items()}
    own = Question("sars-cov-2-ct", "blocked", "plain", THUMBNAIL)
    assert own in cross_site.arm_questions(THUMBNAIL)
    ways = {way.name: way for way in (*AWAY, HOME)}

    def left(known: list[TargetSet]) -> str:
        targets = Targets(tmp_path, tmp_path, known=known)
        stages = cross_site.stages(tmp_path, tmp_path, tmp_path, targets)
        return next(one for one in stages if one.name == "cross-site-trees-on-thumbnail").left()

    settings = settings_of((), (1.0,))
    for question in cross_site.arm_questions(THUMBNAIL):
        sources = {"frames": prints["sars-cov-2-ct"]}
        if question.split == SPLIT:
            way = ways[question.set_name]
            sources = {"frames": prints[way.tested], "frames learnt from": prints[way.source]}
        facts = made_facts(question.arm, question.set_name, question.split, question.view)
        facts = facts.model_copy(update={"sources": sources, "settings": settings})
        write_record(tmp_path / STUDY, facts, {})
    first, second = sets.values()
    assert left([first, second]) == ""
    assert "frames learnt from is another" in left([moved(first), second])
    assert "frames is another" in left([first, moved(second)])


def test_facts_are_read_without_what_is_said_of_images(tmp_path: Path) -> None:
    file = write_record(tmp_path, made_facts("perlin"), made_cells(made_images(), 1.0))
    assert read_facts(file) == read_record(file).facts
    whole = file.read_bytes()
    at = 4  # after the mark that a file begins with: pages of columns
    file.write_bytes(whole[:at] + bytes(64) + whole[at + 64 :])
    assert read_facts(file).arm == "perlin"
    with pytest.raises(DataError, match="no record of a study"):
        read_record(file)
    file.write_bytes(whole[:100])
    with pytest.raises(DataError, match="no record of a study"):
        read_facts(file)
