"""The doctor says what is here, what is missing, and how to get it."""

from __future__ import annotations

import platform
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import torch

from covidssl.commands import doctor
from covidssl.perlin import rows as perlin_rows
from covidssl.version import __version__

ROOT = Path(__file__).resolve().parents[1]
Rows = dict[str, tuple[str, str]]


def examine(folder: Path) -> Rows:
    """What was found, and the advice, by name."""
    found = doctor.main(folder)
    assert len({name for name, _, _ in found}) == len(found)
    return {name: (what, advice) for name, what, advice in found}


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    return examine(tmp_path)


def test_versions_are_those_that_are_installed(rows: Rows) -> None:
    assert rows["covidssl"] == (__version__, "")
    assert rows["Python"][0].startswith(platform.python_version())
    for name in ("torch", "monai", "nibabel", "SimpleITK", "pydicom", "typer"):
        assert rows[name] == (metadata.version(name), "")


def test_package_that_is_missing_comes_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(doctor, "_PACKAGES", ("no-such-package",))
    assert examine(tmp_path)["no-such-package"] == ("missing", "pip install no-such-package")


def test_optional_package_comes_with_the_way_to_get_it_only_where_it_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    parts = {"json": ("text", "pip install json"), "no_such_module": ("magic", "pip install magic")}
    monkeypatch.setattr(doctor, "_OPTIONAL", parts)
    found = examine(tmp_path)
    assert found["json (optional)"] == ("text", "")
    assert found["no_such_module (optional)"] == ("magic", "pip install magic")


def test_every_extra_is_named_and_installs_what_it_is_named_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    del extras["dev"]  # what works on covidssl, and is no part of it
    monkeypatch.setattr(doctor, "find_spec", lambda _: None)
    optional = {
        name.removesuffix(" (optional)"): advice
        for name, (_, advice) in examine(tmp_path).items()
        if name.endswith(" (optional)")
    }
    named = set()
    for module, advice in optional.items():
        for extra in re.findall(r"covidssl\[(\w+)\]", advice):
            assert any(re.match(rf"{module}\b", one) for one in extras[extra]), module
            named.add(extra)
    assert named == set(extras)


def test_devices_are_told(rows: Rows) -> None:
    assert "cores" in rows["CPU"][0]
    assert "GiB of memory" in rows["CPU"][0]
    expected = "CUDA 0" if torch.cuda.is_available() else "CUDA"
    assert expected in rows


def test_free_disk_is_told(rows: Rows) -> None:
    assert float(rows["free disk here"][0].removesuffix(" GiB")) > 0


def test_the_way_of_drawing_perlin_fields_is_told(
    rows: Rows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if not torch.cuda.is_available():
        assert rows["Perlin fields"] == ("'rows' on cpu", "")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(perlin_rows, "at_hand", lambda: False)
    what, advice = examine(tmp_path)["Perlin fields"]
    assert what == "'product' on cpu"
    assert "pip install numba" in advice
