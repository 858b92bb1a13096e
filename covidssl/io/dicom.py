"""One DICOM CT series as a raw scan: geometry from the headers, pixels in HU, mended if allowed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.hounsfield import Pixels
from covidssl.io.eligible import eligible
from covidssl.io.find import ScanFiles
from covidssl.io.headers import SliceHeader, identities, read_headers
from covidssl.io.mending import ON_PLACE_MM, fill, grid_shape
from covidssl.io.pixels import PlaneReader
from covidssl.io.raw import RawScan, check_size
from covidssl.io.reading import Reading
from covidssl.io.refusals import refusing
from covidssl.io.series import Stack, stack
from covidssl.noted import Noted

_DAMAGED = ("truncated", "unreadable", "no_pixels", "damaged_header")


def read_dicom(scan: ScanFiles, reading: Reading) -> RawScan:
    """The slices of one series as a raw scan in HU, padding outside the field of view as air.

    Classic slices and enhanced multi-frame files alike; MONOCHROME1 changes no HU but adds a
    warning (see `SliceHeader`), and turns windowed grey values round. With `reading.repairs`
    defects are mended where that is safe, and `RawScan.repairs` says which.

    Raises:
        ScanError: when the slices make no single evenly spaced CT volume, or one is damaged.
    """
    source = scan.name
    headers = read_headers(scan.paths, source, scan.hidden)
    patient = series = ""
    if reading.ids is not None:
        patient, series = identities(scan.paths[0], reading.ids, source)
    shown = reading.pixels is Pixels.WINDOWED
    with refusing(source, "DICOM"), PlaneReader(source, shown) as planes:
        grid, stacked = _read(headers, source, reading, planes)
    return RawScan(
        grid,
        False,
        stacked.spacing_mm,
        stacked.affine,
        (*stacked.warnings, *_oddities(stacked.headers, shown)),
        stacked.repairs,
        patient,
        series,
        files=_files(stacked, scan),
    )


def _read(
    headers: Sequence[SliceHeader], source: str, reading: Reading, planes: PlaneReader
) -> tuple[NDArray[np.int16], Stack]:
    try:
        return _filled(headers, source, reading, planes)
    except ScanError as error:
        if not reading.repairs or error.code not in _DAMAGED:
            raise
        # Which slices do not decode is known only now: they are mended as truncated ones are.
        marked = [_marked(header, planes) for header in headers]
        if [header.missing_bytes for header in marked] == [h.missing_bytes for h in headers]:
            raise
    return _filled(marked, source, reading, planes)


def _filled(
    headers: Sequence[SliceHeader], source: str, reading: Reading, planes: PlaneReader
) -> tuple[NDArray[np.int16], Stack]:
    def same(first: SliceHeader, second: SliceHeader) -> bool:
        return np.array_equal(planes.hounsfield(first).copy(), planes.hounsfield(second))

    found = eligible(headers, source, reading.repairs, reading.pixels is Pixels.WINDOWED)
    check_size((len(found.headers), *found.headers[0].shape), source)
    stacked = stack(found, source, same if reading.repairs else None)
    shape = grid_shape(stacked)
    check_size(shape, source)
    grid = _room(shape, stacked)
    fill(stacked, grid, lambda number: planes.hounsfield(stacked.headers[number]))
    return grid, stacked


def _room(shape: tuple[int, int, int], stacked: Stack) -> NDArray[np.int16]:
    """Memory for the slices, laid out so that turning the scan upright copies nothing."""
    room = np.empty(shape, np.int16)
    if stacked.affine is None:
        return room
    steps = stacked.affine[:3, :3]
    if not np.array_equal(np.abs(steps).argmax(axis=0), [0, 1, 2]):
        return room
    flips = (steps[2, 2] < 0, steps[1, 1] < 0, steps[0, 0] < 0)
    return room[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


def _files(stacked: Stack, scan: ScanFiles) -> tuple[int | None, ...]:
    """Which file shows each plane of the grid; none at all where a slice does not lie on it."""
    headers = stacked.headers
    places = np.searchsorted(stacked.targets, stacked.along - ON_PLACE_MM)
    found = stacked.targets[np.minimum(places, len(stacked.targets) - 1)]
    on_the_grid = np.allclose(found, stacked.along, rtol=0, atol=ON_PLACE_MM)
    if stacked.drift != (0.0, 0.0) or not on_the_grid or any(one.frames > 1 for one in headers):
        return ()
    numbers = {path: number for number, path in enumerate(scan.paths)}
    files: list[int | None] = [None] * len(stacked.targets)
    for plane, header in zip(places, headers, strict=True):
        files[plane] = numbers[header.path]
    return tuple(files)


def _marked(header: SliceHeader, planes: PlaneReader) -> SliceHeader:
    try:
        planes.hounsfield(header)
    except ScanError:
        return replace(header, missing_bytes=max(1, header.missing_bytes))
    return header


def _oddities(headers: Sequence[SliceHeader], shown: bool) -> tuple[Noted, ...]:
    total, told = len(headers), list[Noted]()
    inverted = sum(header.inverted for header in headers)
    if inverted:
        so = "grey values were turned round" if shown else "HU are what the rescaling gives"
        text = f"{inverted} of {total} slices are meant for inverted display (MONOCHROME1)"
        told.append(Noted(f"{text}; their {so}", "inverted"))
    burned = sum(header.burned_in for header in headers)
    if burned:
        text = f"the header of {burned} of {total} slices says that text is burned into the pixels"
        told.append(Noted(f"{text}; it may name the patient", "burned_in"))
    lossy = sum(header.lossy for header in headers)
    if lossy:
        told.append(Noted(f"{lossy} of {total} slices were compressed with loss", "lossy"))
    contrast = sum(header.contrast for header in headers)
    if contrast:
        text = f"the header of {contrast} of {total} slices names a contrast agent"
        told.append(Noted(text, "contrast"))
    return tuple(told)
