"""What closing skip connections does to the levels of an encoder: a linear probe of each of them.

    python -m pipelines.skip_dropout --data ../shared/data --out work/skip-dropout

Pretrains one small encoder a rate of `skip_dropout` and a seed on LUNA16 slices, beside one that
has learnt nothing, and probes every level on SARS-CoV-2 CT, cut into contiguous blocks of the file
order. Intervals resample runs of 20 files; the seeds are averaged on the same resamples. Stopped
and started again, it goes on where it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from covidssl.commands import prepare, pretrain
from covidssl.config import load_config
from covidssl.datasets import read_dataset
from covidssl.errors import UsageError
from covidssl.experiments import PrepareConfig, PretrainConfig
from covidssl.files import write_json, write_text
from covidssl.labelled_frames import LabelledFrames, load_labelled_frames
from covidssl.metrics import Estimate, Part, combined
from covidssl.networks.encoder import Encoder, build_encoder
from covidssl.quality.features import level_features
from covidssl.quality.folds import Folds, make_folds
from covidssl.quality.probing import out_of_fold
from covidssl.randomness import initial_weights, numpy_generator
from covidssl.splits import groups_of_scans
from covidssl.weights import load_encoder

RATES = (0.0, 0.3, 0.6)
UNTRAINED = "untrained"
SETTINGS = (
    "frame.size=64",
    "frame.pixels=windowed",
    "encoder.channels=[8,16,24,32,48]",
    "training.batch_size=32",
    "training.learning_rate=2e-3",
    "training.warmup_steps=20",
    "checkpoint_every=100",
    "pictures_every=1000",
    "quality.every=null",
)
FOLDS, GAP, RUN_LENGTH, NEIGHBOURS = 5, 30, 20, 10
_STREAM = 72

Chances = dict[str, NDArray[np.float64]]
"""Of every level, the probability of each scan by a probe that has not seen it."""


def main(
    data: Annotated[Path, typer.Option(help="Folder with luna16-slices and sars-cov-2-ct.")],
    out: Annotated[Path, typer.Option(help="Folder of the results.")] = Path("work/skip-dropout"),
    steps: Annotated[int, typer.Option(help="Optimiser steps of each pretraining.")] = 300,
    seeds: Annotated[int, typer.Option(help="Pretrainings of each rate.")] = 3,
) -> None:
    """Pretrain, probe, and write `skip-dropout.json` and `table.md`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    began = time.monotonic()
    # Small pictures: with more threads a convolution mostly waits.
    torch.set_num_threads(1)
    for name in ("luna16-slices", "sars-cov-2-ct"):
        if not (data / name).is_dir():
            raise UsageError(f"{data / name}: not there; data/README.md says where to get it.")
    prepare.main(PrepareConfig(), [data / "luna16-slices"], out / "store", "resume")
    frame = _config(steps, 0.0, 0).frame
    dataset = read_dataset(data / "sars-cov-2-ct", "COVID")
    frames = load_labelled_frames(dataset.scans, frame, 1, out / "cache")
    folds = make_folds(frames.scans, frames.prints, FOLDS, GAP)
    arms: dict[str, list[Chances]] = {UNTRAINED: [], **{f"{rate:g}": [] for rate in RATES}}
    for seed in range(seeds):
        for arm, found in arms.items():
            found.append(_probed(_encoder(out, arm, steps, seed), frames, folds))
    results = _results(arms, frames, folds) | {
        "steps": steps,
        "seeds": seeds,
        "settings": SETTINGS,
        "minutes": round((time.monotonic() - began) / 60, 1),
    }
    write_json(out / "skip-dropout.json", results)
    write_text(out / "table.md", table(results) + "\n")
    typer.echo(f"{table(results)}\n{results['minutes']} minutes: {out / 'skip-dropout.json'}")


def _config(steps: int, rate: float, seed: int) -> PretrainConfig:
    own = (f"training.steps={steps}", f"pretext.skip_dropout={rate:g}", f"seed={seed}")
    return load_config(PretrainConfig, None, [*SETTINGS, *own])


def _encoder(out: Path, arm: str, steps: int, seed: int) -> Encoder:
    """The encoder of an arm, pretrained unless it was before, or drawn by its seed."""
    if arm == UNTRAINED:
        with initial_weights(seed):
            return build_encoder(_config(steps, 0.0, seed).encoder)
    run = out / f"pretrain-{arm}-{seed}"
    config = _config(steps, float(arm), seed)
    pretrain.main(config, out / "store", run, "resume", device="cpu")
    return load_encoder(run)[0]


def _probed(encoder: Encoder, frames: LabelledFrames, folds: Folds) -> Chances:
    """What a linear probe says of each level, and of all levels together."""
    levels = level_features(encoder, frames.frames)
    named = {f"level {number}": features for number, features in enumerate(levels)}
    named["all levels"] = np.concatenate(levels, axis=1)
    return {
        name: out_of_fold(features, frames.target, folds.folds, NEIGHBOURS).probe
        for name, features in named.items()
    }


def _results(
    arms: dict[str, list[Chances]], frames: LabelledFrames, folds: Folds
) -> dict[str, Any]:
    """AUROC of every arm and level, the mean over seeds, and its gain on skips never closed."""
    target, group = frames.target, groups_of_scans(frames.scans, RUN_LENGTH)
    open_skips = arms[f"{RATES[0]:g}"]
    found: dict[str, dict[str, Any]] = {}
    for arm, seeds in arms.items():
        found[arm] = {}
        for level in seeds[0]:
            ours = [chances[level] for chances in seeds]
            base = [chances[level] for chances in open_skips]
            found[arm][level] = {
                "auroc": _mean(target, [(ours, 1.0)], group)._asdict(),
                "gain": _mean(target, [(ours, 1.0), (base, -1.0)], group)._asdict(),
                "seeds": [float(roc_auc_score(target, one)) for one in ours],
            }
    return {
        "scans": len(frames.scans),
        "dropped": len(frames.dropped),
        "groups": len(set(group)),
        "folds": folds.text,
        "arms": found,
    }


def _mean(
    target: NDArray[np.int64],
    weighted: Sequence[tuple[list[NDArray[np.float64]], float]],
    group: Sequence[str],
) -> Estimate:
    """Sum of the weighted means over seeds, each AUROC on the same resamples."""
    parts = [Part(one, 0.5, weight / len(of)) for of, weight in weighted for one in of]
    return combined(target, parts, group, numpy_generator(_STREAM))


def table(results: dict[str, Any]) -> str:
    """AUROC by arm and level as Markdown, with what each arm gains on the one without dropout."""
    arms = results["arms"]
    levels = list(next(iter(arms.values())))
    lines = [f"| skip_dropout | {' | '.join(levels)} |", f"|{'---|' * (len(levels) + 1)}"]
    for what, start in (("auroc", ""), ("gain", "gain over 0, ")):
        for arm, found in arms.items():
            if what == "gain" and arm == f"{RATES[0]:g}":
                continue
            cells = (_words(found[level][what], what == "gain") for level in levels)
            lines.append(f"| {start}{arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _words(estimate: dict[str, float], signed: bool) -> str:
    form = "+.3f" if signed else ".3f"
    value, low, high = (format(estimate[name], form) for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


if __name__ == "__main__":
    typer.run(main)
