"""Frames that are volumes: the lungs and nothing of the file, along the body too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from covidssl.box import Box, Region, lungs_region
from covidssl.clean_slices import (
    StoredFrames,
    StoredVolumes,
    open_slices,
    stored_pictures,
)
from covidssl.commands import pack, prepare
from covidssl.datasets import read_dataset
from covidssl.errors import DataError, ScanError, UsageError
from covidssl.experiments import PackConfig, PrepareConfig
from covidssl.frames import ADULT_LUNGS_HEIGHT_MM, Frame, frame_volume, places_along
from covidssl.hounsfield import Pixels
from covidssl.io import read_ct, write_volume
from covidssl.labelled_frames import load_labelled_frames
from covidssl.lesions import LesionRanges
from covidssl.lungs import Lungs, segment_lungs
from covidssl.phantom import PhantomScan, phantom_chest
from covidssl.pretext import CleanSlices, PerlinPretext, Setting, corrupt
from covidssl.scan_frames import LEAST_SLICES, frames_of_scan
from covidssl.store import Store
from covidssl.training import Share
from covidssl.volume import Volume
from tests.scan_files import chest_grey, write_png

SHAPE, SPACING = (16, 72, 72), (14.0, 4.8, 4.8)
FRAME = Frame(size=32, depth=12, pixels=Pixels.HU)


def phantom(seed: int = 0, slices: int = 16) -> PhantomScan:
    return phantom_chest(seed, False, (slices, *SHAPE[1:]), SPACING)


def lungs_of(scan: PhantomScan) -> Lungs:
    mask = scan.lungs
    return Lungs(mask, mask.array.mean(axis=(1, 2)).astype(np.float32), None)


def ramp(slices: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    """HU that rise by 10 from slice to slice."""
    return np.broadcast_to(-900 + 10 * np.arange(slices)[:, None, None], (slices, 40, 40)).astype(
        np.int16
    )


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Two scans that are volumes, and one of too few slices."""
    root = tmp_path_factory.mktemp("volumes")
    for seed, slices in ((0, 16), (1, 20), (2, 5)):
        write_volume(phantom(seed, slices).ct, root / "scans" / f"p{seed}.nii.gz")
    prepare.main(PrepareConfig(), [root / "scans"], root / "store")
    return Store.open(root / "store")


def test_a_volume_goes_about_the_lungs_with_a_margin_along_the_body_too() -> None:
    lungs = Region(range(20, 70), Box(40, 60, 20, 60))
    frame = Frame(depth=32, margin=0.1)
    assert frame.region(lungs, (100, 100, 100)) == Region(range(15, 75), Box(38, 62, 16, 64))
    assert frame.region(lungs, (72, 100, 100)).slices == range(15, 72)
    whole = Region(range(100), Box(0, 90, 0, 80))
    for one, found in ((frame, None), (Frame(depth=32, crop="none"), lungs)):
        assert one.region(found, (100, 90, 80)) == whole


def test_the_region_of_a_mask_is_the_block_around_it() -> None:
    mask = np.zeros((9, 20, 30), dtype=bool)
    assert lungs_region(mask) is None
    mask[3, 5, 6] = mask[7, 8, 20] = True
    assert lungs_region(mask) == Region(range(3, 8), Box(5, 9, 6, 21))


def test_voxels_of_a_frame_are_as_large_as_what_they_show() -> None:
    frame = Frame(size=50, depth=25)
    region = Region(range(10, 60), Box(0, 100, 0, 200))
    lungs = Region(range(15, 55), Box(10, 90, 10, 190))
    assert frame.voxel_mm(region, lungs, 3.0, (1.0, 0.5)) == (6.0, 2.0, 2.0)
    z, y, x = frame.voxel_mm(region, lungs, None, None)
    assert z == ADULT_LUNGS_HEIGHT_MM / 40 * 50 / 25
    assert y == 270 / 180 * 100 / 50
    assert x == 2 * y


