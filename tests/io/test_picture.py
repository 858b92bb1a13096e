from __future__ import annotations

import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidssl.errors import ScanError
from covidssl.hounsfield import Pixels
from covidssl.io import Policy, Reading, find_scans, read_ct, read_scan
from tests.scan_files import chest_grey, chest_hu, write_png

GREY = chest_grey()
RGB = np.stack([GREY] * 3, -1)
OPAQUE = np.full_like(GREY, 255)


def test_a_picture_is_one_windowed_slice_without_a_place(tmp_path: Path) -> None:
    volume = read_ct(write_png(tmp_path / "x.png", GREY))
    assert volume.pixels is Pixels.WINDOWED
    assert volume.array.shape == (1, 64, 64)
    assert (volume.spacing_mm, volume.affine, volume.warnings) == (None, None, ())
    assert volume.source == "x.png"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_colour_mode_does_not_matter(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(GREY)
    if mode == "P":
        picture.putpalette([level for level in range(256) for _ in range(3)])
    else:
        picture = picture.convert(mode)
    picture.save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as saved:
        assert saved.mode == mode
    volume = read_ct(tmp_path / "x.png")
    assert np.array_equal(volume.array[0], GREY)
    assert volume.warnings == ()


def test_sixteen_bits_are_scaled_with_a_warning(tmp_path: Path) -> None:
    volume = read_ct(write_png(tmp_path / "x.png", GREY.astype(np.uint16) * 257))
    assert np.array_equal(volume.array[0], GREY)
    assert "16-bit picture" in volume.warnings[0]


def test_sixteen_bits_whose_0_is_white_are_turned_round_but_for_hu(tmp_path: Path) -> None:
    path = tmp_path / "x.tiff"
    Image.fromarray(65535 - GREY.astype(np.uint16) * 257).save(path)
    black, white = (struct.pack("<HHII", 262, 3, 1, value) for value in (1, 0))
    assert path.read_bytes().count(black) == 1
    path.write_bytes(path.read_bytes().replace(black, white))
    volume = read_ct(path)
    assert np.array_equal(volume.array[0], GREY)
    assert volume.warnings[0].endswith("the file says that 0 is white: inverted")
    hu = chest_hu(1)
    Image.fromarray((hu[0].astype(np.int32) + 1024).astype(np.uint16)).save(path)
    path.write_bytes(path.read_bytes().replace(black, white))
    (scan,) = find_scans([path]).scans
    assert np.array_equal(read_scan(scan, Reading(Pixels.HU, Policy.REPAIR)).array, hu)


def test_see_through_pixels_are_put_on_black_with_a_warning(tmp_path: Path) -> None:
    alpha = OPAQUE.copy()
    alpha[:16] = 0
    volume = read_ct(write_png(tmp_path / "x.png", np.dstack([RGB, alpha])))
    assert (volume.array[0, :16] == 0).all()
    assert np.array_equal(volume.array[0, 16:], GREY[16:])
    assert volume.warnings == ("25.0% of the pixels see-through: put on black",)


def test_coloured_pixels_are_warned_about(tmp_path: Path) -> None:
    rgb = RGB.copy()
    rgb[5:8, 5:8] = (255, 0, 0)
    volume = read_ct(write_png(tmp_path / "x.png", rgb))
    assert volume.warnings == ("coloured pixels (9): arrows or letters?",)
    assert volume.array[0, 6, 6] == 76


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = GREY.copy()
    grey[:8] = 255
    Image.fromarray(grey).save(tmp_path / "x.jpg", exif=exif, quality=95)
    assert read_ct(tmp_path / "x.jpg").array[0, :6].min() > 200


def test_a_picture_of_one_pixel_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match=r"^x\.png: 1 x 1 pixels; a CT slice has at least 32 x 32"):
        read_ct(write_png(tmp_path / "x.png", GREY[:1, :1]))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").touch()
    with pytest.raises(ScanError, match=r"^x\.png: the file is empty \(0 bytes\)"):
        read_ct(tmp_path / "x.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_truncated_picture_is_refused(tmp_path: Path, suffix: str) -> None:
    path = write_png(tmp_path / f"x{suffix}", GREY)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ScanError, match=rf"^x\{suffix}: could not be read as a picture"):
        read_ct(path)


