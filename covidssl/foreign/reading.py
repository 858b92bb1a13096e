"""Tensors of a foreign file: a safetensors file, or a pickle that is read without running it."""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from covidssl.errors import WeightsError
from covidssl.weights import read_weights

MOST_BYTES = 4 * 2**30
"""A file larger than this is no encoder: a ResNet-50 takes 0.1 GiB."""

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network")
_PREFIXES = ("module.", "model.", "backbone.", "encoder.")


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
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise WeightsError(
            f"{path}: {size / 2**30:.1f} GiB are no encoder; at most {MOST_BYTES // 2**30} GiB are "
            f"read. Give the file of the weights alone, without the optimiser's state."
        )
    safe = path.suffix == ".safetensors"
    tensors = _without_prefixes(_named_tensors(read_weights(path) if safe else _unpickled(path)))
    if not tensors:
        raise WeightsError(
            f"{path}: holds no named tensors. Expected a state dict (names to tensors), alone or "
            f"under one of {', '.join(_WRAPPERS)}."
        )
    _must_be_numbers(path, tensors)
    return tensors


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


def _named_tensors(content: object) -> dict[str, torch.Tensor]:
    """The state dict in what a file holds; an empty one where there is none."""
    for _ in range(3):  # wrappers may stand in wrappers
        if not isinstance(content, Mapping):
            return {}
        inner = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not inner:
            break
        content = inner[0]
    found: Mapping[Any, Any] = content if isinstance(content, Mapping) else {}
    return {str(name): value for name, value in found.items() if isinstance(value, torch.Tensor)}


def _without_prefixes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = dict(tensors)
    while found:
        shared = [p for p in _PREFIXES if all(name.startswith(p) for name in found)]
        if not shared:
            break
        found = {name.removeprefix(shared[0]): value for name, value in found.items()}
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
