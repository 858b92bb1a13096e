"""The page: which folders, in which order, and the template."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field, field_validator

from covidssl.answers import Outcome
from covidssl.errors import UsageError
from covidssl.files import write_text
from covidssl.metrics import Estimate
from covidssl.pages import environment
from covidssl.report.blocks import (
    Alarm,
    Block,
    Cell,
    Facts,
    Note,
    Table,
    lasted,
    plain,
    shortened,
    words,
)
from covidssl.report.charts import drawn
from covidssl.report.checklist import checklist
from covidssl.report.comparison import Headline, read_headline
from covidssl.report.evaluated import MEASURES
from covidssl.report.leakage import leakage_of
from covidssl.report.limits import LESIONS, limits_of
from covidssl.report.predicted import gives_lesions_alone
from covidssl.report.products import PARTS
from covidssl.report.reading import UnreadError, read_json
from covidssl.version import __version__

VERBS = tuple(PARTS)


_MOST_LEVELS = 16


class _Git(BaseModel):
    commit: str | None = None
    dirty: bool | None = None


class Record(BaseModel):
    """What `record.json` says; further entries are ignored."""

    model_config = ConfigDict(frozen=True)

    verb: Literal[
        "prepare", "audit", "preview", "pretrain", "finetune", "evaluate", "compare", "robustness",
        "predict",
    ]  # fmt: skip
    status: Literal["running", "done", "failed"]
    version: str = ""
    started: str = ""
    duration_s: float | None = None
    device: str = ""
    seed: int | None = None
    git: _Git | None = None
    packages: dict[str, str | None] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    summary: dict[str, Any] | None = None

    @field_validator("data", "summary")
    @classmethod
    def _flat(cls, entries: dict[str, Any] | None) -> dict[str, Any] | None:
        if _levels(entries) > _MOST_LEVELS:
            raise ValueError("entries lie within each other too deeply")
        return entries


@dataclass(frozen=True)
class Section:
    """One run, ready for the page.

    Attributes:
        anchor: of its heading.
        name: of its folder.
        record: what `record.json` says.
        folder: of the run.
        blocks: what is shown.
        whole: whether all products of its verb could be read.
        leakage: what leaks through the split that it stands on; empty where nothing is said.
        intervals: whether numbers stand there with 95 % intervals.
    """

    anchor: str
    name: str
    record: Record
    folder: Path
    blocks: Sequence[Block]
    whole: bool
    leakage: str
    intervals: bool


def build_report(runs: Sequence[Path], out: Path) -> None:
    """Write one self-contained page about `runs` to `out`.

    Comparisons stand first, then the runs in the order of the work: prepare, audit, preview,
    pretrain, finetune, evaluate, compare, robustness, predict. A run that is not done is marked as
    unfinished.

    Args:
        runs: run folders, and folders that hold a `comparison.json`.
        out: the HTML file; replaced when it exists.

    Raises:
        UsageError: when no folder is given, one is no run folder, or `out` is a folder.
    """
    if not runs:
        raise UsageError("A report needs at least one run folder.")
    if out.is_dir():
        raise UsageError(f"{out}: is a folder; name the HTML file to write.")
    folders = list({folder.resolve(): folder for folder in runs}.values())
    names = _names(folders)
    headlines, sections = [], []
    for number, folder in enumerate(folders):
        anchor = f"run-{number}"
        if (folder / "comparison.json").is_file():
            headlines.append(read_headline(folder, f"{anchor}-comparison", names[folder]))
        if (folder / "record.json").is_file():
            sections.append(_section(folder, anchor, names[folder]))
        elif not (folder / "comparison.json").is_file():
            raise UsageError(
                f"{folder}: is not a run folder: it holds no record.json. Give folders that "
                f"covidssl wrote with --out."
            )
    sections.sort(key=lambda section: VERBS.index(section.record.verb))
    write_text(out, _page(headlines, sections))


def _levels(entries: Any) -> int:
    level, within, these = 0, True, [entries]
    while within and level <= _MOST_LEVELS:
        level += 1
        inner = [one.values() if isinstance(one, dict) else one
                 for one in these if isinstance(one, dict | list)]  # fmt: skip
        these = [one for values in inner for one in values]
        within = bool(inner)
    return level


def _page(headlines: Sequence[Headline], sections: Sequence[Section]) -> str:
    templates = environment()
    templates.filters |= {
        "plain": plain,
        "lasted": lasted,
        "drawn": drawn,
        "shortened": shortened,
    }
    # The browser obeys and runs these texts and no others: their hashes stand in the policy.
    style, still, script = (
        Markup(templates.get_template(name).render())  # noqa: S704 (our own files, without values)
        for name in ("report.css.j2", "report_still.css", "report.js")
    )
    return templates.get_template("report.html.j2").render(
        headlines=headlines,
        sections=sections,
        checked=checklist([(section.record.verb, section.folder) for section in sections]),
        limits=limits_of({_kind(section) for section in sections}),
        version=__version__,
        style=style,
        still=still,
        script=script,
        style_from=_source(style) + " " + _source(still),
        script_from=_source(script),
    )


def _kind(section: Section) -> str:
    verb = section.record.verb
    return LESIONS if verb == "predict" and gives_lesions_alone(section.folder) else verb


def _source(text: str) -> Markup:
    """A text that stands on the page, as a Content Security Policy allows it."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
    return Markup(f"'sha256-{digest}'")  # noqa: S704 (base64)


