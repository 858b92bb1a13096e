"""LIDC-IDRI: count the patients of a download, and say how to make a store of it.

python -m data.lidc_idri.prepare SOURCE --out STORE
"""

from __future__ import annotations

import re

from data.counts import check_counts, folders_in, inner_folder, run, series_folders
from data.next_step import print_prepare
from data.options import AllowPartial, Source, Store

EXPECTED = {"patients": 1010}
EMPTY = "patients without a DICOM series"


def main(source: Source, out: Store, allow_partial: AllowPartial = False) -> None:
    """Count the patients' folders, then print the `covidssl prepare` command. Writes nothing.

    Series are not counted: radiographs lie among them, and only their headers tell.
    """
    home = inner_folder(source, "LIDC-IDRI")
    patients = [one for one in folders_in(home) if re.fullmatch(r"LIDC-IDRI-\d{4}", one.name)]
    empty = sum(next(series_folders(one), None) is None for one in patients)
    check_counts({"patients": len(patients) - empty, EMPTY: empty}, EXPECTED, allow_partial)
    print_prepare([home], out)


if __name__ == "__main__":
    run(main)
