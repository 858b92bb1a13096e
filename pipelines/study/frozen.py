"""Frozen encoders asked about a set: features that are kept, probes that are recorded and found."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from covidssl.each_scan import Progress, no_progress
from covidssl.errors import UsageError
from covidssl.experiments import PretrainConfig
from covidssl.frames import Frame
from pipelines.study.arms import ARMS
from pipelines.study.features import Features, feature_file, kept_features
from pipelines.study.folds import SPLITS, SplitName
from pipelines.study.grid import DRAWS, found_by, images_of
from pipelines.study.paper import LABELLED, stands
from pipelines.study.pretraining import (
    encoder_of,
    is_done,
    must_be_arm,
    pretrain_config,
    run_folder,
    sha256_of_encoder,
    store_folder,
    what_differs,
)
from pipelines.study.probes import STRENGTHS, Fit, probe
from pipelines.study.records import (
    Cell,
    Facts,
    Found,
    Record,
    read_record,
    record_file,
    write_images,
    write_record,
)
from pipelines.study.scores import PROBE
from pipelines.study.targets import FRAME, RUN_LENGTH, SETS, Targets, TargetSet, View, seen_as
from pipelines.study.trivial import trees_on_thumbnail

TREES = "trees"
"""The protocol of boosted trees on a thumbnail."""

Answers = Sequence[tuple[Fit, Sequence[Cell]]]
"""Each fit with the cells that it is asked for."""

POOLED = "all levels, mean and deviation inside the lungs"
"""What is read off an encoder: in the settings of every record of it."""


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
        return record_file(*self)


FramesNow = Callable[[Question], Mapping[str, str]]
"""Fingerprints of the frames that a question is asked of, as they stand now, by their names in
records; none where sets are not read."""


class Sources(NamedTuple):
    """What an answer was made from, beside the set: kept in the record's facts.

    Attributes:
        hashes: SHA-256 by name, such as that of the encoder.
        settings: what else was chosen.
    """

    hashes: Mapping[str, str] = {}
    settings: Mapping[str, object] = {}


class Made(NamedTuple):
    """A pretraining whose encoder answers.

    Attributes:
        run: its folder.
        config: what it is pretrained with now.
        store: what it learns from.
        source: name of its encoder in records.
    """

    run: Path
    config: PretrainConfig
    store: Path
    source: str = "encoder"

    def left(self) -> str:
        """Why it is still to be made, in words; empty where it is, with these settings and data."""
        if is_done(self.run, self.config, self.store) and sha256_of_encoder(self.run):
            return ""
        differs = what_differs(self.run, self.config, self.store)
        if differs:
            return f"{self.run.name} was made otherwise: {differs}"
        return f"there is no encoder of {self.run.name} yet"


def made_of(runs: Path, arm: str) -> list[Made]:
    """The pretraining of an arm of the comparison; empty for a rival that has none."""
    if arm not in ARMS:
        return []
    name = must_be_arm(arm)
    return [Made(run_folder(runs, name), pretrain_config(name), store_folder(runs))]


def hashes_of(made: Sequence[Made]) -> dict[str, str]:
    """SHA-256 of the encoders as they stand, by their names in records."""
    return {one.source: sha256_of_encoder(one.run) for one in made}


def settings_of(
    made: Sequence[Made], fractions: Sequence[float], draws: int = DRAWS, frame: Frame = FRAME
) -> dict[str, Any]:
    """How an answer is made: how images are cut and labels drawn, and how its encoder learnt.

    Args:
        made: the pretrainings, alike but for their seeds; none for a trivial model.
        fractions: of the labels.
        draws: of each share but all.
        frame: how images are cut.
    """
    cut: dict[str, Any] = {
        **LABELLED,
        "frame": frame.model_dump(mode="json"),
        "run length": RUN_LENGTH,
        "fractions": list(fractions),
        "draws": draws,
    }
    if not made:
        return cut
    return cut | {
        "features": POOLED,
        "strengths": list(STRENGTHS),
        "pretraining": made[0].config.model_dump(mode="json"),
    }


def frames_of(target: TargetSet) -> dict[str, str]:
    """The fingerprint of a set's frames, by its name in records."""
    return {"frames": target.loaded.fingerprint}


