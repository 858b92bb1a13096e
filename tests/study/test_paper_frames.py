"""Records are of the frames that stand now, or are made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipelines.study.paper import Bench
from pipelines.study.paper_probes import _places, _rival_settings, _rivals_of, rivals_left
from pipelines.study.records import write_record
from tests.study.made_records import made_cells, made_facts, made_images
from tests.study.made_targets import made_target


def test_records_are_held_against_the_frames_that_stand_now(tmp_path: Path) -> None:
    target = made_target(60)
    sets = {"sars-cov-2-ct": target, "covid-ct": replace(target, name="covid-ct")}
    bench = Bench(tmp_path, tmp_path, tmp_path / "records", sets=sets)  # type: ignore[arg-type]
    images = made_images()
    for name, split, view in _places():
        for rival in _rivals_of(view):
            sources, settings = bench.frames(name), _rival_settings()
            facts = made_facts(rival, name, split, view)
            facts = facts.model_copy(update={"sources": sources, "settings": settings})
            write_record(tmp_path / "records" / "reproduce", facts, made_cells(images, 1.0))
    assert rivals_left(bench) == ""
    frames = target.frames.copy()
    frames[0, 0, 0] ^= 1
    other = replace(target, name="covid-ct", loaded=replace(target.loaded, frames=frames))
    moved = replace(bench, sets={**sets, "covid-ct": other})  # type: ignore[dict-item]
    assert "frames is another" in rivals_left(moved)
    assert rivals_left(replace(moved, reads_sets=False)) == "", "a dry run reads no set"
