"""What a study found, small enough to be committed: every image's chance under every model.

`rows/SET.SPLIT.parquet` holds label, group and fold of each image of a set; beside it, a folder a
study, `SET.SPLIT.VIEW.ARM.parquet` holds a column a model. Images are numbered in file order, and
none is named. All tables and figures are made from these files alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from covidssl.errors import DataError
from covidssl.files import write_bytes
from covidssl.runs import git_state, package_versions
from pipelines.study.folds import Rows
from pipelines.study.probes import Chances

_SCALE, _NONE = 10_000, 65_535
_KEY = b"covidssl"
_PACKAGES = ("covidssl", "torch", "monai", "scikit-learn", "numpy")


class Cell(NamedTuple):
    """One model of a set, a split, a view and an arm.

    Attributes:
        protocol: how labels were used: `probe`, `fine-tuned, low rate`, ...
        fraction: share of the labels.
        draw: which draw of that share.
        seed: of the training behind it; of pretraining, for a probe.
    """

    protocol: str
    fraction: float
    draw: int = 0
    seed: int = 0

    @property
    def column(self) -> str:
        """Its name in a file."""
        return f"{self.protocol}|{self.fraction:g}|{self.draw}|{self.seed}"

    @classmethod
    def of(cls, column: str) -> Self:
        """The cell of a column."""
        protocol, fraction, draw, seed = column.split("|")
        return cls(protocol, float(fraction), int(draw), int(seed))


class Found(NamedTuple):
    """What one model says of every image of a set, out of fold.

    Attributes:
        chance: (N,) probability of COVID; the operating point is at one half; NaN where an image
            was not scored.
        labels: how many labels its trainings used, in the mean over folds.
        inner: AUROC on the part of the labels that chooses, in the mean over folds.
        chosen: what was chosen there, a text a fold.
        inners: AUROC as `inner`, a value a fold: what chooses between protocols in that fold.
    """

    chance: Chances
    labels: float
    inner: float
    chosen: tuple[str, ...] = ()
    inners: tuple[float, ...] = ()


class Facts(BaseModel):
    """How a record was made.

    Attributes:
        set_name, split, view, arm: what it is of.
        made: day and time, UTC.
        minutes: that making it took on that machine.
        device: where networks ran.
        threads: of the machine that were used.
        git: commit and whether the checkout was dirty.
        packages: their versions.
        sources: what it was made from: SHA-256 of encoders by name, the fingerprint of the frames.
        settings: what else was chosen, by name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    set_name: str
    split: str
    view: str
    arm: str
    made: str
    minutes: float
    device: str
    threads: int
    git: dict[str, Any] | None
    packages: dict[str, str | None]
    sources: dict[str, str]
    settings: dict[str, Any] = {}

    @classmethod
    def now(cls, minutes: float, device: str = "cpu", **known: Any) -> Self:
        """Facts of a record that is finished now."""
        return cls(
            made=datetime.now(UTC).isoformat(timespec="seconds"),
            minutes=round(minutes, 2),
            device=device,
            threads=torch.get_num_threads(),
            git=git_state(),
            packages=package_versions(_PACKAGES),
            **known,
        )

    @property
    def file(self) -> str:
        """Name of its file."""
        return record_file(self.set_name, self.split, self.view, self.arm)


class Record(NamedTuple):
    """What a file holds: how it was made, and what each cell says."""

    facts: Facts
    cells: dict[Cell, Found]


class Images(NamedTuple):
    """Of each image of a set under a split, (N,): label, group that is resampled whole, fold."""

    target: Rows
    group: Rows
    fold: Rows

    @property
    def groups(self) -> list[str]:
        """The group of each image as text, for `covidssl.metrics`."""
        return [str(one) for one in self.group]


def record_file(set_name: str, split: str, view: str, arm: str) -> str:
    """Name of the file of the record of an arm."""
    return f"{set_name}.{split}.{view}.{file_word(arm)}.parquet"


def file_word(words: str) -> str:
    """A name of an arm as a part of a file's name."""
    return "".join(letter if letter.isalnum() else "-" for letter in words.lower())


