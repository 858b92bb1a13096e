"""The README's own code and commands: what stands there must run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from covidssl.cli import app
from covidssl.commands import finetune, prepare, pretrain
from covidssl.config import load_config
from covidssl.experiments import FinetuneConfig, PrepareConfig, PretrainConfig
from covidssl.files import write_csv
from covidssl.finetuning import Places
from covidssl.io import write_volume
from covidssl.phantom import phantom_chest

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
IMAGE = re.compile(r"""(?:!\[[^]]*\]\(|<img[^>]*\ssrc=["'])([^)"'\s]+)""")
SMALL = ["frame.pixels=hu", "training.steps=1", "training.batch_size=2"]


def test_the_quickstart_runs_as_it_stands(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    write_volume(phantom_chest(1, True, (14, 72, 72), (8.0, 4.8, 4.8)).ct, tmp_path / "scan.nii.gz")
    rows = []
    for k in range(12):
        name, label = f"labelled/p{k}.nii.gz", "COVID" if k % 2 else "non-COVID"
        scan = phantom_chest(k, bool(k % 2), (4, 72, 72), (28.0, 4.8, 4.8)).ct
        write_volume(scan, tmp_path / name)
        rows.append({"path": name, "label": label, "patient": str(k)})
    write_csv(tmp_path / "labels.csv", ("path", "label", "patient"), rows)
    prepare.main(PrepareConfig(), [tmp_path / "labelled"], tmp_path / "store")
    plan = load_config(PretrainConfig, None, SMALL)
    pretrain.main(plan, tmp_path / "store", tmp_path / "runs" / "pretrain", device="cpu")
    places = Places(tmp_path / "runs" / "finetune", tmp_path / "runs" / "pretrain", device="cpu")
    finetune.main(load_config(FinetuneConfig, None, SMALL), tmp_path / "labels.csv", places)
    (tmp_path / "quickstart.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "quickstart.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.match(r"(non-)?COVID [01]\.\d+", done.stdout)
    assert 8 <= len([line for line in code.splitlines() if line.strip()]) <= 14


def test_every_verb_of_the_readme_exists() -> None:
    runner = CliRunner()
    verbs = set(re.findall(r"^covidssl (\w+)", README, flags=re.MULTILINE))
    assert verbs == {
        "doctor", "prepare", "audit", "preview", "pretrain", "finetune", "evaluate", "compare",
        "robustness", "predict", "report", "view",
    }  # fmt: skip
    for verb in verbs:
        assert runner.invoke(app, [verb, "--help"]).exit_code == 0, verb


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_image_of_a_page_comes_with_the_project(page: Path) -> None:
    links = [link for link in IMAGE.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    images = [(page.parent / link).resolve() for link in links]
    assert [link for link, image in zip(links, images, strict=True) if not image.is_file()] == []
    assert {image for image in images if ROOT not in image.parents} == set()
    if not (ROOT / ".git").exists():
        pytest.skip("what git ignores is known in a checkout alone")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--"]
    for image in images:
        kept = subprocess.run([*command, image], cwd=ROOT, check=True, capture_output=True).stdout
        assert kept, f"{image.name}: git ignores it, so that nobody else has it"


def test_the_images_of_the_readme_are_found() -> None:
    assert "docs/images/pseudo-lesions.png" in IMAGE.findall(README)
    assert IMAGE.findall("<img alt='x' src='a.png'> ![](b.png 'c') ![d](e.png)") == [
        "a.png", "b.png", "e.png",
    ]  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_and_heading_that_a_page_points_to_is_there(page: Path) -> None:
    """Headings are found as GitHub names them: small letters, hyphens, no punctuation."""
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link or link.startswith("mailto:"):
            continue
        name, _, heading = link.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (heading and heading not in headings(file)):
            lost.append(link)
    assert lost == []


def headings(page: Path) -> set[str]:
    """The anchors of a page."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
