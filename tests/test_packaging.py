"""The files around the package agree with each other."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import covidssl
from covidssl.version import __version__

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# What conda-forge calls a package of PyPI.
CONDA_NAMES = {"torch": "pytorch", "matplotlib": "matplotlib-base", "ray": "ray-data"}


def required(*left_out: str) -> list[Requirement]:
    """All requirements of pyproject.toml, those of the extras too but for some."""
    extras = {k: v for k, v in PROJECT["optional-dependencies"].items() if k not in left_out}
    lines = [*PROJECT["dependencies"], *(line for extra in extras.values() for line in extra)]
    return [Requirement(line) for line in lines]


def environment() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def offered() -> dict[str, SpecifierSet]:
    """Version ranges of environment.yml by canonical name, those for pip too."""
    lines: list[str] = []
    for entry in environment()["dependencies"]:
        lines += entry["pip"] if isinstance(entry, dict) else [entry]
    wanted = [Requirement(line) for line in lines if not line.startswith("-e")]
    return {canonicalize_name(one.name): one.specifier for one in wanted}


def pinned() -> dict[str, str]:
    """Versions of constraints.txt by canonical name."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("#")[0].strip().split("==") for line in lines if "==" in line]
    return {canonicalize_name(name): version for name, version in pairs}


# Peers that only the benchmarks run against are not everybody's.
@pytest.mark.parametrize("requirement", required("bench"), ids=lambda one: one.name)
def test_environment_offers_what_the_package_requires(requirement: Requirement) -> None:
    name = canonicalize_name(CONDA_NAMES.get(requirement.name.lower(), requirement.name))
    assert name in offered(), f"environment.yml lacks {name}"
    assert offered()[name] == requirement.specifier


@pytest.mark.parametrize("requirement", required(), ids=lambda requirement: requirement.name)
def test_constraints_pin_a_version_that_the_package_takes(requirement: Requirement) -> None:
    name = canonicalize_name(requirement.name)
    assert name in pinned(), f"constraints.txt lacks {name}"
    assert requirement.specifier.contains(pinned()[name])


@pytest.mark.parametrize(
    "name",
    ["monai", "pytorch", "nibabel", "noise", "simpleitk", "scikit-learn", "pytest"],
)
def test_environment_names_the_packages_that_the_project_is_built_on(name: str) -> None:
    assert name in offered()


def test_environment_installs_the_package_itself_from_conda_forge() -> None:
    content = environment()
    assert content["name"] == "covidssl"
    assert content["channels"][0] == "conda-forge"
    assert any(isinstance(e, dict) and "-e ." in e["pip"] for e in content["dependencies"])


def test_environment_and_package_support_the_same_python() -> None:
    assert offered()["python"] == SpecifierSet(PROJECT["requires-python"])


def test_citation_names_this_version_and_the_paper() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    citation = yaml.safe_load(text)
    assert citation["version"] == covidssl.__version__ == __version__
    assert citation["license"] == PROJECT["license"] == "Apache-2.0"
    assert "arXiv:2106.12313" in text


def test_licence_is_whole() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


@pytest.mark.parametrize(
    "name", ["covidssl", "pipelines", "configs", "data", "tests", "environment.yml"]
)
def test_top_level_holds_what_a_reader_looks_for(name: str) -> None:
    assert (ROOT / name).exists()


def test_report_template_lies_inside_the_package() -> None:
    assert (Path(covidssl.__file__).parent / "templates" / "report.html.j2").is_file()


def test_commit_hooks_run_the_pinned_ruff_and_keep_large_files_out() -> None:
    text = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    repositories = yaml.safe_load(text)["repos"]
    hooks = {hook["id"]: hook for repository in repositories for hook in repository["hooks"]}
    assert {"ruff-check", "ruff-format", "check-yaml", "python-check-blanket-noqa"} <= set(hooks)
    assert hooks["check-added-large-files"]["args"] == ["--maxkb=500"]
    ruff = next(r for r in repositories if r["repo"].endswith("ruff-pre-commit"))
    assert ruff["rev"] == f"v{pinned()['ruff']}"
