"""From clean pictures, their lungs and a draw to pictures with pseudo-lesions; nothing random here.

Ground glass is air replaced by fluid: density is added in proportion to the air in the voxel, so
that vessels and walls stay to be seen. Consolidation leaves no air: the voxel is blended towards
one density, and what was in it is hidden, at the pleura a little beyond the lung too.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from covidssl.lesions.densities import (
    add_ground_glass,
    dense_core,
    fade,
    lay_dense,
    lay_mesh,
    with_haze,
)
from covidssl.lesions.fields import outline_field, texture_field
from covidssl.lesions.outlines import KindFoci, ellipses, foci_of, level_mm
from covidssl.lesions.params import LesionParams
from covidssl.lesions.places import centres
from covidssl.lesions.ranges import CONSOLIDATION, CRAZY_PAVING, KINDS, MOST_OCTAVES, REVERSED_HALO
from covidssl.lesions.scene import Scene, lay_out, wide
from covidssl.perlin import Backend

_CELLS_A_DEVIATION = 0.3
"""Depth that a standard deviation of one thresholded octave stands for, in cells of the field."""

_ABSENT = -1.0e6


class Rendered(NamedTuple):
    """What the network sees and where it was changed; both of the clean pictures' shape, float32.

    Attributes:
        corrupted_hu: the pictures with pseudo-lesions, HU.
        lesion_map: share of the lesion in each voxel, 0 to 1, exactly 0 outside the lungs, but for
            what dense lesions raised within `swallow_mm` or two voxels of them.
    """

    corrupted_hu: Tensor
    lesion_map: Tensor


def render(
    clean_hu: Tensor,
    lungs: Tensor,
    params: LesionParams,
    voxel_mm: Tensor,
    backend: Backend = "auto",
) -> Rendered:
    """Lay the pseudo-lesions of `params` into the lungs of `clean_hu`, on its device.

    Voxels without lesion, and pictures whose draw is clean or whose lungs are empty, keep their
    HU exactly; ground glass never lowers a voxel. The inputs are not changed. A picture comes out
    the same to the last bit whatever batch it is in, under autocast too.

    Args:
        clean_hu: (B, 1, Y, X) slices or (B, 1, Z, Y, X) volumes from the feet to the head, HU;
            float16, bfloat16 and float64 are converted to the float32 of the result.
        lungs: of the same shape, bool, or numbers of which more than 0.5 is lung.
        params: B draws; kept on the CPU they spare a GPU the waiting, as `voxel_mm` does.
        voxel_mm: (B, 2) or (B, 3) size of a voxel along each axis in mm.
        backend: what computes the Perlin fields.

    Raises:
        TypeError: when `clean_hu` does not hold floating-point numbers.
        ValueError: when the shapes do not fit each other, or a draw or voxel size cannot be.
    """
    _check(clean_hu, lungs, params, voxel_mm)
    corrupted = clean_hu.to(torch.float32, copy=True)
    lesion_map = torch.zeros_like(corrupted)
    if bool((params.foci > 0).any()):
        # What surrounds a training step is not to decide how exactly lesions are drawn.
        with torch.autocast(clean_hu.device.type, enabled=False):
            inside = lungs[:, 0] if lungs.dtype == torch.bool else lungs[:, 0] > 0.5
            scene = lay_out(inside, params, voxel_mm)
            hu, alpha = _drawn(corrupted[:, 0][scene.box], inside, scene, backend)
            corrupted[:, 0][scene.box], lesion_map[:, 0][scene.box] = hu, alpha
    return Rendered(corrupted, lesion_map)


def _drawn(clean: Tensor, inside: Tensor, scene: Scene, backend: Backend) -> tuple[Tensor, Tensor]:
    """HU with lesions and the lesion map, over the scene's box; `clean` is not changed."""
    levels, pattern = _levels(inside, scene, backend)
    nearest = torch.full(scene.inside.shape, _ABSENT, device=inside.device)
    for foci, level in levels.values():
        deeper = nearest[foci.rows]
        nearest[foci.rows] = torch.maximum(deeper, level, out=deeper)
    alpha = fade(nearest, wide(scene.params.edge_mm, scene)).mul_(scene.inside)
    alpha = with_haze(alpha, nearest, scene)
    texture = texture_field(scene, backend)
    hu = add_ground_glass(clean, alpha, texture, scene)
    for kind, (foci, level) in levels.items():
        if kind == CRAZY_PAVING:
            edge = wide(scene.params.edge_mm[foci.rows], scene)
            share = fade(level, edge).mul_(scene.inside[foci.rows])
            lay_mesh(hu, share, foci.rows, scene)
    for kind in (CONSOLIDATION, REVERSED_HALO):
        if kind in levels:
            foci, level = levels[kind]
            core = dense_core(kind, level, pattern, foci.rows, scene)
            lay_dense(hu, alpha, core, texture, foci.rows, scene)
    return hu, alpha


