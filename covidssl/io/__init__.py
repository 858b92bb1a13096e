"""Scans in and out of files: the one place that knows formats, axis orders and headers."""

from covidssl.io.find import Found, ScanFiles, find_scans, natural_order
from covidssl.io.nifti import write_volume
from covidssl.io.read import read_ct, read_mask, read_scan

__all__ = [
    "Found",
    "ScanFiles",
    "find_scans",
    "natural_order",
    "read_ct",
    "read_mask",
    "read_scan",
    "write_volume",
]
