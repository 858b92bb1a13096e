"""Encoder weights under the names of torchvision and timm."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from covidssl.errors import WeightsError
from covidssl.files import write_json, write_text
from covidssl.frames import Frame
from covidssl.networks.encoder import Encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.weights import load_strictly, read_weights, save_weights

_KINDS = ("resnet18", "resnet50", "densenet121")
_DENSE_LAYER = re.compile(r"(denselayer\d+)\.layers\.")


def write_timm(encoder: Encoder, frame: Frame | None, licence_note: str, folder: Path) -> int:
    """Write `model.safetensors`, `config.json` and a README; gives the number of tensors.

    The file is read again, and every tensor found in it, before `config.json` is written.

    Raises:
        WeightsError: for an encoder that timm and torchvision do not have.
    """
    plan = encoder.plan
    if plan.kind not in _KINDS or plan.dimensions != 2:
        raise WeightsError(
            f"timm and torchvision have no {plan.dimensions}D {plan.kind}: of encoders of slices, "
            f"{', '.join(_KINDS)} can be written in their layout. In Python, "
            f"covidssl.load_encoder gives this encoder as it is; onnx, pt2 and monai-bundle take a "
            f"model with a classifier, such as `covidssl finetune --encoder` makes of it."
        )
    names = {name: foreign_name(name) for name in encoder.state_dict()}
    tensors = {names[name]: tensor for name, tensor in encoder.state_dict().items()}
    file = folder / "model.safetensors"
    sha256 = save_weights(file, tensors)
    again = read_weights(file, sha256)
    count = load_strictly(encoder, {own: again[theirs] for own, theirs in names.items()}, file.name)
    write_text(folder / "README.md", _readme(plan, frame, licence_note))
    write_json(folder / "config.json", _config(plan, frame, licence_note))
    return count


def foreign_name(name: str) -> str:
    """What torchvision and timm call a tensor of a ResNet or DenseNet encoder."""
    return _DENSE_LAYER.sub(r"\1.", name.removeprefix("net."))


def _config(plan: EncoderPlan, frame: Frame | None, licence_note: str) -> dict[str, Any]:
    edge = frame.size if frame else 224
    dense = plan.kind == "densenet121"
    return {
        "architecture": plan.kind,
        "num_classes": 0,
        "num_features": plan.channels[-1],
        "model_args": {"in_chans": 1},
        "pretrained_cfg": {
            "num_classes": 0,
            "input_size": [1, edge, edge],
            "fixed_input_size": False,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            # An encoder of covidssl sees 2 u - 1 of a picture u in [0, 1].
            "mean": [0.5],
            "std": [0.5],
            "first_conv": "features.conv0" if dense else "conv1",
            "classifier": "classifier" if dense else "fc",
        },
        # What neither library asks for, and import-weights reads.
        "covidssl": {
            "norm": plan.norm,
            "groups": plan.groups,
            "window_hu": list(frame.window_hu) if frame else None,
            "licence_note": licence_note,
        },
    }


def _readme(plan: EncoderPlan, frame: Frame | None, licence_note: str) -> str:
    window = "its window"
    if frame is not None:
        window = f"the window {frame.window_hu[0]:g} to {frame.window_hu[1]:g} HU"
    return f"""# A {plan.kind} for lung CT, in the layout of timm and torchvision

Input: one channel, the picture u through {window} in [0, 1], then (u - 0.5) / 0.5, as
`config.json` says. There is no last layer.

With torchvision:

```python
{_code(plan)}```
{_TIMM if plan.norm == "batch" else ""}
{licence_note}
"""


_TIMM = """
With timm:

    encoder = timm.create_model("local-dir:PATH/OF/THIS/FOLDER", pretrained=True)
"""


def _code(plan: EncoderPlan) -> str:
    """How to load the file into torchvision's network, as Python."""
    dense = plan.kind == "densenet121"
    first, last = ("features.conv0", "classifier") if dense else ("conv1", "fc")
    norms = f"""
# The norms of this network are GroupNorm, in the places of BatchNorm.
for name, module in list(encoder.named_modules()):
    if isinstance(module, torch.nn.BatchNorm2d):
        encoder.set_submodule(name, torch.nn.GroupNorm({plan.groups}, module.num_features))
"""
    return f"""import torch
import torchvision
from safetensors.torch import load_file

encoder = torchvision.models.{plan.kind}()
encoder.{first} = torch.nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
encoder.{last} = torch.nn.Identity()
{norms if plan.norm == "group" else ""}
encoder.load_state_dict(load_file("model.safetensors"), strict=True)
encoder.eval()
"""
