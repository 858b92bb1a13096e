"""Every one-word code of a refusal stands in the documentation, and the other way round."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_WORD = re.compile(r"[a-z]+(_[a-z]+)*")
_CALLS = {"ScanError": 1, "refused": 1, "Listing": 2, "_refuse": 1}


def codes_in(path: Path) -> set[str]:
    """Codes that a module gives: text in the place of the code, or returned beside a problem."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        values: list[ast.expr] = []
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            at = _CALLS.get(name)
            values = [] if at is None else list(node.args[at : at + 1])
            values += [word.value for word in node.keywords if word.arg == "code"]
        elif path.name == "archive.py" and isinstance(node, ast.Return):
            values = node.value.elts[1:] if isinstance(node.value, ast.Tuple) else []
        for value in values:
            for part in ast.walk(value):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    found.add(part.value)
    return {code for code in found if _WORD.fullmatch(code)}


def test_codes_and_their_documentation_are_the_same() -> None:
    given = {code for path in (ROOT / "covidssl" / "io").glob("*.py") for code in codes_in(path)}
    given.add("unreadable")
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    part = text[: text.index("## Labelled datasets")]
    rows = [line.split("|")[1] for line in part.splitlines() if line.startswith("| `")]
    documented = {code for row in rows for code in re.findall(r"`([a-z_]+)`", row)}
    assert len(given) > 40
    assert given == documented
