"""Memory of a device: how much there is, and how much is taken at the peak of some work."""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

import torch

_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MEMORY, _GROUP, _GROUPS = Path("/proc/meminfo"), Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


class Gauge:
    """How far memory has risen above what was taken when the gauge was made.

    On a GPU these are bytes of tensors; on a CPU resident bytes of the process, whatever took them.
    What was freed before is given back to the system first, so that it is not counted as there.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        if device.type == "cuda":
            gc.collect()  # a network that was copied may lie in a circle of references
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
            return
        _give_back()
        if _STATUS.is_file():
            # Where it is refused an earlier peak stays: too much is said, never too little.
            with suppress(OSError):
                _FORGET.write_text("5")
            self._before = _status("VmRSS")
        else:
            self._before = _highest_ever()

    def peak_bytes(self) -> int:
        """Most bytes above the start, since the gauge was made."""
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
        else:
            peak = _status("VmHWM") if _STATUS.is_file() else _highest_ever()
        return max(0, peak - self._before)


def free_bytes(device: torch.device) -> int:
    """Bytes that this process may still take on a device.

    On a GPU what PyTorch keeps for itself counts as free; on a CPU the limits of the process's
    control groups (containers, SLURM) hold as well.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return free + kept
    return min([_available(), *_left_in_groups()])


def _available() -> int:
    if _MEMORY.is_file():
        for line in _MEMORY.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _left_in_groups() -> list[int]:
    """What the limits leave of this process's control group (version 2) and those around it."""
    with suppress(OSError, ValueError):
        own = _GROUP.read_text(encoding="utf-8").strip().rpartition(":")[2].lstrip("/")
        folders = [_GROUPS / own, *(_GROUPS / own).parents]
        left = [_left_in(folder) for folder in folders if folder.is_relative_to(_GROUPS)]
        return [number for number in left if number is not None]
    return []


def _left_in(folder: Path) -> int | None:
    """None for a group without a limit."""
    with suppress(OSError, ValueError):
        most = int((folder / "memory.max").read_text(encoding="ascii"))
        taken = int((folder / "memory.current").read_text(encoding="ascii"))
        lines = (folder / "memory.stat").read_text(encoding="ascii").splitlines()
        # Pages of files that nobody has open are given up when memory is asked for.
        idle = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
        return max(0, most - taken + idle)
    return None


def _give_back() -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _highest_ever() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _status(name: str) -> int:
    for line in _STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"{_STATUS} says nothing of {name}")
