"""Labelled scans: class folders, or a CSV `path,label[,patient][,split]` with any more columns."""

from __future__ import annotations

import csv
import difflib
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from covidssl.errors import DataError, ScanError, UsageError
from covidssl.files import read_csv
from covidssl.io import Found, ScanFiles, choose_series, find_scans, natural_order
from covidssl.legible import legible

log = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test")
_OWN = {"path", "label", "patient", "split"}  # columns that this package gives a meaning
_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True)
class LabelledScan:
    """One scan with its label.

    Attributes:
        name: its path relative to the dataset.
        files: what it is read from.
        positive: whether it is of the positive class.
        patient: whose scan it is, where known.
        split: its split, where the dataset says.
        columns: what further columns of the CSV say of it, legible; empty text where the row says
            nothing. Used for subgroups alone.
    """

    name: str
    files: ScanFiles
    positive: bool
    patient: str | None = None
    split: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Dataset:
    """Labelled scans in natural file order.

    Attributes:
        name: of the folder or CSV.
        scans: all of them.
        classes: names of the negative and of the positive class.
        columns: names of the further columns of its CSV, in their order; none of class folders.
    """

    name: str
    scans: tuple[LabelledScan, ...]
    classes: tuple[str, str]
    columns: tuple[str, ...] = ()


def read_dataset(path: Path, positive_class: str) -> Dataset:
    """Read the table of a labelled dataset; no picture is opened yet.

    Of several DICOM series of one patient in a folder one is taken (`choose_series`).

    Args:
        path: a folder of two class folders, or a CSV with `path` (relative to the CSV; an image, a
            NIfTI file or a DICOM folder), `label`, and perhaps `patient` and `split`; more columns
            are kept as they are, for subgroups. Its order does not matter.
        positive_class: name of the class that means COVID-19; capitals do not matter.

    Raises:
        UsageError: when there is no such path.
        DataError: when it has not exactly two classes, none of them the positive one, when a row
            names no scan or one named before, or when a split is misspelt.
    """
    if path.is_dir():
        rows = _rows_of_folder(path)
    elif path.suffix.lower() == ".csv" and path.is_file():
        rows = _rows_of_csv(path)
    else:
        raise UsageError(f"{path}: expected a folder of two class folders, or a CSV path,label.")
    labels = Counter(row.label for row in rows)
    classes = _classes(legible(path.name), labels, positive_class)
    scans = tuple(
        LabelledScan(
            row.files.name, row.files, row.label == classes[1], row.patient, row.split, row.more
        )
        for row in rows
    )
    return Dataset(legible(path.name), scans, classes, tuple(rows[0].more))


class Row(NamedTuple):
    """A row of the table: files, label, patient, split, and what more columns say."""

    files: ScanFiles
    label: str
    patient: str | None
    split: str | None
    more: dict[str, str]


def _rows_of_folder(path: Path) -> list[Row]:
    rows: list[Row] = []
    for folder in sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")):
        try:
            found = find_scans([folder])
        except DataError:
            continue  # a folder without CT, such as one of lists, is no class
        for scan in _chosen(found):
            label = legible(folder.name)
            named = replace(scan, name=f"{label}/{scan.name}")
            rows.append(Row(named, label, None, None, {}))
    if not rows:
        raise DataError(f"{path.name}: no class folder with CT in it; expected two, one a class.")
    return rows


def _rows_of_csv(path: Path) -> list[Row]:
    table = _table(path)
    names = _names(path.parent, [row["path"] for row in table])
    seen: set[str] = set()
    rows = []
    for line, (row, name) in enumerate(zip(table, names, strict=True), start=2):
        where = f"{path.name}, line {line}"
        if name in seen:
            raise DataError(f"{where}: {name} stands in the table twice.")
        seen.add(name)
        label = legible(row["label"].strip())
        if not label:
            raise DataError(f"{where}: {name} has no label.")
        rows.append(
            Row(
                _files(path.parent, row["path"], name, where),
                label,
                legible(row.get("patient", "").strip()) or None,
                split_of_word(row.get("split", ""), where),
                {
                    legible(key): legible(text.strip())
                    for key, text in row.items()
                    if key not in _OWN
                },
            )
        )
    return sorted(rows, key=lambda row: natural_order(row.files.name))


