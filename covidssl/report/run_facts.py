"""What run folders say of themselves, in the sentences that fill a checklist.

A fact is there only where the files that it is read from hold all that it says; what is missing or
broken leaves it out, and the item stays open.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from covidssl.errors import UsageError
from covidssl.files import read_csv
from covidssl.report.reading import UnreadError, read_object
from covidssl.yaml_text import read_yaml

Object = Mapping[str, Any]

_LEARNING = ("train", "validation", "test")


def facts(runs: Sequence[tuple[str, Path]]) -> dict[str, str]:
    """Sentences by name, of the last run of each verb, and of the run whose model was evaluated.

    Args:
        runs: verb and folder of each run.
    """
    last = dict(runs)
    if "evaluate" in last:
        trained = [folder for verb, folder in runs if verb == "finetune"]
        of_it = [folder for folder in trained if _is_of(folder, last["evaluate"])]
        last = {verb: folder for verb, folder in last.items() if verb != "finetune"}
        last |= {"finetune": of_it[-1]} if of_it else {}
    found: dict[str, str] = {}
    for verb, tell in _TELLS.items():
        if verb in last:
            found |= tell(last[verb])
    return {name: text for name, text in found.items() if text}


def _is_of(trained: Path, evaluated: Path) -> bool:
    """Whether an evaluation is of the model of a run; True where one of them does not say."""
    ours = _in(_object(trained / "model" / "card.json"), "files", "classifier.safetensors")
    theirs = _in(_object(evaluated / "record.json"), "data", "classifier")
    return not ours or not theirs or ours == theirs


def _of_prepare(folder: Path) -> dict[str, str]:
    kept = _config(folder).get("keep_ids")
    if not isinstance(kept, bool):
        return {}
    how = "their own identifiers (keep_ids)" if kept else "salted hashes, or not at all"
    return {"deidentification": f"patients and series stand in the store by {how}"}


def _of_finetune(folder: Path) -> dict[str, str]:
    card, config = _object(folder / "model" / "card.json"), _config(folder)
    return {
        **_of_network(card),
        **_of_training(config),
        **_of_splits(folder, card),
        **_of_output(card),
        **({"selection": _selection(card, config)} if card and config else {}),
    }


def _of_network(card: Object) -> dict[str, str]:
    found: dict[str, str] = {}
    encoder, frame = card.get("encoder"), card.get("frame")
    kind, dimensions = _in(card, "encoder", "kind"), _in(card, "encoder", "dimensions")
    network = f"{dimensions}D {kind} network"
    if encoder and kind and dimensions:
        found["technology"] = f"deep learning: a {network} that classifies CT"
    head, rule = _in(card, "head", "kind"), _in(card, "aggregation", "rule")
    if "technology" in found and head and rule:
        found["model"] = f"{network}; head: {head}; from slices to a scan: {rule}"
    if _has(frame, "crop", "size", "pixels", "window_hu"):
        window = " to ".join(f"{end:g}" for end in frame["window_hu"])
        found["preprocessing"] = (
            f"crop: {frame['crop']}; {frame['size']} pixels; pixels as {frame['pixels']}; window "
            f"{window} HU"
        )
    slices = _in(card, "aggregation", "most_slices")
    if slices and rule != "whole_volume":
        found["slices"] = (
            f"at most {slices} slices of a scan, spread evenly over those with enough lung"
        )
    if card.get("continues"):
        found["initial"] = f"those of another model ({str(card['continues'])[:12]})"
    elif card.get("pretrained_from"):
        start = str(card["pretrained_from"])
        scratch = start == "none"
        found["initial"] = (
            "from scratch" if scratch else f"encoder pretrained (weights {start[:12]})"
        )
    return found


def _of_training(config: Object) -> dict[str, str]:
    learns, plan = config.get("learns"), config.get("training")
    if not learns or not _has(plan, "steps", "batch_size", "learning_rate"):
        return {}
    told = (
        "a linear probe on the encoder's features"
        if learns == "probe"
        else f"{plan['steps']} steps of {plan['batch_size']}, learning rate "
        f"{plan['learning_rate']}, what learns: {learns}"
    )
    weighed = "both classes weigh the same in the loss, however many scans they have"
    return {"training": told, **({} if learns == "probe" else {"imbalance": weighed})}


def _selection(card: Object, config: Object) -> str:
    every, rule = config.get("validate_every"), card.get("operating_point_rule")
    if not every or not rule or not config.get("learns"):
        return ""
    chosen = f"least loss on validation, looked at every {every} steps"
    if config["learns"] == "probe":
        chosen = "the linear probe as it was fitted"
    return f"{chosen}; operating point: {rule}; {_calibration(card) or 'not calibrated'}"


def _calibration(card: Object) -> str:
    """How probabilities were calibrated; empty where they were not."""
    found = card.get("calibration")
    if not _has(found, "kind") or found.get("reason") is not None or "reason" not in found:
        return ""
    return f"calibration by {found['kind']} fitted on validation"


def _of_output(card: Object) -> dict[str, str]:
    classes, point = card.get("classes"), card.get("operating_point")
    if not isinstance(classes, list) or not classes or not isinstance(point, float | int):
        return {}
    calibrated = _calibration(card)
    kind = "a calibrated probability" if calibrated else "an uncalibrated probability"
    return {
        "output": f"{kind} of '{classes[-1]}'; positive from {point} on",
        "calibration": calibrated,
    }


def _of_splits(folder: Path, card: Object) -> dict[str, str]:
    split, rows = _object(folder / "splits.json"), _rows(folder / "splits.csv")
    if not rows or not all({"split", "patient"} <= row.keys() for row in rows):
        return {}
    sizes = ", ".join(f"{n} {name}" for name, n in Counter(row["split"] for row in rows).items())
    leaks = str(card.get("leakage") or "")
    if split.get("leakage_allowed") and not leaks:
        leaks = f"{len(split.get('leaks') or ())} leaks"
    warning = f"; LEAKAGE WAS ALLOWED: {leaks}" if leaks else ""
    found = {"level": _level(rows, leaks)}
    if _has(split, "kind", "reason"):
        found["partitions"] = (
            f"split '{split['kind']}', seed {split.get('seed')}: {split['reason']}; {sizes}"
            f"{warning}"
        )
    return found


def _level(rows: Sequence[Mapping[str, str]], leaks: str) -> str:
    """What is disjoint between the splits: nothing is, where leakage was allowed."""
    if leaks:
        return f"not disjoint, which was allowed: {leaks}"
    used = [row for row in rows if row["split"] in _LEARNING]
    places: dict[str, set[str]] = defaultdict(set)
    for row in used:
        places[row["patient"]].add(row["split"])
    if "" in places:
        return "groups of the split file; patients are not all known"
    across = sum(len(one) > 1 for one in places.values())
    return f"not patients: {across} are in more than one split" if across else "patients"


def _of_evaluate(folder: Path) -> dict[str, str]:
    metrics, record = _object(folder / "metrics.json"), _object(folder / "record.json")
    model = metrics.get("model")
    found = _of_versions(record)
    if not isinstance(model, dict) or not _has(metrics, "n", "positives", "split"):
        return found
    warnings = metrics.get("warnings")
    leaks = f"; THERE IS LEAKAGE: {metrics['leakage']}" if metrics.get("leakage") else ""
    n, told = metrics["n"], f"{metrics['n']} scans, {metrics['positives']} positive"
    performance = _scored(model, ("auroc", "auprc", "brier"))
    at_point = _scored(model, ("sensitivity", "specificity", "ppv", "npv"))
    found |= {
        "metrics": ", ".join(model),
        "internal": f"split '{metrics['split']}': {told}{leaks}",
        "performance": performance and performance + leaks,
        "at_point": at_point and at_point + leaks,
        "errors": _errors(folder, metrics.get("worst_subgroups") or ()),
        "views": " ".join(one.get("text", "") for one in metrics.get("verdicts") or ()),
        "subgroups": _judged_subgroups(metrics),
    }
    if _has(metrics, "rounds", "groups", "group_kind"):
        found["uncertainty"] = (
            f"95 % intervals by {metrics['rounds']} resamples of {metrics['groups']} groups (a "
            f"group is a {metrics['group_kind']})"
            + ("; DeLong's interval beside it" if metrics.get("delong") else "")
        )
    if isinstance(warnings, list):
        unread = "; ".join(text for text in warnings if "could not be read" in text)
        found["unread"] = unread or "every scan of the scored split could be read"
        found["flow"] = f"{n} scans scored; {unread or 'none left out as unreadable'}"
    return found | _of_externals(metrics.get("external"))


def _of_externals(externals: Any) -> dict[str, str]:
    """Of the external sets that were scored."""
    if not isinstance(externals, Mapping):
        return {}
    scored = {name: one for name, one in externals.items() if _has(one, "n", "positives", "model")}
    return {
        "external": "; ".join(
            f"{name}: {one['n']} scans, {one['positives']} positive, "
            f"{_scored(one['model'], ('auroc',))}"
            + (f"; THERE IS LEAKAGE: {one['leakage']}" if one.get("leakage") else "")
            for name, one in scored.items()
        ),
        "shift": " ".join(filter(None, (_in(one, "shift", "text") for one in scored.values()))),
    }


def _judged_subgroups(metrics: Object) -> str:
    """The worst subgroups of the columns that have two which are large enough to be judged."""
    large = Counter(
        one.get("column")
        for one in metrics.get("subgroups") or ()
        if not one.get("small") and "auroc" in (one.get("scores") or {})
        and one.get("value") != "not given"
    )  # fmt: skip
    worst = metrics.get("worst_subgroups") or ()
    return " ".join(text for text in worst if large[text.partition(": the worst")[0]] > 1)


def _of_versions(record: Object) -> dict[str, str]:
    version, packages = record.get("version"), record.get("packages")
    if not version or not isinstance(packages, dict):
        return {}
    named = [f"{name} {known}" for name, known in packages.items() if known]
    return {"software": ", ".join([f"covidssl {version}", *named])}


def _of_predict(folder: Path) -> dict[str, str]:
    run = _object(folder / "run.json")
    more = run.get("ensemble")
    found: dict[str, str] = {}
    if isinstance(more, list) and more:
        found["ensemble"] = f"{len(more) + 1} models, their answers together"
    kinds = {
        "evidence": "what moved the answer (evidence map)",
        "lesions": "what the restoration lifted off (lesion map)",
    }
    made = [words for name, words in kinds.items() if any(folder.glob(f"maps/*-{name}.*"))]
    return found | ({"explaining": "maps of " + " and of ".join(made)} if made else {})


def _of_robustness(folder: Path) -> dict[str, str]:
    changed = ("transformation", "attack")
    rows = [row for row in _rows(folder / "robustness.csv") if row.get("idiom") in changed]
    scored = [row for row in rows if row.get("auroc")]
    return {"robustness": f"{len(scored)} conditions of altered scans"} if scored else {}


_TELLS = {
    "prepare": _of_prepare,
    "finetune": _of_finetune,
    "evaluate": _of_evaluate,
    "predict": _of_predict,
    "robustness": _of_robustness,
}


def _errors(folder: Path, worst: Sequence[str]) -> str:
    rows = _rows(folder / "predictions.csv")
    if not rows or not all({"label", "predicted"} <= row.keys() for row in rows):
        return ""
    wrong = Counter(row["label"] for row in rows if row["label"] != row["predicted"])
    counted = ", ".join(f"{count} of class {label}" for label, count in sorted(wrong.items()))
    told = f"{wrong.total()} of {len(rows)} scans called wrong ({counted or 'none'})"
    return " ".join((told, *worst))


def _scored(scores: Any, names: Sequence[str]) -> str:
    told = []
    for name in names:
        one = scores.get(name) if isinstance(scores, dict) else None
        if isinstance(one, dict) and {"value", "low", "high"} <= one.keys():
            told.append(f"{name} {one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f})")
    return ", ".join(told)


def _has(content: Any, *keys: str) -> TypeGuard[Object]:
    """Whether an object says something under every key."""
    return isinstance(content, Mapping) and all(content.get(key) is not None for key in keys)


def _in(content: Object, *keys: str) -> Any:
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
