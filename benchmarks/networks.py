"""Every kind of encoder: its size, and how fast a CPU learns with it, for docs/training.md.

python -m benchmarks.networks             2D, 128 px
python -m benchmarks.networks --quick     tiny sizes: does everything run?
"""

from __future__ import annotations

from statistics import median
from typing import Annotated, NamedTuple, get_args

import torch
import typer
from rich.console import Console
from torch import nn

from benchmarks.timing import Contender, interleaved
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import Dimensions, EncoderPlan, Kind
from covidssl.networks.unet import RestorationUNet
from covidssl.randomness import initial_weights, torch_generator
from covidssl.training import make_fabric


class Size(NamedTuple):
    """Parameters of an encoder and of its decoder, and the encoder's levels."""

    encoder: int
    decoder: int
    channels: tuple[int, ...]
    strides: tuple[int, ...]


def size_of(kind: Kind, dimensions: Dimensions) -> Size:
    """Of a kind as it is built when nothing else is said."""
    network = _restoration(kind, dimensions)
    encoder = network.encoder
    parts = (sum(p.numel() for p in part.parameters()) for part in (encoder, network.decoder))
    return Size(next(parts), next(parts), encoder.channels, encoder.strides)


class Step:
    """Forward and backward of one fixed batch; the optimiser is left out."""

    def __init__(self, network: nn.Module, unit: torch.Tensor) -> None:
        self.network, self.unit = network, unit

    def __call__(self) -> None:
        self.network.zero_grad()
        found = self.network(self.unit)
        levels = found if isinstance(found, list) else [found.unit, found.lesion_logit]
        torch.stack([level.square().mean() for level in levels]).sum().backward()


def contenders(pixels: int, batch: int) -> list[Contender]:
    """The encoder alone, and the whole restoration network, of every kind in 2D."""
    unit = torch.rand((batch, 1, pixels, pixels), generator=torch_generator(0))
    steps = []
    for kind in get_args(Kind):
        network = _restoration(kind, 2)
        steps.append(Contender(f"{kind} encoder", Step(network.encoder, unit), batch))
        steps.append(Contender(f"{kind} restoration", Step(network, unit), batch))
    return steps


def main(
    quick: Annotated[bool, typer.Option(help="Tiny sizes.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds, each kind once in each.")] = 10,
) -> None:
    """Print the rows of the table of networks."""
    make_fabric("cpu", "32-true")  # memory as training has it
    steps = contenders(32, 2) if quick else contenders(128, 4)
    seconds = interleaved(steps, 1 if quick else rounds, 0.0)
    speeds = {name: 1 / median(times) for name, times in seconds.items()}
    console = Console(width=170, markup=False)
    console.print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for kind in get_args(Kind):
        flat, deep = size_of(kind, 2), size_of(kind, 3)
        encoder, restoration = (speeds[f"{kind} {part}"] for part in ("encoder", "restoration"))
        console.print(
            f"| `{kind}` | {list(flat.channels)} | {list(flat.strides)} "
            f"| {flat.encoder / 1e6:.2f} / {deep.encoder / 1e6:.2f} "
            f"| {flat.decoder / 1e6:.2f} / {deep.decoder / 1e6:.2f} "
            f"| {encoder:.1f} | {restoration:.1f} |"
        )


def _restoration(kind: Kind, dimensions: Dimensions) -> RestorationUNet:
    with initial_weights(0):
        return RestorationUNet(build_encoder(EncoderPlan(kind=kind, dimensions=dimensions)))


if __name__ == "__main__":
    typer.run(main)
