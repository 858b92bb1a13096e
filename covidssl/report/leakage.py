"""Leakage that was allowed, as the files of a run say it: on every page made from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from covidssl.report.reading import UnreadError, read_object

_KEPT_IN = {
    "finetune": ("model/card.json", ("leakage",)),
    "evaluate": ("metrics.json", ("leakage",)),
    "robustness": ("robustness.json", ("leakage",)),
    "predict": ("run.json", ("model", "leakage")),
}


def leakage_of(folder: Path, verb: str) -> str:
    """What leaks through the split that a run's model learnt on; empty where nothing is said.

    Args:
        folder: the run.
        verb: that made it.
    """
    if verb not in _KEPT_IN:
        return ""
    file, keys = _KEPT_IN[verb]
    return _text(folder / file, keys) or _text(folder / "record.json", ("splits", "leakage"))


def _text(path: Path, keys: tuple[str, ...]) -> str:
    try:
        found: Any = read_object(path)
    except UnreadError:
        return ""  # a file that is missing or broken is told where its numbers are shown
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else ""
