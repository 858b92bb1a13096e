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
from covidssl.encoder_card import INTENDED_USE
from covidssl.errors import ScanError, UsageError
from covidssl.files import replacing
from covidssl.io import ScanFiles
from covidssl.io.source_headers import NEEDED, source_headers
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
        ScanError: when planes of the grid are not whole files of the series, or its headers lack
            what the objects need, or hold what they may not.
        UsageError: when highdicom is not installed.
    """
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "--dicom needs the package highdicom: pip install 'covidssl[dicom]'."
        ) from error
    slices, planes = _slices(source, found.grid)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            segmentation = _segmentation(slices, planes, found)
            report = _report(slices, segmentation, found)
    except Exception as error:
        # Its kind alone is told: the text may quote the patient.
        raise _none(
            source, f"a header holds what DICOM does not allow ({type(error).__name__})"
        ) from None
    for dataset, path in ((segmentation, seg), (report, sr)):
        with replacing(path) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)


def _slices(source: ScanFiles, grid: StoredGrid) -> tuple[list[Any], list[int]]:
    """The headers of the files that were kept, lowest plane first, and the plane each shows.

    A plane that was filled in has none, and a file that was left out is not among them.
    """
    kept = {plane: file for plane, file in enumerate(grid.files) if file is not None}
    if not kept:
        many = len(source.paths) < grid.shape[0]
        why = "many frames lie in a file" if many else "slices were moved or resampled to mend it"
        raise _none(source, f"its planes are not whole files, since {why}")
    headers = source_headers(source, list(kept.values()))
    for header in headers:
        lacking = [keyword for keyword in NEEDED if header.get(keyword, None) in (None, "")]
        if lacking:
            raise _none(source, f"the header of a slice lacks {', '.join(lacking)}")
    return headers, list(kept)


def _none(source: ScanFiles, why: str) -> ScanError:
    return ScanError(
        f"{source.name}: no DICOM SEG or SR is written: {why}. Its maps are there as NIfTI."
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
        parameters={
            "model": found.answer.model or "none",
            "threshold": f"{found.threshold:g}",
            "intended use": INTENDED_USE,
        },
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
            f"SHA-256 of the model's weights: {found.answer.model or 'none'}",
            f"lesion above {found.threshold:g} network units of the lesion map",
            "burden: no calibrated measure; a low one does not rule disease out; nothing outside "
            "the lung mask is seen",
            INTENDED_USE,
        ],
    )
    groups = []
    if found.answer.probability is not None:
        output = [_measured(PROBABILITY, found.answer.probability, ONE)]
        groups.append(_group("probability", MODEL_OUTPUT, algorithm, output))
    burden = found.answer.burden
    if burden is None:
        return groups
    # A plane that was filled in counts in the volume, and lies in no segment.
    shown = bool(found.lesion.any()) and None not in found.grid.files
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
