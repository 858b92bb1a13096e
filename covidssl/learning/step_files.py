"""What a run writes of every training step: a row of CSV, and a JSON object."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TextIO

from covidssl.errors import NoRoomError
from covidssl.files import is_full, read_csv, write_text
from covidssl.training import StepReport


class MetricsFile:
    """`metrics.csv`, and `metrics.jsonl` beside it: flushed as they are written, cut on resume.

    Args:
        path: of the CSV.
        parts: names of the loss's parts.
        from_step: rows of later steps, from before a kill, are dropped.
    """

    def __init__(self, path: Path, parts: Sequence[str], from_step: int) -> None:
        self.columns = ["step", "loss", *parts, "lr", "images_per_second"]
        heading = ",".join(self.columns)

        def is_row(line: str) -> bool:
            return line.count(",") == len(self.columns) - 1 and 0 < _csv_step(line) <= from_step

        self._path, self._beside = path, path.with_suffix(".jsonl")
        _cut(path, [heading], is_row)
        _cut(self._beside, [], lambda line: 0 < _json_step(line) <= from_step)
        self._csv: TextIO = path.open("a", newline="", encoding="utf-8")
        self._json: TextIO = self._beside.open("a", encoding="utf-8")
        self._writer = csv.writer(self._csv, lineterminator="\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def write(self, report: StepReport) -> None:
        """Append one step; every digit of the loss is kept, so that runs can be compared.

        Raises:
            NoRoomError: when the disk is full.
        """
        row = [
            report.step,
            repr(report.loss),
            *(repr(part) for part in report.parts.values()),
            f"{report.learning_rate:.6g}",
            f"{report.images_per_second:.1f}",
        ]
        line = {
            "step": report.step,
            "loss": report.loss,
            **report.parts,
            "lr": report.learning_rate,
            "images_per_second": round(report.images_per_second, 1),
        }
        try:
            self._writer.writerow(row)
            self._csv.flush()
            self._json.write(json.dumps(_finite(line), allow_nan=False) + "\n")
            self._json.flush()
        except OSError as error:
            if not is_full(error):
                raise
            raise NoRoomError(
                f"{self._path}: the row of step {report.step} could not be written, the disk is "
                f"full. The last checkpoint is whole: free some space and go on with --resume."
            ) from error

    def close(self) -> None:
        """Close the files."""
        for file in (self._csv, self._json):
            try:
                file.close()
            except OSError as error:
                # What a full disk kept back is tried again, and was reported before.
                if not is_full(error):
                    raise


def last_tenth(out: Path) -> dict[str, float]:
    """Means of the loss, its parts and the speed over the last tenth of the steps."""
    rows = read_csv(out / "metrics.csv")
    rows = rows[-max(1, len(rows) // 10) :]
    names = [name for name in rows[0] if name not in ("step", "lr")]
    return {name: sum(float(row[name]) for row in rows) / len(rows) for name in names}


def _finite(line: dict[str, float]) -> dict[str, float | None]:
    # JSON has no word for what is not a number, and a part may be none where nothing was to learn.
    return {name: value if math.isfinite(value) else None for name, value in line.items()}


def _cut(path: Path, heading: list[str], is_kept: Callable[[str], bool]) -> None:
    lines: list[str] = []
    if path.is_file():
        # What stands after the last line's end is a row that was torn by a kill.
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    kept = [*heading, *(line for line in lines if is_kept(line))]
    write_text(path, "".join(f"{line}\n" for line in kept))


def _csv_step(line: str) -> int:
    head = line.partition(",")[0]
    return int(head) if head.isdigit() else 0


def _json_step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 0
