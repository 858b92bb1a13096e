"""The pages of a store: every scan with its picture, the most suspicious first."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from covidssl.files import write_text
from covidssl.manifest import ManifestRow
from covidssl.pages import environment
from covidssl.qc.suspicion import ORDER, Suspicion, suspicions
from covidssl.qc.thumbnail import COLOURS, HEIGHT, SINGLE
from covidssl.version import __version__

NAME = "qc.html"

SCANS_A_PAGE = 500
"""A browser still scrolls through so many; of a larger store further pages are written."""

_MOST_CODES = 40
_LATER = re.compile(r"qc-\d+\.html")

_MEANING = {
    "failed": "could not be read, or is wrong and was not mended; not used",
    "flagged": "its lung mask looks wrong; shown, not used",
    "dropped": "shows too little lung; not used",
    "repaired": "used, after something was mended",
    "warned": "used, with something odd",
    "ok": "used",
    "passed_over": "another series of its folder was chosen; not used",
}


class Card(NamedTuple):
    """One scan on a page; `numbers` are names and values."""

    row: ManifestRow
    anchor: str
    picture: str | None
    score: float
    unusual: tuple[str, ...]
    numbers: Sequence[tuple[str, str]]


class Count(NamedTuple):
    """How many scans have a status or a code, and where the first of them stands."""

    name: str
    scans: int
    first: str
    meaning: str = ""


def write_page(folder: Path, rows: Sequence[ManifestRow], pictures: Mapping[str, Path]) -> Path:
    """Write `qc.html`, and `qc-2.html`, ... of a store with more than 500 scans.

    The scans stand by suspicion (see `covidssl.qc.suspicion.Suspicion`), and those of one score by
    name. The pages have no script and no outside addresses. The pictures are not in them: they are
    fetched from beside the page as it is scrolled.

    Args:
        folder: of the store.
        rows: of its manifest.
        pictures: the file of `thumbnail`'s PNG by the scan's name, for scans that have one; below
            `folder`.

    Returns:
        The first page.
    """
    scored = zip(rows, suspicions(rows), strict=True)
    ordered = sorted(scored, key=lambda pair: (-pair[1].score, pair[0].scan))
    files = [folder / _file(page) for page in range(max(1, -(-len(rows) // SCANS_A_PAGE)))]
    links = [_file(page) for page in range(len(files))]
    shared = {
        "statuses": _counts(ordered, lambda row: [row.status], ORDER),
        "codes": _counts(ordered, _codes),
        "scans": len(rows),
        "pages": links,
        "order": ORDER,
        "colours": COLOURS,
        "heights": (HEIGHT, SINGLE),
        "version": __version__,
    }
    template = environment().get_template("qc.html.j2")
    # The first page comes last: it links to the others.
    for page, file in reversed(list(enumerate(files))):
        first = page * SCANS_A_PAGE
        part = ordered[first : first + SCANS_A_PAGE]
        cards = [
            _card(folder, first + place, row, of, pictures.get(row.scan))
            for place, (row, of) in enumerate(part)
        ]
        here = [status for status in ORDER if any(card.row.status == status for card in cards)]
        write_text(file, template.render(shared, cards=cards, here=here, page=page, first=first))
    for old in folder.glob("qc-*.html"):
        if _LATER.fullmatch(old.name) and old not in files:
            old.unlink()
    return files[0]


def _file(page: int) -> str:
    return NAME if page == 0 else f"qc-{page + 1}.html"


def _card(folder: Path, place: int, row: ManifestRow, of: Suspicion, picture: Path | None) -> Card:
    address = None
    if picture is not None:
        address = quote(Path(os.path.relpath(picture, folder)).as_posix())
    return Card(row, f"scan-{place}", address, of.score, of.unusual, _numbers(row))


def _numbers(row: ManifestRow) -> list[tuple[str, str]]:
    numbers: list[tuple[str, str]] = []
    if row.lung_ml is not None:
        numbers.append(("lungs", f"{row.lung_ml / 1000:.2f} litres"))
    if row.left_right is not None:
        numbers.append(("left : right", f"{row.left_right:.2f}"))
    if row.slices is not None and row.slices_with_lung is not None and row.slices > 1:
        numbers.append(("slices with lung", f"{row.slices_with_lung} of {row.slices}"))
    if row.slices is not None:
        numbers.append(("voxels", f"{row.width} × {row.height} × {row.slices}"))
    edges = (row.spacing_x_mm, row.spacing_y_mm, row.spacing_z_mm)
    known = [f"{edge:.3g}" for edge in edges if edge is not None]
    if len(known) == len(edges):
        numbers.append(("spacing", f"{' × '.join(known)} mm"))
    if row.code:
        numbers.append(("found", ", ".join(_codes(row)).replace("_", " ")))
    numbers.append(("kind", ", ".join(part for part in (row.format, row.pixels) if part)))
    return numbers


def _codes(row: ManifestRow) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in row.code.split(";") if part.strip()))


def _counts(
    ordered: Sequence[tuple[ManifestRow, Suspicion]],
    keys: Callable[[ManifestRow], Sequence[str]],
    order: Sequence[str] = (),
) -> list[Count]:
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for place, (row, _) in enumerate(ordered):
        for key in keys(row):
            counts[key] += 1
            first.setdefault(key, f"{_file(place // SCANS_A_PAGE)}#scan-{place}")
    names = [key for key in order if counts[key]]
    names = names or [key for key, _ in counts.most_common(_MOST_CODES)]
    return [Count(name, counts[name], first[name], _MEANING.get(name, "")) for name in names]
