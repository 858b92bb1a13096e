"""The reproduction: what is tuned on what, what is kept, and that nothing under test is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covidssl.errors import StoppedError
from covidssl.experiments import FinetuneConfig
from covidssl.frames import Frame
from covidssl.networks.plan import EncoderPlan
from covidssl.starting import Start, start_from
from pipelines.study.finetuning import (
    LOW_RATE,
    PROTOCOLS,
    Said,
    Work,
    fine_tune,
    finetune_config,
)
from pipelines.study.folds import cut, labels_of
from pipelines.study.paper import Bench, keep_record, stands
from pipelines.study.paper_finetuned import Unit, found_of, said_of, units
from pipelines.study.paper_probes import best_other, fit_of_each_fold
from pipelines.study.probes import Fitted
from pipelines.study.records import Facts, read_record, write_record
from pipelines.study.targets import TargetSet
from pipelines.study.unlabelled import training_rows
from tests.study.made_records import made_cells, made_facts, made_images
from tests.study.made_targets import made_target, with_other_labels

FRAME = Frame(size=32)
SMALL = EncoderPlan(kind="unet", channels=(8, 8, 8))


@pytest.fixture(scope="module")
def target() -> TargetSet:
    made = made_target(60, 32)
    masks = np.packbits(made.lungs, axis=-1)
    return replace(made, loaded=replace(made.loaded, masks=masks))


def small_start() -> Start:
    return start_from(None, FRAME, SMALL, 0)


def quick(protocol: str = LOW_RATE, steps: int = 2) -> FinetuneConfig:
    plan = finetune_config(protocol).training
    few = plan.model_copy(update={"steps": steps, "batch_size": 8, "warmup_steps": 1})
    return finetune_config(protocol).model_copy(update={"training": few, "validate_every": 2})


def tuned(target: TargetSet, folder: Path, config: FinetuneConfig | None = None) -> Said:
    labels = labels_of(target, cut(target, "blocked")[0], 1.0, 0)
    work = Work(small_start(), config or quick(), labels)
    return fine_tune(target, work, folder / "work", {"encoder": "e"})


def said(count: int, of: str = "first") -> Said:
    return Said(
        chance=[0.25] * count,
        inner=0.5,
        groups=3,
        chosen="",
        labels=9,
        minutes=1,
        of={"encoder": of},
    )


def test_the_two_protocols_differ_in_rates_alone() -> None:
    low, decay = (finetune_config(one).model_dump() for one in PROTOCOLS)
    differ = {key for key in low if low[key] != decay[key]}
    assert differ == {"training", "layer_decay"}
    rates = {key for key in low["training"] if low["training"][key] != decay["training"][key]}
    assert rates == {"learning_rate"}


def test_a_fine_tuning_scores_its_fold_and_leaves_nothing_behind(
    target: TargetSet, tmp_path: Path
) -> None:
    found = tuned(target, tmp_path)
    fold = cut(target, "blocked")[0]
    assert len(found.chance) == len(fold.score)
    assert all(0 <= one <= 1 for one in found.chance)
    assert found.labels == len(fold.learn) + len(fold.choose)
    assert list(tmp_path.iterdir()) == []


def test_a_fine_tuning_does_not_see_the_labels_that_it_is_scored_on(
    target: TargetSet, tmp_path: Path
) -> None:
    labels = labels_of(target, cut(target, "blocked")[0], 1.0, 0)
    seen = np.concatenate((labels.learn, labels.choose))
    other = with_other_labels(target, np.setdiff1d(np.arange(len(target.target)), seen))

    def said_by(of: TargetSet) -> Said:
        scans = tuple(
            replace(scan, positive=bool(one)) for scan, one in zip(of.scans, of.target, strict=True)
        )
        own = replace(of, scans=scans, loaded=replace(of.loaded, scans=scans))
        work = Work(small_start(), quick(), labels)
        return fine_tune(own, work, tmp_path / "work", {})

    first, turned = said_by(target), said_by(other)
    assert first.chance == turned.chance
    assert first.inner == turned.inner


def test_every_fold_fraction_and_seed_is_fine_tuned_by_both_protocols() -> None:
    every = units()
    assert len(every) == 2 * 2 * 2 * 5
    assert len({unit.file for unit in every}) == len(every)
    assert {unit.cell.draw for unit in every if unit.cell.fraction == 1.0} == {0}
    assert {unit.cell.draw for unit in every if unit.cell.fraction < 1.0} == {0, 1}


def test_stopped_fine_tunings_go_on_where_they_were(tmp_path: Path) -> None:
    made: list[Unit] = []

    def tuning(stop_at: int, of: str):  # type: ignore[no-untyped-def]
        def one(unit: Unit):  # type: ignore[no-untyped-def]
            def tune(_out: Path) -> Said:
                if len(made) == stop_at:
                    raise StoppedError("stopped", 15)
                made.append(unit)
                return said(3, of)

            return {"encoder": of}, tune

        return one

    every = units()[:6]
    with pytest.raises(StoppedError):
        said_of(every, "set", tmp_path, tuning(4, "first"))
    assert made == every[:4]
    found = said_of(every, "set", tmp_path, tuning(-1, "first"))
    assert made == every
    assert list(found) == every
    said_of(every, "set", tmp_path, tuning(-1, "second"))
    assert made == [*every, *every], "answers of another encoder were kept"


def test_answers_of_folds_come_together_in_file_order(target: TargetSet) -> None:
    folds = cut(target, "blocked")
    cell = units()[0].cell
    parts = {
        Unit(cell, number): said(len(fold.score)).model_copy(
            update={"chance": [number / 10] * len(fold.score), "inner": number / 10}
        )
        for number, fold in enumerate(folds)
    }
    found = found_of(parts, folds)[cell]
    for number, fold in enumerate(folds):
        assert (found.chance[fold.score] == number / 10).all()
    assert found.inners == (0.0, 0.1, 0.2, 0.3, 0.4)
    few = Unit(cell, 2)
    parts[few] = parts[few].model_copy(update={"groups": 2})
    inners = found_of(parts, folds)[cell].inners
    assert np.isnan(inners[2]), "of two groups nothing is to be chosen"
    assert np.isfinite(np.delete(inners, 2)).all()


def test_each_fold_is_probed_by_its_own_encoder(target: TargetSet) -> None:
    folds = cut(target, "blocked")

    def of(number: int):  # type: ignore[no-untyped-def]
        return lambda _target, labels: Fitted(np.full(len(labels.score), number), 0.5, "")

    fit = fit_of_each_fold(target, "blocked", [of(number) for number in range(len(folds))])
    for number, fold in enumerate(folds):
        assert (fit(target, labels_of(target, fold, 0.1, 1)).chance == number).all()


def test_the_second_corpus_of_a_fold_holds_nothing_that_is_scored_there_or_looks_like_it() -> None:
    # An image that one set learns from stands among those that the other one is scored on.
    first = made_target(60)
    second = made_target(50, name="covid-ct")
    voxels = tuple(f"of the other set: {name}" for name in second.loaded.voxels)
    second = replace(second, loaded=replace(second.loaded, voxels=voxels))
    shared = first.loaded.hashes.copy()
    folds = [cut(one, "blocked") for one in (first, second)]
    scored, learnt = int(folds[1][0].score[0]), int(folds[0][0].learn[0])
    shared[learnt] = second.loaded.hashes[scored]
    first = replace(first, loaded=replace(first.loaded, hashes=shared))
    rows = training_rows([first, second], 0)
    assert learnt not in rows["sars-cov-2-ct"]
    assert len(rows["sars-cov-2-ct"]) == len(folds[0][0].learn) + len(folds[0][0].choose) - 1
    for target_set, own in zip((first, second), folds, strict=True):
        assert not set(rows[target_set.name]) & set(own[0].score)
    assert learnt in training_rows([first, second], 1)["sars-cov-2-ct"]


def test_a_record_of_another_encoder_or_setting_does_not_stand(tmp_path: Path) -> None:
    facts = made_facts("perlin").model_copy(
        update={"sources": {"encoder": "a"}, "settings": {"frame": {"size": 128}, "minutes": 2}}
    )
    images = made_images()
    file = write_record(tmp_path, facts, made_cells(images, 1.0))
    assert stands(tmp_path / "other.parquet", {}, {}) == "no record yet"
    assert stands(file, {"encoder": "a"}, {"frame": {"size": 128}}) == ""
    assert "encoder is another" in stands(file, {"encoder": "b"}, {})
    assert "frame is set otherwise" in stands(file, {}, {"frame": {"size": 224}})
    file.write_bytes(b"cut short")
    assert "cannot be read" in stands(file, {}, {})


def test_the_other_pretext_is_chosen_by_inner_scores_and_not_by_what_is_tested(
    tmp_path: Path,
) -> None:
    bench = Bench(tmp_path, tmp_path, tmp_path)
    images = made_images()
    for arm, shift, inner in (
        ("models_genesis", 3.0, 0.6),
        ("mae", 0.2, 0.9),
        ("rotation", 1.0, 0.5),
        ("simclr", 1.0, 0.5),
    ):
        for name in ("sars-cov-2-ct", "covid-ct"):
            cells = made_cells(images, shift)
            told = {cell: found._replace(inner=inner) for cell, found in cells.items()}
            write_record(tmp_path / "reproduce", made_facts(arm, name), told)
    assert best_other(bench) == "mae"


def test_records_say_what_made_them(target: TargetSet, tmp_path: Path) -> None:
    facts = Facts.now(
        1.5,
        set_name=target.name,
        split="blocked",
        view="plain",
        arm="none",
        sources={"encoder": "a"},
    )
    count = len(target.target)
    folds = cut(target, "blocked")
    cell = units()[0].cell
    parts = {Unit(cell, n): said(len(fold.score)) for n, fold in enumerate(folds)}
    keep_record(tmp_path, "study", target, "blocked", found_of(parts, folds), facts)
    found = read_record(tmp_path / "study" / facts.file)
    assert found.facts.minutes == 1.5
    assert found.cells[cell].chance.shape == (count,)
    assert (tmp_path / "rows" / f"{target.name}.blocked.parquet").is_file()
