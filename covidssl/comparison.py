"""Arms held against each other on the same test scans: pretrained, from scratch, trivial rival."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.errors import DataError
from covidssl.files import read_csv
from covidssl.metrics import Estimate, Metric, Part, combined
from covidssl.randomness import numpy_generator

_STREAM = 51


class Scored(NamedTuple):
    """One evaluation, read back from its folder.

    Attributes:
        scans: names, in order.
        group: what is resampled whole.
        target: (S,).
        model: (S,) probability of the model.
        rival: (S,) of the trivial rival; None where it was not trained.
        threshold: the model's operating point.
        leakage: what leaks through the split that it was trained on; empty where nothing is said.
    """

    scans: tuple[str, ...]
    group: tuple[str, ...]
    target: NDArray[np.int64]
    model: NDArray[np.float64]
    rival: NDArray[np.float64] | None
    threshold: float
    leakage: str = ""


def read_scored(folder: Path, threshold: float) -> Scored:
    """Read `predictions.csv` of an evaluation, and what its `metrics.json` says of leakage.

    Raises:
        DataError: when the folder holds none.
    """
    table = folder / "predictions.csv"
    rows = read_csv(table) if table.is_file() else []
    if not rows or not rows[0].keys() >= {"scan", "group", "target", "rival_probability"}:
        raise DataError(f"{table}: no scored scans. Expected the folder of a 'covidssl evaluate'.")
    rows = sorted(rows, key=lambda row: row["scan"])
    rival = None
    if all(row["rival_probability"] for row in rows):
        rival = np.array([float(row["rival_probability"]) for row in rows])
    return Scored(
        tuple(row["scan"] for row in rows),
        tuple(row["group"] for row in rows),
        np.array([int(row["target"]) for row in rows]),
        np.array([float(row["probability"]) for row in rows]),
        rival,
        threshold,
        _leakage(folder / "metrics.json"),
    )


def _leakage(path: Path) -> str:
    try:
        return str(json.loads(path.read_text(encoding="utf-8")).get("leakage", ""))
    except (OSError, ValueError, AttributeError):
        return ""  # evaluations before there was a gate say nothing


class Arm(NamedTuple):
    """One arm at one share of the labels: the mean over its draws of labels.

    Attributes:
        arm: its name.
        fraction: share of the labels.
        n_labels: how many scans that is, in the mean over the draws.
        parts: probability and operating point of every draw.
        leakage: what leaks through the split that it learnt on; empty where nothing is said.
    """

    arm: str
    fraction: float
    n_labels: int
    parts: Sequence[tuple[NDArray[np.float64], float]]
    leakage: str = ""


def compare(arms: Sequence[Arm], scored: Scored, seed: int) -> list[dict[str, Any]]:
    """Rows of `comparison.json`: AUROC and accuracy of each arm, on the same resamples."""
    rows = []
    for arm in arms:
        parts = [Part(p, threshold, 1 / len(arm.parts)) for p, threshold in arm.parts]
        estimates = {metric: _of(parts, scored, seed, metric) for metric in ("auroc", "accuracy")}
        rows.append(
            {
                "arm": arm.arm,
                "fraction": arm.fraction,
                "n_labels": arm.n_labels,
                "draws": len(arm.parts),
                **({"leakage": arm.leakage} if arm.leakage else {}),
                **{k: e._asdict() for k, e in estimates.items()},
            }
        )
    return rows


def difference(first: Arm, second: Arm, scored: Scored, seed: int) -> Estimate:
    """How much higher the first arm's AUROC is, mean over draws that are paired one by one.

    Raises:
        DataError: when the arms have not the same number of draws.
    """
    if len(first.parts) != len(second.parts):
        raise DataError(
            f"'{first.arm}' has {len(first.parts)} draws and '{second.arm}' {len(second.parts)}; "
            f"a paired difference needs the same draws of both."
        )
    parts = [
        Part(probability, threshold, sign / len(arm.parts))
        for arm, sign in ((first, 1), (second, -1))
        for probability, threshold in arm.parts
    ]
    return _of(parts, scored, seed, "auroc")


def _of(parts: Sequence[Part], scored: Scored, seed: int, metric: Metric) -> Estimate:
    # One key for all: every arm meets the same resamples.
    return combined(scored.target, parts, scored.group, numpy_generator(seed, _STREAM), metric)
