"""Slices of a scan as small pictures, with its maps in colours over them: quick, with Pillow alone.

`evidence` says what each pixel adds to the logit (red for the positive class, blue against it),
`lesion` what is taken for disease. Both are drawn half transparent, and not at all where they say
nothing, so that the lung stays visible.
"""

from __future__ import annotations

import io
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter
from scipy.special import logit

from covidssl.answers import Answer
from covidssl.box import Box
from covidssl.hounsfield import to_unit
from covidssl.maps import ScanMaps
from covidssl.volume import Volume

MapKind = Literal["lesion", "evidence"]
Floats = NDArray[np.floating]
Greys = NDArray[np.uint8]
Planes = NDArray[np.int64]

DECIDING = 3
"""So many slices are called the ones that decided: those that speak most for the class given; or,
where no class is given, the ones with the most lesion among those that were looked at."""

_PANEL = 256
_EVEN = 0.5  # the operating point of a model that states none
_SURE = 1e-6  # a calibrated probability may be 0 or 1, whose logit is infinite
_MARGIN, _CAPTION = 8, 20
_LEVELS = 15
_FULL_LESION = 0.35
"""Network units (about 490 HU) at which a lesion has its strongest colour."""
_FAINT, _STRONG = 45, 190  # transparency of the weakest and the strongest colour, of 255
_HAZE = 0.12  # evidence so far below the strongest would tint the whole picture
_TITLES: dict[MapKind, str] = {
    "lesion": "lesion map",
    "evidence": "evidence: red for, blue against",
}
# Ends and middle of the scales; blue and red of ColorBrewer's RdBu, inferno of matplotlib.
_FOR = ((253, 219, 199), (214, 96, 77), (165, 0, 38))
_AGAINST = ((209, 229, 240), (67, 147, 195), (5, 48, 97))
_LESION = ((203, 65, 73), (251, 155, 6), (252, 255, 164))


class Heat(NamedTuple):
    """A map as colours out of a palette.

    Attributes:
        levels: (N, H, W) uint8, place in the palette; 0 is transparent.
        palette: red, green, blue of each place, flat.
        alpha: of each place.
    """

    levels: Greys
    palette: bytes
    alpha: bytes


def grey_tiles(ct: Volume, slices: Planes, box: Box, size: tuple[int, int]) -> Greys:
    """Slices of a scan in the lung window, cut to `box`: (N, height, width).

    Args:
        ct: the scan, not a mask.
        slices: (N,) which of them.
        box: the part of them that is shown.
        size: width and height of a picture.

    Raises:
        ValueError: when it is a mask.
    """
    if ct.pixels is None:
        raise ValueError(f"{ct.source}: is a mask, expected a CT scan.")
    unit = to_unit(ct.array[slices, box.top : box.bottom, box.left : box.right], ct.pixels)
    greys = np.rint(unit * 255).astype(np.uint8)
    how = Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(plane).resize(size, how)) for plane in greys])


def tile_size(ct: Volume, box: Box, longest: int) -> tuple[int, int]:
    """Width and height of a picture of `box` in true proportions, no larger than it is."""
    _, y, x = ct.spacing_mm or (1.0, 1.0, 1.0)
    height, width = (box.bottom - box.top) * y, (box.right - box.left) * x
    pixels = max(box.bottom - box.top, box.right - box.left)
    scale = min(longest, pixels) / max(height, width)
    return max(round(width * scale), 8), max(round(height * scale), 8)


def lesion_tiles(lesion: Floats, threshold: float, size: tuple[int, int]) -> Heat:
    """A lesion map (N, H, W) as colours, pictures of `size` (width, height).

    What does not count as lesion, up to `threshold`, is not drawn.
    """
    share = (lesion - threshold) / max(_FULL_LESION - threshold, 0.01)
    levels = _levels(_all_resized(share, size))
    return Heat(levels, _palette(_LESION), _alphas())


def evidence_tiles(evidence: Floats, size: tuple[int, int]) -> Heat:
    """An evidence map (N, H, W) as colours, the strongest of it in the strongest colour."""
    # Maxima lie on single pixels, deep levels in blocks: smoothed for the eye, the sum stays.
    width = evidence.shape[-1] / 40
    smooth = np.stack([gaussian_filter(one, width, mode="reflect") for one in evidence])
    strength = float(np.percentile(np.abs(smooth), 99.5)) or 1.0
    smooth = _all_resized(smooth / strength, size)
    levels = _levels((np.abs(smooth) - _HAZE) / (1 - _HAZE))
    levels[(smooth < 0) & (levels > 0)] += _LEVELS
    return Heat(levels, _palette(_FOR, _AGAINST), _alphas(2))


def heat_tiles(maps: ScanMaps, planes: Planes, size: tuple[int, int]) -> dict[MapKind, Heat]:
    """Some planes (N,) of each map that a scan has, as colours."""
    heats: dict[MapKind, Heat] = {}
    if maps.lesion is not None:
        heats["lesion"] = lesion_tiles(maps.lesion[planes], maps.threshold, size)
    if maps.evidence is not None:
        heats["evidence"] = evidence_tiles(maps.evidence[planes], size)
    return heats


