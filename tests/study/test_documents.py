"""Tables of the docs are made from records, and a digit that differs is found and named."""

from __future__ import annotations

from pathlib import Path

import pytest

from covidssl.errors import DataError
from covidssl.metrics import Estimate
from pipelines.study import table_text
from pipelines.study.documents import Block, differing, remade, remake_pages, stray_marks
from pipelines.study.records import read_images, read_records
from pipelines.study.scores import founds_of, pooled
from tests.study.made_records import write_made_study

PAGE = """# A page

Before.

<!-- made from records: table -->
<!-- end of table -->

Between.

<!-- made from records: a list, short -->

old

<!-- end of a list, short -->
After.
"""


def table(records: Path) -> str:
    """A table as studies make them."""
    rows = []
    for record in read_records(records / "paper"):
        images = read_images(records, record.facts.set_name, record.facts.split)
        area = pooled(images, founds_of(record, "probe", 0.1))
        rows.append([record.facts.arm, table_text.estimate_text(area)])
    return table_text.markdown_table(["arm", "AUROC"], rows) if rows else ""


BLOCKS = (
    Block(Path("page.md"), "table", table, "make paper"),
    Block(Path("page.md"), "a list, short", lambda _records: "- one\n- two\n"),
)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """Docs with records of two arms and one page."""
    write_made_study(
        tmp_path / "records",
        "paper",
        {"none": 1.0, "perlin": 2.0},
        ("covid-ct",),
        ("blocked",),
        ("plain",),
    )
    (tmp_path / "page.md").write_text(PAGE, encoding="utf-8")
    return tmp_path


def test_blocks_are_filled_and_all_else_stays(docs: Path) -> None:
    assert remake_pages(docs, BLOCKS, docs / "records") == [docs / "page.md"]
    text = (docs / "page.md").read_text(encoding="utf-8")
    rows = [line for line in text.split("\n") if line.startswith("|")]
    assert len(rows) == 4
    assert rows[2].startswith("| none | 0.")
    assert "- one\n- two" in text
    assert "old" not in text
    for stays in ("# A page\n\nBefore.\n\n<!-- made", "-->\n\nBetween.\n\n<!--", "-->\nAfter.\n"):
        assert stays in text


def test_pages_that_were_remade_are_what_records_give_and_do_not_change_again(docs: Path) -> None:
    remake_pages(docs, BLOCKS, docs / "records")
    assert differing(docs, BLOCKS, docs / "records") == []
    assert remake_pages(docs, BLOCKS, docs / "records") == []


def test_a_differing_digit_is_named_with_its_file_table_and_line(docs: Path) -> None:
    remake_pages(docs, BLOCKS, docs / "records")
    page = docs / "page.md"
    right = page.read_text(encoding="utf-8")
    number, line = next(
        (number, line)
        for number, line in enumerate(right.split("\n"), 1)
        if line.startswith("| perlin")
    )
    digit = line.index("0.") + 4
    altered = line[:digit] + str((int(line[digit]) + 1) % 10) + line[digit + 1 :]
    page.write_text(right.replace(line, altered), encoding="utf-8")
    (found,) = differing(docs, BLOCKS, docs / "records")
    assert (found.page, found.key, found.line) == (page, "table", number)
    assert (found.stands, found.expected) == (altered, line)
    assert f"page.md:{number}: block 'table'" in found.words
    assert page.read_text(encoding="utf-8") == right.replace(line, altered)


def test_a_line_too_many_and_one_too_few_are_found_and_told_alone(docs: Path) -> None:
    """What stands below them is moved, and differs in nothing."""
    remake_pages(docs, BLOCKS, docs / "records")
    page = docs / "page.md"
    right = page.read_text(encoding="utf-8")
    page.write_text(right.replace("- two\n", "- new\n- two\n"), encoding="utf-8")
    (found,) = differing(docs, BLOCKS, docs / "records")
    assert (found.stands, found.expected) == ("- new", "")
    assert page.read_text(encoding="utf-8").split("\n")[found.line - 1] == "- new"
    page.write_text(right.replace("- two\n", ""), encoding="utf-8")
    (found,) = differing(docs, BLOCKS, docs / "records")
    assert (found.stands, found.expected) == ("", "- two")
    assert "(nothing)" in found.words


