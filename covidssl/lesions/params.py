"""What a pseudo-lesion may look like (ranges), and what one draw of it is (params).

All randomness of the lesion engine is in `sample`: a draw is a few numbers, and the same numbers
on the same lungs render the same lesion, so that a draw can be logged, shown and replayed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from covidssl.errors import DataError

Range = tuple[float, float]
"""Lower and upper end; lengths are drawn uniformly in their logarithm, all else uniformly."""

Share = Annotated[float, Field(ge=0.0, le=1.0)]

_MOST_FOCI = 64
_MOST_OCTAVES = 8
_POSITIVE = ("radius_mm", "elongation", "edge_mm", "feature_mm", "texture_mm", "persistence")
_NOT_NEGATIVE = ("outline_roughness", "periphery", "opacity_hu", "texture_contrast", "halo_mm")


class LesionRanges(BaseModel):
    """Ranges that the lesions of one picture are drawn from; lengths in mm, densities in HU.

    Attributes:
        clean_share: share of draws without any lesion.
        foci: foci in a picture that has lesions, both ends included.
        radius_mm: radius of a focus before its outline is distorted.
        elongation: length of a focus over its width.
        edge_mm: width over which a lesion fades into the lung.
        feature_mm: cell of the Perlin field that distorts the outline.
        outline_roughness: distortion of the outline (one standard deviation) over `feature_mm`.
        octaves: octaves of the outline's field, both ends included.
        persistence: amplitude of an octave of either field over that of the one before.
        periphery: preference for the pleura; 0 is anywhere in the lungs, 1 the rim alone.
        opacity_hu: density that ground glass adds to aerated lung.
        texture_mm: cell of the finer Perlin field inside a lesion.
        texture_contrast: standard deviation of ground glass over its mean.
        dense_share: share of lesion sets that hold consolidation.
        dense_hu: density of consolidation.
        halo_mm: rim of ground glass about a consolidation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    clean_share: Share = 0.15
    foci: tuple[int, int] = (1, 6)
    radius_mm: Range = (8.0, 45.0)
    elongation: Range = (1.0, 2.2)
    edge_mm: Range = (5.0, 16.0)
    feature_mm: Range = (10.0, 40.0)
    outline_roughness: Range = (0.1, 0.4)
    octaves: tuple[int, int] = (1, 4)
    persistence: Range = (0.3, 0.55)
    periphery: Range = (0.4, 1.0)
    opacity_hu: Range = (120.0, 480.0)
    texture_mm: Range = (4.0, 16.0)
    texture_contrast: Range = (0.05, 0.3)
    dense_share: Share = 0.25
    dense_hu: Range = (-150.0, 60.0)
    halo_mm: Range = (1.0, 14.0)

    @model_validator(mode="after")
    def _ranges_make_sense(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, tuple) and not value[0] <= value[1]:
                raise ValueError(f"{name}: the lower end comes first, got {list(value)}.")
        for name in _POSITIVE:
            if not getattr(self, name)[0] > 0:
                raise ValueError(f"{name}: must be above 0, got {list(getattr(self, name))}.")
        for name in _NOT_NEGATIVE:
            if getattr(self, name)[0] < 0:
                raise ValueError(f"{name}: must not be below 0, got {list(getattr(self, name))}.")
        if self.periphery[1] > 1:
            raise ValueError(f"periphery: must not be above 1, got {list(self.periphery)}.")
        for name, most in (("foci", _MOST_FOCI), ("octaves", _MOST_OCTAVES)):
            low, high = getattr(self, name)
            if low < 1 or high > most:
                raise ValueError(f"{name}: must lie in 1 to {most}, got [{low}, {high}].")
        return self


