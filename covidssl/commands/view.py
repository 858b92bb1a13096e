"""`covidssl view`: a scan and its maps, in a browser on this machine."""

from __future__ import annotations

import logging
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from covidssl.io import Reading
from covidssl.training.stopping import StopSignals
from covidssl.viewing import pages_of, serving, shown_map, shown_scan, viewer_library

log = logging.getLogger(__name__)

_LOOKS_UP_S = 0.2


@dataclass(frozen=True)
class Browsing:
    """How the scan is read, and the page shown.

    Attributes:
        library: NiiVue's file; None for the installed package.
        port: on 127.0.0.1; 0 for any that is free.
        open: whether a browser is started.
        reading: what the scan's values mean, and whether its defects are mended.
    """

    library: Path | None = None
    port: int = 0
    open: bool = True
    reading: Reading = Reading()


def main(
    scan: Path,
    maps: Sequence[Path],
    series: str | None,
    browsing: Browsing,
    tell: Callable[[str], None],
) -> None:
    """Show one scan until Ctrl-C.

    Args:
        scan: whatever covidssl reads.
        maps: NIfTI files in the scan's geometry.
        series: which scan, where there are several.
        browsing: how the scan is read and the page shown.
        tell: gets the address of the page once it can be opened.

    Raises:
        CovidsslError: when NiiVue is missing, the scan or a map cannot be read, a map lies on
            another grid, or the port is taken.
    """
    library = viewer_library(browsing.library)
    looked = shown_scan(scan, series, browsing.reading)
    for text in looked.passed_over:
        log.warning("%s", text)
    overlays = [(path.name, shown_map(path, looked.ct)) for path in maps]
    files = pages_of(looked, overlays, library)
    with serving(files, browsing.port) as running:
        tell(running.address)
        if browsing.open:
            webbrowser.open(running.address)
        _until_stopped(running.thread)


def _until_stopped(server: Thread) -> None:
    """Wait for Ctrl-C or another signal to stop, also where a shell ignores it for its jobs."""
    with StopSignals() as signals:
        while server.is_alive() and not signals.caught:
            server.join(_LOOKS_UP_S)
