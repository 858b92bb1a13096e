"""A model folder of others: its card is text and never markup, its weights never a program."""

from __future__ import annotations

import ast
import json
import pickle
from collections.abc import Callable
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import torch

from covidssl.files import write_json
from covidssl.model import CARD, CLASSIFIER, LEARNT, RESTORATION, load_model
from covidssl.model_page import model_markdown
from tests.browser import Browser
from tests.model_folders import write_untrained_model
from tests.scan_files import chest_grey, write_png
from tests.security.hostile import ESCAPE, MARKUP, acting, live, wrong_in
from tests.security.verbs import Ran, ran

PACKAGE = Path(__file__).resolve().parents[2] / "covidssl"
LINK = "[x](javascript:alert(1)) ![y](http://evil.example/y.png) | `z` | **b**"
HOSTILE = {
    "classes": [f"-1{MARKUP}", f"=cmd|' !A0{MARKUP}"],
    "operating_point_rule": f"{MARKUP}{LINK}",
    "intended_use": f"{MARKUP}{LINK}",
    "licence_note": f"# {MARKUP}\n\n<script>alert(3)</script>\n\n{LINK}",
    "leakage": f"{MARKUP}{LINK}",
    "unchecked": f"{MARKUP}",
    "pretrained_from": f"{MARKUP}",
}


def write_hostile_model(folder: Path) -> Path:
    """A model whose card attacks whoever shows it; its weights are sound."""
    write_untrained_model(folder)
    card = json.loads((folder / CARD).read_text())
    write_json(folder / CARD, card | HOSTILE)
    return folder


class Writes:
    """A pickle of this writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


_KEPT: list[tuple[Ran, Ran]] = []


@pytest.fixture
def runs(
    tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str]
) -> tuple[Ran, Ran]:
    """Predictions of a hostile model, and the report of them; made once."""
    if not _KEPT:
        root = tmp_path_factory.mktemp("card")
        model = write_hostile_model(root / "model")
        scan, out, page = root / "scan.png", root / "predict", root / "report" / "report.html"
        write_png(scan, chest_grey())
        predict = ran(out, capfd, "predict", model, scan, "--out", out)
        _KEPT.append((predict, ran(page.parent, capfd, "report", out, "--out", page)))
    return _KEPT[0]


def test_what_a_card_says_is_shown_as_text(runs: tuple[Ran, Ran]) -> None:
    predict, report = runs
    assert (predict.code, report.code) == (0, 0), predict.said + report.said
    assert not wrong_in(predict.products)
    assert not wrong_in(report.products)
    page = (report.products / "report.html").read_text(encoding="utf-8")
    assert MARKUP in unescape(page)
    assert not acting(predict.said + report.said)


@pytest.mark.parametrize("sign", [ESCAPE, "\x9b31m", "\u202e", "\0"])
def test_a_card_that_commands_a_terminal_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], sign: str
) -> None:
    model = write_untrained_model(tmp_path / "model")
    card = json.loads((model / CARD).read_text())
    write_json(model / CARD, card | {"classes": ["normal", f"COVID{sign}"]})
    scan = write_png(tmp_path / "scan.png", chest_grey())
    told = ran(tmp_path, capfd, "predict", model, scan, "--out", tmp_path / "out")
    assert told.code == 2
    assert "card.json: holds control characters" in told.said
    assert not acting(told.said)


def test_classes_named_in_any_language_are_taken(tmp_path: Path) -> None:
    model = write_untrained_model(tmp_path / "model")
    card = json.loads((model / CARD).read_text())
    write_json(
        model / CARD,
        card | {"classes": ["\u0633\u0627\u0644\u0645", "\u06a9\u0648\u200c\u06cc\u062f"]},
    )
    assert load_model(model).card.classes[1] == "\u06a9\u0648\u200c\u06cc\u062f"


def test_a_browser_runs_nothing_of_a_card(runs: tuple[Ran, Ran], browser: Browser) -> None:
    browser.open(runs[1].products / "report.html")
    assert browser.run("return document.querySelectorAll('[onerror]').length") == 0
    browser.assert_quiet()


def test_a_page_in_markdown_holds_no_markup_of_a_card(tmp_path: Path) -> None:
    card = json.loads((write_hostile_model(tmp_path / "model") / CARD).read_text())
    page = model_markdown(card | {"unchecked": f"{MARKUP}{ESCAPE}"})
    # Markdown shows an escaped sign as it stands; what is left may be markup.
    rest = page
    for sign in "\\`*_[]<>|#":
        rest = rest.replace(f"\\{sign}", "")
    assert "alert" in rest
    assert not live(rest)
    assert "<" not in rest
    assert "](" not in rest
    assert not acting(page)


@pytest.mark.parametrize("name", [CLASSIFIER, RESTORATION, LEARNT])
@pytest.mark.parametrize("kind", ["zip", "legacy", "plain"])
def test_predict_refuses_a_pickle_called_safetensors_and_runs_nothing_of_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str, kind: str
) -> None:
    model, trap = write_untrained_model(tmp_path / "model"), tmp_path / "it ran"
    _pickled(kind)(Writes(trap), model / name)
    # The checksum fits: whoever made the folder made the card too.
    card = json.loads((model / CARD).read_text())
    card["files"][name] = sha256((model / name).read_bytes()).hexdigest()
    write_json(model / CARD, card)
    scan = write_png(tmp_path / "scan.png", chest_grey())
    told = ran(tmp_path, capfd, "predict", model, scan, "--out", tmp_path / "out")
    assert told.code == 2
    assert name in told.said
    assert "pickle" in told.said
    assert not trap.exists()


def _pickled(kind: str) -> Callable[[object, Path], Any]:
    if kind == "plain":
        return lambda what, path: path.write_bytes(pickle.dumps(what))
    zipped = kind == "zip"
    return lambda what, path: torch.save(what, path, _use_new_zipfile_serialization=zipped)


UNSAFE = {
    "pickle.load", "pickle.Unpickler", "joblib.load", "marshal.loads", "marshal.load",
    "shelve.open", "dill.loads", "dill.load", "eval", "exec", "os.system", "os.popen",
    "yaml.unsafe_load", "yaml.full_load",
}  # fmt: skip
# Between the processes of one cluster, which trust each other; never a file.
OVER_A_CLUSTER = {"cluster.py"}


def unsafe_calls(path: Path) -> list[str]:
    """Calls in a module that would run what they read."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {one.arg: ast.unparse(one.value) for one in node.keywords}
        wrong = name in UNSAFE or (name == "pickle.loads" and path.name not in OVER_A_CLUSTER)
        wrong |= name == "torch.load" and given.get("weights_only") != "True"
        wrong |= given.get("allow_pickle", "False") != "False"
        wrong |= given.get("shell", "False") != "False"
        wrong |= name == "yaml.load" and given.get("Loader") != "_Yaml"
        found += [f"{path.name}:{node.lineno}: {name}"] if wrong else []
    return found


def test_no_module_runs_what_it_reads() -> None:
    modules = sorted(PACKAGE.rglob("*.py"))
    assert len(modules) > 100
    assert not [call for path in modules for call in unsafe_calls(path)]


def test_the_search_for_such_calls_finds_them(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text(
        "torch.load(p)\nnp.load(p, allow_pickle=True)\npickle.loads(b)\nyaml.load(t, Loader=L)\n"
        "subprocess.run(c, shell=True)\ntorch.load(p, weights_only=True)\nnp.load(p)\n"
    )
    assert len(unsafe_calls(tmp_path / "bad.py")) == 5
