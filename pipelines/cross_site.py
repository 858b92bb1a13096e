"""What is learnt on one set, asked of the other: how bad is it, and what helps?

    python -m pipelines.cross_site --data DATA --runs RUNS

From all of SARS-CoV-2 CT to COVID-CT's validation images, and from COVID-CT's training images to
all of SARS-CoV-2 CT: frozen probes and the trivial rival. Pretrainings with a narrow window,
without views that hold no shortcut, and without the crop about the lungs are those of the ablation;
they are made where they are missing. Stopped and started again, it goes on where it was.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer

from pipelines.study.arms import in_words
from pipelines.study.choices import FACTORS, Choice
from pipelines.study.crossing import AWAY, HOME, SPLIT, Crossing, asked_across, stacked
from pipelines.study.crossing_tables import (
    CENTRED,
    FIXED,
    SEEN,
    SHORT,
    STUDY,
    THUMBNAIL,
    TREES,
    badness_table,
    help_table,
)
from pipelines.study.documents import Block
from pipelines.study.folds import Labels
from pipelines.study.frozen import (
    PROBE,
    Question,
    Sources,
    carry_out,
    frozen_features,
    left_of,
    record_answers,
)
from pipelines.study.grid import cells_of
from pipelines.study.pretraining import must_be_arm, run_folder
from pipelines.study.probes import Features, Fit, Fitted, probe, trees_on_thumbnail
from pipelines.study.records import Cell, Facts, Found, write_images, write_record
from pipelines.study.stages import Stage
from pipelines.study.targets import SETS, SetName, TargetSet, View, load_target, seen_as

COMMAND = "make cross-site DATA=..."

_PAGE = Path("cross_site.md")
_AT_HOME: SetName = "sars-cov-2-ct"
"""The set without an official split: at home it is cut into blocks."""


def main(
    data: Annotated[Path, typer.Option(help="Folder with sars-cov-2-ct and covid-ct.")],
    runs: Annotated[Path, typer.Option(help="Folder of runs, with the store of LUNA16.")],
    records: Annotated[Path, typer.Option(help="Folder of records.")] = Path("docs/records"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is left.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Stages, such as '*-none'.")] = None,
) -> None:
    """Fit on one set, and ask about the other."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    carry_out(stages(data, runs, records), runs, only or [], dry_run)


def stages(data: Path, runs: Path, records: Path) -> list[Stage]:
    """One stage an arm of the paper's table, and one a short pretraining."""
    study, found = records / STUDY, []
    for arm in FIXED:
        made = [] if arm == THUMBNAIL else [run_folder(runs, must_be_arm(arm))]
        found.append(
            Stage(
                name=f"cross-site-{arm.replace(' ', '-')}",
                what=f"{in_words(arm)}, from either set to the other, under {len(SEEN)} views",
                minutes=3.0 if arm == THUMBNAIL else 8.0,
                left=partial(left_of, study, arm_questions(arm), made),
                run=partial(ask_arm, arm, data, runs, study),
            )
        )
    for choice in SHORT:
        found.append(
            Stage(
                name=f"cross-site-short-{choice.name}",
                what=f"a short pretraining, {FACTORS[choice.factor].words}: {choice.name}",
                minutes=len(choice.seeds) * 7.0,
                left=partial(
                    left_of, study, _away(choice.name), [choice.run(runs, s) for s in choice.seeds]
                ),
                run=partial(ask_short, choice, data, runs, study),
            )
        )
    return found


def blocks() -> tuple[Block, ...]:
    """The tables of the page."""
    return (
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


def ask_arm(arm: str, data: Path, runs: Path, study: Path) -> None:
    """Ask one arm across under every view and at home, and record what it says."""
    targets = {name: load_target(name, data, runs) for name in SETS}
    run = None if arm == THUMBNAIL else run_folder(runs, must_be_arm(arm))
    for view in SEEN:
        seen = {name: seen_as(target, view) for name, target in targets.items()}
        asker = Asker(runs, [] if run is None else [run], view)
        for way in (*AWAY, HOME) if view == "plain" else AWAY:
            crossing = Crossing(seen[way.source], seen[way.tested])
            asker.record(study, crossing, Question(way.name, SPLIT, view, arm))
        if view == "plain":
            own = seen[_AT_HOME]
            question = Question(_AT_HOME, "blocked", view, arm)
            answers = [(asker.fit(asker.features(0, own)), cells_of(asker.protocol, (1.0,)))]
            record_answers(study, own, question, answers, Sources(asker.hashes))


def ask_short(choice: Choice, data: Path, runs: Path, study: Path) -> None:
    """Make the pretrainings of a choice where they are missing, and ask them across."""
    choice.learn(runs)
    frame = choice.config().frame
    targets = {name: load_target(name, data, runs, frame=frame) for name in SETS}
    asker = Asker(runs, [choice.run(runs, seed) for seed in choice.seeds], "plain")
    for way in AWAY:
        crossing = Crossing(targets[way.source], targets[way.tested])
        asker.record(study, crossing, Question(way.name, SPLIT, "plain", choice.name))


class Asker:
    """Frozen encoders of some seeds under one view; with no encoder, the trivial rival.

    Attributes:
        hashes: of the encoders asked so far, by seed.
    """

    def __init__(self, runs: Path, encoders: list[Path], view: View) -> None:
        self.runs, self.encoders, self.view = runs, encoders, view
        self.hashes: dict[str, str] = {}

    @property
    def protocol(self) -> str:
        """How labels are used."""
        return PROBE if self.encoders else TREES

    def features(self, seed: int, seen: TargetSet) -> Features:
        """Of one set: those of an encoder, or the thumbnails."""
        if not self.encoders:
            return seen.thumbnails
        found, made_by = frozen_features(self.runs, self.encoders[seed], seen, self.view)
        self.hashes[f"encoder of seed {seed}"] = made_by["encoder"]
        return found

    def fit(self, features: Features) -> Fit:
        """What is fitted on features of a whole set, or of two that are joined."""
        if self.encoders:
            return probe(features)
        return partial(_trees, features)

    def record(self, study: Path, crossing: Crossing, question: Question) -> None:
        """Ask across, with features as they are and centred by each site; write the record."""
        began = time.monotonic()
        cells: dict[Cell, Found] = {}
        for seed in range(max(1, len(self.encoders))):
            for words, centred in (("", False), (CENTRED, True)):
                features = stacked(crossing, partial(self.features, seed), centred)
                cell = Cell(f"{self.protocol}{words}", 1.0, 0, seed)
                cells[cell] = asked_across(crossing, self.fit(features))
        write_images(study.parent, question.set_name, SPLIT, crossing.images)
        facts = Facts.now(
            (time.monotonic() - began) / 60,
            **question._asdict(),
            sources={
                **self.hashes,
                "frames learnt from": crossing.source.loaded.fingerprint,
                "frames": crossing.tested.loaded.fingerprint,
            },
        )
        write_record(study, facts, cells)


def _trees(features: Features, target: TargetSet, labels: Labels) -> Fitted:
    return trees_on_thumbnail(replace(target, thumbnails=features), labels)


if __name__ == "__main__":
    typer.run(main)
