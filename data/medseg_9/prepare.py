"""MedSeg, nine Radiopaedia volumes: check the download, and say how to make a store of it.

python -m data.medseg_9.prepare SOURCE --out STORE
"""

from __future__ import annotations

from pathlib import Path

from data.counts import check_counts, files_in, run
from data.next_step import print_prepare
from data.options import AllowPartial, Source, Store

EXPECTED = {"images": 9, "infection masks": 9, "lung masks": 9}
# As distributed; and with the case in front, as copies that were put right way up are called.
FOLDERS = {"images": "rp_im", "infection masks": "rp_msk", "lung masks": "rp_lung_msk"}
ENDINGS = {
    "images": "_image.nii.gz",
    "infection masks": "_infection.nii.gz",
    "lung masks": "_lung.nii.gz",
}


def found_in(source: Path, kind: str) -> list[Path]:
    """Files of a kind, in either layout."""
    folder = source / FOLDERS[kind]
    if folder.is_dir():
        return [folder / name for name in files_in(folder, (".nii.gz", ".nii"))]
    return [source / name for name in files_in(source, (ENDINGS[kind],))]


def main(source: Source, out: Store, allow_partial: AllowPartial = False) -> None:
    """Count images and masks, then print the `covidssl prepare` command for the images."""
    found = {kind: found_in(source, kind) for kind in EXPECTED}
    check_counts({kind: len(of) for kind, of in found.items()}, EXPECTED, allow_partial)
    print_prepare(found["images"], out)


if __name__ == "__main__":
    run(main)
