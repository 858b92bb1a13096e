"""Which code means which outcome; docs/inference.md shows these tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from covidssl.answers import Answer, Outcome, Reason
from covidssl.errors import ScanError

WARNED: Mapping[str, str] = {
    "burned_in": "the header says that text is burned into the pixels",
    "coloured": "a picture has coloured pixels: arrows or letters",
    "contrast": "the header names a contrast agent",
    "eight_bit_volume": "a volume of 8-bit grey values, whose window nobody knows",
    "few_planes": "fewer than eight slices show lung, and the network sees volumes",
    "few_slices": "fewer than three slices",
    "inverted": "slices are meant for inverted display (MONOCHROME1)",
    "lossy": "slices were compressed with loss",
    "low_contrast": "a picture uses few of its grey values",
    "mended": "repaired by the policy `repair`: missing or uneven slices, a tilt, an offset, ...",
    "no_dicom_objects": "`--dicom` was given, and no SEG and SR could be written",
    "no_orientation": "the header does not say how the scan lies",
    "no_spacing": "the header does not say how large a voxel is",
    "no_thickness": "the header of a single slice does not say how thick it is",
    "oblique": "slices lie 10 to 30 degrees off the patient's axes",
    "odd_lungs": "one thing looks wrong with the lungs; the whole picture was shown",
    "one_mm": "voxels of exactly 1 x 1 x 1 mm: resampled, or the size is not known",
    "qform_sform": "the header gives two orientations or voxel sizes",
    "see_through": "pixels of a picture are see-through",
    "sixteen_bit": "a 16-bit picture was scaled to 8 bits",
    "slab": "the scan is lower than half of an adult's lungs",
    "thick_slices": "slices are more than 5 mm apart",
    "through_window": "HU reached a classifier of windowed grey values through its window, and it "
    "is not known to have learnt from HU",
    "tiff_pages": "pages of a TIFF were taken for slices",
    "unlike_training": "further from the training scans than the model's limit",
}
"""A scan with one of these is answered, and the reason stands beside the answer."""

ABSTAINED: Mapping[str, str] = {
    "far_from_training": "further from the training scans than twice the model's limit; than the "
    "limit, where the lungs look wrong too",
    "implausible_lungs": "lungs of an impossible volume, or with two things wrong with them",
    "no_lungs": "no lungs were found: no chest, no CT, or lungs without any air left in them",
    "projection": "one or two slices, and greys in them that run like a radiograph's",
}
"""No answer unless it is forced; then it is warned about with the same reason."""

ABSTAINED_UNSEEN: Mapping[str, str] = {
    "colour": "a colour image in a DICOM series",
    "eight_bit": "a secondary capture of 8 bits",
    "grey_for_hu": "grey values of an unknown window, and the network was trained on HU",
    "hu_normalised": "HU were normalised",
    "hu_offset": "HU lost their offset",
    "hu_scaled": "HU were scaled",
    "hu_windowed": "HU were windowed and stored as another type",
    "is_mask": "a mask or an empty picture",
    "localiser": "localisers (scouts) among the slices",
    "no_air": "hardly any air: no HU, or no chest",
    "no_lesion_map": "lungs not found, or looking wrong, and a model that gives lesion maps alone",
    "not_axial": "a coronal or sagittal slice",
    "not_ct": "another modality: CR, DX, MR, PT, ...",
    "not_grey": "said to be windowed grey values, but they are none",
    "not_hu": "said to be HU, but a picture of 8 bits",
    "not_numbers": "complex or coloured voxels",
    "oblique": "more than 30 degrees off the patient's axes (`strict`: 10)",
    "single_slice": "a single slice, and the network sees volumes",
    "too_small": "no axial slices of 32 x 32 pixels or more: a scout saved as a volume?",
}
"""It could be read, but nothing can be shown to the network: no answer, forced or not."""

FAILED: Mapping[str, str] = {
    "closed": "a folder that cannot be listed: who knows what is in it",
    "damaged_header": "the header says what no scan has",
    "duplicate_slices": "two slices at one place",
    "empty_file": "0 bytes",
    "gantry_tilt": "the gantry was tilted",
    "killed": "the system ended the process that read it, twice",
    "missing_slices": "slices are missing",
    "missing_voxels": "the file with the voxels is not there",
    "mixed_orientations": "slices in several orientations",
    "mixed_sizes": "slices of several sizes",
    "mixed_spacings": "slices of several pixel spacings",
    "no_answer": "the network gives no finite number",
    "no_ct_files": "a line of a list names what holds no CT",
    "no_dicom": "DICOM by name only",
    "no_map": "no map where one was asked for",
    "no_mask": "no mask where one was asked for",
    "no_memory": "does not fit into memory",
    "no_orientation": "how the scan lies is not known (`strict`)",
    "no_pixels": "no pixels",
    "no_position": "where slices lie is not known",
    "no_spacing": "how large pixels are is not known",
    "not_finite": "NaN or infinite voxels",
    "not_found": "a line of a list names nothing, or what is not there",
    "outside_folder": "a header takes voxels from outside its folder",
    "qform_sform": "two orientations or voxel sizes (`strict`)",
    "several_acquisitions": "acquisitions that lie in each other",
    "several_frames": "several frames, pages of several sizes, or several values a voxel",
    "several_scans": "more than one scan where one was asked for",
    "sheared": "axes at no right angles",
    "shifted_slices": "slices moved against each other",
    "too_big": "a picture above 36 million pixels",
    "too_long": "reading it took longer than `--scan-timeout`",
    "truncated": "the file ends early",
    "unexpected": "something went wrong that nothing above tells; the log has it whole",
    "uneven_spacing": "slices unevenly apart",
    "unreadable": "anything else that cannot be read",
    "zip_bomb": "a zip that unpacks to too much",
    "zip_damaged": "a damaged zip",
    "zip_encrypted": "an encrypted zip",
    "zip_method": "a zip packed in a way that is not read",
    "zip_nested": "a zip in a zip",
    "zip_path": "a zip whose paths lead out of it, or stand in it twice",
}
"""The files make up no single CT scan that can be read. Any other code is a failure too."""


def refused(name: str, error: ScanError) -> Answer:
    """What is said of a scan that no network can be shown.

    Args:
        name: of the scan.
        error: why.
    """
    outcome = Outcome.ABSTAINED if error.code in ABSTAINED_UNSEEN else Outcome.FAILED
    return Answer(scan=name, outcome=outcome, reasons=(Reason(code=error.code, text=str(error)),))


def abstaining(reasons: Iterable[Reason]) -> bool:
    """Whether one of the reasons means that no answer is given, unless it is forced."""
    return any(reason.code in ABSTAINED for reason in reasons)


def outcome_of(reasons: Iterable[Reason], force: bool) -> Outcome:
    """The outcome of a scan that the networks could be shown."""
    reasons = tuple(reasons)
    if abstaining(reasons) and not force:
        return Outcome.ABSTAINED
    return Outcome.WARNED if reasons else Outcome.OK
