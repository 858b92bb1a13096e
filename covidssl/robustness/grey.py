"""What the values are: HU off their scale, another window, compression."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from PIL import Image

from covidssl.altering import Key, Opened
from covidssl.hounsfield import Pixels
from covidssl.robustness.scale import must_be, storing
from covidssl.volume import Volume

_MIDDLE = 127.5
_IS_WINDOWED = "holds 8-bit grey values: its window is shifted instead"
_HAS_NO_WINDOW = "is in HU: the model's own window is applied to it"


def shifted_hu(scan: Opened, by_hu: float, _key: Key) -> Volume:
    """All HU moved by a constant: a scanner that is off its calibration.

    Raises:
        DoesNotApplyError: for 8-bit grey values.
    """
    return _recalculated(scan.ct, 1.0, by_hu)


def scaled_hu(scan: Opened, factor: float, _key: Key) -> Volume:
    """All HU multiplied: water stays at 0, air comes to -1000 times the factor.

    Raises:
        DoesNotApplyError: for 8-bit grey values.
    """
    return _recalculated(scan.ct, factor, 0.0)


def shifted_level(scan: Opened, by_grey: float, _key: Key) -> Volume:
    """An 8-bit slice as if the window's level were higher: darker by so many grey levels.

    Raises:
        DoesNotApplyError: for HU.
    """
    return _windowed_anew(scan.ct, 1.0, -by_grey)


def narrowed_window(scan: Opened, factor: float, _key: Key) -> Volume:
    """An 8-bit slice as if the window had this share of its width: contrast up, ends clipped.

    Raises:
        DoesNotApplyError: for HU.
    """
    return _windowed_anew(scan.ct, 1 / factor, 0.0)


def compressed(scan: Opened, quality: float, _key: Key) -> Volume:
    """8-bit slices written and read again as JPEG of this quality (Pillow's, 95 is hardly lossy).

    Raises:
        DoesNotApplyError: for HU.
    """
    ct = scan.ct
    must_be(Pixels.WINDOWED, ct, "is in HU: JPEG holds 8 bits")
    planes = []
    for plane in ct.array:
        written = io.BytesIO()
        grey = Image.fromarray(np.asarray(plane, dtype=np.uint8))
        grey.save(written, format="JPEG", quality=round(quality))
        with Image.open(written) as picture:
            planes.append(np.asarray(picture, dtype=ct.array.dtype))
    return replace(ct, array=np.stack(planes))


def _recalculated(ct: Volume, factor: float, by_hu: float) -> Volume:
    must_be(Pixels.HU, ct, _IS_WINDOWED)
    store = storing(ct)
    planes = [
        store(np.asarray(plane, dtype=np.float32) * np.float32(factor) + np.float32(by_hu))
        for plane in ct.array
    ]
    return replace(ct, array=np.stack(planes))


def _windowed_anew(ct: Volume, contrast: float, by_grey: float) -> Volume:
    must_be(Pixels.WINDOWED, ct, _HAS_NO_WINDOW)
    levels = (np.arange(256) - _MIDDLE) * contrast + _MIDDLE + by_grey
    table = np.clip(np.rint(levels), 0, 255).astype(ct.array.dtype)
    return replace(ct, array=table[np.asarray(ct.array, dtype=np.uint8)])
