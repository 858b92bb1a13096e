"""What the INPUTs of `predict` hold: folders, files, zips, and CSV lists of those."""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from covidssl.errors import DataError, UsageError
from covidssl.files import read_csv
from covidssl.inference.journal import stamp_of
from covidssl.inference.shard import Shard
from covidssl.io import Choice, Found, ScanFiles, choose_series, find_scans
from covidssl.io.found import in_order
from covidssl.pseudonyms import Pseudonyms

_LIST = ".csv"


def find_inputs(
    inputs: Sequence[Path], ids: Pseudonyms | None = None, out: Path | None = None
) -> Found:
    """Look for scans in any mix of folders, files, zips and CSV lists.

    A CSV list has a column `path`, relative to the list (a file, a folder or a zip), and perhaps a
    column `name`; other columns are passed over. What a row names but is not there, or holds no CT,
    is a scan that cannot be read: it stops no other. What is named twice is one scan. What runs of
    covidssl have written below an INPUT is passed over.

    Args:
        inputs: files and folders.
        ids: gives pseudonyms of the scans' paths in place of their names.
        out: where the answers go, which is no place for INPUTs.

    Raises:
        UsageError: when an INPUT does not exist, or lies in the output.
        DataError: when there is no scan at all, or a list cannot be read.
    """
    outputs = () if out is None else (out,)
    for given in inputs:
        if out is not None and Path(os.path.realpath(given)).is_relative_to(out.resolve()):
            raise UsageError(f"{given}: lies in {out}, where the answers go. Choose another --out.")
    lists = [given for given in inputs if given.suffix.lower() == _LIST and given.is_file()]
    others = [given for given in inputs if given not in lists]
    if not lists:
        return find_scans(inputs, ids, outputs)
    listed = [scan for one in lists for scan in _of_list(one, outputs)]
    found = Found((), {})
    if others:
        try:
            found = find_scans(others, outputs=outputs)
        except DataError:
            if not listed:
                raise
    ignored = found.ignored
    if ids is not None:
        ignored = {"(other)": sum(ignored.values())} if ignored else {}
    return Found(in_order([*found.scans, *listed], ids), ignored)


def _of_list(path: Path, outputs: Collection[Path]) -> Iterator[ScanFiles]:
    rows = _rows(path)
    home = path.parent.absolute()
    targets = [Path(os.path.normpath(home / row["path"].strip())) for row in rows]
    for line, (row, target, name) in enumerate(
        zip(rows, targets, _names(home, targets), strict=True), start=2
    ):
        called = row.get("name", "").strip()
        if row["path"].strip():
            yield from _of_row(target, called or name, line, outputs)
        else:
            why = f"line {line} of the list: its column `path` is empty."
            yield _unfound(called or f"line {line}", target, why, "not_found")


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        rows = read_csv(path)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path.name}: this is no CSV in UTF-8; save it as such.") from error
    except OSError as error:
        raise DataError(f"{path.name}: this list cannot be read: {error.strerror}.") from error
    if not rows or "path" not in rows[0]:
        found = f"found {','.join(rows[0])}" if rows else "found no row"
        raise DataError(f"{path.name}: expected a list with the columns path[,name]; {found}.")
    return rows


def _names(home: Path, targets: Sequence[Path]) -> list[str]:
    """Names relative to the list; of what lies outside of it, to the folder that all of it share.

    So no name holds a place of this machine.
    """
    outside = [target.parent for target in targets if not target.is_relative_to(home)]
    shared = Path(os.path.commonpath(outside)) if outside else home
    return [
        target.relative_to(home if target.is_relative_to(home) else shared).as_posix()
        for target in targets
    ]


def _of_row(target: Path, name: str, line: int, outputs: Collection[Path]) -> Iterator[ScanFiles]:
    try:
        scans = find_scans([target], outputs=outputs).scans
    except (UsageError, OSError, ValueError):  # a cell may hold anything
        why = f"line {line} of the list: there is no such file or folder."
        yield _unfound(name, target, why, "not_found")
        return
    except DataError:
        why = f"line {line} of the list: holds no CT in a format that is read."
        yield _unfound(name, target, why, "no_ct_files")
        return
    for scan in scans:
        of_several = f"{name}/{scan.name}" if len(scans) > 1 else name
        yield replace(scan, name=of_several)


def _unfound(name: str, target: Path, why: str, code: str) -> ScanFiles:
    return ScanFiles(name, "unreadable", (target,), problem=why, code=code)


@dataclass(frozen=True)
class Sought:
    """What a run is to answer.

    Attributes:
        scans: to be answered, in the order of their rows.
        passed_over: names of series that another one of their folder was taken for, and why.
        ignored: other files, by ending.
        ids: hide the scans' places as their names; None where names are shown.
    """

    scans: tuple[ScanFiles, ...]
    passed_over: dict[str, str]
    ignored: dict[str, int]
    ids: Pseudonyms | None = None

    def stamps(self) -> dict[str, str]:
        """What tells each scan, by its name, from another or a changed one."""
        return {scan.name: stamp_of(scan, self.ids) for scan in self.scans}


def seek(
    inputs: Sequence[Path],
    ids: Pseudonyms | None = None,
    all_series: bool = False,
    shard: Shard | None = None,
    out: Path | None = None,
) -> Sought:
    """Find all scans, choose one series where several share a folder, and keep those of a shard.

    Args:
        inputs: files, folders, zips and CSV lists.
        ids: gives pseudonyms of the scans' paths in place of their names.
        all_series: take every DICOM series.
        shard: keep its scans alone; None for all.
        out: where the answers of all shards go.

    Raises:
        CovidsslError: as `find_inputs`.
    """
    found = find_inputs(inputs, ids, out)
    choice = Choice(found.scans, ()) if all_series else choose_series(found.scans)
    shard = shard or Shard()
    return Sought(
        tuple(scan for scan in choice.scans if shard.holds(scan.name)),
        {scan.name: why for scan, why in choice.passed_over if shard.holds(scan.name)},
        found.ignored,
        ids,
    )
