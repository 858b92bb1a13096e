"""One good small scan of each format, the same bytes every time."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from tests.dicom_files import recode, write_enhanced
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_dicom, write_mhd, write_png

Files = dict[str, bytes]
EDGE = 40
CANARY = "CANARY^PATIENT"


def _dicom(syntax: str | None) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        paths = write_dicom(folder, chest_hu(3, EDGE), PatientName=CANARY, PatientID=CANARY)
        for number, path in enumerate(paths):
            if syntax is not None:
                recode(path, syntax)
            _fixed(path, number)

    return write


def _fixed(path: Path, number: int) -> None:
    file = pydicom.dcmread(path)
    file.SeriesInstanceUID = file.StudyInstanceUID = file.FrameOfReferenceUID = "1.2.3"
    file.SOPInstanceUID = file.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{number}"
    file.save_as(path)


def _enhanced(folder: Path) -> None:
    path = write_enhanced(folder / "all.dcm", chest_hu(3, EDGE), PatientName=CANARY)
    _fixed(path, 0)


def _volume(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        if name.startswith("scan.nii"):
            lps_nifti(folder / name, chest_hu(3, EDGE))
        else:
            write_mhd(folder / name, chest_hu(3, EDGE), (0.7, 0.8, 2.5))

    return write


def _picture(name: str, bits: int = 8) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        grey = chest_grey(EDGE)
        write_png(folder / name, grey if bits == 8 else grey.astype(np.uint16) * 257)

    return write


def _pages(folder: Path) -> None:
    first, *others = (Image.fromarray(chest_grey(EDGE, seed)) for seed in range(3))
    first.save(folder / "x.tif", save_all=True, append_images=others)


def _zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as into:
        for name in ("nii", "mhd", "png"):
            for file, content in good_files(name).items():
                # A fixed time of its own keeps the bytes the same.
                into.writestr(zipfile.ZipInfo(f"inner/{file}"), content, zipfile.ZIP_DEFLATED)


_MAKERS: dict[str, Callable[[Path], None]] = {
    "dicom": _dicom(None),
    "dicom-implicit": _dicom("implicit"),
    "dicom-big": _dicom("big endian"),
    "dicom-deflated": _dicom("deflated"),
    "dicom-jpegls": _dicom("JPEG-LS"),
    "dicom-jpeg2000": _dicom("JPEG 2000"),
    "dicom-rle": _dicom("RLE"),
    "dicom-jpeg": _dicom("JPEG lossless"),
    "dicom-enhanced": _enhanced,
    "nii": _volume("scan.nii"),
    "nii.gz": _volume("scan.nii.gz"),
    "mha": _volume("scan.mha"),
    "mhd": _volume("scan.mhd"),
    "nrrd": _volume("scan.nrrd"),
    "nhdr": _volume("scan.nhdr"),
    "png": _picture("x.png"),
    "png16": _picture("x.png", 16),
    "jpg": _picture("x.jpg"),
    "tif": _picture("x.tif"),
    "tif16": _picture("x.tif", 16),
    "tif-pages": _pages,
    "zip": _zip,
}
FORMATS = tuple(_MAKERS)
_MADE: dict[str, Files] = {}


def good_files(format: str) -> Files:
    """The files of the good scan, by name."""
    if format not in _MADE:
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            _MAKERS[format](folder)
            paths = sorted(path for path in folder.rglob("*") if path.is_file())
            _MADE[format] = {path.name: path.read_bytes() for path in paths}
    return _MADE[format]
