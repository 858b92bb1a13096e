"""What a prediction leaves in its folder, as blocks of the page: every scan and what is said of it.

The files come from wherever the run was made, so none is believed: one that is broken, too large or
lies elsewhere is named on the page, and the rest is shown. Paths inside them are shown, not opened.
"""

from __future__ import annotations

import base64
import io
import math
import struct
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from PIL import Image
from pydantic import BaseModel

from covidssl.answers import Answer, Outcome
from covidssl.inference.journal import answer_path, stem_of
from covidssl.inference.table import TABLE
from covidssl.report.agreement import disagreements
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
from covidssl.report.reading import (
    UnreadError,
    bytes_of,
    folder_in,
    is_there,
    read_json,
    read_rows,
)
from covidssl.slice_pictures import MapKind, towards_label
from covidssl.strips import STRIP_BYTES, Strip, sheet_name

CARDS_SHOWN = 500
ROWS_SHOWN = 5000
PICTURE_BYTES = 42_000_000
"""Of all pictures of a prediction together: in base64 they stay below 60 MB with the page."""

NO_PROBABILITY = (
    "This model gives no probability and calls no class: it is a restoration network alone, "
    "without a classifier. It has learnt what lung looks like, and no label of any disease. What "
    "it gives are lesion maps and the lesion in the lungs; fine-tuning makes a classifier of it. "
    "The lesion in the lungs is no calibrated measure: a healthy scan is not at 0, a low value "
    "does not rule disease out, and nothing outside the lung mask is seen. Compare it among scans "
    "of this one model."
)
_MAPPED = ("Lesion %", ("lesion",))
_LESIONS = "covidssl-lesions-1"

_MOST_JSON = 1_000_000
_FAULTS_NAMED = 10
_NOTES_SHOWN = 5
# What Pillow raises over bytes that are no picture, or not all of one.
_NO_PICTURE = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error,
               Image.DecompressionBombError)  # fmt: skip


class _Run(BaseModel):
    model: dict[str, Any] = {}
    notes: tuple[str, ...] = ()


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
    strips, refused = _strips(folder)
    faults = [*read.faults, *disagreements(folder / TABLE, read.answers), *refused]
    mapped = gives_lesions_alone(folder) or any(a.no_probability for a in read.answers.values())
    first = _most_lesion_first if mapped else _likeliest_first
    stems = sorted(read.answers, key=lambda stem: first(read.answers[stem]))
    cards = [ScanCard(read.answers[stem]) for stem in stems[:ROWS_SHOWN]]
    seen = 0
    for place, stem in enumerate(stems[:CARDS_SHOWN] if strips else ()):
        try:
            sheets = _sheets(folder, stem, read.answers[stem])
        except UnreadError as error:
            faults.append(str(error))
            continue
        if sheets is not None:
            seen += sum(map(len, (sheets.slices, sheets.lesion, sheets.evidence))) * 3 // 4
            if seen > PICTURE_BYTES:
                break
            cards[place] = cards[place]._replace(sheets=sheets)
    counts = Counter(answer.outcome for answer in read.answers.values())
    by_outcome = [(str(outcome), counts[outcome]) for outcome in Outcome]
    opened = min(CARDS_SHOWN, len(cards))
    return [
        Facts(_facts(list(read.answers.values()), mapped)),
        *([Note(NO_PROBABILITY)] if mapped else []),
        *map(Note, _notes(folder)),
        *_told(faults),
        Scans(by_outcome, cards, opened, len(stems) - len(cards), *(_MAPPED if mapped else ())),
    ]


def _notes(folder: Path) -> tuple[str, ...]:
    """What holds of all answers because of the model, as `run.json` says."""
    return _run_of(folder).notes[:_NOTES_SHOWN]


def gives_lesions_alone(folder: Path) -> bool:
    """Whether a prediction was made by a restoration network alone, as its `run.json` says."""
    return _run_of(folder).model.get("format") == _LESIONS


def _run_of(folder: Path) -> _Run:
    """What `run.json` says; nothing where it cannot be read."""
    try:
        return read_json(folder / "run.json", _Run)
    except UnreadError:
        return _Run()


def passed_over(folder: Path) -> list[Block]:
    """Series that were not chosen; nothing where all were."""
    path = folder / "passed_over.csv"
    rows = read_rows(path) if is_there(path) else []
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
    card = read_json(folder / "run.json", _Run).model
    if not card:
        return []
    return [Table("Card of the model", ("entry", "value"), flat(card), folded=True)]


