"""What a store's own files say of it, whole or unfinished."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from covidssl.errors import DataError
from covidssl.manifest import NAME as MANIFEST
from covidssl.manifest import ManifestRow, parse_manifest
from covidssl.store.index import INDEX, StoredSlices, check_index, columns_of
from covidssl.store.places import Place
from covidssl.store.record import (
    FORMAT,
    RECORD,
    SCANS,
    UNFINISHED,
    digest,
    fingerprint_of,
)
from covidssl.store.unfinished import Plan, whole_records
from covidssl.tensor_files import parse_tensors


class Contents(NamedTuple):
    """What a store holds; see the attributes of `Store`."""

    slices: StoredSlices
    fingerprint: str
    rows: Callable[[], tuple[ManifestRow, ...]]
    missing: tuple[str, ...] = ()


def contents_of(place: Place, partial: bool) -> Contents:
    """What the store at a place holds.

    Raises:
        DataError: as `Store.open`.
    """
    record = _record(place)
    if record is None:
        return _unfinished(place, partial)
    name = place.root.name
    content = place.array(INDEX)
    if content is None:
        raise DataError(f"{name}/{INDEX}: is missing. Run prepare with --resume.")
    fingerprint = record["fingerprint"]
    columns = check_index(parse_tensors(content, f"{name}/{INDEX}"), fingerprint, name)
    whole = Contents(StoredSlices(columns), fingerprint, Manifest(place))
    if not (place.local or partial):
        return whole  # asking a far place for all its scans would take longer than opening
    return _without_lost(place, whole, partial)


@dataclass(frozen=True)
class Manifest:
    """Reads a store's `manifest.csv` when it is called."""

    place: Place

    def __call__(self) -> tuple[ManifestRow, ...]:
        content = self.place.read(MANIFEST)
        if content is None:
            raise DataError(f"{self.place.root.name}/{MANIFEST}: is missing. Run prepare again.")
        return parse_manifest(content, self.place.root.name)


@dataclass(frozen=True)
class Rows:
    """Rows that are there already."""

    rows: tuple[ManifestRow, ...]

    def __call__(self) -> tuple[ManifestRow, ...]:
        return self.rows


def _record(place: Place) -> dict[str, Any] | None:
    content = place.read(RECORD)
    if content is None:
        return None
    try:
        record: dict[str, Any] = json.loads(content)
    except ValueError:
        raise DataError(f"{place.root}/{RECORD}: is damaged; run prepare with --resume.") from None
    if record.get("format") != FORMAT:
        raise DataError(
            f"{place.root}: store format {record.get('format')}, this version reads {FORMAT}. "
            f"Prepare the scans again, into another folder or with --overwrite."
        )
    return record


def _unfinished(place: Place, partial: bool) -> Contents:
    name = place.root
    content = place.read(UNFINISHED)
    if content is None:
        raise DataError(f"{name}: is no prepared store (no {RECORD}); make one with prepare.")
    plan = Plan.read(content, place.root.name)
    records = whole_records(place, plan)
    missing = tuple(scan for scan in plan.keys if scan not in records)
    if not partial:
        raise DataError(f"{name}: {_state(plan, missing)}")
    listed = plan.listed(records)
    least = float(plan.options["min_lung_share"])
    slices = StoredSlices(columns_of(listed, least))
    rows = Rows(plan.rows(records))
    return Contents(slices, fingerprint_of(listed, least), rows, missing)


def _state(plan: Plan, missing: tuple[str, ...]) -> str:
    allowed = "or take what is there (--allow-unfinished)."
    if not missing and plan.options["policy"] == "strict":
        return (
            f"an unfinished store: all scans were read, and some are not as policy=strict asks; "
            f"run prepare with --resume --set policy=skip, {allowed}"
        )
    return (
        f"an unfinished store: {len(missing)} of {len(plan.keys)} scans are missing; run prepare "
        f"with --resume to finish it, {allowed}"
    )


def _without_lost(place: Place, whole: Contents, partial: bool) -> Contents:
    slices = whole.slices
    lost = slices.lost(place.entries(SCANS)).tolist()
    if not lost:
        return whole
    missing = tuple(slices.scan_name(number) for number in lost)
    planned = len(slices.columns["pixels"])
    if not partial:
        raise DataError(
            f"{place.root.name}: {len(missing)} of {planned} scans are missing, such as "
            f"'{missing[0]}'. Run prepare with --resume, or take what is there "
            f"(--allow-unfinished)."
        )
    fingerprint = digest(f"{whole.fingerprint} without {sorted(missing)}")
    return Contents(slices.without(lost), fingerprint, whole.rows, missing)
