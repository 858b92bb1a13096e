"""Weights of the user's, as torchvision's ImageNet files name them, become an arm of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipelines.study import paper_probes
from pipelines.study.grid import cells_of
from pipelines.study.paper import PROBES, Bench, file_of
from pipelines.study.paper_stages import stages_of
from pipelines.study.records import read_record
from pipelines.study.scores import FROZEN
from pipelines.study.stages import Stage
from tests.foreign.layout_files import resnet
from tests.study.made_targets import made_target


def weights(file: Path, scale: float = 1.0) -> Path:
    tensors = resnet("resnet18").state_dict()
    torch.save({name: tensor * scale for name, tensor in tensors.items()}, file)
    return file


def bench_of(folder: Path, file: Path | None) -> Bench:
    sets = {
        "sars-cov-2-ct": made_target(60, 32),
        "covid-ct": made_target(60, 32, name="covid-ct"),
    }
    return Bench(folder, folder / "runs", folder / "records", imagenet=file, sets=sets)  # type: ignore[arg-type]


def stages(bench: Bench) -> dict[str, Stage]:
    return {stage.name: stage for stage in stages_of(bench, bench.records)}


def test_without_a_file_there_is_no_such_stage(tmp_path: Path) -> None:
    assert not any("imagenet" in name for name in stages(bench_of(tmp_path, None)))


def test_a_file_is_imported_once_and_probed_as_the_arms_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One cell of each protocol, one view: all draws and views would take a minute.
    monkeypatch.setattr(paper_probes, "FRACTIONS", (1.0,))
    monkeypatch.setattr(paper_probes, "VIEWS", ("plain",))
    bench = bench_of(tmp_path, weights(tmp_path / "resnet18.pth"))
    own = stages(bench)
    assert own["pretrain-imagenet"].left() == "not imported yet"
    assert own["probe-imagenet"].left() == "no encoder yet"
    own["pretrain-imagenet"].run()
    assert own["pretrain-imagenet"].left() == ""
    assert "record" in own["probe-imagenet"].left()
    own["probe-imagenet"].run()
    assert own["probe-imagenet"].left() == ""
    record = read_record(file_of(bench, PROBES, ("covid-ct", "blocked", "plain", "imagenet")))
    assert record.facts.settings["pretraining"] == "supervised on ImageNet, weights of the user's"
    assert record.facts.sources["encoder"] == bench.encoder("imagenet") != ""
    assert set(record.cells) == {cell for one in FROZEN for cell in cells_of(one, (1.0,))}


def test_another_file_is_imported_anew(tmp_path: Path) -> None:
    first = bench_of(tmp_path, weights(tmp_path / "resnet18.pth"))
    stages(first)["pretrain-imagenet"].run()
    before = first.encoder("imagenet")
    other = bench_of(tmp_path, weights(tmp_path / "other.pth", 2.0))
    stage = stages(other)["pretrain-imagenet"]
    assert stage.left() == "another file was imported"
    stage.run()
    assert stage.left() == ""
    assert other.encoder("imagenet") != before
