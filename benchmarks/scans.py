"""Files of CT scans as large as real ones, made by code: what the readers are measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless, generate_uid

SPACING_MM = (1.0, 0.7, 0.7)
_PLANES = 8
# As many elements as the headers of real scanners have: readers go through all of them.
_FURTHER = {
    "DA": "20000101", "TM": "120000", "DT": "20000101120000", "LO": "made up", "SH": "made up",
    "CS": "MADE_UP", "DS": "1.25", "IS": "7", "PN": "MADE^UP", "US": 3, "ST": "made up text",
    "AS": "050Y", "UI": "1.2.3.4", "LT": "made up", "AE": "MADEUP",
}  # fmt: skip
_KEYWORDS = (
    "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "StudyTime", "SeriesTime",
    "AcquisitionTime", "ContentTime", "AcquisitionDateTime", "AccessionNumber", "Manufacturer",
    "InstitutionName", "InstitutionAddress", "ReferringPhysicianName", "StationName",
    "StudyDescription", "SeriesDescription", "InstitutionalDepartmentName",
    "PerformingPhysicianName", "OperatorsName", "ManufacturerModelName", "PatientName",
    "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientWeight",
    "PatientComments", "ContrastBolusAgent", "BodyPartExamined", "ScanOptions", "KVP",
    "DataCollectionDiameter", "DeviceSerialNumber", "SoftwareVersions", "ProtocolName",
    "ReconstructionDiameter", "DistanceSourceToDetector", "DistanceSourceToPatient",
    "GantryDetectorTilt", "TableHeight", "RotationDirection", "ExposureTime", "XRayTubeCurrent",
    "Exposure", "FilterType", "GeneratorPower", "FocalSpots", "ConvolutionKernel",
    "PatientPosition", "StudyID", "SeriesNumber", "AcquisitionNumber",
    "PositionReferenceIndicator", "SliceLocation", "ImageComments", "WindowCenter", "WindowWidth",
    "WindowCenterWidthExplanation", "RequestedProcedureDescription", "PerformedStationAETitle",
    "PerformedProcedureStepStartDate", "PerformedProcedureStepStartTime",
    "PerformedProcedureStepID",
)  # fmt: skip


def chest(slices: int, edge: int) -> NDArray[np.int16]:
    """A body with two lungs in air, with noise, int16 HU, (slices, edge, edge)."""
    y, x = np.mgrid[-1 : 1 : edge * 1j, -1 : 1 : edge * 1j]
    hu = np.where(x**2 / 0.85 + y**2 / 0.5 < 1, 40.0, -1000.0)
    for centre in (-0.42, 0.42):
        hu[((x - centre) / 0.3) ** 2 + (y / 0.5) ** 2 < 1] = -850.0
    rng = np.random.default_rng(0)
    # A few planes, each moved along: drawing noise for all would take minutes.
    planes = [np.clip(hu + rng.normal(0, 20, hu.shape), -1024, 3071) for _ in range(_PLANES)]
    stacked = [np.roll(planes[i % _PLANES], i // _PLANES, axis=0) for i in range(slices)]
    return np.asarray(stacked, dtype=np.int16)


def write_series(folder: Path, hu: NDArray[np.int16], compressed: bool = False) -> list[Path]:
    """A DICOM CT series, one file a slice, in order; JPEG-LS where it is to be compressed."""
    folder.mkdir(parents=True)
    series, study = generate_uid(), generate_uid()
    paths = []
    for index, plane in enumerate(hu):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        path = folder / f"{index:04d}.dcm"
        file: Any = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        for keyword in _KEYWORDS:
            setattr(file, keyword, _FURTHER[dictionary_VR(keyword)])
        file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        file.SeriesInstanceUID, file.StudyInstanceUID = series, study
        file.FrameOfReferenceUID, file.InstanceNumber = study, index + 1
        file.Modality, file.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
        file.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        file.ImagePositionPatient = [-180.0, -180.0, index * SPACING_MM[0]]
        file.PixelSpacing, file.SliceThickness = list(SPACING_MM[1:]), SPACING_MM[0]
        file.RescaleIntercept, file.RescaleSlope = -1024, 1
        file.Rows, file.Columns = plane.shape
        file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
        file.BitsAllocated, file.BitsStored, file.HighBit = 16, 12, 11
        file.PixelRepresentation = 0
        file.PixelData = (plane + 1024).astype("<u2").tobytes()
        if compressed:
            file.compress(JPEGLSLossless, generate_instance_uid=False)
        file.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


def write_nifti(path: Path, hu: NDArray[np.int16]) -> Path:
    """The same scan as `.nii` or `.nii.gz`."""
    affine = np.diag([-SPACING_MM[2], -SPACING_MM[1], SPACING_MM[0], 1.0])
    nibabel.save(nibabel.Nifti1Image(hu.T, affine), path)
    return path
