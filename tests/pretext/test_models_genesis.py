"""Models Genesis: intensities bent, pixels shuffled within blocks, boxes painted over or left."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch

from covidssl.intensity import bend
from covidssl.pretext import ModelsGenesisPretext
from covidssl.pretext.models_genesis import (
    Spoiling,
    sample_spoiling,
    shuffle_in_blocks,
    spoil,
)
from covidssl.pretext.scatter import scatter_unit
from covidssl.randomness import torch_generator

SHAPES = [(64, 48), (8, 32, 32)]
NEVER = {"nonlinear": 0, "shuffle": 0, "paint": 0}


def draw(
    n: int = 200, shape: tuple[int, ...] = (64, 48), **chances: float
) -> tuple[torch.Tensor, Spoiling]:
    """Pictures, and how to spoil them: nothing but what is asked for."""
    plan = ModelsGenesisPretext(**(NEVER | chances))
    unit = torch.rand((n, 1, *shape), generator=torch_generator(1))
    return unit, sample_spoiling(plan, torch_generator(2), n, shape)


def in_boxes_by_the_authors_rule(inside: bool) -> float:
    """Mean share of a picture of 64 x 48 in boxes, drawn box by box with Python's own dice."""
    dice, found = Random(5), []
    for _ in range(400):
        picture = np.zeros((64, 48), dtype=bool)
        for box in range(5):
            if (inside or box > 0) and dice.random() >= 0.95:
                break
            places = []
            for edge in picture.shape:
                low, high = (edge // 6, edge // 3) if inside else (3 * edge // 7, 4 * edge // 7)
                size = dice.randint(low, high) if inside else edge - dice.randint(low, high)
                start = dice.randint(3, edge - size - 3)
                places.append(slice(start, start + size))
            picture[tuple(places)] = True
        found.append(picture.mean())
    return float(np.mean(found))


def same(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Which pictures are the same, (B,) bool."""
    return (first - second).abs().amax(tuple(range(1, first.ndim))) < 1e-6


@pytest.mark.parametrize("shape", SHAPES, ids=["slices", "volumes"])
def test_a_picture_of_which_nothing_is_asked_stays_as_it_is(shape: tuple[int, ...]) -> None:
    unit, params = draw(4, shape)
    assert same(spoil(unit, params), unit).all()


def test_intensities_go_through_a_monotone_curve_from_end_to_end() -> None:
    _, params = draw(nonlinear=1)
    steps = params.curve.diff(dim=1)
    rises, falls = (steps >= -1e-6).all(1), (steps <= 1e-6).all(1)
    assert (rises | falls).all()
    assert 0.4 < float(rises.float().mean()) < 0.6
    ends = params.curve[:, [0, -1]]
    assert torch.allclose(ends[rises], torch.tensor([0.0, 1.0]), atol=1e-5)
    assert torch.allclose(ends[falls], torch.tensor([1.0, 0.0]), atol=1e-5)


def test_a_curve_is_read_between_its_points() -> None:
    unit = torch.rand((2, 1, 16, 16), generator=torch_generator(1))
    even = torch.linspace(0, 1, 1025).expand(2, -1)
    assert torch.allclose(bend(unit, even**2), unit**2, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=["slices", "volumes"])
def test_shuffling_keeps_the_values_of_every_block(shape: tuple[int, ...]) -> None:
    unit, params = draw(3, shape, shuffle=1)
    shuffled = shuffle_in_blocks(unit, params.block, params.seeds[:, 0])
    assert not same(shuffled, unit).any()
    for picture in range(3):
        number = torch.zeros(shape, dtype=torch.int64)
        for axis, edge in enumerate(shape):
            row = params.block[picture, axis, :edge]
            number = number * 1000 + row.view([-1 if k == axis else 1 for k in range(len(shape))])
        for one in number.unique():
            inside = number == one
            before, after = (p[picture, 0][inside].sort().values for p in (unit, shuffled))
            assert torch.equal(before, after)


def test_blocks_are_as_large_as_a_tenth_of_the_edge_at_most() -> None:
    _, params = draw(shuffle=1)
    for axis, most in enumerate((6, 4)):
        sizes = {int(n) for rows in params.block[:, axis] for n in rows.bincount()}
        assert max(sizes) == most
        assert 1 in sizes


def test_inside_painting_covers_boxes_with_noise_and_leaves_the_rest() -> None:
    unit, params = draw(paint=1, inside=1)
    noise = scatter_unit(params.seeds[:, 1], (64, 48), unit.device)
    spoilt = spoil(unit, params)
    painted = spoilt != unit
    assert torch.equal(spoilt[painted], noise[painted])
    share = float(painted.float().mean())
    assert share == pytest.approx(in_boxes_by_the_authors_rule(inside=True), abs=0.03)
    assert not painted[..., :3, :].any()
    assert not painted[..., -3:].any()


def test_outside_painting_leaves_boxes_of_the_picture_alone() -> None:
    unit, params = draw(paint=1, inside=0)
    spoilt = spoil(unit, params)
    left = (spoilt == unit).float()
    assert (left.mean((1, 2, 3)) > 0.15).all()
    expected = in_boxes_by_the_authors_rule(inside=False)
    assert float(left.mean()) == pytest.approx(expected, abs=0.03)
    assert (spoilt != unit)[..., :3, :].all()


def test_chances_are_those_of_the_authors_code() -> None:
    plan = ModelsGenesisPretext()
    params = sample_spoiling(plan, torch_generator(3), 4000, (32, 32))
    bent = (params.curve - torch.linspace(0, 1, 1025)).abs().amax(1) > 1e-6
    found = [bent, params.shuffles, params.paints > 0, params.paints == 1]
    shares = [float(one.float().mean()) for one in found]
    assert shares == pytest.approx([0.9, 0.5, 0.9, 0.9 * 0.2], abs=0.03)


@pytest.mark.gpu
@pytest.mark.parametrize("shape", SHAPES, ids=["slices", "volumes"])
def test_a_gpu_spoils_as_the_cpu_does(shape: tuple[int, ...]) -> None:
    unit, params = draw(8, shape, nonlinear=1, shuffle=1, paint=1, inside=0.5)
    there = spoil(unit.to("cuda"), params).cpu()
    assert torch.allclose(there, spoil(unit, params), atol=1e-5)


def test_noise_is_even_and_another_for_every_seed() -> None:
    noise = scatter_unit(torch.tensor([5, 6, 5]), (64, 64), torch.device("cpu"))
    assert torch.equal(noise[0], noise[2])
    assert float((noise[0] == noise[1]).float().mean()) < 0.01
    assert 0 <= float(noise.min()) <= float(noise.max()) < 1
    counts = torch.histc(noise[:2], 16, 0, 1) / (2 * 64 * 64)
    assert torch.allclose(counts, torch.tensor(1 / 16), atol=0.01)
    neighbours = torch.corrcoef(
        torch.stack([noise[0, 0, :, 1:].ravel(), noise[0, 0, :, :-1].ravel()])
    )
    assert abs(float(neighbours[0, 1])) < 0.05
