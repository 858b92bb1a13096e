"""What is known of one scan once it has been read, whatever became of it."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from covidssl.box import Box
from covidssl.errors import DataError
from covidssl.manifest import USED, ManifestRow

FORMAT = 2
RECORD, UNFINISHED, JOURNAL = "store.json", "unfinished.json", "journal.jsonl"
SCANS = "scans"
SHORT = 24
"""Hexadecimal digits in the name of a scan's group."""

_MENDS = "repair"


def no_shares() -> array[float]:
    """Of a scan that could not be read."""
    return array("d")


@dataclass(frozen=True)
class ScanRecord:
    """What reading one scan gave: from it and the options its row in the manifest follows.

    Attributes:
        key: hash of name, source files' sizes and times, and of the options that the voxels and
            the mask depend on: says whether reading the scan again would give the same.
        row: its row in the manifest as far as the scan alone decides it.
        policy: what was to be done with defects when it was read.
        shares: lung area / picture area of every slice; empty when it could not be read. An array,
            since a tuple of as many numbers takes four times the memory.
        box: of the lungs over the whole scan, in pixels; None when its slices are not kept.
        mask: SHA-256 of the lung mask; empty when its slices are not kept.
        sizes: bytes of the files of voxels and of masks, likewise.
    """

    key: str
    row: ManifestRow
    policy: str
    shares: array[float] = field(default_factory=no_shares)
    box: Box | None = None
    mask: str = ""
    sizes: tuple[int, int] = (0, 0)

    @property
    def kept(self) -> bool:
        """Whether the scan has a group in the store, be its slices listed or not."""
        return self.box is not None

    def serves(self, key: str, policy: str) -> bool:
        """Whether reading the scan now would give the same record.

        A scan that nothing was mended of is the same under every policy. One that could not be
        read might be mended, or fail for another reason, where mending is allowed.
        """
        if key != self.key:
            return False
        mended = self.row.repairs != "" or self.row.status == "failed"
        return not mended or (policy == _MENDS) == (self.policy == _MENDS)

    def listed(self, min_lung_share: float) -> ManifestRow:
        """The scan's row in the manifest of a store with this least share of lung."""
        enough = int(np.count_nonzero(np.asarray(self.shares) >= min_lung_share))
        if self.row.status not in USED:
            return replace(self.row, slices_with_lung=enough if self.shares else None)
        if enough:
            return replace(self.row, slices_with_lung=enough)
        best = max(self.shares, default=0.0)
        verdict = f"too little lung: {best:.1%} of the best slice is below the store's least"
        return replace(
            self.row, status="dropped", verdict=verdict, code="little_lung", slices_with_lung=0
        )

    def as_json(self) -> dict[str, Any]:
        """The record as plain values."""
        return {**asdict(self), "shares": list(self.shares)}

    @classmethod
    def from_json(cls, values: dict[str, Any], name: str) -> ScanRecord:
        """The record of plain values.

        Raises:
            DataError: when they are none; `name` names the file.
        """
        try:
            box = values["box"]
            return cls(
                key=values["key"],
                row=ManifestRow(**values["row"]),
                policy=values["policy"],
                shares=array("d", values["shares"]),
                box=None if box is None else Box(*box),
                mask=values["mask"],
                sizes=(int(values["sizes"][0]), int(values["sizes"][1])),
            )
        except (KeyError, TypeError, ValueError, IndexError):
            raise DataError(f"{name}: holds no scan of this version. Prepare again.") from None


def digest(text: str) -> str:
    """SHA-256 of a text, as hexadecimal text."""
    return hashlib.sha256(text.encode()).hexdigest()


def short_name(scan: str) -> str:
    """What a scan's files in the store are called: 24 hexadecimal digits of its name's hash."""
    return digest(scan)[:SHORT]


def group_of(scan: str) -> str:
    """The scan's group in the store."""
    return f"{SCANS}/{short_name(scan)}"


def fingerprint_of(records: Iterable[ScanRecord], min_lung_share: float) -> str:
    """Changes with any voxel, mask, spacing or name of what is listed, and with nothing else."""
    whole = hashlib.sha256(json.dumps([FORMAT, min_lung_share]).encode())
    for record in records:
        row = record.listed(min_lung_share)
        if row.stored:
            edges = [row.spacing_z_mm, row.spacing_y_mm, row.spacing_x_mm]
            content = [row.scan, row.fingerprint, record.mask, edges]
            whole.update(json.dumps(content).encode())
    return whole.hexdigest()
