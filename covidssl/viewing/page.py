"""The page of the viewer and the files beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from covidssl.hounsfield import Pixels
from covidssl.pages import environment
from covidssl.version import __version__
from covidssl.viewing.server import File
from covidssl.viewing.shown import for_the_viewer
from covidssl.volume import Volume

_COLOURS = ("warm", "winter", "green", "violet")
"""NiiVue's names of the colours that maps get in turn."""

WINDOWS: Mapping[str, tuple[float, float]] = {
    "lung": (-1350.0, 150.0),
    "mediastinum": (-160.0, 240.0),
    "bone": (-450.0, 1050.0),
}
"""Lowest and highest HU of each window: 1500 HU about -600, 400 about 40, 1500 about 300."""


def pages_of(ct: Volume, maps: Sequence[tuple[str, Volume]], library: bytes) -> dict[str, File]:
    """Everything that the browser may ask for, by name; the page itself is "".

    Args:
        ct: the scan, as `shown_scan` gives it.
        maps: names and maps on the scan's grid.
        library: NiiVue, as `viewer_library` gives it.
    """
    scan = for_the_viewer(ct, ct.source)
    hu = ct.pixels is Pixels.HU
    windows = WINDOWS if hu else {"all": (scan.low, scan.high)}
    volumes: list[dict[str, Any]] = [
        {"url": "scan.nii", "low": next(iter(windows.values()))[0]}
        | {"high": next(iter(windows.values()))[1], "colormap": "gray", "unit": "HU" if hu else ""}
    ]
    answers = {"scan.nii": File(scan.nifti, "application/octet-stream")}
    for number, (name, volume) in enumerate(maps):
        shown = for_the_viewer(volume, name)
        url = f"map-{number}.nii"
        answers[url] = File(shown.nifti, "application/octet-stream")
        colour = _COLOURS[number % len(_COLOURS)]
        # A map that is 0 everywhere still needs a range.
        high = shown.high if shown.high > 0 else 1.0
        volumes.append({"url": url, "low": high / 256, "high": high, "colormap": colour})
    settings = {"volumes": volumes, "windows": windows, "shape": ct.array.shape[::-1]}
    page = environment().get_template("view.html.j2").render(
        ct=ct, hu=hu, windows=windows, maps=[name for name, _ in maps], version=__version__
    )  # fmt: skip
    return answers | {
        "": File(page.encode(), "text/html; charset=utf-8"),
        "settings.json": File(json.dumps(settings).encode(), "application/json"),
        "niivue.js": File(library, "text/javascript; charset=utf-8"),
        "view.js": _beside("view.js", "text/javascript; charset=utf-8"),
        "view.css": _beside("view.css", "text/css; charset=utf-8"),
    }


def _beside(name: str, kind: str) -> File:
    return File((files("covidssl") / "templates" / name).read_bytes(), kind)
