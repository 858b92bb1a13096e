"""What an audit leaves in its folder, as blocks of the page."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from covidssl.report.blocks import Block, Cell, Note, Table
from covidssl.report.reading import Interval, read_json


class _Finding(BaseModel):
    alarm: bool
    title: str
    text: str


class _Shortcut(BaseModel):
    words: str
    split: str
    n: int
    accuracy: Interval
    auroc: Interval


class _Audit(BaseModel):
    verdict: str
    findings: list[_Finding]
    shortcuts: list[_Shortcut]


def audited(folder: Path) -> list[Block]:
    """The verdict, what was found, and how far trivial models get under each split."""
    audit = read_json(folder / "audit.json", _Audit)
    alarms = any(one.alarm for one in audit.findings)
    found: list[list[Cell]] = [
        ["yes" if one.alarm else "no", one.title, one.text] for one in audit.findings
    ]
    tried: list[list[Cell]] = [
        [one.words, one.split, str(one.n), one.accuracy.estimate(), one.auroc.estimate()]
        for one in audit.shortcuts
    ]
    return [
        Note(audit.verdict, alarms),
        Table("What was found", ("alarm", "what", "in words"), found, folded=not alarms),
        Table(
            "Trivial models: what a score has to beat before it says anything about disease",
            ("sees", "split", "scans", "accuracy", "AUROC"),
            tried,
            folded=True,
        ),
    ]
