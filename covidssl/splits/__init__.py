"""Who trains, who validates, who tests: decided, checked for leaks, and written down."""

from covidssl.splits.dealing import check_splits, split_dataset, take_fraction
from covidssl.splits.file import (
    SplitNotes,
    SplitRecord,
    read_split_file,
    read_splits,
    splits_fingerprint,
    write_split_files,
    write_splits,
)
from covidssl.splits.gate import (
    Proposed,
    propose,
    refuse_leaks,
    refuse_patients_in_two_splits,
    settle,
)
from covidssl.splits.leaks import Leak, SetAside, leakage_in_words, leaks, set_aside
from covidssl.splits.plan import Assigned, SplitPlan, group_kind
from covidssl.splits.prints import Prints

__all__ = [
    "Assigned",
    "Leak",
    "Prints",
    "Proposed",
    "SetAside",
    "SplitNotes",
    "SplitPlan",
    "SplitRecord",
    "check_splits",
    "group_kind",
    "leakage_in_words",
    "leaks",
    "propose",
    "read_split_file",
    "read_splits",
    "refuse_leaks",
    "refuse_patients_in_two_splits",
    "set_aside",
    "settle",
    "split_dataset",
    "splits_fingerprint",
    "take_fraction",
    "write_split_files",
    "write_splits",
]