def test_a_text_file_called_png_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(ScanError, match=r"^x\.png: could not be read as a picture") as refusal:
        read_ct(tmp_path / "x.png")
    assert str(tmp_path) not in str(refusal.value)


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    Image.new("1", (20_000, 20_000)).save(tmp_path / "x.png")
    with pytest.raises(ScanError, match="no CT slice is that large"):
        read_ct(tmp_path / "x.png")


def test_the_pages_of_a_tiff_are_slices(tmp_path: Path) -> None:
    pages = [Image.fromarray(chest_grey(seed=seed)) for seed in range(3)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    volume = read_ct(tmp_path / "x.tif")
    assert np.array_equal(volume.array, np.stack([np.asarray(page) for page in pages]))
    assert (volume.pixels, volume.spacing_mm, volume.affine) == (Pixels.WINDOWED, None, None)
    assert volume.warnings == ("3 pages of one TIFF: taken as slices, in their order in the file",)


def test_pages_of_several_sizes_are_no_scan(tmp_path: Path) -> None:
    first, other = Image.fromarray(GREY), Image.fromarray(GREY[:40])
    first.save(tmp_path / "x.tif", save_all=True, append_images=[other])
    with pytest.raises(ScanError, match=r"pages of several sizes \(64 x 64 and 64 x 40\)") as it:
        read_ct(tmp_path / "x.tif")
    assert it.value.code == "several_frames"


def test_frames_of_an_animation_are_refused(tmp_path: Path) -> None:
    first = Image.fromarray(GREY)
    other = Image.fromarray(255 - GREY)
    first.save(tmp_path / "x.gif", save_all=True, append_images=[other])
    (tmp_path / "x.gif").rename(tmp_path / "x.png")
    with pytest.raises(ScanError, match="2 frames in one picture file"):
        read_ct(tmp_path / "x.png")


OFFSET_HU = (chest_hu(1)[0].astype(np.int32) + 1024).astype(np.uint16)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_that_look_like_hu_are_grey_unless_said(tmp_path: Path, suffix: str) -> None:
    hint = r"if these are HU with an offset, say so \(pixels=hu\)"
    path = write_png(tmp_path / f"x{suffix}", OFFSET_HU)
    with pytest.raises(ScanError, match=f"holds only the values 0, 1, 4.*{hint}"):
        read_ct(path)
    bright = np.maximum(OFFSET_HU, np.arange(0, 4096, 64, dtype=np.uint16))
    volume = read_ct(write_png(path, bright))
    assert volume.pixels is Pixels.WINDOWED
    assert re.search(hint, volume.warnings[0])
    assert "low contrast" in volume.warnings[1]
    write_png(path, OFFSET_HU)
    with pytest.raises(ScanError, match="probably an offset of 1024") as refusal:
        read_ct(path, Pixels.HU)
    assert refusal.value.code == "hu_offset"
    (scan,) = find_scans([path]).scans
    mended = read_scan(scan, Reading(Pixels.HU, Policy.REPAIR))
    assert mended.pixels is Pixels.HU
    assert np.array_equal(mended.array[0], chest_hu(1)[0])
    assert mended.repairs[0].startswith("offset of 1024 HU subtracted")


def test_a_tiff_of_signed_numbers_may_be_hu(tmp_path: Path) -> None:
    Image.fromarray(chest_hu(1)[0].astype(np.int32)).save(tmp_path / "x.tif")
    assert np.array_equal(read_ct(tmp_path / "x.tif", Pixels.HU).array, chest_hu(1))


@pytest.mark.realdata
def test_originals_give_the_same_grey_in_every_mode(real_data: Path, tmp_path: Path) -> None:
    originals = sorted((real_data / "sars-cov-2-ct-originals").rglob("*.png"))
    modes = set()
    for path in originals:
        with Image.open(path) as picture:
            modes.add(picture.mode)
            versions = {mode: picture.convert(mode) for mode in ("L", "RGB", "RGBA")}
        arrays = [read_ct(path).array]
        for mode, version in versions.items():
            version.save(tmp_path / f"{mode}.png")
            arrays.append(read_ct(tmp_path / f"{mode}.png").array)
        assert all(np.array_equal(arrays[0], other) for other in arrays[1:]), path.name
    assert len(originals) == 24
    assert modes == {"RGB", "RGBA"}
