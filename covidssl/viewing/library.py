"""Where NiiVue, the viewer in the browser, is taken from: nothing is fetched.

The Python package ipyniivue (extra `view`) carries NiiVue in one file with its notebook widget.
That file exports the widget alone, so its class is exported beside it under the name that the
minifier gave it. The npm package's files (`niivue.umd.js`, `index.js`) are taken as they are.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from covidssl.errors import UsageError

_PACKAGE = "ipyniivue"
_WIDGET = "ipyniivue/static/widget.js"
_MADE_HERE = re.compile(
    rb'console\.log\("Creating new Niivue instance"\);.{0,120}?[\w$]+=new ([\w$]+)\([\w$]+\)\}'
)
_HAS_ITS_CLASS = re.compile(rb"\bniivue=\{\}|export\s*\{[^}]*\bNiivue\b")
_MOST_BYTES = 64 * 2**20
_TELLS = b"attachToCanvas"
"""The method of NiiVue that the page calls first: a file without it is another library."""


def viewer_library(given: Path | None = None) -> bytes:
    """NiiVue as one JavaScript file; as a module, it or `globalThis.niivue` has `Niivue`.

    Args:
        given: `niivue.umd.js` or `index.js` of the npm package @niivue/niivue, or `widget.js` of
            ipyniivue; None for the installed ipyniivue.

    Raises:
        UsageError: when it is not installed, cannot be read, or is another version than is known.
    """
    path = given or _installed()
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"{path}: is larger than any version of NiiVue.")
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}); expected NiiVue's niivue.umd.js or "
            f"index.js (npm package @niivue/niivue)."
        ) from error
    if _TELLS not in content:
        raise UsageError(
            f"{path}: is not NiiVue; expected niivue.umd.js or index.js of the npm package "
            f"@niivue/niivue, or widget.js of the Python package ipyniivue."
        )
    if _HAS_ITS_CLASS.search(content):
        return content
    return _with_its_class(content, path)


def _with_its_class(widget: bytes, path: Path) -> bytes:
    """The widget's file, whose class of NiiVue is exported too."""
    names = set(_MADE_HERE.findall(widget))
    if len(names) != 1:
        raise UsageError(
            f"{path}: another version of ipyniivue than covidssl knows (2.4 is known): its viewer "
            f"was not found in it. Install that version: pip install 'covidssl[view]', or give the "
            f"file niivue.umd.js of the npm package @niivue/niivue with --viewer-js."
        )
    return widget + b"\nexport { " + names.pop() + b" as Niivue };\n"


def _installed() -> Path:
    try:
        # Found without being imported: the widget's Python side is for notebooks.
        path = Path(str(distribution(_PACKAGE).locate_file(_WIDGET)))
    except PackageNotFoundError:
        path = None
    if path is None or not path.is_file():
        raise UsageError(
            "The viewer NiiVue is not installed: pip install 'covidssl[view]', or give the file "
            "niivue.umd.js of the npm package @niivue/niivue with --viewer-js."
        )
    return path
