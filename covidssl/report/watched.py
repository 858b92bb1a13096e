"""What was measured of an encoder while it was pretrained, as blocks of the page."""

from __future__ import annotations

from pathlib import Path

from covidssl.report.blocks import Block, Cell, Gallery, Table, plain, words
from covidssl.report.reading import number, read_picture, read_rows

_ROWS_SHOWN = 20


def watched(folder: Path) -> list[Block]:
    """The figure and the table of `quality.csv`; nothing where quality was not looked at."""
    if not (folder / "quality.png").is_file():
        return []
    rows = read_rows(folder / "quality.csv")
    # The first row is the network before it has learnt anything; then the newest first.
    shown = [rows[0], *rows[:0:-1]][:_ROWS_SHOWN]
    cells: list[list[Cell]] = [[plain(number(text)) for text in row.values()] for row in shown]
    caption = "Is it learning? Step 0 is the untrained network"
    return [
        Gallery([read_picture(folder / "quality.png", caption, chart=True)]),
        Table("Quality of the encoder", [words(name) for name in rows[0]], cells,
              len(rows) - len(shown)),
    ]  # fmt: skip
