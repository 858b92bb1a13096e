"""Frozen encoders asked about a set: features that are kept, probes that are recorded and found."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import typer

from covidssl.each_scan import Progress, no_progress
from covidssl.errors import CovidsslError, StoppedError
from pipelines.study.features import Features, feature_file, kept_features
from pipelines.study.folds import SPLITS, SplitName
from pipelines.study.grid import found_by, images_of
from pipelines.study.pretraining import encoder_of, sha256_of_encoder
from pipelines.study.probes import Fit
from pipelines.study.records import (
    Cell,
    Facts,
    Found,
    Record,
    file_word,
    read_record,
    write_images,
    write_record,
)
from pipelines.study.stages import Stage, chosen, plan_table, run_stages, stopping_after
from pipelines.study.targets import TargetSet, View

PROBE = "probe"
"""The protocol of a linear probe on frozen features."""


class Question(NamedTuple):
    """What one record answers.

    Attributes:
        set_name: the set whose images are scored.
        split: how it is cut.
        view: how its images are seen.
        arm: what answers, by its name in records.
    """

    set_name: str
    split: str
    view: View
    arm: str

    @property
    def file(self) -> str:
        """Name of the record's file."""
        return f"{self.set_name}.{self.split}.{self.view}.{file_word(self.arm)}.parquet"


class Sources(NamedTuple):
    """What an answer was made from, beside the set: kept in the record's facts.

    Attributes:
        hashes: SHA-256 by name, such as that of the encoder.
        settings: what else was chosen.
    """

    hashes: Mapping[str, str] = {}
    settings: Mapping[str, object] = {}


def frozen_features(
    runs: Path, run: Path, seen: TargetSet, view: View
) -> tuple[Features, Mapping[str, str]]:
    """Features of a set under a view by the encoder of a run, and the encoder's SHA-256.

    Args:
        runs: where features are kept.
        run: folder of a pretraining that has ended.
        seen: the set, seen as the view says.
        view: which one.

    Raises:
        DataError: when the run has left no encoder.
    """
    encoder, sha256 = encoder_of(run)
    features = kept_features(feature_file(runs, sha256, seen, view), encoder, seen)
    return features, {"encoder": sha256}


def record_answers(
    study: Path,
    seen: TargetSet,
    question: Question,
    answers: Sequence[tuple[Fit, Sequence[Cell]]],
    sources: Sources,
    progress: Progress = no_progress,
) -> Path:
    """Fit and score every cell out of fold, and write one record; gives its file.

    Args:
        study: folder of the study's records, below the folder of all records.
        seen: the set, seen as the question says.
        question: what is answered.
        answers: each fit with its cells.
        sources: what goes into the facts.
        progress: shows how far it is.
    """
    began = time.monotonic()
    split = _split_of(question)
    cells: dict[Cell, Found] = {}
    for fit, asked in answers:
        cells |= found_by(fit, seen, split, asked, progress)
    write_images(study.parent, seen.name, split, images_of(seen, split))
    facts = Facts.now(
        (time.monotonic() - began) / 60,
        **question._asdict(),
        sources={**sources.hashes, "frames": seen.loaded.fingerprint},
        settings=dict(sources.settings),
    )
    return write_record(study, facts, cells)


def answer_to(study: Path, question: Question) -> Record | None:
    """The record that answers a question; None where there is none yet."""
    file = study / question.file
    return read_record(file) if file.is_file() else None


def left_of(study: Path, questions: Sequence[Question], runs: Sequence[Path] = ()) -> str:
    """Why questions are still to be answered, in words; empty where they are.

    Args:
        study: folder of the study's records.
        questions: of one stage.
        runs: the pretrainings whose encoders answer.
    """
    made = {run.name: sha256_of_encoder(run) for run in runs}
    for run, sha256 in made.items():
        if not sha256:
            return f"there is no encoder of {run} yet"
    for question in questions:
        record = answer_to(study, question)
        if record is None:
            return f"{question.file} is missing"
        if not set(made.values()) <= set(record.facts.sources.values()):
            return f"{question.file} is of other encoders"
    return ""


def carry_out(stages: Sequence[Stage], runs: Path, only: Sequence[str], dry_run: bool) -> None:
    """Do what is left of a study's stages, or only say what would be done and how long it takes.

    What was wrong, or that a signal stopped it, is said in a line and in the exit status.
    """
    try:
        if dry_run:
            typer.echo(plan_table(chosen(stages, only)))
            return
        with stopping_after():
            run_stages(stages, runs / "locks", only)
    except CovidsslError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.code if isinstance(error, StoppedError) else 1) from error


def _split_of(question: Question) -> SplitName:
    return next(split for split in SPLITS if split == question.split)
