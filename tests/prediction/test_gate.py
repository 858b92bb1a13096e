"""What is answered, what is answered with a warning, and what is not answered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset

from covidssl.answers import Answer, Outcome
from covidssl.errors import ScanError
from covidssl.frames import Frame
from covidssl.hounsfield import LUNG_WINDOW_HU, Pixels
from covidssl.io import Policy, Reading, find_scans, read_ct, read_scan
from covidssl.model import Model, load_model
from covidssl.noted import Noted
from covidssl.prediction import AnswerPlan, Predictor, refused
from covidssl.volume import Volume
from tests.prediction.models import SCANS, grey, picture, scan, write_model
from tests.scan_files import chest_hu, lps_nifti, write_dicom, write_nifti, write_png

NO_MAPS = AnswerPlan(maps=False)
FORCED = AnswerPlan(maps=False, force=True)


@pytest.fixture(scope="module")
def of_scans(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(write_model(tmp_path_factory.mktemp("scans"), SCANS, far=False))


def said_of(model: Model, ct: Volume, plan: AnswerPlan = NO_MAPS) -> Answer:
    predictor = Predictor([model], plan)
    return predictor.answer(predictor.prepare(ct)).answer


def codes(answer: Answer) -> list[str]:
    return [reason.code for reason in answer.reasons]


def head() -> Volume:
    """A skull with a brain, and air in the sinuses; HU."""
    z, y, x = np.mgrid[-1:1:24j, -1:1:96j, -1:1:96j]
    out = np.sqrt((z / 0.9) ** 2 + (y / 0.75) ** 2 + (x / 0.6) ** 2)
    hu = np.select([out < 0.85, out < 0.93, out < 1], [35.0, 1000.0, 40.0], -1000.0)
    for at in (0.15, -0.15):
        hu[((z + 0.3) / 1.5) ** 2 + (y + 0.4) ** 2 + (x - at) ** 2 < 0.01] = -950
    hu += np.random.default_rng(0).normal(0, 10, hu.shape)
    return Volume(hu.astype(np.int16), Pixels.HU, (7.0, 2.3, 2.3))


def abdomen() -> Volume:
    """A belly with gas in the bowel; HU."""
    z, y, x = np.mgrid[-1:1:40j, -1:1:96j, -1:1:96j]
    generator = np.random.default_rng(1)
    hu = np.select([(y / 0.55) ** 2 + (x / 0.8) ** 2 < 1, (y / 0.65) ** 2 + (x / 0.9) ** 2 < 1],
                   [50.0, -90.0], -1000.0)  # fmt: skip
    for _ in range(14):
        at, size = (
            generator.uniform([-0.9, -0.4, -0.6], [0.9, 0.1, 0.6]),
            generator.uniform(0.06, 0.16),
        )
        hu[((z - at[0]) / 2) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2 < size**2] = -900
    hu += generator.normal(0, 10, hu.shape)
    return Volume(hu.astype(np.int16), Pixels.HU, (5.0, 3.4, 3.4))


def radiograph() -> Volume:
    """What X-rays through a phantom would show, seen from the front, as a picture."""
    ct = scan(7)
    through = (np.clip(ct.array.astype(np.float64) + 1000, 0, None) / 1000).sum(axis=1)[::-1]
    low, high = np.percentile(through, [20, 99])
    small = 255 * np.clip((through - low) / (high - low), 0, 1)
    return grey(np.kron(small, np.ones((12, 4))))


# Answered


def test_a_picture_of_a_chest_is_answered_without_a_word(asked: Model) -> None:
    answer = said_of(asked, picture(201))
    assert answer.outcome == Outcome.OK
    assert answer.reasons == ()
    assert answer.probability is not None
    assert answer.label == ("normal", "COVID")[answer.probability >= 0.4]
    assert answer.operating_point == 0.4
    assert answer.distance is not None
    assert answer.distance_limit == asked.card.distance.limit > answer.distance  # type: ignore[union-attr]


def test_what_the_reader_found_odd_stands_beside_the_answer_with_its_code(
    of_scans: Model, tmp_path: Path
) -> None:
    write_dicom(tmp_path / "ct", chest_hu(8, 64), ContrastBolusAgent="SOME AGENT",
                PhotometricInterpretation="MONOCHROME1", LossyImageCompression="01")  # fmt: skip
    answer = said_of(of_scans, read_ct(tmp_path / "ct"))
    assert answer.outcome == Outcome.WARNED
    assert set(codes(answer)) == {"inverted", "lossy", "contrast", "slab"}
    assert answer.probability is not None
    assert "AGENT" not in answer.model_dump_json()


def test_an_agent_of_an_enhanced_file_is_warned_about(of_scans: Model, tmp_path: Path) -> None:
    write_dicom(tmp_path / "ct", chest_hu(8, 64), ContrastBolusAgentSequence=[Dataset()])
    assert "contrast" in codes(said_of(of_scans, read_ct(tmp_path / "ct")))


@pytest.mark.parametrize("said", ["", "NONE", " no "])
def test_an_agent_that_is_none_is_no_contrast(said: str, of_scans: Model, tmp_path: Path) -> None:
    write_dicom(tmp_path / "ct", chest_hu(8, 64), ContrastBolusAgent=said)
    assert "contrast" not in codes(said_of(of_scans, read_ct(tmp_path / "ct")))


def test_slabs_thick_slices_and_few_slices_are_warned_about(
    of_scans: Model, tmp_path: Path
) -> None:
    whole = scan(3)
    assert codes(said_of(of_scans, whole)) == ["thick_slices"]
    assert codes(said_of(of_scans, replace(whole, spacing_mm=(3.0, 7.2, 7.2)))) == ["slab"]
    two = lps_nifti(tmp_path / "two.nii.gz", chest_hu(2, 64))
    assert codes(said_of(of_scans, read_ct(two))) == ["few_slices"]


def test_a_scan_that_does_not_say_how_it_lies_is_warned_about(
    of_scans: Model, tmp_path: Path
) -> None:
    unknown = write_nifti(tmp_path / "unknown.nii.gz", chest_hu(8, 64).T)
    assert codes(said_of(of_scans, read_ct(unknown))) == ["no_orientation", "one_mm", "slab"]


def test_what_was_mended_is_warned_about(of_scans: Model, tmp_path: Path) -> None:
    places = [2.5 * k for k in range(30) if k != 12]
    write_dicom(tmp_path / "ct", chest_hu(29, 64), places)
    scans = find_scans([tmp_path]).scans
    mended = read_scan(scans[0], Reading(policy=Policy.REPAIR))
    answer = said_of(of_scans, mended)
    assert codes(answer) == ["slab", "mended"]
    assert "1 missing slice interpolated" in answer.reasons[1].text


def test_hu_for_a_network_of_pictures_and_an_8_bit_volume_are_warned_about(
    asked: Model, tmp_path: Path
) -> None:
    assert "through_window" in codes(said_of(asked, scan(4), FORCED))
    stack = np.repeat(picture(202).array, 3, axis=0)
    volume = read_ct(lps_nifti(tmp_path / "grey.nii.gz", stack))
    assert codes(said_of(asked, volume))[:1] == ["eight_bit_volume"]


def test_an_oddity_that_was_found_twice_is_said_once(of_scans: Model) -> None:
    twice = replace(scan(3), warnings=(Noted("so", "lossy"), Noted("so again", "lossy")))
    assert codes(said_of(of_scans, twice)) == ["lossy", "thick_slices"]


def test_a_volume_of_few_slices_is_no_slab_where_it_is_as_high_as_lungs(
    tmp_path: Path,
) -> None:
    model = load_model(write_model(tmp_path, Frame(size=32, depth=8, pixels=Pixels.HU), far=False))
    high = replace(scan(3), array=scan(3).array[::2].copy(), spacing_mm=(40.0, 7.2, 7.2))
    assert codes(said_of(model, high)) == ["few_planes", "thick_slices"]
    low = replace(high, spacing_mm=(4.0, 7.2, 7.2))
    assert codes(said_of(model, low)) == ["slab"]


# Not answered


NOT_A_CHEST = {
    "head": (head, {"no_lungs", "implausible_lungs", "odd_lungs"}),
    "abdomen": (abdomen, {"no_lungs", "implausible_lungs"}),
    "radiograph": (radiograph, {"no_lungs", "projection"}),
    "noise": (lambda: grey(np.random.default_rng(0).integers(0, 256, (96, 96))), {"no_lungs"}),
    "slope": (lambda: grey(np.mgrid[0:96, 0:96].sum(axis=0) * 1.3), {"no_lungs"}),
    "negative": (lambda: grey(255 - picture(203).array[0].astype(int)), {"far_from_training"}),
}


@pytest.mark.parametrize("name", sorted(NOT_A_CHEST))
def test_what_is_no_chest_gets_no_answer_unless_it_is_forced(name: str, asked: Model) -> None:
    made, reasons = NOT_A_CHEST[name]
    answer, forced = said_of(asked, made()), said_of(asked, made(), FORCED)
    assert answer.outcome == Outcome.ABSTAINED
    assert set(codes(answer)) & reasons
    assert (answer.probability, answer.label, answer.operating_point) == (None, "", None)
    assert forced.outcome == Outcome.WARNED
    assert set(codes(forced)) >= set(codes(answer))
    assert forced.probability is not None


def as_hu(ct: Volume) -> Volume:
    """Grey pictures as if their greys were HU through the lung window."""
    low, high = LUNG_WINDOW_HU
    hu = low + ct.array.astype(np.float64) / 255 * (high - low)
    return Volume(hu.astype(np.int16), Pixels.HU, (5.0, 2.0, 2.0))


def pages(*pictures: Volume) -> Volume:
    """Pictures as the pages of one file, as large as the last; smaller ones on black."""
    stack = np.zeros((len(pictures), *pictures[-1].array.shape[1:]), np.uint8)
    for page, one in zip(stack, pictures, strict=True):
        page[: one.array.shape[1], : one.array.shape[2]] = one.array[0]
    return Volume(stack, Pixels.WINDOWED)


RADIOGRAPHS = {
    "a picture": radiograph,
    "two pages": lambda: pages(radiograph(), radiograph()),
    "a page beside a slice": lambda: pages(picture(203), radiograph()),
    "one slice of HU": lambda: as_hu(radiograph()),
    "two slices of HU": lambda: as_hu(pages(radiograph(), radiograph())),
}


@pytest.mark.parametrize("name", sorted(RADIOGRAPHS))
def test_a_radiograph_is_not_answered_by_a_model_without_a_limit(name: str, asked: Model) -> None:
    silent = replace(asked, features=None, card=asked.card.model_copy(update={"distance": None}))
    answer = said_of(silent, RADIOGRAPHS[name]())
    assert answer.outcome == Outcome.ABSTAINED
    assert "projection" in codes(answer)


@pytest.mark.parametrize("seed", [201, 205, 209])
def test_slices_in_ones_and_twos_are_not_taken_for_radiographs(seed: int, asked: Model) -> None:
    two = pages(picture(seed), picture(seed + 1))
    for ct in (as_hu(picture(seed)), two, as_hu(two)):
        assert "projection" not in codes(said_of(asked, ct, FORCED))


def test_where_the_model_abstains_no_network_is_asked(asked: Model) -> None:
    predictor = Predictor([asked], NO_MAPS)
    prepared = predictor.prepare(NOT_A_CHEST["noise"][0]())
    assert prepared.abstains
    asked.classifier.forward = asked.classifier.pooled = None  # type: ignore[assignment,method-assign]
    assert predictor.answer(prepared).maps is None


UNSEEN = {
    "cr": ("not_ct", {"Modality": "CR"}),
    "dx": ("not_ct", {"Modality": "DX"}),
    "scout": ("localiser", {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
    "coronal": ("not_axial", {"orientation": (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)}),
}


@pytest.mark.parametrize("name", sorted(UNSEEN))
def test_an_x_ray_or_a_scout_in_dicom_is_never_answered(name: str, tmp_path: Path) -> None:
    code, tags = UNSEEN[name]
    write_dicom(tmp_path / "one", chest_hu(1, 64), **tags)  # type: ignore[arg-type]
    with pytest.raises(ScanError) as found:
        read_ct(tmp_path / "one")
    answer = refused("one", found.value)
    assert answer.outcome == Outcome.ABSTAINED
    assert codes(answer) == [code]


def test_a_scout_that_was_saved_as_a_volume_is_not_answered(tmp_path: Path) -> None:
    path = lps_nifti(tmp_path / "scout.nii.gz", chest_hu(1, 64).transpose(1, 0, 2))
    with pytest.raises(ScanError) as found:
        read_ct(path)
    assert refused("scout", found.value).outcome == Outcome.ABSTAINED


def test_a_scan_that_was_normalised_in_an_unknown_way_is_not_answered(tmp_path: Path) -> None:
    hu = chest_hu(8, 64).astype(np.float32)
    for name, values in (("0..1", (hu + 1024) / 4095), ("-1..1", hu / 1200)):
        path = lps_nifti(tmp_path / f"{name}.nii.gz", values)
        with pytest.raises(ScanError) as found:
            read_ct(path)
        assert refused("one", found.value).outcome == Outcome.ABSTAINED, name


def test_a_picture_for_a_network_of_hu_cannot_be_forced(of_scans: Model, tmp_path: Path) -> None:
    path = write_png(tmp_path / "one.png", picture(201).array[0])
    with pytest.raises(ScanError) as found:
        Predictor([of_scans], FORCED).prepare(read_ct(path))
    assert refused("one.png", found.value).outcome == Outcome.ABSTAINED


# Real CT


@pytest.mark.realdata
def test_real_slices_are_not_taken_for_radiographs_nor_left_out(
    asked: Model, real_data: Path
) -> None:
    found = {}
    for name, pattern in {
        "sars-cov-2-ct": "*/*.png", "covid-ct": "CT_*/*", "luna16-slices": "*.png",
    }.items():  # fmt: skip
        paths = sorted((real_data / name).glob(pattern))
        prepared = [
            Predictor([asked], NO_MAPS).prepare(read_ct(p)) for p in paths[:: len(paths) // 12]
        ]
        found[name] = [one.reasons[0].code for one in prepared if one.abstains]
    assert found["sars-cov-2-ct"] == found["covid-ct"] == []
    # About one in eight of these shows little or no lung; some show none at all.
    assert set(found["luna16-slices"]) <= {"no_lungs"}
    assert len(found["luna16-slices"]) < 5


@pytest.mark.realdata
def test_projections_of_a_real_scan_are_not_answered(asked: Model, real_data: Path) -> None:
    ct = read_ct(real_data / "nlst" / "NLST-101287.nii.gz")
    dense = np.clip(ct.array[::-1].astype(np.float32) + 1000, 0, None)
    predictor = Predictor([asked], NO_MAPS)
    for axis in (1, 2):
        through = np.repeat(dense.sum(axis=axis), 2, axis=0)
        for low, high, power in ((5, 99.5, 1.0), (30, 95, 1.0), (30, 95, 1.7)):
            ends = np.percentile(through, [low, high])
            shown = 255 * np.clip((through - ends[0]) / (ends[1] - ends[0]), 0, 1) ** power
            for ct in (grey(shown), as_hu(grey(shown))):
                assert predictor.prepare(ct).abstains, (axis, low, high, power, ct.pixels)


@pytest.mark.realdata
def test_single_slices_of_a_real_scan_are_not_taken_for_projections(
    asked: Model, real_data: Path
) -> None:
    ct = read_ct(real_data / "nlst" / "NLST-101287.nii.gz")
    predictor = Predictor([asked], NO_MAPS)
    places = np.linspace(0.15, 0.85, 6) * len(ct.array)
    for k in places.astype(int):
        one = replace(ct, array=ct.array[k : k + 1].copy())
        assert not predictor.prepare(one).abstains, k
