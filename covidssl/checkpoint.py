"""Checkpoints from which a killed run goes on exactly: safetensors, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors

from covidssl.errors import NoRoomError, TrainingError
from covidssl.files import write_bytes
from covidssl.training import TrainingState

log = logging.getLogger(__name__)

Tensors = dict[str, torch.Tensor]

_PATTERN = "step-*.safetensors"
_ASIDE = ".unreadable"
_CHECKSUM = "sha256"
_DAMAGED = (SafetensorError, KeyError, ValueError)


def save_checkpoint(
    folder: Path, state: TrainingState, notes: dict[str, float], keep: int = 2
) -> None:
    """Write `folder/step-00000200.safetensors`, and drop all but the last `keep`.

    Args:
        folder: of the run's checkpoints.
        state: what to keep: weights, optimiser, moving average, scaler, step.
        notes: numbers that the caller needs again, such as its best score so far.
        keep: how many checkpoints stay.

    Raises:
        NoRoomError: when the disk is full; the checkpoints before stay whole.
    """
    tensors = _tensors_of(state)
    metadata = {
        "step": str(state.step),
        "notes": json.dumps(notes),
        "scaler": json.dumps(state.scaler),
    }
    content = save_tensors(tensors, metadata | {_CHECKSUM: _checksum(tensors, metadata)})
    path = checkpoint_path(folder, state.step)
    try:
        write_bytes(path, content)
    except NoRoomError as error:
        before = sorted(folder.glob(_PATTERN))
        last = f"{before[-1].name} is whole" if before else "There is none before it"
        raise NoRoomError(
            f"{path}: no room for the checkpoint of step {state.step}, which takes "
            f"{len(content) / 2**20:.1f} MiB. {last}. Free some space, or raise the quota or the "
            f"limit of a file's size, and go on with --resume."
        ) from error
    for old in sorted(folder.glob(_PATTERN))[:-keep]:
        old.unlink()


def load_checkpoint(folder: Path, state: TrainingState) -> dict[str, float] | None:
    """Bring `state` to the newest whole checkpoint; gives its notes, None where there is none.

    A file that is cut short or was changed is reported and put aside as `*.unreadable`, and the
    one before it is used.

    Raises:
        TrainingError: when a checkpoint is of another network, or there are some and none is whole.
        OSError: when one cannot be opened; nothing is put aside for that.
    """
    paths = sorted(folder.glob(_PATTERN), reverse=True)
    for path in paths:
        try:
            read = _read(path)
        except _DAMAGED as error:
            aside = _free_name(path)
            path.replace(aside)
            log.warning(
                "%s is not readable (%s); it is kept as %s, and the one before it is tried.",
                path.name, error, aside.name,
            )  # fmt: skip
            continue
        return _restore(path, state, *read)
    if paths or any(folder.glob(f"*{_ASIDE}*")):
        raise TrainingError(
            f"{folder}: none of the checkpoints is readable, so the run cannot go on. Put whole "
            f"ones back, or start again with --overwrite or another --out."
        )
    return None


def load_step(folder: Path, state: TrainingState, step: int) -> dict[str, float]:
    """Bring `state` to the checkpoint of a step, and to no other; gives its notes.

    Raises:
        TrainingError: when it cannot be seen here, is not whole, or is of another network.
    """
    path = checkpoint_path(folder, step)
    try:
        read = _read(path)
    except (*_DAMAGED, OSError) as error:
        raise TrainingError(
            f"{path}: the first process goes on from this checkpoint, and this one cannot read it "
            f"({error}). --out must lie where all machines see it."
        ) from error
    return _restore(path, state, *read)


def checkpoint_path(folder: Path, step: int) -> Path:
    """The file of a step's checkpoint."""
    return folder / f"step-{step:08d}.safetensors"


def newest_step(folder: Path) -> int:
    """Step of the newest checkpoint by name, which is not read; 0 where there is none."""
    return max((int(path.stem.removeprefix("step-")) for path in folder.glob(_PATTERN)), default=0)


