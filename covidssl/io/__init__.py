"""Scans in and out of files: the one place that knows formats, axis orders and headers."""

from covidssl.io.choice import Choice, choose_series
from covidssl.io.find import find_scans
from covidssl.io.found import Found, ScanFiles, natural_order
from covidssl.io.nifti import volume_bytes, write_volume
from covidssl.io.read import read_ct, read_map, read_mask, read_scan
from covidssl.io.reading import Policy, Reading

__all__ = [
    "Choice",
    "Found",
    "Policy",
    "Reading",
    "ScanFiles",
    "choose_series",
    "find_scans",
    "natural_order",
    "read_ct",
    "read_map",
    "read_mask",
    "read_scan",
    "volume_bytes",
    "write_volume",
]
