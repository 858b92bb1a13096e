"""What the values mean: the format decides, the gate checks, and nothing is guessed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.hounsfield import Pixels
from covidssl.io.intercept import OFFSET, offset_peaks, sampled
from covidssl.io.raw import RawScan
from covidssl.io.reading import Reading
from covidssl.noted import Noted

LOWEST_HU = -1024
HIGHEST_HU = 3071
_AIR_BELOW_HU = -500
_LEAST_AIR = 0.005
_ABSURD_HIGH_HU = 4000
_ABSURD_LOW_HU = -1200
_MOST_ABSURD = 0.01
_MOST_NOT_FINITE = 0.01
_SAMPLE = 20_000
# A volume of so few whole numbers is a map of labels; a picture may have few greys.
_MOST_LABELS = 16
_MOST_PICTURE_VALUES = 3
# Of 2481 slices of SARS-CoV-2 CT, 543 of COVID-CT and 1000 of LUNA16 none has less than 140.
_LOW_CONTRAST = 100
_LOWEST_INT16 = -(2**15)
_REMEDY = "give the image as Hounsfield units, or say that it is windowed grey values"


@dataclass(frozen=True)
class _Values:
    """What one pass over the voxels tells: lowest, highest, and the share of air (below -500).

    Air is what lies above -1024 and above its slice's lowest value: constants that fill what is
    outside the field of view are no air.
    """

    low: float
    high: float
    air: float


def settle(raw: RawScan, reading: Reading, source: str) -> tuple[RawScan, Pixels]:
    """The scan with int16 HU in -1024..3071 or uint8 grey values, after the checks, and its kind.

    Voxels are changed in place where they may be: `raw` is not to be used afterwards.

    Args:
        raw: the scan as its format's reader gave it.
        reading: the caller's word on the kind, which overrides the format's, and whether to mend.
        source: the scan's name for messages.

    Raises:
        ScanError: when the values cannot be what they are said to be, and are not mended.
    """
    if raw.array.dtype.kind not in "biuf":
        raise ScanError(
            f"{source}: the voxels are of type {raw.array.dtype}; a CT holds one number a voxel.",
            "not_numbers",
        )
    raw, values = _finite(raw, reading, source)
    _refuse_mask(raw, source)
    kind = reading.pixels or (Pixels.WINDOWED if raw.grey else Pixels.HU)
    if kind is Pixels.WINDOWED:
        return _as_grey(raw, values, reading, source), kind
    if values.low >= 0 and values.high <= 255 and reading.repairs and reading.pixels is None:
        said = f"values {values.low:g}..{values.high:g}, none below 0: no HU, taken as windowed"
        raw = replace(raw, repairs=(*raw.repairs, said))
        return _as_grey(raw, values, reading, source), Pixels.WINDOWED
    return _as_hu(raw, values, reading, source), kind


def _measured(array: NDArray[Any]) -> _Values:
    # Slice by slice: what is looked at several times stays near the processor.
    lows, highs, air = [], [], 0
    for plane in array:
        lows.append(plane.min())
        highs.append(plane.max())
        if lows[-1] < _AIR_BELOW_HU:
            air += int(np.count_nonzero(plane < _AIR_BELOW_HU))
            air -= int(np.count_nonzero(plane <= max(lows[-1], LOWEST_HU)))
    return _Values(float(np.min(lows)), float(np.max(highs)), air / array.size)


def _finite(raw: RawScan, reading: Reading, source: str) -> tuple[RawScan, _Values]:
    with np.errstate(invalid="ignore"):
        values = _measured(raw.array)
    # Sums would overflow; NaN comes through as lowest and highest.
    if np.isfinite(values.low) and np.isfinite(values.high):
        return raw, values
    finite = np.isfinite(raw.array)
    lost = raw.array.size - int(np.count_nonzero(finite))
    share = lost / raw.array.size
    if not reading.repairs or share > _MOST_NOT_FINITE:
        raise ScanError(
            f"{source}: {share:.2%} of the voxels are NaN or infinite. "
            f"Fill them with air (-1024 HU) and try again; up to {_MOST_NOT_FINITE:.0%} are mended "
            f"by the policy 'repair'.",
            "not_finite",
        )
    # Air is the lowest value, whatever the scale.
    air = min(float(raw.array[finite].min()), 0.0)
    filled = np.where(finite, raw.array, max(air, LOWEST_HU))
    said = f"{lost} voxels ({share:.2%}) were NaN or infinite: filled with air"
    return replace(raw, array=filled, repairs=(*raw.repairs, said)), _measured(filled)


def _as_grey(raw: RawScan, values: _Values, reading: Reading, source: str) -> RawScan:
    array, low, high = raw.array, values.low, values.high
    if array.dtype.kind == "f" and low >= 0 and high <= 1:
        if not reading.repairs:
            raise ScanError(
                f"{source}: said to be windowed grey values, which are 0..255, but holds "
                f"{low:g}..{high:g}: normalised to 0..1. Scale it to 0..255; the policy 'repair' "
                f"does so.",
                "hu_normalised",
            )
        said = f"normalised to 0..1 (found {low:g}..{high:g}): multiplied by 255"
        raw = replace(raw, repairs=(*raw.repairs, said))
        array = array * 255.0
    elif low < 0 or high > 255:
        raise ScanError(
            f"{source}: said to be windowed grey values, which are 0..255, but holds "
            f"{low:g}..{high:g}. Scale it to 0..255, or read it as Hounsfield units.",
            "not_grey",
        )
    grey = np.asarray(array if array.dtype.kind in "bu" else np.rint(array)).astype(
        np.uint8, copy=False
    )
    if array.dtype.kind == "f":
        _refuse_mask(replace(raw, array=grey), source)
    warning = _low_contrast(grey)
    return replace(raw, array=grey, warnings=raw.warnings + warning)


def _low_contrast(grey: NDArray[np.uint8]) -> tuple[Noted, ...]:
    counts = sum(np.bincount(plane.reshape(-1), minlength=256) for plane in grey)
    reached = np.cumsum(counts) / grey.size
    low, high = (int(np.searchsorted(reached, share)) for share in (0.01, 0.99))
    if high - low >= _LOW_CONTRAST:
        return ()
    told = (
        f"low contrast: 98 of 100 pixels lie in {low}..{high} of 0..255 (pictures of CT spread "
        f"over {_LOW_CONTRAST} or more)"
    )
    return (Noted(told, "low_contrast"),)


def _as_hu(raw: RawScan, values: _Values, reading: Reading, source: str) -> RawScan:
    _refuse_absurd(raw.array, values, source)
    if values.air < _LEAST_AIR and _above_padding(raw.array) >= 0:
        raw, values = _shifted(raw, values, reading, source)
    array = raw.array
    if values.air < _LEAST_AIR:
        one = values.low >= -1 and values.high <= 1
        raise ScanError(
            f"{source}: only {values.air:.2%} of the voxels are air (below {_AIR_BELOW_HU} HU, "
            f"constants aside; the lowest is {values.low:g}); a chest CT has far more. These are "
            f"no Hounsfield units{', but normalised to -1..1' if one else ', or no chest'}: "
            f"{_REMEDY}.",
            "hu_normalised" if one else "no_air",
        )
    inside = values.low >= LOWEST_HU and values.high <= HIGHEST_HU
    if array.dtype == np.int16 and array.dtype.isnative:
        if not inside:
            array = array if array.flags.writeable else array.copy()
            np.clip(array, LOWEST_HU, HIGHEST_HU, out=array)
        return replace(raw, array=array)
    hu = np.empty(array.shape, np.int16)
    for plane, stored in zip(hu, array, strict=True):
        clipped = stored if inside else np.clip(stored, LOWEST_HU, HIGHEST_HU)
        plane[...] = clipped if array.dtype.kind in "iu" else np.rint(clipped)
    return replace(raw, array=hu)


def _above_padding(array: NDArray[Any]) -> float:
    """The lowest value that is no constant outside the field of view."""
    lows = []
    for plane in array:
        low = plane.min()
        if low < _AIR_BELOW_HU:
            low = plane[plane > max(low, LOWEST_HU)].min(initial=plane.max())
        lows.append(float(low))
    return min(lows)


def _shifted(
    raw: RawScan, values: _Values, reading: Reading, source: str
) -> tuple[RawScan, _Values]:
    """Take off an offset of 1024, where the policy allows it and the peaks prove it."""
    low, high = _above_padding(raw.array), values.high
    padding = "" if values.low >= 0 else f" (and {values.low:g} outside the field of view)"
    found = f"{source}: taken as Hounsfield units, but the values are {low:g}..{high:g}{padding}: "
    lost = "nothing is below 0, and air is -1000 HU. The rescale intercept was lost"
    if high <= 1:
        raise ScanError(
            f"{found}normalised to 0..1. Convert them back: {_REMEDY}.", "hu_normalised"
        )
    if high <= 255:
        raise ScanError(
            f"{found}grey values 0..255 stored as numbers of another type; {_REMEDY}.",
            "hu_windowed",
        )
    peaks = offset_peaks(raw.array) if high <= _ABSURD_HIGH_HU + OFFSET else None
    if peaks is None:
        raise ScanError(
            f"{found}{lost}, but no peaks of air and tissue lie where an offset of {OFFSET} would "
            f"put them: {_REMEDY}.",
            "no_air",
        )
    told = f"air peaks at {peaks[0]} and tissue at {peaks[1]}"
    if not reading.repairs:
        raise ScanError(
            f"{found}{lost}, probably an offset of {OFFSET} ({told}): subtract it and try again; "
            f"the policy 'repair' does so.",
            "hu_offset",
        )
    hu = np.empty(raw.array.shape, np.int16)
    for plane, stored in zip(hu, raw.array, strict=True):
        plane[...] = np.rint(np.maximum(stored.astype(np.float32) - OFFSET, _LOWEST_INT16))
    said = f"offset of {OFFSET} HU subtracted: {told}, with it off at " + (
        f"{peaks[0] - OFFSET} and {peaks[1] - OFFSET} HU"
    )
    return replace(raw, array=hu, repairs=(*raw.repairs, said)), _measured(hu)


def _refuse_mask(raw: RawScan, source: str) -> None:
    array, most = raw.array, _MOST_PICTURE_VALUES if raw.picture else _MOST_LABELS
    # Looking at some thousand voxels first keeps a big scan from being sorted for nothing.
    if len(np.unique(sampled(array, _SAMPLE))) > most:
        return
    values = np.empty(0, array.dtype)
    for plane in array:
        values = np.union1d(values, plane)
        if len(values) > most:
            return
    if len(values) > _MOST_PICTURE_VALUES and np.any(values % 1 != 0):
        return
    raise ScanError(
        f"{source}: holds only the value{'s' if len(values) > 1 else ''} "
        f"{', '.join(f'{float(v):g}' for v in values)}: a mask or an empty picture, not a CT. "
        f"Give the image itself{''.join(f' ({warning})' for warning in raw.warnings)}.",
        "is_mask",
    )


def _refuse_absurd(array: NDArray[Any], values: _Values, source: str) -> None:
    if values.high > _ABSURD_HIGH_HU:
        high = sum(int(np.count_nonzero(plane > _ABSURD_HIGH_HU)) for plane in array) / array.size
        if high > _MOST_ABSURD:
            raise ScanError(
                f"{source}: {high:.1%} of the voxels are above {_ABSURD_HIGH_HU} HU (the highest "
                f"is {values.high:g}); bone ends near 2000. Scaled wrongly: {_REMEDY}.",
                "hu_scaled",
            )
    if values.low < _ABSURD_LOW_HU:
        low = _absurdly_low(array)
        if low > _MOST_ABSURD:
            raise ScanError(
                f"{source}: {low:.1%} of the voxels are below {_ABSURD_LOW_HU} HU (the lowest is "
                f"{values.low:g}); air is -1000. Scaled wrongly: {_REMEDY}.",
                "hu_scaled",
            )


def _absurdly_low(array: NDArray[Any]) -> float:
    """Share of voxels below any air, apart from two constants.

    Scanners fill what lies outside the field of view with one or two constants: those are fine.
    """
    counts: dict[float, int] = {}
    below = 0
    for plane in array:
        low = plane[plane < _ABSURD_LOW_HU]
        below += low.size
        # Noise has thousands of values: only the commonest of each slice can be constants.
        found, times = np.unique(low, return_counts=True)
        for place in np.argsort(times)[-4:]:
            value = float(found[place])
            counts[value] = counts.get(value, 0) + int(times[place])
    constants = sum(sorted(counts.values())[-2:])
    return (below - constants) / array.size
