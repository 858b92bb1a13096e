"""Fewer unlabelled slices: whole scans drawn from the corpus, and a store of them alone."""

from __future__ import annotations

from pathlib import Path

from covidssl.commands import prepare
from covidssl.errors import DataError
from covidssl.experiments import PrepareConfig
from covidssl.randomness import numpy_generator
from covidssl.store import Store
from pipelines.study.unlabelled import LUNA16

_STREAM = 202


def series_of(name: str) -> str:
    """The scan that a slice of the corpus is of: `<series>.mhd_<slice>.png`.

    Raises:
        DataError: when a name is of another form.
    """
    series, found, _ = name.partition(".mhd_")
    if not found:
        raise DataError(
            f"{name}: is not called as the slices of {LUNA16} are (<series>.mhd_<slice>.png), so "
            f"that nothing says which slices are of one scan. Expected the corpus as it comes."
        )
    return series


def drawn_slices(store: Store, slices: int, seed: int) -> tuple[str, ...]:
    """Names of so many slices of whole scans; one more where a scan brings two.

    A smaller draw of a seed lies within a larger one.

    Args:
        store: of the corpus.
        slices: at least.
        seed: another draws other scans.

    Raises:
        DataError: when the store has fewer.
    """
    if slices > len(store.slices):
        raise DataError(
            f"{store.folder.name}: has {len(store.slices)} slices with enough lung, and {slices} "
            f"were asked for. Ask for fewer."
        )
    of_series: dict[str, list[str]] = {}
    for stored in store.slices:
        of_series.setdefault(series_of(stored.scan), []).append(stored.scan)
    names = sorted(of_series)
    found: list[str] = []
    for place in numpy_generator(_STREAM, seed).permutation(len(names)):
        if len(found) >= slices:
            break
        found += of_series[names[place]]
    return tuple(sorted(found))


def prepare_subset(data: Path, whole: Path, out: Path, slices: int, seed: int) -> None:
    """Prepare the drawn slices alone, as the whole corpus was prepared.

    Args:
        data: folder of the sets.
        whole: store of the whole corpus.
        out: store of the drawn ones.
        slices: at least so many.
        seed: of the draw.

    Raises:
        DataError: as `drawn_slices`.
    """
    names = drawn_slices(Store.open(whole), slices, seed)
    prepare.main(PrepareConfig(), [data / LUNA16 / name for name in names], out, "resume")
