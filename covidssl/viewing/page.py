"""The page of the viewer and the files beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import cycle
from typing import Any, NamedTuple

from covidssl.hounsfield import Pixels
from covidssl.pages import environment
from covidssl.version import __version__
from covidssl.viewing.server import File
from covidssl.viewing.shown import Looked, Shown, for_the_viewer
from covidssl.volume import Volume

_COLOURS = ("warm", "winter", "green", "violet")
"""NiiVue's names of the colours that maps get in turn."""

_PAIRS = (("warm", "winter"), ("green", "violet"))
"""Of maps with values on both sides of 0: above, and below."""

_FAINTEST, _FAINTEST_OF_BOTH = 1 / 256, 1 / 20
"""Shares of the highest value that are painted; evidence is faint nearly everywhere, and not 0."""

WINDOWS: Mapping[str, tuple[float, float]] = {
    "lung": (-1350.0, 150.0),
    "mediastinum": (-160.0, 240.0),
    "bone": (-450.0, 1050.0),
}
"""Lowest and highest HU of each window: 1500 HU about -600, 400 about 40, 1500 about 300."""


class _Coloured(NamedTuple):
    """How a map is painted: from `low` to `high`, and below 0 from -`low` to -`high`."""

    colour: str
    below: str
    low: float
    high: float

    @property
    def told(self) -> str:
        """The range in words."""
        ends = f"{'-' if self.below else ''}{self.high:.3g} to {self.high:.3g}"
        if self.below:
            return f"{ends}, nothing between -{self.low:.3g} and {self.low:.3g}"
        return f"0 to {self.high:.3g}"


def pages_of(looked: Looked, maps: Sequence[tuple[str, Volume]], library: bytes) -> dict[str, File]:
    """Everything that the browser may ask for, by name; the page itself is "".

    Args:
        looked: the scan, as `shown_scan` gives it.
        maps: names and maps on the scan's grid.
        library: NiiVue, as `viewer_library` gives it.
    """
    ct = looked.ct
    scan = for_the_viewer(ct, ct.source)
    hu = ct.pixels is Pixels.HU
    windows = WINDOWS if hu else {"all": (scan.low, scan.high)}
    first, last = next(iter(windows.values()))
    volumes: list[dict[str, Any]] = [
        {"url": "scan.nii", "low": first, "high": last, "colormap": "gray", "below": ""}
        | {"unit": "HU" if hu else ""}
    ]
    answers = {"scan.nii": File(scan.nifti, "application/octet-stream")}
    shown = [for_the_viewer(volume, name) for name, volume in maps]
    painted = _painted(shown)
    for number, (one, how) in enumerate(zip(shown, painted, strict=True)):
        url = f"map-{number}.nii"
        answers[url] = File(one.nifti, "application/octet-stream")
        volumes.append(
            {"url": url, "low": how.low, "high": how.high}
            | {"colormap": how.colour, "below": how.below}
        )
    settings = {"volumes": volumes, "windows": windows, "shape": ct.array.shape[::-1]}
    doubts = [*looked.passed_over, *ct.warnings]
    doubts += [f"{name}: {text}" for name, volume in maps for text in volume.warnings]
    page = environment().get_template("view.html.j2").render(
        ct=ct, hu=hu, windows=windows, doubts=doubts, version=__version__,
        maps=[(one.name, how) for one, how in zip(shown, painted, strict=True)],
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


def _painted(maps: Sequence[Shown]) -> list[_Coloured]:
    """A colour for each map; a pair of them, and the same range, for both sides of 0."""
    both = [one.low < 0 for one in maps]
    pairs = cycle(_PAIRS)
    of_both = [next(pairs) if signed else ("", "") for signed in both]
    taken = {colour for pair in of_both for colour in pair}
    single = cycle([colour for colour in _COLOURS if colour not in taken] or _COLOURS)
    painted = []
    for one, (above, below) in zip(maps, of_both, strict=True):
        # A map that is 0 everywhere still needs a range.
        high = max(one.high, -one.low) or 1.0
        share = _FAINTEST_OF_BOTH if below else _FAINTEST
        painted.append(_Coloured(above or next(single), below, high * share, high))
    return painted
