"""What is learnt at one site is asked at another, and nothing of the other's labels is seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from covidssl.randomness import numpy_generator
from pipelines import cross_site
from pipelines.study.crossing import AWAY, HOME, SPLIT, Crossing, asked_across, stacked
from pipelines.study.crossing_tables import (
    CENTRED,
    STUDY,
    TRIVIAL,
    badness_table,
    carried_list,
    help_table,
)
from pipelines.study.frozen import Question, answer_to
from pipelines.study.probes import Features, probe
from pipelines.study.records import Cell, read_images, write_images, write_record
from pipelines.study.scores import PROBE
from pipelines.study.targets import SetName, TargetSet
from tests.study.made_records import made_facts, made_found, made_images
from tests.study.made_targets import made_target, with_other_labels

_STREAM = 9191


def site(name: SetName, of_class: int) -> TargetSet:
    """A made-up set; COVID-CT with its official parts, every third image of them validation."""
    made = made_target(of_class, size=4, name=name)
    if name != "covid-ct":
        return made
    parts = ["validation" if row % 3 == 0 else "train" for row in range(2 * of_class)]
    scans = tuple(replace(one, split=part) for one, part in zip(made.scans, parts, strict=True))
    return replace(made, scans=scans)


@pytest.fixture(scope="module")
def crossing() -> Crossing:
    return Crossing(site("sars-cov-2-ct", 60), site("covid-ct", 60))


def telling(target: TargetSet, moved: float) -> Features:
    """Features that tell the class, all moved by as much as the site's scanner is another."""
    noise = numpy_generator(_STREAM, len(target.target)).normal(size=(len(target.target), 3))
    found: Features = (noise + 2 * target.target[:, None] + moved).astype(np.float32)
    return found


def test_a_set_with_official_parts_teaches_by_one_and_is_asked_by_the_other(
    crossing: Crossing,
) -> None:
    back = Crossing(crossing.tested, crossing.source)
    assert {crossing.tested.scans[row].split for row in crossing.asked} == {"validation"}
    assert {back.source.scans[row].split for row in back.taught} == {"train"}
    assert len(crossing.taught) == len(back.asked) == len(crossing.source.target)


def test_all_that_is_taught_is_of_the_source_and_all_that_is_scored_is_not(
    crossing: Crossing,
) -> None:
    labels, count = crossing.labels, len(crossing.source.target)
    assert np.array_equal(labels.all, crossing.taught)
    assert len(np.intersect1d(labels.learn, labels.choose)) == 0
    assert labels.score.min() >= count
    joined = crossing.joined()
    assert np.array_equal(joined.target[labels.score], crossing.images.target)
    assert not set(joined.group[:count]) & set(joined.group[count:])


def test_answers_do_not_depend_on_the_labels_of_the_site_that_is_asked(crossing: Crossing) -> None:
    turned = with_other_labels(crossing.tested, np.arange(len(crossing.tested.target)))
    chances = []
    for tested in (crossing.tested, turned):
        # As the pictures are, whatever they are called.
        features = stacked(crossing, lambda one: telling(one, 0.0), False)
        chances.append(asked_across(Crossing(crossing.source, tested), probe(features)).chance)
    assert np.array_equal(chances[0], chances[1])


def test_centring_by_each_site_takes_a_site_s_own_level_away(crossing: Crossing) -> None:
    def seen(target: TargetSet) -> Features:
        return telling(target, 5.0 if target.name == "covid-ct" else 0.0)

    images = crossing.images
    right = {}
    for centred in (False, True):
        found = asked_across(crossing, probe(stacked(crossing, seen, centred)))
        right[centred] = ((found.chance >= 0.5) == images.target).mean()
        assert roc_auc_score(images.target, found.chance) > 0.9
    assert right[False] == pytest.approx(0.5, abs=0.05)
    assert right[True] > 0.8


@pytest.mark.parametrize("name", TRIVIAL)
def test_a_rival_is_asked_both_ways_and_recorded_with_the_images_it_was_asked(
    name: str, crossing: Crossing, tmp_path: Path
) -> None:
    question = Question(AWAY[0].name, SPLIT, "plain", name)
    asker = cross_site.Asker(tmp_path, [], {"folds": 5}, name)
    asker.record(tmp_path / STUDY, crossing, question)
    file = tmp_path / STUDY / question.file
    before = file.stat().st_mtime_ns
    asker.record(tmp_path / STUDY, crossing, question)
    assert file.stat().st_mtime_ns == before, "what stands was asked again"
    record = answer_to(tmp_path / STUDY, question)
    assert record is not None
    protocol = TRIVIAL[name]
    assert set(record.cells) == {Cell(protocol, 1.0), Cell(f"{protocol}{CENTRED}", 1.0)}
    images = read_images(tmp_path, AWAY[0].name, SPLIT)
    assert np.array_equal(images.target, crossing.images.target)
    for found in record.cells.values():
        assert found.labels == len(crossing.taught)
        assert roc_auc_score(images.target, found.chance) > 0.6


def test_every_stage_says_which_encoder_it_lacks(tmp_path: Path) -> None:
    stages = cross_site.stages(tmp_path, tmp_path, tmp_path)
    reasons = {stage.name: stage.left() for stage in stages}
    assert "no encoder of perlin-luna16-seed-0" in reasons["cross-site-perlin"]
    assert "is missing" in reasons["cross-site-trees-on-thumbnail"]


def test_tables_are_empty_without_records_and_hold_a_row_a_model_with_them(tmp_path: Path) -> None:
    assert badness_table(tmp_path) == help_table(tmp_path) == carried_list(tmp_path) == ""
    images = made_images(8, 3)
    names = [(AWAY[0].name, SPLIT), (HOME.name, SPLIT)]
    for name, split in names:
        write_images(tmp_path, name, split, images)
        for view in ("plain", "ranked"):
            for seed, arm in enumerate(("perlin", "none")):
                cells = {
                    Cell(f"{PROBE}{end}", 1.0): made_found(images, 2.0 - seed, seed)
                    for end in ("", CENTRED)
                }
                write_record(tmp_path / STUDY, made_facts(arm, name, split, view), cells)
    bad, helps = badness_table(tmp_path), help_table(tmp_path)
    assert bad.count("\n| ") == 2 + 2  # the head and its rule, and an arm each
    assert "From SARS-CoV-2 CT to COVID-CT" in bad
    assert "From COVID-CT" not in bad
    (line,) = carried_list(tmp_path).splitlines()
    assert line.startswith("- Taught on SARS-CoV-2 CT, asked about COVID-CT: AUROC Perlin")
    away = [row.split(" | ")[2] for row in bad.splitlines() if row.startswith("| ")][2:]
    assert all(estimate in line for estimate in away)
    rows = [line for line in helps.splitlines() if line.startswith("| ")][2:]
    asked = [row for row in rows if "not run yet" not in row]
    assert len(asked) < len(rows), "what was not run is not told"
    assert [row.split(" | ")[0] for row in asked] == [
        "| pretraining, against none",
        "| histogram normalisation: each image rank-equalised",
        "| features centred by each site, unlabelled",
    ]
