"""`audit.html`: the audit for a person to read, with the pictures that it is about."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from covidssl.audit.drawing import Dumbbell, dumbbell_figure, likeness_figure, order_figure
from covidssl.audit.facts import Pair
from covidssl.audit.folds import WORDS, Folds
from covidssl.audit.shortcuts import MODELS, Result
from covidssl.audit.study import BY_THUMBNAIL, Audit
from covidssl.audit.verdict import best_apart, result_of
from covidssl.errors import CovidsslError
from covidssl.files import write_text
from covidssl.hounsfield import Pixels, to_unit
from covidssl.io import read_scan
from covidssl.pages import environment
from covidssl.version import __version__

T = TypeVar("T")

_EDGE = 200
_SIZES_SHOWN = 3


class Shown(NamedTuple):
    """A picture on the page: its data address, the scan's name, and what is said of it."""

    address: str
    name: str
    said: str


class Beside(NamedTuple):
    """Two pictures beside each other, and what is said of both."""

    first: Shown
    second: Shown
    said: str


def write_page(path: Path, audit: Audit) -> None:
    """Write the page: one HTML file without script and without outside addresses."""
    apart = best_apart(audit.evidence)
    order = audit.orders.get(BY_THUMBNAIL)
    text = (
        environment()
        .get_template("audit.html.j2")
        .render(
            audit=audit,
            facts=audit.facts,
            classes=audit.dataset.classes,
            numbers=_numbers(audit),
            duplicates=_duplicates(audit),
            neighbours=_neighbours(audit, apart),
            order=order,
            order_figure=_address(order_figure(audit.orders)) if audit.orders else None,
            likeness_figure=_address(likeness_figure(order)) if order else None,
            dumbbells=_address(_dumbbells(audit, apart)),
            apart=WORDS[apart.kind] if apart else None,
            words=WORDS,
            table=_table(audit),
            resampled=_resampled(audit),
            version=__version__,
        )
    )
    write_text(path, text)


def _numbers(audit: Audit) -> list[tuple[str, str]]:
    facts, rows = audit.facts, []
    for name in audit.dataset.classes:
        sizes = list(facts.sizes[name].items())
        common = ", ".join(f"{size} ({n})" for size, n in sizes[:_SIZES_SHOWN])
        more = f", and {len(sizes) - _SIZES_SHOWN} other sizes" if len(sizes) > _SIZES_SHOWN else ""
        kinds = ", ".join(f"{n} {kind}" for kind, n in facts.kinds[name].items())
        rows += [
            (f"{name}: scans", f"{facts.counts[name]}"),
            (f"{name}: format and colour mode", kinds),
            (f"{name}: width × height", common + more),
            (f"{name}: no usable lungs", f"{facts.without_lungs[name]}"),
        ]
    known = f"{facts.patients}" if facts.patients else "none known"
    if facts.patients and facts.without_patient:
        known += f"; {facts.without_patient} scans without"
    return [*rows, ("patients", known), ("seed", f"{audit.config.seed}")]


def _duplicates(audit: Audit) -> list[Beside]:
    """The first pairs of equal scans, then of near duplicates; those across classes first."""
    target = audit.seen.target
    found = []
    for pairs in (audit.facts.equal, audit.facts.near):
        ordered = sorted(pairs, key=lambda pair: bool(target[pair.first] == target[pair.second]))
        found += [_beside(audit, pair) for pair in _spread(ordered, audit.config.examples)]
    return found


def _beside(audit: Audit, pair: Pair) -> Beside:
    said = f"{pair.bits} of 256 bits differ" if pair.bits else "no bit of the hash differs"
    if audit.seen.voxels[pair.first] == audit.seen.voxels[pair.second]:
        said = "the same voxels"
    return Beside(_shown(audit, pair.first), _shown(audit, pair.second), said)


def _neighbours(audit: Audit, apart: Folds | None) -> list[Beside]:
    """Pictures whose nearest neighbour stands beside them, and which a random split tears apart."""
    order = audit.orders.get(BY_THUMBNAIL)
    random = next((folds for folds in audit.folds if folds.kind == "random"), None)
    if order is None or random is None or not order.carries_patients:
        return []
    place = _places(audit)
    torn = [
        row
        for row, other in enumerate(order.nearest)
        if other >= 0
        and abs(place[row] - place[other]) <= order.within
        and random.fold[row] != random.fold[other]
    ]
    found = []
    for row in _spread(torn, audit.config.examples):
        other = int(order.nearest[row])
        off = abs(place[row] - place[other])
        said = [
            f"{off} place{'s' if off > 1 else ''} apart in file order",
            f"random split: folds {random.fold[row] + 1} and {random.fold[other] + 1}",
        ]
        if apart and apart.kind != "random" and apart.fold[row] == apart.fold[other] >= 0:
            said.append(f"{WORDS[apart.kind]}: both in fold {apart.fold[row] + 1}")
        found.append(Beside(_shown(audit, row), _shown(audit, other), "; ".join(said)))
    return found


def _places(audit: Audit) -> list[int]:
    """Place of each scan in the file order of its class."""
    counts = [0, 0]
    places = []
    for positive in audit.seen.target:
        places.append(counts[positive])
        counts[positive] += 1
    return places


def _spread(items: Sequence[T], most: int) -> list[T]:
    if len(items) <= most:
        return list(items)
    return [items[round(k)] for k in np.linspace(0, len(items) - 1, most)]


def _shown(audit: Audit, row: int) -> Shown:
    scan = audit.seen.scans[row]
    return Shown(_picture(audit, row), scan.name, audit.dataset.classes[scan.positive])


def _picture(audit: Audit, row: int) -> str:
    try:
        ct = read_scan(audit.seen.scans[row].files)
    except CovidsslError:  # the cache knows a scan that has gone since
        return ""
    middle = ct.array[len(ct.array) // 2]
    grey = np.rint(255 * to_unit(middle, ct.pixels or Pixels.WINDOWED)).astype(np.uint8)
    image = Image.fromarray(grey)
    image.thumbnail((_EDGE, _EDGE))
    content = io.BytesIO()
    image.save(content, format="PNG", optimize=True)
    return _address(content.getvalue())


def _dumbbells(audit: Audit, apart: Folds | None) -> bytes:
    rows = []
    for model in MODELS:
        pair = [
            result_of(audit.results, model.key, kind) if kind else None
            for kind in ("random", apart.kind if apart else None)
        ]
        first, second = (one.auroc if one else None for one in pair)
        rows.append(Dumbbell(model.words, first, second))
    return dumbbell_figure(rows, WORDS[apart.kind] if apart else "kept apart")


def _resampled(audit: Audit) -> str:
    """What the intervals are bootstraps over, in words."""
    carries = any(effect.carries_patients for effect in audit.orders.values())
    unknown = (
        f"runs of at most {audit.config.run_length} neighbouring files" if carries else "scans"
    )
    if not audit.facts.patients:
        return unknown
    return (
        f"patients, and {unknown} where none is known"
        if audit.facts.without_patient
        else "patients"
    )


def _table(audit: Audit) -> list[tuple[str, list[Result | None]]]:
    return list(_rows(audit))


def _rows(audit: Audit) -> Iterator[tuple[str, list[Result | None]]]:
    for model in MODELS:
        found = [result_of(audit.results, model.key, folds.kind) for folds in audit.folds]
        if any(found):
            yield model.words, found


def _address(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
