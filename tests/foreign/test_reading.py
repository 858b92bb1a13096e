"""A foreign file gives its tensors, and never runs; what is no weights file says what it is."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from covidssl.errors import WeightsError
from covidssl.foreign import read_state_dict, reading
from covidssl.weights import MOST_BYTES

TENSORS = {"conv1.weight": torch.arange(6.0).reshape(2, 3), "bn1.bias": torch.ones(2)}


def saved(path: Path, content: object, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


class Runs:
    """A pickle of this writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return Path.touch, (self.path,)


# What is read


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "content",
    [
        TENSORS,
        {f"module.{name}": tensor for name, tensor in TENSORS.items()},
        {"epoch": 3, "state_dict": {f"module.{name}": t for name, t in TENSORS.items()}},
        {"model": {"state_dict": TENSORS}, "best": 0.5},
        {f"module.encoder.{name}": tensor for name, tensor in TENSORS.items()},
        {"state_dict": {f"_orig_mod.{name}": tensor for name, tensor in TENSORS.items()}},
        {"state_dict": {}, "model": TENSORS},
    ],
)
def test_tensors_are_found_in_their_wrappers(content: object, legacy: bool, tmp_path: Path) -> None:
    found = read_state_dict(saved(tmp_path / "w.pth", content, legacy))
    assert found.keys() == TENSORS.keys()
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


def test_tensors_beside_the_network_are_left_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = {f"model.{name}": tensor for name, tensor in TENSORS.items()}
    path = saved(tmp_path / "w.ckpt", {"state_dict": content | {"loss.weight": torch.ones(2)}})
    assert read_state_dict(path).keys() == TENSORS.keys()
    assert "1 tensors are not of the network 'model.' and were left (first: loss.we" in caplog.text


def test_safetensors_are_read_too(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "w.safetensors")
    found = read_state_dict(tmp_path / "w.safetensors")
    assert all(torch.equal(found[name], TENSORS[name]) for name in TENSORS)


# What is refused


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain"])
@pytest.mark.parametrize("inside", [False, True])
def test_pickle_that_would_run_is_refused_and_does_not_run(
    kind: str, inside: bool, tmp_path: Path
) -> None:
    trap, path = tmp_path / "it ran", tmp_path / "w.pth"
    content = {"state_dict": TENSORS, "epoch": Runs(trap)} if inside else Runs(trap)
    if kind == "plain":
        path.write_bytes(pickle.dumps(Runs(trap), protocol=2))
    else:
        saved(path, content, legacy=kind == "legacy")
    with pytest.raises(WeightsError, match=r"w\.pth: this pickle asks for '.*', .*nothing was run"):
        read_state_dict(path)
    assert not trap.exists()


def test_whole_pickled_network_is_refused_with_advice(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", torch.nn.Linear(2, 2))
    with pytest.raises(WeightsError, match=r"torch\.nn\.modules\.linear\.Linear.*save_file"):
        read_state_dict(path)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("left", [0, 40, 0.5, -3])
def test_file_that_was_cut_short_is_refused(left: float, legacy: bool, tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", {"w": torch.zeros(1000)}, legacy)
    content = path.read_bytes()
    path.write_bytes(content[: int(left * len(content)) if left == 0.5 else int(left)])
    with pytest.raises(WeightsError, match=r"w\.pth: "):
        read_state_dict(path)


@pytest.mark.parametrize("content", [b"", b"<html>Not found</html>", b"PK\x03\x04nothing"])
def test_what_is_no_weights_file_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.pth: .*(no file of PyTorch|is no pickle at all)"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [{}, {"state_dict": {}}, {"epoch": 3}, [1, 2], 7])
def test_file_without_named_tensors_is_refused(content: object, tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", content)
    with pytest.raises(WeightsError, match=r"holds no named tensors\. Expected a state dict"):
        read_state_dict(path)


def test_pickle_called_safetensors_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.safetensors", TENSORS)
    with pytest.raises(WeightsError, match="this is a pickle"):
        read_state_dict(path)


def test_file_that_is_far_too_large_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "w.pth").open("wb") as file:
        file.truncate(MOST_BYTES + 1)  # a hole: it takes no room
    with pytest.raises(WeightsError, match=r"4\.0 GiB are no encoder"):
        read_state_dict(tmp_path / "w.pth")


def test_file_that_unpacks_to_far_too_much_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = saved(tmp_path / "stored.pth", {"w": torch.zeros(500_000)})
    packed = tmp_path / "w.pth"
    with zipfile.ZipFile(stored) as old, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    assert packed.stat().st_size < 10_000
    monkeypatch.setattr(reading, "MOST_BYTES", 2**20)
    with pytest.raises(WeightsError, match=r"w\.pth: .* GiB are no encoder"):
        read_state_dict(packed)


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.zeros(3, dtype=torch.complex64),
    ],
    ids=["sparse", "complex"],
)
def test_tensors_that_are_no_plain_numbers_are_refused(
    tensor: torch.Tensor, tmp_path: Path
) -> None:
    path = saved(tmp_path / "w.pth", {"conv1.weight": tensor})
    with pytest.raises(WeightsError, match=r"'conv1\.weight' is sparse|refuses|this pickle asks"):
        read_state_dict(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no such weights file"):
        read_state_dict(tmp_path / "w.pth")
