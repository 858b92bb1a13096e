"""What runs the classifier: PyTorch, or onnxruntime; both say the same."""

from __future__ import annotations

import copy
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from covidssl.diagnosis import in_batches
from covidssl.errors import WeightsError
from covidssl.evidence import evidence_of_levels
from covidssl.frames import Frame
from covidssl.model import Model
from covidssl.networks.classifier import CovidClassifier
from covidssl.prediction.plan import AnswerPlan
from covidssl.randomness import torch_generator

_CHECK_STREAM = 192
_CHECKED = 3
_MOST_APART = 1e-4


class FramesSaid(NamedTuple):
    """What a network says of frames.

    Attributes:
        logit: (N,) of each by itself.
        attention: (N,) before the softmax over a scan.
        features: (N, F), pooled, before they are scaled.
        evidence: (N, [D,] H, W), what each pixel adds to its frame's logit; None where it was not
            asked for, or the backend cannot tell.
    """

    logit: NDArray[np.float64]
    attention: NDArray[np.float64]
    features: NDArray[np.float32]
    evidence: NDArray[np.float32] | None = None


class Backend(Protocol):
    """Runs one classifier."""

    def scores(self, frames: NDArray[np.uint16], evidence: bool = False) -> FramesSaid:
        """What it says of frames (N, [D,] H, W), each by itself, with the evidence if it can."""


class TorchBackend:
    """PyTorch, where the model's weights lie."""

    def __init__(self, model: Model) -> None:
        self.network, self.device = model.classifier.eval(), model.device

    def scores(self, frames: NDArray[np.uint16], evidence: bool = False) -> FramesSaid:
        """What the network says of frames (N, [D,] H, W); both from one pass of the encoder."""
        found = []
        with torch.inference_mode():
            for unit in in_batches(frames, self.device):
                levels = self.network.encoder(unit)
                pooled = self.network.pooled_of(levels)
                maps = [evidence_of_levels(self.network, levels, unit)] if evidence else []
                found.append((*self.network.scores_of(pooled), pooled, *maps))
        logit, attention, *others = (
            torch.cat([part.float().cpu() for part in parts]).numpy()
            for parts in zip(*found, strict=True)
        )
        return FramesSaid(logit.astype(np.float64), attention.astype(np.float64), *others)


class OnnxBackend:
    """onnxruntime, on the CPU: the graph is exported once, in memory, and held against PyTorch's.

    Raises:
        UsageError: when ONNX's packages are missing.
        WeightsError: when the graph says something else than the network.
    """

    def __init__(self, model: Model) -> None:
        from covidssl.export.programs import must_have_onnx, onnx_program, onnx_session

        must_have_onnx()
        network = copy.deepcopy(model.classifier).cpu().eval()
        names = ["logit", "attention", "features"]
        written = onnx_program(lambda: _traced(network, model.card.frame), "unit", names)
        content = written.model_proto.SerializeToString()
        self._session = onnx_session(content, torch.get_num_threads())
        must_agree(self, model)

    def scores(self, frames: NDArray[np.uint16], evidence: bool = False) -> FramesSaid:  # noqa: ARG002
        """What the network says of frames (N, [D,] H, W); the graph has no evidence."""
        found = [
            self._session.run(None, {"unit": unit.numpy()})
            for unit in in_batches(frames, torch.device("cpu"))
        ]
        logit, attention, features = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return FramesSaid(logit.astype(np.float64), attention.astype(np.float64), features)


def backend_of(model: Model, plan: AnswerPlan) -> Backend:
    """The backend that a plan asks for."""
    return OnnxBackend(model) if plan.backend == "onnx" else TorchBackend(model)


def must_agree(backend: Backend, model: Model) -> None:
    """Hold a backend against PyTorch, on a few pictures.

    Raises:
        WeightsError: when it says something else.
    """
    shape = (_CHECKED, *model.card.frame.shape)
    generator = torch_generator(0, _CHECK_STREAM)
    coarse = torch.rand((_CHECKED, 1, *(6,) * (len(shape) - 1)), generator=generator)
    mode = "bilinear" if len(shape) == 3 else "trilinear"
    smooth = nn.functional.interpolate(coarse, size=shape[1:], mode=mode)[:, 0]
    # As scans have it: norms magnify the rounding of what is flat, in both backends.
    grain = torch.rand(shape, generator=generator)
    frames = np.round((0.9 * smooth + 0.1 * grain).numpy() * 65535.0).astype(np.uint16)
    expected, found = TorchBackend(model).scores(frames), backend.scores(frames)
    apart = _most_apart(expected, found)
    # Not the other way round: a comparison with NaN is false.
    if not apart <= _MOST_APART:
        raise WeightsError(
            f"The ONNX graph of the model does not say what the network says (they differ by "
            f"{apart:.1e}, allowed is {_MOST_APART:g}). Use the backend torch, and report this "
            f"with the versions of `covidssl doctor`."
        )


def _most_apart(expected: FramesSaid, found: FramesSaid) -> float:
    """The largest difference, of numbers above 1 as a share of them; NaN where one is NaN."""
    shares = [
        np.abs(two - one) / np.maximum(np.abs(one), 1.0)
        for one, two in (
            (expected.logit, found.logit),
            (expected.attention, found.attention),
            (expected.features, found.features),
        )
    ]
    # NumPy's maximum keeps NaN, which Python's drops.
    return float(np.max([share.max() for share in shares]))


class _FromUnits(nn.Module):
    def __init__(self, network: CovidClassifier) -> None:
        super().__init__()
        self.network = network

    def forward(self, unit: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        pooled = self.network.pooled(unit)
        said = self.network.scores_of(pooled)
        return said.logit, said.attention, pooled


def _traced(network: CovidClassifier, frame: Frame) -> torch.export.ExportedProgram:
    """The graph, for any number of frames."""
    shapes = {"unit": {0: torch.export.Dim("batch")}}
    example = torch.rand((2, 1, *frame.shape), generator=torch_generator(0, _CHECK_STREAM))
    return torch.export.export(_FromUnits(network).eval(), (example,), dynamic_shapes=shapes)
