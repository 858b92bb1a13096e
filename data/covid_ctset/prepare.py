"""COVID-CTset: check the download, write its slices through the lung window, and their labels.

python -m data.covid_ctset.prepare SOURCE --out DIR
"""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from covidssl.errors import DataError
from covidssl.files import write_bytes
from covidssl.hounsfield import hu_to_unit
from data.counts import check_counts, files_in, folders_in, run
from data.labels import (
    COVID,
    NON_COVID,
    Labelled,
    exclusions,
    outside,
    spread,
    tell,
    write_labels,
)
from data.options import AllowPartial, Out, PerPatient, Source

# The tables of the authors' README: the whole set, and the slices that they selected.
EXPECTED = {
    "whole": {
        "COVID slices": 15589, "COVID patients": 95,
        "non-COVID slices": 48260, "non-COVID patients": 282,
    },
    "selected": {
        "COVID slices": 2282, "COVID patients": 95,
        "non-COVID slices": 9776, "non-COVID patients": 282,
    },
}  # fmt: skip
STORED_ZERO_HU = -1024
TIFF = (".tif", ".tiff")
_NAME = re.compile(r"\d*(covid|normal)\d*_(patient\d+)_(SR_\d+)_", flags=re.IGNORECASE)


def found_in(source: Path) -> tuple[str, list[Labelled]]:
    """Which part a folder holds, and its slices: paths relative to the source.

    The whole set is `covid1/patient1/SR_2/*.tif`, `normal1/...`; the selected part is one folder of
    `137covid_patient1_SR_3_IM00013.tif`, `normal1_patient146_SR_4_IM00012.tif`.

    Raises:
        DataError: when it holds neither.
    """
    whole = [path for path in folders_in(source) if re.match("covid|normal", path.name.lower())]
    rows = [
        Labelled(f"{group.name}/{patient.name}/{series.name}/{name}", _label(group), patient.name)
        for group in whole
        for patient in folders_in(group)
        for series in folders_in(patient)
        for name in files_in(series, TIFF)
    ]
    if rows:
        return "whole", rows
    for folder in (source, *folders_in(source)):
        named = [(name, _NAME.match(name)) for name in files_in(folder, TIFF)]
        prefix = "" if folder == source else f"{folder.name}/"
        rows += [
            Labelled(f"{prefix}{name}", _of_class(parts[1]), parts[2])
            for name, parts in named
            if parts
        ]
    if not rows:
        raise DataError(f"{source.name}: holds no TIFF named as in COVID-CTset. See the README.")
    return "selected", rows


def _label(group: Path) -> str:
    return _of_class(group.name)


def _of_class(word: str) -> str:
    return COVID if word.lower().startswith("covid") else NON_COVID


def grey_of(stored: NDArray[np.generic]) -> NDArray[np.uint8]:
    """16-bit values (Y, X), HU + 1024, as 8-bit grey through the lung window of covidssl."""
    hu = stored.astype(np.float32) + STORED_ZERO_HU
    return np.rint(hu_to_unit(hu) * 255).astype(np.uint8)


def write_slice(path: Path, target: Path) -> None:
    """Write one TIFF as an 8-bit PNG; one that is there already is kept.

    Raises:
        DataError: when it holds no 16-bit grey values.
    """
    if target.is_file():
        return
    with Image.open(path) as picture:
        if not picture.mode.startswith("I"):
            raise DataError(
                f"{path.name}: pixels of mode {picture.mode}; expected 16-bit grey values as in "
                f"the set. Was it converted?"
            )
        grey = grey_of(np.asarray(picture))
    content = io.BytesIO()
    Image.fromarray(grey).save(content, format="PNG")
    write_bytes(target, content.getvalue())


def main(
    source: Source,
    out: Out,
    per_patient: PerPatient = None,
    allow_partial: AllowPartial = False,
) -> None:
    """Write slices/*.png through the lung window, and labels.csv (path,label,patient)."""
    part, rows = found_in(source)
    found = Counter(f"{row.label} slices" for row in rows)
    for label in (COVID, NON_COVID):
        found[f"{label} patients"] = len({row.patient for row in rows if row.label == label})
    check_counts(found, EXPECTED[part], allow_partial)
    excluded = exclusions(Path(__file__).parent)
    chosen = [row for row in spread(rows, per_patient) if row.path not in excluded]
    slices = outside(source, out) / "slices"
    written = []
    for row in chosen:
        name = Path(row.path).with_suffix(".png").as_posix().replace("/", "_")
        write_slice(source / row.path, slices / name)
        written.append(Labelled(name, row.label, row.patient))
    table, kept = write_labels(written, {}, slices, out)
    tell(table, kept, rows, f"slices of the {part} part")


if __name__ == "__main__":
    run(main)
