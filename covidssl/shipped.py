"""The restoration network that ships with the package, and the word that stands for it."""

from __future__ import annotations

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
        WeightsError: when the word is given, and this installation lacks the network.
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
    if not FOLDER.is_dir():
        raise WeightsError(
            f"{BUILTIN}: this installation of covidssl lacks the network that ships with it "
            f"({FOLDER} is missing). Install covidssl again."
        )
    return FOLDER
