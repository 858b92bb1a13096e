"""The journeys of `make demo`: on which scans, by which configurations, with how many labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from covidssl.files import write_bytes
from covidssl.phantom import WHOLE_LUNGS, Grid, write_labelled, write_unlabelled

CONFIGS = Path(__file__).resolve().parents[1] / "configs"


@dataclass(frozen=True)
class Journey:
    """What differs between journeys; all else is in the configurations.

    Attributes:
        configs: folder of `pretrain.yaml` and `finetune.yaml`.
        unlabelled: scans to pretrain on.
        labelled: class folders or a table.
        to_predict: what a clinic would bring.
        preview: settings of the preview, which shows slices in either case.
        pretrain, finetune: settings beside the files.
        few: the share of the labels that is few.
        draws: how often so few are drawn.
        data: what the scans are, in words.
    """

    configs: Path
    unlabelled: Path
    labelled: Path
    to_predict: Sequence[Path]
    preview: Sequence[str]
    pretrain: Sequence[str]
    finetune: Sequence[str]
    few: float
    draws: int
    data: str


_PHANTOM = "Phantom CT made by code: it shows that the journey works, and nothing about patients."


def phantom_journey(out: Path) -> Journey:
    """Phantom CT in HU: 24 unlabelled scans, 60 labelled of each class, and a clinic's folder."""
    unlabelled, labelled, clinic = _phantoms(out, 24, 60, Grid())
    return Journey(
        configs=CONFIGS / "demo",
        unlabelled=unlabelled,
        labelled=labelled,
        to_predict=[clinic],
        preview=["frame.pixels=hu"],
        # Restoring begins to learn after some 120 to 150 steps; before that it is the identity.
        pretrain=["training.steps=220"],
        finetune=["training.steps=60"],
        few=0.1,
        draws=1,
        data=_PHANTOM,
    )


def volume_journey(out: Path) -> Journey:
    """The same in three dimensions: 20 unlabelled scans, 36 labelled of each class."""
    unlabelled, labelled, clinic = _phantoms(out, 20, 36, WHOLE_LUNGS)
    small = ["frame.size=64", "frame.depth=32"]
    return Journey(
        configs=CONFIGS / "volume",
        unlabelled=unlabelled,
        labelled=labelled,
        to_predict=[clinic],
        preview=["frame.pixels=hu", "slab=true"],
        # Small batches: restoring begins after so many steps, not after so many volumes.
        pretrain=[
            *small,
            "pretext.patch=[24,40,40]",
            "training.steps=300",
            "training.batch_size=4",
            "training.learning_rate=4e-3",
        ],
        finetune=[*small, "training.steps=40"],
        few=0.3,
        draws=1,
        data=_PHANTOM,
    )


def real_journey(data: Path) -> Journey:
    """Real CT: 8-bit slices to learn from; DICOM, and NIfTI in HU and in grey, to predict."""
    windowed = "frame.pixels=windowed"
    return Journey(
        configs=CONFIGS / "demo",
        unlabelled=data / "luna16-slices",
        labelled=data / "sars-cov-2-ct",
        to_predict=[
            data / "lidc-slabs",
            data / "nlst",
            *sorted((data / "medseg-9").glob("*_image.nii.gz")),
        ],
        preview=[windowed],
        pretrain=[windowed],
        # Contiguous blocks of the file number: a random split measures memory there.
        finetune=[windowed, "split.kind=blocked"],
        few=0.1,
        draws=3,
        data="SARS-CoV-2 CT, test split in contiguous blocks of the file number, 30 files left out "
        "at each border; runs of 20 neighbouring files stand for patients in the intervals, since "
        "none are published.",
    )


def _phantoms(out: Path, unlabelled: int, per_class: int, grid: Grid) -> tuple[Path, Path, Path]:
    """Folders of unlabelled scans, the table of labelled ones, and the folder of a clinic.

    One file of the clinic is cut short, as some always are.
    """
    folder = out / "phantom"
    clinic = folder / "clinic"
    if not (clinic / "labels.csv").is_file():
        write_unlabelled(folder / "unlabelled", unlabelled, seed=1, grid=grid)
        write_labelled(folder / "labelled", per_class, seed=2, grid=grid)
        whole = write_labelled(clinic, 5, seed=3, grid=grid)[0].read_bytes()
        write_bytes(clinic / "cut-short.nii.gz", whole[: len(whole) // 2])
    return folder / "unlabelled", folder / "labelled" / "labels.csv", clinic
