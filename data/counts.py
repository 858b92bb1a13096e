"""Counting a download: what was found must be what its README promises."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import typer

from covidssl.errors import CovidsslError, DataError
from covidssl.io import find_scans, natural_order

log = logging.getLogger(__name__)

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


def pictures(folder: Path) -> list[str]:
    """Names of the pictures in a folder, in natural order, empty files left out.

    Raises:
        DataError: when the folder is missing or holds no picture.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder.name}: there is no such folder in the source. Look at the README."
        )
    return [scan.name for scan in find_scans([folder]).scans if scan.format == "picture"]


def files_in(folder: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Names of the files that lie directly in a folder, in natural order, empty ones left out.

    For sets of hundreds of thousands of files: no file is opened. A folder that is missing holds
    none.
    """
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if entry.name.lower().endswith(suffixes)
            and not entry.name.startswith(".")
            and entry.is_file()
            and entry.stat().st_size
        ]
    return sorted(names, key=natural_order)


def folders_in(folder: Path) -> list[Path]:
    """Folders that lie directly in a folder, in natural order; none where it is missing."""
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(found, key=lambda path: natural_order(path.name))


def series_folders(folder: Path) -> Iterator[Path]:
    """Folders below `folder` that hold DICOM files (*.dcm) directly: one a series."""
    for home, inner, names in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        if any(name.lower().endswith(".dcm") for name in names):
            yield Path(home)


def inner_folder(source: Path, name: str) -> Path:
    """`source/name`, or `source` itself where it is already that folder."""
    return source / name if (source / name).is_dir() else source


def check_counts(
    found: Mapping[str, int], expected: Mapping[str, int], allow_partial: bool
) -> list[str]:
    """Compare counts; gives the differences in words.

    Args:
        found: number of files of each kind.
        expected: what the complete set holds; a kind that it does not name is expected 0 times.
        allow_partial: go on with a set that differs.

    Raises:
        DataError: that lists all differences, unless `allow_partial`.
    """
    kinds = [*expected, *(kind for kind in found if kind not in expected)]
    differences = [
        f"{kind}: found {found.get(kind, 0)}, expected {expected.get(kind, 0)}"
        for kind in kinds
        if found.get(kind, 0) != expected.get(kind, 0)
    ]
    if differences and not allow_partial:
        raise DataError(
            f"The source is not the complete set: {'; '.join(differences)}. Download it again, or "
            f"go on with what is there: --allow-partial."
        )
    for difference in differences:
        log.warning("%s", difference)
    return differences


def run(command: Callable[..., None]) -> None:
    """Run a `prepare.py` from the shell; a refusal becomes one line and exit code 2."""
    logging.basicConfig(format="%(message)s")
    try:
        typer.run(command)
    except CovidsslError as error:
        typer.echo(f"Error: {error}", err=True)
        raise SystemExit(2) from None
