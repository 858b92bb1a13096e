"""Makers of DICOM files beyond plain series: compressed, and many frames in one."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from openjpeg.utils import encode_array
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from tests.scan_files import AXIAL

UNCOMPRESSED = {
    "implicit": ImplicitVRLittleEndian,
    "big endian": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian,
}
COMPRESSED = {
    "JPEG-LS": JPEGLSLossless,
    "JPEG 2000": JPEG2000Lossless,
    "RLE": RLELossless,
    "JPEG lossless": JPEGLosslessSV1,
}


def recode(path: Path, syntax: str) -> None:
    """Write a DICOM file again in another transfer syntax, by its name above."""
    file: Any = pydicom.dcmread(path)
    if syntax in COMPRESSED:
        compress(file, syntax)
        file.save_as(path)
        return
    uid = UNCOMPRESSED[syntax]
    if syntax == "big endian":
        file.PixelData = np.frombuffer(file.PixelData, "<u2").astype(">u2").tobytes()
    file.file_meta.TransferSyntaxUID = uid
    little, implicit = syntax != "big endian", syntax == "implicit"
    blank = Dataset()
    blank.update(file)
    pydicom.dcmwrite(
        path,
        FileDataset(
            str(path), blank, file.preamble, file.file_meta,
            is_implicit_VR=implicit, is_little_endian=little,
        ),
    )  # fmt: skip


def compress(file: Any, syntax: str) -> None:
    """Compress the pixels of a file in memory, whole frames each, without loss."""
    if syntax in ("JPEG-LS", "RLE"):
        file.compress(COMPRESSED[syntax], generate_instance_uid=False)
        return
    signed = file.PixelRepresentation == 1
    planes = np.frombuffer(file.PixelData, "<i2" if signed else "<u2").reshape(
        -1, file.Rows, file.Columns
    )
    if syntax == "JPEG 2000":
        frames = [encode_array(plane, bits_stored=file.BitsStored) for plane in planes]
    else:
        frames = [_through_gdcm(plane) for plane in planes]
    file.PixelData = encapsulate(frames)
    file["PixelData"].VR = "OB"
    file.file_meta.TransferSyntaxUID = COMPRESSED[syntax]


def _through_gdcm(plane: NDArray[Any]) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plane.dcm"
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(path))
        writer.SetImageIO("GDCMImageIO")
        writer.SetUseCompression(True)
        writer.SetCompressor("JPEG")
        writer.Execute(sitk.GetImageFromArray(plane[np.newaxis]))
        file = pydicom.dcmread(path)
    assert file.file_meta.TransferSyntaxUID == JPEGLosslessSV1
    return next(generate_frames(file.PixelData, number_of_frames=1))


def deflate_bomb(content: bytes, mib: int, before: bytes = b"") -> bytes:
    """A deflated file followed by so many MiB of zeros in an element that nobody asked for.

    `before` are bytes of other elements, which stand before the file's own.
    """
    at = 144 + int.from_bytes(content[140:144], "little")
    body = zlib.decompress(content[at:], -zlib.MAX_WBITS)
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)

    def flushed(data: bytes) -> bytes:
        # Full flushes make blocks that know nothing of each other, so that one can be repeated.
        return engine.compress(data) + engine.flush(zlib.Z_FULL_FLUSH)

    start = flushed(before + body + struct.pack("<HH2sHI", 0x7FE1, 0x0010, b"OB", 0, mib * 2**20))
    return content[:at] + start + flushed(bytes(2**20)) * mib + engine.flush()


def write_enhanced(
    path: Path,
    hu: NDArray[np.int16],
    order: Sequence[int] | None = None,
    orientation: Sequence[float] = AXIAL,
    rescale: Sequence[tuple[float, float]] = ((1.0, -1024.0),),
    **tags: object,
) -> Path:
    """An enhanced multi-frame CT, 2.5 mm apart along the normal, pixels of 0.8 mm (y) by 0.7 mm.

    Args:
        path: of the file.
        hu: (slices, rows, columns).
        order: which slice each frame holds; the places of frames follow their slices.
        orientation: rows and columns.
        rescale: slope and intercept: one pair for all (shared), or one a slice (per frame).
        **tags: header values of the whole file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file: Any = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    file.SOPClassUID, file.SOPInstanceUID = EnhancedCTImageStorage, meta.MediaStorageSOPInstanceUID
    file.SeriesInstanceUID, file.StudyInstanceUID = generate_uid(), generate_uid()
    file.Modality, file.ImageType = "CT", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    file.NumberOfFrames = len(hu)
    file.Rows, file.Columns = hu.shape[1:]
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 1
    shared = Dataset()
    shared.PixelMeasuresSequence = [group(PixelSpacing=[0.8, 0.7], SliceThickness=2.5)]
    shared.PlaneOrientationSequence = [group(ImageOrientationPatient=list(orientation))]
    if len(rescale) == 1:
        shared.PixelValueTransformationSequence = [rescaling(*rescale[0])]
    file.SharedFunctionalGroupsSequence = [shared]
    normal = np.cross(orientation[:3], orientation[3:])
    frames, planes = [], []
    for index in range(len(hu)) if order is None else order:
        place = np.array([-20.0, -30.0, 0.0]) + normal * 2.5 * index
        frame = Dataset()
        frame.PlanePositionSequence = [group(ImagePositionPatient=[float(p) for p in place])]
        slope, intercept = rescale[index % len(rescale)]
        if len(rescale) > 1:
            frame.PixelValueTransformationSequence = [rescaling(slope, intercept)]
        frames.append(frame)
        planes.append(np.rint((hu[index].astype(np.float64) - intercept) / slope).astype("<i2"))
    file.PerFrameFunctionalGroupsSequence = frames
    file.PixelData = np.stack(planes).tobytes()
    for tag, value in tags.items():
        setattr(file, tag, value)
    file.save_as(path, enforce_file_format=True)
    return path


def group(**values: object) -> Dataset:
    """One item of a sequence."""
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def rescaling(slope: float, intercept: float) -> Dataset:
    """The item that turns stored values into HU."""
    return group(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU")
