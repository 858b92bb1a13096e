"""A corruption does what its unit says, whatever the size of a pixel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from covidssl.altering import DoesNotApplyError, Opened, altered
from covidssl.hounsfield import Pixels
from covidssl.lungs import segment_lungs
from covidssl.robustness.grey import scaled_hu, shifted_hu, shifted_level
from covidssl.robustness.kinds import KINDS, SEVERITIES, Corruption
from covidssl.robustness.moving import breathing, moved, narrower
from covidssl.robustness.noise import added_noise_hu, lower_dose
from covidssl.robustness.scale import scale_of
from covidssl.robustness.sharpness import sharper, smoother, thicker
from covidssl.volume import Volume
from tests.robustness.scans import KEY, chest, picture, volume, with_lungs
from tests.scan_files import chest_grey

GREY_ONLY = {"level_up", "level_down", "window_width", "jpeg"}
HU_ONLY = {"hu_up", "hu_down", "hu_scale"}
STACKS_ONLY = {"slice_thickness", "breathing"}


def flat(shape: tuple[int, int, int], hu: int = 40) -> NDArray[np.int16]:
    return np.full(shape, hu, dtype=np.int16)


def values(ct: Volume) -> NDArray[np.float64]:
    return ct.array.astype(np.float64)


def kinds_for(scan: Opened) -> set[str]:
    of_pixels = HU_ONLY if scan.ct.pixels is Pixels.WINDOWED else GREY_ONLY
    return set(KINDS) - of_pixels - (STACKS_ONLY if len(scan.ct.array) == 1 else set())


# Units


@pytest.mark.parametrize("dose", KINDS["dose_noise"].amounts)
def test_noise_has_the_stated_hu_where_pixels_show_all_of_it(dose: float) -> None:
    for edge in (0.35, 0.5):
        scan = with_lungs(volume(flat((2, 128, 128)), (5.0, edge, edge)))
        noise = values(lower_dose(scan, dose, KEY)) - 40
        assert noise.std() == pytest.approx(added_noise_hu(dose), rel=0.04)
        assert abs(noise.mean()) < 0.1


def test_pixels_twice_as_large_show_what_lies_below_their_own_limit() -> None:
    """As if the fine picture had been cut at the frequencies of the coarse one."""
    fine, coarse = (
        values(lower_dose(with_lungs(volume(flat((4, n, n)), (5.0, edge, edge))), 0.06, KEY)) - 40
        for n, edge in ((256, 0.5), (128, 1.0))
    )
    power = np.abs(np.fft.fft2(fine)) ** 2 / fine[0].size ** 2
    per_mm = np.abs(np.fft.fftfreq(256, 0.5))
    kept = (per_mm[:, None] < 0.5) & (per_mm[None] < 0.5)
    assert coarse.std() == pytest.approx(np.sqrt((power * kept).sum() / 4), rel=0.03)
    assert coarse.std() < 0.97 * fine.std()


def test_half_the_dose_adds_as_much_noise_as_there_was() -> None:
    assert added_noise_hu(0.5) == 15.0
    assert added_noise_hu(1.0) == 0.0


def test_slices_of_a_quarter_of_the_thickness_have_twice_the_noise() -> None:
    thin, thick = (
        (values(lower_dose(with_lungs(volume(flat((4, 96, 96)), (z, 0.5, 0.5))), 0.25, KEY))).std()
        for z in (1.25, 5.0)
    )
    assert thin == pytest.approx(2 * thick, rel=0.04)


def test_noise_of_ct_is_not_white() -> None:
    scan = with_lungs(volume(flat((1, 256, 256)), (1.0, 0.5, 0.5)))
    noise = values(lower_dose(scan, 0.1, KEY))[0] - 40
    power = np.abs(np.fft.fft2(noise)) ** 2
    per_mm = np.hypot(*np.meshgrid(np.fft.fftfreq(256, 0.5), np.fft.fftfreq(256, 0.5)))

    def of(low: float, high: float) -> float:
        return float(power[(per_mm >= low) & (per_mm < high)].mean())

    peak = of(0.2, 0.4)
    assert of(0.0, 0.03) < 0.2 * peak
    assert of(0.8, 1.0) < 0.05 * peak


def test_slices_have_noise_of_their_own() -> None:
    noise = values(lower_dose(with_lungs(volume(flat((2, 64, 64)))), 0.1, KEY)) - 40
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1


@pytest.mark.parametrize("edge", [0.4, 0.8, 1.0])
def test_blur_has_the_stated_width_whatever_the_pixel(edge: float) -> None:
    array = flat((1, 128, 128), 0)
    array[:, :, 64] = 3000
    for fwhm in (2.0, 4.0):
        line = smoother(with_lungs(volume(array, (1.0, edge, edge))), fwhm, KEY).array[0, 64]
        places = (np.arange(128) - 64) * edge
        width = np.sqrt((line * places**2).sum() / line.sum()) * 2.3548
        assert width == pytest.approx(fwhm, rel=0.05)


def test_blur_knows_that_pixels_need_not_be_square() -> None:
    array = flat((1, 64, 64), 0)
    array[0, 32, 32] = 3000
    point = smoother(with_lungs(volume(array, (1.0, 0.5, 1.0))), 4.0, KEY).array[0]
    assert point[36, 32] == point[32, 34] > 0


@pytest.mark.parametrize("gain", [1.5, 3.0])
def test_sharpening_has_the_stated_gain_whatever_the_pixel(gain: float) -> None:
    for edge in (0.25, 0.5):
        x = np.arange(160) * edge
        wave = np.rint(100 * np.cos(2 * np.pi * 0.5 * x)).astype(np.int16)
        scan = with_lungs(volume(np.tile(wave, (1, 160, 1)), (1.0, edge, edge)))
        after = sharper(scan, gain, KEY).array[0, 80, 40:120].astype(float)
        assert np.ptp(after) / np.ptp(wave) == pytest.approx(gain, rel=0.03)


def test_sharpening_leaves_what_is_even() -> None:
    scan = with_lungs(volume(flat((1, 64, 64))))
    assert (sharper(scan, 4.0, KEY).array == 40).all()


def test_thick_slices_are_means_of_thin_ones_in_the_right_place() -> None:
    array = np.arange(8, dtype=np.int16)[:, None, None] * np.ones((1, 40, 40), np.int16) * 10
    after = thicker(with_lungs(volume(array)), 5.0, KEY)
    assert after.spacing_mm == (5.0, 1.0, 1.0)
    # 5 mm hold two slices of 2 mm and half of the next one.
    assert after.array[:, 0, 0].tolist() == [8, 32, 58]
    assert after.affine is not None
    # The middle of the first 5 mm lies 1.5 mm above the middle of the first 2 mm.
    assert after.affine[:3, 3].tolist() == [0.0, 0.0, 1.5]
    assert after.affine[2, 2] == 5.0


def test_slices_that_are_thick_already_are_not_called_robust() -> None:
    scan = with_lungs(volume(flat((8, 40, 40)), (5.0, 1.0, 1.0)))
    with pytest.raises(DoesNotApplyError, match="5 mm apart already, 5 mm is no more"):
        thicker(scan, 5.0, KEY)
    with pytest.raises(DoesNotApplyError, match="less than 60 mm thick"):
        thicker(scan, 60.0, KEY)


def test_millimetres_that_were_not_believed_do_not_come_to_be_in_thicker_slices() -> None:
    """8-bit stacks that say 1 x 1 x 1 mm were given no spacing by whoever wrote them."""
    ct = volume(np.repeat(chest_grey()[None], 50, axis=0), (1.0, 1.0, 1.0))
    scan = Opened(ct, segment_lungs(ct))
    assert not scan.lungs.spacing_known
    after = altered(scan, Corruption("slice_thickness", 5), KEY)
    assert len(after.ct.array) < 25
    assert not after.lungs.spacing_known
    assert scale_of(after).assumed


def test_shift_of_hu_is_exact_to_the_ends_of_the_scale() -> None:
    array = np.linspace(-1024, 3071, 40 * 40).astype(np.int16).reshape(1, 40, 40)
    scan = with_lungs(volume(array))
    for by in (-40.0, 160.0):
        expected = np.clip(array.astype(int) + int(by), -1024, 3071)
        assert (shifted_hu(scan, by, KEY).array == expected).all()


def test_scale_of_hu_keeps_water() -> None:
    array = np.array([-1000, 0, 500], dtype=np.int16)[None, None] * np.ones((1, 2, 1), np.int16)
    assert scaled_hu(with_lungs(volume(array)), 0.9, KEY).array[0, 0].tolist() == [-900, 0, 450]


def test_higher_level_makes_grey_darker_by_as_much() -> None:
    array = np.full((1, 32, 32), 100, dtype=np.uint8)
    scan = with_lungs(volume(array, None))
    assert (shifted_level(scan, 16.0, KEY).array == 84).all()
    assert (shifted_level(scan, -200.0, KEY).array == 255).all()


def test_field_of_view_is_cut_about_the_centre_and_stays_in_place() -> None:
    array = np.arange(100, dtype=np.int16)[None, None] * np.ones((1, 100, 1), np.int16)
    after = narrower(with_lungs(volume(array, (2.0, 0.5, 0.8))), 0.6, KEY)
    assert after.array.shape == (1, 60, 60)
    assert after.spacing_mm == (2.0, 0.5, 0.8)
    assert after.array[0, 0, 0] == 20
    assert after.affine is not None
    assert after.affine[:3, 3].tolist() == pytest.approx([16.0, 10.0, 0.0])


def test_motion_smears_over_the_stated_path() -> None:
    for edge in (0.5, 1.0):
        y, x = np.mgrid[:128, :128] * edge - 64 * edge
        blob = np.rint(3000 * np.exp(-(y**2 + x**2) / 18)).astype(np.int16)
        smeared = values(moved(with_lungs(volume(blob[None], (1.0, edge, edge))), 10.0, KEY))[0]
        variances = [(one * (y**2 + x**2)).sum() / one.sum() for one in (smeared, blob)]
        # A path of 10 mm has a variance of 10**2 / 12.
        assert variances[0] - variances[1] == pytest.approx(100 / 12, rel=0.02)


def test_breathing_doubles_the_diaphragm_and_not_the_apex() -> None:
    array = flat((31, 40, 40), -850)
    array[:11] = 40
    lungs = np.zeros(array.shape, bool)
    lungs[10:] = True
    scan = with_lungs(volume(array, (2.0, 5.0, 5.0)), lungs)
    after = values(breathing(scan, 12.0, KEY))[:, 0, 0]
    doubled = np.flatnonzero((after > -840) & (after < 30))
    # Half of the path on each side of the diaphragm, 3 slices of 2 mm.
    assert doubled.min() == 8
    assert doubled.max() in (12, 13)
    assert (after[15:] == -850).all()


def test_millimetres_come_from_the_lungs_where_nobody_says_them() -> None:
    mask = np.zeros((1, 64, 64), bool)
    mask[0, 20:40, 5:59] = True
    scale = scale_of(with_lungs(volume(np.zeros((1, 64, 64), np.uint8), None), mask))
    assert scale == (None, 5.0, 5.0, True)
    assert scale_of(chest()) == (10.0, 5.0, 5.0, False)


# Every kind


@pytest.mark.parametrize("kind", KINDS)
def test_severities_change_the_scan_more_and_more(kind: str) -> None:
    scan = picture() if kind in GREY_ONLY else chest(spacing_mm=(2.0, 2.0, 2.0))
    scans = [Corruption(kind, k)(scan.ct, scan.lungs, KEY) for k in range(1, SEVERITIES + 1)]
    if kind in ("field_of_view", "slice_thickness"):
        sizes = [one.array.size for one in scans]
        assert sizes == sorted(sizes, reverse=True)
        assert len(set(sizes)) == SEVERITIES
        return
    far = [float(np.abs(one.array.astype(float) - scan.ct.array).mean()) for one in scans]
    assert far == sorted(far)
    assert far[0] > 0
    assert len(set(far)) == SEVERITIES


@pytest.mark.parametrize("scan", [chest(), picture()], ids=["stack in HU", "8-bit slice"])
def test_each_kind_gives_a_sound_scan_or_says_that_it_does_not_apply(scan: Opened) -> None:
    before = scan.ct.array.copy()
    applicable = kinds_for(scan)
    for kind in KINDS:
        corruption = Corruption(kind, SEVERITIES)
        if kind not in applicable:
            with pytest.raises(DoesNotApplyError, match="^scan: "):
                corruption(scan.ct, scan.lungs, KEY)
            continue
        after = corruption(scan.ct, scan.lungs, KEY)
        again = corruption(scan.ct, scan.lungs, KEY)
        assert (after.array == again.array).all()
        assert after.array.dtype == before.dtype
        assert after.pixels is scan.ct.pixels
        assert (scan.ct.array == before).all()
        if scan.ct.pixels is Pixels.HU:
            assert values(after).min() >= -1024
            assert values(after).max() <= 3071


@pytest.mark.parametrize("kind", ["dose_noise", "motion", "metal"])
def test_another_key_gives_other_draws(kind: str) -> None:
    scan, corruption = chest(), Corruption(kind, 3)
    one, other = (corruption(scan.ct, scan.lungs, (*KEY, k)).array for k in (1, 2))
    assert (one != other).any()


def test_lungs_are_found_again_on_the_corrupted_scan() -> None:
    scan = chest()
    after = altered(scan, Corruption("field_of_view", 2), KEY)
    assert after.lungs.mask.array.shape == after.ct.array.shape != scan.ct.array.shape


def test_noise_of_a_grey_slice_is_that_of_hu_through_the_lung_window() -> None:
    grey = np.full((1, 128, 128), 120, dtype=np.uint8)
    scan = with_lungs(volume(grey, None))
    noise = lower_dose(scan, 0.05, KEY).array.astype(float) - 120
    edge = scale_of(scan).y
    in_hu = with_lungs(volume(flat((1, 128, 128)), (5.0, edge, edge)))
    expected = (values(lower_dose(in_hu, 0.05, KEY)) - 40).std() * 255 / 1400
    assert noise.std() == pytest.approx(expected, rel=0.04)
    assert expected > 3


def test_mask_is_no_scan_to_corrupt() -> None:
    ct = volume(chest_grey()[None], None)
    scan = with_lungs(replace(ct, pixels=None))
    with pytest.raises(Exception, match="is a mask"):
        smoother(scan, 2.0, KEY)


@pytest.mark.parametrize(("kind", "severity"), [("rain", 1), ("blur", 0), ("blur", 6)])
def test_kinds_and_severities_that_are_not_known_are_refused(kind: str, severity: int) -> None:
    with pytest.raises(ValueError, match="there are dose_noise|expected 1 to 5"):
        Corruption(kind, severity)
