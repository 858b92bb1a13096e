"""What part of the accuracies that are published on these sets is not disease?

    python -m pipelines.shortcuts --data DATA --runs RUNS

Models that cannot know disease (the audit's), and probes of frozen encoders on images of which a
part was taken away: the lungs, all but the lungs, the window. Each under a random split and under
the blocked one. Stopped and started again, it goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import typer

from covidssl.audit.seen import see
from covidssl.audit.shortcuts import MODELS, features_of
from covidssl.datasets import LabelledScan, read_dataset
from covidssl.errors import DataError
from pipelines.study.arms import in_words
from pipelines.study.command import RECORDS, Data, DryRun, Only, Records, Runs, carry_out
from pipelines.study.documents import Block
from pipelines.study.folds import SPLITS
from pipelines.study.frozen import (
    TREES,
    Question,
    Sources,
    fit_of,
    frames_now,
    frames_of,
    hashes_of,
    is_answered,
    left_of,
    made_of,
    must_be_made,
    record_answers,
    settings_of,
)
from pipelines.study.grid import cells_of
from pipelines.study.shortcut_tables import (
    ARMS,
    FEATURES,
    SEEN,
    STUDY,
    answer_table,
    features_table,
    views_table,
)
from pipelines.study.stages import Stage
from pipelines.study.targets import (
    POSITIVE,
    SETS,
    WORDS,
    SetName,
    Targets,
    TargetSet,
    seen_as,
)
from pipelines.study.trivial import THUMBNAIL, audited

COMMAND = "make shortcuts DATA=..."
"""What makes the records."""

_ALL = (1.0,)
_PAGE = Path("shortcuts.md")
_MINUTES: Mapping[SetName, tuple[float, float]] = {
    "sars-cov-2-ct": (8.0, 8.0),
    "covid-ct": (2.0, 2.0),
}
"""Of the trivial models, and of one arm."""


def main(
    data: Data,
    runs: Runs,
    records: Records = RECORDS,
    dry_run: DryRun = False,
    only: Only = None,
) -> None:
    """Ask trivial models and frozen encoders, under both splits."""
    targets = Targets(data, runs, reads_sets=not dry_run)
    carry_out(stages(data, runs, records, targets), runs, only or [], dry_run)


def stages(data: Path, runs: Path, records: Path, targets: Targets | None = None) -> list[Stage]:
    """The trivial models of each set, then each arm on it under every view."""
    study, targets = records / STUDY, targets or Targets(data, runs)
    frames, found = frames_now(targets), []
    for name in SETS:
        asked = features_questions(name)
        found.append(
            Stage(
                name=f"shortcuts-features-{name}",
                what=f"models that cannot know disease, {WORDS[name]}",
                minutes=_MINUTES[name][0],
                left=partial(left_of, study, asked, (), settings_of((), _ALL), frames),
                run=partial(ask_features, name, targets, runs, study),
            )
        )
        for arm in ARMS:
            made, asked = made_of(runs, arm), views_questions(name, arm)
            found.append(
                Stage(
                    name=f"shortcuts-views-{name}-{arm.replace(' ', '-')}",
                    what=f"{in_words(arm)} on altered images, {WORDS[name]}",
                    minutes=_MINUTES[name][1],
                    left=partial(left_of, study, asked, made, settings_of(made, _ALL), frames),
                    run=partial(ask_views, name, arm, targets, runs, study),
                )
            )
    return found


def blocks() -> tuple[Block, ...]:
    """The tables of the page."""
    return (
        Block(_PAGE, "answer", answer_table, COMMAND),
        Block(_PAGE, "trivial models", features_table, COMMAND),
        Block(_PAGE, "altered images", views_table, COMMAND),
    )


def features_questions(name: SetName) -> list[Question]:
    """What is asked of the trivial models."""
    return [Question(name, split, "plain", key) for split in SPLITS for key in FEATURES]


def views_questions(name: SetName, arm: str) -> list[Question]:
    """What is asked of an arm; the rival sees no lungs, and nothing pooled."""
    views = [view for view in SEEN if (view, arm) != ("whole", THUMBNAIL)]
    return [Question(name, split, view, arm) for view in views for split in SPLITS]


def ask_features(name: SetName, targets: Targets, runs: Path, study: Path) -> None:
    """Train every trivial model under both splits, and record what it says; what stands is left."""
    target = targets.of(name)
    seen = see(read_dataset(target.table, POSITIVE), 1, runs / "cache")
    must_be_alike(target, seen.scans)
    models = {model.key: model for model in MODELS}
    sources = Sources({"seen": seen.fingerprint}, settings_of((), _ALL))
    for question in features_questions(name):
        if is_answered(study, question, sources, frames_of(target)):
            continue
        model = models[question.arm]
        features = features_of(seen, model.key)
        if features is None:
            raise DataError(f"{name}: all images are alike in what '{model.words}' sees.")
        fit = audited(np.asarray(features), model.nearest)
        protocol = "nearest" if model.nearest else TREES
        record_answers(study, target, question, [(fit, cells_of(protocol, _ALL))], sources)


def ask_views(name: SetName, arm: str, targets: Targets, runs: Path, study: Path) -> None:
    """Ask one arm under every view and both splits, and record what it says; what stands is left.

    Raises:
        UsageError: when its encoder is missing, or was made with other settings.
    """
    made = made_of(runs, arm)
    must_be_made(made, arm)
    target = targets.of(name)
    sources = Sources(hashes_of(made), settings_of(made, _ALL))
    left = [
        question
        for question in views_questions(name, arm)
        if not is_answered(study, question, sources, frames_of(target))
    ]
    for view in dict.fromkeys(question.view for question in left):
        seen = seen_as(target, view)
        protocol, fit = fit_of(runs, made, seen, view)
        for question in left:
            if question.view == view:
                record_answers(study, seen, question, [(fit, cells_of(protocol, _ALL))], sources)


def must_be_alike(target: TargetSet, scans: Sequence[LabelledScan]) -> None:
    """Refuse what was seen of other scans than the set's, or in another order.

    Raises:
        DataError: when they differ.
    """
    if [scan.name for scan in target.scans] != [scan.name for scan in scans]:
        raise DataError(
            f"{target.name}: the audit read {len(scans)} images and the study {len(target.scans)}, "
            f"or others. Expected the same: remove the cache below RUNS, and see what is dropped."
        )


if __name__ == "__main__":
    typer.run(main)
