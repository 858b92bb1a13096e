"""Fine-tuned models of the paper's table: few arms, the blocked split, two protocols, two seeds."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import ValidationError
from threadpoolctl import threadpool_limits

from covidssl.files import write_text
from covidssl.progress import track
from covidssl.quality.folds import Fold
from covidssl.selection import LEAST_GROUPS
from covidssl.starting import start_from
from pipelines.study.arms import ArmName
from pipelines.study.finetuning import PROTOCOLS, SCORED, Said, Work, fine_tune, finetune_config
from pipelines.study.folds import FOLDS, Labels, cut, labels_of
from pipelines.study.grid import FRACTIONS
from pipelines.study.paper import (
    FINE_TUNED,
    Bench,
    config_print,
    file_of,
    keep_record,
    machine,
    stands,
)
from pipelines.study.records import Cell, Facts, Found, file_word
from pipelines.study.targets import FRAME, SetName, TargetSet

log = logging.getLogger(__name__)

SEEDS = 2


class Unit(NamedTuple):
    """One fine-tuning: its cell and the number of the fold that it is scored on."""

    cell: Cell
    fold: int

    @property
    def file(self) -> str:
        """Name of the file that keeps what it says."""
        cell = self.cell
        share = f"{100 * cell.fraction:g}pc-draw-{cell.draw}-seed-{cell.seed}"
        return f"{file_word(cell.protocol)}-{share}-fold-{self.fold}.json"


def units() -> list[Unit]:
    """All fine-tunings of an arm on a set: with a seed goes a draw of few labels."""
    cells = [
        Cell(protocol, fraction, 0 if fraction == 1.0 else seed, seed)
        for protocol in PROTOCOLS
        for fraction in FRACTIONS
        for seed in range(SEEDS)
    ]
    return [Unit(cell, fold) for cell in cells for fold in range(FOLDS)]


def fine_tuned_left(bench: Bench, arm: ArmName, name: SetName) -> str:
    """Why the fine-tuned models of an arm on a set are still to do."""
    sha = bench.encoder(arm)
    if not sha:
        return "no encoder yet"
    file = file_of(bench, FINE_TUNED, (name, "blocked", "plain", arm))
    return stands(file, {"encoder": sha, **bench.frames(name)}, _settings(bench, arm))


def run_fine_tuned(bench: Bench, arm: ArmName, name: SetName) -> None:
    """Fine-tune an arm on a set; what was done before with the same encoder is kept."""
    target = bench.seen(name, "plain")
    folder = bench.runs / "fine-tuned" / arm / name
    folds = cut(target, "blocked")
    with threadpool_limits(1):
        said = said_of(units(), name, folder, _tuning(bench, arm, target, folds))
    facts = Facts.now(
        sum(one.minutes for one in said.values()),
        bench.device,
        set_name=name,
        split="blocked",
        view="plain",
        arm=arm,
        sources={"encoder": bench.encoder(arm), "frames": target.loaded.fingerprint},
        settings={**_settings(bench, arm), "machine": machine()},
    )
    keep_record(bench.records, FINE_TUNED, target, "blocked", found_of(said, folds), facts)


def rows_print(labels: Labels) -> str:
    """SHA-256 of the rows that a fine-tuning learns from, chooses on and is scored on."""
    return sha256(b"|".join(rows.tobytes() for rows in labels)).hexdigest()


Tuning = Callable[[Unit], tuple[Mapping[str, str], Callable[[Path], Said]]]
"""Of a unit: what its answer is made from and with, and how it is made in a folder."""


def _tuning(bench: Bench, arm: ArmName, target: TargetSet, folds: Sequence[Fold]) -> Tuning:
    sha, frames = bench.encoder(arm), target.loaded.fingerprint
    configs = {
        (protocol, seed): finetune_config(protocol, seed, bench.configs)
        for protocol in PROTOCOLS
        for seed in range(SEEDS)
    }
    frame = FRAME if arm == "imagenet" else None

    def of(unit: Unit) -> tuple[Mapping[str, str], Callable[[Path], Said]]:
        config = configs[unit.cell.protocol, unit.cell.seed]
        labels = labels_of(target, folds[unit.fold], unit.cell.fraction, unit.cell.draw)
        made_of = {
            "encoder": sha,
            "frames": frames,
            "config": config_print(config),
            "scored": SCORED,
            "rows": rows_print(labels),
        }

        def tune(out: Path) -> Said:
            start = start_from(bench.run(arm), frame, None, config.seed)
            return fine_tune(target, Work(start, config, labels), out, made_of, bench.device)

        return made_of, tune

    return of


def said_of(every: Sequence[Unit], name: str, folder: Path, tuning: Tuning) -> dict[Unit, Said]:
    """What units of a set say, each kept in a file of its own as soon as it is there."""
    found = {}
    for unit in track(every, f"fine-tuning, {name}", len(every)):
        made_of, tune = tuning(unit)
        file = folder / unit.file
        said = kept(file)
        if said is None or said.of != dict(made_of):
            if said is not None:
                log.warning("%s: made again, it was of another encoder or setting.", file)
            # A folder a unit: of others of this arm and set another process may be at work.
            said = tune(folder / f"at-work-{file.stem}")
            write_text(file, said.model_dump_json() + "\n")
        found[unit] = said
    return found


def found_of(said: Mapping[Unit, Said], folds: Sequence[Fold]) -> dict[Cell, Found]:
    """Out-of-fold answers of each cell, from those of its folds.

    Where too few groups chose, the inner score is not a number, and nothing is chosen by it.
    """
    count = sum(len(fold.score) for fold in folds)
    found = {}
    for cell in dict.fromkeys(unit.cell for unit in said):
        own = [said[Unit(cell, number)] for number in range(len(folds))]
        chance = np.full(count, np.nan)
        for fold, one in zip(folds, own, strict=True):
            chance[fold.score] = one.chance
        inners = tuple(one.inner if one.groups >= LEAST_GROUPS else np.nan for one in own)
        labels = float(np.mean([one.labels for one in own]))
        words = tuple(one.chosen for one in own)
        found[cell] = Found(chance, labels, float(np.mean(inners)), words, inners)
    return found


def kept(file: Path) -> Said | None:
    """What a file keeps; None where there is none, or it cannot be read."""
    try:
        return Said.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, ValidationError):
        return None


def _settings(bench: Bench, arm: ArmName) -> dict[str, Any]:
    protocols = {
        protocol: finetune_config(protocol, 0, bench.configs).model_dump(mode="json")
        for protocol in PROTOCOLS
    }
    return bench.settings(arm) | {"protocols": protocols, "seeds": SEEDS, "scored": SCORED}
