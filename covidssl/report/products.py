"""What each verb leaves in its run folder, as blocks of the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from covidssl.figures import running_mean
from covidssl.report.audited import audited
from covidssl.report.blocks import (
    Block,
    Cell,
    Chart,
    Facts,
    Gallery,
    Line,
    Note,
    Table,
    flat,
    plain,
    words,
)
from covidssl.report.evaluated import evaluated
from covidssl.report.predicted import model_asked, passed_over, predicted
from covidssl.report.reading import (
    UnreadError,
    folder_in,
    is_there,
    read_json,
    read_object,
    read_picture,
    read_rows,
    series,
)
from covidssl.report.robust import robust
from covidssl.report.watched import watched

ROWS_SHOWN = 20

Part = Callable[[Path], list[Block]]


class _Split(BaseModel):
    kind: str
    reason: str
    seed: int | None = None


def _manifest(folder: Path) -> list[Block]:
    rows = read_rows(folder / "manifest.csv")
    counts = Counter(row.get("status", "") for row in rows)
    odd = [
        {**row, "verdict": "; ".join(filter(None, (row.get("verdict"), row.get("repairs"))))}
        for row in rows
        if row.get("verdict", "") not in ("", "ok") or row.get("repairs")
    ]
    blocks: list[Block] = [
        Facts([("scans", plain(len(rows))), *((k or "–", plain(n)) for k, n in counts.items())])
    ]
    if odd:
        columns = ("scan", "status", "verdict", "format")
        blocks.append(_table("Scans with a verdict other than ok", columns, odd))
    return blocks


def _preview(folder: Path) -> list[Block]:
    return [Gallery([read_picture(folder / "preview.png", "Pseudo-lesions drawn with this plan")])]


def _training(folder: Path) -> list[Block]:
    if not is_there(folder / "metrics.csv") and is_there(folder / "validation.csv"):
        return _probe(folder)
    rows = read_rows(folder / "metrics.csv")
    steps, loss = series(rows, "loss")
    if not steps:
        raise UnreadError("metrics.csv holds no step yet.")
    held_out = folder / "validation.csv"
    validation = read_rows(held_out) if is_there(held_out) else []
    last = max(1, len(loss) // 20)
    _, speed = series(rows, "images_per_second")
    facts: list[tuple[str, Cell]] = [
        ("steps", plain(int(steps[-1]))),
        ("loss at first", plain(loss[0])),
        ("loss at last (mean of 5\u00a0%)", plain(sum(loss[-last:]) / last)),
        ("images a second (median)", plain(sorted(speed)[len(speed) // 2]) if speed else None),
    ]
    return [Facts(facts), *_curves(steps, loss, validation)]


def _curves(
    steps: Sequence[float], loss: Sequence[float], validation: Sequence[Mapping[str, str]]
) -> list[Block]:
    smooth = running_mean(np.asarray(loss), max(1, len(loss) // 40)).tolist()
    lines = [Line("training, running mean", steps, smooth)]
    if not validation:
        return [Chart("Loss", "step", "loss", lines)]
    lines.append(Line("validation", *series(validation, "loss"), points=True))
    auroc = Line("validation", *series(validation, "auroc"), points=True)
    return [
        Chart("Loss", "step", "loss", lines),
        Chart("Validation AUROC", "step", "AUROC", [auroc]),
    ]


def _pretraining(folder: Path) -> list[Block]:
    """Nothing was learnt without a pretext: there is no step to show."""
    metrics, card = folder / "metrics.csv", folder / "encoder.json"
    if is_there(card) and not is_there(metrics) and read_object(card).get("pretext") == "none":
        return [Facts([("steps", plain(0))])]
    return _training(folder)


def _probe(folder: Path) -> list[Block]:
    """A run that took no step: its linear probe is the model."""
    probe = read_rows(folder / "validation.csv")[-1]
    scores = [(f"validation {name}", plain(float(probe[name]))) for name in ("loss", "auroc")]
    return [Facts([("Linear probe", "fitted, no step taken"), *scores])]


def _pretext_pictures(folder: Path) -> list[Block]:
    if not is_there(folder / "pictures"):
        return []
    found = folder_in(folder, "pictures").glob("*.png")
    paths = sorted(found, key=lambda path: (len(path.name), path.name))
    if not paths:
        return []
    chosen = [paths[0], paths[-1]] if len(paths) > 1 else paths
    captions = ("The pretext at first", "The pretext at last")[-len(chosen) :]
    shown = [
        read_picture(path, f"{caption} ({path.stem})")
        for path, caption in zip(chosen, captions, strict=True)
    ]
    return [Gallery(shown, "What the encoder learns from")]


def _encoder_card(folder: Path) -> list[Block]:
    return [_card(folder / "encoder.json", "Card of the encoder")]


def _model_card(folder: Path) -> list[Block]:
    return [_card(folder_in(folder, "model") / "card.json", "Card of the model")]


def _splits(folder: Path) -> list[Block]:
    rows = read_rows(folder / "splits.csv")
    labels = sorted({row.get("label", "") for row in rows})
    splits = [s for s in ("train", "validation", "test", "gap", "unused") if _of(rows, split=s)]
    splits += sorted({row.get("split", "") for row in rows} - set(splits))
    table = [
        [
            split,
            *(plain(len(_of(rows, split=split, label=label))) for label in labels),
            plain(len({row.get("group", "") for row in _of(rows, split=split)})),
        ]
        for split in splits
    ]
    why = folder / "splits.json"
    reason = [Note(_split_reason(why))] if is_there(why) else []
    return [*reason, Table("Scans by split and label", ("split", *labels, "groups"), table)]


def _split_reason(path: Path) -> str:
    said = read_json(path, _Split)
    return f"Split ({said.kind}, seed {plain(said.seed)}): {said.reason}."


PARTS: Mapping[str, tuple[Part, ...]] = {
    "prepare": (_manifest,),
    "audit": (audited,),
    "preview": (_preview,),
    "pretrain": (_pretraining, watched, _pretext_pictures, _encoder_card),
    "finetune": (_splits, _training, _model_card),
    "evaluate": (evaluated,),
    "compare": (),
    "robustness": (robust,),
    "predict": (predicted, passed_over, model_asked),
}


def _card(path: Path, caption: str) -> Table:
    return Table(caption, ("entry", "value"), flat(read_object(path)), folded=True)


def _table(caption: str, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> Table:
    """The first rows of a CSV file, with the columns that it has."""
    present = [name for name in columns if any(row.get(name) for row in rows)]
    cells = [[row.get(name, "") for name in present] for row in rows[:ROWS_SHOWN]]
    return Table(caption, [words(n) for n in present], cells, max(0, len(rows) - ROWS_SHOWN))


def _of(rows: Sequence[Mapping[str, str]], **wanted: str) -> list[Mapping[str, str]]:
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