def is_whole(path: Path) -> bool:
    """Whether a checkpoint can be read and holds what was written."""
    try:
        _read(path)
    except _DAMAGED:
        return False
    return True


def drop_unfinished(folder: Path) -> None:
    """Remove what was being written when a run was killed; it was never a checkpoint."""
    for left in folder.glob(".step-*.part*"):
        left.unlink(missing_ok=True)


def _tensors_of(state: TrainingState) -> Tensors:
    tensors = {f"network.{name}": t for name, t in state.network.state_dict().items()}
    tensors |= {f"ema.{name}": t for name, t in (state.ema or {}).items()}
    tensors |= {
        f"optimizer.{index}.{name}": torch.as_tensor(value)
        for index, entries in state.optimizer.state_dict()["state"].items()
        for name, value in entries.items()
    }
    return {name: t.detach().cpu().contiguous() for name, t in tensors.items()}


def _checksum(tensors: Tensors, metadata: Mapping[str, str]) -> str:
    """SHA-256 over all that a checkpoint says: safetensors itself has none of its values."""
    digest = hashlib.sha256(json.dumps(dict(sorted(metadata.items()))).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path) -> tuple[Tensors, dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        metadata: dict[str, str] = dict(file.metadata() or {})
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    said = metadata.pop(_CHECKSUM, None)
    if said != _checksum(tensors, metadata):
        raise ValueError("its checksum is wrong" if said else "it has no checksum")
    return tensors, metadata


def _free_name(path: Path) -> Path:
    """Where a damaged file is put; one of the same name that lies there already stays."""
    names = [_ASIDE, *(f"{_ASIDE}.{number}" for number in range(2, 1000))]
    return next(
        aside for aside in (path.with_name(path.name + n) for n in names) if not aside.exists()
    )


def _restore(
    path: Path, state: TrainingState, tensors: Tensors, metadata: Mapping[str, str]
) -> dict[str, float]:
    """Bring `state` to what a checkpoint holds; gives its notes."""
    parts: dict[str, Tensors] = {"network": {}, "ema": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        parts[part][rest] = tensor
    here = state.network.state_dict()
    difference = _difference(here, parts["network"])
    try:
        if difference:
            raise ValueError(difference)
        state.network.load_state_dict(parts["network"], strict=True)
        state.ema = {n: _as_here(t, here[n]) for n, t in parts["ema"].items()} or None
        _restore_optimizer(state.optimizer, parts["optimizer"])
    except (RuntimeError, KeyError, ValueError, IndexError) as error:
        raise TrainingError(
            f"{path}: a checkpoint of another network or optimiser: {error}. "
            f"Resume with the configuration that the run was started with."
        ) from error
    state.step = int(metadata["step"])
    state.scaler = json.loads(metadata["scaler"])
    notes: dict[str, float] = json.loads(metadata["notes"])
    return notes


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    entries: dict[int, Tensors] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        kept = _as_here(tensor, parameters[int(index)]) if tensor.ndim else tensor
        entries.setdefault(int(index), {})[key] = kept
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": entries, "param_groups": groups})


def _as_here(tensor: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The values on the device, and in the order in memory, that they had before the run stopped.

    In another order the same sums could be rounded otherwise.
    """
    if tensor.shape != like.shape:
        raise ValueError(f"a tensor of {tuple(tensor.shape)} for one of {tuple(like.shape)}")
    return torch.empty_like(like, dtype=tensor.dtype, requires_grad=False).copy_(tensor)


def _difference(here: Mapping[str, torch.Tensor], kept: Tensors) -> str:
    """What differs between two networks' names and shapes of weights, in words; "" for nothing."""
    found = [f"{name} is missing from it" for name in here if name not in kept]
    found += [f"it has {name}, which the network has not" for name in kept if name not in here]
    found += [
        f"{name} is {tuple(kept[name].shape)} in it and {tuple(tensor.shape)} here"
        for name, tensor in here.items()
        if name in kept and kept[name].shape != tensor.shape
    ]
    more = f"; and {len(found) - 4} more" if len(found) > 4 else ""
    return "; ".join(found[:4]) + more
