"""Every code has one outcome and one line in the documentation."""

from __future__ import annotations

import ast
import copy
import pickle
import re
from pathlib import Path

import pytest

from covidssl.answers import Outcome, Reason
from covidssl.errors import ScanError
from covidssl.inference.engines import TOO_LONG
from covidssl.inference.job import UNEXPECTED
from covidssl.noted import Noted
from covidssl.prediction import refused
from covidssl.prediction.outcomes import (
    ABSTAINED,
    ABSTAINED_UNSEEN,
    FAILED,
    WARNED,
    outcome_of,
)
from covidssl.worker_processes import KILLED

ROOT = Path(__file__).resolve().parents[2]
_WORD = re.compile(r"[a-z]+(_[a-z]+)*")
_BY_ERRORS = ROOT / "docs" / "formats.md"


def noted_codes() -> set[str]:
    """Codes of all remarks that the package makes on scans: written out, or by a name in reach."""
    found = set()
    for folder in ("io", "prediction", "maps", "."):
        for path in (ROOT / "covidssl" / folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                named = getattr(node.func, "id", "")
                parts = [*node.args[1:2]] if named == "Noted" else []
                if named == "Reason":
                    parts = [word.value for word in node.keywords if word.arg == "code"]
                texts = {
                    one.value
                    for part in parts
                    for one in ast.walk(part)
                    if isinstance(one, ast.Constant) and isinstance(one.value, str)
                }
                found |= {text for text in texts if _WORD.fullmatch(text)}
    return found


def codes_of_a_run() -> set[str]:
    """Codes of failures that a run says itself, and no reader."""
    found = {KILLED, TOO_LONG, UNEXPECTED}
    for path in (ROOT / "covidssl" / "inference").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.keyword(arg="code", value=ast.Constant(value=str(code))):
                    found.add(code)
                case ast.Call(func=ast.Name(id="_unfound"), args=[*_, ast.Constant(str(code))]):
                    found.add(code)
    assert found >= {"not_found", "no_ct_files"}
    return found


def test_every_remark_on_a_scan_has_an_outcome_and_the_other_way_round() -> None:
    # Lungs are remarked on by a name that holds one of two codes.
    assert noted_codes() | {"no_lungs", "odd_lungs"} == set(WARNED) | set(ABSTAINED)


def test_every_documented_refusal_has_an_outcome_and_the_other_way_round() -> None:
    text = _BY_ERRORS.read_text(encoding="utf-8")
    part = text[: text.index("## Labelled datasets")]
    rows = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
    documented = {code for row in rows for code in re.findall(r"`([a-z_]+)`", row)}
    at_the_network = {"grey_for_hu", "single_slice", "no_answer", "no_lesion_map"}
    expected = documented | at_the_network | codes_of_a_run()
    assert expected - {"no_map"} == (set(ABSTAINED_UNSEEN) | set(FAILED)) - {"no_map"}
    assert not set(ABSTAINED_UNSEEN) & set(FAILED)
    assert not set(WARNED) & set(ABSTAINED)


def test_the_documentation_has_the_tables_word_for_word() -> None:
    text = (ROOT / "docs" / "inference.md").read_text(encoding="utf-8")
    part = text[text.index("\n## Outcomes") :]
    part = part[: part.index("\n## ", 5)] if "\n## " in part[5:] else part
    shown = re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", part, flags=re.MULTILINE)
    tables = [*WARNED.items(), *ABSTAINED.items(), *ABSTAINED_UNSEEN.items(), *FAILED.items()]
    assert shown == tables


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        ("not_ct", Outcome.ABSTAINED),
        ("localiser", Outcome.ABSTAINED),
        ("hu_normalised", Outcome.ABSTAINED),
        ("grey_for_hu", Outcome.ABSTAINED),
        ("truncated", Outcome.FAILED),
        ("zip_bomb", Outcome.FAILED),
        ("a_code_of_tomorrow", Outcome.FAILED),
    ],
)
def test_a_scan_that_no_network_can_be_shown_gets_an_outcome(code: str, outcome: Outcome) -> None:
    answer = refused("case-7", ScanError("case-7: what is wrong.", code))
    assert (answer.scan, answer.outcome) == ("case-7", outcome)
    assert answer.reasons == (Reason(code=code, text="case-7: what is wrong."),)
    assert answer.probability is None
    assert answer.label == ""


def test_what_would_abstain_is_warned_about_where_an_answer_is_forced() -> None:
    lungs, contrast = (Reason(code=code, text="so") for code in ("no_lungs", "contrast"))
    assert outcome_of([], force=False) == Outcome.OK
    assert outcome_of([contrast], force=False) == Outcome.WARNED
    assert outcome_of([contrast, lungs], force=False) == Outcome.ABSTAINED
    assert outcome_of([contrast, lungs], force=True) == Outcome.WARNED


def test_a_remark_keeps_its_code_on_the_way_from_a_worker_process() -> None:
    remark = Noted("only 2 slices", "few_slices")
    assert remark == "only 2 slices"
    for one in (pickle.loads(pickle.dumps(remark)), copy.deepcopy(remark)):
        assert isinstance(one, Noted)
        assert (str(one), one.code) == ("only 2 slices", "few_slices")
