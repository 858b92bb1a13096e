"""Several evaluations of the same scans against each other: which model is better, and how sure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.counting import counted
from covidssl.errors import DataError, UsageError
from covidssl.evaluation.cautions import ON_LEARNT
from covidssl.files import read_csv
from covidssl.legible import legible
from covidssl.metrics import (
    Estimate,
    Part,
    Scores,
    Tested,
    combined,
    evaluate,
    holm,
    mcnemar_test,
    paired_delong,
    permutation_test,
)
from covidssl.randomness import numpy_generator
from covidssl.splits import LEARNT_FROM

COLUMNS = (
    "first", "second", "test", "metric", "difference", "low", "high", "statistic", "p_value",
    "p_holm", "cautions",
)  # fmt: skip

_STREAM, _SWAPS_STREAM = 173, 174
_NEEDED = {"scan", "group", "target", "probability"}
_FEW_SHOWN = 3


class Evaluated(NamedTuple):
    """One evaluation, read back from its folder.

    Attributes:
        name: of its folder.
        scans: names, in order.
        group: what is resampled whole.
        target: (S,).
        probability: (S,) calibrated.
        threshold: its own operating point.
        split: that was scored.
        leakage: what leaks, in words; empty where nothing is said.
        warnings: what `evaluate` said beside its numbers, leakage aside.
    """

    name: str
    scans: tuple[str, ...]
    group: tuple[str, ...]
    target: NDArray[np.int64]
    probability: NDArray[np.float64]
    threshold: float
    split: str
    leakage: str
    warnings: tuple[str, ...] = ()


class Pair(NamedTuple):
    """Two evaluations: a test, and its p-value corrected for the number of pairs."""

    first: str
    second: str
    tested: Tested
    p_holm: float

    def as_row(self) -> dict[str, Any]:
        """For `comparison.csv`."""
        difference = self.tested.difference
        ends = {"low": difference.low, "high": difference.high}
        return {
            "first": self.first,
            "second": self.second,
            "test": self.tested.test,
            "metric": self.tested.metric,
            "difference": round(difference.value, 4),
            **{key: "" if np.isnan(end) else round(end, 4) for key, end in ends.items()},
            "statistic": round(self.tested.statistic, 4),
            "p_value": f"{self.tested.p_value:.4g}",
            "p_holm": f"{self.p_holm:.4g}",
            "cautions": "; ".join(self.tested.cautions),
        }

    def as_json(self) -> dict[str, Any]:
        """For `comparison.json`."""
        named = {"first": self.first, "second": self.second}
        return {**named, **self.tested.as_json(), "p_holm": self.p_holm}


class Comparison(NamedTuple):
    """Evaluations of the same scans, their scores, and every pair under every test."""

    evaluations: tuple[Evaluated, ...]
    scores: tuple[Scores, ...]
    differences: tuple[tuple[str, str, Estimate], ...]
    pairs: tuple[Pair, ...]
    cautions: tuple[str, ...]


def read_evaluated(folders: Sequence[Path]) -> tuple[Evaluated, ...]:
    """Read evaluations and hold them to the same scans.

    Raises:
        UsageError: when fewer than two are given, or one is given twice.
        DataError: when a folder holds no evaluation, or the scans, their classes or their groups
            differ; it says which.
    """
    if len({folder.resolve() for folder in folders}) < 2:
        raise UsageError("A comparison needs at least two different folders of 'evaluate'.")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("A folder is given twice; a model is not compared with itself.")
    names = _names(folders)
    found = tuple(_read(folder, name) for folder, name in zip(folders, names, strict=True))
    for other in found[1:]:
        _same_scans(found[0], other)
    return found


def compare_all(found: Sequence[Evaluated], seed: int, rounds: int) -> Comparison:
    """All pairs under paired DeLong, permutation and McNemar, each corrected for their number.

    Args:
        found: of `read_evaluated`.
        seed: of resamples and swaps.
        rounds: of the bootstrap of every model's own scores and of the differences.
    """
    target, group = found[0].target, list(found[0].group)
    scores = tuple(
        evaluate(target, one.probability, one.threshold, group, _generator(seed, _STREAM), rounds)
        for one in found
    )
    couples = list(combinations(found, 2))
    differences = tuple(
        (
            a.name,
            b.name,
            combined(
                target,
                [Part(a.probability, a.threshold, 1), Part(b.probability, b.threshold, -1)],
                group,
                _generator(seed, _STREAM),
                rounds=rounds,
            ),
        )
        for a, b in couples
    )
    families = [[_test(kind, a, b, seed) for a, b in couples] for kind in _TESTS]
    pairs: list[Pair] = []
    cautions: list[str] = []
    for kind, family in zip(_TESTS, families, strict=True):
        made = [one for one in family if isinstance(one, Tested)]
        values = [one.p_value for one in made]
        corrected = iter(holm(values).tolist())
        for (a, b), one in zip(couples, family, strict=True):
            if isinstance(one, Tested):
                pairs.append(Pair(a.name, b.name, one, next(corrected)))
            else:
                cautions.append(f"{a.name} and {b.name}: no {kind}: {one}")
    cautions += [text for of_model in scores for text in of_model.cautions]
    cautions += [f"{one.name}: {text}" for one in found for text in _carried(one, cautions)]
    return Comparison(
        tuple(found), scores, differences, tuple(pairs), tuple(dict.fromkeys(cautions))
    )


def _carried(one: Evaluated, said: Sequence[str]) -> list[str]:
    """What an evaluation warned of that is not said of all already."""
    told = [text for text in one.warnings if text not in said]
    of_split = f"the {one.split} split: {ON_LEARNT}"
    if one.split in LEARNT_FROM and of_split not in told:
        told.insert(0, of_split)
    return told


_TESTS = ("paired DeLong", "permutation", "permutation of the accuracy", "McNemar")


def _test(kind: str, a: Evaluated, b: Evaluated, seed: int) -> Tested | str:
    """One test of one pair; the reason where it cannot be made."""
    said = a.probability, b.probability
    points = a.threshold, b.threshold
    group, swaps = list(a.group), _generator(seed, _SWAPS_STREAM)
    try:
        if kind == "paired DeLong":
            return paired_delong(a.target, said, group)
        if kind == "permutation":
            return permutation_test(a.target, said, group, swaps)
        if kind == "McNemar":
            return mcnemar_test(a.target, said, group, points)
        return permutation_test(a.target, said, group, swaps, "accuracy", points)
    except DataError as error:
        return str(error)


def _generator(seed: int, stream: int) -> np.random.Generator:
    return numpy_generator(seed, stream)


def _names(folders: Sequence[Path]) -> list[str]:
    """The last part of each folder's path, with the part before it where two are alike."""
    paths = [folder.resolve() for folder in folders]
    last = [path.name for path in paths]
    names = [
        legible(path.name if last.count(path.name) == 1 else f"{path.parent.name}/{path.name}")
        for path in paths
    ]
    if len(set(names)) < len(names):
        raise UsageError(
            "Two of the folders are called alike, and so are those above them: give one of them "
            "another name, so that the table can tell them apart."
        )
    return names


