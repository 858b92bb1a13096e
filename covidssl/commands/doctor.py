"""`covidssl doctor`: what is here, what is missing, and how to get it."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.util import find_spec
from pathlib import Path

import torch

from covidssl.perlin import backend_for
from covidssl.runs import git_state, package_versions
from covidssl.version import __version__

_PACKAGES = (
    "torch", "lightning-fabric", "monai", "numba", "numpy", "scipy", "scikit-learn", "pydantic",
    "nibabel", "SimpleITK", "pydicom", "pillow", "safetensors", "matplotlib", "jinja2",
    "tensorboard", "typer",
)  # fmt: skip
_OPTIONAL = {
    "highdicom": ("predict --dicom: maps as DICOM SEG and SR", "pip install 'covidssl[dicom]'"),
    "ipyniivue": ("covidssl view", "pip install 'covidssl[view]'"),
    "onnx": ("export --format onnx, predict --backend onnx", "pip install 'covidssl[export]'"),
    "onnxruntime": (
        "the check of what is written, and running it",
        "pip install 'covidssl[export]'",
    ),
    "onnxscript": ("PyTorch's way to ONNX", "pip install 'covidssl[export]'"),
    "fire": ("running an exported MONAI bundle", "pip install 'covidssl[export]'"),
    "ray": ("--engine ray: many machines", "pip install 'covidssl[ray]'"),
    "s3fs": ("stores at s3://", "pip install 'covidssl[s3]'"),
    "lungmask": ("prepare --set lungs=lungmask", "pip install 'covidssl[lungmask]'"),
    "noise": ("reference Perlin noise", "pip install 'covidssl[reference]' (needs a C compiler)"),
    "opensimplex": ("make bench: other noise to compare with", "pip install 'covidssl[bench]'"),
    "pylibjpeg": ("compressed DICOM beyond what SimpleITK reads", "pip install pylibjpeg"),
}


def main(folder: Path = Path()) -> list[tuple[str, str, str]]:
    """Rows (what, found, advice); an empty advice means that all is well."""
    rows = [
        ("covidssl", __version__, ""),
        ("Python", f"{platform.python_version()} on {platform.system()}", ""),
    ]
    git = git_state()
    if git is not None:
        dirty = " with uncommitted changes" if git["dirty"] else ""
        rows.append(("checkout", f"{git['commit'][:12]}{dirty}", ""))
    for name, version in package_versions(_PACKAGES).items():
        rows.append((name, version or "missing", "" if version else f"pip install {name}"))
    rows += _devices()
    rows.append(_perlin())
    free = shutil.disk_usage(folder).free / 2**30
    rows.append(("free disk here", f"{free:.1f} GiB", "" if free > 5 else "free some space"))
    for module, (what, advice) in _OPTIONAL.items():
        there = find_spec(module) is not None
        rows.append((f"{module} (optional)", what, "" if there else advice))
    return rows


def _perlin() -> tuple[str, str, str]:
    """How Perlin fields are drawn on the best device here."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backend = backend_for(device)
    faster = {"cpu": "pip install numba", "cuda": "install a torch that brings Triton"}[device.type]
    advice = f"{faster} for fields in a fraction of the time" if backend == "product" else ""
    return ("Perlin fields", f"'{backend}' on {device.type}", advice)


def _devices() -> list[tuple[str, str, str]]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    rows = [("CPU", f"{os.cpu_count()} cores, {memory:.1f} GiB of memory", "")]
    if not torch.cuda.is_available():
        return [*rows, ("CUDA", "none seen by PyTorch", "everything works on the CPU, slower")]
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        rows.append((f"CUDA {index}", f"{card.name}, {card.total_memory / 2**30:.1f} GiB", ""))
    return rows
