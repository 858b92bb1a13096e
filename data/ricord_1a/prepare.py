"""MIDRC-RICORD-1A: count the patients of a download, and say how to make a store of it.

python -m data.ricord_1a.prepare SOURCE --out STORE
"""

from __future__ import annotations

from data.counts import check_counts, folders_in, inner_folder, run, series_folders
from data.next_step import print_prepare
from data.options import AllowPartial, Source, Store

NAME = "MIDRC-RICORD-1A"
# Not verified: see the README.
EXPECTED = {"patients": 110}
EMPTY = "patients without a DICOM series"


def main(source: Source, out: Store, allow_partial: AllowPartial = False) -> None:
    """Count the patients' folders, then print the `covidssl prepare` command. Writes nothing."""
    home = inner_folder(source, NAME)
    patients = [folder for folder in folders_in(home) if folder.name.startswith(NAME)]
    empty = sum(next(series_folders(one), None) is None for one in patients)
    check_counts({"patients": len(patients) - empty, EMPTY: empty}, EXPECTED, allow_partial)
    print_prepare([home], out)


if __name__ == "__main__":
    run(main)
