"""Tables of the docs that are made from records: found by their marks, remade, and compared.

A page holds a line `<!-- made from records: KEY -->`, then what was made, then
`<!-- end of KEY -->`. What stands between is never written by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

from covidssl.errors import DataError
from covidssl.files import write_bytes

_BEGIN = re.compile(r"^<!-- made from records: (?P<key>[^\n]+?) -->$", re.MULTILINE)
_END = "<!-- end of {key} -->"


class Block(NamedTuple):
    """One table, list or paragraph of a page that is made from records.

    Attributes:
        page: below the folder of docs, such as `reproduction.md`.
        key: its name in the marks of that page; no other block of the page has it.
        make: from the folder of all records to Markdown; an empty text where nothing that it needs
            is recorded yet.
        command: what makes those records.
    """

    page: Path
    key: str
    make: Callable[[Path], str]
    command: str = "make reproduce"


class Differing(NamedTuple):
    """A line of a page that its records do not give.

    Attributes:
        page: the file.
        key: of the block.
        line: its number in the file, from 1.
        stands: what the file says there; empty where it lacks a line.
        expected: what the records give; empty where the line should not be.
    """

    page: Path
    key: str
    line: int
    stands: str
    expected: str

    @property
    def words(self) -> str:
        """As it is told."""
        return (
            f"{self.page}:{self.line}: block '{self.key}' says\n  {self.stands or '(nothing)'}\n"
            f"and its records give\n  {self.expected or '(nothing)'}"
        )


def not_run(command: str) -> str:
    """What a block says before there is a record."""
    return f"Not run yet: `{command}`."


def remade(file: Path, blocks: Sequence[Block], records: Path) -> str:
    """The text of a page with its blocks made anew.

    Args:
        file: the page.
        blocks: those of this page.
        records: the folder of all records.

    Raises:
        DataError: when the page does not exist, or a mark is missing, stands twice, or is of no
            block.
    """
    text = _read(file)
    _check_marks(file, text, [block.key for block in blocks])
    for block in blocks:
        begin, end = _span(file, text, block.key)
        made = block.make(records).strip() or not_run(block.command)
        text = f"{text[:begin]}\n\n{made}\n\n{text[end:]}"
    return text


def remake_pages(docs: Path, blocks: Sequence[Block], records: Path) -> list[Path]:
    """Make every block anew, and write the pages that change; nothing where one cannot be made.

    Returns:
        The pages written.

    Raises:
        DataError: as `remade`.
    """
    pages = {docs / page: remade(docs / page, own, records) for page, own in _by_page(blocks)}
    changed = [file for file, text in pages.items() if _read(file) != text]
    for file in changed:
        write_bytes(file, pages[file].encode())
    return changed


def differing(docs: Path, blocks: Sequence[Block], records: Path) -> list[Differing]:
    """Every line of a block that is not what the records give; nothing is written.

    Raises:
        DataError: as `remade`.
    """
    found = []
    for page, own in _by_page(blocks):
        file = docs / page
        stands, expected = _read(file), remade(file, own, records)
        for block in own:
            lines = _lines(file, stands, block.key), _lines(file, expected, block.key)
            first = 1 + stands[: _span(file, stands, block.key)[0]].count("\n")
            found += [
                Differing(file, block.key, first + offset, *pair)
                for offset, *pair in _apart(*lines)
            ]
    return found


def _apart(stand: Sequence[str], expected: Sequence[str]) -> Iterator[tuple[int, str, str]]:
    """Lines that differ, the one that stands beside the one expected, and where.

    A row more or less moves those below it, and is told alone.
    """
    matcher = SequenceMatcher(None, stand, expected, autojunk=False)
    for same, at, end, first, last in matcher.get_opcodes():
        if same == "equal":
            continue
        if end - at == last - first:
            yield from zip(range(at, end), stand[at:end], expected[first:last], strict=True)
        else:
            yield from ((place, stand[place], "") for place in range(at, end))
            yield from ((end, "", line) for line in expected[first:last])


def stray_marks(docs: Path, blocks: Sequence[Block]) -> list[str]:
    """Marks in pages of the docs that no block makes, as `page: key`."""
    known = {(docs / block.page, block.key) for block in blocks}
    return [
        f"{file}: {match['key']}"
        for file in sorted(docs.glob("*.md"))
        for match in _BEGIN.finditer(_read(file))
        if (file, match["key"]) not in known
    ]


def _by_page(blocks: Sequence[Block]) -> list[tuple[Path, list[Block]]]:
    pages = dict.fromkeys(block.page for block in blocks)
    return [(page, [block for block in blocks if block.page == page]) for page in pages]


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"{file}: cannot be read ({type(error).__name__}). Expected a page of the docs with "
            f"the marks of its tables."
        ) from error


def _check_marks(file: Path, text: str, keys: Sequence[str]) -> None:
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise DataError(f"{file}: two blocks are called {', '.join(twice)}. Give each its own key.")
    unknown = sorted({match["key"] for match in _BEGIN.finditer(text)} - set(keys))
    if unknown:
        raise DataError(
            f"{file}: nothing makes the blocks {', '.join(unknown)}. Take their marks out, or add "
            f"them to the blocks of their study."
        )


def _span(file: Path, text: str, key: str) -> tuple[int, int]:
    """Where a block's text begins and ends, its marks left out."""
    begins = [match for match in _BEGIN.finditer(text) if match["key"] == key]
    mark = _END.format(key=key)
    ends = [match.start() for match in re.finditer(f"^{re.escape(mark)}$", text, re.MULTILINE)]
    if len(begins) != 1 or len(ends) != 1 or ends[0] < begins[0].end():
        raise DataError(
            f"{file}: the marks of block '{key}' stand {len(begins)} and {len(ends)} times. "
            f"Expected once each, a line '<!-- made from records: {key} -->' and below it '{mark}'."
        )
    return begins[0].end(), ends[0]


def _lines(file: Path, text: str, key: str) -> list[str]:
    begin, end = _span(file, text, key)
    return text[begin:end].split("\n")
