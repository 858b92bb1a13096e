"""Two thousand scans, one in twenty broken: all listed, memory flat, and kills leave no trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from benchmarks.broken import WAYS, break_scan
from benchmarks.drawn_models import drawn_card
from benchmarks.rows import Bar, Device, Row, is_met, rounded
from benchmarks.scans import chest
from benchmarks.watched_process import Watched, watch
from covidssl.files import read_csv
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.inference.job import UNEXPECTED
from covidssl.inference.journal import NAME
from covidssl.io import write_volume
from covidssl.model import save_model
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.networks.unet import RestorationUNet
from covidssl.phantom import phantom_chest
from covidssl.randomness import numpy_generator, torch_generator
from covidssl.volume import Volume
from covidssl.worker_processes import KILLED

_ROOT = Path(__file__).resolve().parents[1]
_STREAM = 97
_SHAPE, _SPACING_MM = (24, 64, 64), (10.0, 5.0, 5.0)
_PHANTOMS = 20
_BROKEN = 20  # one in so many
_MEMORY_MAY_GROW = 1.05
_ANSWERED = ("ok", "warned")


class Sizes(NamedTuple):
    """How much is done: scans, pictures, kills, and processes that read."""

    scans: int = 2000
    pictures: int = 10_000
    kills: int = 10
    readers: int = 2


def run(device: Device, quick: bool) -> tuple[list[Row], tuple[int, ...]]:
    """Rows of one run that is left alone, one that is killed, and one of many small pictures."""
    if device != "cpu":
        return [], (1,)
    return measured(Sizes(20, 20, 1, 0) if quick else Sizes(), quick), (1,)


def measured(sizes: Sizes, quick: bool) -> list[Row]:
    """The rows of so many scans."""
    with tempfile.TemporaryDirectory(prefix="covidssl-soak-") as folder:
        root = Path(folder)
        broken = _write_scans(root / "scans", sizes.scans)
        _write_model(root / "model", Pixels.HU)
        alone = _run_watched(root, "alone", _of_scans(root, sizes), sizes.scans)
        rows = _of_run(root / "alone", alone, broken, sizes, quick)
        rows += _of_kills(root, alone.seconds, sizes, quick)
        _write_pictures(root / "pictures", sizes.pictures)
        _write_model(root / "picture-model", Pixels.WINDOWED)
        small = _run_watched(root, "small", _of_pictures(root), sizes.pictures)
        rows += _of_small(root / "small", small, sizes.pictures, quick)
    return rows


def _of_scans(root: Path, sizes: Sizes) -> list[str]:
    return [str(root / "model"), str(root / "scans"), "--workers", str(sizes.readers)]


def _of_pictures(root: Path) -> list[str]:
    return [str(root / "picture-model"), str(root / "pictures"), "--no-maps", "--workers", "0"]


def _command(root: Path, out: str, given: list[str]) -> list[str]:
    verb = [sys.executable, "-m", "covidssl.cli", "predict", *given]
    return [*verb, "--out", str(root / out), "--device", "cpu", "--resume"]


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def _run_watched(root: Path, out: str, given: list[str], count: int) -> Watched:
    journal = root / out / NAME

    def share_done() -> float:
        return journal.read_bytes().count(b"\n") / count if journal.is_file() else 0.0

    return watch(_command(root, out, given), _ROOT, _environment(), share_done)


def _of_run(out: Path, alone: Watched, broken: int, sizes: Sizes, quick: bool) -> list[Row]:
    rows = read_csv(out / "predictions.csv") if alone.code in (0, 1) else []
    good = [row for row in rows if not row["scan"].startswith("broken")]
    bad = [row for row in rows if row["scan"].startswith("broken")]
    answered = sum(row["outcome"] in _ANSWERED for row in good)
    listed = sum(row["outcome"] not in _ANSWERED and bool(row["reasons"]) for row in bad)
    codes = Counter(code for row in rows for code in row["reason_codes"].split(";"))
    crashes = codes[UNEXPECTED] + codes[KILLED] + alone.errors.count("Traceback")
    ways = min(broken, len(WAYS))
    case = f"{sizes.scans} scans of 64 x 64 x 24, {broken} of them broken in {ways} ways"
    calm = max(0, len(rows) - crashes)
    as_said = alone.code == (1 if broken else 0)
    return [
        _all(f"{case}: exit code", "as documented", int(as_said), 1, quick),
        _all(f"{case}: good ones", "answered", answered, sizes.scans - broken, quick),
        _all(f"{case}: broken ones", "listed with a reason", listed, broken, quick),
        _all(f"{case}: all", "without a crash", calm, sizes.scans, quick),
        *_of_memory(f"{case}, {sizes.readers} readers", alone, quick),
    ]


def _of_small(out: Path, small: Watched, pictures: int, quick: bool) -> list[Row]:
    case = f"{pictures} pictures of 64 x 64, one process"
    rows = read_csv(out / "predictions.csv") if small.code == 0 else []
    answered = sum(row["outcome"] in _ANSWERED for row in rows)
    return [
        _all(f"{case}: all", "answered", answered, pictures, quick),
        *_of_memory(case, small, quick),
    ]


def _of_memory(case: str, seen: Watched, quick: bool) -> list[Row]:
    halves = sum(mib > 0 for mib in (seen.first, seen.second))
    # Without a look at both there is no ratio, and this bar says so.
    rows = [_all(f"{case}: memory", "halves looked at", halves, 2, quick)]
    if halves < 2:
        return rows
    bar = Bar("at most", None if quick else _MEMORY_MAY_GROW)
    ratio = seen.second / seen.first
    met = is_met(ratio, bar.bound, bar.value)
    first, second = rounded(seen.first), rounded(seen.second)
    row = Row(case, "MiB", second, first, "first half", ratio, bar.bound, bar.value, met, "cpu")
    return [*rows, row]


def _of_kills(root: Path, seconds: float, sizes: Sizes, quick: bool) -> list[Row]:
    """Kill a run again and again, let it end, and hold its table against the other one's."""
    moments, met = numpy_generator(0, _STREAM, 1), 0
    for _ in range(sizes.kills):
        process = subprocess.Popen(
            _command(root, "killed", _of_scans(root, sizes)), cwd=_ROOT, env=_environment(),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            process.wait(float(moments.uniform(0.1, 1.0)) * seconds / (sizes.kills + 2))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            met += process.wait() == -signal.SIGKILL
    last = _run_watched(root, "killed", _of_scans(root, sizes), sizes.scans)
    whole, killed = (_lines(root / out / "predictions.csv") for out in ("alone", "killed"))
    # Lines that are there as often in both, so that one too many counts as one too few does.
    same = sum((whole & killed).values()) - sum((killed - whole).values())
    case = f"killed {met} times at random moments and resumed: rows"
    # A header and a row a scan: an empty table is no equal one.
    wanted = max(whole.total(), sizes.scans + 1)
    return [
        _all("the same again: kills", "that met a run", met, sizes.kills, quick),
        _all(f"{case}, last exit code", "as documented", int(last.code in (0, 1)), 1, quick),
        _all(case, "equal byte for byte", same, wanted, quick),
    ]


def _lines(table: Path) -> Counter[bytes]:
    return Counter(table.read_bytes().splitlines()) if table.is_file() else Counter()


def _all(case: str, unit: str, ours: int, wanted: int, quick: bool) -> Row:
    bar = Bar("at least", None if quick else 1.0)
    ratio = ours / wanted if wanted else 0.0
    met = is_met(ratio, bar.bound, bar.value)
    return Row(case, unit, ours, wanted, "asked for", ratio, bar.bound, bar.value, met, "cpu")


def _write_scans(folder: Path, count: int) -> int:
    """Write scans of a few phantoms, each with noise of its own; gives how many are broken."""
    made = [phantom_chest(k, bool(k % 2), _SHAPE, _SPACING_MM).ct for k in range(_PHANTOMS)]
    broken = 0
    for number in range(count):
        ct = made[number % len(made)]
        if number % _BROKEN == _BROKEN // 2:
            break_scan(folder / f"broken-{broken:03d}", ct, broken)
            broken += 1
        else:
            write_volume(_noisy(ct, number), folder / f"{number % 50:02d}" / f"{number:04d}.nii.gz")
    return broken


def _noisy(ct: Volume, number: int) -> Volume:
    noise = numpy_generator(0, _STREAM, 2, number).normal(0, 15, ct.array.shape)
    array = np.clip(ct.array.astype(np.float64) + noise, -1024, 3071).astype(np.int16)
    return Volume(array, ct.pixels, ct.spacing_mm, ct.affine)


def _write_pictures(folder: Path, count: int) -> None:
    grey = np.rint(np.clip((chest(1, 64)[0] + 1000) / 1400, 0, 1) * 255)
    folder.mkdir()
    for number in range(count):
        noise = numpy_generator(0, _STREAM, 3, number).normal(0, 4, grey.shape)
        picture = Image.fromarray(np.clip(grey + noise, 0, 255).astype(np.uint8))
        picture.save(folder / f"{number:05d}.png", compress_level=1)


def _write_model(folder: Path, pixels: Pixels) -> None:
    """A small model whose weights were drawn: its answers mean nothing, and differ."""
    plan = EncoderPlan(channels=(8, 8, 16))
    classifier = CovidClassifier(build_encoder(plan)).state_dict()
    head = torch.randn(classifier["head.weight"].shape, generator=torch_generator(0, _STREAM))
    card = drawn_card(plan, Frame(size=64, pixels=pixels), classes=("non-COVID", "COVID"))
    restoration = RestorationUNet(build_encoder(plan), card.lesion_map).state_dict()
    save_model(folder, card, {**classifier, "head.weight": head}, restoration)