def _read(folder: Path, name: str) -> Evaluated:
    table, metrics = folder / "predictions.csv", folder / "metrics.json"
    expected = "Expected a finished folder of 'covidssl evaluate'."
    try:
        rows = read_csv(table)
        said = json.loads(metrics.read_text(encoding="utf-8"))
        threshold, split = float(said["threshold"]), str(said["split"])
        leakage = str(said.get("leakage", ""))
        warnings = tuple(str(text) for text in said.get("warnings", ()))
    except FileNotFoundError as error:
        raise DataError(f"{folder}: holds no {Path(error.filename).name}. {expected}") from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder}: cannot be read ({type(error).__name__}). {expected}") from error
    if not rows or not rows[0].keys() >= _NEEDED:
        raise DataError(f"{table}: no scored scans. {expected}")
    rows.sort(key=lambda row: row["scan"])
    try:
        target = np.array([int(row["target"]) for row in rows])
        probability = np.array([float(row["probability"]) for row in rows])
    except ValueError as error:
        raise DataError(f"{table}: holds a target or probability that is no number.") from error
    return Evaluated(
        name,
        tuple(row["scan"] for row in rows),
        tuple(row["group"] for row in rows),
        target,
        probability,
        threshold,
        split,
        leakage,
        tuple(text for text in warnings if (text.partition(": ")[2] or text) not in leakage),
    )


def _same_scans(first: Evaluated, other: Evaluated) -> None:
    """Refuse scans, classes or groups that differ: paired tests would mean nothing."""
    sides = {first.name: set(first.scans), other.name: set(other.scans)}
    for here, there in ((first.name, other.name), (other.name, first.name)):
        alone = sorted(sides[here] - sides[there])
        if alone:
            raise DataError(
                f"{here} and {there} did not score the same scans: {len(alone)} "
                f"{'is' if len(alone) == 1 else 'are'} in {here} alone, "
                f"{_few(alone)}. Evaluate both on the same data and split."
            )
    columns = (
        ("class", first.target.tolist(), other.target.tolist()),
        ("group", list(first.group), list(other.group)),
    )
    for what, ours, theirs in columns:
        differ = [scan for scan, a, b in zip(first.scans, ours, theirs, strict=True) if a != b]
        if differ:
            raise DataError(
                f"{first.name} and {other.name} give {counted(len(differ), 'scan')} another "
                f"{what}, {_few(differ)}. Evaluate both on the same table, with the same "
                f"run_length."
            )


def _few(names: Sequence[str]) -> str:
    return "first: " + ", ".join(names[:_FEW_SHOWN])
