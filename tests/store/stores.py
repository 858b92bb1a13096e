"""Small sources and stores for the tests of stores."""

from __future__ import annotations

from pathlib import Path

from covidssl.io import find_scans
from covidssl.preparing import Engine, Job, StoreOptions, prepare_store
from covidssl.store import Store
from tests.scan_files import chest_hu, lps_nifti, write_dicom

EDGE = 96


def fill(source: Path) -> Path:
    """Three scans that can be used, one with no lung, one broken."""
    write_dicom(source / "series", chest_hu(6, EDGE))
    lps_nifti(source / "b" / "scan.nii.gz", chest_hu(5, EDGE, seed=1))
    lps_nifti(source / "two.nii", chest_hu(2, EDGE, seed=2))
    empty = chest_hu(4, EDGE)
    empty[:, 20:-20, 12:-12] = 40
    lps_nifti(source / "nolung.nii", empty)
    (source / "broken.nii").write_bytes(b"no scan")
    return source


def prepare(
    source: Path,
    out: Path,
    options: StoreOptions | None = None,
    resume: bool = False,
    engine: Engine | None = None,
) -> Store:
    job = Job(out, options or StoreOptions())
    return prepare_store(job, find_scans([source]).scans, resume, engine)


def groups_written(out: Path) -> dict[str, int]:
    """When each scan's group was written, in nanoseconds."""
    return {
        path.name: (path / "pixels" / "c.0.0.0").stat().st_mtime_ns
        for path in (out / "scans").iterdir()
    }
