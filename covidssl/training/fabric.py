"""Where a network is trained: devices, processes, precision, by Lightning Fabric."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

import torch

from covidssl.errors import UsageError

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_fabric(device: str, precision: str) -> Fabric:
    """Lightning Fabric on one device.

    Args:
        device: `auto`, `cpu` or `cuda`.
        precision: as in `TrainingPlan`.

    Raises:
        UsageError: when there is no such device here.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {device}: expected auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch sees no CUDA device here; use --device cpu.")
    from lightning_fabric import Fabric  # takes seconds: not before there is something to train

    if device == "auto":  # Fabric's own choice would also be a TPU or MPS, which are not tried
        device = "cuda" if torch.cuda.is_available() else "cpu"
    fabric = Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]
    if fabric.device.type == "cpu":
        _keep_freed_memory()
    return fabric


def _keep_freed_memory() -> None:
    """Let glibc keep large blocks that were freed, instead of giving them back and asking again.

    A step frees and asks for the same feature maps over and over; fresh pages cost as much as the
    arithmetic on them (a training step took 1.4 times as long on a CPU). Elsewhere: no effect.
    """
    mmap_threshold, trim_threshold = -3, -1
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return
    libc.mallopt(mmap_threshold, 2**30)
    libc.mallopt(trim_threshold, 2**31 - 1)
