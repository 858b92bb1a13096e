"""SARS-CoV-2 CT: check the download and write its table of labels.

python -m data.sars_cov_2_ct.prepare SOURCE --out DIR
"""

from __future__ import annotations

from pathlib import Path

from data.counts import check_counts, pictures, run
from data.labels import COVID, NON_COVID, Labelled, exclusions, tell, write_labels
from data.options import AllowPartial, Out, Source

EXPECTED = {COVID: 1252, NON_COVID: 1230}


def main(source: Source, out: Out, allow_partial: AllowPartial = False) -> None:
    """Write labels.csv (path,label) in the order of the file numbers, without the exclusions."""
    rows = [
        Labelled(f"{label}/{name}", label)
        for label in EXPECTED
        for name in pictures(source / label)
    ]
    found = {label: sum(row.label == label for row in rows) for label in EXPECTED}
    check_counts(found, EXPECTED, allow_partial)
    table, kept = write_labels(rows, exclusions(Path(__file__).parent), source, out)
    tell(table, kept, rows, "images")


if __name__ == "__main__":
    run(main)
