"""Where a network is trained: devices, processes, precision, by Lightning Fabric."""

from __future__ import annotations

import ctypes
import logging
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import torch

from covidssl.errors import UsageError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Strategy = Literal["auto", "ddp", "fsdp"]

_DEVICES, _STRATEGIES = ("auto", "cpu", "cuda"), ("auto", "ddp", "fsdp")

STEP_PATIENCE = timedelta(minutes=20)
"""How long processes wait for each other in a step: after that, one of them is held to be gone."""

WAITING_PATIENCE = timedelta(hours=4)
"""How long the others wait while the first process validates and writes."""


@dataclass(frozen=True)
class Machines:
    """What a network is trained on.

    Attributes:
        device: `auto`, `cpu` or `cuda`.
        devices: processes on each machine, one a device; `auto`: as many as there are CUDA
            devices, or one on a CPU. Those that `torchrun` or `srun` has started need not be said.
        nodes: machines.
        strategy: `ddp`: every process has the whole network; `fsdp`: a part of it, on CUDA alone;
            `auto`: `ddp` where there are several processes.
    """

    device: str = "auto"
    devices: int | Literal["auto"] = 1
    nodes: int = 1
    strategy: Strategy = "auto"


def make_fabric(machines: Machines | str, precision: str) -> Fabric:
    """Lightning Fabric on one device or on many, its processes started.

    Under `torchrun` and SLURM the processes are there already. Otherwise this starts the others on
    this machine by running the command again: so only a command may ask for several.

    Args:
        machines: what to train on, or a device alone: `auto`, `cpu` or `cuda`.
        precision: as in `TrainingPlan`.

    Raises:
        UsageError: when there are no such devices here, or they cannot do what is asked.
    """
    wanted = Machines(machines) if isinstance(machines, str) else machines
    # Fabric's own choice would also be a TPU or MPS, which are not tried.
    accelerator = _accelerator(wanted.device)
    if precision == "16-mixed" and accelerator == "cpu":
        raise UsageError(
            "training.precision 16-mixed needs CUDA; on a CPU take bf16-mixed or 32-true."
        )
    devices, nodes = _processes(wanted, accelerator)
    strategy = _strategy(wanted, accelerator, devices * nodes)
    from lightning_fabric import Fabric  # takes seconds: not before there is something to train

    # It says how it starts its processes.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(
        accelerator=accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=strategy,
        precision=precision,  # type: ignore[arg-type]
    )
    if strategy != "auto":
        fabric.launch()
    if not fabric.is_global_zero:  # the first one speaks for all
        logging.getLogger("covidssl").setLevel(logging.ERROR)
    if fabric.device.type == "cpu":
        keep_freed_memory()
    return fabric


def must_have_right_gradients(dimensions: int, precision: str, device: torch.device) -> None:
    """Refuse to learn from volumes in bf16 on a CPU, where PyTorch's gradients are wrong.

    Raises:
        UsageError: before anything is written.
    """
    if dimensions == 3 and precision == "bf16-mixed" and device.type == "cpu":
        raise UsageError(
            "training.precision bf16-mixed: on a CPU, PyTorch's gradients of volumes are wrong in "
            "bf16. Set training.precision=32-true, or train on a GPU."
        )


def _accelerator(device: str) -> str:
    if device not in _DEVICES:
        raise UsageError(f"--device {device}: expected auto, cpu or cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch sees no CUDA device here; use --device cpu.")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def _processes(wanted: Machines, accelerator: str) -> tuple[int, int]:
    """Processes a machine, and machines."""
    here = torch.cuda.device_count() if accelerator == "cuda" else 1
    launcher, started, nodes = _started()
    if launcher:
        asked = (started if wanted.devices == "auto" else wanted.devices, wanted.nodes)
        # One of each is what nobody has to ask for.
        if asked not in ((started, nodes), (1, 1), (started, 1)):
            raise UsageError(
                f"{launcher} started {started} processes on each of {nodes} machines, and "
                f"--devices {wanted.devices} --nodes {wanted.nodes} were asked for: leave them out."
            )
        return started, nodes
    devices = here if wanted.devices == "auto" else wanted.devices
    if devices < 1 or wanted.nodes < 1:
        raise UsageError("--devices and --nodes: expected 1 or more.")
    if accelerator == "cuda" and devices > here:
        raise UsageError(f"--devices {devices}: PyTorch sees {here} CUDA devices here.")
    return devices, wanted.nodes


def _started() -> tuple[str, int, int]:
    """Who has started the processes ("": nobody), how many a machine, and on how many machines."""
    if torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
        started = int(os.environ["LOCAL_WORLD_SIZE"])
        return "torchrun", started, int(os.environ["WORLD_SIZE"]) // started
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks == 1:
        return "", 1, 1
    nodes = int(os.environ.get("SLURM_STEP_NUM_NODES", 1))
    return "srun", tasks // nodes, nodes


def _strategy(wanted: Machines, accelerator: str, processes: int) -> Any:
    if wanted.strategy not in _STRATEGIES:
        raise UsageError(f"--strategy {wanted.strategy}: expected auto, ddp or fsdp.")
    if wanted.strategy == "fsdp":
        if accelerator != "cuda":
            raise UsageError(
                "--strategy fsdp needs CUDA devices; on CPUs take --strategy ddp, in which every "
                "process holds the whole network."
            )
        from lightning_fabric.strategies.fsdp import FSDPStrategy

        return FSDPStrategy(timeout=STEP_PATIENCE, use_orig_params=True)
    if processes == 1:
        return "auto"
    from lightning_fabric.strategies.ddp import DDPStrategy

    return DDPStrategy(timeout=STEP_PATIENCE)


def keep_freed_memory() -> None:
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