def test_without_a_record_the_block_says_what_makes_one(docs: Path) -> None:
    nothing = docs / "no records"
    remake_pages(docs, BLOCKS, nothing)
    assert "\nNot run yet: `make paper`.\n" in (docs / "page.md").read_text(encoding="utf-8")
    assert differing(docs, BLOCKS, nothing) == []
    assert differing(docs, BLOCKS, docs / "records")[0].stands == "Not run yet: `make paper`."


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("<!-- end of table -->", "", "'table' stand 1 and 0 times"),
        ("<!-- made from records: table -->\n", "", "'table' stand 0 and 1 times"),
        ("Between.", "<!-- made from records: table -->", "'table' stand 2 and 1 times"),
        ("Between.", "<!-- made from records: other -->", "nothing makes the blocks other"),
    ],
)
def test_marks_that_do_not_fit_are_refused_and_nothing_is_written(
    docs: Path, old: str, new: str, said: str
) -> None:
    text = PAGE.replace(old, new)
    (docs / "page.md").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        remake_pages(docs, BLOCKS, docs / "records")
    assert (docs / "page.md").read_text(encoding="utf-8") == text


def test_where_one_page_cannot_be_made_none_is_written(docs: Path) -> None:
    blocks = (*BLOCKS, Block(Path("lost.md"), "table", table))
    with pytest.raises(DataError, match=r"lost\.md: cannot be read"):
        remake_pages(docs, blocks, docs / "records")
    assert (docs / "page.md").read_text(encoding="utf-8") == PAGE


def test_two_blocks_of_one_name_and_marks_of_no_block_are_told(docs: Path) -> None:
    with pytest.raises(DataError, match="two blocks are called table"):
        remade(docs / "page.md", (*BLOCKS, BLOCKS[0]), docs / "records")
    assert stray_marks(docs, BLOCKS) == []
    assert stray_marks(docs, BLOCKS[:1]) == [f"{docs / 'page.md'}: a list, short"]


def test_numbers_are_said_alike_in_all_tables() -> None:
    assert table_text.estimate_text(Estimate(0.8714, 0.8421, 0.8968)) == "0.871 (0.842 to 0.897)"
    assert (
        table_text.difference_text(Estimate(0.0312, -0.0021, 0.0644)) == "+0.031 (-0.002 to +0.064)"
    )
    assert table_text.difference_text(Estimate(-0.0002, -0.01, 0.0002)) == (
        "0.000 (-0.010 to 0.000)"
    )
    assert table_text.points_text(Estimate(0.0412, 0.012, 0.07)) == "+4.1 (+1.2 to +7.0)"
    assert table_text.estimate_text(Estimate(*[float("nan")] * 3)) == "not defined"
    assert [table_text.p_text(p) for p in (0.0004, 0.0123, 1.0)] == ["< 0.001", "0.012", "1.000"]
    assert table_text.range_text([0.8712, 0.8421, 0.85]) == "0.842 to 0.871"
    assert table_text.range_text([0.5]) == "0.500"
    assert [table_text.fraction_text(one) for one in (0.025, 0.1, 1.0)] == [
        "2.5 %",
        "10 %",
        "100 %",
    ]


def test_a_table_stands_to_the_right_and_keeps_its_bars_within_a_cell() -> None:
    made = table_text.markdown_table(["arm", "n"], [["a|b", "1"]])
    assert made == "| arm | n |\n| --- | ---: |\n| a\\|b | 1 |"
    with pytest.raises(DataError, match="A row of 1 cells in a table of 2"):
        table_text.markdown_table(["arm", "n"], [["a"]])
