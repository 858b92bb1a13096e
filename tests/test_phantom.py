"""The phantom: a chest CT that a reader takes, with two classes that mean density cannot tell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from covidssl.hounsfield import Pixels
from covidssl.io import read_ct
from covidssl.lungs import segment_lungs
from covidssl.phantom import PhantomScan, phantom_chest, write_labelled, write_unlabelled


@pytest.fixture(scope="module")
def cohort() -> list[PhantomScan]:
    """Sixty patients, every second one with lesions."""
    return [phantom_chest(seed, lesions=seed % 2 == 1) for seed in range(60)]


def hu_of(scan: PhantomScan) -> NDArray[np.int16]:
    return np.asarray(scan.ct.array, dtype=np.int16)


def lungs_of(scan: PhantomScan) -> NDArray[np.bool_]:
    return np.asarray(scan.lungs.array, dtype=bool)


def mean_lung_hu(scan: PhantomScan) -> float:
    return float(hu_of(scan)[lungs_of(scan)].mean())


def local_contrast(scan: PhantomScan) -> float:
    """Spread of the lung's density after smoothing over 12 mm, vessels and noise clipped away."""
    lungs = lungs_of(scan).astype(np.float32)
    density = np.clip(hu_of(scan).astype(np.float32), -1000, -300) * lungs
    weight = ndimage.uniform_filter(lungs, (1, 5, 5))
    smooth: NDArray[np.float32] = ndimage.uniform_filter(density, (1, 5, 5)) / (weight + 0.05)
    return float(smooth[ndimage.binary_erosion(lungs > 0)].std())


def test_mean_lung_density_does_not_tell_the_classes(cohort: list[PhantomScan]) -> None:
    label = [seed % 2 for seed in range(60)]
    assert 0.35 < roc_auc_score(label, [mean_lung_hu(scan) for scan in cohort]) < 0.65
    assert 0.3 < roc_auc_score(label, [scan.ct.array.mean() for scan in cohort]) < 0.7


def test_lung_size_does_not_tell_the_classes(cohort: list[PhantomScan]) -> None:
    label = [seed % 2 for seed in range(60)]
    assert 0.3 < roc_auc_score(label, [scan.lungs.array.mean() for scan in cohort]) < 0.7


def test_local_contrast_tells_the_classes(cohort: list[PhantomScan]) -> None:
    label = [seed % 2 for seed in range(60)]
    assert roc_auc_score(label, [local_contrast(scan) for scan in cohort]) > 0.9


def test_lesions_lie_in_the_lungs_and_in_one_class_alone(cohort: list[PhantomScan]) -> None:
    for seed, scan in enumerate(cohort):
        share = scan.lesion.sum() / lungs_of(scan).sum()
        assert not (scan.lesion & ~lungs_of(scan)).any()
        assert (0.01 < share < 0.4) if seed % 2 else share == 0


def test_lesions_are_denser_than_the_lung_about_them(cohort: list[PhantomScan]) -> None:
    for scan in cohort[1::2]:
        rest = lungs_of(scan) & ~scan.lesion
        hu = hu_of(scan)
        assert np.median(hu[scan.lesion]) > np.median(hu[rest]) + 100


def test_lesions_prefer_the_lower_and_the_back_part(cohort: list[PhantomScan]) -> None:
    lower = upper = back = front = 0
    for scan in cohort[1::2]:
        # Against the lungs, which are not the same above and below.
        z, y, _ = np.nonzero(scan.lungs.array)
        middle_z, middle_y = np.median(z), np.median(y)
        at_z, at_y, _ = np.nonzero(scan.lesion)
        lower, upper = lower + (at_z < middle_z).sum(), upper + (at_z > middle_z).sum()
        back, front = back + (at_y > middle_y).sum(), front + (at_y < middle_y).sum()
    assert lower > 1.2 * upper
    assert back > 1.2 * front


