"""COVID-19-CT-Seg: check the download, and say how to make stores of it.

python -m data.covid_19_ct_seg.prepare SOURCE --out STORE
"""

from __future__ import annotations

from data.counts import check_counts, files_in, run
from data.next_step import print_prepare
from data.options import AllowPartial, Source, Store

IMAGES = "COVID-19-CT-Seg_20cases"
MASKS = ("Lung_Mask", "Infection_Mask", "Lung_and_Infection_Mask")
EXPECTED = {
    "coronacases": 10,
    "radiopaedia": 10,
    **{f"masks in {folder}": 20 for folder in MASKS},
}
VOLUMES = (".nii.gz", ".nii")


def main(source: Source, out: Store, allow_partial: AllowPartial = False) -> None:
    """Count volumes and masks, then print a `covidssl prepare` command for each kind of pixel."""
    names = files_in(source / IMAGES, VOLUMES)
    kinds = {kind: [n for n in names if n.startswith(kind)] for kind in list(EXPECTED)[:2]}
    found = {kind: len(of) for kind, of in kinds.items()}
    found["other volumes"] = len(names) - sum(found.values())
    found |= {f"masks in {folder}": len(files_in(source / folder, VOLUMES)) for folder in MASKS}
    check_counts(found, EXPECTED, allow_partial)
    for kind, of in kinds.items():
        if of:
            print_prepare([source / IMAGES / name for name in of], out / kind)


if __name__ == "__main__":
    run(main)
