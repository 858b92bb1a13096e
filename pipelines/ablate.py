"""Does the conclusion hang on what the paper leaves open? One factor at a time about the default.

    python -m pipelines.ablate --data DATA --runs RUNS [--only noise] [--dry-run]

Each choice is a short pretraining on LUNA16 slices, all of the same number of steps, and a probe of
its frozen encoder on both labelled sets, cut into blocks, with 10 % of the labels and with all. The
default is pretrained with three seeds: a difference that is no larger than theirs shows nothing.
Stopped and started again, it goes on where it was; two processes share the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Annotated

import typer

from pipelines.study.choices import (
    CHOICES,
    DEFAULT,
    FACTORS,
    STEPS,
    UNTRAINED,
    Choice,
    default_values,
    set_to,
)
from pipelines.study.command import RECORDS, Data, DryRun, Records, Runs, carry_out
from pipelines.study.documents import Block
from pipelines.study.frozen import (
    Answers,
    Question,
    Sources,
    answer_to,
    answer_unless_it_stands,
    frames_now,
    frozen_features,
    hashes_of,
    left_of,
    settings_of,
)
from pipelines.study.grid import cells_of
from pipelines.study.probes import probe
from pipelines.study.records import Found, Images, Record, read_images
from pipelines.study.scores import LIMITS, PROBE, against, difference, founds_of, pooled
from pipelines.study.stages import Stage
from pipelines.study.table_text import (
    difference_text,
    estimate_text,
    markdown_table,
    p_text,
    range_text,
)
from pipelines.study.targets import SETS, WORDS, SetName, Targets, TargetSet

STUDY = "ablate"
"""Folder of its records."""

COMMAND = "make ablate DATA=..."
FEW, ALL = 0.1, 1.0

_PAGE = Path("ablations.md")
_WORDS = 90  # letters in the plan
_LEARNING_MINUTES, _ASKING_MINUTES = 5.5, 2.2  # on one thread of a processor of two


def main(
    data: Data,
    runs: Runs,
    records: Records = RECORDS,
    dry_run: DryRun = False,
    only: Annotated[list[str] | None, typer.Option(help="Factors or stages.")] = None,
) -> None:
    """Pretrain every choice, and ask its frozen encoder."""
    wanted = [f"ablate-{one}-*" if one in FACTORS else one for one in only or []]
    targets = Targets(data, runs, reads_sets=not dry_run)
    carry_out(stages(data, runs, records, targets), runs, wanted, dry_run)


def stages(data: Path, runs: Path, records: Path, targets: Targets | None = None) -> list[Stage]:
    """One stage a choice: its pretrainings, then what its encoders say."""
    study, targets = records / STUDY, targets or Targets(data, runs)
    found = []
    for choice in CHOICES:
        each = _ASKING_MINUTES + (0 if choice.name == UNTRAINED else _LEARNING_MINUTES)
        found.append(
            Stage(
                name=f"ablate-{choice.factor}-{choice.name}",
                what=shorten(
                    f"{FACTORS[choice.factor].words}: {set_to(choice.keys) or choice.name}", _WORDS
                ),
                minutes=len(choice.seeds) * each,
                left=partial(choice_left, choice, runs, study, targets),
                run=partial(learn_and_ask, choice, targets, runs, study),
            )
        )
    return found


def blocks() -> tuple[Block, ...]:
    """The tables of the page."""
    return (
        Block(_PAGE, "yardstick", yardstick_table, COMMAND),
        Block(_PAGE, "choices", choices_table, COMMAND),
    )


def questions(choice: Choice) -> list[Question]:
    """What is asked of the encoders of a choice."""
    return [Question(name, "blocked", "plain", choice.name) for name in SETS]


def choice_left(choice: Choice, runs: Path, study: Path, targets: Targets) -> str:
    """Why a choice is still to be pretrained or asked; empty where it was, as it is set now."""
    frames = frames_now(targets, choice.config().frame)
    return left_of(study, questions(choice), choice.made(runs), settings(choice, runs), frames)


def settings(choice: Choice, runs: Path) -> dict[str, object]:
    """What a record says of a choice: how it was made, and what tables say of it."""
    found: dict[str, object] = settings_of(
        choice.made(runs), (FEW, ALL), frame=choice.config().frame
    )
    found |= {"factor": choice.factor, "steps": STEPS}
    if choice.name == UNTRAINED:
        return found
    return found | {"set to": set_to(choice.keys), "default": set_to(default_values(choice))}


def learn_and_ask(choice: Choice, targets: Targets, runs: Path, study: Path) -> None:
    """Pretrain a choice with each of its seeds, and probe all of them on both sets."""
    choice.learn(runs)
    for question in questions(choice):
        ask(choice, question, targets, runs, study)


def ask(choice: Choice, question: Question, targets: Targets, runs: Path, study: Path) -> None:
    """Probe every seed's encoder of a choice on one set, and record it; what stands is left."""
    name: SetName = next(one for one in SETS if one == question.set_name)
    target = targets.of(name, choice.config().frame)
    sources = Sources(hashes_of(choice.made(runs)), settings(choice, runs))

    def answers(seen: TargetSet) -> Answers:
        encoders = ((seed, choice.run(runs, seed)) for seed in choice.seeds)
        return [
            (
                probe(frozen_features(runs, run, seen, question.view)),
                cells_of(PROBE, (FEW, ALL), seed=seed),
            )
            for seed, run in encoders
        ]

    answer_unless_it_stands(study, target, question, answers, sources)


