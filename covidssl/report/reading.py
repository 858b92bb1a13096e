"""Reading the files of a run folder; what is missing or broken becomes a sentence, not a crash."""

from __future__ import annotations

import base64
import csv
import json
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, FiniteFloat, ValidationError

from covidssl.errors import CovidsslError
from covidssl.files import parse_csv
from covidssl.metrics import Estimate
from covidssl.report.blocks import Picture

M = TypeVar("M", bound=BaseModel)

_MOST_JSON, _MOST_CSV, _MOST_PICTURE = 50_000_000, 100_000_000, 20_000_000
"""Bytes of a file of each kind that is read; what covidssl writes is far smaller."""


class Interval(BaseModel):
    """An estimate as a JSON file holds it."""

    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat

    def estimate(self) -> Estimate:
        """Value and interval."""
        return Estimate(self.value, self.low, self.high)


class UnreadError(CovidsslError):
    """A product of a run that is missing or cannot be read."""


def bytes_of(path: Path, most: int) -> bytes:
    """The bytes of a plain file, the only way in which any file of a run is read.

    Raises:
        UnreadError: when it is missing, larger than `most` bytes, a link, a pipe or anything else
            but a plain file.
    """
    # What was a plain file may be another one by now: a pipe would be waited for without an end.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        plain = stat.S_ISREG(path.lstat().st_mode)
        if plain:
            opened = os.open(path, flags | getattr(os, "O_BINARY", 0))
            with os.fdopen(opened, "rb") as file:
                plain = stat.S_ISREG(os.fstat(opened).st_mode)
                content = file.read(most + 1) if plain else b""
    except OSError as error:
        raise UnreadError(_reason(path, error)) from error
    if not plain:
        raise UnreadError(f"{path.name} is a link or no plain file, and is not read.")
    if len(content) > most:
        raise UnreadError(f"{path.name} is larger than {most // 1000} kB, and is not read.")
    return content


def is_there(path: Path) -> bool:
    """Whether a name is taken, by whatever: what is no plain file is told, not passed over."""
    return path.is_symlink() or path.exists()


def folder_in(run: Path, name: str) -> Path:
    """A folder of a run.

    Raises:
        UnreadError: when it is missing, a link or no folder.
    """
    path = run / name
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise UnreadError(f"{name} is a link or no folder, and is not read.")
    if not path.exists():
        raise UnreadError(f"{name} is missing.")
    return path


def read_json(path: Path, kind: type[M], most: int = _MOST_JSON) -> M:
    """A JSON file as a model; an `UnreadError` says which entry does not fit."""
    try:
        return kind.model_validate(json.loads(bytes_of(path, most).decode("utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UnreadError(f"{path.name}: {place}: {first['msg']}.") from error
    except (ValueError, RecursionError) as error:
        raise UnreadError(_reason(path, error)) from error


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object of any kind."""
    try:
        content = json.loads(bytes_of(path, _MOST_JSON).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UnreadError(_reason(path, error)) from error
    if not isinstance(content, dict):
        raise UnreadError(f"{path.name} holds no entries.")
    return content


def read_rows(path: Path) -> list[dict[str, str]]:
    """All rows of a CSV file."""
    try:
        return parse_csv(bytes_of(path, _MOST_CSV))
    except (ValueError, csv.Error) as error:
        raise UnreadError(_reason(path, error)) from error


def read_picture(path: Path, caption: str, chart: bool = False) -> Picture:
    """A PNG file, ready for the page."""
    content = bytes_of(path, _MOST_PICTURE)
    if not content.startswith(b"\x89PNG"):
        raise UnreadError(f"{path.name} is no PNG.")
    return Picture(address(content), caption, chart)


def address(png: bytes) -> str:
    """A PNG as a data address."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def series(rows: Sequence[Mapping[str, str]], column: str) -> tuple[list[float], list[float]]:
    """Steps and values of a column, without empty, broken and infinite cells."""
    pairs = [(number(row.get("step", "")), number(row.get(column, ""))) for row in rows]
    kept = [(step, value) for step, value in pairs if step is not None and value is not None]
    return [step for step, _ in kept], [value for _, value in kept]


def number(text: str) -> float | None:
    """A finite number, or None for any other text."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{path.name} is missing."
    return f"{path.name} cannot be read ({type(error).__name__})."
