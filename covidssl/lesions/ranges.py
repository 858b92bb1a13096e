"""What pseudo-lesions may look like: ranges that a draw is taken from, in mm and HU."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Range = tuple[float, float]
"""Lower and upper end; lengths are drawn uniformly in their logarithm, all else uniformly."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1.0e6)]

KINDS: Final = ("ground_glass", "consolidation", "crazy_paving", "reversed_halo")
"""Kinds of focus; the code of a kind in a draw is its place here."""

GROUND_GLASS, CONSOLIDATION, CRAZY_PAVING, REVERSED_HALO = range(4)

MOST_FOCI, MOST_OCTAVES = 64, 8

_LENGTH_MM: Final = (0.1, 1000.0)
_WIDTH_MM: Final = (0.0, 1000.0)
_ADDED_HU: Final = (0.0, 3000.0)
_SHARE: Final = (0.0, 1.0)

BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "foci": (1, MOST_FOCI),
    "radius_mm": _LENGTH_MM,
    "depth": (0.05, 20.0),
    "elongation": (1.0, 20.0),
    "edge_mm": _LENGTH_MM,
    "haze_mm": _WIDTH_MM,
    # No more than half of its lesion, so that the map stays below that in haze alone.
    "haze_share": (0.0, 0.5),
    "feature_mm": _LENGTH_MM,
    "outline_roughness": (0.0, 10.0),
    "octaves": (1, MOST_OCTAVES),
    "persistence": (0.01, 4.0),
    # An octave as coarse as the one before it would be the same field twice.
    "lacunarity": (1.05, 8.0),
    "coverage": (0.001, 1.0),
    "periphery": _SHARE,
    "dorsal": _SHARE,
    "lower": _SHARE,
    "opacity_hu": _ADDED_HU,
    "vessels_kept": _SHARE,
    "texture_mm": _LENGTH_MM,
    "texture_contrast": (0.0, 10.0),
    "dense_hu": (-1100.0, 3100.0),
    "dense_contrast_hu": _ADDED_HU,
    "dense_opacity": _SHARE,
    "halo_mm": _WIDTH_MM,
    "ring_mm": _WIDTH_MM,
    "mesh_mm": _LENGTH_MM,
    "mesh_hu": _ADDED_HU,
    "mesh_width_mm": _LENGTH_MM,
    "swallow_mm": _WIDTH_MM,
}
"""Lowest and highest number of each range, and so of every draw; whatever lies within renders."""


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

    Lengths are in mm, densities in HU. What says "3D" has no effect on slices. Both ends of a range
    lie within its `BOUNDS`.

    Attributes:
        clean_share: share of draws without any lesion.
        kinds: how often a focus is of each kind.
        foci: foci in a picture that has lesions, both ends included.
        bilateral: share of draws whose foci alternate between the two sides of the chest.
        radius_mm: radius of a focus before its outline is distorted.
        depth: extent of a focus along the body over its radius in the slice; 3D.
        elongation: length of a focus over its width, in the slice.
        edge_mm: width over which a lesion fades into the lung.
        haze_mm: width beyond the outline over which faint ground glass fades out; 0 is none of it.
        haze_share: opacity of that haze at the outline over `opacity_hu`, at most a half.
        feature_mm: cell of the Perlin field that distorts the outline.
        outline_roughness: distortion of the outline (one standard deviation) over `feature_mm`.
        octaves: octaves of the outline's field, both ends included.
        persistence: amplitude of an octave of either field over that of the one before.
        lacunarity: frequency of an octave of either field over that of the one before.
        coverage: share of a focus that the thresholded outline's field covers, of its ring alone in
            a reversed halo; 1 is all of it.
        periphery: preference for the pleura; 0 is anywhere in the lungs, 1 the rim alone.
        dorsal: preference for the back (the last rows); 0 is none.
        lower: preference for the feet (the first slices); 0 is none; 3D.
        opacity_hu: density that ground glass adds to aerated lung.
        vessels_kept: 1 adds density in proportion to the air in a voxel, so that vessels and walls
            stay; 0 covers what is less dense than the lesion, so that fine vessels go.
        texture_mm: cell of the finer Perlin field inside a lesion.
        texture_contrast: standard deviation of ground glass over its mean.
        dense_hu: median density of consolidation and of the ring of a reversed halo.
        dense_contrast_hu: standard deviation of that density inside a lesion, most of it below
            the median.
        dense_opacity: how far dense parts hide what was there; 1 is wholly.
        halo_mm: rim of ground glass about a consolidation.
        ring_mm: width of the dense ring of a reversed halo.
        mesh_mm: mean size of a polygon of crazy paving.
        mesh_hu: density that a septum adds to the ground glass about it.
        mesh_width_mm: width of a septum.
        swallow_mm: how far dense parts reach beyond the lung mask, only ever raising voxels there,
            so that the border between lung and chest wall is no longer seen; two voxels, fading,
            where this is less, since those next to the mask are partly air.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    clean_share: Share = 0.15
    kinds: Kinds = Kinds(
        ground_glass=0.45, consolidation=0.4, crazy_paving=0.12, reversed_halo=0.03
    )
    foci: tuple[int, int] = (1, 6)
    bilateral: Share = 0.8
    radius_mm: Range = (6.0, 36.0)
    depth: Range = (0.6, 1.4)
    elongation: Range = (1.0, 2.2)
    edge_mm: Range = (3.0, 10.0)
    haze_mm: Range = (4.0, 25.0)
    haze_share: Range = (0.1, 0.5)
    feature_mm: Range = (10.0, 40.0)
    outline_roughness: Range = (0.1, 0.4)
    octaves: tuple[int, int] = (1, 3)
    persistence: Range = (0.3, 0.5)
    lacunarity: Range = (1.8, 2.2)
    coverage: Range = (0.6, 1.0)
    periphery: Range = (0.7, 1.0)
    dorsal: Range = (0.2, 1.0)
    lower: Range = (0.2, 0.9)
    opacity_hu: Range = (120.0, 480.0)
    vessels_kept: Range = (1.0, 1.0)
    texture_mm: Range = (2.0, 8.0)
    texture_contrast: Range = (0.05, 0.3)
    dense_hu: Range = (-100.0, 60.0)
    dense_contrast_hu: Range = (50.0, 110.0)
    dense_opacity: Range = (1.0, 1.0)
    halo_mm: Range = (1.0, 8.0)
    ring_mm: Range = (6.0, 14.0)
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
                least, most = BOUNDS[name]
                wrong = None
                if low > high:
                    wrong = "the lower end comes first"
                elif not least <= low <= high <= most:
                    wrong = f"must lie in {least:g} to {most:g}"
                if wrong:
                    raise ValueError(f"{name}: {wrong}, got [{low:g}, {high:g}].")
        return self
