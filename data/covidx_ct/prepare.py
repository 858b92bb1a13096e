"""COVIDx CT-2A and CT-3A: check the download and write its table of labels, with its splits.

python -m data.covidx_ct.prepare SOURCE --out DIR --against both
"""

from __future__ import annotations

import re
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from covidssl.errors import DataError
from data.counts import check_counts, files_in, run
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

# The tables "Chest CT image distribution" of the authors' docs/dataset.md.
EXPECTED = {
    "2A": {
        "train normal": 35996, "train pneumonia": 25496, "train COVID-19": 82286,
        "validation normal": 11842, "validation pneumonia": 7400, "validation COVID-19": 6244,
        "test normal": 12245, "test pneumonia": 7395, "test COVID-19": 6018,
    },
    "3A": {
        "train normal": 35996, "train pneumonia": 26970, "train COVID-19": 294552,
        "validation normal": 17570, "validation pneumonia": 8008, "validation COVID-19": 8147,
        "test normal": 17922, "test pneumonia": 7965, "test COVID-19": 7894,
    },
}  # fmt: skip
CLASSES = {"0": "normal", "1": "pneumonia", "2": "COVID-19"}
SPLITS = {"train": "train", "val": "validation", "test": "test"}
MISSING = "listed, but the picture is missing"
UNKNOWN = "pictures of no patient in metadata.csv"


class Against(StrEnum):
    """What COVID-19 is held against; the other class is left out."""

    NORMAL = "normal"
    PNEUMONIA = "pneumonia"
    BOTH = "both"


def version_of(source: Path) -> str:
    """Which release a folder holds, by its lists.

    Raises:
        DataError: when it holds none, or several.
    """
    there = [name for name in EXPECTED if (source / f"train_COVIDx_CT-{name}.txt").is_file()]
    if len(there) != 1:
        raise DataError(
            f"{source.name}: expected train_COVIDx_CT-2A.txt or train_COVIDx_CT-3A.txt in it, and "
            f"one of them only; found {len(there)}. Look at the README."
        )
    return there[0]


def listed(source: Path, version: str) -> list[tuple[str, str, str]]:
    """Name, class and split of every line `name class xmin ymin xmax ymax` of the three lists.

    Raises:
        DataError: for a missing list or a line that is none.
    """
    found = []
    for short, split in SPLITS.items():
        path = source / f"{short}_COVIDx_CT-{version}.txt"
        if not path.is_file():
            raise DataError(f"{path.name}: is not in the source. Look at the README.")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            words = line.split()
            if not words:
                continue
            if len(words) != 6 or words[1] not in CLASSES:
                raise DataError(
                    f"{path.name}, line {number}: expected `name class xmin ymin xmax ymax` with a "
                    f"class 0, 1 or 2."
                )
            found.append((words[0], CLASSES[words[1]], split))
    return found


def patient_of(name: str, patients: frozenset[str]) -> str:
    """The patient that a file name holds, by `metadata.csv`; empty where it holds none.

    An identifier stands at the beginning of the name, or behind the name of a source, and ends at
    a `_` or `-`; the longest one is taken.
    """
    cuts = [match.start() for match in re.finditer(r"[_-]", name)]
    begins = [0, *(cut + 1 for cut in cuts)]
    for begin in begins:
        for end in reversed([cut for cut in cuts if cut > begin]):
            if name[begin:end] in patients:
                return name[begin:end]
    return ""


def main(
    source: Source,
    out: Out,
    against: Annotated[
        Against, typer.Option(help="The class or classes that COVID-19 is told from.")
    ] = Against.BOTH,
    per_patient: PerPatient = None,
    allow_partial: AllowPartial = False,
) -> None:
    """Write labels.csv (path,label,patient,split); COVID-19 is COVID, the rest non-COVID."""
    version = version_of(source)
    home = f"{version}_images"
    lines = listed(source, version)
    there = frozenset(files_in(source / home, (".png",)))
    patients = frozenset(
        row["patient id"].strip() for row in columns_of(source / "metadata.csv", "patient id")
    )
    found: Counter[str] = Counter()
    rows: list[Labelled] = []
    for name, kind, split in lines:
        if name not in there:
            found[MISSING] += 1
            continue
        found[f"{split} {kind}"] += 1
        patient = patient_of(name, patients)
        found[UNKNOWN] += not patient
        label = COVID if kind == "COVID-19" else NON_COVID
        if kind in ("COVID-19", against) or against is Against.BOTH:
            rows.append(Labelled(f"{home}/{name}", label, patient, split))
    check_counts(found, EXPECTED[version], allow_partial)
    chosen = spread(rows, per_patient)
    table, kept = write_labels(chosen, exclusions(Path(__file__).parent), source, out)
    tell(table, kept, rows, "slices")


if __name__ == "__main__":
    run(main)
