"""An export replaces only what an export wrote, and says what is wrong before it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from covidssl.commands.export import main
from covidssl.errors import DataError, UsageError, WeightsError
from covidssl.export import Format
from covidssl.export.bundled import scans_in
from covidssl.model import load_model
from tests.export.taught_models import SLICES, card_of, write_taught


def model_folder(tmp_path: Path) -> Path:
    return write_taught(tmp_path / "model", card_of(SLICES))


def test_output_that_exists_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    folder, out = model_folder(tmp_path), tmp_path / "bundle"
    main(folder, "monai-bundle", out)
    with pytest.raises(UsageError, match="exists already"):
        main(folder, "monai-bundle", out)
    main(folder, "monai-bundle", out, overwrite=True)
    with pytest.raises(UsageError, match="is no folder that export has made"):
        main(folder, "monai-bundle", tmp_path, overwrite=True)
    assert (folder / "card.json").is_file()
    with pytest.raises(UsageError, match="onnx is written as a file"):
        main(folder, "onnx", out, overwrite=True)


def test_folder_with_anything_that_export_did_not_write_is_kept(tmp_path: Path) -> None:
    folder, out = model_folder(tmp_path), tmp_path / "bundle"
    main(folder, "monai-bundle", out)
    (out / "data" / "set").mkdir(parents=True)
    before = sorted(out.rglob("*"))
    with pytest.raises(UsageError, match=r"holds what export did not write.*something in data"):
        main(folder, "monai-bundle", out, overwrite=True)
    assert sorted(out.rglob("*")) == before
    project = tmp_path / "project"
    (project / "configs").mkdir(parents=True)
    for name in ("config.json", "configs/metadata.json", "export.json"):
        (project / name).write_text("{}")
    with pytest.raises(UsageError, match="is no folder that export has made"):
        main(folder, "monai-bundle", project, overwrite=True)
    assert len(list(project.rglob("*"))) == 4
    link = tmp_path / "link"
    link.symlink_to(project)
    with pytest.raises(UsageError, match="is no folder that export has made"):
        main(folder, "monai-bundle", link, overwrite=True)


def test_folder_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    folder, out = model_folder(tmp_path), tmp_path / "out" / "bundle"
    main(folder, "monai-bundle", out)
    (out / "LICENSE").write_text("changed")
    main(folder, "monai-bundle", out, overwrite=True)
    assert (out / "LICENSE").read_text() == load_model(folder).card.licence_note + "\n"
    assert [path.name for path in out.parent.iterdir()] == ["bundle"]


def test_file_beside_the_output_is_kept_too(tmp_path: Path) -> None:
    folder, mine = model_folder(tmp_path), tmp_path / "m.pt2.json"
    mine.write_text("mine")
    with pytest.raises(UsageError, match=r"m\.pt2\.json: exists already"):
        main(folder, "pt2", tmp_path / "m.pt2")
    assert mine.read_text() == "mine"
    assert not (tmp_path / "m.pt2").exists()


def test_model_that_is_exported_is_not_written_over(tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    outputs: list[tuple[Format, str]] = [("card", "card.json"), ("pt2", "classifier.safetensors")]
    for to, name in outputs:
        with pytest.raises(UsageError, match=rf"{name}: lies inside the model .*only MODEL\.md"):
            main(folder, to, folder / name, overwrite=True)
    main(folder, "card", folder / "MODEL.md", overwrite=True)
    assert load_model(folder).card.classes == ("normal", "COVID")


@pytest.mark.parametrize(("to", "name"), [("pt2", "m.pt2"), ("monai-bundle", "b"), ("timm", "t")])
def test_output_under_a_file_is_refused(to: Format, name: str, tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"file is a file, no folder\. Give another --out"):
        main(folder, to, tmp_path / "file" / name)


def test_bundle_takes_one_scan_and_says_what_it_misses(tmp_path: Path) -> None:
    scan = tmp_path / "one.nii.gz"
    scan.write_bytes(b"")
    assert scans_in(str(scan)) == [{"image": str(scan)}]
    assert scans_in(str(tmp_path)) == [{"image": str(scan)}]
    (tmp_path / "empty").mkdir()
    for name, said in (("data", "there is no such folder"), ("empty", "is empty")):
        with pytest.raises(DataError, match=rf"{name}: {said}.*--dataset_dir SCANS"):
            scans_in(str(tmp_path / name))


@pytest.mark.parametrize("left", [0.5, -1])
def test_model_that_is_cut_short_is_not_exported(left: float, tmp_path: Path) -> None:
    folder = model_folder(tmp_path)
    weights = folder / "classifier.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[: int(left * len(content)) if left > 0 else -1])
    with pytest.raises(WeightsError, match=r"classifier\.safetensors"):
        main(folder, "pt2", tmp_path / "m.pt2")
    assert not (tmp_path / "m.pt2").exists()


def test_scores_go_with_the_card_alone(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--evaluation goes with --format card"):
        main(model_folder(tmp_path), "pt2", tmp_path / "m.pt2", tmp_path)
