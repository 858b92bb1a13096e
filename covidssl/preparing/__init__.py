"""Filling a store: every scan found is read, segmented and written, once.

A scan is there whole or not at all, so that a stopped `prepare` goes on where it was. No path
outside the store, and nothing from a header but geometry and pseudonyms, is written.
"""

from covidssl.preparing.engines import Engine, records_of
from covidssl.preparing.estimate import Estimate, estimated
from covidssl.preparing.one_scan import Job, StoreOptions, prepare_scan
from covidssl.preparing.writer import StoreWriter, prepare_store

__all__ = [
    "Engine",
    "Estimate",
    "Job",
    "StoreOptions",
    "StoreWriter",
    "estimated",
    "prepare_scan",
    "prepare_store",
    "records_of",
]
