"""What a folder is that was given where another kind was expected, in words for an error."""

from __future__ import annotations

import difflib
import json
import stat
from pathlib import Path
from typing import Any

RECORD = "record.json"
_MOST_BYTES = 2**24


def what_is(path: Path) -> str:
    """What lies at a path, as the end of `PATH: ...`, with a full stop.

    A run is known by its record, which says which verb wrote it.
    """
    if path.is_file():
        return f"is a file; give the folder that it lies in: {path.parent}."
    if not path.exists():
        return f"there is no such folder.{_nearest(path)}"
    record = _record_of(path)
    verb, status = record.get("verb"), record.get("status")
    if verb == "prepare" or (path / "store.json").is_file():
        return "is a prepared store (`covidssl prepare`)."
    if not isinstance(verb, str):
        return "is a folder without a model and without the record of a run."
    return f"is a run of `covidssl {verb}`{'' if status == 'done' else f' that is {status}'}."


def _nearest(path: Path) -> str:
    """A folder beside it whose name is much like it, as a question."""
    try:
        names = [one.name for one in path.parent.iterdir() if one.is_dir()]
    except OSError:
        return ""
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f" Did you mean {path.parent / near[0]}?" if near else ""


def _record_of(folder: Path) -> dict[str, Any]:
    """What a run says of itself; empty where there is nothing that can be read."""
    try:
        found = (folder / RECORD).stat()
        if not stat.S_ISREG(found.st_mode) or found.st_size > _MOST_BYTES:
            return {}
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}
