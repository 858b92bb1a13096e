"""The graph as a file that runs without this package: ONNX, and PyTorch's exported program."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

from covidssl.errors import UsageError
from covidssl.export.checks import Check, compare, example
from covidssl.export.outputs import beside
from covidssl.export.scorer import Scorer, scorer_of
from covidssl.export.sidecar import describe
from covidssl.files import replacing, write_json
from covidssl.model import Model

_ONNX = ("onnx", "onnxruntime", "onnxscript")
OPSET = 18


def write_onnx(model: Model, path: Path) -> Check:
    """Write `path` (ONNX) and `path`.json beside it.

    The file is run by onnxruntime on 100 inputs before it gets its name.

    Raises:
        UsageError: when ONNX's packages are missing.
        WeightsError: when onnxruntime says something else than the network.
    """
    must_have_onnx()
    scorer = scorer_of(model)
    with replacing(path) as temporary:
        names = ["logit", "probability", *["attention"][: scorer.has_attention]]
        # Traced by itself first: there a size that would be fixed is an error.
        written = onnx_program(lambda: _traced(scorer), "pixels", names)
        written.model.metadata_props.update(
            {"covidssl": json.dumps(model.card.model_dump(mode="json"))}
        )
        written.save(str(temporary), external_data=False)
        check = compare(scorer, _onnx_run(temporary), path.name)
    write_json(beside(path), describe(model.card, check))
    return check


def write_pt2(model: Model, path: Path) -> Check:
    """Write `path` (`torch.export`) and `path`.json beside it; read again and compared first.

    Raises:
        WeightsError: when the program that is read again says something else than the network.
    """
    scorer = scorer_of(model)
    with replacing(path) as temporary:
        with _quiet():
            program = _traced(scorer)
            card = model.card.model_dump_json()
            torch.export.save(program, temporary, extra_files={"card.json": card})
            again = torch.export.load(temporary).module()
        check = compare(scorer, again, path.name)
    write_json(beside(path), describe(model.card, check))
    return check


def must_have_onnx() -> None:
    """Refuse where ONNX's packages are missing.

    Raises:
        UsageError: that says how to install them.
    """
    missing = [name for name in _ONNX if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"For ONNX, {' and '.join(missing)} must be installed: pip install 'covidssl[export]'"
        )


def onnx_program(
    traced: Callable[[], torch.export.ExportedProgram], pixels: str, outputs: list[str]
) -> Any:
    """A traced graph as a program of ONNX.

    Args:
        traced: traces it.
        pixels: name of its input.
        outputs: names of what it gives.
    """
    with _quiet():
        written = torch.onnx.export(
            traced(),
            dynamo=True,
            opset_version=OPSET,
            input_names=[pixels],
            output_names=outputs,
            verbose=False,
        )
    if written is None:
        raise TypeError("torch.onnx.export gave no program.")
    return written


def onnx_session(program: Path | bytes, threads: int = 0) -> Any:
    """A session of onnxruntime on the CPU.

    Args:
        program: a file, or its content.
        threads: of one operator; 0 for as many as there are cores.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    source = program if isinstance(program, bytes) else str(program)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _onnx_run(path: Path) -> Any:
    session = onnx_session(path)

    def run(pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(o) for o in session.run(None, {"pixels": pixels.numpy()}))

    return run


def _traced(scorer: Scorer) -> torch.export.ExportedProgram:
    """The graph, for any number of frames of any size."""
    names = ("depth", "height", "width")[-len(scorer.frame.shape) :]
    dims = {axis: torch.export.Dim(name) for axis, name in enumerate(names, start=2)}
    shapes = {"pixels": {0: torch.export.Dim("batch"), **dims}}
    return torch.export.export(scorer, (example(scorer.frame),), dynamic_shapes=shapes)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's remarks on itself are of no use to who exports a model."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
