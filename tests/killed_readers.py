"""A picture over which reading processes end: made here, and known there, by its size."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.scan_files import chest_grey

_ROWS = 77


def write_deadly_picture(path: Path) -> Path:
    """The picture, of a size that no other has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.pad(chest_grey(64), ((0, _ROWS - 64), (0, 0)))).save(path)
    return path


def end_over_deadly_pictures(module: Any) -> None:
    """Let `module.read_scan` end its process over them, as the system does for want of memory."""
    reading = module.read_scan

    def read_and_be_killed(scan: Any, how: Any) -> Any:
        ct = reading(scan, how)
        if ct.array.shape[1] == _ROWS:
            os.kill(os.getpid(), signal.SIGKILL)
        return ct

    module.read_scan = read_and_be_killed
