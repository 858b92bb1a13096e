"""Pictures of a case for the folder of runs: they hold pixels of the scan, and stay there."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from covidssl.frames import Frame, mask_planes
from covidssl.maps.lesion import Looked, through_window
from covidssl.networks.unet import RestorationUNet
from pipelines.localising.cases import Case, Values
from pipelines.localising.scores import restored

ROWS = 6
_STRONGER = 2.0


def sheet(case: Case, looked: Looked, network: RestorationUNet, lesion_map: Values) -> bytes:
    """A PNG: rows of slices; image, annotation, restored, removed, lesion map beside each other.

    The slices are those with most marked, spread over the scan; without a mark, any with lung.
    """
    rows = _chosen(case)
    seen = through_window(looked)
    part = seen._replace(frames=seen.frames[rows], inside=seen.inside[rows])
    unit = part.frames / np.float32(65535)
    again = restored(network, part).restored
    truth = _frames_of_marks(case, rows, looked)
    columns = (unit, truth, again, (unit - again) * _STRONGER, lesion_map[rows] * _STRONGER)
    strips = [np.concatenate([of[row] for of in columns], axis=1) for row in range(len(rows))]
    grey = np.rint(np.concatenate(strips).clip(0, 1) * 255).astype(np.uint8)
    content = io.BytesIO()
    Image.fromarray(grey).save(content, format="PNG")
    return content.getvalue()


def _chosen(case: Case) -> list[int]:
    marked = case.marked.sum((1, 2))
    counts = marked if marked.any() else case.lungs.sum((1, 2))
    shown = np.flatnonzero(counts)
    parts = np.array_split(shown, min(ROWS, len(shown)))
    return [int(part[counts[part].argmax()]) for part in parts]


def _frames_of_marks(case: Case, rows: list[int], looked: Looked) -> Values:
    frame = Frame(size=looked.frames.shape[-1])
    return mask_planes(case.marked[rows], case.box, frame)