def yardstick_table(records: Path) -> str:
    """How far apart pretrainings of the default come out, and what it gains on none."""
    rows = []
    for name in SETS:
        default, untrained = (_record(records, name, one) for one in (DEFAULT, UNTRAINED))
        if default is None or untrained is None:
            continue
        images = read_images(records, name, "blocked")
        for fraction in (FEW, ALL):
            ours, nothing = (founds_of(one, PROBE, fraction) for one in (default, untrained))
            by_seed = [pooled(images, own).value for own in _by_seed(default, fraction)]
            rows.append(
                [
                    WORDS[name],
                    f"{fraction:.0%}",
                    estimate_text(pooled(images, ours)),
                    range_text(by_seed),
                    estimate_text(pooled(images, nothing)),
                    difference_text(difference(images, ours, nothing)),
                ]
            )
    head = [
        "set",
        "labels",
        "AUROC of the default, mean of its seeds",
        "of single seeds",
        "AUROC without pretraining",
        "gain",
    ]
    return f"{markdown_table(head, rows)}\n\n{LIMITS}" if rows else ""


def choices_table(records: Path) -> str:
    """Every choice against the default and against no pretraining, a table a set."""
    parts = []
    for name in SETS:
        default, untrained = (_record(records, name, one) for one in (DEFAULT, UNTRAINED))
        if default is None or untrained is None:
            continue
        held = {
            choice.name: record
            for choice in CHOICES
            if choice.name not in (DEFAULT, UNTRAINED)
            and (record := _record(records, name, choice.name)) is not None
        }
        if held:
            images = read_images(records, name, "blocked")
            table = _of_set(images, default, untrained, held)
            parts.append(f"**{WORDS[name]}**\n\n{table}")
    return "\n\n".join([*parts, LIMITS]) if parts else ""


_HEAD = (
    "factor",
    "the paper",
    "default",
    "here",
    "AUROC at 10 %",
    "less the default",
    "p (Holm)",
    "less no pretraining",
    "at 100 %, less the default",
    "inner AUROC at 10 %",
)


def _of_set(images: Images, default: Record, untrained: Record, held: Mapping[str, Record]) -> str:
    few, every = (founds_of(default, PROBE, fraction) for fraction in (FEW, ALL))
    nothing = founds_of(untrained, PROBE, FEW)
    at_few = {name: founds_of(record, PROBE, FEW) for name, record in held.items()}
    tested = against(images, few, at_few)
    rows = []
    for name, record in held.items():
        settings = record.facts.settings
        factor = FACTORS[settings["factor"]]
        ours = at_few[name]
        rows.append(
            [
                factor.words,
                factor.paper,
                settings["default"],
                settings["set to"],
                estimate_text(pooled(images, ours)),
                difference_text(difference(images, ours, few)),
                p_text(tested[name].corrected),
                difference_text(difference(images, ours, nothing)),
                difference_text(difference(images, founds_of(record, PROBE, ALL), every)),
                f"{sum(found.inner for found in ours) / len(ours):.3f}",
            ]
        )
    return markdown_table(_HEAD, rows, 4)


def _by_seed(record: Record, fraction: float) -> list[Sequence[Found]]:
    cells = [cell for cell in sorted(record.cells) if cell.fraction == fraction]
    seeds = dict.fromkeys(cell.seed for cell in cells)
    return [[record.cells[cell] for cell in cells if cell.seed == seed] for seed in seeds]


def _record(records: Path, name: SetName, arm: str) -> Record | None:
    return answer_to(records / STUDY, Question(name, "blocked", "plain", arm))


if __name__ == "__main__":
    typer.run(main)
