"""How others name their tensors, and what an encoder of covidssl calls them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from covidssl.foreign.first_layer import FROM_0_TO_1, IMAGENET, Seen
from covidssl.hounsfield import Window
from covidssl.networks.plan import Dimensions, Kind

LayoutName = Literal["torchvision", "timm", "medicalnet", "models_genesis"]


class Layout(NamedTuple):
    """One family of foreign files.

    Attributes:
        kinds: encoders that its files fit.
        dimensions: of their filters.
        name_of: the encoder's name of a tensor; None for one that no encoder has (a last layer, a
            decoder).
        seen: how the first layer saw a grey value; None where each picture was scaled by its own
            numbers, so that nothing can be folded.
        whole: whether every tensor of the encoder must be in the file.
        licence_note: what is known of the terms, for the card.
        axes: where the axes (O, I, Z, Y, X) of an encoder's filter stand in its own; None where
            they are so already.
        window_hu: through which the network saw HU, where that is known.
    """

    kinds: tuple[Kind, ...]
    dimensions: Dimensions
    name_of: Callable[[str], str | None]
    seen: Seen | None
    whole: bool
    licence_note: str
    axes: tuple[int, ...] | None = None
    window_hu: Window | None = None


_CHECK = (
    " Read the terms that came with the file before passing these weights on, or anything trained "
    "from them. For research; not a medical device."
)
_IMAGENET_NOTE = (
    " They were taught on ImageNet, whose pictures are given for non-commercial research and "
    "education (https://www.image-net.org/download)."
)
# MONAI puts the layers of a dense layer one level deeper; files from before 2018 say norm.1.
_DENSE_LAYER = re.compile(r"(features\.denseblock\d+\.denselayer\d+)\.(norm|relu|conv)\.?([12])\.")
_GENESIS_LEVELS = {"down_tr64": 0, "down_tr128": 1, "down_tr256": 2, "down_tr512": 3}
_GENESIS = re.compile(r"(down_tr\d+)\.ops\.([01])\.(conv1|bn1)\.(\w+)")


def _of_pictures(name: str) -> str | None:
    """ResNets and DenseNets of torchvision and timm."""
    if name.startswith(("fc.", "classifier.", "head.")):
        return None
    return "net." + _DENSE_LAYER.sub(r"\1.layers.\2\3.", name)


def _of_medicalnet(name: str) -> str | None:
    return None if name.startswith(("conv_seg.", "fc.")) else f"net.{name}"


def _of_genesis(name: str) -> str | None:
    if name.startswith(("up_tr", "out_tr")):
        return None
    found = _GENESIS.fullmatch(name)
    if found is None or found[1] not in _GENESIS_LEVELS:
        return name
    layer = "conv" if found[3] == "conv1" else "adn.N"
    return f"levels.{_GENESIS_LEVELS[found[1]]}.{found[2]}.{layer}.{found[4]}"


_PICTURES: tuple[Kind, ...] = ("resnet18", "resnet50", "densenet121")

LAYOUTS: Mapping[LayoutName, Layout] = {
    "torchvision": Layout(
        _PICTURES, 2, _of_pictures, IMAGENET, True,
        "Weights in torchvision's layout. torchvision is under the BSD 3-Clause licence."
        + _IMAGENET_NOTE + _CHECK,
    ),
    "timm": Layout(
        _PICTURES, 2, _of_pictures, IMAGENET, True,
        "Weights in timm's layout. timm is under the Apache-2.0 licence; its weights carry terms "
        "of their own, said on each model's page." + _IMAGENET_NOTE + _CHECK,
    ),
    "medicalnet": Layout(
        ("resnet18", "resnet50"), 3, _of_medicalnet, None, False,
        "Weights in MedicalNet's layout (Chen et al. 2019, arXiv:1904.00625). MedicalNet is under "
        "the MIT licence; its weights were taught on 8 or 23 public sets of scans, each of its own "
        "terms." + _CHECK,
    ),
    "models_genesis": Layout(
        ("genesis",), 3, _of_genesis, FROM_0_TO_1, False,
        "Weights in the layout of Models Genesis (Zhou et al. 2019, arXiv:1908.06912), which were "
        "taught on chest CT of LUNA 2016. What the terms are is said where the file was had."
        + _CHECK,
        # infinite_generator_3D.py of its authors: cubes are (x, y, z), HU go from -1000 to 1000.
        axes=(0, 1, 4, 3, 2), window_hu=(-1000.0, 1000.0),
    ),
}  # fmt: skip