def deciding_planes(answer: Answer, maps: ScanMaps) -> Planes:
    """Which planes of the maps decided, from below: those that speak most for the class given.

    A network of volumes says nothing of single slices: there neighbours of a chosen plane, which
    would look the same, are passed over. So they are where no class is given, and the planes are
    those with the most lesion.
    """
    if maps.evidence is not None:
        counts = towards_label(answer, maps.evidence.sum(axis=(1, 2)))
    elif maps.lesion is not None:
        counts = lesion_shares(maps)
    else:
        counts = np.zeros(len(maps.slices))
    order = np.argsort(-counts, kind="stable")
    if answer.slices:
        return np.sort(order[:DECIDING])
    apart = max(len(order) // (2 * DECIDING), 1)
    chosen: list[int] = []
    for plane in order:
        if len(chosen) < DECIDING and all(abs(plane - other) >= apart for other in chosen):
            chosen.append(int(plane))
    return np.sort(np.array(chosen, dtype=np.int64))


def lesion_shares(maps: ScanMaps) -> Floats:
    """Share (N,) of each frame that was looked at which counts as lesion.

    Raises:
        ValueError: when the maps hold no lesion map.
    """
    if maps.lesion is None:
        raise ValueError("There is no share of lesion without a lesion map.")
    return np.asarray((maps.lesion > maps.threshold).mean(axis=(1, 2)))


def towards_label(answer: Answer, adds: Floats) -> Floats:
    """How far each slice (N,) moves the answer towards the class that was given.

    Of slices with a probability of their own it is the weight times the logits by which that lies
    beyond the operating point: where probabilities were calibrated by a straight line these add
    up to the logits by which the scan's does. Of others it is what they add to the logit.

    Args:
        answer: of the scan.
        adds: (N,) what each slice adds to the scan's logit for the positive class.
    """
    point = _EVEN if answer.operating_point is None else answer.operating_point
    side = -1.0 if answer.probability is not None and answer.probability < point else 1.0
    if not answer.slices:
        return side * adds
    chances = np.clip([one.probability for one in answer.slices], _SURE, 1 - _SURE)
    weights = np.array([one.weight for one in answer.slices])
    beyond = logit(chances) - logit(np.clip(point, _SURE, 1 - _SURE))
    return np.asarray(side * weights * beyond)


def deciding_picture(ct: Volume, answer: Answer, maps: ScanMaps | None) -> bytes:
    """A PNG with a row a deciding slice: the slice, its lesions and evidence where there are any.

    Raises:
        ValueError: when there was nothing to look at, or no maps were made.
    """
    if maps is None or ct.pixels is None:
        raise ValueError("There is no picture of a scan that was not looked at, or without maps.")
    planes = deciding_planes(answer, maps)
    size = tile_size(ct, maps.box, _PANEL)
    if max(size) < _PANEL:
        size = _enlarged(size)
    greys = grey_tiles(ct, maps.slices[planes], maps.box, size)
    heats = heat_tiles(maps, planes, size)
    width, height = size
    columns, row_height = 1 + len(heats), height + _CAPTION + _MARGIN
    sheet = Image.new(
        "RGB", (columns * (width + _MARGIN) + _MARGIN, len(planes) * row_height + _MARGIN), "white"
    )
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for row, grey in enumerate(greys):
        top = _MARGIN + row * row_height
        plain = Image.fromarray(grey).convert("RGB")
        panels = [plain, *(_laid_over(plain, heat, row) for heat in heats.values())]
        said = _caption(answer, maps, int(planes[row]))
        texts = [said, *(_TITLES[kind] for kind in heats)]
        for column, (panel, text) in enumerate(zip(panels, texts, strict=True)):
            left = _MARGIN + column * (width + _MARGIN)
            draw.text((left, top), text, "#1f2933", font)
            sheet.paste(panel, (left, top + _CAPTION))
    content = io.BytesIO()
    sheet.save(content, "PNG", compress_level=3)
    return content.getvalue()


def _caption(answer: Answer, maps: ScanMaps, plane: int) -> str:
    if answer.slices:
        said = answer.slices[plane]
        return f"slice {said.slice}: p {said.probability:.2f}, weight {said.weight:.0%}"
    if maps.evidence is None:
        return f"slice {maps.slices[plane]}"
    return f"slice {maps.slices[plane]}: adds {maps.evidence[plane].sum():+.2f} to the logit"


def _laid_over(grey: Image.Image, heat: Heat, row: int) -> Image.Image:
    colours = np.frombuffer(heat.palette, np.uint8).reshape(-1, 3)[heat.levels[row]]
    alpha = np.frombuffer(heat.alpha, np.uint8)[heat.levels[row]]
    return Image.composite(Image.fromarray(colours), grey, Image.fromarray(alpha))


def _enlarged(size: tuple[int, int]) -> tuple[int, int]:
    scale = _PANEL / max(size)
    return max(round(size[0] * scale), 8), max(round(size[1] * scale), 8)


def _all_resized(planes: Floats, size: tuple[int, int]) -> Floats:
    pictures = [Image.fromarray(plane) for plane in planes.astype(np.float32)]
    return np.stack([np.asarray(one.resize(size, Image.Resampling.BILINEAR)) for one in pictures])


def _levels(share: Floats) -> Greys:
    """0 for what says next to nothing, then 1 to `_LEVELS` for a share up to 1."""
    return np.asarray(np.clip(np.ceil(share * (_LEVELS + 1)) - 1, 0, _LEVELS), dtype=np.uint8)


def _palette(*scales: tuple[tuple[int, int, int], ...]) -> bytes:
    """Black, which is never seen, then `_LEVELS` colours of each scale from weak to strong."""
    at = np.linspace(0, 2, _LEVELS)
    ramps = [
        np.stack([np.interp(at, (0, 1, 2), [colour[c] for colour in scale]) for c in range(3)], 1)
        for scale in scales
    ]
    return b"\0\0\0" + np.rint(np.concatenate(ramps)).astype(np.uint8).tobytes()


def _alphas(scales: int = 1) -> bytes:
    ramp = np.rint(np.linspace(_FAINT, _STRONG, _LEVELS)).astype(np.uint8).tobytes()
    return b"\0" + scales * ramp
