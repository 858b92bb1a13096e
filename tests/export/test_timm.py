"""Encoders under the names of timm and torchvision, as those libraries would load them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from covidssl.commands.export import main
from covidssl.errors import WeightsError
from covidssl.model import load_model
from covidssl.networks.plan import Kind
from covidssl.randomness import torch_generator
from tests.export.taught_models import HU_VOLUME, SLICES, card_of, write_taught


@torch.no_grad()
def test_resnet_gives_the_same_features_in_a_network_built_elsewhere(tmp_path: Path) -> None:
    from monai.networks.nets.resnet import ResNet, get_inplanes

    folder = write_taught(tmp_path / "model", card_of(SLICES, kind="resnet18", norm="batch"))
    said = main(folder, "timm", tmp_path / "timm")
    home = ResNet(
        "basic", [2, 2, 2, 2], get_inplanes(), spatial_dims=2, n_input_channels=1,
        conv1_t_stride=2, bias_downsample=False, feed_forward=False,
    )  # fmt: skip
    tensors = load_file(tmp_path / "timm" / "model.safetensors")
    home.load_state_dict(tensors, strict=True)
    config = json.loads((tmp_path / "timm" / "config.json").read_text())
    mean, std = (config["pretrained_cfg"][key][0] for key in ("mean", "std"))
    unit = torch.rand((2, 1, 64, 64), generator=torch_generator(1))
    deepest = load_model(folder).classifier.encoder(unit)[-1]
    found = home.eval()((unit - mean) / std)
    torch.testing.assert_close(found, deepest.mean((2, 3)), atol=1e-4, rtol=1e-4)
    assert (config["architecture"], config["num_features"]) == ("resnet18", deepest.shape[1])
    assert said[1] == f"{len(tensors)} tensors, read again and compared"


def test_densenet_gets_torchvisions_names(tmp_path: Path) -> None:
    folder = write_taught(tmp_path / "model", card_of(SLICES, kind="densenet121", norm="batch"))
    main(folder, "timm", tmp_path / "timm")
    names = load_file(tmp_path / "timm" / "model.safetensors").keys()
    assert {
        "features.conv0.weight",
        "features.norm0.running_mean",
        "features.denseblock4.denselayer16.norm2.weight",
        "features.denseblock1.denselayer1.conv1.weight",
        "features.transition3.conv.weight",
        "features.norm5.bias",
    } <= names
    assert all(name.startswith("features.") and ".layers." not in name for name in names)


@pytest.mark.parametrize(("kind", "frame"), [("unet", SLICES), ("unet", HU_VOLUME)])
def test_encoder_that_timm_does_not_have_is_refused(
    kind: Kind, frame: object, tmp_path: Path
) -> None:
    folder = write_taught(tmp_path / "model", card_of(SLICES if frame is SLICES else HU_VOLUME))
    with pytest.raises(WeightsError, match=rf"have no [23]D {kind}: .*resnet18, resnet50"):
        main(folder, "timm", tmp_path / "timm")
    assert not (tmp_path / "timm").exists()
