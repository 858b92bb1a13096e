"""Contact sheets of lung masks, to be looked at: slices with both lungs outlined in colour.

    python -m pipelines.lung_sheets ../shared/data/nlst --out work/lungs/nlst.png
    python -m pipelines.lung_sheets ../shared/data/sars-cov-2-ct --out work/lungs/s.png

One scan gives slices spread over its whole height; many give one slice each, drawn with a seed.
A scan's number of the sheet is printed with its name, its flags and its problem.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from covidssl.hounsfield import to_unit
from covidssl.io import ScanFiles, find_scans, read_scan
from covidssl.lungs import LEFT, RIGHT, Lungs, segment_lungs
from covidssl.randomness import numpy_generator

Colour = tuple[int, int, int]

_COLOURS: dict[int, Colour] = {0: (255, 190, 0), RIGHT: (255, 70, 70), LEFT: (70, 200, 255)}
_CAPTION = 12


class Tile(NamedTuple):
    """One slice of the sheet; `good` is False for a mask that is shown, not used."""

    picture: Image.Image
    caption: str
    good: bool


def main(
    inputs: Annotated[list[Path], typer.Argument(help="Scans or folders of them.")],
    out: Annotated[Path, typer.Option(help="The PNG.")],
    pictures: Annotated[int, typer.Option(help="Slices of the sheet.")] = 60,
    edge: Annotated[int, typer.Option(help="Pixels of a slice's longer edge.")] = 176,
    columns: Annotated[int, typer.Option(help="Slices in a row.")] = 10,
    seed: Annotated[int, typer.Option(help="Which scans of many.")] = 0,
) -> None:
    """Draw the sheet of a scan, or of a random sample of many."""
    scans = [scan for scan in find_scans(inputs).scans if not _is_mask(scan)]
    tiles = [
        tile
        for number, (scan, slices) in enumerate(_sample(scans, pictures, seed))
        for tile in _tiles(scan, f"{number}", slices, edge)
    ]
    out.parent.mkdir(parents=True, exist_ok=True)
    _sheet(tiles, edge, columns).save(out)
    typer.echo(f"{len(tiles)} slices: {out}")


def outlined(plane: NDArray[np.float32], sides: NDArray[np.uint8], edge: int) -> Image.Image:
    """A slice (Y, X) in [0, 1] with the outlines of its regions, enlarged to a longer edge."""
    scale = edge / max(plane.shape)
    size = (round(plane.shape[1] * scale), round(plane.shape[0] * scale))
    grey = Image.fromarray(np.rint(255 * plane).astype(np.uint8)).resize(size)
    regions = np.asarray(Image.fromarray(sides).resize(size, Image.Resampling.NEAREST))
    rgb = np.stack([np.asarray(grey)] * 3, axis=-1)
    for value in np.unique(regions[regions > 0]):
        region = regions == value
        rgb[region & ~ndimage.binary_erosion(region)] = _COLOURS[int(value) % 3]
    return Image.fromarray(rgb)


def _is_mask(scan: ScanFiles) -> bool:
    return any(word in scan.name for word in ("_lung", "_infection", "mask"))


def _sample(
    scans: Sequence[ScanFiles], pictures: int, seed: int
) -> Iterator[tuple[ScanFiles, int]]:
    """Scans of the sheet, and how many slices of each at most."""
    order = np.sort(numpy_generator(seed, 0).permutation(len(scans))[:pictures])
    for index in order:
        yield scans[int(index)], max(1, pictures // len(order))


def _tiles(scan: ScanFiles, number: str, slices: int, edge: int) -> Iterator[Tile]:
    ct = read_scan(scan)
    lungs = segment_lungs(ct)
    sides = lungs.sides if lungs.sides is not None else _one_colour(lungs)
    say = lungs.complaint or ", ".join(_figures(lungs))
    typer.echo(f"{number}: {scan.name}: {say}")
    if ct.pixels is None:
        return
    for z in np.unique(np.linspace(0, len(sides) - 1, slices + 2).round().astype(int)[1:-1]):
        plane = to_unit(ct.array[z], ct.pixels)
        share = f"{lungs.slice_share[z]:.0%}"
        yield Tile(outlined(plane, sides[z], edge), f"{number}/{z} {share}", lungs.usable)


def _one_colour(lungs: Lungs) -> NDArray[np.uint8]:
    return 3 * np.asarray(lungs.mask.array, dtype=np.uint8)


def _figures(lungs: Lungs) -> Iterator[str]:
    if lungs.litres is not None:
        yield f"{lungs.litres:.2f} litres"
    if lungs.left_right is not None:
        yield f"left / right {lungs.left_right:.2f}"


def _sheet(tiles: Sequence[Tile], edge: int, columns: int) -> Image.Image:
    height = edge + _CAPTION
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (columns * edge, rows * height), (20, 20, 20))
    draw = ImageDraw.Draw(sheet)
    for index, tile in enumerate(tiles):
        x, y = index % columns * edge, index // columns * height
        sheet.paste(tile.picture, (x, y + _CAPTION))
        draw.text((x + 2, y), tile.caption, fill=(220, 220, 220) if tile.good else (255, 80, 80))
    return sheet


if __name__ == "__main__":
    typer.run(main)
