"""The Perlin field that lesions are made of, by whichever backend suits the device."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from covidssl.errors import UsageError
from covidssl.perlin import fused, product, reference, rows
from covidssl.perlin.lattice import Field, octaves_of

Backend = Literal["auto", "rows", "fused", "product", "reference"]
"""`rows` is compiled by numba for a CPU, `fused` by Triton for a GPU, `product` is plain torch,
`reference` the `noise` package, slow and with gradients of its own; `auto` takes the first of
these that the machine has for the device, `reference` never."""


def perlin(
    size: tuple[int, ...],
    field: Field,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype = torch.float32,
    backend: Backend = "auto",
) -> Tensor:
    """Fractal improved Perlin noise, (B, 1, *size), of mean 0 and standard deviation 1.

    Both hold over many fields; one that shows less than a cell or two may be far from them.
    A field has the same bits whatever batch it is drawn in; from one backend to another it is the
    same field within 1e-5 (`reference` draws others of the same kind).

    Args:
        size: pixels along each axis, (y, x) or (z, y, x); need not be divisible by anything.
        field: what to draw.
        device: where the noise is to be; None for where the field is.
        dtype: of the result; it is computed in float32.
        backend: how it is computed.

    Raises:
        ValueError: for a field that cannot be.
        UsageError: for a backend that is unknown, or not at hand for this device.

    Source: K. Perlin, "Improving noise", SIGGRAPH 2002.
    """
    place = field.seed.device if device is None else torch.device(device)
    octaves = octaves_of(size, field)
    chosen = backend_for(place, backend)
    if chosen == "rows":
        noise = rows.draw(size, octaves)
    elif chosen == "fused":
        noise = fused.draw(size, octaves, place)
    elif chosen == "reference":
        noise = reference.draw(size, octaves)
    else:
        noise = product.draw(size, octaves, place)
    return noise[:, None].to(device=place, dtype=dtype)


def cells_across(size: tuple[int, ...], spacing_mm: Tensor, feature_mm: Tensor) -> Tensor:
    """Lattice cells across a picture for features of a given size, (B, D) float64.

    Args:
        size: pixels along each axis.
        spacing_mm: (B, D) size of a pixel along each axis.
        feature_mm: (B,) edge of a cell of the first octave, or (B, D) one for each axis.
    """
    extent = spacing_mm.double() * torch.tensor(size, device=spacing_mm.device)
    edge = feature_mm.double().to(spacing_mm.device)
    return extent / (edge if edge.ndim == 2 else edge[:, None])


def backend_for(device: torch.device, backend: Backend = "auto") -> Backend:
    """The backend that draws on a device.

    Raises:
        UsageError: when the one that was asked for is not at hand, or is for another device.
    """
    known = get_args(Backend)
    if backend not in known:
        raise UsageError(f"There is no Perlin backend '{backend}': known are {', '.join(known)}.")
    if backend == "auto":
        if device.type == "cuda" and fused.at_hand():
            return "fused"
        return "rows" if device.type == "cpu" and rows.at_hand() else "product"
    missing = {
        "rows": "" if rows.at_hand() else "needs numba",
        "fused": "" if fused.at_hand() else "needs CUDA and Triton, which comes with torch for it",
        "reference": "" if reference.at_hand() else "needs the package noise (extra 'reference')",
    }.get(backend, "")
    right = {"rows": "cpu", "fused": "cuda"}.get(backend, device.type)
    if not missing and device.type != right:
        missing = f"draws on '{right}', not on '{device.type}'"
    if missing:
        raise UsageError(f"The Perlin backend '{backend}' {missing}; 'auto' takes what is there.")
    return backend
