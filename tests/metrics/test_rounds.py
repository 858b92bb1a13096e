"""How often a set is resampled: as often as is asked for, in every interval."""

from __future__ import annotations

from inspect import signature

import numpy as np
import pytest

from covidssl.evaluation.compared import Evaluated, compare_all
from covidssl.metrics import (
    ROUNDS,
    Asked,
    Part,
    combined,
    decision_curve,
    evaluate,
    reliability,
)
from covidssl.randomness import numpy_generator
from tests.metrics.test_delong import example


def models() -> list[Evaluated]:
    target, both = example(120)
    names = tuple(f"{k:03d}" for k in range(120))
    return [
        Evaluated(name, names, names, target, said, 0.5, "test", "")
        for name, said in zip("ab", both, strict=True)
    ]


def test_a_set_is_resampled_2000_times_where_nothing_is_asked() -> None:
    assert ROUNDS == 2000
    assert Asked().rounds == 2000
    for function in (evaluate, reliability, combined):
        assert signature(function).parameters["rounds"].default == 2000
    target, both = example(60)
    drawn = evaluate(target, both[0], 0.5, None, numpy_generator(1))
    assert len(drawn.at_point.rows) == 1 + 2000


@pytest.mark.parametrize("rounds", [100, 300])
def test_a_comparison_draws_its_differences_as_often_as_its_scores(
    rounds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    from covidssl.metrics import resampling

    whole = resampling.draws

    def noted(index, generator, rounds):
        asked.append(rounds)
        return whole(index, generator, rounds)

    monkeypatch.setattr(resampling, "draws", noted)
    compare_all(models(), 0, rounds)
    assert asked == [rounds] * 3  # two models and their difference


def test_a_difference_is_that_of_the_areas_on_the_models_own_resamples() -> None:
    first, second = models()
    ((_, _, found),) = compare_all([first, second], 0, 200).differences
    parts = [Part(first.probability, 0.5, 1), Part(second.probability, 0.5, -1)]
    assert found == combined(first.target, parts, None, numpy_generator(0, 173), rounds=200)
    assert found != combined(first.target, parts, None, numpy_generator(0, 173), rounds=400)


def test_a_decision_curve_is_drawn_as_often_as_is_asked() -> None:
    target, both = example(60)
    few, many = (
        decision_curve(target, both[0], None, numpy_generator(1), Asked([0.4], rounds=n))
        for n in (100, 400)
    )
    assert not np.array_equal(few.model, many.model)
