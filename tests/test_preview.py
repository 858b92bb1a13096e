"""A preview shows what the engine draws, and its numbers draw the very same lesions again."""

from __future__ import annotations

import copy
import io
import json
import logging
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from covidssl.cli import app
from covidssl.commands import prepare, preview
from covidssl.config import load_config
from covidssl.errors import CovidsslError, DataError, UsageError
from covidssl.experiments import PrepareConfig, PreviewConfig
from covidssl.frames import Frame
from covidssl.io import write_volume
from covidssl.lesions import (
    LesionRanges,
    Rendered,
    params_from_json,
    params_to_json,
    preset,
    preset_names,
    render,
    sample,
)
from covidssl.phantom import phantom_chest
from covidssl.preview import (
    Drawing,
    Shown,
    caption,
    column_of,
    compared,
    fresh_plan,
    rendered_hashes,
    sheet,
    write_gallery,
)
from covidssl.preview.numbers import numbers
from covidssl.preview.pictures import difference_png, grey_png, outline, shares, steps
from covidssl.randomness import torch_generator
from covidssl.version import __version__

SMALL = ["frame.size=48", "frame.pixels=hu", "slices=3"]
Slices = tuple[torch.Tensor, torch.Tensor, Rendered, list[str]]


@pytest.fixture
def slices() -> Slices:
    """Three phantom slices with lesions, and their captions."""
    hu, lungs = phantom_slices()
    params = sample(LesionRanges(clean_share=0), torch_generator(0), 3)
    rendered = render(hu, lungs, params, torch.full((3, 2), 2.4))
    return hu, lungs, rendered, [caption(row, "phantom") for row in params.rows()]


def phantom_slices() -> tuple[torch.Tensor, torch.Tensor]:
    scan = phantom_chest(1, lesions=False)
    hu = torch.tensor(scan.ct.array[5:8].astype(np.float32))[:, None]
    return hu, torch.tensor(scan.lungs.array[5:8])[:, None]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(tmp_path_factory.mktemp("preview"), seed=1)


def prepared(folder: Path, seed: int) -> Path:
    ct = phantom_chest(seed, False, (6, 72, 72), (16.0, 4.8, 4.8)).ct
    write_volume(ct, folder / "scans" / f"scan{seed}.nii.gz")
    prepare.main(PrepareConfig(), [folder / "scans"], folder / "store")
    return folder / "store"


def small(*more: str) -> PreviewConfig:
    return load_config(PreviewConfig, None, [*SMALL, *more])


@pytest.fixture(scope="module")
def shown(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A preview of two presets and of ranges of one's own."""
    out = tmp_path_factory.mktemp("shown") / "out"
    config = small("presets=[ggo,covid]", "ranges={wide: {clean_share: 0, radius_mm: [30, 40]}}")
    assert preview.main(config, store, out) == out / "preview.png"
    return out


def draws_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "draws.json").read_text(encoding="utf-8"))


# The sheet


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


# What the page is drawn with


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


# The page


class Page(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for key, value in attrs if key in ("src", "href", "action")]

    def handle_data(self, data: str) -> None:
        self.text += data


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


# What is drawn


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


# Replay


def test_draws_say_what_was_drawn_on_what(shown: Path, store: Path) -> None:
    draws = draws_of(shown)
    assert (draws["format"], draws["covidssl"]) == ("covidssl-draws-1", __version__)
    assert draws["store"] == json.loads((store / "store.json").read_text())["fingerprint"]
    assert draws["frame"]["size"] == 48
    assert [entry["scan"] for entry in draws["slices"]] == ["scan1.nii.gz"] * 3
    assert [entry["name"] for entry in draws["draws"]] == ["ggo", "covid", "wide"]
    ggo = draws["draws"][0]
    assert LesionRanges.model_validate(ggo["ranges"]) == preset("ggo")
    drawn = sample(preset("ggo"), torch_generator(*ggo["key"]), 3)
    assert json.loads(params_to_json(drawn)) == ggo["params"]


def test_hash_tells_lesions_apart_to_the_last_bit(slices: Slices) -> None:
    rendered = slices[2]
    before = rendered_hashes(rendered)
    assert len(set(before)) == 3
    for part in rendered:
        part[1, 0, 3, 4] = torch.nextafter(part[1, 0, 3, 4], torch.tensor(9e9))
        after = rendered_hashes(rendered)
        assert [one == other for one, other in zip(before, after, strict=True)] == [1, 0, 1]
        before = after


