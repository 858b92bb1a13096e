"""Whether a scan is one to answer for, and what should be said beside the answer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from covidssl.answers import Reason
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels, to_unit
from covidssl.lungs import Lungs
from covidssl.noted import Noted
from covidssl.out_of_distribution import DistanceLimit
from covidssl.prediction.projections import greys_of, is_projection
from covidssl.scan_frames import THIN_SLAB_MM, ScanFrames
from covidssl.volume import Volume

FAR = 2.0
"""Times the limit of the distance, beyond which there is no answer."""

_THICK_MM = 5.0
_FEW_SLICES = 3  # below it the reader says so already
_SAID_HERE = ("no_lungs", "odd_lungs")


def reasons_of(
    ct: Volume, lungs: Lungs, cut: ScanFrames, frame: Frame, learnt_from: Collection[Pixels] = ()
) -> tuple[Reason, ...]:
    """All that speaks against an answer or asks for a second look, before any network is asked.

    Args:
        ct: the scan, upright.
        lungs: of it.
        cut: what the network will see, with what the reader said.
        frame: of the network.
        learnt_from: kinds of pixel that it learnt from; empty where nobody knows.
    """
    read = [one for one in cut.warnings if one.code not in _SAID_HERE]
    told = [*_of_lungs(ct, lungs, cut), *read, *_of_geometry(ct, lungs)]
    windowed = ct.pixels is Pixels.HU and frame.pixels is Pixels.WINDOWED
    if windowed and Pixels.HU not in learnt_from:
        low, high = frame.window_hu
        text = f"HU seen through the window {low:g}..{high:g} of an 8-bit network"
        told.append(Noted(text, "through_window"))
    told += [Noted(f"mended: {one}", "mended") for one in ct.repairs]
    said: dict[str, Reason] = {}
    for one in told:
        # What is repaired may be several things; of all else once is enough.
        key = one if one.code == "mended" else one.code
        said.setdefault(key, Reason(code=one.code, text=str(one)))
    return tuple(said.values())


def _of_lungs(ct: Volume, lungs: Lungs, cut: ScanFrames) -> Iterator[Noted]:
    for one in cut.warnings:
        if one.code == "odd_lungs" and _implausible(lungs):
            yield Noted(one, "implausible_lungs")
        elif one.code in _SAID_HERE:
            yield one
    if lungs.problem is None and ct.pixels is not None and len(ct.array) < _FEW_SLICES:
        yield from _of_projections(_grey(ct.array, ct.pixels), np.asarray(lungs.mask.array, bool))


def _grey(array: NDArray[np.generic], pixels: Pixels) -> NDArray[np.uint8]:
    """Slices (Z, Y, X) of either kind as 0..255; HU are seen through the lung window."""
    return np.rint(255 * to_unit(array, pixels)).astype(np.uint8)


def _of_projections(slices: NDArray[np.uint8], lungs: NDArray[np.bool_]) -> Iterator[Noted]:
    for picture, inside in zip(slices, lungs, strict=True):
        if not inside.any():
            continue
        greys = greys_of(picture, inside)
        if is_projection(greys):
            text = (
                f"{greys.between:.0%} of the body have greys between lung and tissue, and the "
                f"lungs' edges are soft: a radiograph or scout, and no slice?"
            )
            yield Noted(text, "projection")


def _implausible(lungs: Lungs) -> bool:
    codes = {flag.code for flag in lungs.flags}
    return "volume" in codes or len(codes) > 1


def _of_geometry(ct: Volume, lungs: Lungs) -> Iterator[Noted]:
    if ct.spacing_mm is None or not lungs.spacing_known or len(ct.array) < _FEW_SLICES:
        return
    z_mm, slices = ct.spacing_mm[0], len(ct.array)
    if slices * z_mm < THIN_SLAB_MM:
        text = f"a slab: {slices} slices over {slices * z_mm:.0f} mm"
        yield Noted(f"{text}, where whole lungs are about 250 mm high", "slab")
    if z_mm > _THICK_MM:
        text = f"slices are {z_mm:.3g} mm apart, expected {_THICK_MM:g} at most"
        yield Noted(text, "thick_slices")


def reason_of_distance(
    distance: float, limit: DistanceLimit | None, reasons: Iterable[Reason]
) -> tuple[Reason, ...]:
    """What a distance from the training scans means, beside what was found before.

    Nothing where the model has no limit. Lungs that look wrong and a distance above the limit are
    two doubts of different kinds: together they are too much, whatever the distance.
    """
    if limit is None or distance <= limit.limit:
        return ()
    odd = any(reason.code == "odd_lungs" for reason in reasons)
    text = (
        f"unlike the scans that the model learnt from: distance {distance:.2f}, its limit is "
        f"{limit.limit:.2f}"
    )
    if distance > FAR * limit.limit:
        return (Reason(code="far_from_training", text=f"{text}, and {FAR:g} times that too far"),)
    if odd:
        text = f"{text}; too far, since the lungs look wrong too"
        return (Reason(code="far_from_training", text=text),)
    return (Reason(code="unlike_training", text=text),)
