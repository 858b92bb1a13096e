"""PNG, JPG and TIFF slices, through Pillow: the colour mode of a file never changes its grey."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.io.raw import LEAST_EDGE, RawScan
from covidssl.io.refusals import refusing

if TYPE_CHECKING:
    from PIL.Image import Image

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")
_MOST_PIXELS = 100_000_000
# JPEG keeps colour apart from brightness and rounds both: its grey wobbles by a few steps.
_COLOUR_SPREAD = 12

Grey = NDArray[np.uint8]
Warned = tuple[str, ...]


def read_picture(path: Path, source: str) -> RawScan:
    """One picture as a raw scan of one slice, uint8 grey values, without spacing or orientation.

    EXIF orientation is ignored: a CT slice lies as its pixels lie.

    Raises:
        ScanError: when the file is no picture, or is damaged, tiny, huge, or holds several frames.
    """
    from PIL import Image

    with refusing(source, "a picture"):
        if path.stat().st_size == 0:
            raise ScanError(f"{source}: the file is empty (0 bytes).")
        try:
            picture = Image.open(path, formats=_FORMATS)
        except Image.DecompressionBombError:
            raise ScanError(f"{source}: {_too_big()}") from None
        with picture:
            _check(picture, source)
            grey, warnings = _grey(picture, source)
    return RawScan(grey[np.newaxis], True, None, None, warnings)


def _too_big() -> str:
    return f"more than {_MOST_PIXELS // 1_000_000} million pixels: no CT slice is that large."


def _check(picture: Image, source: str) -> None:
    width, height = picture.size
    if width * height > _MOST_PIXELS:
        raise ScanError(f"{source}: {_too_big()}")
    if min(width, height) < LEAST_EDGE:
        raise ScanError(
            f"{source}: {width} x {height} pixels; a CT slice has at least "
            f"{LEAST_EDGE} x {LEAST_EDGE}."
        )
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        raise ScanError(
            f"{source}: {frames} frames in one picture file; save each slice as a file of its own."
        )


def _grey(picture: Image, source: str) -> tuple[Grey, Warned]:
    mode = picture.mode
    if mode in ("1", "L"):
        return _opaque(picture) if "transparency" in picture.info else (_plain(picture), ())
    if mode.startswith("I"):
        return _from_sixteen_bit(np.asarray(picture), source)
    if mode == "F":
        raise ScanError(f"{source}: a picture of fractions; save it as 8-bit grey values.")
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        return _opaque(picture)
    return _luma(np.asarray(picture.convert("RGB")))


def _plain(picture: Image) -> Grey:
    return np.array(picture.convert("L"), dtype=np.uint8)


def _from_sixteen_bit(array: NDArray[Any], source: str) -> tuple[Grey, Warned]:
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 65535:
        raise ScanError(f"{source}: grey values {low}..{high}; expected 8 or 16 bits.")
    grey = np.rint(array.astype(np.float64) / 257.0).astype(np.uint8)
    return grey, (f"16-bit picture ({low}..{high}): scaled to 8 bits, taken as windowed",)


def _opaque(picture: Image) -> tuple[Grey, Warned]:
    rgba = np.asarray(picture.convert("RGBA"))
    grey, warnings = _luma(rgba[..., :3])
    alpha = rgba[..., 3]
    if (alpha == 255).all():
        return grey, warnings
    grey = np.rint(grey * (alpha / 255.0)).astype(np.uint8)
    return grey, (*warnings, f"{np.mean(alpha < 255):.1%} of the pixels see-through: put on black")


def _luma(rgb: NDArray[np.uint8]) -> tuple[Grey, Warned]:
    spread = rgb.max(axis=-1).astype(np.int16) - rgb.min(axis=-1)
    if not spread.any():
        return np.array(rgb[..., 0]), ()
    # The weights of ITU-R BT.601, which Pillow's own conversion uses.
    luma = rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    coloured = int(np.count_nonzero(spread > _COLOUR_SPREAD))
    warnings = (f"coloured pixels ({coloured}): arrows or letters?",) if coloured else ()
    return np.rint(luma).astype(np.uint8), warnings
