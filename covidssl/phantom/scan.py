"""A whole chest CT from a seed, with its lungs and its lesions known to the voxel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covidssl.hounsfield import Pixels
from covidssl.phantom.anatomy import Build, draw_build, paint_body, paint_mediastinum
from covidssl.phantom.canvas import Canvas
from covidssl.phantom.disease import (
    draw_patches,
    match_mean_density,
    paint_lung_tissue,
    paint_patches,
)
from covidssl.phantom.vessels import paint_vessels
from covidssl.randomness import numpy_generator
from covidssl.volume import Volume

SHAPE = (14, 144, 144)
SPACING_MM = (8.0, 2.4, 2.4)


@dataclass(frozen=True)
class PhantomScan:
    """A phantom and the truth about it.

    Attributes:
        ct: int16 HU, upright, shape (Z, Y, X).
        lungs: mask of the lungs, vessels and lesions in them included, airways outside them not.
        lesion: (Z, Y, X) bool, where a lesion fills half of a voxel or more.
    """

    ct: Volume
    lungs: Volume
    lesion: NDArray[np.bool_]


def phantom_chest(
    seed: int,
    lesions: bool,
    shape: tuple[int, int, int] = SHAPE,
    spacing_mm: tuple[float, float, float] = SPACING_MM,
) -> PhantomScan:
    """A chest CT made from shapes and noise; about a tenth of a second at the default shape.

    The body depends on the seed alone, so that the two classes of one seed are one person. Mean
    lung density has one distribution in both classes, see `covidssl.phantom.disease`.

    Args:
        seed: a non-negative number.
        lesions: the class: soft irregular patches, or a diffuse haze instead.
        shape: slices, rows and columns; the chest fills the picture whatever its size.
        spacing_mm: voxel size (z, y, x).
    """
    rng = numpy_generator(seed, 0)
    canvas = Canvas.empty(shape, spacing_mm)
    build = draw_build(rng, min(shape[1] * spacing_mm[1] * 1.25, shape[2] * spacing_mm[2]))
    chest = paint_body(canvas, build, rng)
    paint_lung_tissue(canvas, chest.lungs, rng)
    paint_mediastinum(canvas, build, chest)
    _paint_vessels_in(canvas, chest.lungs, chest.hila, build, rng)
    lesion = np.zeros(shape, dtype=bool)
    ill = numpy_generator(seed, 1, int(lesions))
    if lesions:
        patches = draw_patches(canvas, chest.lungs, chest.cage, ill)
        paint_patches(canvas, patches, ill)
        lesion = (np.maximum(patches.ground_glass, patches.dense) >= 0.5) & (chest.lungs > 0.5)
    match_mean_density(canvas, chest.lungs, ill)
    _paint_table(canvas, build)
    _add_noise(canvas, numpy_generator(seed, 2, int(lesions)))
    ct = _volume(canvas, f"phantom-{seed}")
    return PhantomScan(ct, ct.mask(chest.lungs > 0.5), lesion)


def _paint_vessels_in(
    canvas: Canvas,
    lungs: NDArray[np.float32],
    hila: tuple[tuple[float, float, float], ...],
    build: Build,
    rng: np.random.Generator,
) -> None:
    """Vessels are grown freely and kept where there is lung."""
    before = canvas.hu.copy()
    roots = tuple(np.array(root) for root in hila)
    paint_vessels(canvas, roots, build.blood_hu, rng)
    canvas.hu = before + lungs * (canvas.hu - before)


def _paint_table(canvas: Canvas, build: Build) -> None:
    """A curved table under the back: a thin shell about foam."""
    top = build.half_depth + 4.0 - 0.0006 * canvas.x * canvas.x
    depth = np.minimum(canvas.y - top, 22.0 - (canvas.y - top)) + 0 * canvas.z
    depth = np.minimum(depth, build.half_width * 1.02 - np.abs(canvas.x)).astype(np.float32)
    free = canvas.hu < -700
    for level, hu in ((depth, -150.0), (depth - 2.5, -930.0)):
        canvas.blend(canvas.cover(level) * free, hu)


def _add_noise(canvas: Canvas, rng: np.random.Generator) -> None:
    """Scanner noise, correlated over about a pixel within a slice."""
    white = rng.standard_normal(canvas.hu.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(white, (0, 0.55, 0.55), truncate=2.0)
    canvas.hu += noise * np.float32(rng.uniform(12, 30) / noise.std())


def _volume(canvas: Canvas, source: str) -> Volume:
    dz, dy, dx = canvas.spacing_mm
    affine = np.diag([dx, dy, dz, 1.0])
    affine[:3, 3] = canvas.x[0, 0, 0], canvas.y[0, 0, 0], canvas.z[0, 0, 0]
    hu = np.clip(np.rint(canvas.hu), -1024, 3071).astype(np.int16)
    return Volume(hu, Pixels.HU, canvas.spacing_mm, affine, source)
