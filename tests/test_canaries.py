"""No name, identifier or date of any header reaches a product; with hashed paths, no path either.

The canaries stand in every text that a file can hold. Products are searched byte by byte, what is
packed inside them too, and so is what the commands print.
"""

from __future__ import annotations

import base64
import contextlib
import io
import os
import stat
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest

from covidssl.cli import main
from covidssl.files import read_csv, write_csv
from covidssl.manifest import ManifestRow, read_manifest
from tests import canaries
from tests.canaries import PATH_WORD, PATIENT, SERIES, WORD
from tests.model_folders import write_untrained_model
from tests.scan_files import change_dicom, chest_grey, chest_hu, write_dicom

P = PATH_WORD


class Runs(NamedTuple):
    """Where the verbs wrote, what they printed, and the key."""

    products: Path
    said: str
    key: Path

    @property
    def manifest(self) -> tuple[ManifestRow, ...]:
        return read_manifest(self.products / "store")

    @property
    def predictions(self) -> list[dict[str, str]]:
        return read_csv(self.products / "predict" / "predictions.csv")


def write_good(root: Path) -> None:
    for path in write_dicom(root / f"{P} dicom", chest_hu(6), names=P + "{:03d}.dcm"):
        canaries.plant_dicom(path)
    both = root / f"{P} two series"
    same = {"PatientID": PATIENT, "StudyInstanceUID": f"{SERIES}.1"}
    thin = write_dicom(both, chest_hu(6, seed=1), names=P + "thin{:03d}", **same)
    thick = write_dicom(
        both, chest_hu(4, seed=2), [5.0 * k for k in range(4)], names=P + "thick{:03d}",
        SliceThickness=5.0, **same,
    )  # fmt: skip
    for path in thick:
        change_dicom(path, ConvolutionKernel=WORD, SeriesDescription=WORD, PatientName=WORD)
    for path in thin:
        change_dicom(path, ConvolutionKernel=f"{WORD}B70f", BurnedInAnnotation="YES")
    nii = root / P / f"{P}.nii"
    canaries.plant_nifti(nii, chest_hu(seed=3).T)
    canaries.plant_nifti(nii.with_suffix(".nii.gz"), chest_hu(seed=4).T)
    for number, suffix in enumerate(("mha", "mhd", "nrrd")):
        canaries.plant_metaimage(root / f"{P}{number}.{suffix}", chest_hu(seed=5 + number))
    for number, suffix in enumerate(("png", "jpg", "tif")):
        canaries.plant_picture(root / f"{P}{number}.{suffix}", chest_grey(seed=number))
    canaries.plant_zip(
        root / f"{P}.zip", {f"{P}/{P}.png": (root / f"{P}0.png").read_bytes(), f"{P}.txt": b"x"}
    )


