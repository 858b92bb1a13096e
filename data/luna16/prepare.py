"""LUNA16: check the download, and say how to make a store of it.

python -m data.luna16.prepare SOURCE --out STORE
"""

from __future__ import annotations

from data.counts import check_counts, files_in, folders_in, run
from data.next_step import print_prepare
from data.options import AllowPartial, Source, Store

EXPECTED = {"subsets": 10, "scans": 888}
LOST = "headers without voxels"


def main(source: Source, out: Store, allow_partial: AllowPartial = False) -> None:
    """Count headers (*.mhd) with their voxels (*.raw), then print the `covidssl prepare` command.

    The masks of `seg-lungs-LUNA16` are no scans: only the folders `subset*` are prepared.
    """
    subsets = [folder for folder in folders_in(source) if folder.name.startswith("subset")]
    headers = [folder / name for folder in subsets for name in files_in(folder, (".mhd",))]
    whole = [path for path in headers if path.with_suffix(".raw").is_file()]
    found = {"subsets": len(subsets), "scans": len(whole), LOST: len(headers) - len(whole)}
    check_counts(found, EXPECTED, allow_partial)
    print_prepare(subsets, out)


if __name__ == "__main__":
    run(main)
