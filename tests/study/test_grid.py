"""Each image is called by a fit that has not seen it, of the labels that its cell allows."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.study.folds import SPLITS, Labels, SplitName, cut, labels_of
from pipelines.study.grid import cells_of, found_by, images_of
from pipelines.study.probes import Fitted
from pipelines.study.records import Cell
from pipelines.study.targets import TargetSet
from tests.study.made_targets import made_target

TARGET = made_target(120)


def share_of_labels(target: TargetSet, labels: Labels) -> Fitted:
    """Says of each row how many labels of the set were used, and whether it was one of them."""
    used = np.isin(labels.score, labels.all)
    chance = np.where(used, np.nan, len(labels.all) / len(target.target))
    return Fitted(chance, len(labels.choose) / 1000, str(labels.score.min()))


def test_few_labels_are_drawn_often_and_all_of_them_once() -> None:
    cells = cells_of("probe", (0.1, 1.0), draws=3, seed=2)
    assert cells == [Cell("probe", 0.1, draw, 2) for draw in range(3)] + [Cell("probe", 1.0, 0, 2)]


@pytest.mark.parametrize("split", SPLITS)
def test_every_image_is_called_by_what_has_not_seen_it(split: SplitName) -> None:
    cells = cells_of("probe", draws=2)
    found = found_by(share_of_labels, TARGET, split, cells)
    assert list(found) == cells
    for cell, one in found.items():
        given = [labels_of(TARGET, fold, cell.fraction, cell.draw) for fold in cut(TARGET, split)]
        for labels in given:
            expected = len(labels.all) / len(TARGET.target)
            np.testing.assert_array_equal(one.chance[labels.score], expected)
        assert one.labels == np.mean([len(labels.all) for labels in given])
        assert one.inners == tuple(len(labels.choose) / 1000 for labels in given)
        assert one.inner == pytest.approx(np.mean(one.inners))
        assert one.chosen == tuple(str(labels.score.min()) for labels in given)


@pytest.mark.parametrize("split", SPLITS)
def test_images_keep_label_group_and_fold(split: SplitName) -> None:
    images = images_of(TARGET, split)
    np.testing.assert_array_equal(images.target, TARGET.target)
    for number, fold in enumerate(cut(TARGET, split)):
        assert (images.fold[fold.score] == number).all()
    same = np.array(TARGET.group)[:, None] == np.array(TARGET.group)
    np.testing.assert_array_equal(images.group[:, None] == images.group, same)
