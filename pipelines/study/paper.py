"""What the reproduction of the paper works with: places, sets, and what every record says of it."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from covidssl.errors import DataError
from pipelines.study.arms import ArmName
from pipelines.study.folds import FOLDS, GAPS, SplitName
from pipelines.study.grid import DRAWS, images_of
from pipelines.study.pretraining import (
    CONFIGS,
    Corpus,
    minutes_of,
    pretrain_config,
    run_folder,
    sha256_of_encoder,
)
from pipelines.study.records import (
    Cell,
    Facts,
    Found,
    read_facts,
    record_file,
    write_images,
    write_record,
)
from pipelines.study.targets import FRAME, SETS, SetName, Targets, TargetSet, View, seen_as

PROBES, FINE_TUNED, ON_GPU = "reproduce", "reproduce-fine-tuned", "reproduce-gpu"
"""Folders of records: of frozen probes and trivial rivals, of fine-tuned models, and of both with
the larger network."""

WITH_TARGETS = "perlin-with-targets"
"""The arm whose second corpus holds a clinic's own images, without their labels."""

LABELLED: Mapping[str, Any] = {
    "frame": FRAME.model_dump(mode="json"),
    "folds": FOLDS,
    "gaps": dict(GAPS),
    "draws": DRAWS,
    "drawing": 2,  # raise it when a share of the labels is drawn otherwise
}
"""How what is labelled is cut and drawn: in the settings of every record."""


@dataclass(frozen=True)
class Bench:
    """Where things lie.

    Attributes:
        data: folder of the sets.
        runs: folder of all runs.
        records: folder of all records.
        configs: folder of the settings.
        imagenet: file of ImageNet weights of the user's; None for none.
        device: where networks run.
        sets: that were read already; None: they are read below `data`.
        reads_sets: whether records may be held against the frames, which then must be read.
    """

    data: Path
    runs: Path
    records: Path
    configs: Path = CONFIGS
    imagenet: Path | None = None
    device: str = "cpu"
    sets: Mapping[SetName, TargetSet] | None = None
    reads_sets: bool = True

    @cached_property
    def _read(self) -> Targets:
        known = tuple((self.sets or {}).values())
        return Targets(self.data, self.runs, self.reads_sets, known)

    @cached_property
    def targets(self) -> Mapping[SetName, TargetSet]:
        """Both sets, as they are."""
        return self.sets or {name: self._read.of(name) for name in SETS}

    @cached_property
    def _seen(self) -> dict[tuple[SetName, View], TargetSet]:
        return {}

    def seen(self, name: SetName, view: View) -> TargetSet:
        """A set in a view; altered once."""
        if (name, view) not in self._seen:
            self._seen[name, view] = seen_as(self.targets[name], view)
        return self._seen[name, view]

    def frames(self, name: SetName) -> dict[str, str]:
        """The fingerprint of a set's frames, as a source of a record; empty if it is not read."""
        return self._read.frames(name)

    def run(self, arm: ArmName, corpus: Corpus = "luna16", fold: int | None = None) -> Path:
        """Folder of an arm's pretraining."""
        return run_folder(self.runs, arm, corpus, fold)

    def encoder(self, arm: ArmName, corpus: Corpus = "luna16", fold: int | None = None) -> str:
        """SHA-256 of an arm's encoder as it stands; empty text where there is none."""
        return sha256_of_encoder(self.run(arm, corpus, fold))

    def settings(self, arm: ArmName, corpus: Corpus = "luna16") -> dict[str, Any]:
        """How an arm's encoder is made, and how what it sees is cut: a record's settings."""
        about: dict[str, Any] = {"corpus": corpus, **LABELLED}
        if arm == "imagenet":
            return about | {"pretraining": "supervised on ImageNet, weights of the user's"}
        config = pretrain_config(arm, configs=self.configs)
        return about | {"pretraining": config.model_dump(mode="json")}


def stands(file: Path, sources: Mapping[str, str], settings: Mapping[str, Any]) -> str:
    """Why a record is not one of these sources and settings, in words; empty where it is.

    Entries of the record that are not asked for may say anything: without the sets' frames, as in
    a dry run, a record of other frames is not found out.
    """
    if not file.is_file():
        return "no record yet"
    try:
        facts = read_facts(file)
    except (DataError, ValueError):
        return f"{file.name} cannot be read"
    for name, value in sources.items():
        if facts.sources.get(name) != value:
            return f"{name} is another than that of {file.name}"
    for name, value in settings.items():
        if facts.settings.get(name) != json.loads(json.dumps(value)):
            return f"{name} is set otherwise than in {file.name}"
    return ""


def keep_record(
    records: Path,
    study: str,
    target: TargetSet,
    split: SplitName,
    cells: Mapping[Cell, Found],
    facts: Facts,
) -> None:
    """Write a record, and the images that it is of beside all records."""
    write_images(records, target.name, split, images_of(target, split))
    write_record(records / study, facts, cells)


def file_of(bench: Bench, study: str, of: Sequence[str]) -> Path:
    """Where the record of a set, split, view and arm lies."""
    set_name, split, view, arm = of
    return bench.records / study / record_file(set_name, split, view, arm)


def machine() -> dict[str, Any]:
    """The processor that a record was made on, for its settings; its facts tell the threads."""
    return {"processor": _processor()}


@cache
def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def config_print(config: BaseModel) -> str:
    """SHA-256 of a configuration, resolved."""
    return sha256(config.model_dump_json().encode()).hexdigest()


def pretraining_minutes(bench: Bench, arm: ArmName) -> float | None:
    """Minutes of an arm's pretraining on this machine; None where it was brought."""
    return None if arm == "imagenet" else minutes_of(bench.run(arm))
