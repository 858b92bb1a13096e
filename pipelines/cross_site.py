"""What is learnt on one set, asked of the other: how bad is it, and what helps?

    python -m pipelines.cross_site --data DATA --runs RUNS

From all of SARS-CoV-2 CT to COVID-CT's validation images, and from COVID-CT's training images to
all of SARS-CoV-2 CT: frozen probes and the trivial rival. Pretrainings with a narrow window,
without views that hold no shortcut, and without the crop about the lungs are those of the ablation;
they are made where they are missing. Stopped and started again, it goes on where it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import typer

from covidssl.audit.views import views_of
from covidssl.frames import Frame
from pipelines.study.arms import in_words
from pipelines.study.choices import FACTORS, Choice
from pipelines.study.command import RECORDS, Data, DryRun, Only, Records, Runs, carry_out
from pipelines.study.crossing import AWAY, HOME, SPLIT, Crossing, asked_across, stacked
from pipelines.study.crossing_tables import (
    CENTRED,
    FIXED,
    HISTOGRAM,
    SEEN,
    SHORT,
    STUDY,
    TRIVIAL,
    badness_table,
    carried_list,
    help_table,
)
from pipelines.study.documents import Block
from pipelines.study.folds import Labels
from pipelines.study.frozen import (
    FramesNow,
    Made,
    Question,
    Sources,
    frames_now,
    frames_of,
    frozen_features,
    hashes_of,
    is_answered,
    left_of,
    made_of,
    must_be_made,
    record_answers,
    settings_of,
)
from pipelines.study.grid import cells_of
from pipelines.study.probes import Features, Fit, Fitted, probe
from pipelines.study.records import Cell, Facts, Found, write_images, write_record
from pipelines.study.scores import PROBE
from pipelines.study.stages import Stage
from pipelines.study.targets import FRAME, SETS, SetName, Targets, TargetSet, View, seen_as
from pipelines.study.trivial import LINEAR, THUMBNAIL, audited, trees_on_thumbnail

COMMAND = "make cross-site DATA=..."

LEARNT_FROM = "frames learnt from"
"""What records call the frames of the set that was learnt from, beside those that were scored."""

_ALL = (1.0,)
_PAGE = Path("cross_site.md")
_FIRST_PAGE = Path("../README.md")
_AT_HOME: SetName = "sars-cov-2-ct"
"""The set without an official split: at home it is cut into blocks."""


def main(
    data: Data,
    runs: Runs,
    records: Records = RECORDS,
    dry_run: DryRun = False,
    only: Only = None,
) -> None:
    """Fit on one set, and ask about the other."""
    targets = Targets(data, runs, reads_sets=not dry_run)
    carry_out(stages(data, runs, records, targets), runs, only or [], dry_run)


def stages(data: Path, runs: Path, records: Path, targets: Targets | None = None) -> list[Stage]:
    """One stage an arm of the paper's table, and one a short pretraining."""
    study, found = records / STUDY, []
    targets = targets or Targets(data, runs)
    for arm in FIXED:
        made = made_of(runs, arm)
        found.append(
            Stage(
                name=f"cross-site-{arm.replace(' ', '-')}",
                what=f"{in_words(arm)}, from either set to the other, under {len(SEEN)} views",
                minutes=3.0 if arm in TRIVIAL else 8.0,
                left=partial(
                    left_of,
                    study,
                    arm_questions(arm),
                    made,
                    settings_of(made, _ALL),
                    _frames_now(targets),
                ),
                run=partial(ask_arm, arm, targets, runs, study),
            )
        )
    for choice in SHORT:
        found.append(
            Stage(
                name=f"cross-site-short-{choice.name}",
                what=f"a short pretraining, {FACTORS[choice.factor].words}: {choice.name}",
                minutes=len(choice.seeds) * 7.0,
                left=partial(
                    left_of,
                    study,
                    _away(choice.name),
                    choice.made(runs),
                    _short(choice, runs),
                    _frames_now(targets, choice.config().frame),
                ),
                run=partial(ask_short, choice, targets, runs, study),
            )
        )
    return found


def blocks() -> tuple[Block, ...]:
    """The tables of the page."""
    return (
        Block(_FIRST_PAGE, "what carries over", carried_list, COMMAND),
        Block(_PAGE, "how bad it is", badness_table, COMMAND),
        Block(_PAGE, "what helps", help_table, COMMAND),
    )


def arm_questions(arm: str) -> list[Question]:
    """What is asked of an arm: across under every view, at home on images as they are."""
    across = [question for view in SEEN for question in _away(arm, view)]
    home = [
        Question(HOME.name, SPLIT, "plain", arm),
        Question(_AT_HOME, "blocked", "plain", arm),
    ]
    return [*across, *home]


def _away(arm: str, view: View = "plain") -> list[Question]:
    return [Question(way.name, SPLIT, view, arm) for way in AWAY]


def _frames_now(targets: Targets, frame: Frame = FRAME) -> FramesNow:
    """Of a question, the frames of both sets of its way; at home, of its own set alone."""
    own, ways = frames_now(targets, frame), {way.name: way for way in (*AWAY, HOME)}

    def of(question: Question) -> Mapping[str, str]:
        way = ways.get(question.set_name)
        if way is None:
            return own(question)
        return targets.frames(way.source, frame, LEARNT_FROM) | targets.frames(way.tested, frame)

    return of


