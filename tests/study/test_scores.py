"""Scores of records are what plain counting gives, and tests between arms hold their level."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics as plain

from covidssl.errors import DataError
from covidssl.metrics import Metric, Part, combined, paired_delong
from covidssl.randomness import numpy_generator
from pipelines.study.grouped import THRESHOLD, Scored, drawn
from pipelines.study.records import Found, Images, read_record, write_record
from pipelines.study.scores import (
    METRICS,
    against,
    by_draws,
    difference,
    each,
    founds_of,
    mean_of_folds,
    p_value,
    pooled,
    protocols_of,
)
from tests.study.made_records import made_cells, made_facts, made_found, made_images

IMAGES = made_images()
SKLEARN: dict[Metric, Callable[..., float]] = {
    "accuracy": plain.accuracy_score,
    "ppv": plain.precision_score,
    "sensitivity": plain.recall_score,
    "f1": plain.f1_score,
    "auroc": plain.roc_auc_score,
}


def several(shift: float, seed: int, count: int = 3) -> list[Found]:
    return [made_found(IMAGES, shift, 100 * seed + draw) for draw in range(count)]


def counted(metric: Metric, rows: np.ndarray, found: Found) -> float:
    said = found.chance[rows] if metric == "auroc" else found.chance[rows] >= THRESHOLD
    return float(SKLEARN[metric](IMAGES.target[rows], said))


@pytest.mark.parametrize("metric", METRICS)
def test_a_pooled_score_is_the_mean_of_the_draws_own(metric: Metric) -> None:
    founds, every = several(1.5, 0), np.arange(len(IMAGES.target))
    expected = [counted(metric, every, found) for found in founds]
    assert pooled(IMAGES, founds, metric).value == pytest.approx(np.mean(expected), abs=1e-12)
    assert each(IMAGES, founds, metric) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_the_mean_of_folds_compares_within_a_fold_alone(metric: Metric) -> None:
    founds = several(1.5, 1)
    rows = [np.flatnonzero(IMAGES.fold == fold) for fold in range(5)]
    expected = np.mean([[counted(metric, one, found) for one in rows] for found in founds])
    assert mean_of_folds(IMAGES, founds, metric).value == pytest.approx(expected, abs=1e-12)


def test_folds_of_other_scales_lower_the_pooled_score_and_not_the_mean_of_folds() -> None:
    found = made_found(IMAGES, 1.5)
    moved = found._replace(chance=(found.chance + IMAGES.fold) / 5)
    assert pooled(IMAGES, [moved]).value < pooled(IMAGES, [found]).value - 0.1
    assert mean_of_folds(IMAGES, [moved]).value == pytest.approx(
        mean_of_folds(IMAGES, [found]).value, abs=1e-12
    )


@pytest.mark.parametrize("metric", METRICS)
def test_every_resample_is_scored_as_if_its_images_were_repeated(metric: Metric) -> None:
    """The sums over groups against a score of images that are drawn as often as their group."""
    small = made_images(groups_each=3, members=4)
    found = made_found(small, 1.0)
    values = drawn(Scored(small.target, small.group, found.chance), metric)
    generator = numpy_generator(195, 6)
    for value, counts in zip(values[1:150], generator.integers(0, 6, (149, 6)), strict=True):
        rows = np.concatenate([np.flatnonzero(small.group == group) for group in counts])
        if len(set(small.target[rows])) < 2:
            assert np.isnan(value)
            continue
        said = found.chance[rows] if metric == "auroc" else found.chance[rows] >= THRESHOLD
        if metric == "ppv" and not said.any():
            assert np.isnan(value)
            continue
        assert value == pytest.approx(SKLEARN[metric](small.target[rows], said), abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_intervals_are_those_of_the_package_but_for_the_luck_of_resampling(metric: Metric) -> None:
    founds = several(1.5, 2)
    here = pooled(IMAGES, founds, metric)
    parts = [Part(found.chance, THRESHOLD, 1 / len(founds)) for found in founds]
    there = combined(IMAGES.target, parts, IMAGES.groups, numpy_generator(5), metric)
    assert here.value == pytest.approx(there.value, abs=1e-12)
    assert here.low == pytest.approx(there.low, abs=0.012)
    assert here.high == pytest.approx(there.high, abs=0.012)


def test_the_same_records_give_the_same_digits() -> None:
    first = pooled(IMAGES, several(1.5, 3))
    drawn.cache_clear()
    assert pooled(IMAGES, several(1.5, 3)) == first


def test_a_difference_is_paired() -> None:
    """Two arms that err on the same images differ more surely than their own intervals say."""
    a, worse = several(1.5, 4), []
    for one in a:
        logit = np.log(one.chance / (1 - one.chance)) - 0.15 * (IMAGES.target - 0.5)
        worse.append(one._replace(chance=1 / (1 + np.exp(-logit))))
    found = difference(IMAGES, a, worse)
    assert found.value == pytest.approx(pooled(IMAGES, a).value - pooled(IMAGES, worse).value)
    assert found.low > 0
    assert pooled(IMAGES, a).low < pooled(IMAGES, worse).high
    back = difference(IMAGES, worse, a)
    assert (back.value, back.low) == pytest.approx((-found.value, -found.high))


def test_of_one_draw_p_is_near_delongs_by_groups() -> None:
    for seed in range(8):
        a, b = made_found(IMAGES, 1.8, seed), made_found(IMAGES, 1.3, 50 + seed)
        delong = paired_delong(IMAGES.target, (a.chance, b.chance), IMAGES.groups).p_value
        assert p_value(IMAGES, [a], [b]) == pytest.approx(delong, abs=0.04)


def test_p_holds_its_level_where_images_of_a_group_err_alike() -> None:
    """Of arms that are equally good one in twenty is called different, not one in three."""
    images = made_images(groups_each=15, members=4)
    alone = images._replace(group=np.arange(len(images.target)))
    p, of_images = [], []
    for seed in range(100):
        a, b = (made_found(images, 1.5, 2 * seed + k, of_groups=1.5) for k in (0, 1))
        p.append(p_value(images, [a], [b]))
        if seed < 40:
            of_images.append(p_value(alone, [a], [b]))
    assert 0.02 <= np.mean(np.array(p) < 0.05) <= 0.08
    assert np.mean(np.array(of_images) < 0.05) > 0.2


def test_p_holds_its_level_for_the_mean_of_draws_and_finds_what_is_there() -> None:
    images = made_images(groups_each=15, members=4)

    def share(shift: float) -> float:
        found = []
        for seed in range(60):
            a = [made_found(images, 1.5 + shift, 10 * seed + k) for k in range(3)]
            b = [made_found(images, 1.5, 10 * seed + k) for k in range(3, 6)]
            found.append(p_value(images, a, b, "accuracy") < 0.05)
        return float(np.mean(found))

    assert share(0.0) <= 0.1
    assert share(1.0) >= 0.8


def test_arms_that_answer_alike_do_not_differ() -> None:
    founds = several(1.0, 6)
    assert difference(IMAGES, founds, founds) == (0, 0, 0)
    assert p_value(IMAGES, founds, founds) == 1


def test_with_few_groups_no_p_is_smaller_than_swapping_them_could_give() -> None:
    images = made_images(groups_each=3, members=10)
    right = made_found(images, 0.0)._replace(chance=images.target.astype(float))
    wrong = right._replace(chance=1 - right.chance)
    assert p_value(images, [right], [wrong]) == 2 / 2**6


def test_against_several_p_is_corrected_for_their_number() -> None:
    rivals = {name: several(1.0, 7 + k) for k, name in enumerate(("none", "rotation", "mae"))}
    rows = against(IMAGES, several(1.8, 20), rivals)
    assert list(rows) == list(rivals)
    p = sorted((row.p_value, row.corrected) for row in rows.values())
    assert p[0][1] == pytest.approx(min(1, 3 * p[0][0]))
    assert p[2][1] == pytest.approx(max(p[2][0], p[1][1]))
    for name, row in rows.items():
        assert row.difference == difference(IMAGES, several(1.8, 20), rivals[name])


def test_images_that_nobody_scored_are_left_out_and_unequal_ones_are_refused() -> None:
    found = made_found(IMAGES, 1.5)
    hidden = found._replace(chance=np.where(IMAGES.fold == 0, np.nan, found.chance))
    rows = np.flatnonzero(IMAGES.fold > 0)
    expected = plain.roc_auc_score(IMAGES.target[rows], found.chance[rows])
    assert pooled(IMAGES, [hidden]).value == pytest.approx(expected, abs=1e-12)
    with pytest.raises(DataError, match="score different images"):
        difference(IMAGES, [found], [hidden])
    with pytest.raises(DataError, match="No model is given"):
        pooled(IMAGES, [])


def test_what_cannot_be_scored_is_refused() -> None:
    found = made_found(IMAGES, 1.5)
    with pytest.raises(DataError, match="one group"):
        pooled(Images(IMAGES.target, 0 * IMAGES.group, IMAGES.fold), [found])
    with pytest.raises(DataError, match="Average precision"):
        pooled(IMAGES, [found], "auprc")


def test_the_difference_of_single_draws_is_that_of_their_means() -> None:
    ours = {0: [made_found(IMAGES, 2.0, 1)], 1: [made_found(IMAGES, 0.5, 2)]}
    other = {draw: several(1.0, 30 + draw)[:2] for draw in (0, 1)}
    found = by_draws(IMAGES, ours, other)
    for draw in (0, 1):
        apart = pooled(IMAGES, ours[draw]).value - pooled(IMAGES, other[draw]).value
        assert found[draw] == pytest.approx(apart, abs=1e-12)
    assert found[0] > 0 > found[1]


def test_what_a_record_lacks_is_said(tmp_path: Path) -> None:
    record = read_record(write_record(tmp_path, made_facts("perlin"), made_cells(IMAGES, 1.0)))
    assert protocols_of(record, 0.1) == ("probe",)
    assert len(founds_of(record, "probe", 0.1, draws={0, 2})) == 2
    with pytest.raises(DataError, match=r"no model of 0\.5 of the labels"):
        protocols_of(record, 0.5)
    with pytest.raises(DataError, match="no model of protocol 'tuned'"):
        founds_of(record, "tuned", 0.1)
