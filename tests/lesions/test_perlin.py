"""The Perlin field against two references, and what a training run relies on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from covidssl.lesions.perlin import (
    UNIT_FIELD_SD,
    Field,
    gradient_lattice,
    lattice_noise,
    perlin,
)

# Ken Perlin's reference permutation (mrl.nyu.edu/~perlin/noise), in the order he published.
PERMUTATION = [
    151, 160, 137, 91, 90, 15, 131, 13, 201, 95, 96, 53, 194, 233, 7, 225, 140, 36, 103, 30, 69,
    142, 8, 99, 37, 240, 21, 10, 23, 190, 6, 148, 247, 120, 234, 75, 0, 26, 197, 62, 94, 252, 219,
    203, 117, 35, 11, 32, 57, 177, 33, 88, 237, 149, 56, 87, 174, 20, 125, 136, 171, 168, 68, 175,
    74, 165, 71, 134, 139, 48, 27, 166, 77, 146, 158, 231, 83, 111, 229, 122, 60, 211, 133, 230,
    220, 105, 92, 41, 55, 46, 245, 40, 244, 102, 143, 54, 65, 25, 63, 161, 1, 216, 80, 73, 209, 76,
    132, 187, 208, 89, 18, 169, 200, 196, 135, 130, 116, 188, 159, 86, 164, 100, 109, 198, 173,
    186, 3, 64, 52, 217, 226, 250, 124, 123, 5, 202, 38, 147, 118, 126, 255, 82, 85, 212, 207, 206,
    59, 227, 47, 16, 58, 17, 182, 189, 28, 42, 223, 183, 170, 213, 119, 248, 152, 2, 44, 154, 163,
    70, 221, 153, 101, 155, 167, 43, 172, 9, 129, 22, 39, 253, 19, 98, 108, 110, 79, 113, 224, 232,
    178, 185, 112, 104, 218, 246, 97, 228, 251, 34, 242, 193, 238, 210, 144, 12, 191, 179, 162,
    241, 81, 51, 145, 235, 249, 14, 239, 107, 49, 192, 214, 31, 181, 199, 106, 157, 184, 84, 204,
    176, 115, 121, 50, 45, 127, 4, 150, 254, 138, 236, 205, 93, 222, 114, 67, 29, 24, 72, 243, 141,
    128, 195, 78, 66, 215, 61, 156, 180,
]  # fmt: skip

# The x and y of the 16 gradients of caseman/noise (_noise.h, GRAD3), in its order.
GRADIENTS = [
    (1, 1), (-1, 1), (1, -1), (-1, -1), (1, 0), (-1, 0), (1, 0), (-1, 0),
    (0, 1), (0, -1), (0, 1), (0, -1), (1, 0), (-1, 0), (0, -1), (0, 1),
]  # fmt: skip


def reference_lattice(points: int) -> Tensor:
    """The gradients of `noise.pnoise2(x, y)`, (1, K, K, 2) as (y, x)."""
    lattice = torch.zeros(1, points, points, 2)
    for x in range(points):
        for y in range(points):
            hashed = PERMUTATION[(PERMUTATION[x] + y) % 256]
            along_x, along_y = GRADIENTS[PERMUTATION[hashed] % 16]
            lattice[0, y, x, 0], lattice[0, y, x, 1] = along_y, along_x
    return lattice


def field(batch: int = 3, octaves: int = 3, cells: float = 4.3) -> Field:
    return Field(
        seed=torch.arange(batch) * 1_000_003 + (1 << 40),
        cells=torch.tensor([[cells, cells * 1.37]]).repeat(batch, 1),
        persistence=torch.linspace(0.3, 0.6, batch),
        octaves=torch.full((batch,), octaves),
    )


def test_lattice_noise_equals_the_reference_implementation() -> None:
    noise = pytest.importorskip("noise")
    rng = np.random.default_rng(0)
    rows, columns = rng.uniform(0, 7, 40), rng.uniform(0, 7, 50)
    ours = lattice_noise(
        reference_lattice(9), torch.tensor(rows)[None], torch.tensor(columns)[None]
    )
    theirs = [[noise.pnoise2(x, y) for x in columns] for y in rows]
    np.testing.assert_allclose(ours[0].numpy(), theirs, atol=1e-5)


def plain_formula(gradients: Tensor, y: float, x: float) -> float:
    """Improved Perlin noise at one point, written as its definition."""
    total = 0.0
    for i in (math.floor(y), math.floor(y) + 1):
        for j in (math.floor(x), math.floor(x) + 1):
            fade = 1.0
            for distance in (abs(y - i), abs(x - j)):
                t = 1 - distance
                fade *= 6 * t**5 - 15 * t**4 + 10 * t**3
            total += fade * float(gradients[i, j, 0] * (y - i) + gradients[i, j, 1] * (x - j))
    return total


def test_lattice_noise_equals_the_plain_formula() -> None:
    gradients = gradient_lattice(torch.tensor([3, 4]), 1, (6, 8))
    rng = np.random.default_rng(1)
    rows, columns = torch.tensor(rng.uniform(0, 5, (2, 9))), torch.tensor(rng.uniform(0, 7, (2, 7)))
    ours = lattice_noise(gradients, rows, columns)
    for b in range(2):
        expected = [[plain_formula(gradients[b], y, x) for x in columns[b]] for y in rows[b]]
        np.testing.assert_allclose(ours[b].numpy(), expected, atol=1e-6)


def test_lattice_noise_equals_the_dense_matrix_product() -> None:
    gradients = gradient_lattice(torch.tensor([5]), 0, (6, 6))
    places = torch.linspace(0.05, 4.9, 31, dtype=torch.float64)
    t = places - places.floor()
    fade = t**3 * (t * (t * 6 - 15) + 10)
    weights, moments = torch.zeros(31, 6).double(), torch.zeros(31, 6).double()
    pixel, near = torch.arange(31), places.long()
    weights[pixel, near], weights[pixel, near + 1] = 1 - fade, fade
    moments[pixel, near], moments[pixel, near + 1] = (1 - fade) * t, fade * (t - 1)
    of_y, of_x = gradients[0, :, :, 0].double(), gradients[0, :, :, 1].double()
    expected = weights @ of_x @ moments.T + moments @ of_y @ weights.T
    ours = lattice_noise(gradients, places[None], places[None])
    torch.testing.assert_close(ours[0].double(), expected, atol=1e-6, rtol=0)


def test_one_octave_is_zero_at_its_lattice_points() -> None:
    gradients = gradient_lattice(torch.tensor([9]), 0, (6, 6))
    whole = torch.arange(5, dtype=torch.float64)[None]
    assert torch.equal(lattice_noise(gradients, whole, whole), torch.zeros(1, 5, 5))
    assert lattice_noise(gradients, whole + 0.5, whole + 0.5).abs().max() > 0.1


def test_gradients_are_unit_vectors_in_many_directions() -> None:
    gradients = gradient_lattice(torch.arange(4), 0, (20, 20)).flatten(0, 2)
    torch.testing.assert_close(gradients.norm(dim=1), torch.ones(1600))
    angles = torch.atan2(gradients[:, 0], gradients[:, 1])
    assert len(torch.unique((angles * 1000).round())) == 16
    assert gradients.mean(0).abs().max() < 0.06


def test_a_larger_lattice_continues_a_smaller_one() -> None:
    seed = torch.tensor([11])
    assert torch.equal(
        gradient_lattice(seed, 2, (9, 12))[:, :5, :7], gradient_lattice(seed, 2, (5, 7))
    )


@pytest.mark.parametrize("octaves", [1, 4])
def test_mean_is_zero_and_deviation_one(octaves: int) -> None:
    fields = perlin((96, 96), field(batch=64, octaves=octaves, cells=9.0))
    assert abs(float(fields.mean())) < 0.03
    assert abs(float(fields.std()) - 1) < 0.05


def test_unit_field_deviation_is_the_integral_over_a_cell() -> None:
    t = (np.arange(100_000) + 0.5) / 100_000
    weight = 1 - t**3 * (t * (t * 6 - 15) + 10)
    variance = 4 * np.mean(weight**2) * np.mean((weight * t) ** 2)
    assert pytest.approx(math.sqrt(variance), abs=1e-5) == UNIT_FIELD_SD


@pytest.mark.parametrize("batch", [1, 2, 5, 16])
def test_a_field_has_the_same_bits_in_any_batch(batch: int) -> None:
    whole = field(batch=16)
    whole = whole._replace(octaves=torch.arange(16) % 4 + 1)
    everything = perlin((57, 61), whole)
    part = Field(*(values[16 - batch :] for values in whole))
    assert torch.equal(perlin((57, 61), part), everything[16 - batch :])


def test_neighbouring_seeds_and_octaves_give_unrelated_fields() -> None:
    fields = perlin((64, 64), field(batch=2, cells=8)._replace(seed=torch.tensor([7, 8])))
    correlation = np.corrcoef(fields.flatten(1).numpy())[0, 1]
    assert abs(correlation) < 0.2
    first, second = (gradient_lattice(torch.tensor([7]), k, (30, 30)) for k in (0, 1))
    assert float((first * second).sum(-1).mean().abs()) < 0.1


def test_seeds_that_differ_in_their_high_bits_alone_differ() -> None:
    low, high = torch.tensor([7]), torch.tensor([7 + (1 << 40)])
    assert not torch.equal(gradient_lattice(low, 0, (5, 5)), gradient_lattice(high, 0, (5, 5)))


def test_field_is_continuous() -> None:
    fine = perlin((400, 400), field(octaves=1, cells=4.0))
    step = torch.maximum(fine.diff(dim=2).abs().max(), fine.diff(dim=3).abs().max())
    # Steepest slope of the noise is below 3 a cell; a pixel is 1/73 of a cell or less.
    assert float(step) < 3 / UNIT_FIELD_SD / 73


def test_a_finer_picture_shows_the_same_field() -> None:
    coarse, fine = perlin((40, 44), field(octaves=2)), perlin((120, 132), field(octaves=2))
    torch.testing.assert_close(fine[:, :, 1::3, 1::3], coarse, atol=1e-4, rtol=0)


def test_octaves_finer_than_a_pixel_are_left_out() -> None:
    few, many = field(octaves=2, cells=10), field(octaves=6, cells=10)
    # 10 x 1.37 cells across 30 pixels: the second octave is resolved, the third is not.
    assert torch.equal(perlin((30, 30), few), perlin((30, 30), many))
    assert not torch.equal(perlin((300, 300), few), perlin((300, 300), many))


@pytest.mark.parametrize("size", [(1, 1), (13, 97), (64, 5)])
def test_any_size_and_any_number_of_cells_work(size: tuple[int, int]) -> None:
    drawn = perlin(size, field(cells=0.37))
    assert drawn.shape == (3, 1, *size)
    assert drawn.dtype == torch.float32
    assert torch.isfinite(drawn).all()


def test_an_empty_batch_gives_an_empty_field() -> None:
    assert perlin((8, 8), field(batch=0)).shape == (0, 1, 8, 8)
