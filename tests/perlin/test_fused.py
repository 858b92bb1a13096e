"""The fused kernel draws the fields of the other backends.

Without a GPU it runs in Triton's interpreter, in a process of its own: Triton asks whether to
interpret when it is imported.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from covidssl.perlin import Field, fused, perlin, product, reference, rows
from covidssl.perlin.lattice import UNIT_FIELD_SD, Octaves, gradients_of, octaves_of
from tests.perlin.draws import CPU, alike, fields, one_lattice

on_a_gpu = pytest.mark.gpu

Interpreted = Callable[..., Any]


def _interpret() -> None:
    os.environ["TRITON_INTERPRET"] = "1"
    torch.set_num_threads(1)


def _loaded() -> list[str]:
    return list(sys.modules)


def _draw(size: tuple[int, ...], octaves: Octaves, given: list[Any] | None = None) -> Any:
    # Arrays travel between processes as plain bytes, tensors through shared memory.
    lattices = None if given is None else [torch.from_numpy(lattice) for lattice in given]
    return fused.draw(size, octaves, CPU, lattices).numpy()


def _gradients(size: tuple[int, ...], octaves: Octaves) -> Any:
    return fused.prepare(size, octaves, CPU).gradients.numpy()


@pytest.fixture(scope="module")
def interpreted() -> Iterator[Interpreted]:
    """Calls a function where Triton interprets its kernels."""
    if importlib.util.find_spec("triton") is None:
        pytest.skip("needs Triton")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=_interpret) as pool:
        assert "triton" not in pool.submit(_loaded).result(), "a plain import loads Triton"
        try:
            pool.submit(_draw, (1, 1), octaves_of((1, 1), alike(1, 2, 1.0, 1))).result()
        except Exception as error:
            if "only 0-dimensional arrays" in str(error):
                pytest.skip("this Triton's interpreter is older than this numpy")
            raise
        yield lambda function, *args: pool.submit(function, *args).result()


def other(name: str, size: tuple[int, ...], octaves: Octaves) -> Tensor:
    return rows.draw(size, octaves) if name == "rows" else product.draw(size, octaves, CPU)


@pytest.mark.parametrize(
    "size",
    [
        pytest.param((1, 1), id="one pixel"),
        pytest.param((33, 40), id="a line more than whole tiles"),
        pytest.param((16, 128), id="a whole tile"),
        pytest.param((7, 131), id="two tiles across"),
        pytest.param((1, 1, 1), id="one voxel"),
        pytest.param((8, 8, 32), id="a whole deep tile"),
        pytest.param((9, 10, 21), id="a plane more than whole tiles"),
        pytest.param((2, 17, 67), id="two deep tiles across"),
    ],
)
def test_fields_of_mixed_scale_and_octaves_are_those_of_the_other_backends(
    interpreted: Interpreted, size: tuple[int, ...]
) -> None:
    octaves = octaves_of(size, fields(3, len(size), seed=sum(size)))
    ours = torch.from_numpy(interpreted(_draw, size, octaves))
    names = ["product", "rows"] if rows.at_hand() else ["product"]
    for name in names:
        torch.testing.assert_close(ours, other(name, size, octaves), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(19, 24), (6, 10, 12)])
def test_a_lattice_as_fine_as_the_pixels_is_drawn_too(
    interpreted: Interpreted, size: tuple[int, ...]
) -> None:
    cells = torch.tensor([[float(n) for n in size], [0.4] * len(size)])
    field = alike(2, len(size), 1.0, 4)._replace(cells=cells)
    octaves = octaves_of(size, field)
    ours = torch.from_numpy(interpreted(_draw, size, octaves))
    torch.testing.assert_close(ours, other("product", size, octaves), atol=1e-5, rtol=0)


@pytest.mark.parametrize("axes", [2, 3])
def test_gradients_are_those_of_the_lattice_bit_for_bit(
    interpreted: Interpreted, axes: int
) -> None:
    size = (30, 45, 20)[:axes]
    octaves = octaves_of(size, fields(3, axes, seed=4))
    found = interpreted(_gradients, size, octaves)
    begin = 0
    expected = gradients_of(octaves)
    for b, count in enumerate(octaves.count):
        for o in range(count):
            points = octaves.points[b, o]
            here = found[begin : begin + points.prod(), :axes].reshape(*points, axes)
            there = expected[o][b][tuple(slice(n) for n in points)]
            np.testing.assert_array_equal(here, there.numpy())
            begin += int(points.prod())
    assert begin == len(found)


@pytest.mark.parametrize("axes", [2, 3])
def test_with_the_gradients_of_the_reference_it_draws_the_fields_of_the_reference(
    interpreted: Interpreted, axes: int
) -> None:
    pytest.importorskip("noise")
    size = (17, 23, 9)[:axes]
    octaves = octaves_of(size, fields(3, axes, cells=(1.5, 3.0)))
    given = [lattice.numpy() for lattice in reference.gradients(octaves)]
    ours = torch.from_numpy(interpreted(_draw, size, octaves, given))
    # 1e-5 of the noise itself; a field is scaled from its deviation to 1.
    tolerance = 1e-5 / UNIT_FIELD_SD[axes]
    torch.testing.assert_close(ours, reference.draw(size, octaves), atol=tolerance, rtol=0)


def one(field: Field, b: int) -> Field:
    return Field(*(values[b : b + 1] for values in field))


@pytest.mark.parametrize("size", [(18, 35), (3, 9, 33)])
def test_a_field_has_the_same_bits_alone_as_in_a_batch(
    interpreted: Interpreted, size: tuple[int, ...]
) -> None:
    batch = fields(3, len(size), seed=11)
    together = interpreted(_draw, size, octaves_of(size, batch))
    for b in range(3):
        alone = interpreted(_draw, size, octaves_of(size, one(batch, b)))
        np.testing.assert_array_equal(alone[0], together[b])


def test_no_fields_are_an_empty_batch(interpreted: Interpreted) -> None:
    none = octaves_of((4, 5), Field(*(values[:0] for values in fields(2, 2))))
    assert interpreted(_draw, (4, 5), none).shape == (0, 4, 5)


def test_a_lattice_of_more_points_than_it_can_number_is_refused(interpreted: Interpreted) -> None:
    huge = one_lattice([0.3, 0.3], [2e7, 0.2], 10**8)
    with pytest.raises(ValueError, match="points along an axis"):
        interpreted(_draw, (4, 4), huge)


@on_a_gpu
@pytest.mark.parametrize("size", [(1, 1), (512, 512), (67, 300), (1, 1, 1), (65, 70, 130)])
def test_on_a_gpu_fields_are_those_of_the_product(size: tuple[int, ...]) -> None:
    octaves = octaves_of(size, fields(4, len(size), seed=3))
    ours = fused.draw(size, octaves, torch.device("cuda")).cpu()
    torch.testing.assert_close(ours, other("product", size, octaves), atol=1e-5, rtol=0)


@on_a_gpu
@pytest.mark.parametrize("size", [(130, 200), (20, 33, 70)])
def test_on_a_gpu_a_field_has_the_same_bits_alone_as_in_a_batch(size: tuple[int, ...]) -> None:
    batch = fields(5, len(size), seed=11)
    together = perlin(size, batch, device="cuda", backend="fused")
    for b in range(5):
        alone = perlin(size, one(batch, b), device="cuda", backend="fused")
        assert torch.equal(alone[0], together[b])


@on_a_gpu
def test_a_gpu_draws_with_the_fused_kernel_without_being_asked() -> None:
    field = fields(3, 2)
    noise = perlin((64, 64), field, device="cuda")
    assert noise.device.type == "cuda"
    assert torch.equal(noise, perlin((64, 64), field, device="cuda", backend="fused"))


@on_a_gpu
def test_drawing_never_waits_for_the_gpu_and_needs_little_memory() -> None:
    size, device = (512, 512), torch.device("cuda")
    octaves = octaves_of(size, alike(32, 2, 8.0, 4))
    fused.draw(size, octaves, device)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    torch.cuda.set_sync_debug_mode("error")
    try:
        noise = fused.draw(size, octaves, device)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.cuda.max_memory_allocated() - before < 1.5 * noise.nbytes