def test_phantom_has_the_densities_of_a_chest(cohort: list[PhantomScan]) -> None:
    for scan in cohort[:8]:
        hu = hu_of(scan)
        middle = hu[len(hu) // 2]
        assert scan.ct.array.dtype == np.int16
        assert hu.min() >= -1024
        assert -900 < mean_lung_hu(scan) < -700
        assert hu.max() > 350  # cortical bone
        assert ((middle > -130) & (middle < -60)).mean() > 0.02  # fat
        assert ((middle > 0) & (middle < 110)).mean() > 0.03  # muscle
        assert (hu[:, 0] < -850).all()  # air before the patient


def test_lungs_are_aerated_and_on_both_sides(cohort: list[PhantomScan]) -> None:
    for scan in cohort:
        lungs = lungs_of(scan)
        half = lungs.shape[2] // 2
        left, right = lungs[..., half:].sum(), lungs[..., :half].sum()
        assert 0.6 < left / right < 1.1  # the heart takes its room on the left
        assert 0.08 < lungs.mean() < 0.3
        assert np.median(hu_of(scan)[lungs]) < -750


def test_heart_lies_on_the_patients_left_and_liver_on_the_right() -> None:
    scan = phantom_chest(0, lesions=False)
    low = scan.lungs.array[3]
    half = low.shape[1] // 2
    assert low[:, half:].sum() < low[:, :half].sum()
    # Columns run to the patient's left, rows to the back, slices to the head (LPS).
    assert scan.ct.affine is not None
    assert (np.diag(scan.ct.affine)[:3] == (2.4, 2.4, 8.0)).all()
    assert scan.ct.pixels is Pixels.HU


def test_our_lung_segmentation_finds_the_lungs(cohort: list[PhantomScan]) -> None:
    for scan in cohort[:6]:
        found = segment_lungs(scan.ct)
        assert found.problem is None
        both = (np.asarray(found.mask.array, dtype=bool) & lungs_of(scan)).sum()
        assert 2 * both / (found.mask.array.sum() + scan.lungs.array.sum()) > 0.93


def test_same_seed_same_scan_other_seed_other_person() -> None:
    one, again, other = (phantom_chest(seed, lesions=True) for seed in (5, 5, 6))
    assert np.array_equal(one.ct.array, again.ct.array)
    assert np.array_equal(one.lesion, again.lesion)
    assert not np.array_equal(one.lungs.array, other.lungs.array)


def test_both_classes_of_a_seed_are_one_person() -> None:
    ill, well = phantom_chest(5, lesions=True), phantom_chest(5, lesions=False)
    assert np.array_equal(ill.lungs.array, well.lungs.array)
    assert not np.array_equal(ill.ct.array, well.ct.array)


@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [((1, 96, 96), (8.0, 3.5, 3.5)), ((20, 80, 120), (5.0, 3.0, 3.0)), ((3, 40, 40), (9.0, 9, 9))],
)
def test_other_grids_hold_a_chest_too(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> None:
    scan = phantom_chest(3, True, shape, spacing_mm)
    assert scan.ct.array.shape == scan.lesion.shape == shape
    assert scan.ct.spacing_mm == spacing_mm
    assert scan.lungs.array.mean() > 0.05


def test_unlabelled_cohort_is_numbered_and_read_back(tmp_path: Path) -> None:
    paths = write_unlabelled(tmp_path / "scans", n=2, seed=4)
    assert [path.name for path in paths] == ["patient-001.nii.gz", "patient-002.nii.gz"]
    one, two = (read_ct(path) for path in paths)
    expected = phantom_chest(4 * 1_000_003, lesions=False).ct
    np.testing.assert_array_equal(one.array, expected.array)
    assert one.affine is not None
    assert expected.affine is not None
    assert np.abs(one.affine - expected.affine).max() < 1e-4
    assert not np.array_equal(one.array, two.array)


def test_labelled_cohort_has_a_folder_a_class_and_nobody_twice(tmp_path: Path) -> None:
    paths = write_labelled(tmp_path, n_per_class=2, seed=4)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "COVID/patient-001.nii.gz",
        "COVID/patient-002.nii.gz",
        "non-COVID/patient-003.nii.gz",
        "non-COVID/patient-004.nii.gz",
    ]
    scans = [read_ct(path).array for path in paths]
    np.testing.assert_array_equal(scans[0], phantom_chest(4 * 1_000_003, lesions=True).ct.array)
    assert len({scan.tobytes() for scan in scans}) == 4


def test_labelled_and_unlabelled_cohorts_of_two_seeds_share_nobody(tmp_path: Path) -> None:
    first = write_unlabelled(tmp_path / "a", n=2, seed=0)
    second = write_unlabelled(tmp_path / "b", n=2, seed=1)
    contents = {read_ct(path).array.tobytes() for path in (*first, *second)}
    assert len(contents) == 4