def test_replay_draws_the_very_same_lesions(shown: Path, store: Path, tmp_path: Path) -> None:
    preview.main(PreviewConfig(), store, tmp_path / "again", replay=shown / "draws.json")
    assert (tmp_path / "again" / "draws.json").read_bytes() == (shown / "draws.json").read_bytes()
    assert (tmp_path / "again" / "preview.png").read_bytes() == (shown / "preview.png").read_bytes()
    record = json.loads((tmp_path / "again" / "record.json").read_text())
    # The sheet and three columns, three slices each.
    assert record["summary"]["draws rendered to the recorded bits"] == "12 of 12"
    assert set(record["data"]) == {"store", "replay"}
    page = Page(tmp_path / "again" / "preview.html").text
    assert page.count("3 of 3 pictures the same as recorded") == 3


def test_replay_that_comes_out_otherwise_is_said(
    shown: Path, store: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    draws = draws_of(shown)
    draws["draws"][1]["rendered"][2] = "0" * 64
    path = written(tmp_path, draws)
    preview.main(PreviewConfig(), store, tmp_path / "again", replay=path)
    assert "1 of 12 draws came out with other bits" in caplog.text
    assert "2 of 3 pictures the same as recorded" in Page(tmp_path / "again" / "preview.html").text


def test_bare_params_draw_the_same_lesions(shown: Path, store: Path, tmp_path: Path) -> None:
    draws = draws_of(shown)
    wide = draws["draws"][2]
    params = params_from_json(json.dumps(wide["params"]))
    (tmp_path / "params.json").write_text(params_to_json(params), encoding="utf-8")
    frame = PreviewConfig(frame=Frame.model_validate(draws["frame"]))
    preview.main(frame, store, tmp_path / "again", replay=tmp_path / "params.json")
    again = draws_of(tmp_path / "again")
    assert again["slices"] == draws["slices"]
    assert [entry["rendered"] for entry in again["draws"]] == [wide["rendered"]]
    assert again["sheet"]["ranges"] is None
    # What was drawn from bare numbers can be replayed in its turn.
    preview.main(
        PreviewConfig(), store, tmp_path / "third", replay=tmp_path / "again" / "draws.json"
    )
    assert draws_of(tmp_path / "third") == again


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


def test_finished_replay_is_not_resumed_with_other_draws(
    shown: Path, store: Path, tmp_path: Path
) -> None:
    out = tmp_path / "again"
    preview.main(PreviewConfig(), store, out, replay=shown / "draws.json")
    preview.main(PreviewConfig(), store, out, "resume", replay=shown / "draws.json")
    draws = draws_of(shown)
    draws["draws"][0]["params"]["seed"][0] += 1
    with pytest.raises(UsageError, match="its data changed since it was started: replay"):
        preview.main(PreviewConfig(), store, out, "resume", replay=written(tmp_path, draws))


def written(folder: Path, content: Any) -> Path:
    path = folder / "given.json"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def refused(path: Path, store: Path, folder: Path, config: PreviewConfig | None = None) -> str:
    with pytest.raises(CovidsslError) as refusal:
        preview.main(config or PreviewConfig(), store, folder / "out", replay=path)
    assert isinstance(refusal.value, DataError | UsageError)
    assert not (folder / "out").exists()
    return str(refusal.value)


def put(*keys: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(draws: dict[str, Any]) -> None:
        inner: Any = draws
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value

    return change


PARAMS = ("draws", 0, "params")
BROKEN = {
    "format": (put("format", value="covidssl-draws-9"), "format: "),
    "extra": (put("more", value=1), "more: Extra inputs"),
    "no sheet": (lambda draws: draws.pop("sheet"), "sheet: Field required"),
    "other store": (put("store", value="0" * 64), "another store"),
    "frame": (put("frame", "size", value=10**6), "frame.size: "),
    "no slices": (put("slices", value=[]), "slices: "),
    "slice gone": (put("slices", 0, "place", value=10**6), "another slice at place 1000000"),
    "slice of another scan": (put("slices", 1, "scan", value="x"), "another slice at place"),
    "fewer slices": (lambda draws: draws["slices"].pop(), "3 hashes for 2 slices"),
    "hash": (put("draws", 0, "rendered", 0, value="x"), "draws.0.rendered.0: "),
    "two of a name": (put("draws", 1, "name", value="ggo"), "two of its columns"),
    "ranges": (put("draws", 0, "ranges", "opacity_hu", value=[500, 1]), "draws.0.ranges: "),
    "negative key": (put("draws", 0, "key", value=[-1]), "draws.0.key.0: "),
    "params no mapping": (put(*PARAMS, value=[1]), "draws.0.params: "),
    "params keys": (put(*PARAMS, "extra", value=[1, 2, 3]), "exactly the keys"),
    "params short": (put(*PARAMS, "seed", value=[1]), "lesion draws"),
    "params ragged": (put(*PARAMS, "radius_mm", value=[[1.0], [1.0, 2.0], [1.0]]), "lesion draws"),
    "params text": (put(*PARAMS, "edge_mm", value=["a", "b", "c"]), "lesion draws"),
    "params null": (put(*PARAMS, "edge_mm", value=None), "lesion draws"),
    "params deep": (put(*PARAMS, "edge_mm", value=[[[[1.0]]]]), "lesion draws"),
    "params huge": (put(*PARAMS, "edge_mm", value=[1e30] * 3), "'edge_mm' holds a number above"),
    "params overflow": (put(*PARAMS, "seed", value=[10**400] * 3), "lesion draws"),
    "lattice without end": (put(*PARAMS, "texture_mm", value=[1e-9] * 3), "below 0.1 mm"),
    "octaves without end": (put(*PARAMS, "octaves", value=[10**9] * 3), "octaves"),
    "more foci than places": (put(*PARAMS, "foci", value=[60] * 3), "foci"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_broken_draws_are_refused_and_nothing_is_written(
    name: str, shown: Path, store: Path, tmp_path: Path
) -> None:
    change, said = BROKEN[name]
    draws = copy.deepcopy(draws_of(shown))
    change(draws)
    assert said in refused(written(tmp_path, draws), store, tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ("[1]", "holds no keys"),
        ("{}", "exactly the keys"),
        ('{"format": NaN}', "no JSON of finite numbers"),
        ('{"seed": Infinity}', "no JSON of finite numbers"),
        ("[" * 100_000, "no JSON"),
        ('{"format": {"a": 1}}', "format: "),
        ('{"a": "' + "x" * (17 * 2**20) + '"}', "larger than 16 MiB"),
    ],
    ids=["empty", "torn", "list", "no keys", "nan", "infinite", "nested", "odd format", "huge"],
)
def test_text_that_holds_no_draws_is_refused(
    text: str, said: str, store: Path, tmp_path: Path
) -> None:
    assert said in refused(written(tmp_path, text), store, tmp_path)


def test_file_that_is_no_text_or_not_there_is_refused(store: Path, tmp_path: Path) -> None:
    (tmp_path / "picture.json").write_bytes(b"\x89PNG\xff\xfe")
    assert "no JSON" in refused(tmp_path / "picture.json", store, tmp_path)
    assert "no such file" in refused(tmp_path / "none.json", store, tmp_path)
    assert "no such file" in refused(tmp_path, store, tmp_path)


def test_bare_params_that_do_not_fit_the_store_are_refused(store: Path, tmp_path: Path) -> None:
    def said(count: int) -> str:
        params = sample(LesionRanges(), torch_generator(0), count)
        return refused(written(tmp_path, params_to_json(params)), store, tmp_path)

    assert re.search("holds 30 draws, and the store [1-6] slices", said(30))
    assert "33 draws, and a preview shows 1 to 32" in said(33)
    assert refused(written(tmp_path, json.dumps({"seed": [1]})), store, tmp_path)


def test_bare_params_on_a_store_of_another_pixel_kind_are_refused(
    store: Path, tmp_path: Path
) -> None:
    params = sample(LesionRanges(), torch_generator(0), 2)
    path = written(tmp_path, params_to_json(params))
    assert "--set frame.pixels=hu" in refused(path, store, tmp_path)


def test_draws_of_another_store_are_refused(shown: Path, tmp_path: Path) -> None:
    other = prepared(tmp_path / "other", seed=2)
    assert "another store" in refused(shown / "draws.json", other, tmp_path)


def test_replay_refuses_a_configuration_that_says_otherwise(
    shown: Path, store: Path, tmp_path: Path
) -> None:
    path = shown / "draws.json"
    said = refused(path, store, tmp_path, PreviewConfig(slices=2, seed=3))
    assert "say of seed, slices" in said
    said = refused(path, store, tmp_path, PreviewConfig(frame=Frame(size=64)))
    assert "another frame" in said


def test_resolved_configuration_holds_all_ranges(shown: Path) -> None:
    held = yaml.safe_load((shown / "config.yaml").read_text(encoding="utf-8"))
    assert held["presets"] == ["ggo", "covid"]
    assert held["ranges"]["wide"]["radius_mm"] == [30.0, 40.0]
    assert set(held["ranges"]["wide"]) == set(LesionRanges.model_fields)