def _check(clean_hu: Tensor, lungs: Tensor, params: LesionParams, voxel_mm: Tensor) -> None:
    if clean_hu.ndim not in (4, 5) or clean_hu.shape[1] != 1 or lungs.shape != clean_hu.shape:
        raise ValueError(
            "render needs pictures and lungs of one shape (B, 1, Y, X) or (B, 1, Z, Y, X), got "
            f"{tuple(clean_hu.shape)} and {tuple(lungs.shape)}."
        )
    if 0 in clean_hu.shape[2:]:
        raise ValueError(
            f"render needs pictures of at least one voxel along each axis, got a clean_hu of "
            f"{tuple(clean_hu.shape)}."
        )
    if not clean_hu.is_floating_point():
        raise TypeError(
            f"render needs floating-point HU such as float32, got a clean_hu of {clean_hu.dtype}."
        )
    batch, axes = clean_hu.shape[0], clean_hu.ndim - 2
    if len(params.seed) != batch or voxel_mm.shape != (batch, axes):
        raise ValueError(
            f"render needs {batch} draws and voxel sizes ({batch}, {axes}) for {batch} pictures, "
            f"got {len(params.seed)} draws and voxel sizes {tuple(voxel_mm.shape)}."
        )
    _check_numbers(params, voxel_mm)


def _check_numbers(params: LesionParams, voxel_mm: Tensor) -> None:
    mm = voxel_mm.to("cpu", torch.float32)
    wrong = mm[~((mm > 0) & (mm < torch.inf))]
    if len(wrong):
        raise ValueError(
            f"voxel_mm: the size of a voxel in mm must be above 0 and finite, got {wrong[0]:g}."
        )
    floats = [values.flatten() for values in params if values.is_floating_point()]
    # All at once: one by one they would take as long as a small picture.
    if not bool(torch.isfinite(torch.cat(floats)).all()):
        for name, values in params._asdict().items():
            if not bool(torch.isfinite(values).all()):
                raise ValueError(f"params.{name}: the numbers of a draw must be finite.")


def _levels(
    inside: Tensor, scene: Scene, backend: Backend
) -> tuple[dict[int, tuple[KindFoci, Tensor]], Tensor | None]:
    """For each kind that occurs, how far (mm) voxels lie inside its foci's outlines.

    Then how far they lie inside what the threshold keeps, (B, ...); None where it keeps all.
    """
    device, draws = inside.device, scene.draws
    voxel_mm = scene.mm.to(device)
    centre_mm = centres(inside, scene.params, voxel_mm) * voxel_mm[:, None]
    forms = ellipses(draws).to(device)
    levels = {}
    for kind in range(len(KINDS)):
        foci = foci_of(draws, kind)
        if foci is not None:
            foci = KindFoci(foci.rows.to(device), [c.to(device) for c in foci.columns])
            levels[kind] = foci, level_mm(scene.axes, centre_mm, forms, foci)
    return levels, _distort(levels, scene, backend) if levels else None


def _distort(
    levels: dict[int, tuple[KindFoci, Tensor]], scene: Scene, backend: Backend
) -> Tensor | None:
    """Move outlines by the outline's field, and cut from foci what its threshold leaves out.

    A reversed halo keeps its outline: a cut one would be ringed all about again. What is left out
    of it, see `_levels`, is a part of its ring.
    """
    draws, device = scene.draws, scene.inside.device
    is_cut = bool((draws.coverage < 1).any())
    if not is_cut and not bool((draws.outline_roughness > 0).any()):
        return None
    field = outline_field(scene, backend)
    # In proportion to the cell, not the radius: the steepness of the edge then stays bounded.
    distortion = field * wide((draws.outline_roughness * draws.feature_mm).to(device), scene)
    depth = wide(_mm_a_deviation(draws).to(device), scene)
    quantile = torch.special.ndtri(draws.coverage.double()).float().to(device)
    pattern = field.add_(wide(quantile, scene)).mul_(depth) if is_cut else None
    for kind, (foci, level) in levels.items():
        level.add_(distortion[foci.rows])
        if pattern is not None and kind != REVERSED_HALO:
            torch.minimum(level, pattern[foci.rows], out=level)
    return pattern


def _mm_a_deviation(draws: LesionParams) -> Tensor:
    """Depth in mm that a standard deviation of the outline's field stands for, (B,).

    Further octaves make a field steeper, so that its threshold's border would be sharper than
    `edge_mm` says: the slope of octave k is (persistence x lacunarity)^k of the first's.
    """
    octave = torch.arange(MOST_OCTAVES)
    wanted = octave < draws.octaves[:, None]
    height = draws.persistence[:, None] ** octave
    slope = height * draws.lacunarity[:, None] ** octave
    steepness = ((slope * wanted).square().sum(1) / (height * wanted).square().sum(1)).sqrt()
    return draws.feature_mm * _CELLS_A_DEVIATION / steepness
