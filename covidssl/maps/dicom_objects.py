"""A DICOM SEG of lesions and lungs, and a DICOM SR that measures them and names the model.

Both belong to the patient, and carry the patient's name, number, date of birth and study as the
series has them. They are written with highdicom, on request alone.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.answers import Answer, LungBurden
from covidssl.errors import ScanError, UsageError
from covidssl.files import replacing
from covidssl.io import ScanFiles
from covidssl.io.source_headers import source_headers
from covidssl.maps.dicom_codes import (
    ABNORMAL,
    AI,
    ANATOMY,
    BOTH,
    CHEST_CT,
    DEVICE,
    LEFT,
    LESION,
    LESION_PERCENT,
    LESION_VOLUME,
    LUNG,
    LUNG_VOLUME,
    ML,
    MODEL_OUTPUT,
    ONE,
    PERCENT,
    PROBABILITY,
    RIGHT,
    TITLE,
    Coded,
)
from covidssl.version import __version__
from covidssl.volume import StoredGrid

NAME = "covidssl"
_OFF_PLACE = 0.1  # of the distance of slices
_OFF_PIXELS = 0.1
_LESION, _LUNGS = 1, 2
_SEG_SERIES, _SR_SERIES = 9001, 9002


class Findings(NamedTuple):
    """What the objects say.

    Attributes:
        grid: of the masks.
        lesion, lungs: (Z, Y, X), in the order of the grid.
        answer: what is said of the scan.
        threshold: network units above which a voxel is lesion.
    """

    grid: StoredGrid
    lesion: NDArray[np.bool_]
    lungs: NDArray[np.bool_]
    answer: Answer
    threshold: float


def write_objects(source: ScanFiles, found: Findings, seg: Path, sr: Path) -> None:
    """Write both objects, each whole or not at all. They name the patient.

    Args:
        source: the DICOM series.
        found: what they say.
        seg, sr: where they go.

    Raises:
        ScanError: when the series' slices do not lie on the grid (it was mended), or its headers
            lack what the objects need.
        UsageError: when highdicom is not installed.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "--dicom needs the package highdicom: pip install 'covidssl[dicom]'."
        ) from error
    slices, planes = _on_the_grid(source_headers(source), found.grid, source.name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            segmentation = _segmentation(slices, planes, found)
            report = _report(slices, segmentation, found)
    except Exception as error:
        # Its kind alone is told: the text may quote the patient.
        raise ScanError(
            f"{source.name}: no DICOM SEG or SR is written ({type(error).__name__}): a header "
            f"lacks what they need, or holds what DICOM does not allow. Its maps are there as "
            f"NIfTI.",
            "no_dicom",
        ) from None
    for dataset, path in ((segmentation, seg), (report, sr)):
        with replacing(path) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)


def _on_the_grid(headers: list[Any], grid: StoredGrid, source: str) -> tuple[list[Any], list[int]]:
    """The slices, lowest plane first, and the plane of the grid on which each of them lies.

    A slice that is there twice counts once.
    """
    inverse = np.linalg.inv(grid.affine)
    found: dict[int, Any] = {}
    for header in headers:
        place = [*(float(edge) for edge in getattr(header, "ImagePositionPatient", ())), 1.0]
        same = (header.get("Rows"), header.get("Columns")) == grid.shape[1:]
        if len(place) != 4 or not same:
            raise ScanError(_off(source), "no_dicom")
        x, y, z = (inverse @ np.array(place))[:3]
        if max(abs(x), abs(y)) > _OFF_PIXELS or abs(z - round(z)) > _OFF_PLACE:
            raise ScanError(_off(source), "no_dicom")
        found.setdefault(round(z), header)
    planes = sorted(plane for plane in found if 0 <= plane < grid.shape[0])
    return [found[plane] for plane in planes], planes


def _off(source: str) -> str:
    return (
        f"{source}: no DICOM SEG or SR is written: its slices do not lie on the grid that was "
        f"looked at, one file each (the series was mended, or holds many frames in a file). Its "
        f"maps are there as NIfTI."
    )


def _segmentation(slices: list[Any], planes: list[int], found: Findings) -> Any:
    from highdicom import UID
    from highdicom.seg import Segmentation, SegmentationTypeValues

    masks = np.stack([found.lesion[planes], found.lungs[planes]], axis=-1)
    return Segmentation(
        source_images=slices,
        pixel_array=masks.astype(np.uint8),
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[
            _segment(_LESION, "Lesion, label-free", (ABNORMAL, LESION), found),
            _segment(_LUNGS, "Lungs", (ANATOMY, LUNG), found),
        ],
        series_instance_uid=UID(),
        series_number=_SEG_SERIES,
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=__version__,
        device_serial_number=found.answer.model[:16] or "none",
        content_label="LESIONS",
        content_description="Label-free lesion map, thresholded; lungs. Research only",
        series_description="covidssl: lesions and lungs (research only)",
    )


