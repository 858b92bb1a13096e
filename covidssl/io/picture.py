"""PNG, JPG and TIFF slices, through Pillow: the colour mode of a file never changes its grey."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError
from covidssl.hounsfield import Pixels
from covidssl.io.raw import LEAST_EDGE, RawScan, check_size
from covidssl.io.reading import Reading
from covidssl.io.refusals import refusing
from covidssl.noted import Noted

if TYPE_CHECKING:
    from PIL.Image import Image

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")
_MOST_PIXELS = 36_000_000
_MOST_OFFSET_HU = 4095 + 1024
# JPEG keeps colour apart from brightness and rounds both: its grey wobbles by a few steps.
_COLOUR_SPREAD = 12
# TIFF 6.0: 0 in this field means that 0 is white.
_PHOTOMETRIC = 262

Grey = NDArray[np.uint8]
Warned = tuple[Noted, ...]


class PictureFacts(NamedTuple):
    """What a picture file says of itself: format, colour mode, width and height in pixels."""

    format: str
    mode: str
    width: int
    height: int


def picture_facts(path: Path, source: str) -> PictureFacts:
    """The header of a picture as it stands in the file; no pixel is decoded.

    Raises:
        ScanError: when the header cannot be read.
    """
    from PIL import Image

    with refusing(source, "a picture"), Image.open(path, formats=_FORMATS) as picture:
        return PictureFacts(str(picture.format), picture.mode, *picture.size)


def read_picture(path: Path, source: str, reading: Reading) -> RawScan:
    """A picture as a raw scan, uint8 grey values, without spacing or orientation.

    One picture is one slice; the pages of a TIFF, when all are of one size, are slices in the order
    of the file. EXIF orientation is ignored: a CT slice lies as its pixels lie. Where the caller
    says that the values are HU, 16-bit numbers are left as they stand.

    Raises:
        ScanError: when the file is no picture, or is damaged, tiny or huge, holds several pictures
            that are no slices, or 8 bits that are said to be HU.
    """
    from PIL import Image, ImageSequence

    with refusing(source, "a picture"):
        if path.stat().st_size == 0:
            raise ScanError(f"{source}: the file is empty (0 bytes).", "empty_file")
        try:
            picture = Image.open(path, formats=_FORMATS)
        except Image.DecompressionBombError:
            raise ScanError(f"{source}: {_too_big()}", "too_big") from None
        with picture:
            frames, size = _check(picture, source), picture.size
            hu = reading.pixels is Pixels.HU
            pages = []
            for page in ImageSequence.Iterator(picture):
                _check_page(page, size, source)
                pages.append(_hounsfield(page, source) if hu else _grey(page, source))
    # What is odd about one page is said once.
    warnings = tuple(dict.fromkeys(warning for _, told in pages for warning in told))
    if frames > 1:
        told = f"{frames} pages of one TIFF: taken as slices, in their order in the file"
        warnings += (Noted(told, "tiff_pages"),)
    array = np.stack([page for page, _ in pages])
    return RawScan(array, not hu, None, None, warnings, picture=True)


def _too_big() -> str:
    return f"more than {_MOST_PIXELS // 1_000_000} million pixels: no CT slice is that large."


def _check(picture: Image, source: str) -> int:
    """How many slices the file holds."""
    width, height = picture.size
    frames = int(getattr(picture, "n_frames", 1))
    if width * height > _MOST_PIXELS:
        raise ScanError(f"{source}: {_too_big()}", "too_big")
    if min(width, height) < LEAST_EDGE:
        raise ScanError(
            f"{source}: {width} x {height} pixels; a CT slice has at least "
            f"{LEAST_EDGE} x {LEAST_EDGE}.",
            "too_small",
        )
    if frames > 1 and picture.format != "TIFF":
        raise ScanError(
            f"{source}: {frames} frames in one picture file; save each slice as a file of its own.",
            "several_frames",
        )
    check_size((frames, height, width), source)
    return frames


def _check_page(page: Image, size: tuple[int, int], source: str) -> None:
    if page.size != size:
        sizes = f"{size[0]} x {size[1]} and {page.size[0]} x {page.size[1]}"
        raise ScanError(
            f"{source}: pages of several sizes ({sizes}) in one TIFF; expected the slices of one "
            f"scan. Save each slice as a file of its own.",
            "several_frames",
        )


def _hounsfield(picture: Image, source: str) -> tuple[NDArray[Any], Warned]:
    if not picture.mode.startswith(("I", "F")):
        raise ScanError(
            f"{source}: a picture of 8 bits holds windowed grey values, not Hounsfield units.",
            "not_hu",
        )
    return np.array(picture), ()


def _grey(picture: Image, source: str) -> tuple[Grey, Warned]:
    mode = picture.mode
    if mode in ("1", "L"):
        return _opaque(picture) if "transparency" in picture.info else (_plain(picture), ())
    if mode.startswith("I"):
        return _from_sixteen_bit(np.asarray(picture), _white_is_zero(picture), source)
    if mode == "F":
        raise ScanError(
            f"{source}: a picture of fractions; save it as 8-bit grey values.", "not_grey"
        )
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        return _opaque(picture)
    return _luma(np.asarray(picture.convert("RGB")))


def _plain(picture: Image) -> Grey:
    return np.array(picture.convert("L"), dtype=np.uint8)


def _white_is_zero(picture: Image) -> bool:
    # Pillow turns these the right way round in 8 bits, and not in 16.
    tags = getattr(picture, "tag_v2", None)
    return tags is not None and tags.get(_PHOTOMETRIC) == 0


def _from_sixteen_bit(
    array: NDArray[Any], white_is_zero: bool, source: str
) -> tuple[Grey, Warned]:  # fmt: skip
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 65535:
        raise ScanError(f"{source}: grey values {low}..{high}; expected 8 or 16 bits.", "not_grey")
    shown = 65535.0 - array if white_is_zero else array.astype(np.float64)
    grey = np.rint(shown / 257.0).astype(np.uint8)
    told = f"16-bit picture ({low}..{high}): scaled to 8 bits, taken as windowed"
    if high <= _MOST_OFFSET_HU:
        told += "; if these are HU with an offset, say so (pixels=hu)"
    if white_is_zero:
        told += "; the file says that 0 is white: inverted"
    return grey, (Noted(told, "sixteen_bit"),)


def _opaque(picture: Image) -> tuple[Grey, Warned]:
    rgba = np.asarray(picture.convert("RGBA"))
    grey, warnings = _luma(rgba[..., :3])
    alpha = rgba[..., 3]
    if (alpha == 255).all():
        return grey, warnings
    grey = np.rint(grey * (alpha / 255.0)).astype(np.uint8)
    told = f"{np.mean(alpha < 255):.1%} of the pixels see-through: put on black"
    return grey, (*warnings, Noted(told, "see_through"))


def _luma(rgb: NDArray[np.uint8]) -> tuple[Grey, Warned]:
    spread = rgb.max(axis=-1).astype(np.int16) - rgb.min(axis=-1)
    if not spread.any():
        return np.array(rgb[..., 0]), ()
    # The weights of ITU-R BT.601, which Pillow's own conversion uses.
    luma = rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    coloured = int(np.count_nonzero(spread > _COLOUR_SPREAD))
    told = Noted(f"coloured pixels ({coloured}): arrows or letters?", "coloured")
    return np.rint(luma).astype(np.uint8), (told,) if coloured else ()
