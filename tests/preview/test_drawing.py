"""What a preview draws, and through which slices."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from covidssl.cli import app
from covidssl.commands import preview
from covidssl.config import load_config
from covidssl.errors import DataError, UsageError
from covidssl.experiments import MOST_SLICES, PreviewConfig
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.lesions import LesionRanges, params_to_json, preset, preset_names, render, sample
from covidssl.preview import Shown, compared, fresh_plan
from covidssl.randomness import torch_generator
from tests.preview.previews import SMALL, Page, draws_of, phantom_slices, refused, small, written


def test_all_presets_are_shown_unless_some_are_named() -> None:
    assert [drawing.name for drawing in fresh_plan(PreviewConfig(), range(6)).columns] == [
        *preset_names()
    ]
    one = fresh_plan(PreviewConfig(presets=("ggo",)), range(9))
    assert [(drawing.name, drawing.ranges) for drawing in one.columns] == [("ggo", preset("ggo"))]


def test_ranges_of_ones_own_get_a_column_of_their_own() -> None:
    plan = fresh_plan(PreviewConfig(lesions=LesionRanges(clean_share=0.5)), range(9))
    assert [drawing.name for drawing in plan.columns] == ["this plan", *preset_names()]
    assert plan.columns[0].params.seed.equal(plan.sheet.params.seed)
    alone = fresh_plan(PreviewConfig(presets=()), range(9))
    assert [drawing.ranges for drawing in alone.columns] == [LesionRanges()]


def test_draws_of_a_column_do_not_depend_on_what_stands_beside_it() -> None:
    alone = fresh_plan(PreviewConfig(presets=("ggo",)), range(50)).columns[0].params
    beside = {drawing.name: drawing for drawing in fresh_plan(PreviewConfig(), range(50)).columns}
    assert params_to_json(alone) == params_to_json(beside["ggo"].params)
    other = fresh_plan(PreviewConfig(presets=("ggo",), seed=1), range(50)).columns[0].params
    assert not other.seed.equal(alone.seed)


def test_unknown_preset_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=f"no preset 'gg0'; there are {', '.join(preset_names())}"):
        small("presets=[gg0]")
    with pytest.raises(UsageError, match="twice"):
        small("presets=[ggo,ggo]")
    with pytest.raises(UsageError, match="'ggo' is a column already"):
        small("presets=[ggo]", "ranges={ggo: {clean_share: 0}}")


def test_lesions_option_takes_presets_and_files(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("clean_share: 0.5\n", encoding="utf-8")
    config = compared(small(), ["paper", str(tmp_path / "mine.yaml")])
    assert config.presets == ("paper",)
    assert config.ranges == {"mine": LesionRanges(clean_share=0.5)}
    assert (config.frame.size, config.slices) == (48, 3)
    assert compared(small(), []) == small()


def test_lesions_option_takes_a_file_that_changes_a_preset(tmp_path: Path) -> None:
    mine, other = tmp_path / "mine.yaml", tmp_path / "other.yaml"
    mine.write_text("preset: ggo\nclean_share: 0.3\n", encoding="utf-8")
    other.write_text(f"preset: {mine}\nclean_shares: 0.3\n", encoding="utf-8")
    config = compared(PreviewConfig(), [str(mine)])
    changed = preset("ggo").model_copy(update={"clean_share": 0.3})
    assert config.ranges == {"mine": changed}
    assert load_config(PreviewConfig, None, [f"ranges.mine={mine}"]).ranges == config.ranges
    with pytest.raises(UsageError, match="unknown key 'clean_shares'. Did you mean 'clean_share'"):
        compared(PreviewConfig(), [str(other)])
    mine.write_text(f"preset: {other}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="mine.yaml: files name each other in a circle"):
        compared(PreviewConfig(), [str(mine)])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["gg0"], "neither a preset .*ggo.* nor a YAML"),
        (["ggo", "ggo"], "'ggo' was given already"),
        (["{tmp}/none.yaml"], "no such configuration file"),
        (["{tmp}/bad.yaml"], "unknown key 'opacity'"),
    ],
)
def test_lesions_option_refuses_what_is_no_ranges(
    given: list[str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text("opacity: 3\n", encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        compared(PreviewConfig(), [name.format(tmp=tmp_path) for name in given])


def test_frame_stays_large_when_only_its_pixels_are_given() -> None:
    assert load_config(PreviewConfig, None, ["frame.pixels=hu"]).frame.size == 224
    assert load_config(PreviewConfig, None, ["frame.size=64"]).frame.size == 64


def test_pixels_are_those_of_the_store_unless_others_are_asked_for(
    store: Path, tmp_path: Path
) -> None:
    config = load_config(PreviewConfig, None, ["frame.size=48", "slices=1", "presets=[ggo]"])
    preview.main(config, store, tmp_path / "out")
    assert draws_of(tmp_path / "out")["frame"]["pixels"] == "hu"
    held = load_config(PreviewConfig, tmp_path / "out" / "config.yaml")
    assert held.frame == Frame(size=48, pixels=Pixels.HU)
    asked = load_config(PreviewConfig, None, [*SMALL, "frame.pixels=windowed"])
    with pytest.raises(UsageError, match=r"--set frame\.pixels=hu"):
        preview.main(asked, store, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


@pytest.mark.parametrize(
    ("slices", "said"),
    [(1, "--slab"), (MOST_SLICES + 1, "--slab"), (MOST_SLICES, "is no prepared store")],
)
def test_slab_of_too_many_or_too_few_slices_is_refused_by_its_own_name(
    slices: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("covidssl")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logger.level)
    arguments = ["preview", str(tmp_path / "none"), "-o", str(tmp_path / "out")]
    runner = CliRunner(env={"NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"})
    done = runner.invoke(app, [*arguments, "--slab", str(slices)])
    assert done.exit_code != 0
    assert said in f"{done.output} {done.exception}"


def test_options_of_the_command_reach_the_preview(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The command sets up logging for its process; here it is one of many tests.
    logger = logging.getLogger("covidssl")
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logger.level)

    def call(*arguments: object) -> None:
        done = CliRunner().invoke(app, ["preview", str(store), *map(str, arguments)])
        assert done.exit_code == 0, done.output

    (tmp_path / "mine.yaml").write_text("clean_share: 0.5\n", encoding="utf-8")
    settings = [part for key in SMALL[:2] for part in ("--set", key)]
    call("-o", tmp_path / "one", "--lesions", "ggo", "--lesions", tmp_path / "mine.yaml",
         "--slab", 2, *settings)  # fmt: skip
    draws = draws_of(tmp_path / "one")
    assert [entry["name"] for entry in draws["draws"]] == ["ggo", "mine"]
    assert (draws["slab"], len(draws["slices"])) == (True, 2)
    call("-o", tmp_path / "two", "--replay", tmp_path / "one" / "draws.json")
    assert draws_of(tmp_path / "two") == draws


def test_slab_is_one_draw_through_neighbouring_slices(store: Path, tmp_path: Path) -> None:
    config = small("presets=[]", "slab=true", "lesions={clean_share: 0, radius_mm: [60, 60]}")
    preview.main(config, store, tmp_path / "slab")
    draws = draws_of(tmp_path / "slab")
    first = draws["slices"][0]["index"]
    assert [entry["index"] for entry in draws["slices"]] == [first, first + 1, first + 2]
    assert len(draws["sheet"]["params"]["seed"]) == 1
    assert len(set(draws["sheet"]["rendered"])) == 3
    page = Page(tmp_path / "slab" / "preview.html").text
    assert "16 mm apart" in page
    assert page.count(str(draws["sheet"]["params"]["seed"][0])) == 3
    preview.main(PreviewConfig(), store, tmp_path / "again", replay=tmp_path / "slab/draws.json")
    assert draws_of(tmp_path / "again") == draws
    draws["slices"][1], draws["slices"][2] = draws["slices"][2], draws["slices"][1]
    assert "no neighbours" in refused(written(tmp_path, draws), store, tmp_path)


def test_slab_renders_its_slices_as_the_volume_that_they_are() -> None:
    hu, lungs = phantom_slices()
    slab = Shown(["a"] * 3, [5, 6, 7], hu, lungs, torch.full((3, 2), 2.4), False, 8.0)
    params = sample(LesionRanges(clean_share=0), torch_generator(3), 1)
    volume = render(
        hu.transpose(0, 1)[None], lungs.transpose(0, 1)[None], params,
        torch.tensor([[8.0, 2.4, 2.4]]),
    )  # fmt: skip
    shown = slab.render(params)
    assert shown.corrupted_hu.shape == hu.shape
    for part, whole in zip(shown, volume, strict=True):
        assert part[:, 0].equal(whole[0, 0])
    assert [row["seed"] for row in slab.rows(params)] == [int(params.seed)] * 3


def test_slab_thicker_than_any_scan_is_refused(store: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no scan holds 30 neighbouring slices"):
        preview.main(small("slices=30", "slab=true"), store, tmp_path / "out")
    assert not (tmp_path / "out").exists()
