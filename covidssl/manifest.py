"""The table of a prepared store: a row for every scan found, whatever became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from covidssl.errors import DataError
from covidssl.files import parse_csv, write_csv

NAME = "manifest.csv"
USED = ("ok", "warned", "repaired")
STATUSES = (*USED, "flagged", "dropped", "passed_over", "failed")


@dataclass(frozen=True)
class ManifestRow:
    """What became of one scan.

    Attributes:
        scan: its name: path relative to the INPUT.
        status: ok; warned (used, with something odd); repaired (used, after something was mended);
            flagged (its lung mask looks wrong: shown, not used); dropped (read, but shows too
            little lung); passed_over (another series of its folder was chosen); failed (could not
            be read, or is wrong and not to be mended).
        verdict: why, in plain words and with numbers; empty when ok.
        code: what was found, as words for sorting, `;` between them; empty when ok.
        repairs: what was mended, in plain words and with numbers; empty when nothing.
        format: dicom, nifti, metaimage, picture or unreadable.
        pixels: hu or windowed; empty when the scan could not be read.
        slices, height, width: its size in voxels.
        spacing_z_mm, spacing_y_mm, spacing_x_mm: voxel size, where known.
        lung_ml: volume of the lung mask, where the spacing is known.
        left_right: volume of the left lung by that of the right one, where they are told apart.
        slices_with_lung: slices with at least the store's share of lung.
        patient: pseudonym of the header's patient (the identifier itself with `--keep-ids`).
        series: pseudonym of the header's series, likewise.
        fingerprint: SHA-256 of kind, shape and voxel values: equal for equal scans.
        file: the scan's group in the store; empty when it is not in it.
    """

    scan: str
    status: str
    verdict: str
    format: str
    code: str = ""
    repairs: str = ""
    pixels: str = ""
    slices: int | None = None
    height: int | None = None
    width: int | None = None
    spacing_z_mm: float | None = None
    spacing_y_mm: float | None = None
    spacing_x_mm: float | None = None
    lung_ml: float | None = None
    left_right: float | None = None
    slices_with_lung: int | None = None
    patient: str = ""
    series: str = ""
    fingerprint: str = ""
    file: str = ""

    @property
    def stored(self) -> bool:
        """Whether the scan's slices are in the store."""
        return self.status in USED


COLUMNS = tuple(field.name for field in fields(ManifestRow))
_WHOLE = ("slices", "height", "width", "slices_with_lung")
_NUMBER = ("spacing_z_mm", "spacing_y_mm", "spacing_x_mm", "lung_ml", "left_right")


def write_manifest(folder: Path, rows: Sequence[ManifestRow]) -> None:
    """Write `manifest.csv` into a store's folder."""
    write_csv(folder / NAME, COLUMNS, [asdict(row) for row in rows])


def read_manifest(folder: Path) -> tuple[ManifestRow, ...]:
    """The rows of a store's `manifest.csv`.

    Raises:
        DataError: when a column is missing or a number is none.
    """
    return parse_manifest((folder / NAME).read_bytes(), folder.name)


def parse_manifest(content: bytes, name: str) -> tuple[ManifestRow, ...]:
    """The rows of the bytes of a `manifest.csv`; `name` names the store.

    Raises:
        DataError: when a column is missing or a number is none.
    """
    rows = []
    for line, cells in enumerate(parse_csv(content), start=2):
        try:
            rows.append(ManifestRow(**{name: _value(name, cells[name]) for name in COLUMNS}))
        except (KeyError, ValueError) as error:
            raise DataError(
                f"{name}/{NAME}, line {line}: {error} does not fit the columns of a store's "
                f"manifest. Prepare the store again."
            ) from None
    return tuple(rows)


def _value(name: str, cell: str) -> Any:
    if name in _WHOLE:
        return int(cell) if cell else None
    if name in _NUMBER:
        return float(cell) if cell else None
    return cell
