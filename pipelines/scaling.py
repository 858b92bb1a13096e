"""Is more unlabelled CT worth it? AUROC against slices and steps of pretraining.

    python -m pipelines.scaling --data DATA --runs RUNS [--only 'scaling-*-slices-*']

Perlin pseudo-lesions, frozen probes, 10 and 100 % of the labels. Stopped and started again, it goes
on where it was, and several processes share the work.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path

import typer

from covidssl.figures.style import BLUE, ORANGE
from covidssl.files import write_bytes
from covidssl.progress import track
from covidssl.store import Store
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
from pipelines.study.frozen import (
    Answers,
    FramesNow,
    Made,
    Question,
    Sources,
    answer_unless_it_stands,
    frames_now,
    frozen_features,
    hashes_of,
    left_of,
)
from pipelines.study.grid import cells_of
from pipelines.study.pretraining import pretrain, store_folder
from pipelines.study.probes import probe
from pipelines.study.scaling_plan import (
    FRACTIONS,
    Point,
    asking_minutes,
    is_shared,
    made,
    points,
    pretraining_minutes,
    settings,
)
from pipelines.study.scaling_tables import (
    AMOUNTS,
    STUDY,
    answer,
    curve_table,
    laws_table,
    lines,
    made_table,
    question,
)
from pipelines.study.scores import PROBE
from pipelines.study.stages import Stage
from pipelines.study.subsets import prepare_subset
from pipelines.study.table_text import fraction_text
from pipelines.study.targets import SETS, VIEW_WORDS, VIEWS, WORDS, Targets, TargetSet, View
from pipelines.study.unlabelled import prepare_luna16

log = logging.getLogger(__name__)

COMMAND = "make scaling DATA=..."
"""What makes the records."""

_PAGE = Path("scaling.md")
_LOOKS = {
    f"{share:g}": Look(f"{fraction_text(share)} of the labels", colour)
    for share, colour in zip(FRACTIONS, (ORANGE, BLUE), strict=True)
}


def main(
    data: Data,
    runs: Runs,
    records: Records = RECORDS,
    images: Images = IMAGES,
    dry_run: DryRun = False,
    only: Only = None,
) -> None:
    """Pretrain with fewer slices and fewer steps, probe what was learnt, and draw the curves."""
    targets = Targets(data, runs, reads_sets=not dry_run)
    carry_out(stages(data, runs, records, targets), runs, only or [], dry_run)
    if not dry_run:
        draw(records, images)


def stages(data: Path, runs: Path, records: Path, targets: Targets | None = None) -> list[Stage]:
    """A pretraining a point and seed, then the probes of each point."""
    study, targets = records / STUDY, targets or Targets(data, runs)
    found, shared = [], " (that of make reproduce)"
    for point in points():
        word = point.arm.replace(" ", "-")
        trained = []
        for seed in point.seeds:
            trained.append(f"scaling-pretrain-{word}-seed-{seed}")
            found.append(
                Stage(
                    name=trained[-1],
                    what=f"{_words(point)}, seed {seed}{shared if is_shared(point, seed) else ''}",
                    minutes=pretraining_minutes(point),
                    left=partial(training_left, runs, point, seed),
                    run=partial(train, data, runs, point, seed),
                )
            )
        found.append(
            Stage(
                name=f"scaling-probe-{word}",
                what=f"probes of {_words(point)}, both sets and views",
                minutes=asking_minutes(point),
                left=partial(asking_left, runs, point, study, frames_now(targets)),
                run=partial(ask, targets, runs, point, study),
                needs=tuple(trained),
            )
        )
    return found


def blocks() -> tuple[Block, ...]:
    """What the page has from records."""
    return (
        Block(_PAGE, "answer", answer, COMMAND),
        *(Block(_PAGE, f"{one} figure", _figure(one), COMMAND) for one in AMOUNTS),
        *(Block(_PAGE, one, curve_table(one), COMMAND) for one in AMOUNTS),
        Block(_PAGE, "laws", laws_table, COMMAND),
        Block(_PAGE, "made", made_table, COMMAND),
    )


def draw(records: Path, images: Path) -> list[Path]:
    """Draw a chart an amount from the records; the same records give the same bytes."""
    written = []
    for amount in AMOUNTS:
        drawn = []
        every = lines(records, amount)
        for name, view in dict.fromkeys((line.name, line.view) for line in every):
            own = [line for line in every if (line.name, line.view) == (name, view)]
            curves = {f"{line.share:g}": line.curve for line in own}
            levels = {
                f"{line.share:g}": line.nothing.value for line in own if line.nothing is not None
            }
            drawn.append(Drawn(f"{WORDS[name]}, {VIEW_WORDS[view]}", curves, levels))
        if drawn:
            images.mkdir(parents=True, exist_ok=True)
            file = images / _chart(amount)
            write_bytes(file, curve_figure(drawn, _LOOKS, f"{amount} of pretraining"))
            written.append(file)
    return written


def training_left(runs: Path, point: Point, seed: int) -> str:
    """Why a point is still to be pretrained."""
    return _made(runs, point, seed).left()


def train(data: Path, runs: Path, point: Point, seed: int) -> None:
    """Prepare the slices of a point where that was not done, and pretrain on them."""
    whole, one = store_folder(runs), _made(runs, point, seed)
    if not (whole / "store.json").is_file():
        prepare_luna16(data, whole)
    if point.slices is not None and not (one.store / "store.json").is_file():
        prepare_subset(data, whole, one.store, point.slices, seed)
    pretrain(one.config, one.store, one.run)


def asking_left(runs: Path, point: Point, study: Path, frames: FramesNow) -> str:
    """Why the probes of a point are still to do."""
    return left_of(study, questions(point), made(runs, point), settings(point), frames)


def ask(targets: Targets, runs: Path, point: Point, study: Path) -> None:
    """Probe the encoders of all seeds of a point, and record it; what stands is left."""
    encoders = made(runs, point)
    slices = [len(Store.open(one.store).slices) if point.steps else 0 for one in encoders]
    sources = Sources(hashes_of(encoders), {**settings(point), "slices": slices})
    for name in SETS:
        target = targets.of(name)
        for view in VIEWS:
            asked = question(name, view, point.arm)
            answers = partial(_answers, runs, point, view)
            file = answer_unless_it_stands(study, target, asked, answers, sources, track)
            if file is not None:
                log.info("%s", file)


def _answers(runs: Path, point: Point, view: View, seen: TargetSet) -> Answers:
    return [
        (
            probe(frozen_features(runs, one.run, seen, view)),
            cells_of(PROBE, FRACTIONS, seed=seed),
        )
        for seed, one in zip(point.seeds, made(runs, point), strict=True)
    ]


def questions(point: Point) -> list[Question]:
    """What is asked of a point."""
    return [question(name, view, point.arm) for name in SETS for view in VIEWS]


def _made(runs: Path, point: Point, seed: int) -> Made:
    return made(runs, point)[point.seeds.index(seed)]


def _chart(amount: str) -> str:
    return f"scaling-{amount}.png"


def _figure(amount: str) -> Callable[[Path], str]:
    def make(records: Path) -> str:
        shown = f"![AUROC over {amount} of pretraining](images/{_chart(amount)})"
        return shown if lines(records, amount) else ""

    return make


def _words(point: Point) -> str:
    if not point.steps:
        return "first weights, nothing learnt"
    return f"{point.slices or 'all'} slices, {point.steps} steps"


if __name__ == "__main__":
    typer.run(main)
