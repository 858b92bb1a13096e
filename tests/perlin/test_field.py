"""What a training run relies on: keyed, the same in any batch, with errors that say why."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from covidssl.errors import UsageError
from covidssl.perlin import Backend, Field, backend_for, cells_across, perlin, rows
from covidssl.perlin.lattice import gradients_of, octaves_of
from tests.perlin.draws import alike, fields

SIZES = [(48, 37), (9, 21, 18)]
BACKENDS: list[Backend] = ["rows", "product"]


def row(field: Field, index: int) -> Field:
    return Field(*(values[index : index + 1] for values in field))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size", SIZES)
def test_a_field_has_the_same_bits_in_any_batch(backend: Backend, size: tuple[int, ...]) -> None:
    field = fields(7, len(size), seed=1)
    together = perlin(size, field, backend=backend)
    for index in range(7):
        assert torch.equal(perlin(size, row(field, index), backend=backend)[0], together[index])


@pytest.mark.parametrize("size", [(900, 1200), (70, 120, 130)])
def test_a_field_has_the_same_bits_with_any_number_of_threads(size: tuple[int, ...]) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = [perlin(size, fields(batch, len(size)), backend="rows") for batch in (1, 3)]
        torch.set_num_threads(3)
        assert len(rows._pieces(1, size)) > 1
        many = [perlin(size, fields(batch, len(size)), backend="rows") for batch in (1, 3)]
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(one, many, strict=True))


@pytest.mark.parametrize("batch", [0, 1, 5])
@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_pieces_of_the_work_cover_every_line_once(batch: int, threads: int) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        drawn = np.zeros((batch, 1000), int)
        for begin, end, low, high in rows._pieces(batch, (1000, 4000)):
            drawn[begin:end, low:high] += 1
    finally:
        torch.set_num_threads(before)
    assert (drawn == 1).all()


def test_fields_may_be_drawn_from_several_threads_at_once() -> None:
    field = fields(4, 2)
    expected = perlin((300, 300), field)
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: perlin((300, 300), field), range(8)))
    assert all(torch.equal(one, expected) for one in drawn)


def test_the_compiled_kernel_lets_go_of_the_interpreter() -> None:
    from covidssl.perlin.row_kernels import draw_fields

    assert draw_fields.targetoptions["nogil"]


@pytest.mark.parametrize("backend", [*BACKENDS, "reference"])
def test_a_seed_is_all_that_differs(backend: Backend) -> None:
    if backend == "reference":
        pytest.importorskip("noise")
    noise = perlin((16, 16), alike(3, 2, 3.0, 2), backend=backend)
    assert torch.equal(noise, perlin((16, 16), alike(3, 2, 3.0, 2), backend=backend))
    assert not torch.equal(noise[0], noise[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_the_result_has_the_dtype_asked_for(dtype: torch.dtype) -> None:
    noise = perlin((20, 20), alike(2, 2, 3.0, 3), dtype=dtype)
    assert noise.dtype == dtype
    assert noise.shape == (2, 1, 20, 20)
    torch.testing.assert_close(
        noise.float(), perlin((20, 20), alike(2, 2, 3.0, 3)), atol=0.02, rtol=0
    )


def test_an_empty_batch_gives_an_empty_result() -> None:
    assert perlin((8, 8), alike(0, 2, 3.0, 2)).shape == (0, 1, 8, 8)


def test_octaves_finer_than_the_pixels_are_left_out() -> None:
    wanted = alike(1, 2, 10.0, 2)
    too_many = wanted._replace(octaves=torch.tensor([9]))
    assert octaves_of((24, 24), too_many).count.tolist() == [2]
    assert torch.equal(perlin((24, 24), wanted), perlin((24, 24), too_many))


def test_a_field_zooms_with_its_cells() -> None:
    coarse = fields(1, 2)._replace(cells=torch.tensor([[3.0, 4.0]]), octaves=torch.tensor([1]))
    fine = perlin((120, 160), coarse)[0, 0]
    half = perlin((60, 80), coarse)[0, 0]
    means = fine.reshape(60, 2, 80, 2).mean((1, 3))
    torch.testing.assert_close(means, half, atol=0.02, rtol=0)


def test_cells_follow_the_size_of_a_pixel_in_mm() -> None:
    spacing = torch.tensor([[2.0, 0.5], [1.0, 1.0]])
    cells = cells_across((50, 100), spacing, torch.tensor([10.0, 20.0]))
    assert cells.tolist() == [[10.0, 5.0], [2.5, 5.0]]
    both = cells_across((50, 100), spacing, torch.tensor([[10.0, 5.0], [20.0, 20.0]]))
    assert both.tolist() == [[10.0, 10.0], [2.5, 5.0]]


def test_a_larger_lattice_continues_a_smaller_one() -> None:
    small, large = (octaves_of(size, alike(1, 2, 5.0, 1)) for size in ((30, 30), (30, 30)))
    large = replace(large, points=large.points + 4)
    inner = gradients_of(small)[0]
    assert torch.equal(gradients_of(large)[0][:, : inner.shape[1], : inner.shape[2]], inner)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": torch.zeros(2, 2)}, "cells must be more than 0 and at most"),
        ({"cells": torch.full((2, 2), torch.nan)}, "cells must be more than 0"),
        ({"cells": torch.full((2, 2), 1e19)}, r"cells must be .* at most \[64 64\]"),
        ({"cells": torch.ones(2, 3)}, r"cells must be \(2, 2\)"),
        ({"octaves": torch.tensor([0, 1])}, "octaves must be more than 0 and at most 32"),
        ({"octaves": torch.tensor([1])}, r"octaves must be \(2,\)"),
        ({"octaves": torch.tensor([1.0, 2.5])}, "octaves must be whole numbers"),
        ({"seed": torch.tensor([1.0, 2.0])}, "seed must be whole numbers"),
        ({"seed": torch.tensor(3)}, r"seed must be \(B,\)"),
        ({"lacunarity": torch.tensor([1.0, 2.0])}, "lacunarity must be more than 1"),
        ({"persistence": torch.tensor([[0.5, 0.5]])}, "persistence must be"),
        ({"persistence": torch.tensor([-0.5, 0.5])}, "persistence must be more than 0"),
        ({"persistence": torch.tensor([1e30, 0.5])}, "persistence must be .* at most 16"),
    ],
)
def test_a_field_that_cannot_be_is_refused(change: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        perlin((8, 8), alike(2, 2, 3.0, 2)._replace(**change))


@pytest.mark.parametrize("size", [(8,), (2, 2, 2, 2), (0, 8), ()])
def test_a_size_that_cannot_be_is_refused(size: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="2 or 3 axes"):
        perlin(size, alike(1, 2, 3.0, 2))


def test_a_backend_for_another_device_is_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError, match="'fused'.*'auto'"):
        perlin((8, 8), alike(1, 2, 3.0, 2), backend="fused")
    with pytest.raises(UsageError, match="'rows'.*not on 'meta'"):
        backend_for(torch.device("meta"), "rows")


def test_an_unknown_backend_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no Perlin backend 'numba': known are auto, rows"):
        perlin((8, 8), alike(1, 2, 3.0, 2), backend="numba")  # type: ignore[arg-type]


def test_a_field_may_come_in_any_float_and_with_a_gradient() -> None:
    field = alike(2, 2, 3.0, 2)
    half = field._replace(persistence=field.persistence.bfloat16(), cells=field.cells.half())
    assert torch.equal(perlin((8, 8), half), perlin((8, 8), field))
    watched = field._replace(cells=field.cells.clone().requires_grad_())
    assert torch.equal(perlin((8, 8), watched), perlin((8, 8), field))


def test_the_largest_persistence_still_gives_a_deviation_of_1() -> None:
    loud = alike(64, 2, 3.0, 6)._replace(persistence=torch.full((64,), 16.0))
    assert float(perlin((96, 96), loud).std()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_change_of_the_batch_by_a_field_of_many_octaves_changes_no_bit(backend: Backend) -> None:
    field = alike(2, 2, 1.5, 6)._replace(
        octaves=torch.tensor([6, 12]), lacunarity=torch.full((2,), 1.3)
    )
    both = perlin((64, 64), field, backend=backend)
    assert torch.equal(perlin((64, 64), row(field, 0), backend=backend)[0], both[0])


def test_without_numba_the_plain_product_draws_the_field(monkeypatch: pytest.MonkeyPatch) -> None:
    field = fields(2, 2)
    compiled = perlin((20, 20), field)
    monkeypatch.setattr(rows, "at_hand", lambda: False)
    assert backend_for(torch.device("cpu")) == "product"
    torch.testing.assert_close(perlin((20, 20), field), compiled, atol=1e-5, rtol=0)
    with pytest.raises(UsageError, match="needs numba"):
        perlin((20, 20), field, backend="rows")


@pytest.mark.parametrize("name", ["rows", "product", "reference"])
def test_every_backend_has_mean_0_and_deviation_1(name: Backend) -> None:
    if name == "reference":
        pytest.importorskip("noise")
    batch, size = (8, (40, 40)) if name == "reference" else (64, (96, 96))
    noise = perlin(size, alike(batch, 2, 9.0, 3), backend=name)
    assert abs(float(noise.mean())) < 0.06
    assert abs(float(noise.std()) - 1) < 0.1
