"""The second corpus of a fold stands for the images that it was made of, and for no others."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from covidssl.files import write_json
from pipelines.study.folds import FOLDS, GAPS, cut
from pipelines.study.paper import Bench
from pipelines.study.paper_stages import stages_of
from pipelines.study.pretraining import store_folder
from pipelines.study.stages import Stage
from pipelines.study.targets import SetName, TargetSet
from pipelines.study.unlabelled import images_of_fold
from tests.study.made_targets import made_target

Sets = dict[SetName, TargetSet]
NO_STORE = "no store of these folds and images yet"


@pytest.fixture(scope="module")
def sets() -> Sets:
    return {
        "sars-cov-2-ct": made_target(60),
        "covid-ct": made_target(50, name="covid-ct"),
    }


def stage(root: Path, sets: Sets, fold: int = 0, reads_sets: bool = True) -> Stage:
    bench = Bench(root, root, root / "records", sets=sets, reads_sets=reads_sets)
    every = stages_of(bench, root / "docs")
    return next(one for one in every if one.name == f"with-targets-fold-{fold}")


def note(root: Path, fold: int = 0) -> Path:
    store = store_folder(root, "luna16-and-targets", fold)
    return store.with_name(f"{store.name}.folds.json")


def write_note(root: Path, sets: Sets, fold: int = 0) -> None:
    images = images_of_fold(list(sets.values()), fold)
    write_json(note(root, fold), {"folds": FOLDS, "gaps": dict(GAPS), "images": images})


def with_another_frame(target: TargetSet) -> TargetSet:
    """The same set after one of its files was replaced by another picture."""
    frames = target.loaded.frames.copy()
    frames[-1, 0, 0] ^= 1
    return replace(target, loaded=replace(target.loaded, frames=frames))


def looking_alike(sets: Sets) -> Sets:
    """The same sets where something that fold 0 learns from looks like what it scores."""
    target = sets["sars-cov-2-ct"]
    fold = cut(target, "blocked")[0]
    hashes = target.loaded.hashes.copy()
    hashes[fold.learn[0]] = hashes[fold.score[0]]
    return sets | {"sars-cov-2-ct": replace(target, loaded=replace(target.loaded, hashes=hashes))}


def test_a_store_stands_for_the_images_of_its_fold(tmp_path: Path, sets: Sets) -> None:
    assert stage(tmp_path, sets).left() == NO_STORE
    write_note(tmp_path, sets)
    assert stage(tmp_path, sets).left() == "not finished"
    assert stage(tmp_path, sets, fold=1).left() == NO_STORE


def test_a_store_of_other_frames_does_not_stand(tmp_path: Path, sets: Sets) -> None:
    """It may hold what is scored now; a dry run, which reads no set, cannot see it."""
    write_note(tmp_path, sets)
    changed: Sets = sets | {"covid-ct": with_another_frame(sets["covid-ct"])}
    assert stage(tmp_path, changed).left() == NO_STORE
    assert stage(tmp_path, changed, reads_sets=False).left() == "not finished"


def test_a_store_that_holds_what_looks_like_the_scored_does_not_stand(
    tmp_path: Path, sets: Sets
) -> None:
    write_note(tmp_path, sets)
    assert stage(tmp_path, looking_alike(sets)).left() == NO_STORE


@pytest.mark.parametrize("text", ["", "[]", '{"folds": 5', json.dumps({"folds": FOLDS + 1})])
def test_a_note_that_says_something_else_is_no_note(text: str, tmp_path: Path, sets: Sets) -> None:
    write_note(tmp_path, sets)
    note(tmp_path).write_text(text, encoding="utf-8")
    assert stage(tmp_path, sets).left() == NO_STORE
    assert stage(tmp_path, sets, reads_sets=False).left() == NO_STORE
