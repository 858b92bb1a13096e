"""Encoders under the names of timm and torchvision, as those libraries would load them."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from covidssl.commands.export import main
from covidssl.errors import WeightsError
from covidssl.model import load_model
from covidssl.networks.plan import Kind
from covidssl.randomness import torch_generator
from tests.export.taught_models import HU_VOLUME, SLICES, card_of, write_taught
from tests.foreign import torchvision_networks


@pytest.mark.parametrize(
    ("kind", "norm"), [("resnet18", "batch"), ("resnet18", "group"), ("densenet121", "group")]
)
@torch.no_grad()
def test_code_in_the_readme_gives_the_same_features_in_a_network_built_elsewhere(
    kind: Kind, norm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_taught(tmp_path / "model", card_of(SLICES, kind=kind, norm=norm))
    said = main(folder, "timm", tmp_path / "timm")
    code = re.findall(r"```python\n(.*?)```", (tmp_path / "timm/README.md").read_text(), re.DOTALL)
    # Networks that were written from torchvision's definitions stand in for it.
    stand_in = SimpleNamespace(models=torchvision_networks)
    monkeypatch.setitem(sys.modules, "torchvision", stand_in)
    monkeypatch.chdir(tmp_path / "timm")
    names: dict[str, Any] = {}
    with torch.enable_grad():
        exec(compile(code[0], "README.md", "exec"), names)  # noqa: S102 (our own page)
    config = json.loads((tmp_path / "timm" / "config.json").read_text())
    mean, std = (config["pretrained_cfg"][key][0] for key in ("mean", "std"))
    unit = torch.rand((2, 1, 64, 64), generator=torch_generator(1))
    deepest = load_model(folder).classifier.encoder(unit)[-1]
    found = names["encoder"]((unit - mean) / std)
    torch.testing.assert_close(found, deepest.mean((2, 3)), atol=1e-4, rtol=1e-4)
    assert deepest.mean((2, 3)).std() > 1e-3
    assert (config["architecture"], config["num_features"]) == (kind, deepest.shape[1])
    assert re.fullmatch(r"\d+ tensors, read again and compared", said[1])
    readme = (tmp_path / "timm" / "README.md").read_text()
    assert ("timm.create_model" in readme) == (norm == "batch")
    assert "window -1000 to 400 HU" in readme


@pytest.mark.parametrize(("kind", "frame"), [("unet", SLICES), ("unet", HU_VOLUME)])
def test_encoder_that_timm_does_not_have_is_refused(
    kind: Kind, frame: object, tmp_path: Path
) -> None:
    folder = write_taught(tmp_path / "model", card_of(SLICES if frame is SLICES else HU_VOLUME))
    with pytest.raises(WeightsError, match=rf"have no [23]D {kind}: .*resnet18, resnet50"):
        main(folder, "timm", tmp_path / "timm")
    assert not (tmp_path / "timm").exists()