def ask_arm(arm: str, targets: Targets, runs: Path, study: Path) -> None:
    """Ask one arm across under every view and at home, and record it; what stands is left.

    Raises:
        UsageError: when its encoder is missing, or was made with other settings.
    """
    made = made_of(runs, arm)
    must_be_made(made, arm)
    sets = {name: targets.of(name) for name in SETS}
    asker = Asker(runs, made, settings_of(made, _ALL), arm if arm in TRIVIAL else None)
    for view in SEEN:
        seen = {name: seen_as(target, view) for name, target in sets.items()}
        for way in (*AWAY, HOME) if view == "plain" else AWAY:
            crossing = Crossing(seen[way.source], seen[way.tested])
            asker.record(study, crossing, Question(way.name, SPLIT, view, arm))
        if view == "plain":
            asker.record_home(study, seen[_AT_HOME], Question(_AT_HOME, "blocked", view, arm))


def ask_short(choice: Choice, targets: Targets, runs: Path, study: Path) -> None:
    """Make the pretrainings of a choice where they are missing, and ask them across."""
    choice.learn(runs)
    frame = choice.config().frame
    sets = {name: targets.of(name, frame) for name in SETS}
    asker = Asker(runs, choice.made(runs), _short(choice, runs))
    for way in AWAY:
        crossing = Crossing(sets[way.source], sets[way.tested])
        asker.record(study, crossing, Question(way.name, SPLIT, "plain", choice.name))


class _Rival(NamedTuple):
    """A trivial model: what it sees of a set, (N, F), and what is fitted on that."""

    sees: Callable[[TargetSet], Features]
    fit: Callable[[Features], Fit]


class Asker:
    """Frozen encoders of some seeds, or the trivial rival of that name.

    Attributes:
        sources: what its answers are made from.
        protocol: how labels are used.
    """

    def __init__(
        self,
        runs: Path,
        encoders: Sequence[Made],
        settings: Mapping[str, object],
        rival: str | None = None,
    ) -> None:
        self.runs, self.encoders = runs, encoders
        self.sources = Sources(hashes_of(encoders), settings)
        self.rival = None if rival is None else _RIVALS[rival]
        self.protocol = PROBE if rival is None else TRIVIAL[rival]

    def features(self, seed: int, view: View, seen: TargetSet) -> Features:
        """Of one set under a view: those of an encoder, or what the rival sees."""
        if self.rival is not None:
            return self.rival.sees(seen)
        return frozen_features(self.runs, self.encoders[seed].run, seen, view)

    def fit(self, features: Features) -> Fit:
        """What is fitted on features of a whole set, or of two that are joined."""
        return probe(features) if self.rival is None else self.rival.fit(features)

    def record_home(self, study: Path, own: TargetSet, question: Question) -> None:
        """Ask about the set that is learnt from, out of fold, unless that stands."""
        if is_answered(study, question, self.sources, frames_of(own)):
            return
        fit = self.fit(self.features(0, question.view, own))
        record_answers(study, own, question, [(fit, cells_of(self.protocol, _ALL))], self.sources)

    def record(self, study: Path, crossing: Crossing, question: Question) -> None:
        """Ask across, with features as they are and centred by each site, unless that stands."""
        frames = {
            LEARNT_FROM: crossing.source.loaded.fingerprint,
            **frames_of(crossing.tested),
        }
        if is_answered(study, question, self.sources, frames):
            return
        began = time.monotonic()
        cells: dict[Cell, Found] = {}
        for seed in range(max(1, len(self.encoders))):
            for words, centred in (("", False), (CENTRED, True)):
                of = partial(self.features, seed, question.view)
                fit = self.fit(stacked(crossing, of, centred))
                cells[Cell(f"{self.protocol}{words}", 1.0, 0, seed)] = asked_across(crossing, fit)
        write_images(study.parent, question.set_name, SPLIT, crossing.images)
        facts = Facts.now(
            (time.monotonic() - began) / 60,
            **question._asdict(),
            sources={**self.sources.hashes, **frames},
            settings=dict(self.sources.settings),
        )
        write_record(study, facts, cells)


def _short(choice: Choice, runs: Path) -> dict[str, object]:
    return settings_of(choice.made(runs), _ALL, frame=choice.config().frame)


def _thumbnails(seen: TargetSet) -> Features:
    return seen.thumbnails


def _trees_on_thumbnails(features: Features) -> Fit:
    def fit(target: TargetSet, labels: Labels) -> Fitted:
        return trees_on_thumbnail(replace(target, thumbnails=features), labels)

    return fit


def _lung_histograms(seen: TargetSet) -> Features:
    """(N, 32) histogram inside the lungs, scaled by the image's own lung; 0 without lungs."""
    pairs = zip(seen.frames, seen.lungs, strict=True)
    views = [views_of(frame.astype(np.float32) / 65535, lungs) for frame, lungs in pairs]
    found: Features = np.nan_to_num(np.stack([view["own_scale"] for view in views]))
    return found


_RIVALS = {
    THUMBNAIL: _Rival(_thumbnails, _trees_on_thumbnails),
    LINEAR: _Rival(_thumbnails, probe),
    HISTOGRAM: _Rival(_lung_histograms, partial(audited, nearest=False)),
}


if __name__ == "__main__":
    typer.run(main)
