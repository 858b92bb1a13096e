"""The page shows presets side by side, holds all it needs, and runs nothing."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from covidssl.commands import preview
from covidssl.config import load_config
from covidssl.experiments import PreviewConfig
from covidssl.lesions import LesionRanges, sample
from covidssl.preview import Drawing, Shown, column_of, rendered_hashes, write_gallery
from covidssl.preview.pictures import difference_png, grey_png, outline, shares, steps
from covidssl.randomness import torch_generator
from tests.preview.previews import Page, draws_of, phantom_slices


def test_pictures_are_png_of_the_slice_and_of_what_was_added_and_taken() -> None:
    hu = np.array([[-1000.0, 400.0], [-300.0, 3000.0]], dtype=np.float32)
    assert decoded(grey_png(hu)).tolist() == [[0, 255], [128, 255]]
    rgb = decoded(difference_png(np.array([[0.0, 600.0, -900.0]], dtype=np.float32)), "RGB")
    same, added, taken = rgb[0].astype(int).tolist()
    assert min(same) > 240
    assert added[0] > added[2] + 60
    assert taken[2] > taken[0] + 60


def decoded(png: bytes, mode: str = "L") -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(png)).convert(mode))


def test_outline_runs_half_way_around_and_is_closed_at_the_edge() -> None:
    share = np.zeros((8, 8), dtype=np.float32)
    assert outline(share) == ""
    share[2:4, 3:6] = 1
    numbers_of_one = [float(text) for text in re.findall(r"[\d.]+", outline(share))]
    assert (min(numbers_of_one[::2]), max(numbers_of_one[::2])) == (3.0, 6.0)
    assert (min(numbers_of_one[1::2]), max(numbers_of_one[1::2])) == (2.0, 4.0)
    at_edge = outline(np.ones((4, 4), dtype=np.float32))
    first, last = at_edge[1:].split("L")[0], at_edge.split("L")[-1]
    assert first == last


def test_histogram_counts_every_voxel_once_and_keeps_to_its_chart() -> None:
    values = shares(np.array([-5000.0, -995.0, 0.0, 5000.0]))
    assert values.sum() == pytest.approx(1)
    assert (values[0], values[-1]) == (0.5, 0.25)
    assert shares(np.array([])).sum() == 0
    ups = [float(text) for text in re.findall(r"V([\d.]+)", steps(values, 0.5))]
    assert (min(ups), max(ups)) == (0, 90)
    assert set(re.findall(r"V([\d.]+)", steps(values * 0, 0.0))) == {"90", "90.0"}


def test_page_shows_every_preset_beside_every_clean_slice(shown: Path) -> None:
    page = Page(shown / "preview.html")
    # A slice: itself, then with lesions and as difference for each of three columns.
    assert page.tags.count("img") == 3 * (1 + 2 * 3)
    assert page.tags.count("details") == 3 * 3
    assert page.tags.count("section") == 1 + 3 + 1
    for words in ("ggo", "covid", "wide", "scan1.nii.gz", "outline roughness", "30 to 40 mm"):
        assert words in page.text, words
    for record in draws_of(shown)["draws"]:
        for seed in record["params"]["seed"]:
            assert str(seed) in page.text


def test_page_holds_all_it_needs_and_no_script(shown: Path) -> None:
    page = Page(shown / "preview.html")
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    text = (shown / "preview.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.search(r"https?:|url\(|@import", text)


def test_page_of_the_same_draws_has_the_same_bytes(
    shown: Path, store: Path, tmp_path: Path
) -> None:
    config = load_config(PreviewConfig, shown / "config.yaml")
    preview.main(config, store, tmp_path / "again")
    for name in ("preview.html", "preview.png", "draws.json"):
        assert (tmp_path / "again" / name).read_bytes() == (shown / name).read_bytes()


def test_names_cannot_become_markup(tmp_path: Path) -> None:
    hu, lungs = phantom_slices()
    slices = Shown(["<script>x</script>"] * 3, [1, 2, 3], hu, lungs, torch.full((3, 2), 2.4), False)
    params = sample(LesionRanges(), torch_generator(0), 3)
    drawing = Drawing('"><script>', LesionRanges(), (0,), params)
    rendered = slices.render(params)
    column = column_of(slices, drawing, rendered, rendered_hashes(rendered))
    write_gallery(tmp_path / "page.html", slices, [column], [("a<b", "<script>")])
    page = Page(tmp_path / "page.html")
    assert "script" not in page.tags
    assert "<script>x</script>" in page.text


def test_page_of_clean_draws_and_of_slices_without_lungs_can_be_written(tmp_path: Path) -> None:
    hu, lungs = phantom_slices()
    slices = Shown(["a"] * 3, [0] * 3, hu, lungs & False, torch.full((3, 2), 2.4), True)
    columns = []
    for ranges in (LesionRanges(clean_share=1), LesionRanges(clean_share=0)):
        params = sample(ranges, torch_generator(0), 3)
        rendered = slices.render(params)
        drawing = Drawing("one", ranges, None, params)
        columns.append(column_of(slices, drawing, rendered, rendered_hashes(rendered)))
    write_gallery(tmp_path / "page.html", slices, columns, [])
    text = Page(tmp_path / "page.html").text
    assert text.count("nothing drawn") == 3
    assert text.count("nothing to be seen") == 3
    assert "nominal" in text


def test_resolved_configuration_holds_all_ranges(shown: Path) -> None:
    held = yaml.safe_load((shown / "config.yaml").read_text(encoding="utf-8"))
    assert held["presets"] == ["ggo", "covid"]
    assert held["ranges"]["wide"]["radius_mm"] == [30.0, 40.0]
    assert set(held["ranges"]["wide"]) == set(LesionRanges.model_fields)