@pytest.mark.parametrize("slices", [6, 12, 31, 97])
def test_planes_lie_evenly_over_the_slices_whatever_their_number(slices: int) -> None:
    region = Region(range(slices), Box(0, 40, 0, 40))
    planes = frame_volume(ramp(slices), Pixels.HU, region, FRAME)[:, 16, 16] / 65535 * 1400 - 1000
    places = (planes + 900) / 10
    wanted = (np.arange(12) + 0.5) * slices / 12 - 0.5
    np.testing.assert_allclose(places[1:-1], wanted[1:-1], atol=0.12 * max(slices / 12, 1))
    assert np.abs(places_along(range(slices), 12) - wanted.clip(0, slices - 1)).max() <= 0.5


def test_many_slices_are_blurred_along_the_body_before_they_are_left_out() -> None:
    """Every second slice is air, every second one soft tissue: what is left is their mean."""
    scan = np.zeros((96, 40, 40), dtype=np.int16)
    scan[::2] = -1000
    planes = frame_volume(scan, Pixels.HU, Region(range(96), Box(0, 40, 0, 40)), FRAME)
    middle = planes[1:-1] / 65535 * 1400 - 1000
    assert np.abs(middle + 500).max() < 20


def test_a_scan_becomes_one_volume_with_its_lungs_and_the_slices_that_it_shows() -> None:
    found = frames_of_scan(phantom().ct, lungs_of(phantom()), FRAME)
    assert found.frames.shape == found.lungs.shape == (1, 12, 32, 32)
    assert found.frames.dtype == np.uint16
    assert found.slices.shape == (12,)
    assert list(found.slices) == sorted(found.slices)
    assert found.warnings == ()
    share = phantom().lungs.array[found.slices].mean(axis=(1, 2))
    assert np.corrcoef(share, found.lungs[0].mean(axis=(1, 2)))[0, 1] > 0.98


def test_without_usable_lungs_the_whole_scan_is_taken_with_a_warning() -> None:
    nowhere = phantom().ct.mask(np.zeros(SHAPE, dtype=bool))
    lungs = Lungs(nowhere, np.zeros(16, dtype=np.float32), "no lung found")
    found = frames_of_scan(phantom().ct, lungs, FRAME)
    assert found.box == Box(0, 72, 0, 72)
    assert list(found.slices[[0, -1]]) == [0, 15]
    assert found.warnings == ("lungs not found (no lung found): the whole scan was taken",)


@pytest.mark.parametrize(
    ("slices", "z_mm", "code", "said"),
    [
        (16, 2.0, "slab", "a thin slab: 16 slices over 32 mm"),
        (5, 2.0, "slab", "a thin slab: 5 slices over 10 mm"),
        (5, 40.0, "few_planes", "5 slices of lung over 200 mm, expected 8 or more"),
    ],
)
def test_a_thin_slab_or_a_few_slices_are_told_with_their_extent(
    slices: int, z_mm: float, code: str, said: str
) -> None:
    ct = Volume(ramp(slices), Pixels.HU, (z_mm, 5.0, 5.0))
    mask = ct.mask(np.ones(ct.array.shape, dtype=bool))
    found = frames_of_scan(ct, Lungs(mask, np.ones(slices, np.float32), None), FRAME)
    (warning,) = found.warnings
    assert warning.startswith(said)
    assert warning.code == code


def test_a_single_slice_never_reaches_a_network_of_volumes() -> None:
    ct = Volume(ramp(1), Pixels.HU, source="one.png")
    lungs = Lungs(ct.mask(np.ones(ct.array.shape, bool)), np.ones(1, np.float32), None)
    with pytest.raises(ScanError, match=r"one\.png: is a single slice.*volumes of 12 slices"):
        frames_of_scan(ct, lungs, FRAME)


def test_a_store_gives_a_volume_a_scan_and_says_what_it_leaves_out(store: Store) -> None:
    found = stored_pictures(store, FRAME)
    assert isinstance(found, StoredVolumes)
    assert (len(found), found.left_out, found.words) == (2, 1, "volumes")
    frames, lungs, voxel_mm = found[1]
    assert frames.shape == lungs.shape == (1, 12, 32, 32)
    assert voxel_mm.shape == (3,)
    assert found[1].frames is frames
    assert found.spread(2).frames.shape == (2, 1, 12, 32, 32)
    assert isinstance(stored_pictures(store, Frame(size=32, pixels=Pixels.HU)), StoredFrames)


