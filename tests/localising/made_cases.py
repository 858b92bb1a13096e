"""A `medseg-9` of simple chests of 64 pixels, and a pretraining on chests as simple."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from covidssl.commands import prepare, pretrain
from covidssl.config import load_config
from covidssl.experiments import PrepareConfig, PretrainConfig
from covidssl.hounsfield import Pixels
from covidssl.io import write_volume
from covidssl.volume import Volume
from tests.quality.made import write_chests

EDGE, SLICES = 64, 6
SMALL = (
    "frame.size=32", "frame.pixels=windowed", "encoder.channels=[8,8]", "training.steps=2",
    "training.batch_size=4", "training.warmup_steps=1", "checkpoint_every=2",
    "pictures_every=100", "quality.every=2", "quality.lesion_slices=6",
)  # fmt: skip


def write_case(folder: Path, number: int, marks: bool = True) -> None:
    """Two grey lungs in a white body; a dense square at the wall of one, marked."""
    noise = np.random.default_rng(number).integers(0, 12, (SLICES, EDGE, EDGE), dtype=np.uint8)
    image = 195 + noise
    lungs = np.zeros(image.shape, dtype=bool)
    lungs[:, 14:50, 8:28] = lungs[:, 14:50, 36:56] = True
    image[lungs] = 40 + noise[lungs]
    marked = np.zeros(image.shape, dtype=bool)
    if marks:
        marked[2:5, 20:34, 8:20] = True
        image[marked] = 145 + noise[marked]
    _write(folder / f"case{number}", image, lungs, marked)


def _write(
    stem: Path, image: NDArray[np.uint8], lungs: NDArray[np.bool_], marked: NDArray[np.bool_]
) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    for kind, array in (("image", image), ("lung", lungs), ("infection", marked)):
        pixels = Pixels.WINDOWED if kind == "image" else None
        write_volume(Volume(array, pixels), stem.with_name(f"{stem.name}_{kind}.nii.gz"))


def write_pretrained(root: Path) -> Path:
    """A store of forty chests, `store`, and a short pretraining on it, `run`."""
    write_chests(root / "chests", 40)
    (root / "chests" / "labels.csv").unlink()
    prepare.main(PrepareConfig(), [root / "chests"], root / "store")
    config = load_config(PretrainConfig, None, list(SMALL))
    pretrain.main(config, root / "store", root / "run", device="cpu")
    return root / "run"
