"""Checkpoints from which a killed run goes on exactly: safetensors, whole or not at all."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors

from covidssl.errors import TrainingError
from covidssl.files import write_bytes
from covidssl.training import TrainingState

log = logging.getLogger(__name__)

_KEPT = 2


def save_checkpoint(folder: Path, state: TrainingState, notes: dict[str, float]) -> None:
    """Write `folder/step-00000200.safetensors`, and drop all but the last two.

    Args:
        folder: of the run's checkpoints.
        state: what to keep: weights, optimiser, moving average, step.
        notes: numbers that the caller needs again, such as its best score so far.
    """
    optimizer = state.optimizer.state_dict()
    tensors = {f"network.{name}": t for name, t in state.network.state_dict().items()}
    tensors |= {f"ema.{name}": t for name, t in (state.ema or {}).items()}
    tensors |= {
        f"optimizer.{index}.{name}": torch.as_tensor(value)
        for index, entries in optimizer["state"].items()
        for name, value in entries.items()
    }
    metadata = {"step": str(state.step), "notes": json.dumps(notes)}
    content = save_tensors(
        {name: t.detach().cpu().contiguous() for name, t in tensors.items()}, metadata
    )
    write_bytes(folder / f"step-{state.step:08d}.safetensors", content)
    for old in sorted(folder.glob("step-*.safetensors"))[:-_KEPT]:
        old.unlink()


def load_checkpoint(folder: Path, state: TrainingState) -> dict[str, float] | None:
    """Bring `state` to the newest readable checkpoint; gives its notes, None where there is none.

    A file that is cut short is reported and left where it is, and the one before it is used.

    Raises:
        TrainingError: when a checkpoint is of another network.
    """
    for path in sorted(folder.glob("step-*.safetensors"), reverse=True):
        try:
            tensors, metadata = _read(path)
        except (SafetensorError, OSError) as error:
            log.warning("%s is not readable (%s); trying the one before it.", path.name, error)
            continue
        try:
            _restore(state, tensors)
        except (RuntimeError, KeyError, ValueError) as error:
            raise TrainingError(
                f"{path}: a checkpoint of another network or optimiser: {error}. "
                f"Resume with the configuration that the run was started with."
            ) from error
        state.step = int(metadata["step"])
        notes: dict[str, float] = json.loads(metadata["notes"])
        return notes
    return None


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def _restore(state: TrainingState, tensors: dict[str, torch.Tensor]) -> None:
    parts: dict[str, dict[str, torch.Tensor]] = {"network": {}, "ema": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    state.network.load_state_dict(parts["network"], strict=True)
    device = next(state.network.parameters()).device
    state.ema = {name: t.to(device) for name, t in parts["ema"].items()} or None
    entries: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in parts["optimizer"].items():
        index, _, key = name.partition(".")
        entries.setdefault(int(index), {})[key] = tensor
    saved = state.optimizer.state_dict()
    state.optimizer.load_state_dict({"state": entries, "param_groups": saved["param_groups"]})
