"""Draws keep to their ranges and shares, and do not depend on how many follow."""

from __future__ import annotations

import pytest
import torch

from covidssl.lesions import KINDS, Kinds, LesionParams, LesionRanges, sample
from covidssl.randomness import torch_generator


def same(one: LesionParams, other: LesionParams) -> bool:
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_every_draw_lies_in_its_range() -> None:
    ranges = LesionRanges(vessels_kept=(0.2, 0.9), dense_opacity=(0.3, 0.8))
    params = sample(ranges, torch_generator(1), 3000)
    names = set(LesionParams._fields) & set(LesionRanges.model_fields)
    assert len(names) >= 26
    for name in names:
        low, high = getattr(ranges, name)
        values = getattr(params, name)[params.foci > 0]
        assert float(values.min()) >= low - 1e-4, name
        assert float(values.max()) <= high + 1e-4, name
        # The ends are reached, or nearly: a range is used as a whole.
        assert float(values.min()) <= low + 0.02 * (high - low), name
        assert float(values.max()) >= high - 0.02 * (high - low), name
    assert float(params.place.min()) >= 0
    assert float(params.place.max()) < 1


def test_shares_are_kept() -> None:
    kinds = Kinds(ground_glass=3, consolidation=1, reversed_halo=1)
    ranges = LesionRanges(clean_share=0.3, kinds=kinds, foci=(2, 4))
    params = sample(ranges, torch_generator(2), 4000)
    assert float((params.foci == 0).float().mean()) == pytest.approx(0.3, abs=0.03)
    assert sorted(set(params.foci.tolist())) == [0, 2, 3, 4]
    shares = torch.bincount(params.kind.flatten(), minlength=4) / params.kind.numel()
    assert shares.tolist() == pytest.approx([0.6, 0.2, 0.0, 0.2], abs=0.02)
    assert float(shares[KINDS.index("crazy_paving")]) == 0


def test_bilateral_draws_take_the_two_sides_in_turn() -> None:
    both = sample(LesionRanges(bilateral=1, foci=(6, 6)), torch_generator(3), 400)
    side = both.place >= 0.5
    assert (side[:, 1:] != side[:, :-1]).all()
    # Either side may come first.
    assert float(side[:, 0].float().mean()) == pytest.approx(0.5, abs=0.1)
    free = sample(LesionRanges(bilateral=0, foci=(6, 6)), torch_generator(3), 400)
    side = free.place >= 0.5
    assert float((side[:, 1:] != side[:, :-1]).float().mean()) == pytest.approx(0.5, abs=0.05)


def test_places_are_uniform_with_and_without_sides() -> None:
    for share in (0.0, 1.0):
        place = sample(LesionRanges(bilateral=share), torch_generator(4), 3000).place
        tenths = torch.histc(place, 10, 0, 1) / place.numel()
        assert tenths.tolist() == pytest.approx([0.1] * 10, abs=0.01)


def test_the_same_generator_draws_the_same_lesions() -> None:
    one, again, other = (sample(LesionRanges(), torch_generator(k), 9) for k in (3, 3, 4))
    assert same(one, again)
    assert not same(one, other)


def test_draws_do_not_depend_on_how_many_follow() -> None:
    few, many = (sample(LesionRanges(), torch_generator(5), n) for n in (2, 40))
    assert same(few, many.take(slice(0, 2)))


def test_a_fixed_range_gives_its_one_value() -> None:
    params = sample(LesionRanges(opacity_hu=(300.0, 300.0), foci=(2, 2)), torch_generator(1), 8)
    assert params.opacity_hu.tolist() == [300.0] * 8
