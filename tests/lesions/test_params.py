"""Ranges that make no sense are refused; draws keep to them and can be replayed."""

from __future__ import annotations

import json

import pytest
import torch
from pydantic import ValidationError

from covidssl.errors import DataError
from covidssl.lesions import LesionParams, LesionRanges, params_from_json, params_to_json, sample
from covidssl.randomness import torch_generator


def same(one: LesionParams, other: LesionParams) -> bool:
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_reversed_range_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"radius_mm: the lower end comes first.*30"):
        LesionRanges(radius_mm=(30.0, 10.0))


@pytest.mark.parametrize("name", ["radius_mm", "edge_mm", "feature_mm", "texture_mm"])
def test_a_length_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match=f"{name}: must be above 0"):
        LesionRanges.model_validate({name: (0.0, 10.0)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"opacity_hu": (-10.0, 10.0)}, "opacity_hu: must not be below 0"),
        ({"periphery": (0.5, 1.5)}, "periphery: must not be above 1"),
        ({"foci": (0, 3)}, "foci: must lie in 1 to"),
        ({"octaves": (1, 99)}, "octaves: must lie in 1 to"),
        ({"clean_share": 1.2}, "less than or equal to 1"),
        ({"radius_mm": (1.0, float("inf"))}, "finite"),
        ({"dense_hu": (float("nan"), 0.0)}, "finite"),
        ({"opacity": (1.0, 2.0)}, "Extra inputs"),
    ],
)
def test_ranges_without_meaning_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LesionRanges.model_validate(changes)


def test_ranges_cannot_be_changed_afterwards() -> None:
    name = "dense_share"
    with pytest.raises(ValidationError, match="frozen"):
        setattr(LesionRanges(), name, 0.5)


def test_every_draw_lies_in_its_range() -> None:
    ranges = LesionRanges()
    params = sample(ranges, torch_generator(1), 3000)
    for name in set(LesionParams._fields) & set(LesionRanges.model_fields):
        low, high = getattr(ranges, name)
        values = getattr(params, name)[params.foci > 0]
        assert float(values.min()) >= low - 1e-4, name
        assert float(values.max()) <= high + 1e-4, name
        # The ends are reached, or nearly: a range is used as a whole.
        assert float(values.min()) <= low + 0.02 * (high - low), name
        assert float(values.max()) >= high - 0.02 * (high - low), name
    assert float(params.place.max()) < 1


def test_shares_are_kept() -> None:
    ranges = LesionRanges(clean_share=0.3, dense_share=0.1, foci=(2, 4))
    params = sample(ranges, torch_generator(2), 4000)
    assert float((params.foci == 0).float().mean()) == pytest.approx(0.3, abs=0.03)
    assert float(params.dense.float().mean()) == pytest.approx(0.1, abs=0.02)
    assert sorted(set(params.foci.tolist())) == [0, 2, 3, 4]


def test_the_same_generator_draws_the_same_lesions() -> None:
    assert same(
        sample(LesionRanges(), torch_generator(3), 9), sample(LesionRanges(), torch_generator(3), 9)
    )
    other = sample(LesionRanges(), torch_generator(4), 9)
    assert not same(sample(LesionRanges(), torch_generator(3), 9), other)


def test_draws_do_not_depend_on_how_many_follow() -> None:
    few, many = (sample(LesionRanges(), torch_generator(5), n) for n in (2, 40))
    assert same(few, many.take(slice(0, 2)))


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
    for row, foci in zip(rows, params.foci.tolist(), strict=True):
        assert row["foci"] == foci
        assert len(row["radius_mm"]) == foci
    assert json.loads(json.dumps(rows)) == rows


def test_a_draw_comes_back_from_json_to_the_last_bit() -> None:
    params = sample(LesionRanges(), torch_generator(8), 50)
    assert same(params, params_from_json(params_to_json(params)))


@pytest.mark.parametrize("text", ["", "[]", '{"seed": [1]}', "null"])
def test_other_text_than_draws_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="not lesion draws"):
        params_from_json(text)


def test_draws_with_text_for_numbers_are_refused() -> None:
    content = json.loads(params_to_json(sample(LesionRanges(), torch_generator(9), 2)))
    content["edge_mm"] = ["wide", "narrow"]
    with pytest.raises(DataError, match="list of numbers"):
        params_from_json(json.dumps(content))


def test_a_fixed_range_gives_its_one_value() -> None:
    params = sample(LesionRanges(opacity_hu=(300.0, 300.0), foci=(2, 2)), torch_generator(1), 8)
    assert params.opacity_hu.tolist() == [300.0] * 8