def _names(folders: Sequence[Path]) -> dict[Path, str]:
    """The last part of each folder's path, with the part before it where two are alike."""
    last = {folder: folder.resolve().name for folder in folders}
    often = Counter(last.values())
    return {
        folder: name if often[name] == 1 else f"{folder.resolve().parent.name}/{name}"
        for folder, name in last.items()
    }


def _section(folder: Path, anchor: str, name: str) -> Section:
    try:
        record = read_json(folder / "record.json", Record)
    except UnreadError as error:
        raise UsageError(f"{folder}: is not a run folder that can be reported: {error}") from error
    blocks: list[Block] = []
    if record.status != "done":
        state = "failed" if record.status == "failed" else "had not ended when this page was built"
        blocks.append(Note(f"Unfinished: this run {state}. Its numbers are not final.", True))
    leakage = leakage_of(folder, record.verb)
    if leakage:
        blocks.append(Alarm(leakage))
    # Scores and outcomes stand where their intervals and their meanings stand.
    elsewhere = {*MEASURES, *map(str, Outcome)}
    summary = {key: v for key, v in (record.summary or {}).items() if key not in elsewhere}
    blocks.append(Facts([(words(key), plain(value)) for key, value in summary.items()]))
    for part in PARTS[record.verb]:
        try:
            blocks += part(folder)
        except UnreadError as error:
            blocks.append(Note(f"Incomplete: {error}", True, incomplete=True))
        except RecursionError:
            text = "Incomplete: a file's entries lie within each other too deeply."
            blocks.append(Note(text, True, incomplete=True))
    whole = not any(isinstance(block, Note) and block.incomplete for block in blocks)
    estimates = any(isinstance(cell, Estimate) for block in blocks for cell in _cells(block))
    return Section(anchor, name, record, folder, _merged(blocks), whole, leakage, estimates)


def _cells(block: Block) -> list[Cell]:
    if isinstance(block, Table):
        return [cell for row in block.rows for cell in row]
    return [value for _, value in block.entries] if isinstance(block, Facts) else []


def _merged(blocks: Sequence[Block]) -> list[Block]:
    """The blocks with neighbouring facts joined, and each fact said once."""
    merged: list[Block] = []
    said: set[str] = set()
    for block in blocks:
        if not isinstance(block, Facts):
            merged.append(block)
            continue
        new = [entry for entry in block.entries if entry[0] not in said]
        said |= {name for name, _ in new}
        if merged and isinstance(merged[-1], Facts):
            merged[-1] = Facts([*merged[-1].entries, *new])
        elif new:
            merged.append(Facts(new))
    return merged
