"""A strip of a scan's slices for a page: small pictures side by side, each map a layer of its own.

    strips/<stem>.json           which slices, and how the sheets are divided
    strips/<stem>.webp           the slices, grey
    strips/<stem>-lesion.png     the lesion map, transparent where it says nothing
    strips/<stem>-evidence.png   the evidence map, likewise
    pictures/<stem>.png          the slices that decided, beside both maps

A sheet holds the slices row by row, `columns` in each. The sheets of maps are half as wide and high
as the grey one: a page stretches them over it.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from covidssl.answers import Answer
from covidssl.box import Box
from covidssl.files import write_bytes, write_json
from covidssl.maps import ScanMaps
from covidssl.prediction.steps import Answered
from covidssl.slice_pictures import (
    DECIDING,
    Floats,
    Greys,
    Heat,
    MapKind,
    Planes,
    deciding_picture,
    deciding_planes,
    grey_tiles,
    heat_tiles,
    lesion_shares,
    tile_size,
)

MOST_SLICES = 12
COLUMNS = 4
STRIP_BYTES = 80_000
"""All sheets of one scan are smaller: 500 scans make a page of less than 60 MB."""

_Edge = Annotated[int, Field(ge=1, le=512)]
_LONGEST = 208
# Share of the longest edge, and quality of the grey sheet: the first that fits. Noise alone needs
# the last.
_TRIED = ((1.0, 60), (1.0, 35), (0.7, 50), (0.5, 40), (0.35, 30))


class StripSlice(BaseModel):
    """One slice of a strip.

    Attributes:
        slice: its place in the upright scan, the lowest is 0.
        adds: what it adds to the scan's logit; None without an evidence map.
        lesion: share of the frame that counts as lesion; None where there is an evidence map, or
            no lesion map.
        deciding: whether it is one of those that decided: that speak most for the class given; or,
            without an evidence map, one of those with the most lesion.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slice: int = Field(ge=0, le=100_000)
    adds: float | None = Field(None, allow_inf_nan=False)
    lesion: float | None = Field(None, ge=0, le=1)
    deciding: bool = False


