"""A labelled dataset is read as it is meant, or refused with the line that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from covidssl.datasets import Dataset, read_dataset
from covidssl.errors import DataError, ScanError, UsageError
from covidssl.files import write_text
from tests.scan_files import chest_hu, write_dicom


def touch(*paths: Path) -> None:
    """Files with something in them; no picture is opened when a dataset is read."""
    for path in paths:
        write_text(path, "not opened")


def table(folder: Path, *rows: str, header: str = "path,label") -> Path:
    """A CSV of these rows; the files that they name are made."""
    write_text(folder / "labels.csv", "\n".join([header, *rows]) + "\n")
    for row in rows:
        name = row.split(",")[0]
        if name and not Path(name).is_absolute():
            touch(folder / name)
    return folder / "labels.csv"


def labels(dataset: Dataset) -> dict[str, bool]:
    return {scan.name: scan.positive for scan in dataset.scans}


def test_folder_of_two_class_folders_is_a_dataset(tmp_path: Path) -> None:
    touch(tmp_path / "COVID" / "a.png", tmp_path / "non-COVID" / "deep" / "b.png")
    dataset = read_dataset(tmp_path, "COVID")
    assert labels(dataset) == {"COVID/a.png": True, "non-COVID/deep/b.png": False}
    assert dataset.classes == ("non-COVID", "COVID")
    assert dataset.name == tmp_path.name
    assert {(scan.patient, scan.split) for scan in dataset.scans} == {(None, None)}


def test_class_folder_comes_in_natural_file_order(tmp_path: Path) -> None:
    touch(*(tmp_path / "COVID" / f"Covid ({n}).png" for n in (10, 9, 100, 1)))
    touch(tmp_path / "non-COVID" / "a.png")
    names = [scan.name for scan in read_dataset(tmp_path, "COVID").scans]
    assert names[:4] == [f"COVID/Covid ({n}).png" for n in (1, 9, 10, 100)]


def test_same_file_name_in_both_classes_makes_two_names(tmp_path: Path) -> None:
    touch(tmp_path / "COVID" / "a.png", tmp_path / "other" / "a.png")
    assert labels(read_dataset(tmp_path, "COVID")) == {"COVID/a.png": True, "other/a.png": False}


def test_folder_without_ct_is_no_class(tmp_path: Path) -> None:
    touch(tmp_path / "COVID" / "a.png", tmp_path / "non-COVID" / "b.png")
    touch(tmp_path / "lists" / "train.txt", tmp_path / ".hidden" / "c.png")
    assert len(read_dataset(tmp_path, "COVID").scans) == 2


def test_dicom_series_in_class_folders_are_one_scan_each(tmp_path: Path) -> None:
    for name in ("COVID/p1", "COVID/p2", "healthy/p3"):
        write_dicom(tmp_path / name, chest_hu(3, 32))
    dataset = read_dataset(tmp_path, "COVID")
    assert list(labels(dataset)) == ["COVID/p1", "COVID/p2", "healthy/p3"]
    assert [len(scan.files.paths) for scan in dataset.scans] == [3, 3, 3]


def test_capitals_of_the_positive_class_do_not_matter(tmp_path: Path) -> None:
    touch(tmp_path / "CT_COVID" / "a.png", tmp_path / "CT_NonCOVID" / "b.png")
    assert read_dataset(tmp_path, "ct_covid").classes == ("CT_NonCOVID", "CT_COVID")


def test_folder_without_class_folders_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    with pytest.raises(DataError, match="no class folder with CT in it; expected two"):
        read_dataset(tmp_path, "COVID")


def test_one_class_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "COVID" / "a.png")
    with pytest.raises(DataError, match=r"expected two classes, found 1: COVID \(1\)"):
        read_dataset(tmp_path, "COVID")


def test_class_misspelt_is_refused_with_the_count_of_each(tmp_path: Path) -> None:
    path = table(tmp_path, "a.png,COVID", "b.png,normal", "c.png,COVID", "d.png,nromal")
    with pytest.raises(DataError, match=r"found 3: COVID \(2\), normal \(1\), nromal \(1\)"):
        read_dataset(path, "COVID")


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        ("COVID COVID normal COVD", r"Is 'COVD' \(1\) a misspelt 'COVID'\?"),
        ("CT_COVID CT_COVID CT_NonCOVID other", "Leave the classes out"),
        ("NCP NCP CP normal", "Leave the classes out"),
    ],
)
def test_a_third_class_is_taken_for_a_misspelt_one_where_it_is_nearly_one(
    tmp_path: Path, names: str, hint: str
) -> None:
    path = table(tmp_path, *(f"{k}.png,{name}" for k, name in enumerate(names.split())))
    with pytest.raises(DataError, match=f"found 3: .*{hint}"):
        read_dataset(path, "COVID")


def test_a_positive_class_misspelt_names_the_one_that_was_meant(tmp_path: Path) -> None:
    path = table(tmp_path, "a.png,Covid-19", "b.png,well")
    with pytest.raises(DataError, match=r"Did you mean 'Covid-19'.*--set positive_class=Covid-19"):
        read_dataset(path, "COVID19")


def test_classes_that_differ_in_capitals_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="differ in capitals alone: COVID"):
        read_dataset(table(tmp_path, "a.png,COVID", "b.png,Covid"), "COVID")


def test_positive_class_that_is_none_of_the_two_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "a.png,ill", "b.png,well")
    with pytest.raises(DataError, match=r"no class is called 'COVID'; found ill \(1\), well"):
        read_dataset(path, "COVID")


def test_csv_holds_images_nifti_files_and_dicom_folders(tmp_path: Path) -> None:
    write_dicom(tmp_path / "series" / "p3", chest_hu(4, 32))
    path = table(tmp_path, "a.png,COVID", "deep/b.nii.gz,normal")
    write_text(path, path.read_text() + "series/p3,COVID\n")
    dataset = read_dataset(path, "COVID")
    assert labels(dataset) == {"a.png": True, "deep/b.nii.gz": False, "series/p3": True}
    assert [scan.files.format for scan in dataset.scans] == ["picture", "nifti", "dicom"]
    assert [scan.files.name for scan in dataset.scans] == [scan.name for scan in dataset.scans]
    assert len(dataset.scans[2].files.paths) == 4


def test_csv_tells_patients_and_splits(tmp_path: Path) -> None:
    rows = (
        "a.png,COVID, p1 ,train",
        "b.png,normal,p2,Val",
        "c.png,COVID,,TESTING",
        "d.png,normal,p4,",
    )
    path = table(tmp_path, *rows, header="path,label,patient,split")
    scans = read_dataset(path, "COVID").scans
    assert [scan.patient for scan in scans] == ["p1", "p2", None, "p4"]
    assert [scan.split for scan in scans] == ["train", "validation", "test", None]


def test_further_columns_are_kept_as_they_are_written(tmp_path: Path) -> None:
    rows = ("a.png,COVID, 61 ,p1,CT 64", "b.png,normal,,p2")
    dataset = read_dataset(table(tmp_path, *rows, header="path,label,age,patient,scanner"), "COVID")
    assert dataset.columns == ("age", "scanner")
    assert [dict(scan.columns) for scan in dataset.scans] == [
        {"age": "61", "scanner": "CT 64"},
        {"age": "", "scanner": ""},
    ]
    assert len(set(dataset.scans)) == 2  # they can still be told apart in sets


def test_class_folders_have_no_further_columns(tmp_path: Path) -> None:
    touch(tmp_path / "COVID" / "a.png", tmp_path / "normal" / "b.png")
    dataset = read_dataset(tmp_path, "COVID")
    assert dataset.columns == ()
    assert [dict(scan.columns) for scan in dataset.scans] == [{}, {}]


def test_order_of_the_csv_does_not_matter(tmp_path: Path) -> None:
    rows = [f"slice {n}.png,{'COVID' if n % 2 else 'normal'}" for n in (10, 2, 9, 1)]
    dataset = read_dataset(table(tmp_path, *rows), "COVID")
    assert list(labels(dataset)) == [f"slice {n}.png" for n in (1, 2, 9, 10)]


def test_labels_called_0_and_1_are_classes(tmp_path: Path) -> None:
    assert read_dataset(table(tmp_path, "a.png,1", "b.png,0"), "1").classes == ("0", "1")


def test_absolute_path_inside_the_dataset_is_named_relative_to_it(tmp_path: Path) -> None:
    touch(tmp_path / "deep" / "a.png")
    path = table(tmp_path, f"{tmp_path}/deep/a.png,COVID", "b.png,normal")
    assert list(labels(read_dataset(path, "COVID"))) == ["b.png", "deep/a.png"]


def test_no_absolute_path_stands_in_a_name(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    touch(elsewhere / "p1" / "ct.png", elsewhere / "p2" / "ct.png")
    rows = [f"{elsewhere}/p1/ct.png,COVID", f"{elsewhere}/p2/ct.png,normal"]
    dataset = read_dataset(table(tmp_path / "tables", *rows), "COVID")
    assert labels(dataset) == {"p1/ct.png": True, "p2/ct.png": False}
    assert [scan.files.paths[0].parent.name for scan in dataset.scans] == ["p1", "p2"]


def test_missing_file_of_an_absolute_path_is_refused_without_that_path(tmp_path: Path) -> None:
    path = table(tmp_path / "tables", f"{tmp_path}/gone/a.png,COVID", "b.png,normal")
    with pytest.raises(DataError, match=r"labels\.csv, line 2: there is no file") as refusal:
        read_dataset(path, "COVID")
    assert str(tmp_path) not in str(refusal.value)


def test_missing_file_is_refused_with_its_line(tmp_path: Path) -> None:
    path = table(tmp_path, "a.png,COVID", "b.png,normal")
    (tmp_path / "b.png").unlink()
    with pytest.raises(DataError, match=r"labels\.csv, line 3: there is no file .*'b\.png'.*CSV"):
        read_dataset(path, "COVID")


def test_row_without_a_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="line 3: there is no file or folder ''"):
        read_dataset(table(tmp_path, "a.png,COVID", ",normal"), "COVID")


def test_row_without_a_label_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path, "a.png,COVID", "b.png,normal", "c.png,")
    with pytest.raises(DataError, match=r"line 4: c\.png has no label"):
        read_dataset(path, "COVID")


@pytest.mark.parametrize("again", ["a.png", "./a.png", "deep/../a.png", "{folder}/a.png"])
def test_scan_that_stands_in_the_table_twice_is_refused(again: str, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    path = table(tmp_path, "a.png,COVID", f"{again.format(folder=tmp_path)},normal")
    with pytest.raises(DataError, match=r"labels\.csv, line 3: a\.png stands in the table twice"):
        read_dataset(path, "COVID")


def test_misspelt_split_is_refused_with_its_line(tmp_path: Path) -> None:
    rows = ("a.png,COVID,train", "b.png,normal,tset")
    path = table(tmp_path, *rows, header="path,label,split")
    with pytest.raises(DataError, match=r"line 3: unknown split 'tset'; expected train, val"):
        read_dataset(path, "COVID")


@pytest.mark.parametrize("text", ["", "path,label\n", "path,label,patient\n\n"])
def test_empty_csv_is_refused(text: str, tmp_path: Path) -> None:
    write_text(tmp_path / "labels.csv", text)
    with pytest.raises(DataError, match=r"labels\.csv: holds no row; expected path,label"):
        read_dataset(tmp_path / "labels.csv", "COVID")


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("path,class", "lacks the column label; .*found path,class"),
        ("file,class", "lacks the column label and path"),
        ("path;label", "found path;label"),
    ],
)
def test_lacking_columns_are_refused_with_those_found(
    header: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said):
        read_dataset(table(tmp_path, "a.png,COVID", header=header), "COVID")


def test_csv_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes("path,label\nMüller.png,COVID\n".encode("latin-1"))
    with pytest.raises(DataError, match="this is no CSV in UTF-8"):
        read_dataset(tmp_path / "labels.csv", "COVID")


def test_row_that_names_a_folder_of_several_scans_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "p1" / "a.png", tmp_path / "p1" / "b.png")
    write_text(tmp_path / "labels.csv", "path,label\np1,COVID\n")
    with pytest.raises(ScanError, match="line 2: p1 holds 2 scans; expected one a row"):
        read_dataset(tmp_path / "labels.csv", "COVID")


def two_series(folder: Path) -> None:
    """A thin series of five slices and a thick one of three, of one study, in one folder."""
    study: dict[str, Any] = {"PatientID": "x", "StudyInstanceUID": "1.2.3"}
    write_dicom(folder, chest_hu(5, 32), names="thin{:02d}.dcm", **study)
    thick = [0.0, 5.0, 10.0]
    write_dicom(folder, chest_hu(3, 32), thick, "thick{:02d}.dcm", SliceThickness=5.0, **study)


@pytest.mark.parametrize("kind", ["class folders", "table"])
def test_of_two_series_of_one_study_the_thin_one_is_taken_and_that_is_said(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    two_series(tmp_path / "COVID" / "p1")
    write_dicom(tmp_path / "healthy" / "p2", chest_hu(4, 32))
    path = tmp_path
    if kind == "table":
        path = tmp_path / "labels.csv"
        write_text(path, "path,label\nCOVID/p1,COVID\nhealthy/p2,healthy\n")
    scans = read_dataset(path, "COVID").scans
    assert [len(scan.files.paths) for scan in scans] == [5, 4]
    assert "1 DICOM series are not used; first: " in caplog.text
    assert "thick or apart" in caplog.text


@pytest.mark.parametrize("name", ["nowhere", "nowhere.csv", "labels.txt"])
def test_what_is_neither_folder_nor_csv_is_refused(name: str, tmp_path: Path) -> None:
    touch(tmp_path / "labels.txt")
    with pytest.raises(UsageError, match=f"{name}: expected a folder of two class folders, or a C"):
        read_dataset(tmp_path / name, "COVID")
