"""One draw of the lesion engine: a few numbers that render the same lesions again, and their JSON.

A draw can be logged, shown and replayed; nothing in it depends on the picture it is laid into.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from covidssl.errors import DataError
from covidssl.lesions.ranges import BOUNDS, KINDS, MOST_FOCI


class LesionParams(NamedTuple):
    """Draws of the lesion engine, one a row; enough to render the same lesions again.

    All tensors have B rows; fields a focus have K columns, of which a row uses its first `foci`.
    Lengths are in mm, densities in HU. What a field does is said in `LesionRanges`.

    Attributes:
        seed: (B,) int64, of the Perlin fields and of the mesh.
        foci: (B,) int64, how many; 0 leaves the picture clean.
        octaves: (B,) int64, of the outline's field.
        edge_mm: (B,), as are all that follow but those a focus.
        kind: (B, K) int64, place of the focus's kind in `KINDS`.
        place: (B, K) in [0, 1), the quantile of the lung voxel that is the centre, counted column
            by column: one side of the chest comes before the other.
        radius_mm: (B, K) radius of a focus, before distortion.
        depth: (B, K) extent along the body over the radius.
        elongation: (B, K) length over width.
        angle_deg: (B, K) direction of the length, from the columns towards the rows.
    """

    seed: Tensor
    foci: Tensor
    octaves: Tensor
    edge_mm: Tensor
    haze_mm: Tensor
    haze_share: Tensor
    feature_mm: Tensor
    outline_roughness: Tensor
    persistence: Tensor
    lacunarity: Tensor
    coverage: Tensor
    periphery: Tensor
    dorsal: Tensor
    lower: Tensor
    opacity_hu: Tensor
    vessels_kept: Tensor
    texture_mm: Tensor
    texture_contrast: Tensor
    dense_hu: Tensor
    dense_contrast_hu: Tensor
    dense_opacity: Tensor
    halo_mm: Tensor
    ring_mm: Tensor
    mesh_mm: Tensor
    mesh_hu: Tensor
    mesh_width_mm: Tensor
    swallow_mm: Tensor
    kind: Tensor
    place: Tensor
    radius_mm: Tensor
    depth: Tensor
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
        """Each draw as plain numbers; `foci` numbers for what a focus has, kinds by their names."""
        columns = {name: values.tolist() for name, values in self._asdict().items()}
        rows = [
            {name: values[i] for name, values in columns.items()} for i in range(len(self.seed))
        ]
        for row in rows:
            row.update({name: row[name][: row["foci"]] for name in PER_FOCUS})
            row["kind"] = [KINDS[code] for code in row["kind"]]
        return rows


INTEGERS = ("seed", "foci", "octaves", "kind")
PER_FOCUS = ("kind", "place", "radius_mm", "depth", "elongation", "angle_deg")

_BELOW_1 = 1 - 2.0**-24


def params_to_json(params: LesionParams) -> str:
    """Draws as JSON text, from which `params_from_json` makes the same draws to the last bit."""
    return json.dumps({name: values.tolist() for name, values in params._asdict().items()})


def params_from_json(text: str) -> LesionParams:
    """The draws that `params_to_json` wrote: whatever `sample` draws is read again.

    Raises:
        DataError: when the text is something else, or a number in it lies outside `BOUNDS`, which
            could not have been drawn; with key, value and what was expected.
    """
    try:
        content = json.loads(text)
        if not isinstance(content, Mapping) or set(content) != set(LesionParams._fields):
            raise ValueError("the keys are others")
        params = LesionParams(**{name: _tensor(name, content[name]) for name in content})
        _check(params)
    except (ValueError, TypeError, RuntimeError, OverflowError, RecursionError) as error:
        raise DataError(
            "These are not lesion draws as params_to_json writes them: JSON with exactly the keys "
            f"{', '.join(LesionParams._fields)}, each a list of numbers, those a focus in lists of "
            f"their own ({str(error).partition(chr(10))[0]}). Write them again with it."
        ) from error
    return params


def _tensor(name: str, values: Any) -> Tensor:
    whole = name in INTEGERS
    for value in values:
        for number in value if name in PER_FOCUS else [value]:
            if type(number) is not int and (whole or type(number) is not float):
                raise ValueError(f"{name} holds {str(number)[:40]!r}")
    tensor = torch.tensor(values, dtype=torch.int64 if whole else torch.float32)
    # Without a row, a list of lists is a list: its columns are given back.
    return tensor.reshape(0, 1) if name in PER_FOCUS and len(values) == 0 else tensor


def _check(params: LesionParams) -> None:
    single, focus = params.seed.shape, params.place.shape
    if len(focus) != 2 or focus[0] != single[0] or not 1 <= focus[1] <= MOST_FOCI:
        raise ValueError(f"place has the shape {tuple(focus)}")
    bounds: dict[str, tuple[float, float]] = {
        **BOUNDS,
        "foci": (0, focus[1]),
        "kind": (0, len(KINDS) - 1),
        "place": (0.0, _BELOW_1),
        "angle_deg": (-360.0, 360.0),
    }
    for name, values in params._asdict().items():
        if values.shape != (focus if name in PER_FOCUS else single):
            raise ValueError(f"{name} has the shape {tuple(values.shape)}")
        if name != "seed":
            low, high = bounds[name]
            # Of a number that is none both comparisons are false.
            wrong = values[~((values >= low) & (values <= high))]
            if len(wrong):
                raise ValueError(f"{name} must lie in {low:g} to {high:.8g}, got {wrong[0]:g}")
