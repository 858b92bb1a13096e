"""A pretrained restoration network alone, with no label, as a detector of real lesions.

    python -m pipelines.localise --data DATA --runs RUNS [--store STORE --pretrained NAME=RUN]

Without `--pretrained` it takes the networks of the reproduction: ours, and one taught on anomalies
as in DRAEM, which is pretrained first where it is not there.

Each score is held against the drawn infection of MedSeg's cases, pixel by pixel inside the given
lungs. Cases 1, 3 and 6 were for design; 2, 4 and 7 are the test, and nothing was chosen on them.
Writes a small record a network and one of the rivals, and pictures, which hold pixels of the scans,
into RUNS alone. `docs/localisation.md` is remade from the records.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer

from covidssl.clean_slices import StoredPictures, open_slices, stored_pictures
from covidssl.errors import UsageError
from covidssl.files import write_bytes, write_json
from covidssl.frames import Frame
from covidssl.maps.lesion import Looked, lesion_scores
from covidssl.networks.unet import RestorationUNet
from covidssl.weights import load_restoration
from pipelines.localising.cases import DESIGN_CASES, TEST_CASES, Case, looked_at, read_localised
from pipelines.localising.judging import Bar, bar_of, judged, rows_of_case
from pipelines.localising.pictures import sheet
from pipelines.localising.protocol import facts_of, record, rivals_record
from pipelines.localising.report import blocks, chart, table
from pipelines.localising.scores import (
    BRIGHTNESS,
    normal_components,
    rivals_of,
    scores_of,
)
from pipelines.localising.thresholds import Drawn, draw_on, kept_apart, thresholds
from pipelines.study.arms import DRAEM_LIKE, OURS
from pipelines.study.frozen import Made, must_be_made
from pipelines.study.pretraining import (
    is_done,
    pretrain,
    pretrain_config,
    run_folder,
    store_folder,
)

__all__ = ["blocks", "main", "table"]

RIVALS = "rivals"
CHART = "localisation.png"
_RESTORATION = "restoration.safetensors"
_IMAGES_A_SECOND, _MINUTES_A_NETWORK = 25.0, 3.0


def main(  # noqa: PLR0913 -- the options of a command
    data: Annotated[Path, typer.Option(help="Folder that holds medseg-9.")],
    runs: Annotated[Path, typer.Option(help="Folder of runs; the pictures go there.")],
    pretrained: Annotated[
        list[str] | None, typer.Option(help="NAME=RUN of a pretraining; repeatable.")
    ] = None,
    store: Annotated[
        Path | None, typer.Option(help="The prepared store that they learnt from.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of records.")] = Path("docs/records/localise"),
    design_only: Annotated[bool, typer.Option(help="Leave the test cases closed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is left, do it not.")] = (
        False
    ),
) -> None:
    """Measure, and write records, pictures, and a chart into `images` beside `records`."""
    torch.set_num_threads(1)
    folder = data / "medseg-9"
    if not folder.is_dir():
        raise UsageError(f"{folder}: not there; data/medseg_9/README.md says where to get it.")
    store = store or store_folder(runs)
    if dry_run:
        typer.echo(_left(runs, pretrained))
        return
    given = dict(map(_parted, pretrained)) if pretrained else _of_the_reproduction(runs, store)
    slices = open_slices(store)
    networks = {name: _opened(name, run, slices.fingerprint) for name, run in given.items()}
    numbers = DESIGN_CASES if design_only else tuple(sorted(DESIGN_CASES + TEST_CASES))
    frame = _frame(networks)
    desk = _laid_out(folder, numbers, stored_pictures(slices, frame), frame)
    bars = {number: asked.bar for number, asked in desk.asked.items()}
    write_json(out / f"{RIVALS}.json", rivals_record(_rivals(desk), bars, slices.fingerprint))
    for name, (network, _, run) in networks.items():
        began = time.monotonic()
        found = _network(network, desk)
        for number, asked in desk.asked.items():
            write_bytes(
                runs / "localise" / name / f"case{number}.png",
                sheet(asked.case, asked.looked, network, lesion_scores(network, asked.looked)),
            )
        minutes = (time.monotonic() - began) / 60
        facts = facts_of(run, desk.pictures)
        write_json(out / f"{name}.json", record(name, found, facts, minutes))
        typer.echo(f"{name}: {minutes:.1f} minutes")
    write_bytes(out.parents[1] / "images" / CHART, chart(out))
    typer.echo(table(out))


class _Asked(NamedTuple):
    """A case, as a network looks at it, and the bar on it."""

    case: Case
    looked: Looked
    bar: Bar


class _Desk(NamedTuple):
    """What every network and rival is held against, made once."""

    pictures: StoredPictures
    asked: dict[int, _Asked]
    drawn: Drawn


def _laid_out(
    folder: Path, numbers: Sequence[int], pictures: StoredPictures, frame: Frame
) -> _Desk:
    asked = {}
    for number in numbers:
        case = read_localised(folder, number, frame)
        looked = looked_at(case, frame)
        asked[number] = _Asked(case, looked, bar_of(case, looked))
    return _Desk(pictures, asked, draw_on(pictures, kept_apart(pictures), frame))


def _of_the_reproduction(runs: Path, store: Path) -> dict[str, Path]:
    """Our network, which must be there, and the DRAEM-like one, which is made where it is not."""
    ours = Made(run_folder(runs, OURS), pretrain_config(OURS), store)
    must_be_made([ours], OURS)
    rival = run_folder(runs, DRAEM_LIKE)
    pretrain(pretrain_config(DRAEM_LIKE), store, rival)
    return {OURS: ours.run, DRAEM_LIKE: rival}


def _left(runs: Path, pretrained: list[str] | None) -> str:
    steps = pretrain_config(DRAEM_LIKE).training
    teaches = not pretrained and not is_done(run_folder(runs, DRAEM_LIKE))
    minutes = steps.steps * steps.batch_size / _IMAGES_A_SECOND / 60 if teaches else 0.0
    asked = len(pretrained or (OURS, DRAEM_LIKE)) * _MINUTES_A_NETWORK
    first = f"pretrain the DRAEM-like network: some {minutes:.0f} minutes; " if teaches else ""
    return f"{first}measure: some {asked:.0f} minutes on one thread"


def _parted(given: str) -> tuple[str, Path]:
    name, parted, run = given.partition("=")
    if not (name and parted and run) or name == RIVALS or "/" in name:
        raise UsageError(f"--pretrained {given}: expected NAME=RUN, and a NAME other than rivals.")
    return name, Path(run)


class _Network(NamedTuple):
    network: RestorationUNet
    frame: Frame
    run: Path


def _opened(name: str, run: Path, fingerprint: str) -> _Network:
    file = run / _RESTORATION
    if not file.is_file():
        raise UsageError(f"--pretrained {name}: {file} is not there; has that run ended?")
    network, card = load_restoration(file)
    if card.frame is None or card.frame.depth is not None:
        raise UsageError(f"{run}: is no network of slices with a frame; pretrain one on slices.")
    if card.trained_on.data_fingerprint != fingerprint:
        raise UsageError(
            f"{run}: learnt from another store than the one given, so that nobody knows which "
            f"slices it has seen. Give its own with --store."
        )
    return _Network(network, card.frame, run)


def _frame(networks: Mapping[str, _Network]) -> Frame:
    """The one frame of all networks."""
    first = next(iter(networks.values())).frame
    other = next((name for name, one in networks.items() if one.frame != first), None)
    if other is not None:
        raise UsageError(
            f"--pretrained {other}: its frame differs from the first network's; run it by itself."
        )
    return first


def _rivals(desk: _Desk) -> dict[str, dict[str, Any]]:
    """What needs no restoration network, the bar among it."""
    components = normal_components(desk.pictures, kept_apart(desk.pictures).learnt)
    fixed = thresholds(rivals_of(desk.drawn.looked, components), desk.drawn)
    found: dict[str, dict[str, Any]] = {BRIGHTNESS: judged(None)}
    found |= {name: judged(threshold) for name, threshold in fixed.items()}
    for number, (case, looked, bar) in desk.asked.items():
        planes = rivals_of(looked, components)
        scores = {BRIGHTNESS: bar.score}
        scores |= {name: case.placed(values) for name, values in planes.items()}
        rows_of_case(found, number, scores, bar)
    return found


def _network(network: RestorationUNet, desk: _Desk) -> dict[str, dict[str, Any]]:
    """Every score of a network on every case."""
    fixed = thresholds(scores_of(network, desk.drawn.looked), desk.drawn)
    found = {name: judged(threshold) for name, threshold in fixed.items()}
    for number, (case, looked, bar) in desk.asked.items():
        planes = scores_of(network, looked)
        scores = {name: case.placed(values) for name, values in planes.items()}
        rows_of_case(found, number, scores, bar)
    return found


if __name__ == "__main__":
    typer.run(main)
