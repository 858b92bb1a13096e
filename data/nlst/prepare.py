"""NLST: count the participants of a download, and say how to make a store of it.

python -m data.nlst.prepare SOURCE --out STORE
"""

from __future__ import annotations

import re
from pathlib import Path

from data.counts import check_counts, files_in, folders_in, inner_folder, run, series_folders
from data.next_step import print_prepare
from data.options import AllowPartial, Source, Store

EXPECTED = {"participants": 26254}
VOLUMES = (".nii.gz", ".nii")


def participants(home: Path) -> set[str]:
    """Numbers of the participants: folders with DICOM called so, and NIfTI files `NLST-NUMBER`."""
    folders = {
        folder.name
        for folder in folders_in(home)
        if re.fullmatch(r"\d{6}", folder.name) and next(series_folders(folder), None) is not None
    }
    numbers = (re.match(r"(?:NLST-)?(\d{6})\b", name) for name in files_in(home, VOLUMES))
    return folders | {number[1] for number in numbers if number}


def main(source: Source, out: Store, allow_partial: AllowPartial = False) -> None:
    """Count the participants, then print the `covidssl prepare` command. Writes nothing.

    Hardly anybody has the whole set, so `--allow-partial` is the rule here.
    """
    home = inner_folder(source, "NLST")
    check_counts({"participants": len(participants(home))}, EXPECTED, allow_partial)
    print_prepare([home], out)


if __name__ == "__main__":
    run(main)
