"""What pseudo-lesions may look like: ranges that a draw is taken from, in mm and HU."""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Range = tuple[float, float]
"""Lower and upper end; lengths are drawn uniformly in their logarithm, all else uniformly."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0)]

KINDS: Final = ("ground_glass", "consolidation", "crazy_paving", "reversed_halo")
"""Kinds of focus; the code of a kind in a draw is its place here."""

GROUND_GLASS, CONSOLIDATION, CRAZY_PAVING, REVERSED_HALO = range(4)

MOST_FOCI, MOST_OCTAVES = 64, 8

POSITIVE: Final = (
    "radius_mm", "depth", "elongation", "edge_mm", "feature_mm", "persistence", "coverage",
    "texture_mm", "mesh_mm", "mesh_width_mm",
)  # fmt: skip
NOT_NEGATIVE: Final = (
    "outline_roughness", "opacity_hu", "texture_contrast", "dense_contrast_hu", "halo_mm",
    "ring_mm", "mesh_hu", "swallow_mm",
)  # fmt: skip
SHARES: Final = ("coverage", "periphery", "dorsal", "lower", "vessels_kept", "dense_opacity")
"""Fields that lie between 0 and 1."""


class Kinds(BaseModel):
    """How often a focus is of each kind: weights, which need not add up to 1.

    Attributes:
        ground_glass: haze through which vessels are seen.
        consolidation: dense, hides vessels; within a rim of ground glass.
        crazy_paving: ground glass with a fine mesh of thickened septa.
        reversed_halo: ground glass within a dense ring (the atoll sign).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ground_glass: Weight = 0.0
    consolidation: Weight = 0.0
    crazy_paving: Weight = 0.0
    reversed_halo: Weight = 0.0

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights in the order of `KINDS`."""
        return (self.ground_glass, self.consolidation, self.crazy_paving, self.reversed_halo)

    @model_validator(mode="after")
    def _some_kind_occurs(self) -> Self:
        if not sum(self.weights) > 0:
            raise ValueError(f"kinds: one of {', '.join(KINDS)} must be above 0, got all 0.")
        return self


class LesionRanges(BaseModel):
    """Ranges that the lesions of one picture are drawn from; the defaults are preset `covid`.

    Lengths are in mm, densities in HU. What says "3D" has no effect on slices.

    Attributes:
        clean_share: share of draws without any lesion.
        kinds: how often a focus is of each kind.
        foci: foci in a picture that has lesions, both ends included.
        bilateral: share of draws whose foci alternate between the two sides of the chest.
        radius_mm: radius of a focus before its outline is distorted.
        depth: extent of a focus along the body over its radius in the slice; 3D.
        elongation: length of a focus over its width, in the slice.
        edge_mm: width over which a lesion fades into the lung.
        feature_mm: cell of the Perlin field that distorts the outline.
        outline_roughness: distortion of the outline (one standard deviation) over `feature_mm`.
        octaves: octaves of the outline's field, both ends included.
        persistence: amplitude of an octave of either field over that of the one before.
        lacunarity: frequency of an octave of either field over that of the one before.
        coverage: share of a focus that the thresholded outline's field covers; 1 is all of it.
        periphery: preference for the pleura; 0 is anywhere in the lungs, 1 the rim alone.
        dorsal: preference for the back (the last rows); 0 is none.
        lower: preference for the feet (the first slices); 0 is none; 3D.
        opacity_hu: density that ground glass adds to aerated lung.
        vessels_kept: 1 adds density in proportion to the air in a voxel, so that vessels and walls
            stay; 0 covers what is less dense than the lesion, so that fine vessels go.
        texture_mm: cell of the finer Perlin field inside a lesion.
        texture_contrast: standard deviation of ground glass over its mean.
        dense_hu: density of consolidation and of the ring of a reversed halo.
        dense_contrast_hu: standard deviation of that density inside a lesion.
        dense_opacity: how far dense parts hide what was there; 1 is wholly.
        halo_mm: rim of ground glass about a consolidation.
        ring_mm: width of the dense ring of a reversed halo.
        mesh_mm: mean size of a polygon of crazy paving.
        mesh_hu: density that a septum adds to the ground glass about it.
        mesh_width_mm: width of a septum.
        swallow_mm: how far dense parts reach beyond the lung mask, only ever raising voxels there,
            so that the border between lung and chest wall is no longer seen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    clean_share: Share = 0.15
    kinds: Kinds = Kinds(
        ground_glass=0.55, consolidation=0.25, crazy_paving=0.15, reversed_halo=0.05
    )
    foci: tuple[int, int] = (1, 6)
    bilateral: Share = 0.8
    radius_mm: Range = (6.0, 36.0)
    depth: Range = (0.6, 1.4)
    elongation: Range = (1.0, 2.2)
    edge_mm: Range = (3.0, 10.0)
    feature_mm: Range = (10.0, 40.0)
    outline_roughness: Range = (0.1, 0.4)
    octaves: tuple[int, int] = (1, 3)
    persistence: Range = (0.3, 0.5)
    lacunarity: Range = (1.8, 2.2)
    coverage: Range = (0.6, 1.0)
    periphery: Range = (0.5, 1.0)
    dorsal: Range = (0.0, 0.8)
    lower: Range = (0.2, 0.9)
    opacity_hu: Range = (120.0, 480.0)
    vessels_kept: Range = (1.0, 1.0)
    texture_mm: Range = (4.0, 16.0)
    texture_contrast: Range = (0.05, 0.3)
    dense_hu: Range = (-100.0, 60.0)
    dense_contrast_hu: Range = (20.0, 60.0)
    dense_opacity: Range = (1.0, 1.0)
    halo_mm: Range = (1.0, 12.0)
    ring_mm: Range = (4.0, 8.0)
    mesh_mm: Range = (5.0, 12.0)
    mesh_hu: Range = (150.0, 400.0)
    mesh_width_mm: Range = (1.0, 2.0)
    swallow_mm: Range = (0.0, 5.0)

    @model_validator(mode="after")
    def _ranges_make_sense(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, tuple):
                low, high = value
                wrong = _problem(name, low, high)
                if wrong:
                    raise ValueError(f"{name}: {wrong}, got [{low:g}, {high:g}].")
        return self


def _problem(name: str, low: float, high: float) -> str | None:
    """What is wrong with a range, in words; None when nothing is."""
    most = {"foci": MOST_FOCI, "octaves": MOST_OCTAVES}.get(name)
    checks = {
        "the lower end comes first": low <= high,
        "must be above 0": name not in POSITIVE or low > 0,
        "must not be below 0": name not in NOT_NEGATIVE or low >= 0,
        "must not be below 1": name not in ("lacunarity", "elongation") or low >= 1,
        "must lie in 0 to 1": name not in SHARES or 0 <= low <= high <= 1,
        f"must lie in 1 to {most}": most is None or 1 <= low <= high <= most,
    }
    return next((expected for expected, holds in checks.items() if not holds), None)
