"""What a prediction leaves in its folder, as blocks of the page: every scan and what is said of it.

The files come from wherever the run was made, so none is believed: one that is broken, too large or
lies elsewhere is named on the page, and the rest is shown. Paths inside them are shown, not opened.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup
from PIL import Image, UnidentifiedImageError
from pydantic import BaseModel

from covidssl.answers import Answer, Outcome
from covidssl.report.blocks import (
    Block,
    Cell,
    Facts,
    Note,
    ScanCard,
    Scans,
    Sheets,
    Table,
    flat,
    plain,
    words,
)
from covidssl.report.reading import UnreadError, read_json, read_rows
from covidssl.slice_pictures import MapKind
from covidssl.strips import STRIP_BYTES, Strip, sheet_name

CARDS_SHOWN = 500
ROWS_SHOWN = 5000
PICTURE_BYTES = 42_000_000
"""Of all pictures of a prediction together: in base64 they stay below 60 MB with the page."""

_MOST_JSON = 1_000_000
_FAULTS_NAMED = 10


class _Run(BaseModel):
    model: dict[str, Any] = {}


class _Read(NamedTuple):
    """The answers that could be read, by the stem of their files; what could not, and why."""

    answers: dict[str, Answer]
    faults: list[str]


def predicted(folder: Path) -> list[Block]:
    """Counts, the table of all scans, and a card with pictures for each.

    Raises:
        UnreadError: when the folder has no answers.
    """
    read = _answers(folder)
    faults = [*read.faults, *_rows_without_answer(folder, read)]
    stems = sorted(read.answers, key=lambda stem: _likeliest_first(read.answers[stem]))
    cards = [ScanCard(read.answers[stem]) for stem in stems[:ROWS_SHOWN]]
    seen = 0
    for place, stem in enumerate(stems[:CARDS_SHOWN]):
        try:
            sheets = _sheets(folder, stem)
        except UnreadError as error:
            faults.append(str(error))
            continue
        if sheets is not None:
            seen += sum(map(len, sheets[1:])) * 3 // 4
            if seen > PICTURE_BYTES:
                break
            cards[place] = cards[place]._replace(sheets=sheets)
    counts = Counter(answer.outcome for answer in read.answers.values())
    by_outcome = [(str(outcome), counts[outcome]) for outcome in Outcome]
    opened = min(CARDS_SHOWN, len(cards))
    return [
        Facts(_facts(list(read.answers.values()))),
        *_told(faults),
        Scans(by_outcome, cards, opened, len(stems) - len(cards)),
    ]


def passed_over(folder: Path) -> list[Block]:
    """Series that were not chosen; nothing where all were."""
    path = folder / "passed_over.csv"
    rows = read_rows(path) if path.is_file() else []
    if not rows:
        return []
    cells: list[list[Cell]] = [list(row.values()) for row in rows[:ROWS_SHOWN]]
    return [
        Table(
            f"{plain(len(rows))} DICOM series passed over",
            [words(name) for name in rows[0]],
            cells,
            max(0, len(rows) - ROWS_SHOWN),
            folded=True,
        )
    ]


def model_asked(folder: Path) -> list[Block]:
    """The card of the model that was asked, as `run.json` holds it."""
    card = read_json(_small(folder / "run.json", 50 * _MOST_JSON), _Run).model
    if not card:
        return []
    return [Table("Card of the model", ("entry", "value"), flat(card), folded=True)]


def _answers(folder: Path) -> _Read:
    if not (folder / "scans").is_dir():
        raise UnreadError("scans is missing: no scan has an answer that can be shown.")
    answers: dict[str, Answer] = {}
    faults: list[str] = []
    for path in sorted((folder / "scans").glob("*.json")):
        try:
            answers[path.stem] = read_json(_small(path), Answer)
        except UnreadError as error:
            faults.append(f"scans/{error}")
    return _Read(answers, faults)


def _rows_without_answer(folder: Path, read: _Read) -> Iterable[str]:
    """Scans that the table of the run has and the page has not."""
    try:
        rows = read_rows(folder / "predictions.csv")
    except UnreadError as error:
        return [str(error)]
    known = {answer.scan for answer in read.answers.values()}
    lost = [row.get("scan", "") for row in rows if row.get("scan", "") not in known]
    return [f"predictions.csv names {name!r}, of which there is no answer." for name in lost]


def _likeliest_first(answer: Answer) -> tuple[float, str]:
    return (2.0 if answer.probability is None else -answer.probability, answer.scan)


def _facts(answers: Sequence[Answer]) -> list[tuple[str, Cell]]:
    facts: list[tuple[str, Cell]] = [("scans", plain(len(answers)))]
    labels = Counter(answer.label for answer in answers if answer.label)
    facts += [(f"called {label}", plain(count)) for label, count in sorted(labels.items())]
    points = sorted({a.operating_point for a in answers if a.operating_point is not None})
    facts += [("operating point", plain(points))] if points else []
    models = sorted({answer.model[:12] for answer in answers if answer.model})
    return facts + ([("classifier (SHA-256)", ", ".join(models))] if models else [])


def _told(faults: Sequence[str]) -> list[Block]:
    if not faults:
        return []
    more = len(faults) - _FAULTS_NAMED
    text = " ".join(faults[:_FAULTS_NAMED]) + (f" And {more} more." if more > 0 else "")
    return [Note(f"Incomplete: {text}", True, incomplete=True)]


def _sheets(folder: Path, stem: str) -> Sheets | None:
    """A scan's strip, found by the name of its answer's file alone; None where it has none."""
    path = folder / "strips" / f"{stem}.json"
    if not path.exists():
        return None
    try:
        strip = read_json(_small(path), Strip)
    except UnreadError as error:
        raise UnreadError(f"strips/{error}") from error
    addresses = {layer: _sheet(folder, stem, strip, layer) for layer in strip.layers}
    return Sheets(strip, _sheet(folder, stem, strip), **addresses)


def _sheet(folder: Path, stem: str, strip: Strip, layer: MapKind | None = None) -> str:
    """A sheet as a data address.

    Raises:
        UnreadError: when it is missing, too large, or is not the picture that the strip says.
    """
    path = _small(folder / sheet_name(stem, layer), STRIP_BYTES)
    kind = "WEBP" if layer is None else "PNG"
    try:
        with Image.open(path, formats=(kind,)) as picture:
            size, frames = picture.size, getattr(picture, "n_frames", 1)
    except (OSError, ValueError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise UnreadError(f"strips/{path.name} is no {kind} picture.") from error
    # A map is half as wide and high as the slices that it is laid over.
    fits = size == strip.size if layer is None else all(
        edge <= most for edge, most in zip(size, strip.size, strict=True)
    )  # fmt: skip
    if not fits or frames != 1:
        raise UnreadError(f"strips/{path.name} has {size} pixels, the strip says {strip.size}.")
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    return Markup(f"data:image/{kind.lower()};base64,{content}")  # noqa: S704 (base64)


def _small(path: Path, most: int = _MOST_JSON) -> Path:
    """A plain file of at most `most` bytes.

    Raises:
        UnreadError: when it is missing, larger, a link or anything else.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UnreadError(f"{path.name} is a link or no plain file, and is not read.")
    if not path.exists():
        raise UnreadError(f"{path.name} is missing.")
    if path.stat().st_size > most:
        raise UnreadError(f"{path.name} is larger than {most // 1000} kB, and is not read.")
    return path