def _answers(folder: Path) -> _Read:
    try:
        paths = sorted(folder_in(folder, "scans").glob("*.json"))
    except UnreadError as error:
        why = str(error).rstrip(".")
        raise UnreadError(f"{why}: no scan has an answer that can be shown.") from error
    answers: dict[str, Answer] = {}
    faults: list[str] = []
    for path in paths:
        try:
            answer = read_json(path, Answer, _MOST_JSON)
        except UnreadError as error:
            faults.append(f"scans/{error}")
            continue
        if path.stem == stem_of(answer.scan):
            answers[path.stem] = answer
        else:
            faults.append(
                f"scans/{path.name} tells of {answer.scan!r}, whose answer is "
                f"{answer_path(answer.scan)}: it is not shown."
            )
    return _Read(answers, faults)


def _strips(folder: Path) -> tuple[Path | None, list[str]]:
    """Where the strips lie; None, and why, where there are none that may be read."""
    if not is_there(folder / "strips"):
        return None, []
    try:
        return folder_in(folder, "strips"), []
    except UnreadError as error:
        return None, [str(error)]


def _most_lesion_first(answer: Answer) -> tuple[float, str]:
    return (2.0 if answer.burden is None else -answer.burden.both.percent, answer.scan)


def _likeliest_first(answer: Answer) -> tuple[float, str]:
    return (2.0 if answer.probability is None else -answer.probability, answer.scan)


def _facts(answers: Sequence[Answer], mapped: bool) -> list[tuple[str, Cell]]:
    facts: list[tuple[str, Cell]] = [("scans", plain(len(answers)))]
    labels = Counter(answer.label for answer in answers if answer.label)
    facts += [(f"called {label}", plain(count)) for label, count in sorted(labels.items())]
    points = sorted({a.operating_point for a in answers if a.operating_point is not None})
    facts += [("operating point", plain(points))] if points else []
    models = sorted({answer.model[:12] for answer in answers if answer.model})
    network = "restoration network" if mapped else "classifier"
    return facts + ([(f"{network} (SHA-256)", ", ".join(models))] if models else [])


def _told(faults: Sequence[str]) -> list[Block]:
    if not faults:
        return []
    more = len(faults) - _FAULTS_NAMED
    text = " ".join(faults[:_FAULTS_NAMED]) + (f" And {more} more." if more > 0 else "")
    return [Note(f"Incomplete: {text}", True, incomplete=True)]


def _sheets(folder: Path, stem: str, answer: Answer) -> Sheets | None:
    """A scan's strip, found by the name of its answer's file alone; None where it has none."""
    path = folder / "strips" / f"{stem}.json"
    if not is_there(path):
        return None
    try:
        strip = read_json(path, Strip, _MOST_JSON)
    except UnreadError as error:
        raise UnreadError(f"strips/{error}") from error
    addresses = {layer: _sheet(folder, stem, strip, layer) for layer in strip.layers}
    return Sheets(strip, _first(answer, strip), _sheet(folder, stem, strip), **addresses)


def _first(answer: Answer, strip: Strip) -> int:
    """The place of the slice that is shown first: of those that decided the one that did most.

    Without an evidence map it is the one with the most lesion.
    """
    adds = np.array([one.adds or 0.0 for one in strip.slices])
    moves = towards_label(answer, adds).tolist()
    places = [one.slice for one in answer.slices or strip.slices]
    most = dict(zip(places, moves, strict=True))
    decided = [k for k, one in enumerate(strip.slices) if one.deciding]
    if not decided:
        return len(strip.slices) // 2
    if all(strip.slices[k].lesion is not None for k in decided):
        return max(decided, key=lambda k: strip.slices[k].lesion or 0.0)
    return max(decided, key=lambda k: most.get(strip.slices[k].slice, -math.inf))


def _sheet(folder: Path, stem: str, strip: Strip, layer: MapKind | None = None) -> str:
    """A sheet as a data address.

    Raises:
        UnreadError: when it is missing, too large, or is not the picture that the strip says.
    """
    path = folder / sheet_name(stem, layer)
    kind, wanted = ("WEBP", strip.size) if layer is None else ("PNG", strip.map_size)
    try:
        content = bytes_of(path, STRIP_BYTES)
    except UnreadError as error:
        raise UnreadError(f"strips/{error}") from error
    try:
        with Image.open(io.BytesIO(content), formats=(kind,)) as picture:
            if picture.size != wanted or getattr(picture, "n_frames", 1) != 1:
                raise UnreadError(
                    f"strips/{path.name} has {picture.size} pixels, the strip says {wanted}."
                )
            picture.load()
    except _NO_PICTURE as error:
        raise UnreadError(f"strips/{path.name} is no whole {kind} picture.") from error
    encoded = base64.b64encode(content).decode("ascii")
    return Markup(f"data:image/{kind.lower()};base64,{encoded}")  # noqa: S704 (base64)
