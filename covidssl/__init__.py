"""Learn from unlabelled lung CT by repairing Perlin pseudo-lesions, then tell COVID-19.

    import covidssl

    ct = covidssl.read_ct("scan.nii.gz")          # upright, HU or windowed grey values
    lungs = covidssl.lung_mask(ct)
    said = covidssl.predict("runs/finetune", ct)  # research use only

The names below are imported when they are first used, so that `import covidssl` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from covidssl.version import __version__

if TYPE_CHECKING:
    from covidssl.io import read_ct
    from covidssl.lesions import LesionRanges, render, sample
    from covidssl.lungs import lung_mask
    from covidssl.model import load_model
    from covidssl.prediction import predict
    from covidssl.volume import Volume
    from covidssl.weights import load_encoder

__all__ = [
    "LesionRanges",
    "Volume",
    "__version__",
    "load_encoder",
    "load_model",
    "lung_mask",
    "predict",
    "read_ct",
    "render",
    "sample",
]

_HOME = {
    "LesionRanges": "lesions",
    "Volume": "volume",
    "load_encoder": "weights",
    "load_model": "model",
    "lung_mask": "lungs",
    "predict": "prediction",
    "read_ct": "io",
    "render": "lesions",
    "sample": "lesions",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'covidssl' has no attribute '{name}'")
    return getattr(import_module(f"covidssl.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
