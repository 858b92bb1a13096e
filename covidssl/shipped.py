"""The restoration network that ships with the package, and the word that stands for it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from covidssl.errors import UsageError, WeightsError

BUILTIN = "builtin"
"""Given where weights or a model are named, it means the network in the box."""

FOLDER = Path(__file__).parent / BUILTIN


def shipped(path: Path | str) -> Path:
    """Where weights lie that are named by a path, or by the word `builtin`.

    Raises:
        UsageError: when something called `builtin` lies in the working directory: nobody would
            know which of the two is meant.
        WeightsError: when the word is given, and the network's weights or card are missing in this
            installation, cut short or changed.
    """
    given = Path(path)
    if given != Path(BUILTIN):
        return given
    if given.exists():
        raise UsageError(
            f"{BUILTIN}: the word means the network that ships with covidssl, and something of "
            f"that name lies in the working directory, too. Give the whole path of that one, such "
            f"as {given.absolute()}; for the network that ships, work in another directory."
        )
    fault = _fault(FOLDER)
    if fault:
        raise WeightsError(
            f"{BUILTIN}: the network that ships with covidssl is not whole in this installation: "
            f"{fault}. Install covidssl again."
        )
    return FOLDER


def _fault(folder: Path) -> str:
    """What is wrong with the network's two files; empty where nothing is."""
    files = [folder / name for name in ("restoration.json", "restoration.safetensors")]
    try:
        card, weights = (file.read_bytes() for file in files)
    except OSError:
        missing = next((file for file in files if not file.is_file()), None)
        return f"{folder} cannot be read" if missing is None else f"{missing} is missing"
    try:
        said = json.loads(card)["sha256"]
    except (ValueError, KeyError, TypeError):
        return f"{files[0]} was changed or cut short"
    if hashlib.sha256(weights).hexdigest() != said:
        return f"{files[1]} was changed or cut short (SHA-256 differs)"
    return ""
