"""Records of what the pieces of a GPU brought back, made where the raw data is."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from covidssl.errors import UsageError
from covidssl.quality.folds import Fold
from pipelines.study.finetuning import PROTOCOLS, SCORED, Said
from pipelines.study.folds import cut, labels_of
from pipelines.study.gpu_plan import ABOUT, units_of
from pipelines.study.paper import LABELLED, ON_GPU, keep_record
from pipelines.study.paper_finetuned import Unit, found_of, kept, rows_print
from pipelines.study.records import Facts
from pipelines.study.scores import PROBE
from pipelines.study.targets import SetName, TargetSet

log = logging.getLogger(__name__)


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
    places = sorted(one for one in folder.glob("said/*/*") if one.is_dir())
    if not places:
        raise UsageError(f"{folder}: holds nothing of a piece; expected said/ARM/SET/{ABOUT}.")
    lacking = []
    for place in places:
        arm, name = place.parent.name, place.name
        every = [unit for protocol in (PROBE, *PROTOCOLS) for unit in units_of(protocol)]
        said = {unit: kept(place / unit.file) for unit in every}
        there = {unit: one for unit, one in said.items() if one is not None}
        missing = f"{len(every) - len(there)} of {len(every)}" if len(there) < len(every) else ABOUT
        if len(there) < len(every) or not (place / ABOUT).is_file():
            lacking.append(f"{arm}, {name}: {missing} missing")
            log.warning("%s", lacking[-1])
            continue
        target = next(one for one in targets.values() if one.name == name)
        folds = cut(target, "blocked")
        about = json.loads((place / ABOUT).read_text(encoding="utf-8"))
        _must_be_of(target, folds, there, place, about)
        facts = _facts(arm, name, about, sum(one.minutes for one in there.values()))
        keep_record(records, ON_GPU, target, "blocked", found_of(there, folds), facts)
    return lacking


def _must_be_of(
    target: TargetSet,
    folds: tuple[Fold, ...],
    said: Mapping[Unit, Said],
    place: Path,
    about: Mapping[str, Any],
) -> None:
    for unit, one in said.items():
        labels = labels_of(target, folds[unit.fold], unit.cell.fraction, unit.cell.draw)
        if one.of.get("rows") != rows_print(labels):
            raise UsageError(
                f"{place / unit.file}: was made of other images than fold {unit.fold} of "
                f"{target.name} has. Give the data that was packed, or run the piece again."
            )
        differ = [name for name in ("encoder", "frames") if one.of.get(name) != about.get(name)]
        if differ:
            raise UsageError(
                f"{place / unit.file}: its {differ[0]} is another than {ABOUT} beside it says. "
                f"Run the pieces of this arm and set again, with one encoder and one pack."
            )


def _facts(arm: str, name: str, about: Mapping[str, Any], minutes: float) -> Facts:
    labelled = {key: value for key, value in LABELLED.items() if key != "frame"}
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
