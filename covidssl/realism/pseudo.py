"""Pseudo-lesions, and discs of nothing, laid into the slices of a stack."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from covidssl.lesions import LesionRanges, render, sample
from covidssl.realism.cases import Stack
from covidssl.realism.normalise import RANGE_HU

LESION_SHARE = 0.5
"""Where the lesion map is above it, a voxel counts as lesion."""

FAR_MM = 20.0
"""Distance from marked lesions at which lung counts as free of them."""

_BATCH = 8
_NEIGHBOURS = 3
_DISC_MM = 15.0


def with_pseudo_lesions(
    stack: Stack, ranges: LesionRanges, generator: torch.Generator, name: str
) -> Stack:
    """Every slice with the lesions of a draw of its own, and only those marked.

    Args:
        stack: slices to draw into; a slice may come several times.
        ranges: what to draw from; no draw is left clean.
        generator: a CPU generator; it is advanced.
        name: of the new stack.
    """
    drawn = sample(ranges.model_copy(update={"clean_share": 0.0}), generator, len(stack.hu))
    hu, lesions = [], []
    for start in range(0, len(stack.hu), _BATCH):
        rows = slice(start, start + _BATCH)
        clean = torch.from_numpy(stack.hu[rows])[:, None]
        lungs = torch.from_numpy(stack.lungs[rows])[:, None]
        voxel_mm = torch.full((len(clean), 2), stack.pixel_mm)
        rendered = render(clean, lungs, drawn.take(rows), voxel_mm)
        hu.append(rendered.corrupted_hu[:, 0].numpy().clip(*RANGE_HU))
        lesions.append((rendered.lesion_map[:, 0] > LESION_SHARE).numpy())
    marked = np.concatenate(lesions)
    # Dense lesions may swallow the border of the lungs; what they took was lung.
    lungs_and_lesions = stack.lungs | marked
    return replace(stack, name=name, hu=np.concatenate(hu), lungs=lungs_and_lesions, lesions=marked)


def matched_rows(
    wanted: NDArray[np.float64], stack: Stack, rng: np.random.Generator
) -> NDArray[np.intp]:
    """For each level wanted (0 apex to 1 base) one of the stack's three nearest slices, (N,)."""
    nearest = np.argsort(np.abs(wanted[:, None] - stack.level[None, :]), axis=1)
    choice = rng.integers(0, min(_NEIGHBOURS, len(stack.level)), len(wanted))
    return nearest[np.arange(len(wanted)), choice]


def free_lung(stack: Stack) -> NDArray[np.bool_]:
    """Lung at least 20 mm from any marked lesion of its slice, (N, H, W)."""
    reach = FAR_MM / stack.pixel_mm
    free = stack.lungs.copy()
    for n in np.flatnonzero(stack.lesions.any((1, 2))):
        free[n] &= ndimage.distance_transform_edt(~stack.lesions[n]) > reach
    return free


def with_discs(stack: Stack, free: NDArray[np.bool_], rng: np.random.Generator) -> Stack:
    """Untouched slices in which a disc of free lung, 15 mm across, is marked as if a lesion.

    The control of a two-sample test: what tells these apart between two scans is the scan.
    """
    lesions = np.zeros_like(stack.lesions)
    y, x = np.ogrid[: lesions.shape[1], : lesions.shape[2]]
    radius = _DISC_MM / 2 / stack.pixel_mm
    for n in range(len(lesions)):
        places = np.argwhere(free[n])
        if len(places):
            row, column = places[rng.integers(len(places))]
            lesions[n] = ((y - row) ** 2 + (x - column) ** 2 <= radius**2) & free[n]
    return replace(stack, name=f"{stack.name}, no lesion", lesions=lesions)