class LesionParams(NamedTuple):
    """Draws of the lesion engine, one a row; enough to render the same lesions again.

    All tensors have B rows; fields a focus have K columns, of which a row uses its first `foci`.

    Attributes:
        seed: (B,) int64, of both Perlin fields.
        foci: (B,) int64, how many; 0 leaves the picture clean.
        octaves: (B,) int64, of the outline's field.
        dense: (B,) bool, whether the foci hold consolidation.
        edge_mm: (B,) width over which the lesion fades into the lung.
        feature_mm: (B,) cell of the outline's field.
        outline_roughness: (B,) distortion of the outline over `feature_mm`.
        persistence: (B,) of both fields.
        periphery: (B,) preference for the pleura, 0 to 1.
        opacity_hu: (B,) density added to aerated lung.
        texture_mm: (B,) cell of the finer field.
        texture_contrast: (B,) standard deviation of ground glass over its mean.
        dense_hu: (B,) density of consolidation.
        halo_mm: (B,) rim of ground glass about a consolidation.
        place: (B, K) in [0, 1), the quantile of the lung pixel that is the centre.
        radius_mm: (B, K) radius of a focus, before distortion.
        elongation: (B, K) length over width.
        angle_deg: (B, K) direction of the length, from the columns towards the rows.
    """

    seed: Tensor
    foci: Tensor
    octaves: Tensor
    dense: Tensor
    edge_mm: Tensor
    feature_mm: Tensor
    outline_roughness: Tensor
    persistence: Tensor
    periphery: Tensor
    opacity_hu: Tensor
    texture_mm: Tensor
    texture_contrast: Tensor
    dense_hu: Tensor
    halo_mm: Tensor
    place: Tensor
    radius_mm: Tensor
    elongation: Tensor
    angle_deg: Tensor

    def to(self, device: torch.device | str) -> LesionParams:
        """The same draws on another device."""
        return LesionParams(*(values.to(device) for values in self))

    def take(self, rows: slice | Sequence[int] | Tensor) -> LesionParams:
        """Some of the draws: a slice, row numbers, or a (B,) bool mask."""
        chosen = rows if isinstance(rows, slice | Tensor) else list(rows)
        return LesionParams(*(values[chosen] for values in self))

    def rows(self) -> list[dict[str, Any]]:
        """Each draw as plain numbers, lists of `foci` numbers for what a focus has of its own."""
        columns = {name: values.tolist() for name, values in self._asdict().items()}
        rows = [
            {name: values[i] for name, values in columns.items()} for i in range(len(self.seed))
        ]
        for row in rows:
            row.update({name: row[name][: row["foci"]] for name in _PER_FOCUS})
        return rows


_INTEGERS = ("seed", "foci", "octaves")
_PER_FOCUS = ("place", "radius_mm", "elongation", "angle_deg")
_LOGARITHMIC = ("edge_mm", "feature_mm", "texture_mm", "radius_mm", "elongation")


def sample(ranges: LesionRanges, generator: torch.Generator, n: int) -> LesionParams:
    """Draw the lesions of `n` pictures, on the CPU; a draw does not depend on how many follow it.

    Args:
        ranges: what to draw from.
        generator: a CPU generator, see `covidssl.randomness`; it is advanced.
        n: how many draws.
    """
    foci = ranges.foci[1]
    single = [name for name in LesionParams._fields if name not in _PER_FOCUS]
    width = len(single) + 1 + foci * len(_PER_FOCUS)
    # One call, row after row: the first draws stay the same when more are asked for.
    uniform = torch.rand((n, width), generator=generator, dtype=torch.float64)
    columns = dict(zip(single, uniform[:, : len(single)].T, strict=True))
    is_clean = uniform[:, len(single)] < ranges.clean_share
    blocks = uniform[:, len(single) + 1 :].reshape(n, len(_PER_FOCUS), foci).unbind(1)
    columns |= dict(zip(_PER_FOCUS, blocks, strict=True))
    drawn = {name: _spread(name, ranges, values) for name, values in columns.items()}
    drawn["foci"] = drawn["foci"].masked_fill(is_clean, 0)
    return LesionParams(**drawn)


def params_to_json(params: LesionParams) -> str:
    """Draws as JSON text, from which `params_from_json` makes the same draws to the last bit."""
    return json.dumps({name: values.tolist() for name, values in params._asdict().items()})


def params_from_json(text: str) -> LesionParams:
    """The draws that `params_to_json` wrote.

    Raises:
        DataError: when the text is something else.
    """
    try:
        content = json.loads(text)
        if not isinstance(content, Mapping) or set(content) != set(LesionParams._fields):
            raise ValueError("keys")
        tensors = {name: torch.tensor(content[name], dtype=_dtype(name)) for name in content}
    except (ValueError, TypeError) as error:
        raise DataError(
            "These are not lesion draws as params_to_json writes them: JSON with exactly the keys "
            f"{', '.join(LesionParams._fields)}, each a list of numbers. Write them again with it."
        ) from error
    return LesionParams(**tensors)


def _dtype(name: str) -> torch.dtype:
    if name in _INTEGERS:
        return torch.int64
    return torch.bool if name == "dense" else torch.float32


def _spread(name: str, ranges: LesionRanges, uniform: Tensor) -> Tensor:
    """Uniform draws in [0, 1) turned into draws of a field of the params."""
    if name == "seed":
        return (uniform * 2.0**53).long()
    if name == "dense":
        return uniform < ranges.dense_share
    if name == "place":
        return uniform.float().clamp(max=1 - 2.0**-24)
    if name == "angle_deg":
        return (uniform * 180).float()
    low, high = getattr(ranges, name)
    if name in _INTEGERS:
        return low + (uniform * (high - low + 1)).long().clamp(max=high - low)
    if name in _LOGARITHMIC:
        return (low * (uniform * math.log(high / low)).exp()).float()
    return (low + uniform * (high - low)).float()
