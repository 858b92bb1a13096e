"""How well models that cannot know disease tell the class, under every split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.audit.folds import Folds
from covidssl.audit.seen import Seen
from covidssl.audit.trials import Trials
from covidssl.audit.within import auroc_within_folds, spread_by_chance
from covidssl.each_scan import Progress, no_progress
from covidssl.experiments import AuditConfig
from covidssl.metrics import Estimate, evaluate, paired_difference
from covidssl.randomness import numpy_generator
from covidssl.rivals import BINS

Floats = NDArray[np.floating]
Rows = NDArray[np.int64]

_STREAM = 53
_CALLED = 0.5


class Model(NamedTuple):
    """One trivial model.

    Attributes:
        key: its name in `audit.json`.
        words: its name for people.
        nearest: whether it is the nearest neighbour; else boosted trees.
        blames: what it would be that tells the class: `files`, `background`, `window`, `anatomy`
            (or disease), or `memory`.
    """

    key: str
    words: str
    nearest: bool
    blames: str


MODELS = (
    Model("size", "width, height, aspect and slices", False, "files"),
    Model("mode", "colour mode", False, "files"),
    Model("format", "file format", False, "files"),
    Model("border", "border and corners", False, "background"),
    Model("outside", "histogram outside the lungs", False, "background"),
    Model("blanked", "12 × 12 thumbnail, lungs masked out", False, "background"),
    Model("percentiles", "ten intensity percentiles", False, "window"),
    Model("histogram", "histogram of the whole picture", False, "window"),
    Model("inside", "histogram inside the lungs", False, "window"),
    Model("rival", "12 × 12 thumbnail and histogram (the trivial rival)", False, "window"),
    Model("rival_nearest", "12 × 12 thumbnail and histogram, nearest neighbour", True, "memory"),
    Model("histogram_nearest", "histogram of the whole picture, nearest neighbour", True, "memory"),
    Model("fine_nearest", "16 × 16 standardised thumbnail, nearest neighbour", True, "memory"),
    Model("fine", "16 × 16 standardised thumbnail", False, "anatomy"),
    Model("ranked", "12 × 12 thumbnail, rank-equalised", False, "anatomy"),
    Model("ranked_lungs", "12 × 12 thumbnail, rank-equalised, lungs alone", False, "anatomy"),
    Model("shape", "shape of the lungs alone", False, "anatomy"),
    Model("own_scale", "histogram inside the lungs, scaled by its own lung", False, "anatomy"),
)
MEMORY = "rival_nearest"
RIVAL = "rival"


class Result(NamedTuple):
    """A trivial model under one split.

    Attributes:
        model: its key.
        split: the kind of split.
        n: scans that were scored.
        groups: how many groups hold the negative class, and the positive.
        spread: standard deviation of the AUROC if the model knew nothing.
        seed: of the trees.
        accuracy: of all that were scored, with its interval.
        auroc: over pairs of one fold, with its interval.
        probability: (N,) of every scan; NaN where the split scores it not.
    """

    model: str
    split: str
    n: int
    groups: tuple[int, int]
    spread: float
    seed: int
    accuracy: Estimate
    auroc: Estimate
    probability: NDArray[np.float64]


def features_of(seen: Seen, key: str) -> Floats | None:
    """Features (N, D) of a model; None where all scans are alike in them."""
    views = seen.views
    if key == "size":
        size = np.array([[one.width, one.height, one.slices] for one in seen.facts], float)
        found: Floats = np.column_stack((size, size[:, 0] / size[:, 1]))
    elif key in ("mode", "format"):
        words = [getattr(one, key) for one in seen.facts]
        kinds = sorted(set(words))
        found = np.array([[word == kind for kind in kinds] for word in words], float)
    elif key in ("histogram", "histogram_nearest"):
        found = views["rival"][:, -BINS:]
    else:
        found = views[{"rival_nearest": "rival", "fine_nearest": "fine"}.get(key, key)]
    told = np.nan_to_num(found, nan=-1)
    return found if (told != told[0]).any() else None


def try_shortcuts(
    seen: Seen,
    all_of: Sequence[Folds],
    groups: Sequence[str],
    config: AuditConfig,
    cache: Path | None = None,
    progress: Progress = no_progress,
) -> list[Result]:
    """Train and score every trivial model under every split.

    A model whose view is the same for all scans is left out.

    Args:
        seen: the scans.
        all_of: the splits.
        groups: of each scan, from `groups_of_scans`; intervals are bootstraps over them.
        config: of the audit.
        cache: folder for what the models said; None for none.
        progress: shows how far it is.

    Raises:
        DataError: when the scans of a split cannot be scored.
    """
    features = {
        model.key: (found, model.nearest)
        for model in MODELS
        if (found := features_of(seen, model.key)) is not None
    }
    said = Trials(seen.target, config.seed, cache).all(features, all_of, progress)
    group = np.asarray(groups)
    fold_of: dict[str, Rows] = {folds.kind: folds.fold for folds in all_of}
    results = []
    for (name, kind), probability in said.items():
        rows = np.flatnonzero(np.isfinite(probability))
        said_of, resampled = (seen.target[rows], probability[rows]), group[rows].tolist()
        generator = numpy_generator(config.seed, _STREAM)
        accuracy = evaluate(*said_of, _CALLED, resampled, generator, config.rounds).accuracy
        generator = numpy_generator(config.seed, _STREAM)
        auroc = auroc_within_folds(
            *said_of, fold_of[kind][rows], resampled, generator, config.rounds
        )
        negative, positive = (
            len(np.unique(group[rows[seen.target[rows] == label]])) for label in (0, 1)
        )
        results.append(
            Result(
                name,
                kind,
                len(rows),
                (negative, positive),
                spread_by_chance(seen.target[rows], fold_of[kind][rows], resampled),
                config.seed,
                accuracy,
                auroc,
                probability,
            )
        )
    return results


def fall(
    seen: Seen, first: Result, second: Result, groups: Sequence[str], config: AuditConfig
) -> Estimate:
    """How much more accurate a model is under one split than under another, on the same scans."""
    rows = np.flatnonzero(np.isfinite(first.probability) & np.isfinite(second.probability))
    return paired_difference(
        seen.target[rows],
        (first.probability[rows], second.probability[rows]),
        np.asarray(groups)[rows].tolist(),
        numpy_generator(config.seed, _STREAM),
        "accuracy",
    )
