"""COVID-CT: check the download and write its table of labels, with the official splits.

python -m data.covid_ct.prepare SOURCE --out DIR
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from data.counts import check_counts, pictures, run
from data.labels import COVID, NON_COVID, Labelled, exclusions, tell, write_labels
from data.options import AllowPartial, Out, Source

FOLDERS = {"CT_COVID": COVID, "CT_NonCOVID": NON_COVID}
SPLITS = {"train": "train", "val": "validation", "test": "test"}
EXPECTED = {
    "train CT_COVID": 191,
    "train CT_NonCOVID": 234,
    "validation CT_COVID": 60,
    "validation CT_NonCOVID": 58,
    "test CT_COVID": 98,
    "test CT_NonCOVID": 105,
}
NOT_LISTED = "in no split list"

# Pictures cut out of one figure: name%0, name%1; or paper-pPAGE-FIGURE-1, -2, and _1, _2.
_PIECE = re.compile(r"(.+)%\d+|(.+-p\d+-\d+)[-_]\d+")


def patient_of(name: str) -> str:
    """The figure that a picture was cut out of with others; empty where the name does not say.

    Pieces of one figure are kept together as if of one patient. That may join two patients, never
    part one figure; patients shown in several figures are not found.
    """
    piece = _PIECE.fullmatch(name.rpartition(".")[0])
    return "" if piece is None else piece[1] or piece[2]


def splits_of(source: Path, folder: str) -> dict[str, str]:
    """Split of each picture, from the official lists, wherever in the source they lie."""
    listed: dict[str, str] = {}
    for short, split in SPLITS.items():
        for path in sorted(source.rglob(f"{short}{folder}.txt")):
            names = path.read_text(encoding="utf-8").splitlines()
            listed |= {name.strip(): split for name in names if name.strip()}
    return listed


def main(source: Source, out: Out, allow_partial: AllowPartial = False) -> None:
    """Write labels.csv (path,label,patient,split) without the exclusions and what no list names."""
    rows: list[Labelled] = []
    found: Counter[str] = Counter()
    for folder, label in FOLDERS.items():
        listed = splits_of(source, folder)
        for name in pictures(source / folder):
            split = listed.get(name)
            found[f"{split} {folder}" if split else NOT_LISTED] += 1
            if split:
                rows.append(Labelled(f"{folder}/{name}", label, patient_of(name), split))
    check_counts(found, EXPECTED, allow_partial)
    table, kept = write_labels(rows, exclusions(Path(__file__).parent), source, out)
    tell(table, kept, rows, "images")


if __name__ == "__main__":
    run(main)
