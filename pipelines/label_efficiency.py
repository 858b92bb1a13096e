"""How many labels does pretraining save? Frozen probes of every arm at 1 to 100 % of the labels.

    python -m pipelines.label_efficiency --data DATA --runs RUNS

The encoders are those of `pipelines.reproduce_paper`. One record a set, view and arm: stopped and
started again, it goes on where it was, and several processes share the work.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import typer

from covidssl.figures.style import BLUE, GREEN, ORANGE
from covidssl.files import write_bytes
from covidssl.progress import track
from pipelines.study.arms import NOTHING, OURS, PRETEXTS, in_words
from pipelines.study.command import (
    IMAGES,
    RECORDS,
    Data,
    DryRun,
    Images,
    Only,
    Records,
    Runs,
    carry_out,
)
from pipelines.study.curve_chart import Drawn, Look, curve_figure
from pipelines.study.documents import Block
from pipelines.study.efficiency_tables import (
    ARMS,
    FRACTIONS,
    SPLIT,
    STUDY,
    answer,
    curves_table,
    laws_table,
    made_table,
    panels,
    saved_table,
)
from pipelines.study.frozen import (
    Answers,
    FramesNow,
    Made,
    Question,
    Sources,
    answer_unless_it_stands,
    fit_of,
    frames_now,
    hashes_of,
    left_of,
    made_of,
    must_be_made,
    settings_of,
)
from pipelines.study.grid import cells_of
from pipelines.study.records import Cell
from pipelines.study.stages import Stage
from pipelines.study.targets import SETS, VIEWS, Targets, TargetSet, View
from pipelines.study.trivial import THUMBNAIL

log = logging.getLogger(__name__)

COMMAND = "make label-efficiency DATA=..."
"""What makes the records."""

FEW, FEW_DRAWS, DRAWS = 0.05, 10, 5
"""Shares up to which there are more draws, since so few labels differ more; and how many."""

CHART = "label-efficiency.png"

_PAGE = Path("label_efficiency.md")
_PROBES_MINUTES, _TREES_MINUTES = 5.0, 12.0
_QUIET = "#b6bec6"
_LOOKS: dict[str, Look] = {
    **{arm: Look("other pretexts", _QUIET, band=False, width=1.2) for arm in PRETEXTS},
    THUMBNAIL: Look("trees on a thumbnail (trivial)", GREEN, line="--"),
    NOTHING: Look("no pretraining", ORANGE),
    OURS: Look("Perlin pseudo-lesions (ours)", BLUE),
}


def main(
    data: Data,
    runs: Runs,
    records: Records = RECORDS,
    images: Images = IMAGES,
    dry_run: DryRun = False,
    only: Only = None,
) -> None:
    """Probe every arm at every share of the labels, and draw the curves."""
    targets = Targets(data, runs, reads_sets=not dry_run)
    carry_out(stages(data, runs, records, targets), runs, only or [], dry_run)
    if not dry_run:
        draw(records, images)


def stages(data: Path, runs: Path, records: Path, targets: Targets | None = None) -> list[Stage]:
    """One an arm; the encoders are made by the reproduction of the paper."""
    study, targets = records / STUDY, targets or Targets(data, runs)
    return [
        Stage(
            name=f"label-efficiency-{arm.replace(' ', '-')}",
            what=f"{in_words(arm)}: {len(FRACTIONS)} shares of the labels, both sets and views",
            minutes=_TREES_MINUTES if arm == THUMBNAIL else _PROBES_MINUTES,
            left=partial(arm_left, study, runs, arm, frames_now(targets)),
            run=partial(ask_arm, arm, targets, runs, study),
        )
        for arm in ARMS
    ]


def blocks() -> tuple[Block, ...]:
    """What the page has from records."""
    return (
        Block(_PAGE, "figure", _figure, COMMAND),
        Block(_PAGE, "answer", answer, COMMAND),
        Block(_PAGE, "labels saved", saved_table, COMMAND),
        Block(_PAGE, "curves", curves_table, COMMAND),
        Block(_PAGE, "laws", laws_table, COMMAND),
        Block(_PAGE, "made", made_table, COMMAND),
    )


def draw(records: Path, images: Path) -> Path | None:
    """Draw the chart from the records; the same records give the same bytes.

    Returns:
        Its file; None where there is no record yet.
    """
    drawn = [
        Drawn(panel.words, {arm: panel.curves[arm] for arm in _LOOKS if arm in panel.curves})
        for panel in panels(records)
    ]
    if not drawn:
        return None
    images.mkdir(parents=True, exist_ok=True)
    write_bytes(images / CHART, curve_figure(drawn, _LOOKS, "labels"))
    return images / CHART


def questions(arm: str) -> list[Question]:
    """What is asked of an arm."""
    return [Question(name, SPLIT, view, arm) for name in SETS for view in VIEWS]


def cells(protocol: str) -> list[Cell]:
    """All shares and draws of the labels."""
    few = [share for share in FRACTIONS if share <= FEW]
    more = [share for share in FRACTIONS if share > FEW]
    return [*cells_of(protocol, few, FEW_DRAWS), *cells_of(protocol, more, DRAWS)]


def arm_left(study: Path, runs: Path, arm: str, frames: FramesNow) -> str:
    """Why an arm is still to be asked; empty where it was, by this encoder and of these shares."""
    made = made_of(runs, arm)
    if reason := next((why for one in made if (why := one.left())), ""):
        return f"first pipelines.reproduce_paper --only pretrain-{arm}: {reason}"
    return left_of(study, questions(arm), made, _settings(runs, arm), frames)


def ask_arm(arm: str, targets: Targets, runs: Path, study: Path) -> None:
    """Ask one arm about both sets under both views, and record what it says; what stands is left.

    Raises:
        UsageError: when a set or the encoder is missing, or that is of other settings.
    """
    made = made_of(runs, arm)
    must_be_made(made, arm)
    sources = Sources(hashes_of(made), _settings(runs, arm))
    for name in SETS:
        target = targets.of(name)
        for question in questions(arm):
            if question.set_name != name:
                continue
            answers = partial(_answers, runs, made, question.view)
            file = answer_unless_it_stands(study, target, question, answers, sources, track)
            if file is not None:
                log.info("%s", file)


def _answers(runs: Path, made: Sequence[Made], view: View, seen: TargetSet) -> Answers:
    protocol, fit = fit_of(runs, made, seen, view)
    return [(fit, cells(protocol))]


def _settings(runs: Path, arm: str) -> dict[str, object]:
    return settings_of(made_of(runs, arm), FRACTIONS, DRAWS) | {
        "draws of few labels": FEW_DRAWS,
        "few labels": FEW,
    }


def _figure(records: Path) -> str:
    return f"![AUROC over labels, both sets and views](images/{CHART})" if panels(records) else ""


if __name__ == "__main__":
    typer.run(main)
