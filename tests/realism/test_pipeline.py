from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from covidssl.lesions import preset
from covidssl.randomness import numpy_generator, torch_generator
from covidssl.realism import Effort, cache_key, read_design, study
from covidssl.realism.cases import read_case
from covidssl.realism.pseudo import FAR_MM, free_lung, matched_rows, with_discs, with_pseudo_lesions
from pipelines.lesion_realism import main
from pipelines.realism_table import BEGIN, END, fill
from tests.realism.chests import write_cases

OPENED: list[str] = []


def _note_opened(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and "medseg-9" in str(args[0]):
        OPENED.append(Path(str(args[0])).name)


# An audit hook stays for the rest of the session: it only listens.
sys.addaudithook(_note_opened)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cases(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def measured(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("realism")
    page = out / "docs" / "lesions.md"
    page.parent.mkdir()
    page.write_text(f"# Lesions\n\n{BEGIN}\nold\n{END}\n\nLast words.\n", encoding="utf-8")
    OPENED.clear()
    main(data, out, docs=page, only=["covid"], quick=True)
    return out


def test_every_preset_is_measured_with_intervals(measured: Path) -> None:
    results: dict[str, Any] = json.loads((measured / "realism.json").read_text(encoding="utf-8"))
    assert set(results["presets"]) == {"covid"}
    for found in results["presets"].values():
        assert found["normal"]["lesions"] > 0
        value, low, high = found["normal"]["distances"]["inside"]
        assert 0 <= low <= value <= high
        assert value > 0
    assert results["settings"]["seed"] == 0
    assert results["real"]["cases"]["case 1"]["lesions"] == 20


def test_test_cases_are_never_opened(measured: Path) -> None:
    assert (measured / "realism.json").is_file()
    assert {name.split("_")[0] for name in OPENED} == {"case1", "case3", "case6"}


def test_the_page_is_filled_between_its_markers_and_nowhere_else(measured: Path) -> None:
    text = (measured / "docs" / "lesions.md").read_text(encoding="utf-8")
    assert text.startswith("# Lesions\n")
    assert text.endswith(f"{END}\n\nLast words.\n")
    assert "old" not in text.split(BEGIN)[1].split(END)[0].splitlines()
    assert "| `covid` |" in text
    assert "CC BY-NC-SA 3.0" in text
    assert (measured / "docs" / "images" / "lesion-distributions.png").is_file()
    assert "images/lesion-distributions.png" in text
    # Pixels of the scans stay with the results.
    assert (measured / "lesion-realism.png").is_file()
    assert not (measured / "docs" / "images" / "lesion-realism.png").exists()


def test_what_was_measured_is_not_measured_again(measured: Path, data: Path) -> None:
    kept = measured / "measured" / "covid.json"
    content = json.loads(kept.read_text(encoding="utf-8"))
    content["found"]["normal"]["lesions"] = 12345
    kept.write_text(json.dumps(content), encoding="utf-8")
    main(data, measured, only=["covid"], quick=True)
    results = json.loads((measured / "realism.json").read_text(encoding="utf-8"))
    assert results["presets"]["covid"]["normal"]["lesions"] == 12345


def test_other_ranges_are_measured_anew(data: Path) -> None:
    design = read_design(data / "medseg-9")
    keys = {cache_key(design, preset(name), Effort()) for name in ("covid", "ggo", "covid")}
    assert len(keys) == 2


def test_other_pixels_are_measured_anew(data: Path) -> None:
    design = read_design(data / "medseg-9")
    before = cache_key(design, None, Effort())
    lesions = design.diseased[3].lesions.copy()
    lesions[0, 0, 0] ^= True
    marked = replace(design.diseased[3], lesions=lesions)
    hu = design.normal.hu.copy()
    hu[-1, 5, 5] += 1
    others = [
        replace(design, diseased=design.diseased | {3: marked}),
        replace(design, normal=replace(design.normal, hu=hu)),
        replace(design, normal=replace(design.normal, pixel_mm=design.normal.pixel_mm * 1.01)),
    ]
    assert len({before, *(cache_key(other, None, Effort()) for other in others)}) == 4


def test_another_code_measures_anew(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "realism"
    shutil.copytree(Path(study.__file__).parent, folder)
    design = read_design(data / "medseg-9")
    before = cache_key(design, None, Effort())
    monkeypatch.setattr(study, "__file__", str(folder / "study.py"))
    assert cache_key(design, None, Effort()) == before
    with (folder / "two_sample.py").open("a", encoding="utf-8") as source:
        source.write("# changed\n")
    assert cache_key(design, None, Effort()) != before


def test_a_page_without_markers_gets_them(tmp_path: Path) -> None:
    page = tmp_path / "lesions.md"
    page.write_text("# Lesions\n", encoding="utf-8")
    fill(page, "first")
    fill(page, "second")
    assert page.read_text(encoding="utf-8") == f"# Lesions\n\n{BEGIN}\nsecond\n{END}\n"


def test_pseudo_lesions_leave_what_is_outside_them_alone(data: Path) -> None:
    normal = read_case(data / "medseg-9", 6)
    drawn = with_pseudo_lesions(normal, preset("covid"), torch_generator(0), "covid")
    assert drawn.lesions.any()
    changed = drawn.hu != normal.hu
    assert changed[drawn.lesions].mean() > 0.9
    assert not changed[:, 0].any()
    again = with_pseudo_lesions(normal, preset("covid"), torch_generator(0), "covid")
    assert np.array_equal(drawn.hu, again.hu)


def test_levels_are_matched_to_near_slices(data: Path) -> None:
    normal = read_case(data / "medseg-9", 6)
    wanted = np.repeat(normal.level[4:8], 5)
    rows = matched_rows(wanted, normal, numpy_generator(0))
    assert np.abs(normal.level[rows] - wanted).max() < 0.25


def test_discs_of_nothing_keep_away_from_marked_lesions(data: Path) -> None:
    stack = read_case(data / "medseg-9", 1)
    discs = with_discs(stack, free_lung(stack), numpy_generator(0))
    assert np.array_equal(discs.hu, stack.hu)
    assert discs.lesions.any()
    for disc, marked in zip(discs.lesions, stack.lesions, strict=True):
        if disc.any() and marked.any():
            gaps = np.argwhere(disc)[:, None] - np.argwhere(marked)[None]
            assert np.hypot(*np.moveaxis(gaps, -1, 0)).min() * stack.pixel_mm > FAR_MM


@pytest.mark.realdata
@pytest.mark.slow
def test_a_quick_look_at_real_lesions(real_data: Path, tmp_path: Path) -> None:
    main(real_data, tmp_path, only=["covid"], quick=True)
    results = json.loads((tmp_path / "realism.json").read_text(encoding="utf-8"))
    real = results["real"]["together"]
    assert -500 < real["inside_hu"][3] < 0
    assert results["presets"]["covid"]["normal"]["lesions"] > 50
