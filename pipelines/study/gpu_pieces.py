"""One piece of the comparison with a larger network, run on packed data alone.

Pieces 0 and 1 pretrain, and bring their encoders back in half precision. Each of the others probes
or fine-tunes one arm on one set, and brings chances back. A piece that was stopped goes on where it
was, and one that is done is left as it is. Pieces may run side by side: each writes in places of
its own, and two processes are never at the same one.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from pydantic import BaseModel

from covidssl.commands import pretrain as verb
from covidssl.errors import UsageError
from covidssl.experiments import PretrainConfig
from covidssl.files import sha256_of, write_json, write_text
from covidssl.folder_lock import alone_in
from covidssl.networks.encoder import Encoder, build_encoder
from covidssl.pack import Pack
from covidssl.randomness import initial_weights
from covidssl.starting import Start
from covidssl.training import make_fabric
from covidssl.weights import load_encoder, load_strictly, read_weights, save_weights
from pipelines.study.arms import NOTHING
from pipelines.study.features import lung_features
from pipelines.study.finetuning import SCORED, Said, Work, fine_tune, finetune_config
from pipelines.study.folds import Labels, groups_of_rarer, labels_of
from pipelines.study.gpu_packs import LUNA16, PackedSet, read_set
from pipelines.study.gpu_plan import ABOUT, Piece, frame_of, read_plan, units_of
from pipelines.study.paper import config_print
from pipelines.study.paper_finetuned import Tuning, Unit, kept, rows_print, said_of
from pipelines.study.pretraining import minutes_of, pretrain_config
from pipelines.study.probes import Fit, probe
from pipelines.study.scores import PROBE

log = logging.getLogger(__name__)


class _At(NamedTuple):
    """Where a piece works."""

    configs: Path
    pack: Path
    out: Path
    device: str


def run_piece(configs: Path, number: int, pack: Path, out: Path, device: str = "auto") -> None:
    """Run one piece on packed data; what it has brought already is kept.

    Args:
        configs: folder of the settings.
        number: of the piece in the plan that was packed.
        pack: folder of packed data.
        out: folder of what pieces give; the encoders of the first two must lie there.
        device: where networks run.

    Raises:
        UsageError: when there is no such piece, its encoder is not there yet, another process is
            at it, or the frames were packed for other settings.
    """
    plan = read_plan(pack)
    if not 0 <= number < len(plan.pieces):
        raise UsageError(f"Piece {number}: there are pieces 0 to {len(plan.pieces) - 1}.")
    if plan.frame != frame_of(configs):
        raise UsageError(f"{pack}: its frames are not cut as {configs} says. Pack again.")
    piece, at = plan.pieces[number], _At(configs, pack, out, device)
    locks = out / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    with alone_in(locks, f"piece-{number}.lock", f"another process is at piece {number}."):
        log.info("piece %d: %s", number, piece.words)
        if piece.set_name is None:
            _pretrain(at, piece.arm)
        else:
            _use_labels(at, piece, read_set(pack, piece.set_name))


def piece_left(configs: Path, piece: Piece, out: Path) -> str:
    """What of a piece is left, in words; empty where all of it is there.

    Whether answers are of the encoder and the frames that stand now is seen only when it runs.
    """
    if piece.set_name is None:
        return "" if _stands(_At(configs, out, out, ""), piece.arm) else "no encoder yet"
    folder = _place(out, piece)
    every = units_of(piece.protocol)
    there = sum(kept(folder / unit.file) is not None for unit in every)
    return "" if there == len(every) else f"{there} of {len(every)} answers"


def _config(at: _At, arm: str) -> PretrainConfig:
    return pretrain_config(arm, configs=at.configs, scale="gpu")  # type: ignore[arg-type]


def _pretrain(at: _At, arm: str) -> None:
    packed, config = Pack.open(at.pack / LUNA16), _config(at, arm)
    if _stands(at, arm, packed.fingerprint):
        log.info("%s: done.", _encoder_file(at.out, arm))
        return
    settings = config.model_dump(mode="json")
    # One folder a setting: a training that was stopped cannot go on with another one.
    own = at.out / "at-work" / arm
    run = own / f"{config_print(config)[:8]}-{packed.fingerprint[:8]}"
    verb.main(config, packed, run, "resume", device=at.device)
    encoder, _card = load_encoder(run)
    file = _encoder_file(at.out, arm)
    file.parent.mkdir(parents=True, exist_ok=True)
    save_weights(file, {name: _half(one) for name, one in encoder.state_dict().items()})
    about = {"config": settings, "store": packed.fingerprint, "sha256": sha256_of(file)}
    write_json(file.with_suffix(".json"), about | {"minutes": round(minutes_of(run) or 0.0, 2)})
    shutil.rmtree(own)  # the decoder, checkpoints: too large to bring back


def _stands(at: _At, arm: str, store: str | None = None) -> bool:
    """Whether an arm's encoder is there, whole, and of the settings of now (and of a store)."""
    file = _encoder_file(at.out, arm)
    try:
        about = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))
        whole = sha256_of(file) == about["sha256"]
        wanted = json.loads(json.dumps(_config(at, arm).model_dump(mode="json")))
        return whole and about["config"] == wanted and store in (None, about["store"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def _single(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _encoder_file(out: Path, arm: str) -> Path:
    return out / "encoders" / f"{arm}.safetensors"


def _encoder_print(at: _At, arm: str) -> str:
    """SHA-256 of an arm's encoder, or how its weights are drawn."""
    if arm == NOTHING:
        return f"drawn, seed {_config(at, arm).seed}"
    file = _encoder_file(at.out, arm)
    if not _stands(at, arm):
        raise UsageError(
            f"{file}: not there yet, or of other settings; run the piece that pretrains {arm} "
            f"first."
        )
    return sha256_of(file)


def _encoder(at: _At, arm: str) -> Encoder:
    config = _config(at, arm)
    with initial_weights(config.seed):
        encoder = build_encoder(config.encoder)
    if arm != NOTHING:
        file = _encoder_file(at.out, arm)
        tensors = {name: _single(one) for name, one in read_weights(file).items()}
        load_strictly(encoder, tensors, file.name)
    return encoder


def _place(out: Path, piece: Piece) -> Path:
    return out / "said" / piece.arm / str(piece.set_name)


def _use_labels(at: _At, piece: Piece, packed: PackedSet) -> None:
    folder, every = _place(at.out, piece), units_of(piece.protocol)
    frames = packed.target.loaded.fingerprint
    sources = {"encoder": _encoder_print(at, piece.arm), "frames": frames}
    tuning = (_probing if piece.protocol == PROBE else _fine_tuning)(at, piece, packed, sources)
    about = {**sources, "pretraining": _config(at, piece.arm).model_dump(mode="json")}
    if _answered(folder, every, tuning, about):
        log.info("%s: done.", piece.words)
        return
    fabric = make_fabric(at.device, "32-true")
    name = torch.cuda.get_device_name() if fabric.device.type == "cuda" else "cpu"
    said_of(every, packed.target.name, folder, tuning)
    write_text(folder / ABOUT, json.dumps({"device": name, **about}) + "\n")


def _answered(folder: Path, every: list[Unit], tuning: Tuning, about: Mapping[str, Any]) -> bool:
    """Whether all answers are there, of what stands now, and said to be so."""
    try:
        held = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if {**held, "device": ""} != {**json.loads(json.dumps(about)), "device": ""}:
        return False
    of = {unit: kept(folder / unit.file) for unit in every}
    return all(one is not None and one.of == dict(tuning(unit)[0]) for unit, one in of.items())


def _fine_tuning(at: _At, piece: Piece, packed: PackedSet, sources: Mapping[str, str]) -> Tuning:
    target, folds = packed.target, packed.folds
    frame = frame_of(at.configs)

    def of(unit: Unit) -> tuple[Mapping[str, str], Callable[[Path], Said]]:
        config = finetune_config(unit.cell.protocol, unit.cell.seed, at.configs, "gpu")
        labels = labels_of(target, folds[unit.fold], unit.cell.fraction, unit.cell.draw)
        made_of = _made_of(sources, config, labels)

        def tune(out: Path) -> Said:
            start = Start(_encoder(at, piece.arm), frame, sources["encoder"], None)
            work = Work(start, config, labels)
            return fine_tune(target, work, out, made_of, at.device)

        return made_of, tune

    return of


def _probing(at: _At, piece: Piece, packed: PackedSet, sources: Mapping[str, str]) -> Tuning:
    target, folds = packed.target, packed.folds
    config = _config(at, piece.arm)

    @cache
    def fit() -> Fit:
        encoder = _encoder(at, piece.arm).to(make_fabric(at.device, "32-true").device)
        return probe(lung_features(encoder, target))

    def of(unit: Unit) -> tuple[Mapping[str, str], Callable[[Path], Said]]:
        labels = labels_of(target, folds[unit.fold], unit.cell.fraction, unit.cell.draw)
        made_of = _made_of(sources, config, labels)

        def tune(_out: Path) -> Said:
            began = time.monotonic()
            fitted = fit()(target, labels)
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


def _made_of(sources: Mapping[str, str], config: BaseModel, labels: Labels) -> dict[str, str]:
    about = {"config": config_print(config), "rows": rows_print(labels), "scored": SCORED}
    return {**sources, **about}
