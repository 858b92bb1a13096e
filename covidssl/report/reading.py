"""Reading the files of a run folder; what is missing or broken becomes a sentence, not a crash."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, FiniteFloat, ValidationError

from covidssl.errors import CovidsslError
from covidssl.files import read_csv
from covidssl.metrics import Estimate
from covidssl.report.blocks import Picture

M = TypeVar("M", bound=BaseModel)


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


def read_json(path: Path, kind: type[M]) -> M:
    """A JSON file as a model; an `UnreadError` says which entry does not fit."""
    try:
        return kind.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UnreadError(f"{path.name}: {place}: {first['msg']}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadError(_reason(path, error)) from error


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object of any kind."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UnreadError(_reason(path, error)) from error
    if not isinstance(content, dict):
        raise UnreadError(f"{path.name} holds no entries.")
    return content


def read_rows(path: Path) -> list[dict[str, str]]:
    """All rows of a CSV file."""
    try:
        return read_csv(path)
    except (OSError, ValueError, csv.Error) as error:
        raise UnreadError(_reason(path, error)) from error


def read_picture(path: Path, caption: str, chart: bool = False) -> Picture:
    """A PNG file, ready for the page."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UnreadError(_reason(path, error)) from error
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