class Strip(BaseModel):
    """Which slices a strip shows, and how its sheets are divided.

    Attributes:
        tile: width and height in pixels of one slice on the grey sheet.
        columns: slices in a row of a sheet.
        of: slices of the whole scan.
        slices: those shown, from below.
        layers: the maps that have a sheet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["covidssl-strip-1"] = "covidssl-strip-1"
    tile: tuple[_Edge, _Edge]
    columns: int = Field(ge=1, le=24)
    of: int = Field(ge=1, le=1_000_000)
    slices: tuple[StripSlice, ...] = Field(min_length=1, max_length=24)
    layers: tuple[MapKind, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the grey sheet in pixels."""
        columns = min(self.columns, len(self.slices))
        return self.tile[0] * columns, self.tile[1] * -(-len(self.slices) // columns)

    @property
    def map_size(self) -> tuple[int, int]:
        """Width and height of the sheet of a map, whose tiles are half as wide and high."""
        width, height = _half(self.tile)
        columns = min(self.columns, len(self.slices))
        return width * columns, height * -(-len(self.slices) // columns)

    @model_validator(mode="after")
    def _within(self) -> Self:
        beyond = [one.slice for one in self.slices if one.slice >= self.of]
        if beyond:
            raise ValueError(f"slice {beyond[0]} is not one of {self.of}")
        return self


def sheet_name(stem: str, layer: MapKind | None = None) -> str:
    """The file of a sheet, as a path below the output folder."""
    return f"strips/{stem}.webp" if layer is None else f"strips/{stem}-{layer}.png"


def write_strip(out: Path, stem: str, answered: Answered) -> dict[str, str]:
    """Write a scan's strip and the picture of the slices that decided.

    A scan that was not answered has a strip without maps, for a person to see why.

    Returns:
        Paths below `out` by kind: `strip`, `strip_slices`, `strip_lesion`, `strip_evidence`,
        `picture`, of which those without a map are left out; nothing of a mask.
    """
    ct, maps = answered.prepared.ct, answered.maps
    if ct.pixels is None:
        return {}
    planes, slices, box = _chosen(answered)
    for share, quality in _TRIED:
        size = tile_size(ct, box, round(share * _LONGEST))
        heats = {} if maps is None else heat_tiles(maps, planes, _half(size))
        grey = _grey_sheet(grey_tiles(ct, slices, box, size), quality)
        sheets = {layer: _heat_sheet(heat) for layer, heat in heats.items()}
        if len(grey) + sum(map(len, sheets.values())) <= STRIP_BYTES:
            break
    content = {"strip_slices": (sheet_name(stem), grey)}
    for layer, png in sheets.items():
        content[f"strip_{layer}"] = (sheet_name(stem, layer), png)
    if maps is not None:
        content["picture"] = (f"pictures/{stem}.png", deciding_picture(ct, answered.answer, maps))
    for path, sheet in content.values():
        write_bytes(out / path, sheet)
    strip = Strip(
        tile=size,
        columns=min(COLUMNS, len(slices)),
        of=len(ct.array),
        slices=_said(answered.answer, maps, planes, slices),
        layers=tuple(sheets),
    )
    # Last of all: where it lies, all sheets lie.
    write_json(out / f"strips/{stem}.json", strip.model_dump(mode="json"))
    return {"strip": f"strips/{stem}.json"} | {kind: path for kind, (path, _) in content.items()}


def _half(tile: tuple[int, int]) -> tuple[int, int]:
    return -(-tile[0] // 2), -(-tile[1] // 2)


def _chosen(answered: Answered) -> tuple[Planes, Planes, Box]:
    """Planes of the maps, slices of the scan, and the part of them to show."""
    ct, cut, maps = answered.prepared.ct, answered.prepared.cut, answered.maps
    depth, height, width = ct.array.shape
    slices = np.arange(depth) if cut is None else cut.slices
    box = Box(0, height, 0, width) if cut is None else cut.box
    count = len(slices)
    if count <= MOST_SLICES:
        planes = np.arange(count)
    elif maps is None:
        planes = _evenly(count, MOST_SLICES)
    else:
        deciding = deciding_planes(answered.answer, maps)
        unions = (
            np.union1d(_evenly(count, MOST_SLICES - k), deciding) for k in range(DECIDING + 1)
        )
        planes = next(union for union in unions if len(union) <= MOST_SLICES)
    # A network of volumes may look at one slice in several planes.
    _, first = np.unique(slices[planes], return_index=True)
    planes = planes[np.sort(first)]
    return planes, slices[planes], box


def _evenly(count: int, among: int) -> Planes:
    return np.unique(np.round(np.linspace(0, count - 1, among)).astype(np.int64))


def _said(
    answer: Answer, maps: ScanMaps | None, planes: Planes, slices: Planes
) -> tuple[StripSlice, ...]:
    if maps is None or (maps.evidence is None and maps.lesion is None):
        return tuple(StripSlice(slice=int(one)) for one in slices)
    decided = deciding_planes(answer, maps)
    if maps.evidence is None:
        return _with_lesion(lesion_shares(maps), decided, planes, slices)
    deciding = set(maps.slices[decided].tolist())
    adds = maps.evidence[planes].sum(axis=(1, 2), dtype=np.float64)
    return tuple(
        StripSlice(slice=int(one), adds=round(float(add), 4), deciding=int(one) in deciding)
        for one, add in zip(slices, adds, strict=True)
    )


def _with_lesion(
    shares: Floats, decided: Planes, planes: Planes, slices: Planes
) -> tuple[StripSlice, ...]:
    # Where nothing counts as lesion no slice has the most of it.
    most = {int(plane) for plane in decided if shares[plane] > 0}
    return tuple(
        StripSlice(slice=int(one), lesion=float(shares[plane]), deciding=int(plane) in most)
        for one, plane in zip(slices, planes, strict=True)
    )


def _sheet(tiles: Greys) -> Greys:
    """Pictures (N, H, W) row by row on one sheet."""
    count, height, width = tiles.shape
    columns = min(COLUMNS, count)
    rows = -(-count // columns)
    sheet = np.zeros((rows * columns, height, width), np.uint8)
    sheet[:count] = tiles
    laid = sheet.reshape(rows, columns, height, width).swapaxes(1, 2)
    return laid.reshape(rows * height, columns * width)


def _grey_sheet(tiles: Greys, quality: int) -> bytes:
    content = io.BytesIO()
    Image.fromarray(_sheet(tiles)).save(content, "WEBP", quality=quality, method=0)
    return content.getvalue()


def _heat_sheet(heat: Heat) -> bytes:
    image = Image.fromarray(_sheet(heat.levels)).convert("L")
    coloured = Image.frombytes("P", image.size, image.tobytes())
    coloured.putpalette(heat.palette)
    content = io.BytesIO()
    coloured.save(content, "PNG", transparency=heat.alpha, bits=8, compress_level=6)
    return content.getvalue()
