"""Loads all readers and makes all good files, in the process that workers are forked from."""

from __future__ import annotations

import os

# Threads of theirs would take address space, and none survives a fork.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import nibabel  # noqa: E402, F401
import SimpleITK as sitk  # noqa: E402

from tests.fuzz.good import FORMATS, good_files  # noqa: E402
from tests.fuzz.reading import run  # noqa: E402, F401

sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
for _format in FORMATS:
    good_files(_format)
