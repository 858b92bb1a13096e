"""What an unfinished store says: which scans were planned, and what became of those read so far."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covidssl.errors import DataError
from covidssl.files import write_bytes, write_json
from covidssl.manifest import ManifestRow
from covidssl.store.places import Place
from covidssl.store.record import (
    FORMAT,
    JOURNAL,
    SCANS,
    UNFINISHED,
    ScanRecord,
    group_of,
    short_name,
)
from covidssl.store.zarr_scan import LUNGS, PIXELS, SHARD, read_record


@dataclass(frozen=True)
class Plan:
    """What `prepare` set out to do.

    Attributes:
        options: as they stand in `store.json`.
        keys: of every scan that is to be read, by name.
        order: names of all scans, those passed over included.
        passed_over: rows of the scans that are not to be read.
    """

    options: dict[str, Any]
    keys: Mapping[str, str]
    order: tuple[str, ...]
    passed_over: tuple[ManifestRow, ...] = ()

    def serves(self, record: ScanRecord) -> bool:
        """Whether a record is what reading its scan now would give."""
        key = self.keys.get(record.row.scan)
        return key is not None and record.serves(key, str(self.options["policy"]))

    def in_order(self, records: Mapping[str, ScanRecord]) -> list[ScanRecord | ManifestRow]:
        """What is there of every scan, in the order of their names."""
        passed = {row.scan: row for row in self.passed_over}
        found = (records.get(name) or passed.get(name) for name in self.order)
        return [one for one in found if one is not None]

    def rows(self, records: Mapping[str, ScanRecord]) -> tuple[ManifestRow, ...]:
        """The rows of the manifest."""
        least = float(self.options["min_lung_share"])
        return tuple(
            one.listed(least) if isinstance(one, ScanRecord) else one
            for one in self.in_order(records)
        )

    def listed(self, records: Mapping[str, ScanRecord]) -> list[ScanRecord]:
        """The records of which slices are listed."""
        least = float(self.options["min_lung_share"])
        found = (one for one in self.in_order(records) if isinstance(one, ScanRecord))
        return [record for record in found if record.kept and record.listed(least).stored]

    def write(self, folder: Path) -> None:
        """Write `unfinished.json`."""
        content = {
            "format": FORMAT,
            "options": self.options,
            "order": list(self.order),
            "keys": dict(self.keys),
            "passed_over": [[row.scan, row.verdict, row.format] for row in self.passed_over],
        }
        write_json(folder / UNFINISHED, content)

    @classmethod
    def read(cls, content: bytes, name: str) -> Plan:
        """The plan in an `unfinished.json`.

        Raises:
            DataError: when it is none of this version; `name` names the store.
        """
        try:
            values = json.loads(content)
            if values["format"] != FORMAT:
                raise ValueError
            passed = (passed_over(*entry) for entry in values["passed_over"])
            return cls(values["options"], values["keys"], tuple(values["order"]), tuple(passed))
        except (ValueError, KeyError, TypeError):
            raise DataError(
                f"{name}/{UNFINISHED}: is damaged or of another version. Run prepare with "
                f"--resume, or into another folder."
            ) from None


def passed_over(scan: str, reason: str, kind: str) -> ManifestRow:
    """The row of a scan that is not read, since another one of its folder was chosen."""
    return ManifestRow(scan, "passed_over", reason, kind, code="passed_over")


def read_journal(place: Place) -> dict[str, ScanRecord]:
    """The last record of every scan in the journal; a line torn by a kill is passed over."""
    records: dict[str, ScanRecord] = {}
    for line in (place.read(JOURNAL) or b"").split(b"\n")[:-1]:
        try:
            record = ScanRecord.from_json(json.loads(line), JOURNAL)
        except (ValueError, DataError):
            continue
        records[record.row.scan] = record
    return records


def rewrite_journal(folder: Path, records: Iterable[ScanRecord]) -> None:
    """Write the journal anew, whole or not at all."""
    write_bytes(folder / JOURNAL, b"".join(journal_line(record) for record in records))


def journal_line(record: ScanRecord) -> bytes:
    """A record as a line of the journal."""
    return json.dumps(record.as_json(), separators=(",", ":")).encode() + b"\n"


def whole_records(place: Place, plan: Plan) -> dict[str, ScanRecord]:
    """Of the planned scans those that are there and as they would be read now, by name.

    A group without its line in the journal, as a kill may leave one, speaks for itself.
    """
    groups = place.entries(SCANS)
    told = read_journal(place)
    records: dict[str, ScanRecord] = {}
    for name in plan.keys:
        record = told.get(name)
        if record is None or not plan.serves(record):
            record = _of_group(place, name) if short_name(name) in groups else None
        if record is not None and plan.serves(record) and _is_whole(place, record, groups):
            records[name] = record
    return records


def _is_whole(place: Place, record: ScanRecord, groups: set[str]) -> bool:
    if not record.kept:
        return True
    if short_name(record.row.scan) not in groups:
        return False
    if not place.local:
        return True  # two more questions a scan to a far place; reading checks it anyway
    group = group_of(record.row.scan)
    return place.sizes(f"{group}/{PIXELS}/{SHARD}", f"{group}/{LUNGS}/{SHARD}") == record.sizes


def _of_group(place: Place, name: str) -> ScanRecord | None:
    content = place.read(f"{group_of(name)}/zarr.json")
    try:
        return None if content is None else read_record(content, short_name(name))
    except DataError:
        return None
