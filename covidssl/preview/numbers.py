"""The numbers of a draw, or of ranges, as a person reads them: whatever fields there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_UNITS = {"mm": "mm", "hu": "HU", "deg": "°", "ml": "ml"}


def numbers(entries: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values as text; `radius_mm` becomes `radius`, its value ends in `mm`.

    Args:
        entries: a row of `LesionParams.rows()`, or `LesionRanges.model_dump()`; those within
            another are listed after its name.
    """
    lines: list[tuple[str, str]] = []
    for key, value in entries.items():
        if isinstance(value, Mapping):
            lines += [(f"{key} {name}", text) for name, text in numbers(value)]
            continue
        stem, _, unit = key.rpartition("_")
        known = bool(stem) and unit in _UNITS
        name = (stem if known else key).replace("_", " ")
        text = _text(value)
        lines.append((name, f"{text} {_UNITS[unit]}" if known and text != "–" else text))
    return lines


def _text(value: Any) -> str:
    if value is None or (isinstance(value, list | tuple) and not value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 99.5 or value.is_integer() else f"{value:.2g}"
    if isinstance(value, tuple):
        return " to ".join(dict.fromkeys(map(_text, value)))
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value).replace("_", " ")
