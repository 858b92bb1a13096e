"""The data path is a test, not a diagram: imports only point backwards."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "covidssl"

# A module may import what stands on an earlier line, or beside it on its own.
STAGES = [
    ["counting", "legible", "version"],
    ["errors", "noted", "randomness"],
    [
        "box",
        "files",
        "folder_kinds",
        "folder_lock",
        "hounsfield",
        "intensity",
        "pages",
        "progress",
        "pseudonyms",
        "shipped",
        "tensor_files",
        "worker_processes",
        "yaml_text",
    ],
    ["volume", "downloads", "model_page"],
    ["io"],
    ["lungs"],
    ["manifest"],
    ["qc"],
    ["store"],
    ["preparing"],
    ["phantom"],
    ["frames", "scan_frames"],
    ["perlin"],
    ["lesions"],
    ["augment", "networks"],
    ["training", "encoder_card", "weights"],
    ["checkpoint", "foreign", "out_of_distribution", "pretext"],
    ["clean_slices", "pack"],
    ["datasets", "duplicates", "file_order"],
    ["splits", "each_scan"],
    ["rivals", "labelled_frames"],
    ["calibration", "metrics", "realism"],
    ["diagnosis", "model", "lesion_model", "quality", "scan_bags"],
    ["answers"],
    ["experiments"],
    ["config", "lessons", "selection", "starting"],
    ["altering"],
    ["evidence", "export", "maps", "prediction", "slice_pictures"],
    ["comparison", "inference", "strips"],
    ["preview", "figures", "report", "audit", "viewing"],
    ["evaluation"],
    ["robustness"],
    ["runs", "shared_runs"],
    ["finetuning", "pretraining"],
    ["rehearsal"],
    ["learning"],
    ["commands"],
    ["cli"],
]
PLACE = {module: stage for stage, modules in enumerate(STAGES) for module in modules}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
UNKNOWN_NAMES = {"utils", "helpers", "misc", "common", "base", "manager"}


def stage_name(path: Path) -> str:
    """First part of a module's name below the package."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> set[str]:
    """Modules of covidssl that a file imports, at the top or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "covidssl":
                names = [f"covidssl.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name for name in names if name.startswith("covidssl.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_point_backwards(path: Path) -> None:
    here = PLACE[stage_name(path)]
    ahead = sorted(name for name in imported(path) if PLACE[name.split(".")[1]] > here)
    assert not ahead, f"{path.name} imports what comes after it: {ahead}"


def test_every_module_has_a_place_on_the_path() -> None:
    assert {stage_name(path) for path in FILES} == set(PLACE)


def test_no_verb_imports_another() -> None:
    verbs = {path.stem for path in (PACKAGE / "commands").glob("*.py")} - {"__init__"}
    for path in (PACKAGE / "commands").glob("*.py"):
        others = {f"covidssl.commands.{verb}" for verb in verbs}
        assert not imported(path) & others, path.name


def test_training_does_not_need_the_readers() -> None:
    """A bare GPU node has torch and prepared data, but neither SimpleITK nor nibabel."""
    readers = {"SimpleITK", "nibabel", "pydicom"}
    for path in FILES:
        if stage_name(path) in ("io", "phantom"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {
            name.split(".")[0]
            for node in ast.walk(tree)
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert not names & readers, path.name


def test_no_file_is_a_drawer_for_everything() -> None:
    assert not {path.stem for path in FILES} & UNKNOWN_NAMES


def test_files_stay_readable() -> None:
    # numba keeps machine code by one file and sees changes in no other: its kernels stay together.
    most = {"row_kernels.py": 400}
    long = {path.name: len(path.read_text().splitlines()) for path in FILES}
    assert not {name: lines for name, lines in long.items() if lines > most.get(name, 350)}


def stream_numbers(path: Path) -> list[int]:
    """The numbers that a file gives to streams of random draws."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and re.search(r"_STREAM\b", ast.unparse(node.targets[0])):
            found += [one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)]
    return found


def test_no_two_streams_of_random_draws_have_the_same_number() -> None:
    root = PACKAGE.parent
    paths = [*FILES, *(root / "benchmarks").glob("*.py"), *(root / "pipelines").glob("*.py")]
    places: dict[int, list[str]] = {}
    for path in paths:
        for number in stream_numbers(path):
            places.setdefault(number, []).append(path.name)
    assert len(places) > 20
    # Draws of these two never meet: pairs of scans to compare, and orders of files.
    shared = {51: ["comparison.py", "file_order.py"]}
    assert {n: sorted(names) for n, names in places.items() if len(names) > 1} == shared


def test_compiled_code_takes_nothing_in_from_other_files() -> None:
    # Its cache would not see them change.
    assert not imported(PACKAGE / "perlin" / "row_kernels.py")
