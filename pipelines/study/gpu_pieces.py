"""The comparison with a larger network, in pieces for a borrowed GPU that holds no raw data.

Pieces 0 and 1 pretrain, and bring their encoders back in half precision. Each of the others probes
or fine-tunes one arm on one set, and brings chances back. A piece that was stopped goes on where it
was. `gather` makes records of what came back, where the raw data is.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel

from covidssl.commands import pretrain as verb
from covidssl.errors import UsageError
from covidssl.files import sha256_of, write_json, write_text
from covidssl.networks.encoder import Encoder, build_encoder
from covidssl.pack import Pack
from covidssl.quality.folds import Fold
from covidssl.randomness import initial_weights
from covidssl.starting import Start
from covidssl.training import make_fabric
from covidssl.weights import load_encoder, load_strictly, read_weights, save_weights
from pipelines.study.arms import NOTHING, OURS
from pipelines.study.features import lung_features
from pipelines.study.finetuning import (
    PROTOCOLS,
    SCORED,
    Said,
    Work,
    fine_tune,
    finetune_config,
)
from pipelines.study.folds import Labels, cut, groups_of_rarer, labels_of
from pipelines.study.gpu_packs import LUNA16, PackedSet, pack_set, pack_slices, read_set, recut
from pipelines.study.grid import FRACTIONS, cells_of
from pipelines.study.paper import LABELLED, ON_GPU, Bench, config_print, keep_record
from pipelines.study.paper_finetuned import Tuning, Unit, found_of, kept, rows_print, said_of, units
from pipelines.study.paper_probes import best_other
from pipelines.study.pretraining import pretrain_config, store_folder
from pipelines.study.probes import probe
from pipelines.study.records import Facts
from pipelines.study.scores import PROBE
from pipelines.study.targets import SETS, SetName, TargetSet

log = logging.getLogger(__name__)

PLAN = "plan.json"


class Piece(NamedTuple):
    """One piece: an arm to pretrain, or an arm and a set to use labels on by a protocol."""

    arm: str
    set_name: SetName | None = None
    protocol: str = ""

    @property
    def words(self) -> str:
        """What it does."""
        if self.set_name is None:
            return f"pretrain {self.arm}"
        return f"{self.arm}, {self.set_name}: {self.protocol}"


class _At(NamedTuple):
    """Where a piece works."""

    configs: Path
    pack: Path
    out: Path
    device: str


def pack_for_gpu(bench: Bench, pack: Path) -> list[Piece]:
    """Cut all frames at the larger size, write them in parts, and list the pieces.

    Raises:
        DataError: while the probes are not recorded, by which the other pretext is chosen.
    """
    pack.mkdir(parents=True, exist_ok=True)
    frame = pretrain_config(OURS, configs=bench.configs, scale="gpu").frame
    pieces = pieces_of(best_other(bench))
    for file in pack_slices(store_folder(bench.runs), pack, frame):
        log.info("%s: %.1f MiB", file.name, file.stat().st_size / 2**20)
    for target in bench.targets.values():
        for file in pack_set(target, recut(target, frame, bench.runs / "cache"), pack):
            log.info("%s: %.1f MiB", file.name, file.stat().st_size / 2**20)
    write_json(pack / PLAN, [piece._asdict() for piece in pieces])
    for number, piece in enumerate(pieces):
        log.info("piece %d: %s", number, piece.words)
    return pieces


def pieces_of(other: str) -> list[Piece]:
    """All pieces, each after those that it needs."""
    labelled = [
        Piece(arm, name, protocol)
        for arm in (OURS, NOTHING, other)
        for name in SETS
        for protocol in (PROBE, *PROTOCOLS)
    ]
    return [Piece(OURS), Piece(other), *labelled]


def run_piece(configs: Path, number: int, pack: Path, out: Path, device: str = "auto") -> None:
    """Run one piece on packed data.

    Args:
        configs: folder of the settings.
        number: of the piece in the plan that was packed.
        pack: folder of packed data.
        out: folder of what pieces give; the encoders of the first two must lie there.
        device: where networks run.

    Raises:
        UsageError: when there is no such piece, or its encoder is not there yet.
    """
    pieces = [Piece(**one) for one in json.loads((pack / PLAN).read_text(encoding="utf-8"))]
    if not 0 <= number < len(pieces):
        raise UsageError(f"--piece {number}: there are pieces 0 to {len(pieces) - 1}.")
    piece, at = pieces[number], _At(configs, pack, out, device)
    log.info("piece %d: %s", number, piece.words)
    if piece.set_name is None:
        _pretrain(at, piece.arm)
        return
    _use_labels(at, piece, read_set(pack, piece.set_name))


def _pretrain(at: _At, arm: str) -> None:
    config = pretrain_config(arm, configs=at.configs, scale="gpu")  # type: ignore[arg-type]
    work = at.out / "at-work" / arm
    began = time.monotonic()
    run = verb.main(config, Pack.open(at.pack / LUNA16), work, "resume", device=at.device)
    encoder, _card = load_encoder(run)
    file = _encoder_file(at.out, arm)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_weights(file, {name: _half(one) for name, one in encoder.state_dict().items()})
    minutes = (time.monotonic() - began) / 60
    about = {"config": config.model_dump(mode="json"), "minutes": round(minutes, 2)}
    write_json(file.with_suffix(".json"), about)
    shutil.rmtree(at.out / "at-work")  # the decoder, checkpoints: too large to bring back


def _half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def _encoder_file(out: Path, arm: str) -> Path:
    return out / "encoders" / f"{arm}.safetensors"


def _encoder(at: _At, arm: str) -> tuple[Encoder, str]:
    """An arm's encoder and its SHA-256."""
    config = pretrain_config(arm, configs=at.configs, scale="gpu")  # type: ignore[arg-type]
    with initial_weights(config.seed):
        encoder = build_encoder(config.encoder)
    if arm == NOTHING:
        return encoder, "drawn, seed 0"
    file = _encoder_file(at.out, arm)
    if not file.is_file():
        raise UsageError(f"{file}: not there yet; run the piece that pretrains {arm} first.")
    tensors = read_weights(file)
    load_strictly(encoder, {name: _single(one) for name, one in tensors.items()}, file.name)
    return encoder, sha256_of(file)


