"""Miniatures of the distributed layouts of sets of which no copy lies beside the checkout."""

from __future__ import annotations

import importlib
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from covidssl.datasets import Dataset, read_dataset
from covidssl.errors import CovidsslError, DataError, UsageError
from covidssl.files import read_csv
from covidssl.splits import SplitPlan, split_dataset
from data.cc_ccii import prepare as cc_ccii
from data.covid_19_ct_seg import prepare as covid_19_ct_seg
from data.covid_ctset import prepare as covid_ctset
from data.covidx_ct import prepare as covidx_ct
from data.labels import Labelled, spread
from data.lidc_idri import prepare as lidc_idri
from data.luna16 import prepare as luna16
from data.mosmeddata import prepare as mosmeddata
from data.nlst import prepare as nlst
from data.ricord_1a import prepare as ricord_1a
from data.stoic import prepare as stoic

ROOT = Path(__file__).resolve().parents[1]
PREPARES = sorted(path.parent.name for path in (ROOT / "data").glob("*/prepare.py"))


def touch(*paths: Path) -> None:
    """Files that hold something: only their names matter here."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content")


def write_lines(path: Path, lines: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def labelled(out: Path) -> Dataset:
    return read_dataset(out / "labels.csv", "COVID")


def words_of(printed: str) -> list[list[str]]:
    return [shlex.split(line) for line in printed.splitlines()]


@pytest.mark.parametrize("name", PREPARES)
def test_an_empty_folder_is_refused_in_words(name: str, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    main = importlib.import_module(f"data.{name}.prepare").main
    with pytest.raises(CovidsslError):
        main(tmp_path / "raw", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- MosMedData ---------------------------------------------------------------


@pytest.fixture
def mosmed(tmp_path: Path) -> Path:
    home = tmp_path / "raw" / "COVID19_1110"
    for grade, numbers in {"CT-0": (1, 2, 10), "CT-1": (255, 256), "CT-4": (1110,)}.items():
        touch(*(home / "studies" / grade / f"study_{n:04d}.nii.gz" for n in numbers))
    touch(home / "masks" / "study_0255_mask.nii.gz")
    return tmp_path / "raw"


MOSMED = {"CT-0": 3, "CT-1": 2, "CT-2": 0, "CT-3": 0, "CT-4": 1, "masks": 1}


@pytest.mark.parametrize("inside", [False, True])
def test_mosmed_grades_become_two_classes_a_patient_a_study(
    mosmed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: bool
) -> None:
    monkeypatch.setattr(mosmeddata, "EXPECTED", MOSMED)
    mosmeddata.main(mosmed / "COVID19_1110" if inside else mosmed, tmp_path / "out")
    dataset = labelled(tmp_path / "out")
    assert [(scan.patient, scan.positive) for scan in dataset.scans] == [
        ("study_0001", False), ("study_0002", False), ("study_0010", False),
        ("study_0255", True), ("study_0256", True), ("study_1110", True),
    ]  # fmt: skip


def test_a_miniature_of_mosmed_is_not_the_set(mosmed: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"CT-0: found 3, expected 254; .*masks: found 1"):
        mosmeddata.main(mosmed, tmp_path / "out")


# --- STOIC --------------------------------------------------------------------


def write_stoic(source: Path, rows: Mapping[str, str]) -> Path:
    touch(*(source / "data" / "mha" / f"{patient}.mha" for patient in rows))
    lines = [f"{patient},{prob},0" for patient, prob in rows.items()]
    write_lines(source / "metadata" / "reference.csv", ["PatientID,probCOVID,probSevere", *lines])
    return source


def test_stoic_is_labelled_by_the_result_of_the_test(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stoic, "EXPECTED", {"volumes": 3, "rows of reference.csv": 3})
    source = write_stoic(tmp_path / "raw", {"12": "1", "7": "0", "1033": "1.0"})
    stoic.main(source, tmp_path / "out")
    dataset = labelled(tmp_path / "out")
    assert {scan.patient: scan.positive for scan in dataset.scans} == {
        "7": False, "12": True, "1033": True,
    }  # fmt: skip


def test_a_volume_of_stoic_without_a_row_is_a_difference_and_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_stoic(tmp_path / "raw", {"12": "1", "7": "0"})
    touch(source / "data" / "mha" / "99.mha")
    with pytest.raises(DataError, match="volumes: found 3, expected 2000"):
        stoic.main(source, tmp_path / "out")
    monkeypatch.setattr(stoic, "EXPECTED", {"volumes": 3, "rows of reference.csv": 2})
    with pytest.raises(DataError, match="volumes without a row: found 1, expected 0"):
        stoic.main(source, tmp_path / "out")
    stoic.main(source, tmp_path / "out", allow_partial=True)
    assert len(labelled(tmp_path / "out").scans) == 2


def test_a_label_of_stoic_that_is_no_label_is_refused(tmp_path: Path) -> None:
    source = write_stoic(tmp_path / "raw", {"12": "yes"})
    with pytest.raises(DataError, match="probCOVID is 'yes'; expected 0 or 1"):
        stoic.main(source, tmp_path / "out", allow_partial=True)


def test_a_table_that_lacks_a_column_is_refused_by_its_name(tmp_path: Path) -> None:
    source = write_stoic(tmp_path / "raw", {"12": "1"})
    write_lines(source / "metadata" / "reference.csv", ["PatientID,covid", "12,1"])
    with pytest.raises(DataError, match=r"reference\.csv: lacks the column probCOVID; found Pat"):
        stoic.main(source, tmp_path / "out")


# --- COVIDx CT ----------------------------------------------------------------

COVIDX = {
    "train": ["CP_10_3068_0060.png 1", "NCP_96_1328_0035.png 2", "NCP_96_1328_0036.png 2",
              "Normal_1668_87_0027.png 0", "137covid_patient100_SR_2_IM00028.png 2"],
    "val": ["volume-covid19-A-0698_ct-0017.png 2", "Normal_1669_88_0001.png 0"],
    "test": ["NCP_97_1330_0001.png 2", "CP_11_3069_0001.png 1", "Normal_1670_89_0001.png 0"],
}  # fmt: skip
COVIDX_PATIENTS = (
    "CP_10", "CP_11", "NCP_96", "NCP_97", "Normal_1668", "Normal_1669", "Normal_1670",
    "patient100", "volume-covid19-A-0698",
)  # fmt: skip
COVIDX_COUNTS = {
    "train normal": 1, "train pneumonia": 1, "train COVID-19": 3,
    "validation normal": 1, "validation COVID-19": 1,
    "test normal": 1, "test pneumonia": 1, "test COVID-19": 1,
}  # fmt: skip


@pytest.fixture
def covidx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    source = tmp_path / "raw"
    for short, lines in COVIDX.items():
        write_lines(
            source / f"{short}_COVIDx_CT-3A.txt", [f"{line} 9 31 502 450" for line in lines]
        )
        touch(*(source / "3A_images" / line.split()[0] for line in lines))
    rows = [f"{patient},CNCB,China,,,x,Yes,Expert,Axial,CT" for patient in COVIDX_PATIENTS]
    columns = "patient id,source,country,sex,age,finding,verified finding,slice selection,view,"
    write_lines(source / "metadata.csv", [f"{columns}modality", *rows])
    monkeypatch.setitem(covidx_ct.EXPECTED, "3A", COVIDX_COUNTS)
    return source


def test_covidx_takes_covid_against_the_rest_on_the_official_splits(
    covidx: Path, tmp_path: Path
) -> None:
    covidx_ct.main(covidx, tmp_path / "out")
    dataset = labelled(tmp_path / "out")
    assigned = split_dataset(dataset, SplitPlan(kind="given"), seed=0)
    assert Counter((one.split, one.scan.positive) for one in assigned) == {
        ("train", True): 3, ("train", False): 2, ("validation", True): 1,
        ("validation", False): 1, ("test", True): 1, ("test", False): 2,
    }  # fmt: skip
    assert {scan.patient for scan in dataset.scans} == set(COVIDX_PATIENTS)


@pytest.mark.parametrize(("against", "left_out"), [("normal", "CP_"), ("pneumonia", "Normal_")])
def test_covidx_leaves_the_other_class_out_when_it_is_told_so(
    covidx: Path, tmp_path: Path, against: str, left_out: str
) -> None:
    covidx_ct.main(covidx, tmp_path / "out", covidx_ct.Against(against))
    names = [Path(scan.name).name for scan in labelled(tmp_path / "out").scans]
    assert not [name for name in names if name.startswith(left_out)]
    assert sum(name.startswith(("NCP_", "137covid", "volume")) for name in names) == 5


def test_a_listed_picture_of_covidx_that_is_missing_is_a_difference(
    covidx: Path, tmp_path: Path
) -> None:
    (covidx / "3A_images" / "NCP_96_1328_0036.png").unlink()
    with pytest.raises(DataError, match=r"train COVID-19: found 2, expected 3; listed, but the "):
        covidx_ct.main(covidx, tmp_path / "out")


def test_a_picture_of_covidx_without_a_patient_is_a_difference(
    covidx: Path, tmp_path: Path
) -> None:
    table = (covidx / "metadata.csv").read_text(encoding="utf-8")
    (covidx / "metadata.csv").write_text(table.replace("NCP_97,", "NCP_970,"), encoding="utf-8")
    with pytest.raises(DataError, match=r"no patient in metadata\.csv: found 1, expected 0"):
        covidx_ct.main(covidx, tmp_path / "out")


def test_a_patient_is_the_longest_identifier_at_the_beginning_of_a_name() -> None:
    patients = frozenset({"NCP_9", "NCP_96", "96", "patient10"})
    assert covidx_ct.patient_of("NCP_96_1328_0035.png", patients) == "NCP_96"
    assert covidx_ct.patient_of("137covid_patient100_SR_2.png", patients) == ""
    assert covidx_ct.patient_of("137covid_patient10_SR_2.png", patients) == "patient10"


def test_a_line_that_is_none_of_covidx_is_refused_by_its_number(
    covidx: Path, tmp_path: Path
) -> None:
    write_lines(covidx / "val_COVIDx_CT-3A.txt", ["a.png 0 1 2 3 4", "b.png 3 1 2 3 4"])
    with pytest.raises(DataError, match=r"val_COVIDx_CT-3A\.txt, line 2: expected `name class"):
        covidx_ct.main(covidx, tmp_path / "out")


def test_the_release_of_covidx_must_be_plain(covidx: Path, tmp_path: Path) -> None:
    write_lines(covidx / "train_COVIDx_CT-2A.txt", ["a.png 0 1 2 3 4"])
    with pytest.raises(DataError, match="one of them only; found 2"):
        covidx_ct.main(covidx, tmp_path / "out")


@pytest.mark.parametrize(("version", "slices"), [("2A", 194_922), ("3A", 425_024)])
def test_the_counts_of_covidx_add_up_to_what_its_authors_say(version: str, slices: int) -> None:
    assert sum(covidx_ct.EXPECTED[version].values()) == slices


# --- CC-CCII ------------------------------------------------------------------

SCANS = {
    "NCP/12/1201": ("0001.png", "0002.png", "0003.png"),
    "CP/12/3001": ("0001.jpg", "0002.jpg"),
    "Normal/700/70": ("0001.png", "0002.png"),
}


@pytest.fixture
def ccii(tmp_path: Path) -> Path:
    source = tmp_path / "raw"
    rows = []
    for folder, names in SCANS.items():
        touch(*(source / folder / name for name in names))
        label, patient, scan = folder.split("/")
        rows.append(f"{label}-01.zip,{label},{patient},{scan},{len(names)}")
    write_lines(
        source / "unzip_filenames.csv", ["zip_file,label,patient_id,scan_id,n_slice", *rows]
    )
    lesions = ["imgpath", "NCP/12/1201/0002.png", "CP/12/3001/0001.jpg"]
    write_lines(source / "lesions_slices.csv", lesions)
    return source


def short_names(out: Path) -> list[str]:
    return ["/".join(Path(row["path"]).parts[-4:]) for row in read_csv(out / "labels.csv")]


def test_ccii_takes_lesion_slices_of_the_ill_and_all_of_the_normal(
    ccii: Path, tmp_path: Path
) -> None:
    cc_ccii.main(ccii, tmp_path / "out")
    assert short_names(tmp_path / "out") == [
        "NCP/12/1201/0002.png", "CP/12/3001/0001.jpg",
        "Normal/700/70/0001.png", "Normal/700/70/0002.png",
    ]  # fmt: skip
    patients = {scan.patient: scan.positive for scan in labelled(tmp_path / "out").scans}
    assert patients == {"NCP-12": True, "CP-12": False, "Normal-700": False}


def test_ccii_takes_all_slices_and_leaves_a_class_out_when_it_is_told_so(
    ccii: Path, tmp_path: Path
) -> None:
    cc_ccii.main(ccii, tmp_path / "out", cc_ccii.Against.CP, cc_ccii.Slices.ALL)
    assert Counter(name.split("/")[0] for name in short_names(tmp_path / "out")) == {
        "NCP": 3, "CP": 2,
    }  # fmt: skip


def test_ccii_is_held_against_its_own_lists(ccii: Path, tmp_path: Path) -> None:
    (ccii / "NCP" / "12" / "1201" / "0002.png").unlink()
    message = "NCP slices: found 2, expected 3; lesion slices listed, but missing: found 1"
    with pytest.raises(DataError, match=message):
        cc_ccii.main(ccii, tmp_path / "out")
    cc_ccii.main(ccii, tmp_path / "out", slices=cc_ccii.Slices.ALL, allow_partial=True)
    assert len(short_names(tmp_path / "out")) == 6


def test_a_scan_of_ccii_whose_zip_was_not_unpacked_is_missed(ccii: Path, tmp_path: Path) -> None:
    for name in SCANS["Normal/700/70"]:
        (ccii / "Normal" / "700" / "70" / name).unlink()
    with pytest.raises(DataError, match="Normal scans: found 0, expected 1"):
        cc_ccii.main(ccii, tmp_path / "out")


# --- COVID-CTset --------------------------------------------------------------


def write_tiff(path: Path, hu: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((64, 64), hu + 1024, dtype=np.uint16)).save(path)


CTSET = {"COVID slices": 2, "COVID patients": 1, "non-COVID slices": 1, "non-COVID patients": 1}


@pytest.fixture
def whole_ctset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(covid_ctset.EXPECTED, "whole", CTSET)
    source = tmp_path / "raw"
    write_tiff(source / "covid1" / "patient1" / "SR_2" / "IM00001.tif", -1000)
    write_tiff(source / "covid1" / "patient1" / "SR_3" / "IM00001.tif", -300)
    write_tiff(source / "normal2" / "patient146" / "SR_2" / "IM00001.tif", 400)
    return source


def test_ctset_is_written_through_the_lung_window(whole_ctset: Path, tmp_path: Path) -> None:
    covid_ctset.main(whole_ctset, tmp_path / "out")
    dataset = labelled(tmp_path / "out")
    greys = {}
    for scan in dataset.scans:
        grey = np.unique(np.asarray(Image.open(scan.files.paths[0])))
        assert grey.size == 1
        greys[Path(scan.name).stem, scan.patient, scan.positive] = int(grey[0])
    assert greys == {
        ("covid1_patient1_SR_2_IM00001", "patient1", True): 0,
        ("covid1_patient1_SR_3_IM00001", "patient1", True): 128,
        ("normal2_patient146_SR_2_IM00001", "patient146", False): 255,
    }


def test_the_selected_part_of_ctset_is_read_by_its_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(covid_ctset.EXPECTED, "selected", CTSET)
    home = tmp_path / "raw" / "Train&Validation"
    for name in (
        "137covid_patient1_SR_3_IM00013", "137covid_patient1_SR_3_IM00014",
        "normal1_patient146_SR_4_IM00012",
    ):  # fmt: skip
        write_tiff(home / f"{name}.tif", -700)
    covid_ctset.main(tmp_path / "raw", tmp_path / "out")
    patients = Counter((scan.patient, scan.positive) for scan in labelled(tmp_path / "out").scans)
    assert patients == {("patient1", True): 2, ("patient146", False): 1}


def test_a_converted_copy_of_ctset_is_refused(whole_ctset: Path, tmp_path: Path) -> None:
    eight_bit = whole_ctset / "covid1" / "patient1" / "SR_2" / "IM00001.tif"
    Image.fromarray(np.zeros((64, 64), dtype=np.uint8)).save(eight_bit)
    with pytest.raises(DataError, match="pixels of mode L; expected 16-bit grey values"):
        covid_ctset.main(whole_ctset, tmp_path / "out")
    assert not (tmp_path / "out" / "labels.csv").exists()


def test_ctset_writes_no_picture_into_the_source(whole_ctset: Path) -> None:
    with pytest.raises(UsageError, match="never written to"):
        covid_ctset.main(whole_ctset, whole_ctset / "prepared")
    assert not (whole_ctset / "prepared").exists()


def test_a_miniature_of_ctset_is_not_the_set(
    whole_ctset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    with pytest.raises(DataError, match="COVID slices: found 2, expected 15589"):
        covid_ctset.main(whole_ctset, tmp_path / "out")


# --- sets without labels: the next command is printed -------------------------


def test_ct_seg_keeps_hu_and_windowed_volumes_in_stores_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("coronacases_001.nii.gz", "radiopaedia_4_85506_1.nii.gz")
    for folder in (covid_19_ct_seg.IMAGES, *covid_19_ct_seg.MASKS):
        touch(*(tmp_path / "raw" / folder / name for name in names))
    with pytest.raises(DataError, match="coronacases: found 1, expected 10"):
        covid_19_ct_seg.main(tmp_path / "raw", tmp_path / "stores")
    counts = {"coronacases": 1, "radiopaedia": 1}
    counts |= {f"masks in {folder}": 2 for folder in covid_19_ct_seg.MASKS}
    monkeypatch.setattr(covid_19_ct_seg, "EXPECTED", counts)
    covid_19_ct_seg.main(tmp_path / "raw", tmp_path / "stores")
    images = tmp_path / "raw" / covid_19_ct_seg.IMAGES
    assert words_of(capsys.readouterr().out) == [
        ["covidssl", "prepare", str(images / name), "--out", str(tmp_path / "stores" / kind)]
        for name, kind in zip(names, ("coronacases", "radiopaedia"), strict=True)
    ]


def test_luna16_prepares_its_subsets_and_not_the_masks_beside_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "raw"
    for number in (0, 1):
        touch(*(source / f"subset{number}" / f"1.3.6.{number}{end}" for end in (".mhd", ".raw")))
    touch(source / "seg-lungs-LUNA16" / "1.3.6.0.mhd")
    with pytest.raises(DataError, match="subsets: found 2, expected 10; scans: found 2, expected"):
        luna16.main(source, tmp_path / "store")
    monkeypatch.setattr(luna16, "EXPECTED", {"subsets": 2, "scans": 2})
    luna16.main(source, tmp_path / "store")
    subsets = [str(source / "subset0"), str(source / "subset1")]
    assert words_of(capsys.readouterr().out) == [
        ["covidssl", "prepare", *subsets, "--out", str(tmp_path / "store")]
    ]
    (source / "subset1" / "1.3.6.1.raw").unlink()
    with pytest.raises(DataError, match="headers without voxels: found 1, expected 0"):
        luna16.main(source, tmp_path / "store")


def test_dicom_collections_are_counted_by_folders_that_hold_slices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ricord = "MIDRC-RICORD-1A/MIDRC-RICORD-1A-419639-000082/08-02-2002-NA-CT/3.000000-bone-26970"
    lidc = "LIDC-IDRI/LIDC-IDRI-0001/01-01-2000-30178/3000566.000000-NA-03192"
    participant = "NLST/100012/01-02-2001-NA-NLST-LSS-45699/2.000000-0OPAGELSPLUSLD-32.60"
    cases = ((ricord_1a, ricord, "patients"), (lidc_idri, lidc, "patients"),
             (nlst, participant, "participants"))  # fmt: skip
    for prepare, path, kind in cases:
        source = tmp_path / path.split("/")[0].lower()
        touch(source / path / "1-001.dcm", source / path / "1-002.dcm")
        (source / path.rsplit("/", 2)[0]).with_name("notes").mkdir()
        with pytest.raises(DataError, match=f"{kind}: found 1, expected"):
            prepare.main(source, tmp_path / "store")
        monkeypatch.setattr(prepare, "EXPECTED", {kind: 1})
        prepare.main(source, tmp_path / "store")
        home = source / path.split("/")[0]
        assert words_of(capsys.readouterr().out) == [
            ["covidssl", "prepare", str(home), "--out", str(tmp_path / "store")]
        ]


def test_a_patient_without_a_series_is_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lidc_idri, "EXPECTED", {"patients": 1})
    touch(tmp_path / "LIDC-IDRI-0001" / "study" / "series" / "1-001.dcm")
    (tmp_path / "LIDC-IDRI-0002" / "study").mkdir(parents=True)
    with pytest.raises(DataError, match="patients without a DICOM series: found 1, expected 0"):
        lidc_idri.main(tmp_path, tmp_path.parent / "store")


# --- slices of a patient ------------------------------------------------------


def test_slices_of_a_patient_are_spread_over_all_of_them() -> None:
    rows = [Labelled(f"a/{i}.png", "COVID", "a") for i in range(100)]
    rows += [Labelled(f"b/{i}.png", "COVID", "b") for i in range(2)]
    taken = [row.path for row in spread(rows, 4)]
    assert taken == ["a/12.png", "a/37.png", "a/62.png", "a/87.png", "b/0.png", "b/1.png"]
    assert spread(rows, None) == rows
