"""The data folders say what a set is, and every command and configuration in them exists."""

from __future__ import annotations

import importlib
import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer
from click import Command

from covidssl.cli import app
from covidssl.config import load_config
from covidssl.downloads import catalogue
from covidssl.experiments import (
    EvaluateConfig,
    Experiment,
    FinetuneConfig,
    PredictConfig,
    PrepareConfig,
    PretrainConfig,
    PreviewConfig,
)
from covidssl.files import read_csv

ROOT = Path(__file__).resolve().parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
SETS = sorted(path.parent for path in (ROOT / "data").glob("*/README.md"))
NAMES = [folder.name for folder in SETS]
TABLES = sorted((ROOT / "data").glob("*/exclude.csv"))
SECTIONS = (
    "Source", "Licence", "Access", "Labels", "Patients", "Known faults", "Counts", "Use",
)  # fmt: skip
PAGES = [*sorted((ROOT / "data").rglob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
CONFIGS = sorted(
    path
    for path in (ROOT / "configs").rglob("*.yaml")
    if path.parent.name not in ("lesions", "overrides")
)
FINETUNES = sorted((ROOT / "configs" / "finetune").glob("*.yaml"))
SETTINGS: dict[str, type[Experiment]] = {
    "prepare": PrepareConfig,
    "preview": PreviewConfig,
    "pretrain": PretrainConfig,
    "finetune": FinetuneConfig,
    "evaluate": EvaluateConfig,
    "predict": PredictConfig,
}
WANTED = {
    "sars_cov_2_ct", "covid_ct", "luna16", "luna16_slices", "lidc_idri", "mosmeddata", "covidx_ct",
    "cc_ccii", "covid_ctset", "medseg_9", "covid_19_ct_seg", "ricord_1a", "nlst", "stoic", "jinan",
}  # fmt: skip
LABELLED = {
    "sars_cov_2_ct": "blocked", "covid_ct": "given", "covidx_ct": "given", "mosmeddata": "patient",
    "cc_ccii": "patient", "covid_ctset": "patient", "stoic": "patient",
}  # fmt: skip


@cache
def sections(name: str) -> dict[str, str]:
    """Title and text of each section of a card, in its order."""
    text = (ROOT / "data" / name / "README.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL))


def commands(text: str) -> list[list[str]]:
    """The commands in the shell blocks of a page, each in words."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.strip()]


def of_prepare(module: str) -> Command:
    """The command line of a `prepare.py`."""
    one = typer.Typer()
    one.command()(importlib.import_module(module).main)
    return typer.main.get_command(one)


def check_options(command: Command, words: list[str]) -> None:
    offered = {name for option in command.params for name in option.opts}
    given = {word for word in words if word.startswith("-")}
    assert given <= offered, (words, given - offered)


def check_covidssl(words: list[str]) -> None:
    verbs = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    check_options(verbs[words[1]], words[2:])
    if words[1] == "download" and len(words) > 2:
        assert catalogue()[words[2]].by_command, words
    if words[1] not in SETTINGS:
        return
    after = {word: words[i + 1] for i, word in enumerate(words[:-1])}
    settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    config = ROOT / after["-c"] if "-c" in after else None
    load_config(SETTINGS[words[1]], config, settings)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_has_the_sections_of_all_cards_in_their_order(name: str) -> None:
    titles = list(sections(name))
    assert [title.split()[0] for title in titles] == [one.split()[0] for one in SECTIONS]
    for title, text in sections(name).items():
        assert len(text.split()) >= 3, f"{name}: '## {title}' says nothing"


@pytest.mark.parametrize("name", NAMES)
def test_a_card_names_its_source_by_a_doi(name: str) -> None:
    dois = re.findall(r"\[doi (10\.\d{4,}/\S+?)\]\((\S+?)\)", sections(name)["Source"])
    assert dois
    assert [link for doi, link in dois if link != f"https://doi.org/{doi}"] == []


def test_every_set_has_a_folder_a_row_and_an_entry_among_the_downloads() -> None:
    listed = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    assert set(NAMES) == WANTED == set(catalogue())
    assert [name for name in NAMES if f"({name}/README.md)" not in listed] == []


@pytest.mark.parametrize("name", sorted(WANTED - {"jinan"}))
def test_every_set_that_can_be_had_is_counted_by_code(name: str) -> None:
    assert (ROOT / "data" / name / "prepare.py").is_file()
    assert ["python", "-m", f"data.{name}.prepare"] in [
        words[:3] for words in commands(sections(name)["Use with covidssl"])
    ]


@pytest.mark.parametrize("name", NAMES)
def test_card_and_catalogue_say_the_same_of_access_and_licence(name: str) -> None:
    one = catalogue()[name]
    by_command = any(
        words[:3] == ["covidssl", "download", name] for words in commands(sections(name)["Access"])
    )
    assert by_command == one.by_command
    row = next(
        line
        for line in (ROOT / "data" / "README.md").read_text(encoding="utf-8").splitlines()
        if f"({name}/README.md)" in line
    )
    assert row.rstrip("| ").endswith("command") == one.by_command
    for licence in re.findall(r"CC BY[A-Z-]*(?: \d\.\d)?", one.licence):
        assert licence in sections(name)["Licence"], (name, licence)


@pytest.mark.parametrize("name", ["covidx_ct", "cc_ccii"])
def test_a_set_of_three_classes_says_which_make_the_rest_and_which_are_left_out(name: str) -> None:
    labels = " ".join(sections(name)["Labels"].split())
    assert "Which classes make COVID-19 against the rest" in labels
    assert "leaves" in labels
    assert "--against" in labels


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.parent.name)
def test_every_exclusion_has_a_reason(table: Path) -> None:
    rows = read_csv(table)
    assert rows
    assert all(set(row) == {"path", "reason"} and len(row["reason"]) > 20 for row in rows)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_on_a_page_exists(page: Path) -> None:
    for words in commands(page.read_text(encoding="utf-8")):
        if words[:2] == ["python", "-m"]:
            assert (ROOT / Path(*words[2].split("."))).with_suffix(".py").is_file(), words
            if words[2].startswith("data."):
                check_options(of_prepare(words[2]), words[3:])
            continue
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", MAKEFILE, flags=re.MULTILINE), words
            continue
        assert words[0] == "covidssl", words
        check_covidssl(words)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_configuration_loads_and_begins_with_its_command(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[:2]
    assert all(line.startswith("#") for line in first)
    words = shlex.split(first[1].lstrip("# "))
    assert words[0] == "covidssl"
    assert words[2:4] == ["-c", path.relative_to(ROOT).as_posix()]
    load_config(SETTINGS[words[1]], path)


def test_every_labelled_set_has_a_configuration_with_the_split_that_fits() -> None:
    kinds = {path.stem: load_config(FinetuneConfig, path).split.kind for path in FINETUNES}
    assert kinds == LABELLED


@pytest.mark.parametrize("path", FINETUNES, ids=lambda path: path.stem)
def test_a_configuration_is_complete_and_is_the_one_of_its_card(path: Path) -> None:
    config = load_config(FinetuneConfig, path)
    parts = ("frame", "encoder", "split", "augment", "training", "aggregation")
    assert {"seed", "positive_class", "head_rate", "layer_decay", *parts} <= config.model_fields_set
    verbs = {words[1]: words for words in commands(sections(path.stem)["Use with covidssl"])}
    assert path.relative_to(ROOT).as_posix() in verbs["finetune"]
    assert verbs["evaluate"][2] == verbs["finetune"][verbs["finetune"].index("--out") + 1]


@pytest.mark.parametrize("path", FINETUNES, ids=lambda path: path.stem)
def test_a_configuration_sees_what_the_demonstration_pretrains_on(path: Path) -> None:
    config = load_config(FinetuneConfig, path)
    assert config.frame is not None
    pixels = f"frame.pixels={config.frame.pixels}"
    pretraining = load_config(PretrainConfig, ROOT / "configs/demo/pretrain.yaml", [pixels])
    assert config.frame == pretraining.frame
    assert config.encoder == pretraining.encoder
