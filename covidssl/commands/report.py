"""`covidssl report`: run folders in, one page out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from covidssl.errors import UsageError
from covidssl.report import build_report


def main(runs: Sequence[Path], out: Path, overwrite: bool = False) -> Path:
    """Write the page; gives its path.

    Raises:
        UsageError: when the page exists already, or a folder is no run.
    """
    if out.exists() and not overwrite:
        raise UsageError(f"{out}: exists already. Use --overwrite, or another --out.")
    build_report(runs, out)
    return out
