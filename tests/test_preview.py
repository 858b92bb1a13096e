"""The sheet of pseudo-lesions is a picture with what it should show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from covidssl.lesions import LesionRanges, Rendered, render, sample
from covidssl.phantom import phantom_chest
from covidssl.preview import caption, sheet
from covidssl.randomness import torch_generator

Slices = tuple[torch.Tensor, torch.Tensor, Rendered, list[str]]


@pytest.fixture
def slices() -> Slices:
    """Three phantom slices with lesions, and their captions."""
    scan = phantom_chest(1, lesions=False)
    hu = torch.tensor(scan.ct.array[5:8].astype(np.float32))[:, None]
    lungs = torch.tensor(scan.lungs.array[5:8])[:, None]
    params = sample(LesionRanges(clean_share=0), torch_generator(0), 3)
    rendered = render(hu, lungs, params, torch.full((3, 2), 2.4))
    return hu, lungs, rendered, [caption(row, "phantom") for row in params.rows()]


def test_sheet_is_a_png_that_grows_by_a_row_a_slice(slices: Slices, tmp_path: Path) -> None:
    hu, lungs, rendered, captions = slices
    sizes = []
    for rows in (1, 3):
        part = Rendered(*(field[:rows] for field in rendered))
        path = sheet(hu[:rows], lungs[:rows], part, captions[:rows], tmp_path / f"{rows}.png")
        with Image.open(path) as picture:
            assert picture.format == "PNG"
            sizes.append(picture.size)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[1][1] > 2.5 * sizes[0][1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1.png", "3.png"]


def test_sheet_shows_added_density_in_red_and_a_clean_slice_without(
    slices: Slices, tmp_path: Path
) -> None:
    hu, lungs, rendered, captions = slices
    clean = Rendered(hu, torch.zeros_like(hu))

    def reds(shown: Rendered, name: str) -> int:
        path = sheet(hu, lungs, shown, captions, tmp_path / name)
        colour = np.asarray(Image.open(path).convert("RGB")).astype(int)
        return int((colour[..., 0] > colour[..., 2] + 60).sum())

    assert reds(rendered, "ill.png") > 500
    assert reds(clean, "clean.png") == 0


def test_same_slices_make_the_same_file(slices: Slices, tmp_path: Path) -> None:
    one, other = (sheet(*slices, tmp_path / name) for name in ("one.png", "other.png"))
    assert one.read_bytes() == other.read_bytes()


def test_slices_without_lungs_can_be_shown(slices: Slices, tmp_path: Path) -> None:
    hu, lungs, _, captions = slices
    empty = torch.zeros_like(lungs)
    assert sheet(
        hu, empty, Rendered(hu, torch.zeros_like(hu)), captions, tmp_path / "a.png"
    ).exists()


def test_sheet_without_slices_or_captions_is_refused(slices: Slices, tmp_path: Path) -> None:
    hu, lungs, rendered, captions = slices
    with pytest.raises(ValueError, match="a caption a slice, got 3 and 1"):
        sheet(hu, lungs, rendered, captions[:1], tmp_path / "a.png")
    none = Rendered(*(field[:0] for field in rendered))
    with pytest.raises(ValueError, match="got 0"):
        sheet(hu[:0], lungs[:0], none, [], tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_caption_tells_the_kind_and_the_numbers() -> None:
    glass, dense, clean = (
        caption(sample(ranges, torch_generator(2), 1).rows()[0], "slice 7")
        for ranges in (
            LesionRanges(clean_share=0, dense_share=0, opacity_hu=(321, 321)),
            LesionRanges(clean_share=0, dense_share=1, dense_hu=(-45, -45)),
            LesionRanges(clean_share=1),
        )
    )
    assert glass.startswith("slice 7\nground glass\nadds 321 HU")
    assert "consolidation -45 HU" in dense
    assert clean == "slice 7\nclean: nothing drawn"
