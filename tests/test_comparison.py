"""Arms meet the same scans and the same resamples, so that their difference means something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, roc_auc_score

from covidssl.comparison import Arm, Scored, compare, difference, read_scored
from covidssl.errors import DataError
from covidssl.files import write_csv

COLUMNS = ("scan", "group", "target", "probability", "rival_probability")
TARGET = np.arange(60) % 2


def scores(seed: int, skill: float) -> NDArray[np.float64]:
    noise = np.random.default_rng(seed).uniform(0, 1, len(TARGET))
    return (1 - skill) * noise + skill * TARGET


def scored() -> Scored:
    names = tuple(f"scan {k:02d}" for k in range(len(TARGET)))
    groups = tuple(f"patient {k // 3}" for k in range(len(TARGET)))
    return Scored(names, groups, TARGET, scores(0, 0.3), None, 0.5)


def arm(name: str, *draws: NDArray[np.float64], threshold: float = 0.5) -> Arm:
    return Arm(name, 0.1, 12, [(draw, threshold) for draw in draws])


def rows(rival: str = "0.25") -> list[dict[str, object]]:
    return [
        {"scan": name, "group": group, "target": target, "probability": p, "rival_probability": r}
        for name, group, target, p, r in (
            ("b.png", "p2", 0, 0.125, "0.75"),
            ("a.png", "p1", 1, 0.875, rival),
        )
    ]


def test_evaluation_is_read_back_in_the_order_of_its_scans(tmp_path: Path) -> None:
    write_csv(tmp_path / "predictions.csv", COLUMNS, rows())
    found = read_scored(tmp_path, 0.4)
    assert (found.scans, found.group) == (("a.png", "b.png"), ("p1", "p2"))
    assert (found.target.tolist(), found.model.tolist()) == ([1, 0], [0.875, 0.125])
    assert found.rival is not None
    assert found.rival.tolist() == [0.25, 0.75]
    assert found.threshold == 0.4


def test_evaluation_without_a_rival_has_none(tmp_path: Path) -> None:
    write_csv(tmp_path / "predictions.csv", COLUMNS, rows(rival=""))
    assert read_scored(tmp_path, 0.5).rival is None


@pytest.mark.parametrize("content", [None, "", "scan,group\n"])
def test_folder_without_predictions_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "predictions.csv").write_text(content)
    with pytest.raises(DataError, match=r"predictions\.csv.*covidssl evaluate"):
        read_scored(tmp_path, 0.5)


def test_value_of_an_arm_is_the_mean_over_its_draws() -> None:
    draws = [scores(seed, 0.3) for seed in (1, 2, 3)]
    (row,) = compare([arm("pretrained", *draws)], scored(), seed=0)
    assert row["auroc"]["value"] == pytest.approx(
        np.mean([roc_auc_score(TARGET, draw) for draw in draws])
    )
    assert row["accuracy"]["value"] == pytest.approx(
        np.mean([accuracy_score(TARGET, draw >= 0.5) for draw in draws])
    )
    assert (row["arm"], row["fraction"], row["n_labels"], row["draws"]) == (
        "pretrained",
        0.1,
        12,
        3,
    )


def test_every_number_has_its_interval_around_it() -> None:
    (row,) = compare([arm("pretrained", scores(1, 0.3))], scored(), seed=0)
    for metric in ("auroc", "accuracy"):
        estimate = row[metric]
        assert estimate["low"] < estimate["value"] < estimate["high"]


def test_accuracy_is_counted_at_the_operating_point_of_its_arm() -> None:
    low, high = (
        compare([arm("x", scores(1, 0.3), threshold=t)], scored(), seed=0)[0] for t in (0.0, 0.5)
    )
    assert low["accuracy"]["value"] == 0.5
    assert high["accuracy"]["value"] > 0.5
    assert low["auroc"] == high["auroc"]


def test_arms_meet_the_same_resamples() -> None:
    both = compare([arm("first", scores(1, 0.3)), arm("second", scores(1, 0.3))], scored(), seed=0)
    assert both[0]["auroc"] == both[1]["auroc"]
    alone = compare([arm("second", scores(1, 0.3))], scored(), seed=0)
    assert alone[0]["auroc"] == both[1]["auroc"]


def test_arm_does_not_differ_from_itself() -> None:
    same = arm("first", scores(1, 0.3), scores(2, 0.3))
    assert difference(same, same, scored(), seed=0) == pytest.approx((0, 0, 0), abs=1e-12)


def test_difference_is_that_of_the_values_and_turns_with_the_arms() -> None:
    good, bad = arm("good", scores(1, 0.6)), arm("bad", scores(2, 0.1))
    gain, loss = difference(good, bad, scored(), 0), difference(bad, good, scored(), 0)
    areas = [roc_auc_score(TARGET, one.parts[0][0]) for one in (good, bad)]
    assert gain.value == pytest.approx(areas[0] - areas[1])
    assert gain.low > 0
    assert loss == pytest.approx((-gain.value, -gain.high, -gain.low))


def test_paired_interval_is_narrower_than_that_of_strangers() -> None:
    first = scores(1, 0.3)
    nearly = np.clip(first + np.random.default_rng(5).normal(0, 0.01, len(first)), 0, 1)
    paired = difference(arm("a", nearly), arm("b", first), scored(), 0)
    strangers = difference(arm("a", scores(8, 0.3)), arm("b", first), scored(), 0)
    assert paired.high - paired.low < 0.3 * (strangers.high - strangers.low)


def test_arms_with_other_numbers_of_draws_are_refused() -> None:
    two, one = arm("pretrained", scores(1, 0.3), scores(2, 0.3)), arm("scratch", scores(3, 0.3))
    with pytest.raises(DataError, match="'pretrained' has 2 draws and 'scratch' 1; a paired"):
        difference(two, one, scored(), 0)


def test_arm_that_was_scored_on_other_scans_is_refused() -> None:
    with pytest.raises(DataError, match="do not fit: one label and one probability"):
        compare([arm("pretrained", scores(1, 0.3)[:-1])], scored(), seed=0)


@pytest.mark.parametrize("broken", [np.nan, 1.5, -0.1])
def test_score_that_is_no_probability_is_refused(broken: float) -> None:
    wrong = scores(1, 0.3)
    wrong[7] = broken
    with pytest.raises(DataError, match=r"1 of 60 probabilities are not in \[0, 1\]"):
        compare([arm("pretrained", wrong)], scored(), seed=0)
