"""Maps are small on their way, the same every time, and written whole or not at all."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from covidssl.answers import Answer, Outcome
from covidssl.box import Box
from covidssl.errors import NoRoomError
from covidssl.hounsfield import Pixels
from covidssl.maps import Planes, ScanMaps, write_maps
from covidssl.volume import Volume
from tests.maps.made_maps import Looked, Said, chest, lungs_as_known, said_of, untaught

UPRIGHT = np.diag([2.0, 2.0, 4.0, 1.0])


def said() -> Said:
    made = chest()
    ct = Volume(made.hu, Pixels.HU, (4.0, 2.0, 2.0), UPRIGHT)
    return said_of(ct, made.lungs, untaught())


def read(path: Path) -> Any:
    return nibabel.load(path)


def test_the_same_scan_gives_the_same_files_byte_for_byte(tmp_path: Path) -> None:
    first, again = (write_maps(tmp_path / name, "it", said()).paths for name in ("a", "b"))
    assert (
        first
        == again
        == {
            "lesion_map": "maps/it-lesions.nii.gz",
            "evidence_map": "maps/it-evidence.nii.gz",
        }
    )
    for path in first.values():
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()


def test_a_byte_a_voxel_holds_the_values_of_the_frames(tmp_path: Path) -> None:
    """The lesion map within the lungs alone; the evidence 0 where nothing is known."""
    made, answered = chest(), said()
    files = write_maps(tmp_path, "it", answered).paths
    lesion, evidence = (read(tmp_path / path) for path in files.values())
    maps = answered.maps
    assert maps is not None
    assert maps.lesion is not None
    for image in (lesion, evidence):
        assert image.get_data_dtype() == np.uint8
        assert np.array_equal(image.affine, np.diag([-2.0, -2.0, 4.0, 1.0]))
    values = lesion.get_fdata().T
    assert not values[~made.lungs].any()
    assert values.max() == pytest.approx(float(maps.lesion.max()), abs=0.05)
    spread = evidence.get_fdata().T
    box = maps.box
    outside = np.ones(spread.shape[1:], dtype=bool)
    outside[box.top : box.bottom, box.left : box.right] = False
    assert not spread[:, outside].any()
    for one, of in zip(maps.slices, maps.evidence, strict=True):
        shown = spread[one, box.top : box.bottom, box.left : box.right]
        assert shown.mean() * 32**2 == pytest.approx(float(of.sum()), rel=0.1, abs=0.02)


def test_between_the_slices_that_were_looked_at_the_evidence_is_interpolated(
    tmp_path: Path,
) -> None:
    answered = said()
    maps = answered.maps
    assert maps is not None
    low, high = (int(one) for one in maps.slices[1:3])
    assert high - low >= 3
    path = write_maps(tmp_path, "it", answered).paths["evidence_map"]
    values = read(tmp_path / path).get_fdata().T
    share = 1 / (high - low)
    between = (1 - share) * values[low] + share * values[high]
    step = float(np.abs(values).max()) / 127
    assert np.abs(values[low + 1] - between).max() <= 1.01 * step


def test_an_answer_without_maps_has_no_files(tmp_path: Path) -> None:
    assert write_maps(tmp_path, "it", said()._replace(maps=None)) == ({}, ())
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_no_half_of_a_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    answered = said()
    monkeypatch.setattr(gzip.GzipFile, "write", full)
    with pytest.raises(NoRoomError):
        write_maps(tmp_path, "it", answered)
    assert not list((tmp_path / "maps").iterdir())


def test_writing_maps_takes_less_memory_than_twice_the_scan(tmp_path: Path) -> None:
    shape = (120, 190, 200)
    ct = Volume(np.zeros(shape, dtype=np.int16), Pixels.HU, (2.0, 1.0, 1.0), UPRIGHT)
    lungs = np.zeros(shape, dtype=bool)
    lungs[10:110, 40:150, 30:170] = True
    values = np.random.default_rng(0).random((50, 32, 32), dtype=np.float32)
    planes = Planes(values, np.linspace(10, 109, 50))
    maps = ScanMaps(
        np.arange(10, 110, 2), Box(20, 170, 10, 190), values, values, None, planes, planes, 0.15
    )
    answer = Answer(scan="scan", outcome=Outcome.OK)
    answered = Said(Looked(ct, lungs_as_known(ct, lungs)), answer, maps)
    tracemalloc.start()
    try:
        write_maps(tmp_path, "it", answered)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * ct.array.nbytes
