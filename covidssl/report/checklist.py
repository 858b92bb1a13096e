"""A checklist filled from run folders, and the items that are left to the authors.

A run knows what was computed, and how. It knows neither patients nor protocols nor aims: such items
are listed for the authors, and so is every item whose run is not among those given.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from covidssl.errors import UsageError
from covidssl.files import read_csv
from covidssl.report.blocks import Block, Cell, Note, Table
from covidssl.report.guidelines import ITEMS
from covidssl.report.reading import UnreadError, read_object
from covidssl.yaml_text import read_yaml

_FOR_AUTHORS = "no run can know it"
_NO_RUN = "none of the runs on this page tells it"


def checklist(runs: Sequence[tuple[str, Path]]) -> list[Block]:
    """Items that the runs fill, and those for the authors; nothing without an evaluation.

    Args:
        runs: verb and folder of each run.
    """
    if all(verb != "evaluate" for verb, _ in runs):
        return []
    facts = _facts(runs)
    filled: list[list[Cell]] = []
    left: list[list[Cell]] = []
    for item in ITEMS:
        told = [facts[name] for name in item.told_by if facts.get(name)]
        named = f"{item.guide}, {item.number}"
        if told:
            filled.append([named, item.asks, "; ".join(told)])
        else:
            left.append([named, item.asks, _NO_RUN if item.told_by else _FOR_AUTHORS])
    return [
        Note(
            f"{len(filled)} of {len(ITEMS)} items of CLAIM 2024 and TRIPOD+AI could be filled from "
            f"the runs on this page; {len(left)} are for the authors. What is filled is what the "
            f"runs say: whether it suffices, the authors judge."
        ),
        Table("Filled from the runs", ("item", "asks for", "the runs say"), filled, folded=True),
        Table("For the authors", ("item", "asks for", "why it is not filled"), left, folded=True),
    ]


def _facts(runs: Sequence[tuple[str, Path]]) -> dict[str, str]:
    """Sentences by name, of the last run of each verb; empty where there is no such run."""
    last = dict(runs)
    found: dict[str, str] = {}
    for verb, tell in _TELLS.items():
        if verb in last:
            found |= tell(last[verb])
    return found


def _of_prepare(folder: Path) -> dict[str, str]:
    config = _config(folder)
    kept = config.get("keep_ids") is True
    return {
        "deidentification": "patients and series stand in the store by "
        + ("their own identifiers (keep_ids)" if kept else "salted hashes, or not at all")
    }


def _of_finetune(folder: Path) -> dict[str, str]:
    card, config = _object(folder / "model" / "card.json"), _config(folder)
    split = _object(folder / "splits.json")
    rows = _rows(folder / "splits.csv")
    training, frame = config.get("training") or {}, card.get("frame") or {}
    known = bool(rows) and all(row.get("patient") for row in rows if row.get("split") != "unused")
    sizes = Counter(row.get("split", "") for row in rows)
    start = "from scratch"
    if card.get("pretrained_from", "none") != "none":
        start = f"encoder pretrained (weights {str(card['pretrained_from'])[:12]})"
    return {
        "technology": f"deep learning: a {_encoder(card)} that classifies CT",
        "model": f"{_encoder(card)}; head: {_in(card, 'head', 'kind')}; from slices to a scan: "
        f"{_in(card, 'aggregation', 'rule')}",
        "preprocessing": f"crop: {frame.get('crop')}; {frame.get('size')} pixels; pixels as "
        f"{frame.get('pixels')}; window {_joined(frame.get('window_hu'))} HU",
        "slices": f"at most {_in(card, 'aggregation', 'most_slices')} slices of a scan, spread "
        f"evenly over those with enough lung",
        "partitions": f"split '{split.get('kind')}', seed {split.get('seed')}: "
        f"{split.get('reason')}; {_counted(sizes)}"
        if split
        else _counted(sizes),
        "level": "patients" if known else "groups of the split file; patients are not all known",
        "initial": start,
        "training": f"{training.get('steps')} steps of {training.get('batch_size')}, learning rate "
        f"{training.get('learning_rate')}, what learns: {config.get('learns')}",
        "selection": f"least loss on validation, looked at every {config.get('validate_every')} "
        f"steps; operating point: {card.get('operating_point_rule')}; calibration fitted on "
        f"validation",
        "imbalance": "both classes weigh the same in the loss, however many scans they have",
        "output": f"a calibrated probability of '{_last(card.get('classes'))}'; positive from "
        f"{card.get('operating_point')} on",
    }


def _of_evaluate(folder: Path) -> dict[str, str]:
    metrics, record = _object(folder / "metrics.json"), _object(folder / "record.json")
    model = metrics.get("model") or {}
    n, positives = metrics.get("n"), metrics.get("positives")
    unread = [text for text in metrics.get("warnings", ()) if "could not be read" in text]
    externals = metrics.get("external") or {}
    worst = metrics.get("worst_subgroups") or []
    git = record.get("git") or {}
    found = {
        "metrics": ", ".join(name for name in model),
        "uncertainty": f"95 % intervals by {metrics.get('rounds')} resamples of "
        f"{metrics.get('groups')} groups (a group is a {metrics.get('group_kind')})"
        + ("; DeLong's interval beside it" if metrics.get("delong") else ""),
        "internal": f"split '{metrics.get('split')}': {n} scans, {positives} positive",
        "performance": _scored(model, ("auroc", "auprc", "brier")),
        "at_point": _scored(model, ("sensitivity", "specificity", "ppv", "npv")),
        "unread": "; ".join(unread) or "every scan of the scored split could be read",
        "flow": f"{n} scans scored; " + ("; ".join(unread) or "none left out as unreadable"),
        "errors": _errors(folder, worst),
        "software": f"covidssl {record.get('version')}, " + _packages(record),
        "availability": f"covidssl {record.get('version')}"
        + (f", commit {str(git.get('commit'))[:12]}" if git else "")
        + f"; classifier {str(_in(record, 'data', 'classifier'))[:12]} (SHA-256)",
        "views": " ".join(one.get("text", "") for one in metrics.get("verdicts") or ()),
        "subgroups": " ".join(worst),
    }
    if externals:
        found["external"] = "; ".join(
            f"{name}: {one.get('n')} scans, {one.get('positives')} positive, "
            f"{_scored(one.get('model') or {}, ('auroc',))}"
            for name, one in externals.items()
        )
        found["shift"] = " ".join(_in(one, "shift", "text") for one in externals.values())
    return found


def _of_predict(folder: Path) -> dict[str, str]:
    config = _config(folder)
    models = config.get("models") or config.get("ensemble")
    return {
        "explaining": "maps of what moved the answer and of what the restoration lifted off",
        **({"ensemble": f"{len(models)} models"} if isinstance(models, list) else {}),
    }


def _of_robustness(folder: Path) -> dict[str, str]:
    rows = _rows(folder / "robustness.csv")
    return {"robustness": f"{len(rows)} conditions of altered scans"} if rows else {}


_TELLS = {
    "prepare": _of_prepare,
    "finetune": _of_finetune,
    "evaluate": _of_evaluate,
    "predict": _of_predict,
    "robustness": _of_robustness,
}


def _errors(folder: Path, worst: Sequence[str]) -> str:
    rows = _rows(folder / "predictions.csv")
    wrong = Counter(row["label"] for row in rows if row.get("label") != row.get("predicted"))
    if not rows:
        return ""
    counted = ", ".join(f"{count} of class {label}" for label, count in sorted(wrong.items()))
    return f"{wrong.total()} of {len(rows)} scans called wrong ({counted or 'none'}) " + " ".join(
        worst
    )


def _scored(scores: Mapping[str, Any], names: Sequence[str]) -> str:
    told = []
    for name in names:
        one = scores.get(name)
        if isinstance(one, dict) and {"value", "low", "high"} <= one.keys():
            told.append(f"{name} {one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})")
    return ", ".join(told)


def _encoder(card: Mapping[str, Any]) -> str:
    kind, dimensions = _in(card, "encoder", "kind"), _in(card, "encoder", "dimensions")
    return f"{dimensions or 2}D {kind or 'convolutional'} network"


def _packages(record: Mapping[str, Any]) -> str:
    packages = record.get("packages") or {}
    return ", ".join(f"{name} {version}" for name, version in packages.items() if version)


def _counted(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {split}" for split, count in sizes.items())


def _joined(values: Any) -> str:
    return " to ".join(f"{one:g}" for one in values) if isinstance(values, list) else "–"


def _last(values: Any) -> str:
    return str(values[-1]) if isinstance(values, list) and values else "–"


def _in(content: Mapping[str, Any], *keys: str) -> Any:
    """An inner entry; empty text where it is not there."""
    found: Any = content
    for key in keys:
        found = found.get(key, "") if isinstance(found, Mapping) else ""
    return found


def _object(path: Path) -> dict[str, Any]:
    # What is missing or broken is told in the run's own section; here the item stays open.
    try:
        return read_object(path)
    except UnreadError:
        return {}


def _config(folder: Path) -> dict[str, Any]:
    try:
        return read_yaml(folder / "config.yaml")
    except (UsageError, OSError):
        return {}


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        return read_csv(path)
    except (OSError, ValueError, csv.Error):
        return []
