"""`covidssl export`: a model for use elsewhere, checked against the original."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from covidssl.errors import UsageError, WeightsError
from covidssl.export import (
    Check,
    Format,
    make_way,
    whole_folder,
    write_bundle,
    write_onnx,
    write_pt2,
    write_timm,
)
from covidssl.files import write_text
from covidssl.model import CARD, Model, load_model
from covidssl.model_page import model_markdown
from covidssl.weights import load_encoder

_WRITERS: dict[Format, Callable[[Model, Path], Check]] = {"onnx": write_onnx, "pt2": write_pt2}


def main(
    path: Path,
    to: Format,
    out: Path,
    evaluation: Path | None = None,
    overwrite: bool = False,
) -> list[str]:
    """Write a model in another format; gives what there is to say, a line each.

    Args:
        path: a fine-tuning run or model folder; for `timm` also an encoder's file or run.
        to: the format; `card` writes the model card in Markdown.
        out: the file to write, or the folder.
        evaluation: a run of `evaluate` whose scores the card shall show.
        overwrite: replace what is there.

    Raises:
        UsageError: for an output that exists, lies inside the model or holds what export did not
            write; for a package that is missing, or an evaluation of another model.
        WeightsError: for a model that cannot be loaded or written so, and when what was written
            says something else than the model.
    """
    make_way(path, to, out, overwrite)
    if evaluation is not None and to != "card":
        raise UsageError("--evaluation goes with --format card: the other formats hold no scores.")
    if to == "timm":
        with whole_folder(out, to) as folder:
            count = _timm(path, folder)
        return [f"{out}", f"{count} tensors, read again and compared"]
    model = load_model(path)
    if to == "card":
        scores = None if evaluation is None else _scores(evaluation, model)
        write_text(out, model_markdown(model.card.model_dump(mode="json"), scores))
        return [f"{out}"]
    if to == "monai-bundle":
        with whole_folder(out, to) as folder:
            check = write_bundle(model, folder)
    else:
        check = _WRITERS[to](model, out)
    return [f"{out}", str(check)]


def _timm(path: Path, out: Path) -> int:
    if any((folder / CARD).is_file() for folder in (path, path / "model")):
        model = load_model(path)
        card = model.card
        return write_timm(model.classifier.encoder, card.frame, card.licence_note, out)
    encoder, its_card = load_encoder(path)
    return write_timm(encoder, its_card.frame, its_card.licence_note, out)


def _scores(run: Path, model: Model) -> dict[str, Any]:
    """The metrics of an evaluation, if it is one of this model."""
    try:
        scores = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
        record = json.loads((run / "record.json").read_text(encoding="utf-8"))
        judged = record["data"]["classifier"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{run}: is no finished run of `covidssl evaluate`.") from error
    if judged not in model.card.files.values():
        raise WeightsError(
            f"{run}: is an evaluation of another model (its classifier has another SHA-256). Give "
            f"the run that scored this one."
        )
    return dict(scores)