def test_a_store_gives_the_very_frame_that_prediction_cuts(store: Store) -> None:
    folder = Path(store.folder).parent / "scans"
    for place, name in enumerate(("p0", "p1")):
        ct = read_ct(folder / f"{name}.nii.gz")
        cut = frames_of_scan(ct, segment_lungs(ct), FRAME)
        stored = StoredVolumes(store, FRAME)[place]
        assert np.array_equal(stored.frames, cut.frames)
        assert np.array_equal(stored.lungs, cut.lungs)
        extent = stored.pixel_mm * torch.tensor(FRAME.shape)
        assert float(extent[0]) == pytest.approx(len(ct.array) * 14.0, abs=29)
        assert float(extent[2]) == pytest.approx((cut.box.right - cut.box.left) * 4.8, rel=1e-5)


def test_single_pictures_are_no_volumes_to_learn_from(tmp_path: Path) -> None:
    for k in range(3):
        write_png(tmp_path / "scans" / f"{k}.png", chest_grey(96, seed=k))
    prepare.main(PrepareConfig(), [tmp_path / "scans"], tmp_path / "store")
    windowed = FRAME.model_copy(update={"pixels": Pixels.WINDOWED})
    with pytest.raises(DataError, match=f"not one of 3 scans shows lung in {LEAST_SLICES} slices"):
        StoredVolumes(Store.open(tmp_path / "store"), windowed)


def test_a_pack_holds_slices_and_says_so(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a pack holds slices"):
        pack.main(PackConfig(frame=FRAME), store.folder.as_posix(), tmp_path / "p.safetensors")
    flat = PackConfig(frame=Frame(size=32))
    pack.main(flat, store.folder.as_posix(), tmp_path / "p.safetensors")
    with pytest.raises(UsageError, match="give the prepared store"):
        stored_pictures(open_slices(tmp_path / "p.safetensors"), FRAME)


def test_lesions_of_a_stored_volume_go_on_from_plane_to_plane(store: Store) -> None:
    volumes = StoredVolumes(store, Frame(size=48, depth=40, pixels=Pixels.HU)).spread(2)
    several = CleanSlices(*(part.repeat(4, *[1] * (part.ndim - 1)) for part in volumes))
    plan = PerlinPretext(lesions=LesionRanges(clean_share=0, radius_mm=(25, 40)))
    batch, _ = corrupt(several, plan, Setting((-1000, 400), 3, 0), Share(0, 0, 8))
    lesion = (batch.lesion[:, 0] > 0.5).flatten(2)

    def overlap(step: int) -> float:
        """Dice of the lesions of planes so far apart."""
        one, other = lesion[:, step:], lesion[:, :-step]
        return float(2 * (one & other).sum() / (one.sum() + other.sum()))

    assert lesion.any()
    assert overlap(1) > 0.7
    assert overlap(1) > overlap(4) + 0.15


def test_labelled_scans_become_one_volume_each_known_by_the_same_prints(tmp_path: Path) -> None:
    for k, name in enumerate(("COVID", "normal")):
        write_volume(phantom(k).ct, tmp_path / "set" / name / f"p{k}.nii.gz")
    scans = read_dataset(tmp_path / "set", "COVID").scans
    flat = load_labelled_frames(scans, Frame(size=32, pixels=Pixels.HU), 6, tmp_path / "cache")
    for _ in range(2):  # cut, then from the cache
        found = load_labelled_frames(scans, FRAME, 6, tmp_path / "cache")
        assert found.frames.shape == (2, 12, 32, 32)
        assert list(found.scan_of) == [0, 1]
        assert list(found.target) == [1, 0]
        assert found.voxels == flat.voxels
        assert np.array_equal(found.hashes, flat.hashes)
        assert np.array_equal(found.thumbnails, flat.thumbnails)
    assert len(list((tmp_path / "cache").iterdir())) == 2
