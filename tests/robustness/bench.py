"""A run, two labelled sets of phantoms, and a place for what a suite finds of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from covidssl.commands import robustness
from covidssl.evaluation.external import External
from covidssl.files import write_csv
from covidssl.io import write_volume
from covidssl.phantom import phantom_chest
from covidssl.robustness.plan import RobustnessConfig
from tests.robustness.scans import write_model

SHAPE, SPACING = (4, 72, 72), (28.0, 4.8, 4.8)
SMALL = RobustnessConfig(
    split="all",
    by=("scanner",),
    kinds=("dose_noise", "hu_down", "slice_thickness", "jpeg"),
    severities=(2, 5),
    attack_hu=(5.0, 20.0),
    attack_steps=2,
    rounds=100,
)


def write_labels(folder: Path, patients: int = 4, first_seed: int = 0) -> Path:
    rows = []
    for seed in range(patients):
        for label in ("normal", "COVID"):
            name = f"p{seed}-{label}.nii.gz"
            scan = phantom_chest(first_seed + seed, label == "COVID", SHAPE, SPACING).ct
            write_volume(scan, folder / name)
            rows.append(
                {"path": name, "label": label, "patient": f"{seed}", "scanner": "AB"[seed % 2]}
            )
    write_csv(folder / "labels.csv", ("path", "label", "patient", "scanner"), rows)
    return folder / "labels.csv"


class Bench:
    """A model, two labelled sets, and a place for what is found."""

    def __init__(self, root: Path) -> None:
        self.run, self.out = write_model(root / "run"), root / "out"
        self.labels = write_labels(root / "data")
        self.other = write_labels(root / "else", 2, 50)

    def go(self, config: RobustnessConfig = SMALL, **more: Any) -> dict[str, Any]:
        beside = robustness.Beside((External("elsewhere", self.other),))
        robustness.main(config, self.run, self.labels, self.out, beside=beside, **more)
        return json.loads((self.out / "robustness.json").read_text())
