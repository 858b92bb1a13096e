"""External sets, as they are named on the command line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from covidssl.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class External(NamedTuple):
    """An external labelled set: what it is called, and where it is."""

    name: str
    path: Path


def externals_of(written: Sequence[str]) -> tuple[External, ...]:
    """External sets from NAME=PATH, each name once.

    Raises:
        UsageError: for a text of another form, a name that could not be a file's, a name given
            twice, or a path that does not exist.
    """
    found: list[External] = []
    for text in written:
        name, equals, path = text.partition("=")
        if not equals or not path or not _NAME.fullmatch(name):
            raise UsageError(
                f"--external {text}: expected NAME=PATH, the name of letters, digits, '_', '.' and "
                f"'-', such as clinic-b=clinic-b/labels.csv."
            )
        if any(one.name.casefold() == name.casefold() for one in found):
            raise UsageError(f"--external {name}: two sets have this name; give each its own.")
        if not Path(path).exists():
            raise UsageError(
                f"--external {name}: there is no {path}. Give a folder of two class folders, or a "
                f"CSV path,label."
            )
        found.append(External(name, Path(path)))
    return tuple(found)
