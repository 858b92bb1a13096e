"""The products of a scan that are maps: NIfTI or PNG on its own grid, and DICOM on request."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from covidssl.answers import Answer, Reason
from covidssl.errors import ScanError
from covidssl.files import replacing
from covidssl.hounsfield import Pixels
from covidssl.io import ScanFiles
from covidssl.io.overlay import Overlay, write_overlay
from covidssl.lungs import Lungs
from covidssl.maps.placing import Placed, evidence_on_grid, lesions_on_grid, stored_grid
from covidssl.maps.scan_maps import ScanMaps
from covidssl.volume import Volume

FOLDER, DICOM_FOLDER = "maps", "dicom"
_NAMES = {"lesion_map": "lesions", "evidence_map": "evidence"}


class MapFiles(NamedTuple):
    """What was written.

    Attributes:
        paths: below the output folder, by their kind: `lesion_map`, `evidence_map`, `seg`, `sr`.
        reasons: why something that was asked for is not among them.
    """

    paths: dict[str, str]
    reasons: tuple[Reason, ...] = ()


class _Prepared(Protocol):
    @property
    def ct(self) -> Volume: ...
    @property
    def lungs(self) -> Lungs: ...


class Mapped(Protocol):
    """A scan that was answered, with its maps; `Answered` of the prediction is one."""

    @property
    def prepared(self) -> _Prepared: ...
    @property
    def answer(self) -> Answer: ...
    @property
    def maps(self) -> ScanMaps | None: ...


def write_maps(
    out: Path, stem: str, answered: Mapped, source: ScanFiles | None = None, dicom: bool = False
) -> MapFiles:
    """Write the maps of a scan, each file whole or not at all.

    Args:
        out: folder of the run; the files go to `maps/` and `dicom/` in it.
        stem: that their names begin with.
        answered: the scan; without maps nothing is written.
        source: its files; without them the geometry is taken from the volume alone.
        dicom: whether to write a DICOM SEG and SR too, which name the patient. Where that cannot be
            done, a reason says why.

    Raises:
        UsageError: when DICOM is asked for without the package highdicom.
        NoRoomError: when the disk is full.
    """
    maps, ct = answered.maps, answered.prepared.ct
    if maps is None:
        return MapFiles({})
    lungs = np.asarray(answered.prepared.lungs.mask.array, dtype=bool)
    lesions = lesions_on_grid(maps, ct, lungs)
    placed = {"lesion_map": lesions, "evidence_map": evidence_on_grid(maps, ct)}
    written = {}
    for kind, of in placed.items():
        if of is None:
            continue
        suffix = ".png" if _is_picture(ct, source) else ".nii.gz"
        path = f"{FOLDER}/{stem}-{_NAMES[kind]}{suffix}"
        _write(out / path, of, ct, source)
        written[kind] = path
    if not dicom:
        return MapFiles(written)
    try:
        return MapFiles(written | _dicom(out, stem, answered, source, lesions))
    except ScanError as error:
        text = str(error).removeprefix(f"{ct.source}: ")
        return MapFiles(written, (Reason(code="no_dicom_objects", text=text),))


def _write(path: Path, placed: Placed, ct: Volume, source: ScanFiles | None) -> None:
    if path.suffix == ".png":
        _write_png(path, placed)
        return
    grid = stored_grid(ct)
    affine = None if grid is None else grid.affine
    overlay = Overlay(
        placed.voxels, affine, ct.spacing_mm, placed.slope, placed.intercept, placed.unit
    )
    write_overlay(path, overlay, source)


def _is_picture(ct: Volume, source: ScanFiles | None) -> bool:
    one = len(ct.array) == 1 and ct.affine is None and ct.stored is None
    of_pixels = ct.pixels is Pixels.WINDOWED and ct.spacing_mm is None
    return one and (of_pixels if source is None else source.format == "picture")


def _write_png(path: Path, placed: Placed) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    told = PngInfo()
    told.add_text("slope", repr(placed.slope))
    told.add_text("intercept", repr(placed.intercept))
    told.add_text("unit", placed.unit)
    with replacing(path) as temporary:
        picture = Image.fromarray(np.ascontiguousarray(placed.voxels[0]))
        picture.save(temporary, format="PNG", pnginfo=told, compress_level=1)


def _dicom(
    out: Path, stem: str, answered: Mapped, source: ScanFiles | None, lesions: Placed | None
) -> dict[str, str]:
    from covidssl.maps.dicom_objects import Findings, write_objects

    ct, maps = answered.prepared.ct, answered.maps
    if source is None or source.format != "dicom":
        raise ScanError(
            f"{ct.source}: no DICOM SEG or SR is written, since it is no DICOM series: they must "
            f"name its patient, study and slices."
        )
    grid = stored_grid(ct)
    if grid is None:
        raise ScanError(
            f"{ct.source}: no DICOM SEG or SR is written: its header does not say where it lies."
        )
    if lesions is None or maps is None:
        raise ScanError(f"{ct.source}: no DICOM SEG or SR is written: there is no lesion map.")
    lungs = np.zeros(grid.shape, dtype=bool)
    _seen(lungs, grid.affine)[:] = answered.prepared.lungs.mask.array
    found = Findings(grid, _above(lesions, maps.threshold), lungs, answered.answer, maps.threshold)
    names = {kind: f"{DICOM_FOLDER}/{stem}-{kind}.dcm" for kind in ("seg", "sr")}
    write_objects(source, found, out / names["seg"], out / names["sr"])
    return names


def _above(lesions: Placed, threshold: float) -> NDArray[np.bool_]:
    """Where the map's file says more than `threshold`: its header holds the slope in 32 bits."""
    values = np.arange(256) * float(np.float32(lesions.slope)) + lesions.intercept
    above: NDArray[np.bool_] = (values > threshold)[lesions.voxels]
    return above


def _seen(array: NDArray[np.bool_], affine: NDArray[np.float64]) -> NDArray[np.bool_]:
    from covidssl.io.orient import upright_view

    return upright_view(array, affine)
