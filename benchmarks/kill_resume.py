"""Runs that are killed at random moments and resumed, beside one that was left alone."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from itertools import count
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from benchmarks.rows import Bar, Device, Row, is_met
from covidssl.checkpoint import is_whole
from covidssl.commands import finetune, prepare, pretrain
from covidssl.config import load_config
from covidssl.errors import StoppedError
from covidssl.experiments import FinetuneConfig, PrepareConfig, PretrainConfig
from covidssl.files import read_csv, write_csv
from covidssl.finetuning import Places
from covidssl.io import write_volume
from covidssl.phantom import phantom_chest
from covidssl.randomness import numpy_generator

Verb = Literal["pretrain", "finetune"]

_VERBS: tuple[Verb, ...] = ("pretrain", "finetune")
_KILLS = {"pretrain": 15, "finetune": 15}
_STREAM = 73
# SIGKILL leaves no time for anything: so it comes most often.
_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGUSR1)
_SHAPE, _SPACING_MM = (6, 72, 72), (16.0, 4.8, 4.8)
_SMALL = ("frame.size=32", "frame.pixels=hu", "encoder.channels=[8,8,16]", "checkpoint_every=7",
          "training.batch_size=4", "training.warmup_steps=2", "training.ema_decay=0.9",
          "training.accumulate=2")  # fmt: skip
_WEIGHTS = {"pretrain": "encoder.safetensors", "finetune": "model/classifier.safetensors"}
_PRELOADED = ["covidssl.commands.pretrain", "covidssl.commands.finetune", "lightning_fabric",
              "benchmarks.kill_resume"]  # fmt: skip


class Found(NamedTuple):
    """What came of the kills of one verb.

    Attributes:
        kills: signals that met a run at work.
        runs: that were killed, some of them several times.
        ended: of them, those that could be resumed to their end.
        equal: of them, those with the losses and the weights of the run that was left alone.
        checkpoints: that lay there after the kills.
        whole: of them, those whose checksum was right.
    """

    kills: int = 0
    runs: int = 0
    ended: int = 0
    equal: int = 0
    checkpoints: int = 0
    whole: int = 0


def run(device: Device, quick: bool) -> tuple[list[Row], tuple[int, ...]]:
    """Rows of kills in both verbs, on a CPU, where all must be equal to the last bit."""
    if device != "cpu":
        return [], (1,)
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(_PRELOADED)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _write_data(root)
        for verb in _VERBS:
            wanted, steps = (1, 20) if quick else (_KILLS[verb], 120)
            rows += _rows(verb, _killed(server, verb, root, wanted, steps), quick)
    return rows, (1,)


def live(verb: Verb, root: Path, out: Path, steps: int) -> None:
    """One life of a run, from its start or from where the life before it ended."""
    torch.set_num_threads(1)
    logging.getLogger("covidssl").addHandler(logging.NullHandler())
    settings = [*_SMALL, f"training.steps={steps}"]
    try:
        if verb == "pretrain":
            taught = load_config(PretrainConfig, None, [*settings, "pictures_every=50"])
            pretrain.main(taught, root / "store", out, "resume", device="cpu")
        else:
            tuned = load_config(FinetuneConfig, None, [*settings, "validate_every=10"])
            places = Places(out, cache=root / "cache", device="cpu")
            finetune.main(tuned, root / "labels.csv", places, "resume")
    except StoppedError as stopped:
        sys.exit(stopped.code)
    except KeyboardInterrupt:  # before or after its steps, as the command has it
        sys.exit(128 + signal.SIGINT)


def _killed(server: ForkServerContext, verb: Verb, root: Path, wanted: int, steps: int) -> Found:
    """Kill runs of a verb until so many kills have met one, and resume them to their ends."""
    alone, moments = root / f"{verb}-alone", numpy_generator(0, _STREAM, _VERBS.index(verb))
    began = time.monotonic()
    _live_on(server, (verb, root, alone, steps))
    seconds = time.monotonic() - began
    found = Found()
    for one in count():
        if found.kills == wanted:
            break
        out, before = root / f"{verb}-{one}", found.kills
        while True:
            number = _SIGNALS[found.kills % len(_SIGNALS)] if found.kills < wanted else None
            moment = float(moments.uniform(0, seconds))
            met, code = _live_on(server, (verb, root, out, steps), number, moment)
            if not met:
                break
            states = [is_whole(path) for path in (out / "checkpoints").glob("step-*")]
            found = found._replace(
                kills=found.kills + 1,
                checkpoints=found.checkpoints + len(states),
                whole=found.whole + sum(states),
            )
        if found.kills == before:  # it had ended before the signal came
            continue
        ended = code == 0
        found = found._replace(
            runs=found.runs + 1,
            ended=found.ended + ended,
            equal=found.equal + (ended and _is_equal(verb, alone, out)),
        )
    return found


def _live_on(
    server: ForkServerContext,
    of: tuple[Verb, Path, Path, int],
    number: signal.Signals | None = None,
    moment: float = 0.0,
) -> tuple[bool, int | None]:
    """One life, and a signal after `moment` seconds: whether it met the run, and the exit code."""
    life = server.Process(target=live, args=of)
    life.start()
    met = False
    if number is not None and life.pid is not None:
        life.join(moment)
        met = life.exitcode is None
        if met:
            os.kill(life.pid, number)
    life.join()
    return met and life.exitcode != 0, life.exitcode


def _is_equal(verb: Verb, alone: Path, killed: Path) -> bool:
    """Whether two runs have the same losses at every step, and the same weights, to the bit."""
    rows = [
        [{k: v for k, v in row.items() if k != "images_per_second"} for row in read_csv(path)]
        for path in (alone / "metrics.csv", killed / "metrics.csv")
    ]
    weights = [(out / _WEIGHTS[verb]).read_bytes() for out in (alone, killed)]
    return rows[0] == rows[1] and weights[0] == weights[1]


def _rows(verb: Verb, found: Found, quick: bool) -> list[Row]:
    def row_of(unit: str, ours: int, peer: int, peer_name: str) -> Row:
        # Nothing may be lost: one that is, is a bar that is missed.
        ratio = ours / peer if peer else 1.0
        bar = Bar("at least", None if quick else 1.0)
        met = is_met(ratio, bar.bound, bar.value)
        case = f"{verb}, {found.kills} kills of {found.runs} runs"
        return Row(case, unit, ours, peer, peer_name, ratio, bar.bound, bar.value, met, "cpu")

    return [
        row_of("runs resumed to their end", found.ended, found.runs, "runs killed"),
        row_of("runs equal to the last bit", found.equal, found.runs, "left alone"),
        row_of("whole checkpoints", found.whole, found.checkpoints, "found after a kill"),
    ]


def _write_data(root: Path) -> None:
    """A store, and labelled scans, of small phantoms."""
    for k in range(3):
        scan = phantom_chest(k, False, _SHAPE, _SPACING_MM).ct
        write_volume(scan, root / "scans" / f"p{k}.nii.gz")
    prepare.main(PrepareConfig(), [root / "scans"], root / "store")
    rows = []
    for k in range(16):
        name, label = f"q{k:02d}.nii.gz", "COVID" if k % 2 else "non-COVID"
        write_volume(phantom_chest(100 + k, bool(k % 2), _SHAPE, _SPACING_MM).ct, root / name)
        rows.append({"path": name, "label": label, "patient": f"person-{k}"})
    write_csv(root / "labels.csv", ("path", "label", "patient"), rows)
