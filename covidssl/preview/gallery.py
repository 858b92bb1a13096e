"""The page of a preview: presets side by side, with histograms and the numbers of each draw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from covidssl.experiments import PreviewConfig
from covidssl.files import write_text
from covidssl.lesions import Rendered
from covidssl.pages import environment
from covidssl.preview import pictures
from covidssl.preview.drawing import Drawing, Plan
from covidssl.preview.numbers import numbers
from covidssl.preview.shown import Shown
from covidssl.report.reading import address
from covidssl.store import Store
from covidssl.version import __version__

_TICKS_HU = (-1000, -600, -200, 200)

Shares = NDArray[np.float64]


class Cell(NamedTuple):
    """One draw on one slice; `said` is what stands below it, `numbers` its names and values."""

    picture: str
    difference: str
    outline: str
    said: Sequence[str]
    numbers: Sequence[tuple[str, str]]


class Column(NamedTuple):
    """One set of ranges on all slices; `lungs`, `under` and `lesion` are shares a bin of HU.

    Attributes:
        name: its heading.
        cells: one a slice.
        lungs: inside the lungs, with lesions.
        under: of the clean slices where the lesions are.
        lesion: the same place with the lesions.
        facts: names and values of what the draws did together.
        ranges: names and values of what they were drawn from.
        same: draws rendered to the bits that were recorded, of all recorded; None: none was.
    """

    name: str
    cells: Sequence[Cell]
    lungs: Shares
    under: Shares
    lesion: Shares
    facts: Sequence[tuple[str, str]]
    ranges: Sequence[tuple[str, str]]
    same: tuple[int, int] | None


def column_of(shown: Shown, drawing: Drawing, rendered: Rendered, hashes: Sequence[str]) -> Column:
    """A column of the page.

    Args:
        shown: the slices.
        drawing: what was drawn.
        rendered: what came out.
        hashes: `rendered_hashes` of that.
    """
    clean, corrupted = _planes(shown.clean_hu), _planes(rendered.corrupted_hu)
    share, lungs = _planes(rendered.lesion_map), _planes(shown.lungs) > 0.5
    inside = share > 0.5
    cells = [
        _cell(clean[i], corrupted[i], share[i], lungs[i], row)
        for i, row in enumerate(shown.rows(drawing.params))
    ]
    under, lesion = clean[inside], corrupted[inside]
    covered = inside.sum(axis=(1, 2)) / np.maximum(lungs.sum(axis=(1, 2)), 1)
    ill = covered > 0
    facts = [
        ("clean slices", f"{(~ill).sum()} of {len(ill)}"),
        ("lung covered", _spread(100 * covered[ill], "%")),
        ("lungs, median HU", f"{_median(clean[lungs])} → {_median(corrupted[lungs])}"),
        ("lesions, median HU", f"{_median(under)} → {_median(lesion)}"),
    ]
    ranges = numbers(drawing.ranges.model_dump()) if drawing.ranges else []
    same = None
    if drawing.recorded is not None:
        pairs = zip(drawing.recorded, hashes, strict=True)
        same = (sum(before == now for before, now in pairs), len(hashes))
    by_hu = [pictures.shares(hu) for hu in (corrupted[lungs], under, lesion)]
    return Column(
        drawing.name.replace("_", " "), cells, by_hu[0], by_hu[1], by_hu[2], facts, ranges, same
    )


def origin(plan: Plan, config: PreviewConfig, store: Store) -> list[tuple[str, str]]:
    """Where the draws of a page come from, as names and values."""
    frame = config.frame
    facts = [
        ("store", store.fingerprint[:12]),
        ("slices", f"{len(plan.places)} of {len(store.slices)}"),
        ("frame", f"{frame.size} × {frame.size}, {frame.crop}, {frame.pixels}"),
    ]
    if plan.sheet.key is not None:
        facts.append(("key of the draws", ", ".join(map(str, plan.sheet.key))))
    if plan.written_by:
        facts.append(("replayed, first drawn by", f"covidssl {plan.written_by}"))
    return facts


def write_gallery(
    path: Path, shown: Shown, columns: Sequence[Column], facts: Sequence[tuple[str, str]]
) -> None:
    """Write the page: one HTML file without script and without outside addresses.

    Args:
        path: where, whole or not at all.
        shown: the slices.
        columns: one `column_of` each set of ranges.
        facts: where the draws come from, as names and values.
    """
    clean, lungs = _planes(shown.clean_hu), _planes(shown.lungs)
    page = (
        environment()
        .get_template("gallery.html.j2")
        .render(
            slices=[
                {
                    "name": name,
                    "index": index,
                    "picture": address(pictures.grey_png(clean[i])),
                    "lungs": pictures.outline(lungs[i]),
                    "cells": [column.cells[i] for column in columns],
                }
                for i, (name, index) in enumerate(zip(shown.names, shown.indexes, strict=True))
            ],
            columns=columns,
            charts=_charts(pictures.shares(clean[lungs > 0.5]), columns),
            ticks=[(hu, pictures.place_of(hu)) for hu in _TICKS_HU],
            size=clean.shape[1:],
            chart=pictures.CHART,
            ranges=_beside(columns),
            nominal=shown.nominal,
            slice_mm=shown.slice_mm,
            facts=facts,
            version=__version__,
        )
    )
    write_text(path, page)


def _cell(
    clean: pictures.Plane,
    corrupted: pictures.Plane,
    share: pictures.Plane,
    lungs: NDArray[np.bool_],
    row: dict[str, object],
) -> Cell:
    inside = share > 0.5
    said = ["nothing drawn" if row["foci"] == 0 else "nothing to be seen"]
    if inside.any():
        covered = inside.sum() / max(lungs.sum(), 1)
        added = float(np.median((corrupted - clean)[inside]))
        said = [f"{100 * covered:.0f} % of lungs", f"{_signed(added, '+')} HU"]
    return Cell(
        address(pictures.grey_png(corrupted)),
        address(pictures.difference_png(corrupted - clean)),
        pictures.outline(share),
        said,
        numbers(row),
    )


def _charts(clean: Shares, columns: Sequence[Column]) -> list[dict[str, str]]:
    """Histograms a column as SVG paths, drawn to one height so that columns can be compared."""
    most_lungs = max(float(values.max()) for values in (clean, *(c.lungs for c in columns)))
    most_lesion = max(float(max(c.under.max(), c.lesion.max())) for c in columns)
    return [
        {
            "clean": pictures.steps(clean, most_lungs),
            "lungs": pictures.steps(column.lungs, most_lungs),
            "under": pictures.steps(column.under, most_lesion),
            "lesion": pictures.steps(column.lesion, most_lesion),
        }
        for column in columns
    ]


def _beside(columns: Sequence[Column]) -> list[tuple[str, list[str]]]:
    """The ranges of all columns, a row a field."""
    held = [dict(column.ranges) for column in columns]
    names = dict.fromkeys(name for ranges in held for name in ranges)
    return [(name, [ranges.get(name, "–") for ranges in held]) for name in names]


def _planes(picture: Tensor) -> NDArray[np.float32]:
    planes: NDArray[np.float32] = picture[:, 0].detach().cpu().float().numpy()
    return planes


def _median(hu: NDArray[np.floating]) -> str:
    return _signed(float(np.median(hu))) if len(hu) else "–"


def _signed(hu: float, sign: str = "") -> str:
    """An HU with a true minus sign, which does not break off at the end of a line."""
    return f"{hu:{sign}.0f}".replace("-", "−")


def _spread(values: NDArray[np.floating], unit: str) -> str:
    if not len(values):
        return "–"
    return f"{values.min():.0f} to {values.max():.0f} {unit}"
