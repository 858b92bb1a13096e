"""Lung masks beside those drawn by hand and beside a plain threshold, and the time they take."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.rows import Bar, Device, Pair, Row, row
from benchmarks.timing import Contender, interleaved, use_threads
from covidssl.errors import UsageError
from covidssl.hounsfield import Pixels
from covidssl.io import read_ct, read_mask
from covidssl.lungs import segment_lungs
from covidssl.phantom import phantom_chest
from covidssl.progress import track
from covidssl.volume import Volume

Mask = NDArray[np.bool_]

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CASES = (1, 2, 3, 4, 6, 7)
PLAIN, DRAWN, SECOND = "plain threshold", "drawn by hand", "1 s"
_BAR, _SECONDS = 0.95, 2.0
_LEAST_AREA = 0.004
_LEAST = 1e-3  # what a share of nothing counts as, so that a ratio can be taken


class Drawn(NamedTuple):
    """A scan with the lungs and the lesions that somebody drew, (Z, Y, X) each."""

    name: str
    ct: Volume
    lungs: Mask
    lesions: Mask


class Score(NamedTuple):
    """How well a mask fits what was drawn.

    Attributes:
        dice: 1 where both agree everywhere.
        pixels: 95th percentile of the distances between the outlines, slice by slice.
        kept: share of the lesions inside the mask.
    """

    dice: float
    pixels: float
    kept: float


def run(device: Device, quick: bool) -> tuple[list[Row], tuple[int, ...]]:
    """All rows, and the number of threads; a GPU has none, since no mask is made on one.

    Raises:
        UsageError: when there is no real CT beside the checkout; a quick run takes phantoms.
    """
    if device == "cuda":
        return [], (1,)
    if not quick and not DATA.is_dir():
        raise UsageError(
            "No real CT beside the checkout (../shared/data), and lungs are measured on nothing "
            "else. `--quick` runs on phantoms."
        )
    before = use_threads(1)
    try:
        scans = [_phantom(seed) for seed in (0, 1)] if quick else _medseg()
        rows = list(_agreement(scans, None if quick else _BAR))
        rows += _time(scans[0].ct if quick else _nlst(), quick)
    finally:
        use_threads(before)
    return rows, (1,)


def plain_threshold(ct: Volume) -> Mask:
    """Every slice by itself: dark, not connected with the picture's border, not small."""
    array = np.asarray(ct.array, dtype=np.float32)
    below = -400.0 if ct.pixels is Pixels.HU else 0.4 * 255
    return np.stack([_plain(plane < below) for plane in array])


def score(mask: Mask, drawn: Drawn) -> Score:
    """How well a mask fits."""
    voxels = float(mask.sum() + drawn.lungs.sum())
    dice = 2 * float((mask & drawn.lungs).sum()) / max(voxels, 1.0)
    away = [_apart(one, other) for one, other in zip(mask, drawn.lungs, strict=True)]
    distances = np.concatenate(away) if away else np.zeros(1)
    kept = float((mask & drawn.lesions).sum()) / max(float(drawn.lesions.sum()), 1.0)
    return Score(dice, float(np.percentile(distances, 95)), kept)


def _plain(dark: Mask) -> Mask:
    labels, count = ndimage.label(dark)
    area = np.bincount(labels.reshape(-1), minlength=count + 1)
    keep = area >= _LEAST_AREA * dark.size
    keep[0] = False
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        keep[edge] = False
    found: Mask = ndimage.binary_fill_holes(keep[labels])
    return found


def _apart(one: Mask, other: Mask) -> NDArray[np.float64]:
    """Distances between the outlines of two planes, both ways; none where one is empty."""
    if not (one.any() and other.any()):
        return np.zeros(0)
    outlines = [plane & ~ndimage.binary_erosion(plane) for plane in (one, other)]
    far = [ndimage.distance_transform_edt(~outline) for outline in outlines]
    return np.concatenate([far[1][outlines[0]], far[0][outlines[1]]])


def _agreement(scans: Sequence[Drawn], bar: float | None) -> Iterator[Row]:
    ours, plain = [], []
    for scan in track(scans, "lung masks", len(scans)):
        ours.append(score(np.asarray(segment_lungs(scan.ct).mask.array), scan))
        plain.append(score(plain_threshold(scan.ct), scan))
        yield from _beside(scan.name, ours[-1], plain[-1])
    mean, floor = (Score(*np.mean(found, axis=0).tolist()) for found in (ours, plain))
    yield from _beside("mean", mean, floor)
    for case, value in (("Dice", mean.dice), ("infection kept", mean.kept)):
        pair = Pair([value], [1.0], more_is_better=True)
        yield row(f"mean, {case}", "share", pair, DRAWN, Bar("at least", bar))


def _beside(name: str, ours: Score, plain: Score) -> Iterator[Row]:
    for case, a, b in (("Dice", ours.dice, plain.dice), ("infection kept", ours.kept, plain.kept)):
        pair = Pair([max(a, _LEAST)], [max(b, _LEAST)], more_is_better=True)
        yield row(f"{name}, {case}", "share", pair, PLAIN, Bar("at least"))
    pair = Pair([max(ours.pixels, _LEAST)], [max(plain.pixels, _LEAST)])
    yield row(f"{name}, 95 % Hausdorff", "pixels", pair, PLAIN, Bar("at least"))


def _time(ct: Volume, quick: bool) -> Iterator[Row]:
    contenders = [
        Contender("ours", lambda: segment_lungs(ct)),
        Contender(PLAIN, lambda: plain_threshold(ct)),
    ]
    seconds = interleaved(contenders, 1 if quick else 5, 0.0)
    case = f"{' x '.join(map(str, ct.array.shape[::-1]))}, 1 thread"
    ours = seconds["ours"]
    yield row(case, "s", Pair(ours, seconds[PLAIN]), PLAIN, Bar("at most"))
    bar = Bar("at most", None if quick else _SECONDS)
    yield row(case, "s", Pair(ours, [1.0] * len(ours)), SECOND, bar)


def _medseg() -> list[Drawn]:
    return [_case(DATA / "medseg-9" / f"case{case}", f"medseg-9 case {case}") for case in CASES]


def _case(stem: Path, name: str) -> Drawn:
    ct = read_ct(f"{stem}_image.nii.gz")
    lungs, lesions = (read_mask(f"{stem}_{kind}.nii.gz").array for kind in ("lung", "infection"))
    return Drawn(name, ct, np.asarray(lungs, dtype=np.bool_), np.asarray(lesions, dtype=np.bool_))


def _nlst() -> Volume:
    return read_ct(DATA / "nlst" / "NLST-101287.nii.gz")


def _phantom(seed: int) -> Drawn:
    scan = phantom_chest(seed, lesions=True)
    return Drawn(f"phantom {seed}", scan.ct, np.asarray(scan.lungs.array) > 0, scan.lesion)
