"""STOIC2021, public training set: check the download and write its table of labels.

python -m data.stoic.prepare SOURCE --out DIR
"""

from __future__ import annotations

from pathlib import Path

from covidssl.errors import DataError
from data.counts import check_counts, files_in, run
from data.labels import COVID, NON_COVID, Labelled, columns_of, exclusions, tell, write_labels
from data.options import AllowPartial, Out, Source

EXPECTED = {"volumes": 2000, "rows of reference.csv": 2000}


def main(source: Source, out: Out, allow_partial: AllowPartial = False) -> None:
    """Write labels.csv (path,label,patient): RT-PCR positive against negative."""
    names = {Path(name).stem: name for name in files_in(source / "data" / "mha", (".mha",))}
    reference = columns_of(source / "metadata" / "reference.csv", "PatientID", "probCOVID")
    listed = {row["PatientID"].strip(): label_of(row) for row in reference}
    found = {
        "volumes": len(names),
        "rows of reference.csv": len(reference),
        "volumes without a row": len(names.keys() - listed.keys()),
    }
    check_counts(found, EXPECTED, allow_partial)
    rows = [
        Labelled(f"data/mha/{name}", listed[patient], patient)
        for patient, name in names.items()
        if patient in listed
    ]
    table, kept = write_labels(rows, exclusions(Path(__file__).parent), source, out)
    tell(table, kept, rows, "volumes")


def label_of(row: dict[str, str]) -> str:
    """The class that a row of `reference.csv` says.

    Raises:
        DataError: when probCOVID is neither 0 nor 1.
    """
    word = row["probCOVID"].strip()
    if word not in ("0", "1", "0.0", "1.0"):
        raise DataError(f"reference.csv: probCOVID is {word!r}; expected 0 or 1.")
    return COVID if word.startswith("1") else NON_COVID


if __name__ == "__main__":
    run(main)
