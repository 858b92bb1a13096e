"""The docs that are committed are what the committed records give."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from pipelines import remake
from pipelines.remake import DOCS, STUDIES, all_blocks, main
from pipelines.study.documents import Block, differing, stray_marks

APP = Typer(add_completion=False)
APP.command()(main)
RUN = CliRunner()


def test_the_committed_docs_are_what_the_committed_records_give() -> None:
    blocks = all_blocks()
    said = [one.words for one in differing(DOCS, blocks, DOCS / "records")]
    assert not said, "Run `python -m pipelines.remake`, and look at what changes.\n" + "\n".join(
        said
    )
    assert stray_marks(DOCS, blocks) == []


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_has_blocks_on_pages_that_exist(study: str) -> None:
    blocks = import_module(f"pipelines.{study}").blocks()
    assert blocks
    assert not [block.page for block in blocks if not (DOCS / block.page).is_file()]


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One page, whose only block says what a file among the records says."""

    def made(records: Path) -> str:
        file = records / "number.txt"
        return file.read_text(encoding="utf-8") if file.is_file() else ""

    blocks = (Block(Path("page.md"), "number", made),)
    monkeypatch.setattr(remake, "all_blocks", lambda: blocks)
    text = "<!-- made from records: number -->\n<!-- end of number -->\n"
    (tmp_path / "page.md").write_text(text, encoding="utf-8")
    (tmp_path / "records").mkdir()
    return tmp_path


def test_remade_once_the_check_passes_until_a_record_changes(docs: Path) -> None:
    wrote = RUN.invoke(APP, ["--docs", str(docs)])
    assert (wrote.exit_code, "page.md: written" in wrote.output) == (0, True)
    assert "Nothing changed." in RUN.invoke(APP, ["--docs", str(docs)]).output
    assert RUN.invoke(APP, ["--check", "--docs", str(docs)]).exit_code == 0

    before = (docs / "page.md").read_bytes()
    (docs / "records" / "number.txt").write_text("0.871", encoding="utf-8")
    checked = RUN.invoke(APP, ["--check", "--docs", str(docs)])
    assert checked.exit_code == 1
    for word in ("page.md:3: block 'number'", "Not run yet: `make reproduce`.", "0.871"):
        assert word in checked.output
    assert (docs / "page.md").read_bytes() == before


def test_other_records_can_be_given(docs: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("records")
    (elsewhere / "number.txt").write_text("0.5", encoding="utf-8")
    assert RUN.invoke(APP, ["--docs", str(docs), "--records", str(elsewhere)]).exit_code == 0
    assert "0.5" in (docs / "page.md").read_text(encoding="utf-8")


def test_what_is_wrong_is_told_without_a_traceback(docs: Path) -> None:
    with (docs / "page.md").open("a", encoding="utf-8") as page:
        page.write("<!-- made from records: stray -->\n")
    for arguments in (["--check"], []):
        told = RUN.invoke(APP, [*arguments, "--docs", str(docs)])
        assert told.exit_code == 1
        assert "stray" in told.output
        assert "Traceback" not in told.output
