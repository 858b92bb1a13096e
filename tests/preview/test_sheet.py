"""The sheet is a picture a row a slice, with the numbers of each draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from covidssl.lesions import LesionRanges, Rendered, sample
from covidssl.preview import caption, sheet
from covidssl.preview.numbers import numbers
from covidssl.randomness import torch_generator
from tests.preview.previews import Slices


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


def test_caption_tells_the_kinds_and_only_what_matters_to_them() -> None:
    def of(**ranges: Any) -> str:
        drawn = sample(LesionRanges(**ranges), torch_generator(2), 1)
        return caption(drawn.rows()[0], "slice 7")

    glass = of(clean_share=0, foci=(3, 3), kinds={"ground_glass": 1}, opacity_hu=(321, 321))
    assert glass.startswith("slice 7\n3 × ground glass\n")
    assert "\nopacity 321 HU" in glass
    assert "mesh" not in glass
    assert "\ndense" not in glass
    dense = of(clean_share=0, foci=(1, 1), kinds={"consolidation": 1}, dense_hu=(-45, -45))
    assert dense.startswith("slice 7\n1 × consolidation\n")
    assert "\ndense -45 HU" in dense
    assert of(clean_share=1) == "slice 7\nclean: nothing drawn"


def test_numbers_are_written_for_whatever_fields_there_are() -> None:
    row = {
        "seed": 12, "new_width_mm": 3.25, "angle_deg": [10.0, 99.7], "none_mm": [], "on": True,
        "inner": {"dense_hu": (-150.0, 60.0)}, "kinds": ["crazy_paving"],
    }  # fmt: skip
    assert numbers(row) == [
        ("seed", "12"), ("new width", "3.2 mm"), ("angle", "10, 100 °"), ("none", "–"),
        ("on", "yes"), ("inner dense", "-150 to 60 HU"), ("kinds", "crazy paving"),
    ]  # fmt: skip