def _table(path: Path) -> list[dict[str, str]]:
    try:
        table = read_csv(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name}: this is no CSV in UTF-8; save it as such.") from error
    if not table:
        raise DataError(f"{path.name}: holds no row; expected path,label[,patient][,split].")
    lacking = {"path", "label"} - table[0].keys()
    if lacking:
        raise DataError(
            f"{path.name}: lacks the column {' and '.join(sorted(lacking))}; "
            f"expected path,label[,patient][,split], found {','.join(table[0])}."
        )
    return table


def _names(folder: Path, written: Sequence[str]) -> list[str]:
    """Names of scans: relative to the CSV; where they lie outside of it, to the folder shared."""
    homes = [folder.absolute(), folder.resolve()]
    paths = [Path(os.path.normpath(one)) for one in written]
    outside = [
        path.parent
        for path in paths
        if path.is_absolute() and not any(map(path.is_relative_to, homes))
    ]
    if outside:
        homes.append(Path(os.path.commonpath(outside)))
    names = []
    for path in paths:
        home = next((home for home in homes if path.is_relative_to(home)), None)
        names.append(legible((path.relative_to(home) if home else path).as_posix()))
    return names


def _files(folder: Path, written: str, name: str, where: str) -> ScanFiles:
    target = folder / written
    if not written or not target.exists():
        shown = name if Path(written).is_absolute() else written
        raise DataError(
            f"{where}: there is no file or folder {shown!r} (paths are relative to the CSV)."
        )
    scans = _chosen(find_scans([target]))
    if len(scans) != 1:
        raise ScanError(f"{where}: {name} holds {len(scans)} scans; expected one a row.")
    return replace(scans[0], name=name)


def _chosen(found: Found) -> tuple[ScanFiles, ...]:
    choice = choose_series(found.scans)
    if choice.passed_over:
        scan, why = choice.passed_over[0]
        log.warning(
            "%d DICOM series are not used; first: %s: %s", len(choice.passed_over), scan.name, why
        )
    return choice.scans


def split_of_word(word: str, where: str) -> str | None:
    """The split that a word of a table means; None for an empty one.

    Args:
        word: as it is written, such as Val or TESTING.
        where: file and line, for the message.

    Raises:
        DataError: for any other word.
    """
    if not word.strip():
        return None
    split = _SPLIT_WORDS.get(word.strip().lower())
    if split is None:
        raise DataError(f"{where}: unknown split {word!r}; expected train, validation or test.")
    return split


def _classes(name: str, labels: Counter[str], positive_class: str) -> tuple[str, str]:
    counts = ", ".join(f"{label} ({count})" for label, count in labels.most_common())
    if len(labels) != 2:
        raise DataError(
            f"{name}: expected two classes, found {len(labels)}: {counts}. {_why(labels)}"
        )
    if len({label.casefold() for label in labels}) != 2:
        raise DataError(f"{name}: two classes differ in capitals alone: {counts}. Name them alike.")
    positive = [label for label in labels if label.casefold() == positive_class.casefold()]
    if not positive:
        near = _near(positive_class, labels)
        raise DataError(
            f"{name}: no class is called '{positive_class}'; found {counts}. "
            f"{f'Did you mean {near!r}? ' if near else ''}Name the one that "
            f"means COVID-19: --set positive_class={near or '...'}"
        )
    negative = next(label for label in labels if label != positive[0])
    return negative, positive[0]


def _why(labels: Counter[str]) -> str:
    """What may be wrong with a number of classes other than two; the rarer of two like names."""
    if len(labels) < 2:
        return "One class cannot be learnt: give scans of the other class too."
    ordered = [label for label, _ in labels.most_common()]
    for place in range(len(ordered) - 1, 0, -1):
        near = _near(ordered[place], ordered[:place])
        if near:
            return (
                f"Is '{ordered[place]}' ({labels[ordered[place]]}) a misspelt '{near}'? "
                f"Else leave the classes out that are not asked for."
            )
    return "Leave the classes out that are not asked for, or name two of them alike."


def _near(label: str, labels: Iterable[str]) -> str | None:
    """The label that is spelt almost alike, capitals aside.

    Not one that is short, nor one that has three letters more: NCP is no CP, nonCOVID no COVID.
    """
    folded = {
        one.casefold(): one
        for one in labels
        if min(len(one), len(label)) > 3 and abs(len(one) - len(label)) < 3
    }
    found = difflib.get_close_matches(label.casefold(), folded, n=1, cutoff=0.75)
    return folded[found[0]] if found else None
