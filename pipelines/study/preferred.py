"""An arm at its best: in each fold of each draw by the protocol that its own labels prefer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import lcm
from typing import NamedTuple

import numpy as np

from covidssl.errors import DataError
from pipelines.study.records import Cell, Found, Images, Record
from pipelines.study.scores import PROBE, protocols_of


class AtBest(NamedTuple):
    """An arm under the protocol that its inner validation prefers.

    Attributes:
        by_draw: what is said of each image, by draw; an entry a seed, as many for each draw.
        protocols: the protocol of each fold, draw after draw.
    """

    by_draw: dict[int, tuple[Found, ...]]
    protocols: tuple[str, ...]


def at_its_best(
    record: Record, images: Images, fraction: float, draws: Collection[int] | None = None
) -> AtBest:
    """An arm whose protocol was chosen anew in every fold of every draw, by its inner score there.

    No label of a fold that is scored has a part in the choice that is scored there. The inner score
    is the mean over seeds; where protocols have different numbers of them, each still counts the
    same. Where an inner score is not a number, since too few groups were there to choose on,
    nothing is chosen and the linear probe stands; it also stands where scores are equal.

    Args:
        record: of the arm.
        images: of its set and split.
        fraction: of the labels.
        draws: only these; None: all.

    Raises:
        DataError: when the record has no cell of that share, or a cell lacks inner scores by fold.
    """
    cells: dict[int, dict[str, list[Cell]]] = {}
    for protocol in protocols_of(record, fraction):
        for cell in sorted(record.cells):
            asked = draws is None or cell.draw in draws
            if asked and (cell.protocol, cell.fraction) == (protocol, fraction):
                cells.setdefault(cell.draw, {}).setdefault(protocol, []).append(cell)
    if not cells:
        raise DataError(
            f"{record.facts.file}: no model of draws {sorted(draws or ())} is recorded."
        )
    best = {draw: _preferred(record, images, own) for draw, own in sorted(cells.items())}
    count = lcm(*(len(cells[draw][one]) for draw, own in best.items() for one in own))
    founds = {}
    for draw, own in best.items():
        of = [[record.cells[cell] for cell in cells[draw][one]] for one in own]
        founds[draw] = tuple(
            _of_folds([seeds[number % len(seeds)] for seeds in of], own, images)
            for number in range(count)
        )
    return AtBest(founds, tuple(one for own in best.values() for one in own))


def _preferred(
    record: Record, images: Images, cells: Mapping[str, Sequence[Cell]]
) -> tuple[str, ...]:
    """Of one draw, the protocol of each fold."""
    inner = {
        protocol: np.mean([_inners(record, cell, images) for cell in own], axis=0)
        for protocol, own in cells.items()
    }
    stands = PROBE if PROBE in inner else next(iter(inner))
    best = []
    for fold in range(int(images.fold.max()) + 1):
        of = {protocol: float(values[fold]) for protocol, values in inner.items()}
        if any(np.isnan(list(of.values()))):
            best.append(stands)
        else:
            best.append(max(of, key=lambda one, of=of: (of[one], one == stands)))  # type: ignore[misc]
    return tuple(best)


def _inners(record: Record, cell: Cell, images: Images) -> tuple[float, ...]:
    inners, folds = record.cells[cell].inners, int(images.fold.max()) + 1
    if len(inners) != folds:
        raise DataError(
            f"{record.facts.file}, {cell.column}: {len(inners)} inner scores for {folds} folds. "
            f"Expected one a fold: make the record anew."
        )
    return inners


def _of_folds(taken: Sequence[Found], protocols: Sequence[str], images: Images) -> Found:
    """Each fold's answers from the model that was taken for it."""
    chance = np.full(len(images.fold), np.nan)
    for fold, found in enumerate(taken):
        chance[images.fold == fold] = found.chance[images.fold == fold]
    inners = tuple(found.inners[fold] for fold, found in enumerate(taken))
    labels = float(np.mean([found.labels for found in taken]))
    return Found(chance, labels, float(np.mean(inners)), tuple(protocols), inners)
