"""What is in the lungs of the two classes; by no means the Perlin engine, which must generalise.

Both classes get the same distribution of mean lung density: patches in the one, a diffuse haze in
both that makes up the difference. What tells them apart is where the density is, not how much.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from covidssl.phantom.canvas import Array, Canvas

AERATED_HU = -865.0
MEAN_LUNG_HU = (-795.0, 18.0)
"""Mean and standard deviation over patients of the mean over the lungs, in either class."""


class Patches(NamedTuple):
    """Lesions on the phantom's grid, (Z, Y, X) float32 shares from 0 to 1."""

    ground_glass: Array
    dense: Array


def smooth_field(canvas: Canvas, scale_mm: float, rng: np.random.Generator) -> Array:
    """Gaussian noise smoothed over `scale_mm`, (Z, Y, X), mean 0 and standard deviation 1."""
    sigma = [scale_mm / step for step in canvas.spacing_mm]
    white = rng.standard_normal(canvas.hu.shape, dtype=np.float32)
    field = ndimage.gaussian_filter(white, sigma, mode="wrap", truncate=2.5)
    return np.asarray(field / field.std(), dtype=np.float32)


def draw_patches(
    canvas: Canvas, lungs: Array, cage: tuple[Array, Array], rng: np.random.Generator
) -> Patches:
    """Irregular patches that prefer the lungs' surface, their lower part and their back."""
    inside = lungs > 0.5
    field = smooth_field(canvas, rng.uniform(8, 15), rng)
    field += 0.35 * smooth_field(canvas, 4.0, rng)
    depth = np.clip(canvas.ellipse((0.0, 0.0), cage) / 45, 0, 1)
    back = canvas.y / np.float32(np.abs(canvas.y).max())
    score = field - 1.8 * depth - 0.8 * canvas.height() + 0.7 * back
    within = score[inside]
    outer = np.quantile(within, 1 - rng.uniform(0.06, 0.2)) if within.size else 0.0
    core = np.quantile(within, 1 - rng.uniform(0.005, 0.03)) if within.size else 0.0
    softness = rng.uniform(0.12, 0.25)
    glass = _soft(score, outer, softness) * lungs
    dense = _soft(score, core, softness / 2) * lungs * (rng.uniform() < 0.5)
    return Patches(glass.astype(np.float32), dense.astype(np.float32))


def paint_lung_tissue(canvas: Canvas, lungs: Array, rng: np.random.Generator) -> None:
    """Aerated lung, a little denser towards the back, with the grain of what is not resolved."""
    down = canvas.y / np.float32(np.abs(canvas.y).max())
    tissue = AERATED_HU + rng.uniform(5, 30) * down + 14 * smooth_field(canvas, 3.0, rng)
    canvas.blend(lungs, tissue.astype(np.float32))


def paint_patches(canvas: Canvas, patches: Patches, rng: np.random.Generator) -> None:
    """Ground glass fills air with fluid; the dense part of a patch leaves no air."""
    air = np.clip(canvas.hu / -1000, 0, 1)
    grain = 1 + 0.2 * smooth_field(canvas, 5.0, rng)
    canvas.hu += patches.ground_glass * grain * air * np.float32(rng.uniform(300, 560))
    canvas.blend(patches.dense, float(rng.uniform(-60, 40)))


def match_mean_density(canvas: Canvas, lungs: Array, rng: np.random.Generator) -> None:
    """Spread a haze, or take some away, until the mean lung density is as drawn for this patient.

    Less breath taken in makes the whole lung denser, its back most.
    """
    inside = lungs > 0.5
    wanted = rng.normal(*MEAN_LUNG_HU)
    gradient = rng.uniform(0.2, 0.7)
    down = canvas.y / np.float32(np.abs(canvas.y).max())
    air = np.clip(canvas.hu / -1000, 0, 1) * lungs * (1 + gradient * down)
    mean_air = float(air[inside].mean()) if inside.any() else 0.0
    if mean_air > 0:
        missing = wanted - float(canvas.hu[inside].mean())
        canvas.hu += air * np.float32(missing / mean_air)


def _soft(score: Array, threshold: float, softness: float) -> NDArray[np.floating]:
    return 1 / (1 + np.exp(-np.clip((score - threshold) / softness, -30, 30)))
