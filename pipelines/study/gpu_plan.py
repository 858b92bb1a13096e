"""The comparison with a larger network, cut into pieces for a GPU, and the data packed for them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from covidssl.errors import DataError, UsageError
from covidssl.files import write_text
from covidssl.folder_lock import alone_in
from covidssl.frames import Frame
from covidssl.pack import parts_beside
from covidssl.store import Store
from pipelines.study.arms import NOTHING, OURS
from pipelines.study.finetuning import PROTOCOLS
from pipelines.study.gpu_packs import LUNA16, pack_set, pack_slices, recut
from pipelines.study.grid import FRACTIONS, cells_of
from pipelines.study.paper import Bench
from pipelines.study.paper_finetuned import Unit, units
from pipelines.study.paper_probes import best_other
from pipelines.study.pretraining import pretrain_config, store_folder
from pipelines.study.scores import PROBE
from pipelines.study.targets import SETS, SetName

log = logging.getLogger(__name__)

PLAN = "plan.json"

ABOUT = "about.json"
"""Beside the answers of an arm on a set: what they are of."""


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


class Plan(BaseModel):
    """What lies in a pack, and what is to be done with it.

    Attributes:
        frame: how everything was cut.
        sources: fingerprints of what was packed, by name.
        pieces: each after those that it needs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    frame: Frame
    sources: dict[str, str]
    pieces: list[Piece]


def pieces_of(other: str) -> list[Piece]:
    """All pieces, each after those that it needs."""
    labelled = [
        Piece(arm, name, protocol)
        for arm in (OURS, NOTHING, other)
        for name in SETS
        for protocol in (PROBE, *PROTOCOLS)
    ]
    return [Piece(OURS), Piece(other), *labelled]


def units_of(protocol: str) -> list[Unit]:
    """All that a piece of a protocol answers: its cells, fold by fold."""
    if protocol != PROBE:
        return [unit for unit in units() if unit.cell.protocol == protocol]
    folds = range(max(unit.fold for unit in units()) + 1)
    return [Unit(cell, fold) for cell in cells_of(PROBE, FRACTIONS) for fold in folds]


def frame_of(configs: Path) -> Frame:
    """How slices are cut for the larger network."""
    return pretrain_config(OURS, configs=configs, scale="gpu").frame


def plan_of(bench: Bench) -> Plan:
    """What there is to pack and to do now; without sources where the bench reads no sets.

    Raises:
        DataError: while the probes are not recorded, by which the other pretext is chosen.
    """
    sources = {}
    if bench.reads_sets:
        sources["luna16"] = Store.open(store_folder(bench.runs)).fingerprint
        sources |= {name: bench.frames(name)["frames"] for name in bench.targets}
    pieces = pieces_of(best_other(bench))
    return Plan(frame=frame_of(bench.configs), sources=sources, pieces=pieces)


def write_plan(pack: Path, plan: Plan) -> None:
    """Write a plan beside the data that it is of: last, since a pack with a plan is whole."""
    write_text(pack / PLAN, plan.model_dump_json(indent=2) + "\n")


def read_plan(pack: Path) -> Plan:
    """The plan that was packed.

    Raises:
        UsageError: when there is none.
        DataError: when it cannot be read.
    """
    file = pack / PLAN
    if not file.is_file():
        raise UsageError(
            f"{file}: not there. Expected a folder that `python -m pipelines.reproduce_gpu pack` "
            f"has written to its end; pack again, or copy all of it."
        )
    try:
        return Plan.model_validate_json(file.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise DataError(f"{file}: is no plan of this version; pack again.") from error


def pack_left(pack: Path, wanted: Plan) -> str:
    """Why a pack is still to be made, in words; empty where it is this one.

    Sources that the wanted plan does not name may be anything.
    """
    try:
        held = read_plan(pack)
    except UsageError:
        return "not packed yet"
    except DataError:
        return "another version packed it"
    if held.frame != wanted.frame:
        return "frames were cut otherwise"
    if any(held.sources.get(name) != value for name, value in wanted.sources.items()):
        return "other data were packed"
    return "" if held.pieces == wanted.pieces else "its pieces are others"


def pack_for_gpu(bench: Bench, pack: Path) -> Plan:
    """Cut all frames at the larger size, write them in parts, and list the pieces.

    What was packed there before is taken away first. A pack that is whole is left as it is.

    Raises:
        DataError: while the probes are not recorded, by which the other pretext is chosen.
        UsageError: when another process packs there.
    """
    plan = plan_of(bench)
    pack.mkdir(parents=True, exist_ok=True)
    with alone_in(pack, ".pack.lock", "another process packs there; wait for it."):
        if pack_left(pack, plan):
            _remove_parts(pack)
            _write_parts(bench, pack, plan.frame)
            write_plan(pack, plan)
    for number, piece in enumerate(plan.pieces):
        log.info("piece %d: %s", number, piece.words)
    return plan


def _remove_parts(pack: Path) -> None:
    (pack / PLAN).unlink(missing_ok=True)
    for name in (LUNA16, *(f"{name}.safetensors" for name in SETS)):
        for part in parts_beside(pack / name):
            part.unlink()


def _write_parts(bench: Bench, pack: Path, frame: Frame) -> None:
    files = pack_slices(store_folder(bench.runs), pack, frame)
    for target in bench.targets.values():
        files += pack_set(target, recut(target, frame, bench.runs / "cache"), pack)
    for file in files:
        log.info("%s: %.1f MiB", file.name, file.stat().st_size / 2**20)
