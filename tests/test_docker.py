"""The image holds the program and nothing else, and needs nobody's rights and no network."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docker_steps import DOCKERFILE, ROOT, STRANGER, Step, can, copied, ignored, pairs, steps


def of(word: str) -> list[str]:
    return [step.rest for step in steps() if step.word == word]


def test_the_linter_finds_no_fault() -> None:
    linter = shutil.which("hadolint", path=Path(sys.executable).parent) or shutil.which("hadolint")
    if linter is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run(
        [linter, "--no-color", DOCKERFILE], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_the_bases_are_pinned_to_a_patch_release() -> None:
    (python,) = [rest for rest in of("ARG") if rest.startswith("PYTHON=")]
    assert re.fullmatch(r"PYTHON=3\.\d+\.\d+-slim-[a-z]+", python)
    assert {re.sub(" AS .*", "", base) for base in of("FROM")} == {"python:${PYTHON}"}


def test_it_runs_as_nobody_in_particular() -> None:
    last = steps()[[step.word for step in steps()].index("USER") :]
    assert int(of("USER")[-1]) > 999
    assert not {step.word for step in last} & {"RUN", "COPY", "ADD"}


def variables_of_the_image() -> dict[str, str]:
    """What the last stage sets."""
    words = [step.word for step in steps()]
    last = steps()[len(words) - 1 - words[::-1].index("FROM") :]
    return dict(pair for step in last if step.word == "ENV" for pair in pairs(step))


def test_a_user_whom_the_image_does_not_know_has_a_name() -> None:
    # PyTorch and MONAI ask for it, and `docker run --user` brings a number alone.
    if not can(*STRANGER):
        pytest.skip("unshare cannot make another user here")
    ask = [*STRANGER, sys.executable, "-c", "import getpass; print(getpass.getuser())"]
    given = {name: value for name, value in variables_of_the_image().items() if name != "PATH"}
    known = subprocess.run(ask, check=False, capture_output=True, text=True, env=given)
    assert (known.returncode, known.stdout) == (0, "covidssl\n"), known.stderr
    unknown = subprocess.run(ask, check=False, capture_output=True, env={})
    assert unknown.returncode != 0


def test_what_asks_for_a_name_gets_one_from_the_image() -> None:
    assert variables_of_the_image()["USER"] == "covidssl"


def test_the_viewer_is_left_out_since_no_browser_reaches_into_a_container() -> None:
    (extras,) = [rest for rest in of("ARG") if rest.startswith("EXTRAS=")]
    assert extras == "EXTRAS=dicom,export"


def test_it_is_the_command() -> None:
    assert steps()[-2:] == [Step("ENTRYPOINT", '["covidssl"]'), Step("CMD", '["--help"]')]


def test_nothing_is_fetched_but_by_pip_while_it_is_built() -> None:
    assert not of("ADD")
    assert not re.search(r"curl|wget|git clone|apt-get", " ".join(of("RUN")))


def test_every_file_that_is_copied_is_there_and_let_in() -> None:
    for rest in of("COPY"):
        if rest.startswith("--from"):
            continue
        *sources, _ = rest.split()
        for source in sources:
            assert list(copied([source])), source


def test_what_the_package_needs_to_be_built_is_let_in() -> None:
    for path in (ROOT / "covidssl").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert not ignored(path.relative_to(ROOT).as_posix()), path
    assert not ignored("configs/lesions/covid.yaml")


@pytest.mark.parametrize(
    "path",
    ["work/store/x.json", ".git/config", ".venv/bin/python", "covidssl/__pycache__/a.pyc",
     "scan.nii.gz", "covidssl/scan.dcm", "configs/lesions/weights.safetensors", "tests/a.py",
     "data/x/raw/a.png", "runs/model/card.json"],
)  # fmt: skip
def test_no_scan_weight_or_other_file_of_the_checkout_slips_in(path: str) -> None:
    assert ignored(path)


def test_instructions_over_several_lines_are_one_step() -> None:
    text = "# c\nFROM a\nRUN b \\\n    # in between\n    c && \\\n  d\n"
    assert steps(text) == [Step("FROM", "a"), Step("RUN", "b  c &&  d")]
