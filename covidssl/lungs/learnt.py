"""Lungs by the network R231 of the package lungmask (Hofmanninger et al. 2020), where it is."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import ScanError, UsageError
from covidssl.hounsfield import Pixels
from covidssl.lungs.result import LEFT, RIGHT
from covidssl.volume import Volume

WEIGHTS = "unet_r231-d5d2fc3d.pth"
_RIGHT, _LEFT = 1, 2  # labels of R231


def weights_path() -> Path:
    """Where the weights of R231 are looked for: torch's own cache."""
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / WEIGHTS


def learnt_lungs(ct: Volume) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """The lungs of a scan in HU and their sides, (Z, Y, X) each; nothing is ever downloaded.

    Raises:
        ScanError: when the scan is not in HU, which the network was trained on.
        UsageError: when lungmask is not installed, or its weights are not in torch's cache.
    """
    if ct.pixels is not Pixels.HU:
        raise ScanError(
            f"{ct.source}: lungmask was trained on HU, and this scan holds windowed grey values. "
            f"Give the original in HU, or find its lungs with the method 'threshold'.",
            code="not_hu",
        )
    labels = _network(str(_weights())).apply(np.asarray(ct.array, dtype=np.int16))
    sides = np.zeros(ct.array.shape, dtype=np.uint8)
    sides[labels == _RIGHT], sides[labels == _LEFT] = RIGHT, LEFT
    return sides > 0, sides


def _weights() -> Path:
    path = weights_path()
    if not path.is_file():
        raise UsageError(
            f"The weights of lungmask's R231 are not there, and nothing is downloaded. Put "
            f"{WEIGHTS} (from the releases of github.com/JoHof/lungmask) into "
            f"{_shown(path.parent)}, or use the method 'threshold'."
        )
    return path


def _shown(folder: Path) -> str:
    home = Path.home()
    return f"~/{folder.relative_to(home)}" if folder.is_relative_to(home) else "$TORCH_HOME"


@lru_cache(maxsize=1)
def _network(path: str) -> Any:
    try:
        from lungmask.mask import LMInferer
    except ImportError as error:
        raise UsageError(
            "The package lungmask is not installed: pip install 'covidssl[lungmask]', or use the "
            "method 'threshold'."
        ) from error
    import torch

    return LMInferer(modelpath=path, force_cpu=not torch.cuda.is_available(), tqdm_disable=True)