def _single(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _use_labels(at: _At, piece: Piece, packed: PackedSet) -> None:
    folder = at.out / "said" / piece.arm / packed.target.name
    fabric = make_fabric(at.device, "32-true")
    name = torch.cuda.get_device_name() if fabric.device.type == "cuda" else "cpu"
    tuning = (_probing if piece.protocol == PROBE else _fine_tuning)(at, piece, packed)
    said = said_of(_units(piece.protocol), packed.target.name, folder, tuning)
    config = pretrain_config(piece.arm, configs=at.configs, scale="gpu")  # type: ignore[arg-type]
    about = {
        "device": name,
        "encoder": next(iter(said.values())).of["encoder"],
        "pretraining": config.model_dump(mode="json"),
        "frames": packed.target.loaded.fingerprint,
    }
    write_text(folder / "about.json", json.dumps(about) + "\n")


def _units(protocol: str) -> list[Unit]:
    if protocol != PROBE:
        return [unit for unit in units() if unit.cell.protocol == protocol]
    folds = range(max(unit.fold for unit in units()) + 1)
    return [Unit(cell, fold) for cell in cells_of(PROBE, FRACTIONS) for fold in folds]


def _fine_tuning(at: _At, piece: Piece, packed: PackedSet) -> Tuning:
    target, folds = packed.target, packed.folds
    frame = pretrain_config(OURS, configs=at.configs, scale="gpu").frame

    def of(unit: Unit) -> tuple[Mapping[str, str], Callable[[Path], Said]]:
        config = finetune_config(unit.cell.protocol, unit.cell.seed, at.configs, "gpu")
        encoder, sha = _encoder(at, piece.arm)
        labels = labels_of(target, folds[unit.fold], unit.cell.fraction, unit.cell.draw)
        made_of = _made_of(sha, target, config, labels)

        def tune(out: Path) -> Said:
            work = Work(Start(encoder, frame, sha, None), config, labels)
            return fine_tune(target, work, out, made_of, at.device)

        return made_of, tune

    return of


def _probing(at: _At, piece: Piece, packed: PackedSet) -> Tuning:
    target, folds = packed.target, packed.folds
    encoder, sha = _encoder(at, piece.arm)
    encoder.to(make_fabric(at.device, "32-true").device)
    fit = probe(lung_features(encoder, target))
    config = pretrain_config(piece.arm, configs=at.configs, scale="gpu")  # type: ignore[arg-type]

    def of(unit: Unit) -> tuple[Mapping[str, str], Callable[[Path], Said]]:
        labels = labels_of(target, folds[unit.fold], unit.cell.fraction, unit.cell.draw)
        made_of = _made_of(sha, target, config, labels)

        def tune(_out: Path) -> Said:
            began = time.monotonic()
            fitted = fit(target, labels)
            return Said(
                chance=[round(float(one), 5) for one in fitted.chance],
                inner=fitted.inner,
                groups=groups_of_rarer(target.target, np.array(target.group), labels.choose),
                chosen=fitted.chosen,
                labels=len(labels.all),
                minutes=round((time.monotonic() - began) / 60, 3),
                of=made_of,
            )

        return made_of, tune

    return of


def _made_of(sha: str, target: TargetSet, config: BaseModel, labels: Labels) -> dict[str, str]:
    return {
        "encoder": sha,
        "frames": target.loaded.fingerprint,
        "config": config_print(config),
        "rows": rows_print(labels),
        "scored": SCORED,
    }


def gather(targets: Mapping[SetName, TargetSet], records: Path, folder: Path) -> list[str]:
    """Make records of what pieces brought back; gives the arms and sets that are not whole yet.

    Args:
        targets: both sets, as they were packed.
        records: folder of all records.
        folder: what the pieces gave.

    Raises:
        UsageError: when nothing came back, its rows are not those of the data given, or its
            answers are of several encoders or frames.
    """
    abouts = sorted(folder.glob("said/*/*/about.json"))
    if not abouts:
        raise UsageError(f"{folder}: holds nothing of a piece; expected said/ARM/SET/about.json.")
    lacking = []
    for file in abouts:
        arm, name = file.parent.parent.name, file.parent.name
        target = next(one for one in targets.values() if one.name == name)
        every = [unit for protocol in (PROBE, *PROTOCOLS) for unit in _units(protocol)]
        said = {unit: kept(file.parent / unit.file) for unit in every}
        there = {unit: one for unit, one in said.items() if one is not None}
        if len(there) < len(every):
            lacking.append(f"{arm}, {name}: {len(every) - len(there)} of {len(every)} missing")
            log.warning("%s", lacking[-1])
            continue
        folds = cut(target, "blocked")
        _must_be_of(target, folds, there, file.parent)
        about = json.loads(file.read_text(encoding="utf-8"))
        facts = _facts(arm, name, about, sum(one.minutes for one in there.values()))
        keep_record(records, ON_GPU, target, "blocked", found_of(there, folds), facts)
    return lacking


def _must_be_of(
    target: TargetSet, folds: tuple[Fold, ...], said: Mapping[Unit, Said], folder: Path
) -> None:
    first = next(iter(said.values())).of
    for unit, one in said.items():
        labels = labels_of(target, folds[unit.fold], unit.cell.fraction, unit.cell.draw)
        if one.of.get("rows") != rows_print(labels):
            raise UsageError(
                f"{folder / unit.file}: was made of other images than fold {unit.fold} of "
                f"{target.name} has. Give the data that was packed, or run the piece again."
            )
        differ = [name for name in ("encoder", "frames") if one.of.get(name) != first.get(name)]
        if differ:
            raise UsageError(
                f"{folder / unit.file}: its {differ[0]} is another than that of the other answers. "
                f"Run the pieces of this arm and set again, with one encoder and one pack."
            )


def _facts(arm: str, name: str, about: Mapping[str, Any], minutes: float) -> Facts:
    labelled = {name: value for name, value in LABELLED.items() if name != "frame"}
    settings = {
        "pretraining": about["pretraining"],
        "features": "as on the CPU",
        "scored": SCORED,
        **labelled,
    }
    return Facts.now(
        minutes,
        about["device"],
        set_name=name,
        split="blocked",
        view="plain",
        arm=arm,
        sources={"encoder": about["encoder"], "frames": about["frames"]},
        settings=settings,
    )
