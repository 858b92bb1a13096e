"""Both verbs that learn, as commands of their own processes, on a few small phantoms."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from covidssl.commands import prepare
from covidssl.experiments import PrepareConfig
from covidssl.files import read_csv, write_csv
from covidssl.io import write_volume
from covidssl.phantom import phantom_chest

ROOT = Path(__file__).parents[2]
SHAPE, SPACING = (6, 72, 72), (16.0, 4.8, 4.8)
SMALL = ("frame.size=32", "frame.pixels=hu", "encoder.channels=[8,8,16]", "training.batch_size=4",
         "training.warmup_steps=2", "training.ema_decay=0.9", "training.accumulate=2")  # fmt: skip
OF_A_VERB = {
    "pretrain": ("pictures_every=1000",),
    "finetune": ("validate_every=5", "split.kind=random"),
}
WEIGHTS = {"pretrain": "encoder.safetensors", "finetune": "model/classifier.safetensors"}


class Verbs:
    """A store and labelled scans in a folder, and the commands on them."""

    def __init__(self, root: Path) -> None:
        self.store, self.labels, self.cache = root / "store", root / "labels.csv", root / "cache"
        for k in range(3):
            write_volume(
                phantom_chest(k, False, SHAPE, SPACING).ct, root / "scans" / f"p{k}.nii.gz"
            )
        prepare.main(PrepareConfig(), [root / "scans"], self.store)
        rows = []
        for k in range(16):
            name, label = f"q{k:02d}.nii.gz", "COVID" if k % 2 else "non-COVID"
            write_volume(phantom_chest(100 + k, bool(k % 2), SHAPE, SPACING).ct, root / name)
            rows.append({"path": name, "label": label, "patient": f"person-{k}"})
        write_csv(self.labels, ("path", "label", "patient"), rows)

    def command(self, verb: str, out: Path, settings: Sequence[str], *more: str) -> list[str]:
        """A command for `subprocess`."""
        data = {
            "pretrain": ["--data", str(self.store)],
            "finetune": ["--data", str(self.labels), "--encoder", "none",
                         "--cache", str(self.cache)],
        }[verb]  # fmt: skip
        sets = [f"--set={one}" for one in (*SMALL, *OF_A_VERB[verb], *settings)]
        what = [verb, *data, "--out", str(out), "--device", "cpu", *sets, *more]
        return [sys.executable, "-m", "covidssl.cli", *what]


def environment() -> dict[str, str]:
    """One thread a process; no terminal."""
    return os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "200"}


def done(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """The command after it has ended."""
    return subprocess.run(
        command, env=environment(), cwd=ROOT, capture_output=True, text=True, check=False
    )


def well(command: Sequence[str]) -> None:
    """Run a command that must end well."""
    ended = done(command)
    assert ended.returncode == 0, ended.stderr


def begun(command: Sequence[str], out: Path, rows: int) -> subprocess.Popen[str]:
    """The command's process, as soon as so many rows of metrics were written."""
    process = subprocess.Popen(
        command, env=environment(), cwd=ROOT, text=True, stderr=subprocess.PIPE
    )
    until = time.monotonic() + 120
    while rows_of(out) < rows and time.monotonic() < until and process.poll() is None:
        time.sleep(0.002)
    return process


def rows_of(out: Path) -> int:
    """Whole rows of a run's metrics."""
    path = out / "metrics.csv"
    return path.read_text(encoding="utf-8").count("\n") - 1 if path.is_file() else 0


def columns(out: Path, *names: str) -> list[tuple[str, ...]]:
    """Columns of a run's metrics, as they stand there."""
    return [tuple(row[name] for name in names) for row in read_csv(out / "metrics.csv")]
