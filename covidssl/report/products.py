"""What each verb leaves in its run folder, as blocks of the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from covidssl.figures import training_curve
from covidssl.report.audited import audited
from covidssl.report.blocks import (
    Bar,
    Block,
    Cell,
    Facts,
    Gallery,
    Note,
    Picture,
    Table,
    plain,
    words,
)
from covidssl.report.reading import (
    Interval,
    UnreadError,
    address,
    number,
    read_json,
    read_object,
    read_picture,
    read_rows,
    series,
)
from covidssl.report.watched import watched

ROWS_SHOWN = 20
PICTURES_SHOWN = 12

_NUMBERS = ("probability", "lesion_burden", "seconds")

Part = Callable[[Path], list[Block]]


class _Evaluation(BaseModel):
    split: str
    n: int
    groups: int
    group_kind: str
    threshold: float
    model: dict[str, Interval]
    rival: dict[str, Interval] | None = None
    leakage: str = ""
    warnings: list[str] = Field(default_factory=list)


class _Split(BaseModel):
    kind: str
    reason: str
    seed: int | None = None


class _PredictedScan(BaseModel):
    picture: str | None = None


class _Prediction(BaseModel):
    scans: dict[str, _PredictedScan] = Field(default_factory=dict)


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
    if not (folder / "metrics.csv").is_file() and (folder / "validation.csv").is_file():
        return _probe(folder)
    rows = read_rows(folder / "metrics.csv")
    steps, loss = series(rows, "loss")
    if not steps:
        raise UnreadError("metrics.csv holds no step yet.")
    held_out = folder / "validation.csv"
    validation = read_rows(held_out) if held_out.is_file() else []
    curve = training_curve(steps, loss, series(validation, "loss") if validation else None)
    charts = [Picture(address(curve), "Loss", chart=True)]
    if validation:
        curve = training_curve(*series(validation, "auroc"), None, "validation AUROC")
        charts.append(Picture(address(curve), "Validation AUROC", True))
    last = max(1, len(loss) // 20)
    _, speed = series(rows, "images_per_second")
    facts: list[tuple[str, Cell]] = [
        ("steps", plain(int(steps[-1]))),
        ("loss at first", plain(loss[0])),
        ("loss at last (mean of 5\u00a0%)", plain(sum(loss[-last:]) / last)),
        ("images a second (median)", plain(sorted(speed)[len(speed) // 2]) if speed else None),
    ]
    return [Facts(facts), Gallery(charts)]


def _pretraining(folder: Path) -> list[Block]:
    """Nothing was learnt without a pretext: there is no step to show."""
    metrics, card = folder / "metrics.csv", folder / "encoder.json"
    if card.is_file() and not metrics.is_file() and read_object(card).get("pretext") == "none":
        return [Facts([("steps", plain(0))])]
    return _training(folder)


def _probe(folder: Path) -> list[Block]:
    """A run that took no step: its linear probe is the model."""
    probe = read_rows(folder / "validation.csv")[-1]
    scores = [(f"validation {name}", plain(float(probe[name]))) for name in ("loss", "auroc")]
    return [Facts([("Linear probe", "fitted, no step taken"), *scores])]


def _pretext_pictures(folder: Path) -> list[Block]:
    paths = sorted(
        (folder / "pictures").glob("*.png"), key=lambda path: (len(path.name), path.name)
    )
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
    return [_card(folder / "model" / "card.json", "Card of the model")]


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
    reason = [Note(_split_reason(why))] if why.is_file() else []
    return [*reason, Table("Scans by split and label", ("split", *labels, "groups"), table)]


def _split_reason(path: Path) -> str:
    said = read_json(path, _Split)
    return f"Split ({said.kind}, seed {plain(said.seed)}): {said.reason}."


def _scores(folder: Path) -> list[Block]:
    found = read_json(folder / "metrics.json", _Evaluation)
    blocks: list[Block] = [
        Facts(
            [
                ("split", found.split),
                ("scans", plain(found.n)),
                ("groups resampled", plain(found.groups)),
                ("a group is a", found.group_kind),
                ("operating point", plain(found.threshold)),
            ]
        )
    ]
    # Leakage stands above all else already.
    told = [t for t in found.warnings if (t.partition(": ")[2] or t) not in found.leakage]
    blocks += [Note(text, True) for text in told]
    rival = found.rival or {}
    if "auroc" in rival and "auroc" in found.model:
        blocks.append(_against(found.model["auroc"], rival["auroc"]))
    columns = ["", "Model"] + (["Trivial rival"] if rival else [])
    rows: list[list[Cell]] = []
    for name, interval in found.model.items():
        beside: list[Cell] = [rival[name].estimate() if name in rival else None] if rival else []
        rows.append([MEASURES.get(name, name), interval.estimate(), *beside])
    return [*blocks, Table("Scores with 95 % intervals", columns, rows)]


def _against(model: Interval, rival: Interval) -> Note:
    what = "The trivial rival (boosted trees on a thumbnail and a histogram)"
    if rival.value >= model.value:
        return Note(
            f"{what} reaches the same AUROC or a higher one: this result shows nothing beyond "
            f"brightness and outline.",
            True,
        )
    if rival.high >= model.low:
        return Note(f"{what} has a lower AUROC, but the intervals overlap.", True)
    return Note(f"{what} has a lower AUROC, and the intervals do not overlap.")


def _evaluation_pictures(folder: Path) -> list[Block]:
    captions = {
        "roc.png": "ROC curve",
        "confusion.png": "Counts at the operating point",
        "pr.png": "Precision and sensitivity",
        "reliability.png": "Does a probability mean what it says?",
    }
    needed = ("roc.png", "confusion.png")
    shown = [
        read_picture(folder / file, caption, chart=True)
        for file, caption in captions.items()
        if file in needed or (folder / file).is_file()
    ]
    return [Gallery(shown)]


def _predictions(folder: Path) -> list[Block]:
    rows = read_rows(folder / "predictions.csv")
    states = Counter(row.get("status", "") for row in rows)
    labels = Counter(row["label"] for row in rows if row.get("label"))
    facts: list[tuple[str, Cell]] = [("scans", plain(len(rows)))]
    facts += [(k or "–", plain(n)) for k, n in states.items()]
    facts += [(f"called {k}", plain(n)) for k, n in labels.items()]
    columns = ("scan", "status", "probability", "label", "lesion_burden", "seconds")
    likely = sorted(rows, key=lambda row: -(number(row.get("probability", "")) or 0.0))
    odd = [row for row in rows if row.get("error") or row.get("warning")]
    blocks: list[Block] = [Facts(facts), _table("Highest probability first", columns, likely)]
    if odd:
        blocks.append(
            _table("Scans with a warning or an error", ("scan", "status", "warning", "error"), odd)
        )
    return blocks


def _heatmaps(folder: Path) -> list[Block]:
    scans = read_json(folder / "run.json", _Prediction).scans
    rows = {row.get("scan", ""): row for row in read_rows(folder / "predictions.csv")}
    chance = {
        name: number(rows.get(name, {}).get("probability", "")) or 0.0
        for name, scan in scans.items()
        if scan.picture
    }
    likely = sorted(chance, key=lambda name: -chance[name])[:PICTURES_SHOWN]
    pictures = []
    for name in likely:
        # Only the last part of the path counts: a picture is read from this folder or not at all.
        file = folder / "heatmaps" / Path(str(scans[name].picture)).name
        pictures.append(read_picture(file, f"{name}: {chance[name]:.3f}"))
    caption = f"Heat maps: the {len(likely)} highest probabilities of {len(chance)} scans"
    return [Gallery(pictures, caption)] if pictures else []


PARTS: Mapping[str, tuple[Part, ...]] = {
    "prepare": (_manifest,),
    "audit": (audited,),
    "preview": (_preview,),
    "pretrain": (_pretraining, watched, _pretext_pictures, _encoder_card),
    "finetune": (_splits, _training, _model_card),
    "evaluate": (_scores, _evaluation_pictures),
    "predict": (_predictions, _heatmaps),
}

MEASURES = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "accuracy": "Accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "f1": "F1",
}


def _card(path: Path, caption: str) -> Table:
    return Table(caption, ("entry", "value"), _flat(read_object(path)), folded=True)


def _flat(value: Any, key: str = "") -> list[list[Cell]]:
    if not isinstance(value, dict):
        return [[key, plain(value)]]
    return [row for k, v in value.items() for row in _flat(v, f"{key}.{k}" if key else str(k))]


def _table(caption: str, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> Table:
    """The first rows of a CSV file, with the columns that it has."""
    present = [name for name in columns if any(row.get(name) for row in rows)]
    cells = [[_cell(name, row.get(name, "")) for name in present] for row in rows[:ROWS_SHOWN]]
    return Table(caption, [words(n) for n in present], cells, max(0, len(rows) - ROWS_SHOWN))


def _cell(column: str, text: str) -> Cell:
    # Numbers by name of the column alone: a scan may be called "001".
    value = number(text) if column in _NUMBERS else None
    if value is None:
        return text
    return Bar(value) if column == "probability" and 0 <= value <= 1 else plain(value)


def _of(rows: Sequence[Mapping[str, str]], **wanted: str) -> list[Mapping[str, str]]:
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]
