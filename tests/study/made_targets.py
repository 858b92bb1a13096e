"""Made-up labelled sets, small enough for tests: what is read from files is had from numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from covidssl.datasets import LabelledScan
from covidssl.hounsfield import Pixels
from covidssl.io import ScanFiles
from covidssl.labelled_frames import LabelledFrames
from covidssl.randomness import numpy_generator
from covidssl.rivals import FEATURES
from covidssl.splits import groups_of_scans
from pipelines.study.targets import RUN_LENGTH, SetName, TargetSet

_STREAM = 9181


def made_target(
    of_class: int = 120,
    size: int = 4,
    name: SetName = "sars-cov-2-ct",
    same: Mapping[int, int] | None = None,
    patients: Mapping[int, str] | None = None,
) -> TargetSet:
    """COVID images, then as many others, each unlike all others but for what is planted.

    Args:
        of_class: images of each class.
        size: edge of the frames, which hold noise; lungs are the middle, image 1 has none.
        name: of the set.
        same: rows whose picture is that of another.
        patients: of rows where it is known.
    """
    count, known = 2 * of_class, patients or {}
    generator = numpy_generator(_STREAM, of_class, size)
    target = np.repeat([1, 0], of_class).astype(np.int64)
    names = [f"{row:04}.png" for row in range(count)]
    scans = tuple(
        LabelledScan(one, ScanFiles(one, "picture", (Path(one),)), row < of_class, known.get(row))
        for row, one in enumerate(names)
    )
    hashes = generator.integers(0, 256, (count, 32), dtype=np.uint8)
    for copy, of in (same or {}).items():
        hashes[copy] = hashes[of]
    lungs = np.zeros((count, size, size), np.bool_)
    lungs[:, size // 4 : size - size // 4, size // 4 : size - size // 4] = True
    lungs[1] = False
    thumbnails = generator.normal(0.5 * target[:, None], 1.0, (count, FEATURES)).astype(np.float32)
    frames = generator.integers(0, 65536, (count, size, size), dtype=np.uint16)
    loaded = LabelledFrames(
        frames=frames,
        scan_of=np.arange(count),
        scans=scans,
        thumbnails=thumbnails,
        hashes=hashes,
        voxels=tuple(names),
        pixels=(Pixels.WINDOWED,) * count,
        dropped=(),
        without_lungs=(),
        warned=(),
    )
    return TargetSet(
        name=name,
        scans=scans,
        frames=frames,
        lungs=lungs,
        target=target,
        group=tuple(groups_of_scans(scans, RUN_LENGTH)),
        thumbnails=thumbnails,
        sizes=(400 + generator.integers(0, 40, (count, 3)) + 60 * target[:, None]).astype(
            np.float32
        ),
        loaded=loaded,
        table=Path("labels.csv"),
    )


def with_other_labels(target: TargetSet, rows: np.ndarray) -> TargetSet:
    """The same set with the labels of some rows turned round; groups and folds stay."""
    turned = target.target.copy()
    turned[rows] = 1 - turned[rows]
    return replace(target, target=turned)
