"""Tensors of a foreign file: a safetensors file, or a pickle that is read without running it."""

from __future__ import annotations

import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from covidssl.errors import WeightsError
from covidssl.weights import MOST_BYTES, read_weights

log = logging.getLogger(__name__)

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network")
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.")


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The named tensors of a file, on the CPU, without wrappers and without `module.`.

    A pickle is read by PyTorch's `weights_only` reader, which builds tensors and plain containers
    and refuses everything else: nothing that the file holds is run.

    Raises:
        WeightsError: for a file that is missing, empty, far too large, cut short, no weights at
            all, or that asks for more than tensors; and for tensors that are no plain numbers.
    """
    if not path.is_file():
        raise WeightsError(f"{path}: there is no such weights file.")
    size = _unpacked_bytes(path)
    if size > MOST_BYTES:
        raise WeightsError(
            f"{path}: {size / 2**30:.1f} GiB are no encoder; at most {MOST_BYTES // 2**30} GiB are "
            f"read. Give the file of the weights alone, without the optimiser's state."
        )
    safe = path.suffix == ".safetensors"
    named = _named_tensors(read_weights(path) if safe else _unpickled(path))
    tensors = _without_prefixes(path, named)
    if not tensors:
        raise WeightsError(
            f"{path}: holds no named tensors. Expected a state dict (names to tensors), alone or "
            f"under one of {', '.join(_WRAPPERS)}."
        )
    _must_be_numbers(path, tensors)
    return tensors


def _unpacked_bytes(path: Path) -> int:
    """What a file takes in memory at least: the records of a zip may be packed."""
    size = path.stat().st_size
    try:
        with zipfile.ZipFile(path) as records:
            return max(size, sum(record.file_size for record in records.infolist()))
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return size


def _unpickled(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols, and of storages' old names
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(_refused(path, str(error))) from None
    except Exception as error:  # whatever a broken pickle makes of PyTorch's reader
        raise WeightsError(
            f"{path}: no readable weights file: it is cut short, or no file of PyTorch at all "
            f"({type(error).__name__}). Expected .pth, .pt or .safetensors; fetch it again and "
            f"compare its checksum."
        ) from None


_GLOBAL = re.compile(r"(?:GLOBAL|global|class) (\S+)")


def _refused(path: Path, said: str) -> str:
    asked = _GLOBAL.search(said) if "Unsupported" in said else None
    if asked is None:
        return (
            f"{path}: PyTorch's reader of plain weights refuses this file: it holds something "
            f"other than tensors in plain containers, or is no pickle at all. Nothing was run."
        )
    return (
        f"{path}: this pickle asks for '{asked[1]}', which could run a program when it is read; it "
        f"is refused, and nothing was run. Where you trust who made it, open it there and save its "
        f"tensors alone: safetensors.torch.save_file(state_dict, 'weights.safetensors')."
    )


def _named_tensors(content: object, depth: int = 3) -> dict[str, torch.Tensor]:
    """The state dict in what a file holds; an empty one where there is none."""
    if not isinstance(content, Mapping):
        return {}
    if depth:  # wrappers may stand in wrappers, and the first of them may be empty
        for key in _WRAPPERS:
            found = _named_tensors(content.get(key), depth - 1)
            if found:
                return found
    held: Mapping[Any, Any] = content
    return {str(name): value for name, value in held.items() if isinstance(value, torch.Tensor)}


def _without_prefixes(path: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Tensors without what stands before the names of more than half of them; others are left."""
    found = dict(tensors)
    while found:
        counts = {p: sum(name.startswith(p) for name in found) for p in _PREFIXES}
        prefix = max(counts, key=lambda p: counts[p])
        if 2 * counts[prefix] <= len(found):
            break
        others = sorted(name for name in found if not name.startswith(prefix))
        if others:
            log.warning("%s: %d tensors are not of the network '%s' and were left (first: %s)",
                        path, len(others), prefix, others[0])  # fmt: skip
        found = {n.removeprefix(prefix): t for n, t in found.items() if n.startswith(prefix)}
    return found


def _must_be_numbers(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    odd = [
        name
        for name, tensor in tensors.items()
        if tensor.layout is not torch.strided
        or tensor.device.type != "cpu"
        or tensor.is_quantized
        or tensor.is_complex()
    ]
    if odd:
        raise WeightsError(
            f"{path}: '{odd[0]}' is sparse, quantised, complex or without values; expected plain "
            f"arrays of real numbers."
        )