def write_record(folder: Path, facts: Facts, cells: Mapping[Cell, Found]) -> Path:
    """Write one record, whole or not at all; chances keep four digits."""
    columns = {cell.column: _stored(found.chance) for cell, found in cells.items()}
    notes = {
        cell.column: {
            "labels": round(found.labels, 1),
            "inner": round(found.inner, 4),
            "chosen": list(found.chosen),
            "inners": [round(inner, 4) for inner in found.inners],
        }
        for cell, found in cells.items()
    }
    about = json.dumps({"facts": facts.model_dump(mode="json"), "cells": notes})
    return _write(folder / facts.file, columns, about)


def read_record(file: Path) -> Record:
    """Read one record.

    Raises:
        DataError: when the file is no record.
    """
    table, about = _read(file)
    facts = Facts.model_validate(about["facts"])
    cells = {}
    for column, notes in about["cells"].items():
        stored = table.column(column).to_numpy()
        chance = np.where(stored == _NONE, np.nan, stored / _SCALE)
        chosen, inners = tuple(notes["chosen"]), tuple(notes.get("inners", ()))
        cells[Cell.of(column)] = Found(chance, notes["labels"], notes["inner"], chosen, inners)
    return Record(facts, cells)


def read_facts(file: Path) -> Facts:
    """How a record was made, without what it says of its images.

    Raises:
        DataError: when the file is no record.
    """
    try:
        schema = pq.read_schema(file)
    except (OSError, ValueError) as error:
        raise _no_record(file, error) from error
    return Facts.model_validate(_about(file, schema)["facts"])


def read_records(folder: Path, of: str = "*") -> list[Record]:
    """All records of a folder, by their names.

    Args:
        folder: of a study.
        of: only those of these sets, splits and views, such as `covid-ct.blocked.plain`.
    """
    return [read_record(file) for file in sorted(folder.glob(f"{of}.*.parquet"))]


def images_file(records: Path, set_name: str, split: str) -> Path:
    """Where label, group and fold of a set's images lie."""
    return records / "rows" / f"{set_name}.{split}.parquet"


def write_images(records: Path, set_name: str, split: str, images: Images) -> Path:
    """Write label, group and fold of a set's images below the folder of all records.

    Raises:
        DataError: when other images are recorded there: records of both could not be compared.
    """
    file = images_file(records, set_name, split)
    if file.is_file():
        before = read_images(records, set_name, split)
        if any(not np.array_equal(*pair) for pair in zip(before, images, strict=True)):
            raise DataError(
                f"{file}: its images, groups or folds are others than those of the data given. "
                f"Give the data that it was made from, or another folder of records."
            )
        return file
    kinds = (np.uint8, np.uint16, np.int8)
    columns = {
        name: values.astype(kind)
        for (name, values), kind in zip(images._asdict().items(), kinds, strict=True)
    }
    return _write(file, columns, json.dumps({"images": len(images.target)}))


def read_images(records: Path, set_name: str, split: str) -> Images:
    """Read what `write_images` wrote.

    Raises:
        DataError: when there is no such file.
    """
    table, _ = _read(images_file(records, set_name, split))
    return Images(*(table.column(name).to_numpy().astype(np.int64) for name in Images._fields))


def _stored(chance: Chances) -> NDArray[np.uint16]:
    whole = np.isfinite(chance)
    found = np.full(len(chance), _NONE, np.uint16)
    found[whole] = np.rint(chance[whole] * _SCALE).astype(np.uint16)
    return found


def _write(file: Path, columns: Mapping[str, NDArray[Any]], about: str) -> Path:
    table = pa.table(dict(columns)).replace_schema_metadata({_KEY: about.encode()})
    held = BytesIO()
    pq.write_table(table, held, compression="zstd", compression_level=9, use_dictionary=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(file, held.getvalue())
    return file


def _read(file: Path) -> tuple[pa.Table, dict[str, Any]]:
    try:
        table = pq.read_table(file)
    except (OSError, ValueError) as error:
        raise _no_record(file, error) from error
    return table, _about(file, table.schema)


def _about(file: Path, schema: pa.Schema) -> dict[str, Any]:
    try:
        about: dict[str, Any] = json.loads(schema.metadata[_KEY])
    except (KeyError, TypeError, ValueError) as error:
        raise _no_record(file, error) from error
    return about


def _no_record(file: Path, error: Exception) -> DataError:
    return DataError(f"{file}: no record of a study ({type(error).__name__}).")
