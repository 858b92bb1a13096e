"""Makers of small scans in every format, for tests; the patient is made of ellipses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def chest_hu(slices: int = 8, edge: int = 64, seed: int = 0) -> NDArray[np.int16]:
    """A body with two lungs of different size in air, int16 HU, shape (slices, edge, edge)."""
    y, x = np.mgrid[-1 : 1 : edge * 1j, -1 : 1 : edge * 1j]
    hu = np.full((slices, edge, edge), -1000.0)
    hu[:, x**2 / 0.9**2 + y**2 / 0.7**2 < 1] = 40.0
    for index in range(slices):
        grown = 0.75 + 0.25 * index / max(1, slices - 1)
        # The patient's right lung (on the picture's left) is the larger one.
        for centre, width in ((-0.42, 0.30), (0.42, 0.24)):
            hu[index][((x - centre) / width) ** 2 + (y / (0.5 * grown)) ** 2 < 1] = -850.0
    noise = np.random.default_rng(seed).normal(0, 12, hu.shape)
    return np.clip(hu + noise, -1024, 3071).astype(np.int16)


def chest_grey(edge: int = 64, seed: int = 0) -> NDArray[np.uint8]:
    """One slice of `chest_hu` through the window -1000..400 HU, uint8, shape (edge, edge)."""
    hu = chest_hu(3, edge, seed)[1].astype(np.float32)
    return np.rint(np.clip((hu + 1000) / 1400, 0, 1) * 255).astype(np.uint8)


def write_dicom(
    folder: Path,
    hu: NDArray[np.int16],
    z_mm: Sequence[float] | None = None,
    names: str = "slice{:03d}.dcm",
    orientation: Sequence[float] = AXIAL,
    **tags: object,
) -> list[Path]:
    """A DICOM CT series, one file a slice; `tags` override the header of every slice.

    Slice i lies at z_mm[i] (2.5 mm apart by default), moved along the normal of `orientation`;
    pixel spacing is 0.8 mm (y) by 0.7 mm (x).
    """
    folder.mkdir(parents=True, exist_ok=True)
    places = [2.5 * index for index in range(len(hu))] if z_mm is None else list(z_mm)
    normal = np.cross(orientation[:3], orientation[3:])
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    paths = []
    for index, (plane, place) in enumerate(zip(hu, places, strict=True)):
        path = folder / names.format(index)
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        file.SOPClassUID = CTImageStorage
        file.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
        file.SeriesInstanceUID, file.StudyInstanceUID, file.FrameOfReferenceUID = (
            series, study, frame,
        )  # fmt: skip
        file.Modality = "CT"
        file.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        file.InstanceNumber = index + 1
        file.ImageOrientationPatient = list(orientation)
        file.ImagePositionPatient = [
            float(value) for value in np.array([-20.0, -30.0, 0.0]) + normal * place
        ]
        file.PixelSpacing = [0.8, 0.7]
        file.SliceThickness = 2.5
        file.RescaleIntercept, file.RescaleSlope = -1024, 1
        file.Rows, file.Columns = plane.shape
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 1
        file.PixelData = (plane.astype(np.int32) + 1024).astype("<i2").tobytes()
        for tag, value in tags.items():
            setattr(file, tag, value)
        file.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def change_dicom(path: Path, **tags: object) -> None:
    """Set header values of one DICOM file."""
    file = pydicom.dcmread(path)
    for tag, value in tags.items():
        setattr(file, tag, value)
    file.save_as(path)


def write_nifti(
    path: Path, array_xyz: NDArray[np.generic], affine_ras: NDArray[np.float64] | None = None
) -> Path:
    """A NIfTI file with the array and affine exactly as given (no affine: codes 0)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array_xyz, affine_ras)
    if affine_ras is None:
        image.set_qform(None, code=0)
        image.set_sform(None, code=0)
    nibabel.save(image, path)
    return path


def lps_nifti(path: Path, array_zyx: NDArray[np.generic], spacing_mm: float = 2.0) -> Path:
    """A NIfTI file of an upright (Z, Y, X) array."""
    affine_ras = np.diag([-spacing_mm, -spacing_mm, spacing_mm, 1.0])
    return write_nifti(path, array_zyx.T, affine_ras)


def write_mhd(path: Path, array_zyx: NDArray[np.generic], spacing_xyz: Sequence[float]) -> Path:
    """A MetaImage or NRRD file of an upright (Z, Y, X) array with its corner at (-5, -6, 7) mm."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array_zyx)
    image.SetSpacing([float(edge) for edge in spacing_xyz])
    image.SetOrigin((-5.0, -6.0, 7.0))
    sitk.WriteImage(image, str(path))
    return path


def write_png(path: Path, grey: NDArray[np.generic]) -> Path:
    """A picture; its mode follows the array: (Y, X) L, (Y, X, 3) RGB, (Y, X, 4) RGBA."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey).save(path)
    return path