def write_broken(root: Path) -> None:
    for keyword in (
        "Modality", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing",
        "RescaleSlope", "Rows", "BitsAllocated", "PhotometricInterpretation", "NumberOfFrames",
        "SamplesPerPixel", "ImageType", "PixelPaddingValue", "SliceThickness",
    ):  # fmt: skip
        folder = root / f"{P} {keyword}"
        for path in write_dicom(folder, chest_hu(4), names=P + "{:03d}.dcm"):
            canaries.overwrite_dicom(path, keyword)
    for path in write_dicom(root / f"{P} all", chest_hu(3), names=P + "{:03d}.dcm"):
        canaries.plant_dicom(path, needed=False)
    cut = write_dicom(root / f"{P} cut", chest_hu(4), names=P + "{:03d}.dcm", PatientID=PATIENT)
    cut[2].write_bytes(cut[2].read_bytes()[:-5000])
    gap = [0.0, 2.5, 9.0, 11.5]
    write_dicom(root / f"{P} gap", chest_hu(4), gap, P + "{:03d}.dcm", PatientName=WORD)
    text = f"{PATIENT} {SERIES} {canaries.DATE}\n".encode() * 40
    for name in ("text.dcm", "text.nii", "text.nii.gz", "text.mhd", "text.nrrd", "text.png",
                 "text.tif", "text.zip", "text.jpg"):  # fmt: skip
        (root / f"{P} {name}").write_bytes(text)
    (root / f"{P} marked.dcm").write_bytes(b"\0" * 128 + b"DICM" + text)
    wholes = [path for glob in ("*0.mha", "*2.nrrd", "*.png", "*2.tif", "*.zip", "*/*.nii*")
              for path in root.glob(glob)]  # fmt: skip
    for whole in wholes:
        content = whole.read_bytes()
        (root / f"{P} cut {whole.name}").write_bytes(content[: len(content) * 2 // 3])
    (root / f"{P}.{P}").write_bytes(text)
    write_broken_text_headers(root)


def write_broken_text_headers(root: Path) -> None:
    mhd = "ObjectType = Image\nNDims = 3\nDimSize = 64 64 8\n"
    for number, rest in enumerate((
        f"ElementType = {WORD}\nElementDataFile = x.raw\n",
        f"ElementType = MET_SHORT\nElementDataFile = {WORD}.raw\n",
        f"ElementSpacing = {WORD}\nElementType = MET_SHORT\nElementDataFile = LOCAL\n",
        f"{WORD}\nElementType = MET_SHORT\nElementDataFile = /{WORD}/../x.raw\n",
        f"CompressedData = {WORD}\nElementType = MET_SHORT\nElementDataFile = LIST {WORD}\n",
    )):  # fmt: skip
        (root / f"{P} header {number}.mhd").write_text(mhd + rest)
    nrrd = "NRRD0004\ndimension: 3\nsizes: 64 64 8\n"
    for number, rest in enumerate((
        f"type: {WORD}\nencoding: raw\n\n", f"type: short\nencoding: {WORD}\n\n",
        f"type: short\nencoding: raw\ndata file: {WORD}.raw\n\n",
        f"type: short\nencoding: raw\nspace: {WORD}\nspace directions: {WORD}\n\n",
    )):  # fmt: skip
        (root / f"{P} header {number}.nrrd").write_text(nrrd + rest)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files and broken ones, all with canaries, all below a folder with a name."""
    root = tmp_path_factory.mktemp("in") / f"{P} input"
    write_good(root)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_broken(root)
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a network that has learnt nothing."""
    return write_untrained_model(tmp_path_factory.mktemp("model") / "model")


def call(*arguments: object) -> str:
    """Run a verb in this process; gives all that it printed, compiled libraries included."""
    printed, before = io.StringIO(), sys.argv
    sys.argv = ["covidssl", *map(str, arguments)]
    saved = os.dup(2)
    with tempfile.TemporaryFile() as compiled:
        os.dup2(compiled.fileno(), 2)
        try:
            with (
                contextlib.redirect_stdout(printed),
                contextlib.redirect_stderr(printed),
                contextlib.suppress(SystemExit),
            ):
                main()
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            sys.argv = before
        compiled.seek(0)
        return printed.getvalue() + compiled.read().decode(errors="replace")


def journey(root: Path, scans: Path, model: Path, *flags: object) -> Runs:
    """Every verb that sees files or a store: prepare, pack, preview, predict, report."""
    out, key = root / "products", root / "keys" / "key"
    flags = (*flags, "--ids-key", key)
    said = call("prepare", scans, "--out", out / "store", *flags)
    # Of one kind of pixel, as learning needs it.
    both = [folder for folder in (scans / f"{P} dicom", scans / P) if folder.is_dir()]
    volumes = both or [scans]
    said += call("prepare", *volumes, "--out", out / "volumes", *flags)
    packed = out / "packed.safetensors"
    said += call("pack", out / "volumes", "--out", packed, "--set", "frame.pixels=hu", "--size", 32)
    look = ("--set", "slices=2", "--set", "frame.size=64", "--set", "frame.pixels=hu")
    said += call("preview", out / "volumes", "--out", out / "preview", *look)
    said += call("predict", model, scans, "--out", out / "predict", "--device", "cpu", *flags)
    runs = [out / verb for verb in ("store", "volumes", "preview", "predict")]
    said += call("report", *runs, "--out", out / "report.html")
    return Runs(out, said, key)


@pytest.fixture(scope="module")
def plain(scans: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return journey(tmp_path_factory.mktemp("plain"), scans, model)


@pytest.fixture(scope="module")
def hashed(scans: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return journey(tmp_path_factory.mktemp("hashed"), scans, model, "--hash-paths")


@pytest.fixture(scope="module")
def kept(scans: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return journey(tmp_path_factory.mktemp("kept"), scans / f"{P} dicom", model, "--keep-ids")


def test_the_canaries_are_really_in_the_files(scans: Path) -> None:
    hits = canaries.found(scans, canaries.needles())
    seen = {hit.split(":")[0].rsplit(".", 1)[-1] for hit in hits}
    assert seen >= {"dcm", "nii", "gz", "mha", "mhd", "nrrd", "png", "jpg", "tif", "zip"}
    for digits in ("773519", canaries.DATE, canaries.AGE.lower()):
        assert any(f"dicom/{P}000.dcm: header {digits}" in hit for hit in hits)


def test_files_with_canaries_are_read_and_used(plain: Runs) -> None:
    used = {row.scan: row for row in plain.manifest if row.stored}
    for name in (
        f"{P} dicom", f"{P}/{P}.nii", f"{P}/{P}.nii.gz", f"{P}0.mha", f"{P}1.mhd", f"{P}2.nrrd",
        f"{P}0.png", f"{P}1.jpg", f"{P}2.tif", f"{P}.zip/{P}/{P}.png",
    ):  # fmt: skip
        assert name in used
    assert {row["outcome"] for row in plain.predictions} >= {"warned", "abstained", "failed"}
    assert (plain.products / "report.html").is_file()
    assert (plain.products / "preview" / "preview.html").is_file()
    assert (plain.products / "store" / "qc.html").is_file()
    assert (plain.products / "packed.safetensors").is_file()


def test_broken_files_speak(plain: Runs) -> None:
    failed = [row for row in plain.manifest if row.status == "failed"]
    assert len(failed) > 30
    assert all(row.verdict for row in failed)
    assert len([row for row in plain.predictions if row["reasons"] and not row["label"]]) > 30


@pytest.mark.parametrize("which", ["plain", "hashed"])
def test_nothing_of_a_header_is_in_any_product(which: str, request: pytest.FixtureRequest) -> None:
    runs: Runs = request.getfixturevalue(which)
    assert canaries.found(runs.products, canaries.needles()) == []


@pytest.mark.parametrize("which", ["plain", "hashed", "kept"])
def test_nothing_of_a_header_is_printed(which: str, request: pytest.FixtureRequest) -> None:
    runs: Runs = request.getfixturevalue(which)
    assert runs.said.count("\n") > 3
    assert canaries.hits(runs.said.encode(), canaries.needles()) == []


def test_hashed_paths_are_in_no_product_and_not_printed(hashed: Runs, scans: Path) -> None:
    words = {"path": (P.lower().encode(), str(scans.parent).lower().encode())}
    assert canaries.found(hashed.products, words) == []
    assert canaries.hits(hashed.said.encode(), words) == []
    assert len(hashed.manifest) > 40


def test_no_product_names_a_place_of_the_machine(plain: Runs, scans: Path) -> None:
    places = {"place": (str(scans.parent).lower().encode(), str(plain.key.parent).lower().encode())}
    assert canaries.found(plain.products, places) == []


def test_burned_in_text_is_warned_about(plain: Runs) -> None:
    (row,) = [row for row in plain.manifest if "two series" in row.scan and row.stored]
    assert "burned" in row.verdict


def test_the_choice_among_series_speaks_of_no_header(plain: Runs) -> None:
    (row,) = [row for row in plain.manifest if row.status == "passed_over"]
    assert "two series" in row.scan
    assert row.verdict


def test_same_patient_has_the_same_pseudonym_in_every_series_and_verb(
    plain: Runs, hashed: Runs
) -> None:
    seen = []
    for runs in (plain, hashed):
        of_store = {row.patient for row in runs.manifest} - {""}
        of_predict = {row["patient"] for row in runs.predictions} - {""}
        assert of_store == of_predict
        seen += of_store
    first, second = seen
    assert first != second
    assert (len(first), len(second)) == (16, 16)


def test_pseudonyms_follow_the_key(plain: Runs, scans: Path, tmp_path: Path, hashed: Runs) -> None:
    again = tmp_path / "again"
    call("prepare", scans / f"{P} dicom", "--out", again, "--ids-key", plain.key)
    (row,) = read_manifest(again)
    (before,) = [old for old in plain.manifest if old.scan == f"{P} dicom"]
    assert (row.patient, row.series) == (before.patient, before.series)
    other = tmp_path / "other"
    call("prepare", scans / f"{P} dicom", "--out", other, "--ids-key", hashed.key)
    (row,) = read_manifest(other)
    assert row.patient not in ("", before.patient)
    assert row.series not in ("", before.series)


def test_key_is_its_owners_and_in_no_product(plain: Runs, hashed: Runs) -> None:
    for runs in (plain, hashed):
        text = runs.key.read_text().strip()
        assert stat.S_IMODE(runs.key.stat().st_mode) == 0o600
        keys = {"key": (text.encode(), bytes.fromhex(text).lower())}
        assert canaries.found(runs.products, keys) == []
        assert text not in runs.said


def test_key_lies_beside_the_store_unless_a_place_is_given(scans: Path, tmp_path: Path) -> None:
    call("prepare", scans / f"{P} dicom", "--out", tmp_path / "store")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "store.ids-key"]


def test_kept_identifiers_are_in_the_tables_and_nothing_else_is(kept: Runs) -> None:
    (row,) = kept.manifest
    assert (row.patient, row.series) == (PATIENT, SERIES)
    ids = {"id": (PATIENT.lower().encode(), SERIES.encode())}
    files = {hit.split(":")[0] for hit in canaries.found(kept.products, ids)}
    tables = {"store/manifest.csv", "volumes/manifest.csv", "predict/predictions.csv"}
    assert tables <= files
    # The rows lie with the scans, too, so that a stopped run goes on; and no page shows them.
    rows = {"zarr.json", "journal.jsonl", "manifest.parquet", "predictions.parquet"}
    answers = {file for file in files if Path(file).match("predict/scans/*.json")}
    assert len(answers) == 1
    assert {Path(file).name for file in files - tables - answers} <= rows
    names = {"name": (b"jane", canaries.DATE.encode(), canaries.AGE.lower().encode())}
    assert canaries.found(kept.products, names) == []


def test_labelled_sets_keep_the_patients_that_their_author_wrote_and_no_header(
    tmp_path: Path,
) -> None:
    rows = []
    for number in range(24):
        suffix, label = ("png", "jpg", "tif")[number % 3], ("normal", "COVID")[number % 2]
        canaries.plant_picture(tmp_path / "in" / f"{number}.{suffix}", chest_grey(seed=number))
        rows.append({"path": f"{number}.{suffix}", "label": label, "patient": f"by-hand-{number}"})
    (tmp_path / "in" / "3.png").write_bytes(PATIENT.encode() * 40)
    write_csv(tmp_path / "in" / "labels.csv", ("path", "label", "patient"), rows)
    small = [
        "frame.size=32", "frame.pixels=windowed", "encoder.channels=[8,8]", "training.steps=2",
        "training.batch_size=4", "training.warmup_steps=1", "validate_every=2",
    ]  # fmt: skip
    run = tmp_path / "out" / "finetune"
    options = [part for value in small for part in ("--set", value)]
    said = call(
        "finetune", "--data", tmp_path / "in" / "labels.csv", "--out", run, "--encoder", "none",
        "--cache", tmp_path / "out" / "cache", "--device", "cpu", "--allow-leakage", *options,
    )  # fmt: skip
    said += call(
        "evaluate", run, "--data", tmp_path / "in" / "labels.csv", "--set", "rounds=100",
        "--out", tmp_path / "out" / "evaluate",
    )  # fmt: skip
    assert {row["patient"] for row in read_csv(run / "splits.csv")} <= {r["patient"] for r in rows}
    assert (tmp_path / "out" / "evaluate" / "predictions.csv").is_file()
    assert canaries.found(tmp_path / "out", canaries.needles()) == []
    assert canaries.hits(said.encode(), canaries.needles()) == []


def test_predictions_name_no_patient_and_make_no_key_unless_asked(
    scans: Path, model: Path, tmp_path: Path
) -> None:
    call("predict", model, scans / f"{P} dicom", "--out", tmp_path / "out", "--device", "cpu")
    (row,) = read_csv(tmp_path / "out" / "predictions.csv")
    assert (row["scan"], row["patient"], row["series"]) == (f"{P} dicom", "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_predictions_of_one_table_have_pseudonyms_of_one_key(
    scans: Path, model: Path, tmp_path: Path
) -> None:
    command = ["predict", model, scans / f"{P} dicom", "--out", tmp_path / "out", "--device", "cpu"]
    command += ["--hash-paths"]
    call(*command)
    table = (tmp_path / "out" / "predictions.csv").read_text()
    assert (tmp_path / "out.ids-key").is_file()
    assert "1 of them done" in call(*command, "--resume")
    refused = call(*command, "--resume", "--ids-key", tmp_path / "other")
    assert "its data changed since it was started: ids" in refused
    assert (tmp_path / "out" / "predictions.csv").read_text() == table


@pytest.mark.parametrize("flag", ["--hash-paths", "--keep-ids"])
def test_names_in_a_store_cannot_be_taken_back_by_resuming(
    flag: str, scans: Path, tmp_path: Path
) -> None:
    command = ("prepare", scans / f"{P} dicom", "--out", tmp_path / "store")
    call(*command)
    before = read_manifest(tmp_path / "store")
    assert "begun with other names" in call(*command, "--resume", flag)
    assert "1 warned" in call(*command, "--resume")
    assert read_manifest(tmp_path / "store") == before


def test_search_finds_what_is_packed_in_pages_pictures_and_archives(tmp_path: Path) -> None:
    picture = canaries.plant_picture(tmp_path / "a.png", chest_grey()).read_bytes()
    (tmp_path / "a.png").unlink()
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", WORD)

    page = f'<img src="data:image/png;base64,{base64.b64encode(picture).decode()}">'
    (tmp_path / "c.html").write_text(page)
    files = {hit.split(":")[0] for hit in canaries.found(tmp_path, canaries.needles())}
    assert files == {"b.zip", "c.html"}
