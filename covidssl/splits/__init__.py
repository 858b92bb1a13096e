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
    refuse_early,
    refuse_leaks,
    settle,
)
from covidssl.splits.leaks import Leak, SetAside, leakage_in_words, leaks, set_aside
from covidssl.splits.learnt import (
    LEARNT_FROM,
    UNKNOWN,
    Learnt,
    Overlap,
    StartsFrom,
    learnt_from,
    overlap,
)
from covidssl.splits.learnt_file import read_learnt, save_learnt
from covidssl.splits.plan import Assigned, SplitPlan, group_kind
from covidssl.splits.prints import Prints
from covidssl.splits.runs import (
    blocks_for,
    groups_of_scans,
    in_runs,
    of_nobody_known,
    widest_gap,
)

__all__ = [
    "LEARNT_FROM",
    "UNKNOWN",
    "Assigned",
    "Leak",
    "Learnt",
    "Overlap",
    "Prints",
    "Proposed",
    "SetAside",
    "SplitNotes",
    "SplitPlan",
    "SplitRecord",
    "StartsFrom",
    "blocks_for",
    "check_splits",
    "group_kind",
    "groups_of_scans",
    "in_runs",
    "of_nobody_known",
    "leakage_in_words",
    "leaks",
    "learnt_from",
    "overlap",
    "propose",
    "read_split_file",
    "read_splits",
    "refuse_early",
    "refuse_leaks",
    "set_aside",
    "settle",
    "split_dataset",
    "splits_fingerprint",
    "take_fraction",
    "widest_gap",
    "write_split_files",
    "write_splits",
    "read_learnt",
    "save_learnt",
]
