"""The coded concepts of the DICOM objects: SNOMED CT, DICOM, UCUM, and a few of our own."""

from __future__ import annotations

from typing import NamedTuple

SCHEME = "99COVIDSSL"
"""Of concepts that no public scheme has; DICOM asks for names that begin with 99."""


class Coded(NamedTuple):
    """A coded concept: its value, the scheme that has it, and what it means."""

    value: str
    scheme: str
    meaning: str


ABNORMAL = Coded("49755003", "SCT", "Morphologically Abnormal Structure")
ANATOMY = Coded("91723000", "SCT", "Anatomical Structure")
LESION = Coded("52988006", "SCT", "Lesion")
LUNG = Coded("39607008", "SCT", "Lung")
RIGHT = Coded("24028007", "SCT", "Right")
LEFT = Coded("7771000", "SCT", "Left")
BOTH = Coded("51440002", "SCT", "Right and left")
AI = Coded("123110", "DCM", "Artificial Intelligence")
DEVICE = Coded("121007", "DCM", "Device")
TITLE = Coded("126000", "DCM", "Imaging Measurement Report")
CHEST_CT = Coded("169069000", "SCT", "CT of chest")
ML = Coded("mL", "UCUM", "milliliter")
PERCENT = Coded("%", "UCUM", "Percent")
ONE = Coded("1", "UCUM", "no units")
PROBABILITY = Coded("PROBABILITY", SCHEME, "Probability of the positive class, research only")
MODEL_OUTPUT = Coded("OUTPUT", SCHEME, "Output of a classifier, research only")
LESION_PERCENT = Coded("LESION_PERCENT", SCHEME, "Lesion as a share of lung volume")
LESION_VOLUME = Coded("LESION_VOLUME", SCHEME, "Volume of lesion")
LUNG_VOLUME = Coded("LUNG_VOLUME", SCHEME, "Volume of lung")
