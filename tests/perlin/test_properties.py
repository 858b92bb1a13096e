"""What Perlin noise is by its construction."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from covidssl.perlin import perlin
from covidssl.perlin.lattice import UNIT_FIELD_SD, Octaves, directions, octaves_of
from tests.perlin.draws import alike, drawn, one_lattice

BACKENDS = ["rows", "product"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("axes", [2, 3])
def test_one_octave_is_zero_at_its_lattice_points(backend: str, axes: int) -> None:
    size = (5,) * axes
    at_points = one_lattice([0.0] * axes, [1.0] * axes, 7)
    assert torch.equal(drawn(backend, size, at_points, None)[0], torch.zeros(size))
    between = one_lattice([0.5] * axes, [1.0] * axes, 7)
    assert drawn(backend, size, between, None).abs().max() > 0.1


@pytest.mark.parametrize("backend", BACKENDS)
def test_value_and_slope_are_continuous_over_the_border_of_a_cell(backend: str) -> None:
    step = 1e-3
    # 21 places from 0.01 before to 0.01 behind the border at 2.
    across = one_lattice([2.0 - 10 * step, 0.3], [step, 0.17], 9)
    noise = drawn(backend, (21, 30), across, None)[0].double()
    slope = noise.diff(dim=0) / step
    assert slope.abs().max() > 0.2
    assert noise.diff(dim=0).abs().max() < 2e-3
    # The fade's second derivative is bounded by 5.8: a slope moves by about that a unit.
    assert slope.diff(dim=0).abs().max() < 0.02


@pytest.mark.parametrize("axes", [2, 3])
def test_the_known_deviation_is_the_integral_over_a_cell(axes: int) -> None:
    t = (np.arange(100_000) + 0.5) / 100_000
    weight = 1 - t**3 * (t * (t * 6 - 15) + 10)
    variance = 2**axes * np.mean(weight**2) ** (axes - 1) * np.mean((weight * t) ** 2)
    assert np.sqrt(variance) == pytest.approx(UNIT_FIELD_SD[axes], abs=1e-6)


@pytest.mark.parametrize("size", [(96, 96), (28, 28, 28)])
@pytest.mark.parametrize("octaves", [1, 3])
def test_mean_is_zero_and_deviation_one(size: tuple[int, ...], octaves: int) -> None:
    noise = perlin(size, alike(128, len(size), 7.3, octaves))
    means = noise.flatten(1).mean(1)
    assert abs(float(means.mean())) < 4 * float(means.std()) / 128**0.5
    assert abs(float(noise.std()) - 1) < 0.03


@pytest.mark.parametrize("axes", [2, 3])
def test_gradients_have_the_moments_of_a_circle_or_a_sphere(axes: int) -> None:
    table = directions(axes).astype(np.float64)
    assert len(np.unique(table.round(5), axis=0)) == len(table) == {2: 16, 3: 32}[axes]
    np.testing.assert_allclose(np.linalg.norm(table, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(table.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(table.T @ table / len(table), np.eye(axes) / axes, atol=1e-6)
    fourth = np.einsum("ni,nj,nk,nl->ijkl", table, table, table, table) / len(table)
    one = np.eye(axes)
    pairs = (
        np.einsum("ij,kl->ijkl", one, one)
        + np.einsum("ik,jl->ijkl", one, one)
        + np.einsum("il,jk->ijkl", one, one)
    )
    np.testing.assert_allclose(fourth, pairs / (axes * (axes + 2)), atol=1e-6)


@pytest.mark.parametrize("axes", [2, 3])
def test_no_axis_is_preferred(axes: int) -> None:
    size = {2: (128, 128), 3: (32, 32, 32)}[axes]
    noise = perlin(size, alike(96, axes, 5.1, 2))[:, 0]
    steps = [float(noise.diff(n=1, dim=1 + axis).square().mean()) for axis in range(axes)]
    assert max(steps) / min(steps) < 1.08


def power_by_direction(noise: Tensor) -> Tensor:
    """Share of the power in sectors about 0, 22.5, 45 ... degrees, 1 where all are alike."""
    window = torch.hann_window(192, periodic=False).double()  # without it the rim draws a cross
    power = (torch.fft.fft2(noise.double() * window[:, None] * window).abs() ** 2).mean(0)
    frequency = torch.fft.fftfreq(192, 1 / 192)
    radius = (frequency[:, None] ** 2 + frequency[None] ** 2).sqrt()
    angle = torch.atan2(frequency[:, None], frequency[None].expand(192, 192)) % torch.pi
    shares = torch.zeros(8)
    for ring in range(3, 14):
        on_ring = (radius - ring).abs() < 0.5
        for sector in range(8):
            away = (angle - sector * torch.pi / 8 + torch.pi / 2) % torch.pi - torch.pi / 2
            inside = on_ring & (away.abs() < torch.pi / 16)
            shares[sector] += power[inside].mean() / power[on_ring].mean() / 11
    return shares


def test_directions_are_as_alike_as_the_lattice_lets_them() -> None:
    # One octave of Perlin noise favours the axes of its lattice, whatever its gradients; the
    # original's twelve directions are the measure.
    original = torch.tensor(
        [(1, 1), (-1, 1), (1, -1), (-1, -1), (1, 0), (-1, 0), (1, 0), (-1, 0)]
        + [(0, 1), (0, -1), (0, 1), (0, -1), (1, 0), (-1, 0), (0, -1), (0, 1)]
    ).float()
    octaves = octaves_of((192, 192), alike(200, 2, 6.0, 1))
    rng = torch.Generator().manual_seed(0)
    shape = (200, *octaves.points[:, 0].max(0).tolist())
    classic = original[torch.randint(0, 16, shape, generator=rng)]
    ours = power_by_direction(drawn("rows", (192, 192), octaves, None))
    theirs = power_by_direction(drawn("rows", (192, 192), octaves, [classic]))
    assert ours.max() / ours.min() < 1.1 * theirs.max() / theirs.min()
    # Neither axis, nor either diagonal, is preferred to the other.
    assert ours[0] / ours[4] == pytest.approx(1, abs=0.15)
    assert ours[2] / ours[6] == pytest.approx(1, abs=0.15)


def with_offsets(octaves: Octaves, offsets: NDArray[np.float64]) -> Octaves:
    """The same octaves, lattices moved to other offsets (B, O, D)."""
    start = offsets % 1 + 0.5 * octaves.step
    return replace(octaves, start=start, points=octaves.points + 1)


def test_where_one_octave_is_always_zero_the_others_are_not() -> None:
    four = octaves_of((96, 96), alike(400, 2, 12.0, 4))
    offsets = four.start - 0.5 * four.step
    powers = 2.0 ** np.arange(4)[:, None]
    own = offsets - offsets[:, :1] * powers  # what is left of an octave's offset at those points
    for left, low, high in ((own, 0.15, 0.35), (np.zeros_like(own), 0.0, 1e-9)):
        at_points = replace(
            four,
            start=left % 1,
            step=np.broadcast_to(powers, four.step.shape).copy(),
            points=np.full_like(four.points, 8 * 12 + 2),
        )
        noise = drawn("rows", (12, 12), at_points, None)
        # Here the first octave is 0; the other three have 0.25 of the variance elsewhere.
        assert low <= float(noise.square().mean()) <= high


def line_at_the_lattice(octaves: Octaves) -> float:
    """How far the spectrum of the variance, place by place over many fields, stands out at it."""
    variance = drawn("rows", (96, 96), octaves, None).double().square().mean(0).mean(1)
    power = torch.fft.rfft(variance - variance.mean()).abs() ** 2
    return float(power[[8, 16, 32]].max() / power[[5, 6, 7, 9, 10, 11]].mean())


def test_many_octaves_show_no_line_of_the_lattice_in_the_spectrum() -> None:
    octaves = octaves_of((96, 96), alike(1500, 2, 8.0, 4))
    assert line_at_the_lattice(octaves) < 20
    # With one offset for all fields and octaves it would be there to see.
    assert line_at_the_lattice(with_offsets(octaves, np.zeros_like(octaves.start))) > 1000


def test_no_place_varies_less_than_another() -> None:
    deviation = perlin((48, 48), alike(4000, 2, 4.0, 4))[:, 0].std(0)
    assert deviation.min() > 0.9
    assert deviation.max() < 1.1
