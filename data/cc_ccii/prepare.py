"""CC-CCII: check the download against its own lists and write its table of labels.

python -m data.cc_ccii.prepare SOURCE --out DIR --against both --slices lesions
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, NamedTuple

import typer

from covidssl.errors import DataError
from data.counts import PICTURES, check_counts, files_in, run
from data.labels import (
    COVID,
    NON_COVID,
    Labelled,
    columns_of,
    exclusions,
    spread,
    tell,
    write_labels,
)
from data.options import AllowPartial, Out, PerPatient, Source

CLASSES = {"NCP": COVID, "CP": NON_COVID, "Normal": NON_COVID}
COLUMNS = ("label", "patient_id", "scan_id", "n_slice")
LOST = "lesion slices listed, but missing"


class Against(StrEnum):
    """What COVID-19 (NCP) is held against; the other class is left out."""

    NORMAL = "Normal"
    CP = "CP"
    BOTH = "both"


class Slices(StrEnum):
    """Which slices of NCP and CP are taken; of Normal all are."""

    LESIONS = "lesions"
    ALL = "all"


class Scan(NamedTuple):
    """One row of `unzip_filenames.csv`, and the pictures that its folder holds."""

    kind: str
    patient: str
    folder: str
    listed: int
    names: list[str]


def scans_of(source: Path) -> list[Scan]:
    """Every scan of `unzip_filenames.csv` with its pictures.

    Raises:
        DataError: for a class that is not one of the three, or a number of slices that is none.
    """
    scans = []
    for row in columns_of(source / "unzip_filenames.csv", *COLUMNS):
        kind, patient, scan, count = (row[column].strip() for column in COLUMNS)
        if kind not in CLASSES or not count.isdecimal():
            raise DataError(
                f"unzip_filenames.csv: expected a label {', '.join(CLASSES)} and a number of "
                f"slices; found {kind!r} and {count!r}."
            )
        folder = f"{kind}/{patient}/{scan}"
        names = files_in(source / folder, PICTURES)
        scans.append(Scan(kind, f"{kind}-{patient}", folder, int(count), names))
    return scans


def lesion_slices(source: Path) -> frozenset[str]:
    """Paths `NCP/patient/scan/picture` that `lesions_slices.csv` lists."""
    rows = columns_of(source / "lesions_slices.csv", "imgpath")
    return frozenset(PurePosixPath(row["imgpath"].strip()).as_posix() for row in rows)


def main(
    source: Source,
    out: Out,
    against: Annotated[
        Against, typer.Option(help="The class or classes that NCP is told from.")
    ] = Against.BOTH,
    slices: Annotated[
        Slices, typer.Option(help="Of NCP and CP: slices listed with lesions, or all.")
    ] = Slices.LESIONS,
    per_patient: PerPatient = None,
    allow_partial: AllowPartial = False,
) -> None:
    """Write labels.csv (path,label,patient); NCP is COVID, CP and Normal are non-COVID."""
    scans = scans_of(source)
    expected: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for scan in scans:
        expected[f"{scan.kind} scans"] += 1
        expected[f"{scan.kind} slices"] += scan.listed
        found[f"{scan.kind} scans"] += bool(scan.names)
        found[f"{scan.kind} slices"] += len(scan.names)
    there = [(scan, f"{scan.folder}/{name}") for scan in scans for name in scan.names]
    lesions = lesion_slices(source)
    found[LOST] = len(lesions - {path for _, path in there})
    check_counts(found, expected, allow_partial)
    rows = [
        Labelled(path, CLASSES[scan.kind], scan.patient)
        for scan, path in there
        if (scan.kind in ("NCP", against) or against is Against.BOTH)
        and (scan.kind == "Normal" or slices is Slices.ALL or path in lesions)
    ]
    chosen = spread(rows, per_patient)
    table, kept = write_labels(chosen, exclusions(Path(__file__).parent), source, out)
    tell(table, kept, rows, "slices")


if __name__ == "__main__":
    run(main)
