"""Verbs for weights from elsewhere, and weights for elsewhere: import-weights, export."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covidssl.cli.application import app, say

if TYPE_CHECKING:
    from covidssl.networks.plan import Kind

# The verbs are imported where they are called: `--help` must not wait for PyTorch.

_NAMED = 12


class Layouts(StrEnum):
    """Whose names the tensors of a foreign file have."""

    TORCHVISION = "torchvision"
    TIMM = "timm"
    MEDICALNET = "medicalnet"
    MODELS_GENESIS = "models_genesis"


class Kinds(StrEnum):
    """Encoders that foreign weights fit."""

    RESNET18 = "resnet18"
    RESNET50 = "resnet50"
    DENSENET121 = "densenet121"
    GENESIS = "genesis"


class Formats(StrEnum):
    """What a model is written as."""

    ONNX = "onnx"
    PT2 = "pt2"
    MONAI_BUNDLE = "monai-bundle"
    TIMM = "timm"
    CARD = "card"


@app.command(
    "import-weights",
    epilog="Example: `covidssl import-weights resnet50.pth --layout torchvision "
    "--out encoders/imagenet`",
)
def import_weights(
    file: Annotated[Path, typer.Argument(help="A state dict: .pth, .pt or .safetensors.")],
    layout: Annotated[Layouts, typer.Option(help="Whose names its tensors have.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the encoder, or its .safetensors file.")
    ],
    kind: Annotated[
        Kinds | None, typer.Option(help="Of encoder; without it, the one that fits best.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws what the file does not hold.")] = 0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the encoder.")] = False,
) -> None:
    """Make an encoder of weights that others have trained.

    A pickle is read by PyTorch's reader of plain weights: nothing in it is run. Says how many
    tensors matched and which were missed. The encoder keeps its norms, and goes to `finetune
    --encoder` or `pretrain --init`.
    """
    from covidssl.commands import import_weights as verb

    kind_name: Kind | None = None if kind is None else kind.value
    path, done = verb.main(file, layout.value, out, kind_name, seed, overwrite)
    total = len(done.matched) + len(done.drawn) + len(done.written)
    say(f"{path}: {len(done.matched)} of {total} tensors matched, {len(done.drawn)} missed")
    if done.drawn:
        say(f"missed, drawn from seed {seed}: {_names(done.drawn)}")
    if done.written:
        say(f"shortcuts without weights, written as 1 x 1 convolutions: {_names(done.written)}")
    if done.left:
        say(f"in the file, not needed: {_names(done.left)}")


def _names(names: tuple[str, ...]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


@app.command(epilog="Example: `covidssl export runs/finetune --format onnx --out model.onnx`")
def export(
    model: Annotated[
        Path, typer.Argument(help="A fine-tuning run or its model folder; of timm also an encoder.")
    ],
    to: Annotated[Formats, typer.Option("--format", help="What to write.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file or folder to write.")],
    evaluation: Annotated[
        Path | None, typer.Option(help="A run of evaluate: its scores go into the model's card.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write a model for use elsewhere: its window and its calibration are in the graph.

    Beside it lies a JSON file that says the rest: crop, size, how slices become a scan's answer.
    What was written is read again and held against the original on 100 inputs.
    """
    from covidssl.commands import export as verb

    for line in verb.main(model, to.value, out, evaluation, overwrite):
        say(line)
