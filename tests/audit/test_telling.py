"""Many models are tried: what chance explains of the best of them raises no alarm."""

from __future__ import annotations

import math

import numpy as np
import pytest

from covidssl.audit.shortcuts import MODELS, Result
from covidssl.audit.telling import telling, too_few
from covidssl.metrics import Estimate
from covidssl.randomness import numpy_generator

JUDGED = [model.key for model in MODELS if not model.nearest]
NOTHING = Estimate(0.5, 0.5, 0.5)


def results(areas: list[float], groups: int = 20, width: float = 0.01) -> list[Result]:
    """Results of the models that can blame something, by their AUROC."""
    return [
        Result(
            key,
            "blocked",
            2 * groups,
            (groups, groups),
            spread(groups),
            0,
            NOTHING,
            estimate,
            np.empty(0),
        )
        for key, area in zip(JUDGED, areas, strict=False)
        for estimate in (Estimate(area, area - width, min(area + width, 1)),)
    ]


def spread(groups: int) -> float:
    return math.sqrt((2 * groups + 1) / (12 * groups**2))


def test_of_data_sets_without_a_signal_one_in_a_hundred_raises_an_alarm() -> None:
    noise = numpy_generator(0, 7).normal(0.5, spread(20), (4000, len(JUDGED)))
    alarms = sum(bool(telling(results(row.tolist()))) for row in noise)
    assert 20 <= alarms <= 65  # at 1 % each, without heed of how many are tried, it would be 560


def test_one_model_among_many_has_to_be_further_from_chance_than_one_alone() -> None:
    area = 0.5 + 2.8 * spread(20)
    assert telling(results([area]))
    assert not telling(results([area] + [0.5] * (len(JUDGED) - 1)))
    assert telling(results([0.5 + 3.5 * spread(20)] + [0.5] * (len(JUDGED) - 1)))


def test_beside_strong_models_weaker_ones_are_held_against_those_left() -> None:
    last = 0.5 + 2.5 * spread(20)
    found = telling(results([0.99] * (len(JUDGED) - 1) + [last]))
    assert len(found) == len(JUDGED)
    assert found[-1].auroc.value == last


def test_a_trifle_is_no_alarm_however_many_scans_show_it() -> None:
    assert not telling(results([0.54] * 3, groups=5000))


def test_nearest_neighbours_are_not_among_the_models_that_tell() -> None:
    (one,) = results([0.99])
    memory = next(model.key for model in MODELS if model.nearest)
    assert telling([one._replace(model=memory)]) == []


@pytest.mark.parametrize(("groups", "judged"), [(9, False), (10, True)])
def test_fewer_than_ten_groups_of_a_class_are_too_few(groups: int, judged: bool) -> None:
    (one,) = results([0.9], groups)
    assert (too_few(one) == "") == judged
    if not judged:
        assert "Too few scans to judge: a class is held by 9 independent groups" in too_few(one)
