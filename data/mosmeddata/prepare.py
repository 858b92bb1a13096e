"""MosMedData COVID19_1110: check the download and write its table of labels.

python -m data.mosmeddata.prepare SOURCE --out DIR
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from data.counts import check_counts, files_in, inner_folder, run
from data.labels import COVID, NON_COVID, Labelled, exclusions, tell, write_labels
from data.options import AllowPartial, Out, Source

EXPECTED = {"CT-0": 254, "CT-1": 684, "CT-2": 125, "CT-3": 45, "CT-4": 2, "masks": 50}
GRADES = {"CT-0": NON_COVID, "CT-1": COVID, "CT-2": COVID, "CT-3": COVID, "CT-4": COVID}
VOLUMES = (".nii.gz", ".nii")


def main(source: Source, out: Out, allow_partial: AllowPartial = False) -> None:
    """Write labels.csv (path,label,patient): CT-0 against CT-1 to CT-4."""
    home = inner_folder(source, "COVID19_1110")
    prefix = home.relative_to(source)
    found = Counter(masks=len(files_in(home / "masks", VOLUMES)))
    rows: list[Labelled] = []
    for grade, label in GRADES.items():
        names = files_in(home / "studies" / grade, VOLUMES)
        found[grade] = len(names)
        rows += [
            Labelled((prefix / "studies" / grade / name).as_posix(), label, name.split(".")[0])
            for name in names
        ]
    check_counts(found, EXPECTED, allow_partial)
    table, kept = write_labels(rows, exclusions(Path(__file__).parent), source, out)
    tell(table, kept, rows, "volumes")


if __name__ == "__main__":
    run(main)
