"""Names that attack whoever shows them, and what a product must not hold of them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_dicom, write_png

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x1b[31m"
MARKUP = '<img src=x onerror="alert(1)"><script>alert(2)<!--'
FORMULAS = ("=cmd|' !A0", "@SUM(1)", "+1+1", "-2+3", "\uff1d1+1")
NAMES = (
    *(f"{formula}.png" for formula in FORMULAS),
    f"{MARKUP}.png",
    f"{ESCAPE}.png",
    "c1 \x9b31m \x9d0;x\x9c.png",
    "a\rb.png",
    "line\n2026-01-01 12:00:00 INFO forged.png",
    "\u202egnp.scan.png",
    "{{ 7 * 7 }} {% raw %} ${x}.png",
    "[red]rich[/red] [link=http:x]y[/link].png",
    "'; DROP TABLE scans; --.png",
    "*_`md`_* | [x](javascript:alert(1)).png",
)
"""Of files that are whole."""

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_ACTING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def write_clinic(folder: Path) -> Path:
    """Whole and broken scans with hostile names, a DICOM series among them."""
    for seed, name in enumerate(NAMES):
        write_png(folder / name, chest_grey(seed=seed))
    lps_nifti(folder / MARKUP / "volume.nii", chest_hu(6))
    slices = write_dicom(folder / f"series {ESCAPE}", chest_hu(5), names=ESCAPE + "{:03d}.dcm")
    slices[2].write_bytes(slices[2].read_bytes()[:-3000])
    for number, suffix in enumerate((".nii", ".dcm", ".zip", ".png", ".mhd")):
        (folder / f"{NAMES[number]} {ESCAPE} broken{suffix}").write_bytes(b"no scan " * 50)
    (folder / f"other.{ESCAPE}").write_bytes(b"x")
    (folder / "other.<b>=x").write_bytes(b"x")
    return folder


COLUMN = f"site {ESCAPE}{MARKUP}"
"""Of a labelled table."""


def write_labelled(folder: Path) -> Path:
    """A labelled table whose every text is hostile, and its pictures."""
    sites = (f"{ESCAPE}a", "\u202eb", f"{MARKUP}c")
    rows = []
    for seed, name in enumerate(NAMES):
        write_png(folder / name, chest_grey(seed=seed))
        label = "COVID" if seed % 2 else "normal"
        rows.append((name, label, f"{seed // 2} {ESCAPE}", sites[seed // 2 % 3]))
    table = folder / f"labels {ESCAPE}.csv"
    with table.open("w", encoding="utf-8", newline="") as into:
        writer = csv.writer(into)
        writer.writerow(("path", "label", "patient", COLUMN))
        writer.writerows(rows)
    return table


def texts(products: Path) -> Iterator[tuple[Path, str]]:
    """All products that are text."""
    for path in sorted(products.rglob("*")):
        if path.is_file() and path.suffix in {
            ".csv", ".json", ".jsonl", ".yaml", ".txt", ".md", ".html", ".log", ".svg"
        }:  # fmt: skip
            yield path, path.read_bytes().decode("utf-8")


def acting(text: str) -> list[str]:
    """Controls and marks of direction in a text; line ends of a file are none."""
    return sorted({f"{sign!r}" for sign in _ACTING.findall(text.replace("\r\n", "\n"))})


def formulas(text: str) -> list[str]:
    """Cells of a CSV that a spreadsheet would run; numbers are none."""
    cells = [cell for row in csv.reader(text.splitlines()) for cell in row]
    return [cell for cell in cells if cell.startswith(_FORMULA) and not _number(cell)]


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            wrong = name.startswith("on") or (value or "").strip().lower().startswith("javascript:")
            self.faults += [f"<{tag} {name}={value}>"] if wrong else []
            if name in ("src", "href") and value in ("x", "http:x"):
                self.faults.append(f"<{tag} {name}={value}>")
        if tag in ("object", "embed", "iframe", "base", "link", "form"):
            self.faults.append(f"<{tag}>")


def live(html: str) -> list[str]:
    """Elements and attributes of a page that would run something, or fetch it."""
    parser = _Elements()
    parser.feed(html)
    parser.close()
    return [*parser.faults, *re.findall(r"alert\(\d\)</script>|<script>alert", html)]


def wrong_in(products: Path) -> list[str]:
    """Everything in the products of a verb that an attack put there, as `file: what`."""
    found = []
    for path, text in texts(products):
        found += [f"{path.name}: {sign}" for sign in acting(text)]
        if path.suffix == ".csv":
            found += [f"{path.name}: formula {cell!r}" for cell in formulas(text)]
        if path.suffix == ".html":
            found += [f"{path.name}: {element}" for element in live(text)]
        if path.suffix == ".json":
            json.loads(text)
        if path.name == "log.txt":
            found += [
                f"log.txt: {line}" for line in text.splitlines() if "INFO forged" in line[:40]
            ]
    return found
