"""The numbers of a preview draw the very same lesions again, and anything else is refused."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from covidssl.commands import preview
from covidssl.errors import UsageError
from covidssl.experiments import PreviewConfig
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.lesions import LesionRanges, params_from_json, params_to_json, preset, sample
from covidssl.lesions.ranges import BOUNDS
from covidssl.preview import rendered_hashes
from covidssl.randomness import torch_generator
from covidssl.version import __version__
from tests.preview.previews import Page, Slices, draws_of, prepared, refused, written


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
    "params huge": (put(*PARAMS, "edge_mm", value=[1e30] * 3), "edge_mm must lie in"),
    "params overflow": (put(*PARAMS, "seed", value=[10**400] * 3), "lesion draws"),
    "lattice without end": (put(*PARAMS, "texture_mm", value=[1e-9] * 3), "texture_mm must lie in"),
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


@pytest.mark.parametrize("span", [(0, 0), (0, 1), (1, 1)], ids=["lowest", "whole", "highest"])
def test_draws_of_any_ranges_are_replayed(
    span: tuple[int, int], store: Path, tmp_path: Path
) -> None:
    ends = {name: (bounds[span[0]], bounds[span[1]]) for name, bounds in BOUNDS.items()}
    lesions = LesionRanges.model_validate({"clean_share": 0, **ends})
    frame = Frame(size=32, pixels="hu")
    config = PreviewConfig(frame=frame, lesions=lesions, presets=(), slices=2)
    preview.main(config, store, tmp_path / "one")
    preview.main(PreviewConfig(), store, tmp_path / "two", replay=tmp_path / "one" / "draws.json")
    assert draws_of(tmp_path / "two") == draws_of(tmp_path / "one")


def test_bare_params_that_do_not_fit_the_store_are_refused(store: Path, tmp_path: Path) -> None:
    def said(count: int) -> str:
        params = sample(LesionRanges(), torch_generator(0), count)
        return refused(written(tmp_path, params_to_json(params)), store, tmp_path)

    assert re.search("holds 30 draws, and the store [1-6] slices", said(30))
    assert "33 draws, and a preview shows 1 to 32" in said(33)
    assert refused(written(tmp_path, json.dumps({"seed": [1]})), store, tmp_path)


def test_bare_params_take_the_stores_pixels_and_are_refused_where_others_are_asked_for(
    store: Path, tmp_path: Path
) -> None:
    params = sample(LesionRanges(), torch_generator(0), 2)
    path = written(tmp_path, params_to_json(params))
    windowed = PreviewConfig(frame=Frame(pixels=Pixels.WINDOWED))
    assert "--set frame.pixels=hu" in refused(path, store, tmp_path, windowed)
    preview.main(PreviewConfig(frame=Frame(size=48)), store, tmp_path / "out", replay=path)
    assert draws_of(tmp_path / "out")["frame"]["pixels"] == "hu"


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
