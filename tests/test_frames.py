"""A frame shows the lungs and nothing of the file that they came in."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from covidssl.box import Box, lungs_box
from covidssl.errors import ScanError
from covidssl.frames import (
    ADULT_LUNGS_WIDTH_MM,
    Frame,
    frame_mask,
    frame_pixels,
    unit_from_frames,
)
from covidssl.hounsfield import LUNG_WINDOW_HU, Pixels, hu_to_unit
from covidssl.io import read_ct
from covidssl.lungs import Lungs, segment_lungs
from covidssl.noted import Noted
from covidssl.phantom import PhantomScan, phantom_chest
from covidssl.scan_frames import LEAST_SHARE_OF_LARGEST, ScanFrames, frames_of_scan
from covidssl.volume import Volume
from tests.scan_files import write_png

WINDOWED, HU = Frame(size=64), Frame(size=64, pixels=Pixels.HU)
FULL = Frame()
MODES = ("L", "RGB", "RGBA", "LA", "P")


@cache
def phantom() -> PhantomScan:
    return phantom_chest(1, lesions=False, shape=(8, 96, 96), spacing_mm=(14.0, 3.6, 3.6))


def lungs_of(scan: PhantomScan) -> Lungs:
    mask = scan.lungs
    return Lungs(mask, mask.array.mean(axis=(1, 2)).astype(np.float32), None)


def frames(frame: Frame = HU, most: int | None = None) -> ScanFrames:
    return frames_of_scan(phantom().ct, lungs_of(phantom()), frame, most)


def grey(hu: NDArray[np.generic], window: tuple[float, float] = LUNG_WINDOW_HU) -> Volume:
    """The 8-bit scan that somebody has made of HU through a window."""
    return Volume(np.rint(255 * hu_to_unit(hu, window)).astype(np.uint8), Pixels.WINDOWED)


def frame_of_file(path: Path, frame: Frame = FULL) -> NDArray[np.uint16]:
    ct = read_ct(path)
    return frames_of_scan(ct, segment_lungs(ct), frame).frames


def mean_difference(first: NDArray[np.uint16], second: NDArray[np.uint16]) -> float:
    """In network units."""
    return float(np.abs(first.astype(np.float64) - second).mean() / 65535)


def test_frames_are_square_and_of_one_type_whatever_the_scan() -> None:
    for shape, frame in (((3, 60, 90), HU), ((1, 90, 60), WINDOWED)):
        ct = Volume(np.zeros(shape, dtype=np.int16), Pixels.HU)
        nowhere = ct.mask(np.zeros(shape, dtype=bool))
        lungs = Lungs(nowhere, np.zeros(shape[0], dtype=np.float32), "no lung found")
        found = frames_of_scan(ct, lungs, frame).frames
        assert found.shape == (shape[0], 64, 64)
        assert found.dtype == np.uint16


def test_hu_reach_a_windowed_network_through_the_window_of_its_card() -> None:
    for window in ((-1000.0, 400.0), (-1350.0, 150.0)):
        frame = Frame(size=64, window_hu=window)
        eight_bit = grey(phantom().ct.array, window)
        same = frames_of_scan(eight_bit, lungs_of(phantom()), frame).frames
        assert mean_difference(frames(frame).frames, same) < 0.5 / 255
    assert mean_difference(frames(Frame(size=64)).frames, frames(frame).frames) > 0.05


def test_window_maps_its_ends_to_nothing_and_full_and_clips_beyond() -> None:
    frame = Frame(size=32, pixels=Pixels.HU, window_hu=(-900, 100))
    for hu, value in ((-1024, 0), (-900, 0), (-400, 32768), (100, 65535), (3000, 65535)):
        plane = np.full((1, 32, 32), hu, dtype=np.int16)
        assert set(frame_pixels(plane, Pixels.HU, Box(0, 32, 0, 32), frame).flat) == {value}


def test_eight_bit_never_reaches_a_network_of_hu() -> None:
    with pytest.raises(ScanError, match=r"8-bit grey values of an unknown window.*trained on HU"):
        frames_of_scan(grey(phantom().ct.array), lungs_of(phantom()), HU)


def test_mask_is_no_scan() -> None:
    with pytest.raises(ScanError, match="is a mask, expected a CT scan"):
        frames_of_scan(phantom().lungs, lungs_of(phantom()), HU)


def test_crop_is_one_box_for_the_whole_scan() -> None:
    found = frames()
    box = lungs_box(phantom().lungs.array.astype(bool))
    assert box is not None
    assert found.box == HU.box(box, 96, 96)
    # The lungs are smaller near the top: with a box a slice they would all be as wide.
    widths = [int(mask.any(axis=0).sum()) for mask in found.lungs]
    assert max(widths) - min(widths) > 6


def test_crop_keeps_a_margin_about_the_lungs() -> None:
    frame = Frame(size=64, margin=0.1)
    assert frame.box(Box(40, 60, 20, 60), 100, 100) == Box(38, 62, 16, 64)


def test_crop_ends_where_the_picture_does() -> None:
    assert Frame(margin=0.5).box(Box(2, 90, 5, 99), 100, 100) == Box(0, 100, 0, 100)


@pytest.mark.parametrize("lungs", [None, Box(40, 60, 20, 60)])
def test_no_crop_shows_the_whole_picture(lungs: Box | None) -> None:
    assert Frame(crop="none").box(lungs, 80, 100) == Box(0, 80, 0, 100)


def test_box_of_an_empty_mask_is_none() -> None:
    assert lungs_box(np.zeros((2, 8, 8), dtype=bool)) is None


def test_box_holds_the_mask_of_all_slices() -> None:
    mask = np.zeros((2, 10, 12), dtype=bool)
    mask[0, 2, 3] = mask[1, 7, 11] = True
    assert lungs_box(mask) == Box(2, 8, 3, 12)


def test_frame_shows_the_lungs_where_their_mask_is() -> None:
    found = frames()
    unit = found.frames / 65535
    assert unit[found.lungs].mean() < 0.25
    assert unit[~found.lungs].mean() > 0.45


def test_pixel_of_a_mask_is_in_when_half_of_it_is() -> None:
    mask = np.zeros((1, 64, 64), dtype=bool)
    mask[:, :, :31] = True
    found = frame_mask(mask, Box(0, 64, 0, 64), Frame(size=32))
    assert found[0, 0].nonzero()[0].tolist() == list(range(16))


def test_slices_with_little_lung_are_not_looked_at() -> None:
    share = lungs_of(phantom()).slice_share
    expected = np.flatnonzero(share >= LEAST_SHARE_OF_LARGEST * share.max())
    assert 0 < len(expected) < len(share)
    assert frames().slices.tolist() == expected.tolist()


def test_most_slices_are_spread_over_the_scan() -> None:
    every = frames().slices
    assert frames(most=3).slices.tolist() == [
        every[0],
        every[round((len(every) - 1) / 2)],
        every[-1],
    ]
    assert frames(most=100).slices.tolist() == every.tolist()


def test_scan_without_lungs_is_taken_whole_with_a_warning() -> None:
    problem = Lungs(phantom().lungs, np.zeros(8, dtype=np.float32), "hardly any lung")
    found = frames_of_scan(phantom().ct, problem, HU)
    assert found.box == Box(0, 96, 0, 96)
    assert len(found.frames) == 8
    assert found.warnings == ("lungs not found (hardly any lung): the whole picture was taken",)


def test_warnings_of_the_reader_are_handed_on() -> None:
    ct = Volume(phantom().ct.array, Pixels.HU, warnings=(Noted("only 8 slices", "few_slices"),))
    assert frames_of_scan(ct, lungs_of(phantom()), HU).warnings == ("only 8 slices",)


def test_size_of_a_pixel_follows_spacing_and_crop() -> None:
    box = Box(10, 74, 0, 96)
    assert HU.pixel_mm(box, Box(20, 60, 10, 80), (3.0, 2.0)) == (3.0, 3.0)


def test_lungs_of_unknown_spacing_are_taken_for_those_of_an_adult() -> None:
    lungs = Box(20, 60, 10, 80)
    y, x = HU.pixel_mm(Box(0, 64, 0, 64), lungs, None)
    assert x * 70 == pytest.approx(ADULT_LUNGS_WIDTH_MM)
    assert y == x


class TwoSizes:
    """One slice of a phantom as a picture, and the same picture shrunk to 0.7 of its size."""

    def __init__(self, seed: int) -> None:
        scan = phantom_chest(seed, True, (3, 256, 256), (60.0, 1.35, 1.35))
        self.whole = grey(scan.ct.array[1:2])
        picture = Image.fromarray(self.whole.array[0])
        shrunk = picture.resize((179, 179), Image.Resampling.BICUBIC)
        self.small = Volume(np.asarray(shrunk)[None], Pixels.WINDOWED)
        box = lungs_box(scan.lungs.array[1:2].astype(bool))
        assert box is not None
        self.boxes = (box, Box(*(round(0.7 * edge) for edge in box)))

    def frames(self, frame: Frame) -> list[NDArray[np.uint16]]:
        """Both pictures cut about the lungs where they truly are."""
        return [
            frame_pixels(ct.array, Pixels.WINDOWED, frame.box(box, *ct.array.shape[1:]), frame)
            for ct, box in zip((self.whole, self.small), self.boxes, strict=True)
        ]


@pytest.mark.parametrize("seed", range(4))
def test_resize_does_not_depend_on_the_size_of_the_original(seed: int) -> None:
    whole, small = TwoSizes(seed).frames(Frame(crop="none"))
    assert mean_difference(whole, small) < 0.005
    assert mean_difference(whole, small) < 0.2 * mean_difference(whole, whole[..., ::-1])


@pytest.mark.parametrize("seed", range(4))
def test_frame_about_the_lungs_is_moved_by_less_than_a_pixel_by_the_size(seed: int) -> None:
    whole, small = TwoSizes(seed).frames(Frame())
    # A box of whole pixels cannot lie on the same place in both.
    assert mean_difference(whole, small) < 0.6 * mean_difference(whole[..., 1:], whole[..., :-1])


@pytest.mark.parametrize("seed", range(4))
def test_large_original_does_not_come_out_sharper_than_a_small_one(seed: int) -> None:
    whole, small = (sharpness(one) for one in TwoSizes(seed).frames(Frame()))
    assert abs(whole - small) < 0.05 * small


def sharpness(found: NDArray[np.uint16]) -> float:
    """Mean step from pixel to pixel, network units."""
    return float(np.abs(np.diff(found / 65535, axis=-1)).mean())


@pytest.mark.parametrize("seed", range(4))
def test_lungs_found_in_a_smaller_picture_are_cropped_alike(seed: int) -> None:
    two = TwoSizes(seed)
    whole, small = (
        frames_of_scan(ct, segment_lungs(ct), Frame()).box for ct in (two.whole, two.small)
    )
    # Two pixels of the small picture: the outline and the margin are whole pixels.
    assert np.abs(np.array(whole) * 179 / 256 - small).max() <= 2


def test_colour_mode_of_a_file_does_not_change_its_frame(tmp_path: Path) -> None:
    picture = Image.fromarray(grey(phantom().ct.array).array[4])
    for mode in MODES:
        picture.convert(mode).save(tmp_path / f"{mode}.png")
    found = [frame_of_file(tmp_path / f"{mode}.png") for mode in MODES]
    assert all(np.array_equal(found[0], one) for one in found[1:])


def test_stored_frames_become_network_units() -> None:
    stored = torch.tensor([0, 32768, 65535], dtype=torch.int32).to(torch.uint16)
    unit = unit_from_frames(stored)
    assert unit.dtype == torch.float32
    assert unit.tolist() == pytest.approx([0, 0.5, 1], abs=1e-4)


@pytest.mark.parametrize("window", [(400, -1000), (0, 0), (float("-inf"), 0), (0, float("nan"))])
def test_window_that_is_none_is_refused(window: tuple[float, float]) -> None:
    with pytest.raises(ValidationError, match="from its lower to its upper end"):
        Frame(window_hu=window)


def originals(real_data: Path) -> list[Path]:
    paths = sorted((real_data / "sars-cov-2-ct-originals").rglob("*.png"))
    assert len(paths) == 24
    return paths


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["COVID/Covid (1).png", "COVID/Covid (1000).png"])
def test_colour_mode_of_a_real_picture_does_not_change_its_frame(
    name: str, real_data: Path, tmp_path: Path
) -> None:
    original = real_data / "sars-cov-2-ct-originals" / name
    with Image.open(original) as picture:
        for mode in ("L", "RGB", "RGBA"):
            picture.convert(mode).save(tmp_path / f"{mode}.png")
    expected = frame_of_file(original)
    for mode in ("L", "RGB", "RGBA"):
        assert np.array_equal(frame_of_file(tmp_path / f"{mode}.png"), expected)


@pytest.mark.realdata
def test_neither_colour_mode_nor_size_of_real_pictures_can_be_told_from_the_frames_array(
    real_data: Path,
) -> None:
    modes, sizes, found = set(), set(), []
    for path in originals(real_data):
        with Image.open(path) as picture:
            modes.add(picture.mode)
            sizes.add(picture.size)
        found.append(frame_of_file(path))
    assert modes == {"RGB", "RGBA"}
    assert len(sizes) > 20
    assert {(one.dtype, one.shape) for one in found} == {(np.dtype(np.uint16), (1, 128, 128))}
    # Through the same range: what is black and white in one is black and white in the other.
    assert all(one.min() < 0.3 * 65535 and one.max() > 0.9 * 65535 for one in found)


@pytest.mark.realdata
def test_enlarged_real_picture_gives_nearly_the_same_frame(real_data: Path, tmp_path: Path) -> None:
    differences = []
    for path in originals(real_data):
        with Image.open(path) as picture:
            size = (round(1.5 * picture.width), round(1.5 * picture.height))
            larger = picture.convert("L").resize(size, Image.Resampling.BICUBIC)
        enlarged = write_png(tmp_path / path.name, np.asarray(larger))
        differences.append(mean_difference(frame_of_file(path), frame_of_file(enlarged)))
    *most, worst = sorted(differences)
    # In one picture a patch of dense lung is found at one size alone, and the frame moves.
    assert max(most) < 0.005
    assert worst < 0.02
