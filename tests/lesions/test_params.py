"""A draw is a few numbers: chosen, shown, written and replayed without loss."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from covidssl.errors import DataError
from covidssl.lesions import (
    KINDS,
    LesionParams,
    LesionRanges,
    params_from_json,
    params_to_json,
    sample,
)
from covidssl.randomness import torch_generator


def same(one: LesionParams, other: LesionParams) -> bool:
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_take_chooses_rows_in_any_form() -> None:
    params = sample(LesionRanges(), torch_generator(6), 5)
    chosen = params.take([1, 3])
    assert chosen.seed.tolist() == [params.seed[1].item(), params.seed[3].item()]
    assert same(chosen, params.take(torch.tensor([False, True, False, True, False])))
    assert chosen.radius_mm.shape == (2, 6)


def test_rows_are_plain_numbers_of_the_foci_in_use() -> None:
    params = sample(LesionRanges(), torch_generator(7), 20)
    rows = params.rows()
    assert len(rows) == 20
    for row, foci, codes in zip(rows, params.foci.tolist(), params.kind.tolist(), strict=True):
        assert row["foci"] == foci
        assert len(row["radius_mm"]) == len(row["depth"]) == foci
        assert row["kind"] == [KINDS[code] for code in codes[:foci]]
    assert json.loads(json.dumps(rows)) == rows


def test_a_draw_comes_back_from_json_to_the_last_bit() -> None:
    params = sample(LesionRanges(), torch_generator(8), 50)
    assert same(params, params_from_json(params_to_json(params)))


def test_no_draws_come_back_as_none() -> None:
    empty = params_from_json(params_to_json(sample(LesionRanges(), torch_generator(8), 0)))
    assert len(empty.seed) == 0
    assert empty.place.ndim == 2


@pytest.mark.parametrize(
    "text", ["", "[]", '{"seed": [1]}', "null", "[" * 100_000, '"' + "a" * 99, "1e999"]
)
def test_other_text_than_draws_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="not lesion draws"):
        params_from_json(text)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("edge_mm", ["wide", "narrow"]),
        ("edge_mm", [1.0]),
        ("edge_mm", [1.0, 0.0]),
        ("edge_mm", [1.0, float("nan")]),
        ("edge_mm", [1.0, 10**400]),
        ("edge_mm", [[1.0], [2.0]]),
        ("edge_mm", [True, False]),
        ("edge_mm", 3.0),
        ("edge_mm", None),
        ("seed", [1, 2**64]),
        ("seed", [1.5, 2.5]),
        ("foci", [1, 7]),
        ("foci", [1, -1]),
        ("octaves", [1, 10**9]),
        ("kind", [[0] * 6, [4] * 6]),
        ("kind", [[0] * 6, [0] * 5]),
        ("kind", [0, 1]),
        ("place", [[0.5] * 6, [1.5] * 6]),
        ("place", [[0.5] * 6]),
        ("coverage", [0.5, 2.0]),
        ("swallow_mm", [0.5, -2.0]),
        ("haze_mm", [0.5, -2.0]),
        ("haze_share", [0.5, 0.6]),
        ("elongation", [[1.0] * 6, [0.0] * 6]),
        ("lacunarity", [2.0, 1.0]),
        ("lacunarity", [2.0, 9.0]),
        ("feature_mm", [10.0, 0.01]),
        ("angle_deg", [[0.0] * 6, [1e5] * 6]),
        ("place", [[0.5] * 6, [1.0] * 6]),
    ],
)
def test_draws_that_could_not_have_been_drawn_are_refused(name: str, value: Any) -> None:
    content = json.loads(params_to_json(sample(LesionRanges(), torch_generator(9), 2)))
    content[name] = value
    with pytest.raises(DataError, match="not lesion draws"):
        params_from_json(json.dumps(content))


def test_a_number_that_could_not_have_been_drawn_is_named_with_what_was_expected() -> None:
    content = json.loads(params_to_json(sample(LesionRanges(), torch_generator(9), 2)))
    content["edge_mm"][1] = 0.0
    with pytest.raises(DataError, match=r"\(edge_mm must lie in 0.1 to 1000, got 0\)"):
        params_from_json(json.dumps(content))


def test_draws_with_a_key_too_many_or_too_few_are_refused() -> None:
    content = json.loads(params_to_json(sample(LesionRanges(), torch_generator(9), 2)))
    for changed in ({**content, "nodules": [1, 2]}, {k: content[k] for k in list(content)[1:]}):
        with pytest.raises(DataError, match="exactly the keys"):
            params_from_json(json.dumps(changed))
