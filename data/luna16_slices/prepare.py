"""LUNA16 slices: check the download, and say how to make a store of it.

python -m data.luna16_slices.prepare SOURCE --out STORE
"""

from __future__ import annotations

from data.counts import check_counts, pictures, run
from data.next_step import print_prepare
from data.options import AllowPartial, Source, Store

EXPECTED = {"slices": 1000, "series": 500}


def main(source: Source, out: Store, allow_partial: AllowPartial = False) -> None:
    """Count slices and series, then print the `covidssl prepare` command. Writes nothing."""
    names = pictures(source)
    series = {name.rpartition(".mhd_")[0] or name for name in names}
    check_counts({"slices": len(names), "series": len(series)}, EXPECTED, allow_partial)
    print_prepare([source], out)


if __name__ == "__main__":
    run(main)
