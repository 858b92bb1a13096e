"""The mesh against the definition of a Voronoi border, and what a training run relies on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from covidssl.lesions import densities, render
from covidssl.lesions.septa import _points, septa
from covidssl.randomness import torch_generator
from tests.lesions.chest import chest, chest_volumes, draw, only


def places(n: int, axes: int, cells: int) -> list[Tensor]:
    drawn = torch.rand((axes, n), generator=torch_generator(1)) * cells
    return list(drawn.unbind(0))


def brute_force(where: list[Tensor], seed: Tensor, cells: int) -> Tensor:
    """Second nearest less nearest distance to all points of one picture's lattice."""
    points = _points(seed, [cells + 3] * len(where))
    corners = torch.meshgrid(*[torch.arange(cells + 3.0) - 1] * len(where), indexing="ij")
    all_points = torch.stack([(p[0] + c).flatten() for p, c in zip(points, corners, strict=True)])
    distances = (torch.stack(where, 1)[:, None] - all_points.T[None]).square().sum(2).sqrt()
    two = distances.topk(2, largest=False).values
    return two[:, 1] - two[:, 0]


def test_septa_are_the_borders_between_the_nearest_points() -> None:
    seed = torch.tensor([123456789012345])
    for axes, cells in ((2, 6), (3, 4)):
        where = places(400, axes, cells)
        found = septa(where, torch.zeros(400, dtype=torch.int64), seed, [cells] * axes)
        expected = brute_force(where, seed, cells)
        # A point two cells away may be nearer than all neighbours: seldom, and far from borders.
        off = (found - expected).abs() > 1e-5
        assert float(off.float().mean()) < 0.002
        assert not (off & (expected < 0.3)).any()


def test_a_mesh_has_the_same_bits_whatever_else_is_drawn() -> None:
    seed = torch.tensor([5, 6, 7])
    where, picture = places(300, 2, 6), torch.arange(300) % 3
    together = septa(where, picture, seed, [6, 6])
    alone = septa([w[1::3] for w in where], torch.zeros(100, dtype=torch.int64), seed[1:2], [9, 30])
    assert torch.equal(alone, together[1::3])


def test_seeds_that_differ_anywhere_give_other_meshes() -> None:
    where, picture = places(100, 2, 6), torch.zeros(100, dtype=torch.int64)
    seeds = [torch.tensor([s]) for s in (7, 8, 7 + (1 << 40))]
    meshes = [septa(where, picture, seed, [6, 6]) for seed in seeds]
    assert not torch.equal(meshes[0], meshes[1])
    assert not torch.equal(meshes[0], meshes[2])


def test_a_mesh_is_continuous_over_lattice_cells() -> None:
    fine = torch.arange(0, 6, 0.001)
    line = septa([fine, torch.full_like(fine, 2.3)], torch.zeros(len(fine), dtype=torch.int64),
                 torch.tensor([9]), [6, 6])  # fmt: skip
    # Each of the two distances changes by no more than the step.
    assert float(line.diff().abs().max()) < 0.0021


def test_no_voxels_give_no_mesh() -> None:
    none = torch.zeros(0)
    assert septa([none, none], none.long(), torch.tensor([1]), [4, 4]).shape == (0,)


@pytest.mark.parametrize("at_once", [1, 700, 5000, 10**9])
@pytest.mark.parametrize("voxels", [densities._voxels, densities._all_voxels])
def test_a_mesh_is_laid_piece_by_piece_to_the_same_bits(
    at_once: int,
    voxels: Callable[[Tensor], tuple[Tensor, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both ways of choosing voxels, the second being that of accelerators."""
    ranges = only("crazy_paving", foci=(1, 3))
    pictures = (*chest(5, size=41), draw(ranges, 5))
    volumes = (*chest_volumes(3, depth=8, size=24), draw(ranges, 3))
    cases = [(hu, lungs, params, mm) for hu, lungs, mm, params in (pictures, volumes)]
    whole = [render(*case) for case in cases]
    most = []

    def counted(places: Sequence[Tensor], *given: Any) -> Tensor:
        most.append(len(places[0]))
        return septa(places, *given)

    monkeypatch.setattr(densities, "_AT_ONCE", at_once)
    monkeypatch.setattr(densities, "_voxels", voxels)
    monkeypatch.setattr(densities, "septa", counted)
    for case, expected in zip(cases, whole, strict=True):
        found = render(*case)
        assert torch.equal(found.corrupted_hu, expected.corrupted_hu)
    # No fewer than a line of a slice, or a plane of a volume.
    assert max(most) <= max(at_once, 24 * 24)
