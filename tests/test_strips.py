"""Strips of slices and the picture of those that decided."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import expit, logit

from covidssl.answers import SliceSaid
from covidssl.box import Box
from covidssl.prediction.steps import Answered
from covidssl.randomness import numpy_generator
from covidssl.slice_pictures import (
    deciding_picture,
    deciding_planes,
    evidence_tiles,
    grey_tiles,
    lesion_tiles,
    tile_size,
)
from covidssl.strips import MOST_SLICES, STRIP_BYTES, Strip, write_strip
from tests.predicted_runs import answered_phantom


def strip_of(out: Path, answered: Answered, stem: str = "a") -> tuple[Strip, dict[str, str]]:
    files = write_strip(out, stem, answered)
    return Strip.model_validate(json.loads((out / files["strip"]).read_text())), files


def picture_of(answered: Answered) -> Image.Image:
    content = deciding_picture(answered.prepared.ct, answered.answer, answered.maps)
    return Image.open(io.BytesIO(content))


def size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        picture.load()
        return picture.size


def test_sheets_are_as_large_as_the_strip_says(tmp_path: Path) -> None:
    strip, files = strip_of(tmp_path, answered_phantom(1))
    assert size_of(tmp_path / files["strip_slices"]) == strip.size
    half = tuple(-(-edge // 2) for edge in strip.tile)
    rows = -(-len(strip.slices) // strip.columns)
    for layer in ("lesion", "evidence"):
        heat = size_of(tmp_path / files[f"strip_{layer}"])
        assert heat == strip.map_size
        assert heat == (half[0] * strip.columns, half[1] * rows)


def test_slices_that_decided_are_in_the_strip_and_marked(tmp_path: Path) -> None:
    answered = answered_phantom(1, (40, 72, 72))
    strip, _ = strip_of(tmp_path, answered)
    assert MOST_SLICES - 3 <= len(strip.slices) <= MOST_SLICES
    heaviest = sorted(answered.answer.slices, key=lambda one: one.weight)[-3:]
    marked = [one.slice for one in strip.slices if one.deciding]
    assert marked == sorted(one.slice for one in heaviest)


def test_what_slices_add_is_what_their_maps_add_up_to(tmp_path: Path) -> None:
    answered = answered_phantom(1)
    assert answered.maps is not None
    strip, _ = strip_of(tmp_path, answered)
    places = list(answered.maps.slices)
    for one in strip.slices:
        total = float(answered.maps.evidence[places.index(one.slice)].sum())
        assert one.adds == pytest.approx(total, abs=1e-3)


def test_tile_of_the_sheet_shows_its_slice(tmp_path: Path) -> None:
    answered = answered_phantom(1)
    ct, maps = answered.prepared.ct, answered.maps
    assert maps is not None
    strip, files = strip_of(tmp_path, answered)
    with Image.open(tmp_path / files["strip_slices"]) as sheet:
        grey = np.asarray(sheet.convert("L"), dtype=float)
    width, height = strip.tile
    slices = np.array([one.slice for one in strip.slices])
    for k, expected in enumerate(grey_tiles(ct, slices, maps.box, strip.tile)):
        top, left = k // strip.columns * height, k % strip.columns * width
        tile = grey[top : top + height, left : left + width]
        assert np.abs(tile - expected).mean() < 8  # losses of the compression alone


def test_scan_without_maps_is_shown_in_grey_and_whole(tmp_path: Path) -> None:
    answered = answered_phantom(1)
    bare = replace(answered, maps=None, prepared=replace(answered.prepared, cut=None))
    strip, files = strip_of(tmp_path, bare)
    assert (set(files), strip.layers) == ({"strip", "strip_slices"}, ())
    assert not any(one.deciding or one.adds is not None for one in strip.slices)
    assert (strip.slices[0].slice, strip.slices[-1].slice) == (
        0,
        len(answered.prepared.ct.array) - 1,
    )


def test_network_of_volumes_gets_a_strip_of_its_planes(tmp_path: Path) -> None:
    answered = answered_phantom(1, depth=16)
    strip, files = strip_of(tmp_path, answered)
    assert "picture" in files
    shown = [one.slice for one in strip.slices]
    assert shown == sorted(set(shown))


def test_mask_has_no_strip(tmp_path: Path) -> None:
    answered = answered_phantom(1)
    mask = replace(answered.prepared, ct=answered.prepared.lungs.mask)
    assert write_strip(tmp_path, "a", replace(answered, prepared=mask)) == {}
    assert not list(tmp_path.iterdir())


def test_strip_of_noise_stays_within_its_bytes(tmp_path: Path) -> None:
    answered = answered_phantom(1, (40, 72, 72))
    generator = numpy_generator(3)
    noise = generator.integers(-1000, 400, (40, 256, 256)).astype(np.int16)
    ct = replace(answered.prepared.ct, array=noise, spacing_mm=None)
    assert answered.maps is not None
    box = Box(0, 256, 0, 256)
    maps = replace(
        answered.maps,
        box=box,
        evidence=generator.normal(size=(len(answered.maps.slices), 256, 256)).astype(np.float32),
        lesion=generator.random((len(answered.maps.slices), 256, 256)).astype(np.float32),
    )
    cut = answered.prepared.cut
    assert cut is not None
    prepared = replace(answered.prepared, ct=ct, cut=cut._replace(box=box))
    _, files = strip_of(tmp_path, replace(answered, prepared=prepared, maps=maps))
    sheets = [path for kind, path in files.items() if kind.startswith("strip_")]
    assert sum((tmp_path / path).stat().st_size for path in sheets) <= STRIP_BYTES


def test_same_answer_gives_the_same_files(tmp_path: Path) -> None:
    files = write_strip(tmp_path / "a", "x", answered_phantom(1))
    write_strip(tmp_path / "b", "x", answered_phantom(1))
    for path in files.values():
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_picture_has_a_row_a_deciding_slice_and_a_column_a_map() -> None:
    answered = answered_phantom(1)
    assert answered.maps is not None
    without = replace(answered, maps=replace(answered.maps, lesion=None))
    with_lesion, plain = (picture_of(one) for one in (answered, without))
    assert with_lesion.height == plain.height
    assert with_lesion.width - plain.width == pytest.approx(with_lesion.width / 3, abs=8)


def test_picture_without_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="without maps"):
        picture_of(replace(answered_phantom(1), maps=None))


def test_planes_that_decided_are_the_loudest_and_no_neighbours() -> None:
    answered = answered_phantom(1, depth=16)
    assert answered.maps is not None
    evidence = np.zeros((16, 4, 4), np.float32)
    evidence[[4, 5, 10, 14]] = np.array([2.0, 3.0, 1.0, 4.0])[:, None, None]
    maps = replace(answered.maps, evidence=evidence)
    assert deciding_planes(answered.answer, maps).tolist() == [5, 10, 14]


def test_planes_that_decided_against_are_those_that_take_most_off() -> None:
    answered = answered_phantom(1, depth=16)
    assert answered.maps is not None
    evidence = np.zeros((16, 4, 4), np.float32)
    evidence[[1, 4, 10, 14]] = np.array([9.0, -3.0, -1.0, -4.0])[:, None, None]
    negative = answered.answer.model_copy(update={"probability": 0.2, "label": "non-COVID"})
    maps = replace(answered.maps, evidence=evidence)
    assert deciding_planes(negative, maps).tolist() == [4, 10, 14]


@pytest.mark.parametrize(
    ("probability", "point", "decided"),
    [(0.9, 0.5, [2, 3, 5]), (0.1, 0.5, [0, 1, 4]), (0.3, 0.1, [2, 3, 5]), (0.6, 0.8, [0, 1, 4])],
)
def test_slices_that_decided_speak_for_the_class_that_was_given(
    probability: float, point: float, decided: list[int]
) -> None:
    answered = answered_phantom(1)
    assert answered.maps is not None
    # Logits from the operating point: (-2, -2, 3, 2, -1, 1), and a heavy slice that says nothing.
    away = np.array([-2.0, -2.0, 3.0, 2.0, -1.0, 1.0, 0.0])
    chances = expit(away + logit(point))
    weights = (0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.4)
    slices = tuple(
        SliceSaid(slice=k, probability=float(p), weight=w)
        for k, (p, w) in enumerate(zip(chances, weights, strict=True))
    )
    update = {"slices": slices, "probability": probability, "operating_point": point}
    answer = answered.answer.model_copy(update=update)
    assert deciding_planes(answer, answered.maps).tolist() == decided


def test_evidence_against_has_the_colours_of_its_own_scale() -> None:
    evidence = np.zeros((1, 40, 40), np.float32)
    evidence[0, :, :20], evidence[0, :, 20:] = 1, -1
    heat = evidence_tiles(evidence, (40, 40))
    palette = np.frombuffer(heat.palette, np.uint8).reshape(-1, 3).astype(int)
    for_it, against = palette[heat.levels[0, 20, 5]], palette[heat.levels[0, 20, 35]]
    assert for_it[0] > for_it[2]
    assert against[2] > against[0]


def test_what_says_nothing_is_transparent() -> None:
    heat = evidence_tiles(np.zeros((1, 8, 8), np.float32), (8, 8))
    assert not heat.levels.any()
    assert heat.alpha[0] == 0
    lesion = np.full((1, 8, 8), 0.07, np.float32)
    lesion[0, 2, 2] = 0.4
    drawn = lesion_tiles(lesion, 0.08, (8, 8)).levels[0]
    assert np.argwhere(drawn).tolist() == [[2, 2]]


def test_tiles_keep_the_proportions_of_the_body() -> None:
    ct = replace(answered_phantom(1).prepared.ct, spacing_mm=(5.0, 2.0, 1.0))
    assert tile_size(ct, Box(0, 50, 0, 50), 208) == (25, 50)
    assert tile_size(ct, Box(0, 500, 0, 500), 208) == (104, 208)
