"""NiiVue is taken from the package that carries it, or from a file; from nothing else."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

import pytest

from covidssl.errors import UsageError
from covidssl.viewing import library, viewer_library


def test_the_widget_of_the_package_exports_its_viewer_too() -> None:
    pytest.importorskip("ipyniivue", reason="the extra `view` is not installed")
    widget = Path(
        str(distribution("ipyniivue").locate_file("ipyniivue/static/widget.js"))
    ).read_bytes()
    content = viewer_library()
    assert content.startswith(widget)
    assert content[len(widget) :].strip().startswith(b"export {")
    assert content.rstrip().endswith(b" as Niivue };")


def test_a_version_whose_viewer_is_not_found_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "widget.js").write_text("class A{attachToCanvas(){}};export{A as default};")
    with pytest.raises(UsageError, match="another version of ipyniivue"):
        viewer_library(tmp_path / "widget.js")


@pytest.mark.parametrize(
    "content",
    [
        "(function(a,b){b(a.niivue={})})(globalThis,function(c){'attachToCanvas'})",
        "class Niivue{attachToCanvas(){}}\nexport {\n  NVMesh,\n  Niivue,\n  Other\n};",
    ],
)
def test_files_of_the_npm_package_are_taken_as_they_are(tmp_path: Path, content: str) -> None:
    (tmp_path / "niivue.js").write_text(content)
    assert viewer_library(tmp_path / "niivue.js") == content.encode()


def test_another_library_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jquery.js").write_text("export {jQuery};")
    with pytest.raises(UsageError, match="is not NiiVue"):
        viewer_library(tmp_path / "jquery.js")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.js: cannot be read"):
        viewer_library(tmp_path / "gone.js")


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "_PACKAGE", "no-such-package-is-installed")
    with pytest.raises(UsageError, match=r"pip install 'covidssl\[view\]'"):
        viewer_library()
