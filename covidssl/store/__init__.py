"""A store of prepared scans: what training reads, and nothing else.

A store is a folder: `store.json` (options and fingerprint, written last), `manifest.csv` (a row for
every scan found), `index.safetensors` (every slice, as columns) and `scans/`, a Zarr group a scan.
"""

from covidssl.store.index import StoredSlice, StoredSlices
from covidssl.store.reading import SlicePixels, Store
from covidssl.store.record import FORMAT, RECORD, UNFINISHED, ScanRecord, digest, group_of

__all__ = [
    "FORMAT",
    "RECORD",
    "UNFINISHED",
    "ScanRecord",
    "SlicePixels",
    "Store",
    "StoredSlice",
    "StoredSlices",
    "digest",
    "group_of",
]
