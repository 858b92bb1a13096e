"""A small model and folders of scans to ask it about."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet
import pytest
import torch

from covidssl.commands import predict as verb
from covidssl.experiments import PredictConfig
from covidssl.files import read_csv
from covidssl.inference.engines import Engine
from covidssl.inference.shard import Shard
from covidssl.model import load_model, save_model
from covidssl.randomness import torch_generator
from covidssl.runs import IfExists
from tests.model_folders import write_untrained_model
from tests.scan_files import chest_grey, chest_hu, lps_nifti, write_png

ANSWERED = ("ok", "warned")
PLAIN = PredictConfig(maps=False)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a network that has learnt nothing, but does not answer all alike."""
    folder = write_untrained_model(tmp_path_factory.mktemp("model") / "model")
    return with_random_head(folder, seed=0)


def with_random_head(folder: Path, seed: int) -> Path:
    """Give a model a head that was drawn; its answers mean nothing and differ."""
    model = load_model(folder)
    state = model.classifier.state_dict()
    drawn = torch.randn(state["head.weight"].shape, generator=torch_generator(seed))
    save_model(folder, model.card, {**state, "head.weight": drawn}, None)
    return folder


def write_pictures(folder: Path, count: int) -> Path:
    for number in range(count):
        write_png(folder / f"{number:02d}.png", chest_grey(64, seed=number))
    return folder


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Five pictures and a volume that can be answered, and one file that cannot be read."""
    folder = write_pictures(tmp_path / "in", 5)
    lps_nifti(folder / "volume.nii.gz", chest_hu(6, 64), 10.0)
    (folder / "broken.png").write_bytes(b"no picture")
    return folder


def ask(
    model: Path | list[Path],
    inputs: Path | list[Path],
    out: Path,
    if_exists: IfExists = "refuse",
    config: PredictConfig = PLAIN,
    engine: Engine = Engine(),  # noqa: B008 (frozen)
    shard: Shard | None = None,
    retry_failed: bool = False,
) -> int:
    """Run the verb on the CPU; gives how many scans have no answer."""
    given = [inputs] if isinstance(inputs, Path) else inputs
    how = verb.How("cpu", engine, shard, retry_failed)
    return verb.main(config, model, given, out, if_exists, how)


def rows_of(out: Path) -> dict[str, dict[str, str]]:
    return {row["scan"]: row for row in read_csv(out / "predictions.csv")}


def parquet_rows(out: Path) -> list[dict[str, object]]:
    return pyarrow.parquet.read_table(out / "predictions.parquet").to_pylist()
