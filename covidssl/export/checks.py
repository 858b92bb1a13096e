"""What was written is read again and held against the original, before it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from covidssl.errors import WeightsError
from covidssl.export.scorer import Scorer, levels_of
from covidssl.frames import Frame
from covidssl.randomness import torch_generator

TOLERANCE = 1e-4
INPUTS = 100
_STREAM = 137
_OF_SIZE = (1.0, 1.5, 0.7)
_MOST_PIXELS = 2**22

Run = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]


class Check(NamedTuple):
    """How far a written file is from the network that it was made of, at most.

    Attributes:
        inputs: frames that were compared.
        probability: the largest difference of two probabilities.
        logit: the largest difference of two logits (and scores of attention); of one above 1, as
            a share of it.
    """

    inputs: int
    probability: float
    logit: float

    def __str__(self) -> str:
        return (
            f"checked on {self.inputs} inputs: probabilities differ by at most "
            f"{self.probability:.1e}, logits by {self.logit:.1e}"
        )


@torch.no_grad()
def compare(scorer: Scorer, written: Run, what: str) -> Check:
    """Run both on 100 frames: of the network's own size, larger, smaller, not square.

    Raises:
        WeightsError: when they differ by more than 1e-4.
    """
    count, apart = 0, torch.zeros(2)
    for pixels in _pictures(scorer.frame):
        expected, found = scorer(pixels), written(pixels)
        differences = [(f - e).abs() for f, e in zip(found, expected, strict=True)]
        shares = [
            (differences[k] / expected[k].abs().clamp(min=1.0)).max()
            for k in range(len(expected))
            if k != 1
        ]
        here = torch.stack([differences[1].max(), torch.stack(shares).max()])
        # PyTorch's maximum keeps NaN, which Python's drops.
        apart = torch.maximum(apart, here)
        count += len(pixels)
    check = Check(count, *apart.tolist())
    # Not the other way round: a comparison with NaN is false.
    if not (check.probability <= TOLERANCE and check.logit <= TOLERANCE):
        raise WeightsError(
            f"{what}: the written file does not say what the network says ({check}; allowed is "
            f"{TOLERANCE:g}). It was not kept. Report this with the versions of `covidssl doctor`."
        )
    return check


def example(frame: Frame) -> torch.Tensor:
    """Two frames to trace a graph with, of no edge that stands for itself."""
    return next(_pictures(frame, sizes=(1.25,), batches=(2,)))


def _pictures(
    frame: Frame, sizes: tuple[float, ...] = _OF_SIZE, batches: tuple[int, ...] = (1, 4, 3)
) -> Iterator[torch.Tensor]:
    """Batches of smooth grey, beyond both ends of the window, of several sizes."""
    low, high = levels_of(frame)
    left, step = INPUTS, 0
    while left:
        generator = torch_generator(0, _STREAM, step)
        edge = sizes[step % len(sizes)]
        shape = [max(8, round(edge * size)) for size in frame.shape]
        shape[-1] += 3 * (step % 2)
        most = max(1, _MOST_PIXELS // int(torch.tensor(shape).prod()))
        count = min(left, batches[step % len(batches)], most)
        coarse = torch.rand((count, 1, *[6] * len(shape)), generator=generator)
        mode = "bilinear" if len(shape) == 2 else "trilinear"
        smooth = torch.nn.functional.interpolate(coarse, size=shape, mode=mode)
        grain = torch.rand(smooth.shape, generator=generator) * 0.1
        yield low + (high - low) * (1.6 * smooth - 0.3 + grain)
        left, step = left - count, step + 1
