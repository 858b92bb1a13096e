"""A bench on which the comparison on a GPU runs in small, on the CPU: pictures, store, probes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shutil import copyfile, copytree

import numpy as np
from PIL import Image

from covidssl.commands import prepare
from covidssl.experiments import PrepareConfig
from covidssl.phantom.scan import phantom_chest
from pipelines.study.arms import PRETEXTS
from pipelines.study.grid import images_of
from pipelines.study.paper import Bench
from pipelines.study.pretraining import CONFIGS, OVERRIDES, store_folder
from pipelines.study.records import Images, write_images, write_record
from pipelines.study.targets import TargetSet
from tests.study.made_records import made_cells, made_facts
from tests.study.made_targets import made_target

SMALL = """
pretrain:
  frame.size: 32
  encoder: {kind: unet, channels: [8, 8, 8]}
  training.steps: 2
  training.batch_size: 4
  training.warmup_steps: 1
finetune:
  training.steps: 2
  training.warmup_steps: 1
  training.batch_size: 8
"""


def small_configs(folder: Path, keys: str = SMALL) -> Path:
    """The settings, but for a larger network that is small."""
    copytree(CONFIGS, folder, dirs_exist_ok=True)
    (folder / OVERRIDES / "gpu.yaml").write_text(keys, encoding="utf-8")
    return folder


def write_probes(records: Path, images: Images, best: str = "mae") -> None:
    """Records of the other pretexts' probes, of which one is best within its labels."""
    for name in ("sars-cov-2-ct", "covid-ct"):
        write_images(records, name, "blocked", images)
        for arm in PRETEXTS:
            inner = 0.9 if arm == best else 0.6
            cells = made_cells(images, 1.0)
            told = {cell: found._replace(inner=inner) for cell, found in cells.items()}
            write_record(records / "reproduce", made_facts(arm, name), told)


def write_pictures(folder: Path) -> list[Path]:
    """Slices of a phantom as pictures of a lung window."""
    folder.mkdir(parents=True)
    files = []
    hu = phantom_chest(3, False, (12, 72, 72), (12.0, 4.8, 4.8)).ct.array
    for number, one in enumerate(hu.astype(np.float32)):
        grey = np.clip((one + 1000) / 1400 * 255, 0, 255).astype(np.uint8)
        files.append(folder / f"{number:03}.png")
        Image.fromarray(grey).save(files[-1])
    return files


def of_files(target: TargetSet, folder: Path, pictures: list[Path]) -> TargetSet:
    """The set with a file for each of its images."""
    folder.mkdir(parents=True)
    scans = []
    for number, scan in enumerate(target.scans):
        path = copyfile(pictures[number % len(pictures)], folder / scan.name)
        scans.append(replace(scan, files=replace(scan.files, paths=(path,))))
    loaded = replace(target.loaded, scans=tuple(scans))
    return replace(target, scans=tuple(scans), loaded=loaded)


def made_bench(root: Path) -> Bench:
    """One labelled set, a store, and records of probes; everything lies below a folder."""
    pictures = write_pictures(root / "luna16")
    runs = root / "runs"
    prepare.main(PrepareConfig(), [root / "luna16"], store_folder(runs))
    target = of_files(made_target(60, 32), root / "set", pictures[3:9])
    write_probes(root / "records", images_of(target, "blocked"))
    sets = {target.name: target}
    return Bench(root, runs, root / "records", small_configs(root / "configs"), sets=sets)
