"""One frame of a DICOM file as if it were a file of its own.

In enhanced and legacy converted CT (PS3.3 A.38, A.70) what differs between slices stands in
functional groups: a sequence a frame, and one that all frames share.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Values = Mapping[str, Any]
"""Values of a header by their DICOM keywords."""

FRAMES = "PerFrameFunctionalGroupsSequence"
SHARED = "SharedFunctionalGroupsSequence"
_GROUP = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
    "SliceThickness": "PixelMeasuresSequence",
    "RescaleSlope": "PixelValueTransformationSequence",
    "RescaleIntercept": "PixelValueTransformationSequence",
    "FrameType": "CTImageFrameTypeSequence",
    "FrameAcquisitionNumber": "FrameContentSequence",
    "TemporalPositionIndex": "FrameContentSequence",
}


class Frame:
    """Values of one frame's header; without functional groups those of the whole file.

    Attributes:
        index: place of the frame in its file, from 0.
        frames: how many the file holds.
    """

    def __init__(self, file: Values, index: int = 0) -> None:
        self._file = file
        self.index = index
        self.frames = frame_count(file)
        self._groups: list[Any] = []
        described = file.get(FRAMES)
        if described:
            # The frame's own group stands above the shared one.
            self._groups = [described[index], *list(file.get(SHARED) or [])[:1]]

    def get(self, keyword: str) -> Any:
        """The value of a DICOM keyword, or None."""
        name = _GROUP.get(keyword)
        for group in self._groups if name else ():
            items = group.get(name, None) or []
            if len(items) and items[0].get(keyword, None) not in (None, ""):
                return items[0].get(keyword)
        if name and self.frames > 1 and not self._groups:
            return None  # one place cannot be that of all frames
        return self._file.get(keyword)


def frame_count(file: Values) -> int:
    """How many frames a file holds; 1 where it does not say."""
    return max(1, int(file.get("NumberOfFrames") or 1))
