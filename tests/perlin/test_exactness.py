"""Given the same gradients, every backend computes Ken Perlin's improved noise."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from covidssl.perlin import perlin, product, reference, rows
from covidssl.perlin.lattice import UNIT_FIELD_SD, Octaves, gradients_of, octaves_of
from tests.perlin.draws import CPU, drawn, fields, one_lattice

BACKENDS = ["rows", "product"]


def package_lattice(points: tuple[int, ...]) -> Tensor:
    """The gradients of the `noise` package from the origin on, (1, *points, D)."""
    places = itertools.product(*(range(n) for n in points))
    values = [reference.gradient_at(list(place)) for place in places]
    return torch.tensor(values).reshape(1, *points, len(points))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_a_field_agrees_with_pnoise2_and_pnoise3_at_random_places_and_octaves(
    backend: str, axes: int, seed: int
) -> None:
    noise = pytest.importorskip("noise")
    rng = np.random.default_rng((seed, axes))
    count, persistence = int(rng.integers(1, 5 if axes == 2 else 4)), float(rng.uniform(0.3, 0.8))
    start, step = rng.uniform(0, 2, axes), rng.uniform(0.02, 0.2, axes)
    size = tuple(rng.integers(3, 14 if axes == 2 else 9, axes).tolist())
    frequency = 2.0 ** np.arange(count)[:, None]
    amplitude = persistence ** np.arange(count)
    points = {2: 60, 3: 18}[axes]
    octaves = Octaves(
        start=(start * frequency)[None],
        step=(step * frequency)[None],
        points=np.full((1, count, axes), points),
        amplitude=(amplitude / amplitude.sum()).astype(np.float32)[None],
        count=np.array([count]),
        key=np.zeros((1, count), np.uint32),
    )
    ours = drawn(backend, size, octaves, [package_lattice((points,) * axes)] * count)[0]
    of_axes = {2: noise.pnoise2, 3: noise.pnoise3}[axes]
    for pixel in itertools.product(*(range(n) for n in size)):
        place = (start + np.array(pixel) * step)[::-1]
        theirs = of_axes(*place.tolist(), count, persistence)
        assert float(ours[pixel]) == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("axes", [2, 3])
def test_with_the_gradients_of_the_reference_a_backend_draws_its_fields(
    backend: str, axes: int
) -> None:
    pytest.importorskip("noise")
    size = (17, 23, 9)[:axes]
    octaves = octaves_of(size, fields(3, axes, cells=(1.5, 3.0)))
    ours = drawn(backend, size, octaves, reference.gradients(octaves))
    # 1e-5 of the noise itself; a field is scaled from its deviation to 1.
    tolerance = 1e-5 / UNIT_FIELD_SD[axes]
    torch.testing.assert_close(ours, reference.draw(size, octaves), atol=tolerance, rtol=0)


def plain_formula(gradients: Tensor, place: list[float]) -> float:
    """Improved Perlin noise at one point, written as its definition."""
    total = 0.0
    for corner in itertools.product(*((math.floor(p), math.floor(p) + 1) for p in place)):
        fade, slope = 1.0, 0.0
        for axis, p in enumerate(place):
            t = 1 - abs(p - corner[axis])
            fade *= 6 * t**5 - 15 * t**4 + 10 * t**3
            slope += float(gradients[(*corner, axis)]) * (p - corner[axis])
        total += fade * slope
    return total


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", [(13, 19), (5, 4, 7)])
def test_a_backend_agrees_with_the_plain_formula(backend: str, size: tuple[int, ...]) -> None:
    start, step = [0.31, 0.0, 1.75][: len(size)], [0.23, 0.5, 0.11][: len(size)]
    octaves = one_lattice(start, step, 12)
    gradients = gradients_of(octaves)
    ours = drawn(backend, size, octaves, gradients)[0]
    for pixel in itertools.product(*(range(n) for n in size)):
        place = [s + i * d for s, i, d in zip(start, pixel, step, strict=True)]
        expected = plain_formula(gradients[0][0], place)
        assert float(ours[pixel]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "size", [(64, 64), (37, 53), (5, 7), (1, 1), (3, 200), (24, 20, 30), (1, 5, 5), (7, 33, 40)]
)
def test_rows_and_product_draw_the_same_fields(size: tuple[int, ...]) -> None:
    field = fields(9, len(size), seed=3)
    ours, plain = perlin(size, field, backend="rows"), perlin(size, field, backend="product")
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=0)
    assert ours.std() > 0.3


@pytest.mark.parametrize("cells", [0.2, 1.0, 8.0, 63.9, 64.0, 100.0])
def test_rows_and_product_agree_for_cells_from_larger_than_the_picture_to_finer_than_a_pixel(
    cells: float,
) -> None:
    field = fields(4, 2, cells=(cells, cells))
    ours, plain = (perlin((64, 64), field, backend=name) for name in ("rows", "product"))
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=0)


def test_rows_hashes_the_gradients_that_product_is_given() -> None:
    octaves = octaves_of((40, 40), fields(1, 2, seed=5))
    hashed = rows.draw((40, 40), octaves)
    assert torch.equal(hashed, rows.draw((40, 40), octaves, gradients_of(octaves)))
    octaves = octaves_of((9, 12, 11), fields(1, 3, seed=6))
    hashed = rows.draw((9, 12, 11), octaves)
    assert torch.equal(hashed, rows.draw((9, 12, 11), octaves, gradients_of(octaves)))


def test_product_agrees_with_the_dense_matrix_product() -> None:
    octaves = one_lattice([0.05, 0.05], [0.16, 0.16], 8)
    gradients = gradients_of(octaves)[0][0].double()
    places = 0.05 + np.arange(31) * 0.16
    t = torch.from_numpy(places - np.floor(places))
    fade = t**3 * (t * (t * 6 - 15) + 10)
    weights, moments = torch.zeros(31, 8).double(), torch.zeros(31, 8).double()
    pixel, near = torch.arange(31), torch.from_numpy(np.floor(places)).long()
    weights[pixel, near], weights[pixel, near + 1] = 1 - fade, fade
    moments[pixel, near], moments[pixel, near + 1] = (1 - fade) * t, fade * (t - 1)
    of_y, of_x = gradients[:, :, 0], gradients[:, :, 1]
    expected = weights @ of_x @ moments.T + moments @ of_y @ weights.T
    ours = product.draw((31, 31), octaves, CPU)[0]
    torch.testing.assert_close(ours.double(), expected, atol=1e-6, rtol=0)
