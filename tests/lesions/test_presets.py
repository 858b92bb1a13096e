"""Presets load by name, are complete, and are named where a name is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from covidssl.config import dump_config, load_config
from covidssl.errors import UsageError
from covidssl.experiments import PretrainConfig, PreviewConfig
from covidssl.lesions import LesionRanges, preset, preset_names
from covidssl.yaml_text import read_yaml, write_yaml

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "lesions"


def test_every_file_is_a_preset_and_every_preset_a_file() -> None:
    assert sorted(preset_names()) == sorted(path.stem for path in FOLDER.glob("*"))


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_holds_every_key_and_says_how_to_use_it(name: str) -> None:
    path = FOLDER / f"{name}.yaml"
    assert list(read_yaml(path)) == list(LesionRanges.model_fields)
    assert list(read_yaml(path)["kinds"]) == list(type(LesionRanges().kinds).model_fields)
    assert preset(name) == LesionRanges.model_validate(read_yaml(path))
    head = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert f"`lesions: {name}`" in "\n".join(head)
    assert "covidssl preview" in head[1]


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_dumps_and_loads_as_the_same(name: str, tmp_path: Path) -> None:
    written = tmp_path / "ranges.yaml"
    written.write_text(dump_config(preset(name)))
    assert load_config(LesionRanges, written) == preset(name)


def test_the_defaults_are_the_preset_covid() -> None:
    assert preset("covid") == LesionRanges()


def test_presets_hold_the_kinds_that_they_are_called_after() -> None:
    for name, kind in (
        ("ggo", "ground_glass"), ("consolidation", "consolidation"), ("paper", "ground_glass"),
        ("crazy_paving", "crazy_paving"), ("reversed_halo", "reversed_halo"),
    ):  # fmt: skip
        weights = preset(name).kinds.model_dump()
        assert [key for key, weight in weights.items() if weight > 0] == [kind]
    assert all(weight > 0 for weight in preset("covid").kinds.weights)


def test_a_configuration_takes_a_name_a_file_or_keys(tmp_path: Path) -> None:
    by_name = load_config(PretrainConfig, None, ["pretext.lesions=draem_like"])
    assert by_name.pretext.lesions == preset("draem_like")
    file = tmp_path / "mine.yaml"
    file.write_text(write_yaml({"clean_share": 0.4}))
    by_file = load_config(PretrainConfig, None, [f"pretext.lesions={file}"])
    assert by_file.pretext.lesions == LesionRanges(clean_share=0.4)
    by_keys = load_config(PretrainConfig, None, ["pretext.lesions.clean_share=0.4"])
    assert by_keys == by_file
    # What a run writes down is the whole of it, not the name.
    assert "opacity_hu: [0.0, 0.0]" in dump_config(by_name)
    written = tmp_path / "config.yaml"
    written.write_text(dump_config(by_name))
    assert load_config(PretrainConfig, written) == by_name


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("covd", "unknown lesion preset 'covd': did you mean 'covid'"),
        ("asbestos", "unknown lesion preset 'asbestos': known are paper, ggo, .*draem_like"),
        ("no/such/file.yaml", "no/such/file.yaml: there is no such configuration file"),
        ("3", "Input should be a valid dictionary or instance of LesionRanges"),
    ],
)
def test_a_wrong_name_is_refused_with_the_right_ones(given: str, said: str) -> None:
    with pytest.raises(UsageError, match=f"pretext.lesions: {said}"):
        load_config(PretrainConfig, None, [f"pretext.lesions={given}"])


def test_a_file_with_a_wrong_key_is_refused_by_the_key(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("clean_shares: 0.2\n")
    with pytest.raises(UsageError, match=r"unknown key 'pretext\.lesions\.clean_shares'"):
        load_config(PretrainConfig, None, [f"pretext.lesions={file}"])


def test_an_unknown_preset_is_refused_by_the_function_too() -> None:
    with pytest.raises(UsageError, match="did you mean 'reversed_halo'"):
        preset("reversed-halo")


def test_keys_beside_a_preset_change_it() -> None:
    settings = ["pretext.lesions.preset=ggo", "pretext.lesions.clean_share=0.4"]
    changed = load_config(PretrainConfig, None, settings).pretext.lesions
    assert changed == preset("ggo").model_copy(update={"clean_share": 0.4})
    with pytest.raises(UsageError, match="pretext.lesions: unknown lesion preset 'gg'"):
        load_config(PretrainConfig, None, ["pretext.lesions.preset=gg"])


def test_a_file_may_change_a_preset_or_another_file(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("preset: ggo\nclean_share: 0.3\n")
    second.write_text(f"preset: {first}\nfoci: [2, 3]\n")
    config = tmp_path / "config.yaml"
    config.write_text(f"lesions: {first}\n")
    changed = preset("ggo").model_copy(update={"clean_share": 0.3})
    assert load_config(PreviewConfig, None, [f"lesions={first}"]).lesions == changed
    assert load_config(PreviewConfig, config).lesions == changed
    twice = load_config(PretrainConfig, None, [f"pretext.lesions={second}"]).pretext.lesions
    assert twice == changed.model_copy(update={"foci": (2, 3)})


def test_files_that_name_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(f"preset: {second}\n")
    second.write_text(f"preset: {first}\n")
    with pytest.raises(UsageError, match=r"lesions: files name each other in a circle: .*first"):
        load_config(PreviewConfig, None, [f"lesions={first}"])