def frames_now(targets: Targets, frame: Frame = FRAME) -> FramesNow:
    """Of questions each about one set: the fingerprint of its frames.

    Args:
        targets: all sets.
        frame: how their images are cut.
    """

    def of(question: Question) -> dict[str, str]:
        return targets.frames(next(one for one in SETS if one == question.set_name), frame)

    return of


def frozen_features(runs: Path, run: Path, seen: TargetSet, view: View) -> Features:
    """Features of a set under a view by the encoder of a run.

    Args:
        runs: where features are kept.
        run: folder of a pretraining that has ended.
        seen: the set, seen as the view says.
        view: which one.

    Raises:
        DataError: when the run has left no encoder.
    """
    encoder, sha256 = encoder_of(run)
    return kept_features(feature_file(runs, sha256, seen, view), encoder, seen)


def fit_of(runs: Path, made: Sequence[Made], seen: TargetSet, view: View) -> tuple[str, Fit]:
    """How an arm answers, and its protocol: a probe of its encoder, or trees where it has none."""
    if not made:
        return TREES, trees_on_thumbnail
    return PROBE, probe(frozen_features(runs, made[0].run, seen, view))


def answer_unless_it_stands(
    study: Path,
    target: TargetSet,
    question: Question,
    answers: Callable[[TargetSet], Answers],
    sources: Sources,
    progress: Progress = no_progress,
) -> Path | None:
    """Record what answers a question, unless that is done; gives the file of what is new.

    Args:
        study: folder of the study's records.
        target: the set as it is.
        question: what is asked.
        answers: each fit with its cells, of the set as the question sees it; asked for only then.
        sources: what goes into the facts.
        progress: shows how far it is.
    """
    if is_answered(study, question, sources, frames_of(target)):
        return None
    seen = seen_as(target, question.view)
    return record_answers(study, seen, question, answers(seen), sources, progress)


def record_answers(
    study: Path,
    seen: TargetSet,
    question: Question,
    answers: Answers,
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
        sources={**sources.hashes, **frames_of(seen)},
        settings=dict(sources.settings),
    )
    return write_record(study, facts, cells)


def answer_to(study: Path, question: Question) -> Record | None:
    """The record that answers a question; None where there is none yet."""
    file = study / question.file
    return read_record(file) if file.is_file() else None


def is_answered(
    study: Path, question: Question, sources: Sources, frames: Mapping[str, str]
) -> bool:
    """Whether a question is answered by these encoders, settings and frames.

    Args:
        study: folder of the study's records.
        question: what is asked.
        sources: what an answer of now would be made from.
        frames: fingerprints of the frames, by their names in records.
    """
    return not stands(study / question.file, {**sources.hashes, **frames}, sources.settings)


def left_of(
    study: Path,
    questions: Sequence[Question],
    made: Sequence[Made],
    settings: Mapping[str, object],
    frames: FramesNow,
) -> str:
    """Why questions are still to be answered, in words; empty where they are.

    Args:
        study: folder of the study's records.
        questions: of one stage.
        made: the pretrainings whose encoders answer; none for a trivial model.
        settings: that an answer of now would be made with.
        frames: that it would be made of; they are read where all else stands.
    """
    reason = next((why for one in made if (why := one.left())), "")
    if reason:
        return reason
    hashes = hashes_of(made)
    for question in questions:
        file = study / question.file
        if not file.is_file():
            return f"{question.file} is missing"
        reason = stands(file, hashes, settings)
        if reason:
            return reason
    stale = (stands(study / question.file, frames(question), {}) for question in questions)
    return next((why for why in stale if why), "")


def must_be_made(made: Sequence[Made], arm: str) -> None:
    """Refuse to ask an arm of the comparison that is not pretrained as its settings are now.

    Raises:
        UsageError: with the command that makes it.
    """
    for one in made:
        if reason := one.left():
            raise UsageError(
                f"{one.run}: {reason}. Make it first: python -m pipelines.reproduce_paper "
                f"--data DATA --runs {one.run.parents[1]} --only pretrain-{arm}"
            )


def _split_of(question: Question) -> SplitName:
    return next(split for split in SPLITS if split == question.split)
