"""Verbs run in this process as the program runs them, and what they printed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from covidssl.cli import main


class Ran(NamedTuple):
    """What a verb left: its exit code, its products, and all that it printed."""

    code: int
    products: Path
    said: str


def ran(products: Path, capfd: pytest.CaptureFixture[str], *arguments: object) -> Ran:
    """Run `covidssl ARGUMENTS` in a terminal of many columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["covidssl", *map(str, arguments)])
        patch.setenv("COLUMNS", "500")
        with pytest.raises(SystemExit) as end:
            main()
    return Ran(int(end.value.code or 0), products, "".join(capfd.readouterr()))