def _segment(number: int, label: str, codes: tuple[Coded, Coded], found: Findings) -> Any:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription

    category, kind = codes
    algorithm = AlgorithmIdentificationSequence(
        name=NAME,
        family=_code(AI),
        version=__version__,
        parameters={"model": found.answer.model or "none", "threshold": f"{found.threshold:g}"},
    )
    return SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=_code(category),
        segmented_property_type=_code(kind),
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
        anatomic_regions=[_code(LUNG)] if number == _LESION else None,
        tracking_uid=_uid(),
        tracking_id=label,
    )


def _report(slices: list[Any], segmentation: Any, found: Findings) -> Any:
    from highdicom import UID, sr

    observer = sr.ObserverContext(
        observer_type=_code(DEVICE),
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(
            uid=UID(),
            name=NAME,
            manufacturer_name=NAME,
            model_name=f"{NAME} {__version__}",
            serial_number=found.answer.model or None,
        ),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=_code(CHEST_CT),
        imaging_measurements=_groups(segmentation, found),
        title=_code(TITLE),
        referenced_images=slices,
    )
    return sr.Comprehensive3DSR(
        evidence=[*slices, segmentation],
        content=content[0],
        series_instance_uid=UID(),
        series_number=_SR_SERIES,
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer=NAME,
        series_description="covidssl: measurements (research only)",
        is_complete=True,
        is_final=False,
        is_verified=False,
    )


def _groups(segmentation: Any, found: Findings) -> list[Any]:
    """What is measured: the model's probability, and lesion in both lungs and in each."""
    from highdicom import sr

    algorithm = sr.AlgorithmIdentification(
        name=NAME,
        version=__version__,
        parameters=[
            f"SHA-256 of the classifier's weights: {found.answer.model or 'none'}",
            f"lesion above {found.threshold:g} network units of the lesion map",
        ],
    )
    groups = []
    if found.answer.probability is not None:
        output = [_measured(PROBABILITY, found.answer.probability, ONE)]
        groups.append(_group("probability", MODEL_OUTPUT, algorithm, output))
    burden = found.answer.burden
    if burden is None:
        return groups
    shown = bool(found.lesion.any())
    both = {
        "tracking_identifier": sr.TrackingIdentifier(_uid(), "lesion in both lungs"),
        "finding_type": _code(LESION),
        "algorithm_id": algorithm,
        "finding_sites": [_site(BOTH)],
        "measurements": _amounts(burden.both),
    }
    if shown:
        segment = sr.ReferencedSegment.from_segmentation(segmentation, _LESION)
        groups.append(
            sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
                referenced_segment=segment, **both
            )
        )
    else:
        groups.append(sr.MeasurementsAndQualitativeEvaluations(**both))
    for side, code, amount in (("right", RIGHT, burden.right), ("left", LEFT, burden.left)):
        if amount is not None:
            named = f"lesion in the {side} lung"
            groups.append(_group(named, LESION, algorithm, _amounts(amount), _site(code)))
    return groups


def _group(name: str, finding: Coded, algorithm: Any, measured: list[Any], site: Any = None) -> Any:
    from highdicom import sr

    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(_uid(), name),
        finding_type=_code(finding),
        algorithm_id=algorithm,
        finding_sites=None if site is None else [site],
        measurements=measured,
    )


def _amounts(amount: LungBurden) -> list[Any]:
    found = [_measured(LESION_PERCENT, amount.percent, PERCENT)]
    if amount.lesion_ml is not None:
        found.append(_measured(LESION_VOLUME, amount.lesion_ml, ML))
    if amount.lung_ml is not None:
        found.append(_measured(LUNG_VOLUME, amount.lung_ml, ML))
    return found


def _measured(name: Coded, value: float, unit: Coded) -> Any:
    from highdicom import sr

    # A decimal string of DICOM has sixteen letters.
    return sr.Measurement(name=_code(name), value=float(f"{value:.6g}"), unit=_code(unit))


def _site(laterality: Coded) -> Any:
    from highdicom import sr

    return sr.FindingSite(anatomic_location=_code(LUNG), laterality=_code(laterality))


def _code(code: Coded) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def _uid() -> Any:
    from highdicom import UID

    return UID()
