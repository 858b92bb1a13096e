"""The journeys of `make demo`: their settings fit the configurations that they are put on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from covidssl.config import load_config
from covidssl.experiments import FinetuneConfig, PretrainConfig, PreviewConfig
from pipelines.demo import main
from pipelines.journeys import Journey, phantom_journey, real_journey, volume_journey


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose phantoms are there already, since they take half a minute to make."""
    table = tmp_path / "phantom" / "clinic" / "labels.csv"
    table.parent.mkdir(parents=True)
    table.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("make", "dimensions"), [(phantom_journey, 2), (volume_journey, 3), (real_journey, 2)]
)
def test_both_networks_of_a_journey_see_the_same(
    make: Callable[[Path], Journey], dimensions: int, folder: Path
) -> None:
    journey = make(folder)
    pretraining = load_config(PretrainConfig, journey.configs / "pretrain.yaml", journey.pretrain)
    tuning = load_config(FinetuneConfig, journey.configs / "finetune.yaml", journey.finetune)
    assert pretraining.frame == tuning.frame
    assert pretraining.encoder == tuning.encoder
    assert pretraining.encoder.dimensions == dimensions
    assert (
        load_config(PreviewConfig, None, journey.preview).frame.pixels is pretraining.frame.pixels
    )


def test_real_ct_is_of_slices_alone(folder: Path) -> None:
    with pytest.raises(typer.BadParameter, match="single slices"):
        main(folder / "out", data=folder, dim=3)
    assert not (folder / "out").exists()
