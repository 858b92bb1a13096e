"""A download is held against the counts of its card before a table is made of it."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from covidssl.datasets import read_dataset
from covidssl.errors import DataError, UsageError
from covidssl.files import read_csv
from covidssl.splits import SplitPlan, split_dataset
from data.covid_ct import prepare as covid_ct
from data.labels import exclusions
from data.lidc_idri import prepare as lidc_idri
from data.luna16_slices import prepare as luna16_slices
from data.medseg_9 import prepare as medseg_9
from data.nlst import prepare as nlst
from data.sars_cov_2_ct import prepare as sars_cov_2_ct

ROOT = Path(__file__).resolve().parents[1]
DUPLICATES = ["Covid (129).png", "Covid (135).png"]
PAIR = {"CT_COVID": "kjr-21-e24-p5-29.png", "CT_NonCOVID": "71%0.jpg"}


def write_picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((32, 32), dtype=np.uint8)).save(path)


def miniature_sars(folder: Path) -> Path:
    """The layout and the file names of the set, with a few pictures of each class."""
    for number in (1, 2, 10, 128, 129, 134, 135):
        write_picture(folder / "COVID" / f"Covid ({number}).png")
    for number in (1, 2, 3):
        write_picture(folder / "non-COVID" / f"Non-Covid ({number}).png")
    return folder


def miniature_covid_ct(folder: Path) -> Path:
    """Six lists in two folders, as in the official repository, and their pictures."""
    lists: Mapping[str, list[str]] = {
        "COVID/trainCT_COVID": ["2020.01.01.1-p2-3%0.png", "2020.01.01.1-p2-3%1.png"],
        "COVID/valCT_COVID": ["2020.01.01.2-p27-132.png"],
        "COVID/testCT_COVID": [PAIR["CT_COVID"]],
        "NonCOVID/trainCT_NonCOVID": [PAIR["CT_NonCOVID"], "14.png", "71%1.jpg"],
        "NonCOVID/valCT_NonCOVID": ["22.png"],
        "NonCOVID/testCT_NonCOVID": ["23.png"],
    }
    for name, pictures in lists.items():
        path = folder / "Data-split" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(f"{picture} " for picture in pictures) + "\n", encoding="utf-8")
        for picture in pictures:
            write_picture(folder / f"CT_{path.parent.name}" / picture)
    return folder


@pytest.fixture
def small_sars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sars_cov_2_ct, "EXPECTED", {"COVID": 7, "non-COVID": 3})
    return miniature_sars(tmp_path / "raw")


@pytest.fixture
def small_covid_ct(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    expected = {
        "train CT_COVID": 2, "train CT_NonCOVID": 3, "validation CT_COVID": 1,
        "validation CT_NonCOVID": 1, "test CT_COVID": 1, "test CT_NonCOVID": 1,
    }  # fmt: skip
    monkeypatch.setattr(covid_ct, "EXPECTED", expected)
    return miniature_covid_ct(tmp_path / "raw")


def test_sars_cov_2_ct_is_written_in_order_of_the_numbers_without_duplicates(
    small_sars: Path, tmp_path: Path
) -> None:
    sars_cov_2_ct.main(small_sars, tmp_path / "prepared")
    dataset = read_dataset(tmp_path / "prepared" / "labels.csv", "COVID")
    names = [Path(scan.name).name for scan in dataset.scans if scan.positive]
    assert names == [f"Covid ({number}).png" for number in (1, 2, 10, 128, 134)]
    assert dataset.scans[0].name == "../raw/COVID/Covid (1).png"
    assert dataset.classes == ("non-COVID", "COVID")
    assert sum(not scan.positive for scan in dataset.scans) == 3


def test_a_missing_picture_is_refused_with_the_difference(small_sars: Path, tmp_path: Path) -> None:
    (small_sars / "non-COVID" / "Non-Covid (2).png").unlink()
    with pytest.raises(DataError, match=r"non-COVID: found 2, expected 3\. .*--allow-partial"):
        sars_cov_2_ct.main(small_sars, tmp_path / "prepared")
    assert not (tmp_path / "prepared").exists()


def test_an_empty_picture_does_not_count(small_sars: Path, tmp_path: Path) -> None:
    (small_sars / "COVID" / "Covid (10).png").write_bytes(b"")
    with pytest.raises(DataError, match="COVID: found 6, expected 7"):
        sars_cov_2_ct.main(small_sars, tmp_path / "prepared")


def test_allow_partial_goes_on_with_what_is_there(small_sars: Path, tmp_path: Path) -> None:
    (small_sars / "non-COVID" / "Non-Covid (2).png").unlink()
    sars_cov_2_ct.main(small_sars, tmp_path / "prepared", allow_partial=True)
    dataset = read_dataset(tmp_path / "prepared" / "labels.csv", "COVID")
    assert Counter(scan.positive for scan in dataset.scans) == {True: 5, False: 2}


def test_a_missing_class_folder_is_refused_even_when_partial(tmp_path: Path) -> None:
    write_picture(tmp_path / "raw" / "COVID" / "Covid (1).png")
    with pytest.raises(DataError, match="non-COVID: there is no such folder"):
        sars_cov_2_ct.main(tmp_path / "raw", tmp_path / "prepared", allow_partial=True)


def test_the_source_is_never_written_to(small_sars: Path) -> None:
    with pytest.raises(UsageError, match="never written to"):
        sars_cov_2_ct.main(small_sars, small_sars / "prepared")
    assert not (small_sars / "prepared").exists()


def test_covid_ct_keeps_the_official_splits_and_drops_the_pair(
    small_covid_ct: Path, tmp_path: Path
) -> None:
    covid_ct.main(small_covid_ct, tmp_path / "prepared")
    rows = read_csv(tmp_path / "prepared" / "labels.csv")
    names = {Path(row["path"]).name: row for row in rows}
    assert not names.keys() & set(PAIR.values())
    assert names["22.png"]["split"] == "validation"
    assert names["71%1.jpg"] == {
        "path": "../raw/CT_NonCOVID/71%1.jpg", "label": "non-COVID", "patient": "71",
        "split": "train",
    }  # fmt: skip


def test_a_picture_in_no_official_list_is_a_difference(
    small_covid_ct: Path, tmp_path: Path
) -> None:
    write_picture(small_covid_ct / "CT_COVID" / "new.png")
    with pytest.raises(DataError, match="in no split list: found 1, expected 0"):
        covid_ct.main(small_covid_ct, tmp_path / "prepared")


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("2020.02.10.20021584-p6-52%15.png", "2020.02.10.20021584-p6-52"),
        ("2020.03.18.20038125-p16-56-3.png", "2020.03.18.20038125-p16-56"),
        ("2020.03.01.20029769-p21-73_4.png", "2020.03.01.20029769-p21-73"),
        ("71%0.jpg", "71"),
        ("2020.03.13.20035212-p23-152.png", ""),
        ("14.png", ""),
    ],
)
def test_only_pieces_of_one_figure_share_a_patient(name: str, patient: str) -> None:
    assert covid_ct.patient_of(name) == patient


def test_luna16_slices_are_counted_and_the_next_command_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(luna16_slices, "EXPECTED", {"slices": 3, "series": 2})
    source = tmp_path / "the raw"
    for name in ("1.2.3.mhd_14.png", "1.2.3.mhd_31.png", "1.2.4.mhd_15.png"):
        write_picture(source / name)
    luna16_slices.main(source, tmp_path / "store")
    words = shlex.split(capsys.readouterr().out)
    assert words == ["covidssl", "prepare", str(source), "--out", str(tmp_path / "store")]
    assert not (tmp_path / "store").exists()


def test_luna16_slices_without_a_series_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(luna16_slices, "EXPECTED", {"slices": 2, "series": 2})
    write_picture(tmp_path / "1.2.3.mhd_14.png")
    write_picture(tmp_path / "1.2.3.mhd_31.png")
    with pytest.raises(DataError, match="series: found 1, expected 2"):
        luna16_slices.main(tmp_path, tmp_path / "store")


@pytest.mark.realdata
def test_the_copy_of_sars_cov_2_ct_lacks_one_picture(real_data: Path, tmp_path: Path) -> None:
    source = real_data / "sars-cov-2-ct"
    with pytest.raises(DataError, match="not the complete set: non-COVID: found 1229, expected"):
        sars_cov_2_ct.main(source, tmp_path)
    sars_cov_2_ct.main(source, tmp_path, allow_partial=True)
    dataset = read_dataset(tmp_path / "labels.csv", "COVID")
    assert Counter(scan.positive for scan in dataset.scans) == {True: 1250, False: 1229}
    assert [scan.name for scan in dataset.scans if Path(scan.name).name in DUPLICATES] == []


@pytest.mark.realdata
def test_excluded_duplicates_equal_the_picture_that_their_reason_names(real_data: Path) -> None:
    source = real_data / "sars-cov-2-ct"
    for path, reason in exclusions(ROOT / "data" / "sars_cov_2_ct").items():
        kept = re.search(r"COVID/Covid \(\d+\)\.png", reason)
        assert kept is not None
        first, second = (np.asarray(Image.open(source / name)) for name in (path, kept[0]))
        assert np.array_equal(first, second), path


@pytest.mark.realdata
def test_the_copy_of_covid_ct_has_official_splits_that_no_figure_crosses(
    real_data: Path, tmp_path: Path
) -> None:
    covid_ct.main(real_data / "covid-ct", tmp_path, allow_partial=True)
    dataset = read_dataset(tmp_path / "labels.csv", "COVID")
    assigned = split_dataset(dataset, SplitPlan(), seed=0)
    counts = Counter((one.split, one.scan.positive) for one in assigned)
    assert counts == {
        ("train", True): 191, ("train", False): 233,
        ("validation", True): 60, ("validation", False): 58,
    }  # fmt: skip
    assert len({one.scan.patient for one in assigned} - {None}) == 87


@pytest.mark.realdata
def test_the_copy_of_luna16_slices_is_complete(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    luna16_slices.main(real_data / "luna16-slices", tmp_path / "store")
    assert capsys.readouterr().out.startswith("covidssl prepare")


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("prepare", "folder", "difference"),
    [
        (lidc_idri, "lidc-slabs", "patients: found 3, expected 1010"),
        (nlst, "nlst", "participants: found 1, expected 26254"),
        (medseg_9, "medseg-9", "images: found 6, expected 9; infection masks: found 6, expected 9"),
    ],
)
def test_a_copy_of_a_part_is_refused_and_goes_on_with_allow_partial(
    real_data: Path, tmp_path: Path, prepare: ModuleType, folder: str, difference: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    with pytest.raises(DataError, match=re.escape(difference)):
        prepare.main(real_data / folder, tmp_path / "store")
    prepare.main(real_data / folder, tmp_path / "store", allow_partial=True)
    words = shlex.split(capsys.readouterr().out)
    assert words[:2] == ["covidssl", "prepare"]
    assert all(Path(word).exists() for word in words[2:-2])
    assert words[-2:] == ["--out", str(tmp_path / "store")]
