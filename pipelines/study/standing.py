"""Where each arm stands: its records put together, at the protocol that its own labels prefer."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.study.arms import COMPARED, PRETEXTS, in_words
from pipelines.study.paper import FINE_TUNED, PROBES, WITH_TARGETS
from pipelines.study.paper_probes import PROBE
from pipelines.study.probes import RIVALS
from pipelines.study.records import Found, Images, Record, read_images, read_records
from pipelines.study.scores import at_its_best

LEARNT: tuple[str, ...] = (*COMPARED, WITH_TARGETS, "imagenet")
"""Arms with an encoder, in the order of tables."""

OTHERS: tuple[str, ...] = PRETEXTS


class Standing(NamedTuple):
    """An arm at its best.

    Attributes:
        record: the cells that its best is taken from.
        draws: of the labels that all of those protocols were given.
        protocols: that were preferred, each once.
    """

    record: Record
    draws: frozenset[int]
    protocols: tuple[str, ...]


@dataclass(frozen=True)
class Field:
    """All arms of one set, split and view.

    Attributes:
        images: label, group and fold of each image.
        records: by arm; frozen probes and fine-tuned models together.
        torn: arms whose fine-tuned models are of another encoder than their probes, and left out.
    """

    images: Images
    records: dict[str, Record]
    torn: tuple[str, ...]

    def standing(self, arm: str, fraction: float) -> Standing:
        """An arm's best at a share of the labels, chosen in every fold by that fold's own labels.

        Protocols are compared on the draws of labels that all of them were given. Where the frozen
        probe is preferred in every fold, all of its draws count.
        """
        record = _of(self.records[arm], fraction)
        by_protocol: dict[str, set[int]] = {}
        for cell in record.cells:
            by_protocol.setdefault(cell.protocol, set()).add(cell.draw)
        draws = frozenset(set.intersection(*by_protocol.values()))
        best = at_its_best(record, self.images, fraction, draws)
        protocols = tuple(dict.fromkeys(best.protocols))
        if protocols != (PROBE,):
            return Standing(record, draws, protocols)
        frozen = only_probes(record)
        return Standing(frozen, frozenset(cell.draw for cell in frozen.cells), protocols)

    def founds(
        self, standing: Standing, fraction: float, draws: Collection[int] | None = None
    ) -> list[Found]:
        """What an arm at its best says; of these draws alone, where they are given."""
        wanted = standing.draws if draws is None else draws
        return list(at_its_best(standing.record, self.images, fraction, wanted).founds)

    def paired(
        self, one: Standing, other: Standing, fraction: float
    ) -> tuple[list[Found], list[Found]]:
        """What two arms say on the draws of labels that both were given."""
        draws = one.draws & other.draws
        return self.founds(one, fraction, draws), self.founds(other, fraction, draws)

    def inner(self, arm: str, fraction: float) -> float:
        """Mean inner AUROC of an arm at its best: what arms are chosen by."""
        standing = self.standing(arm, fraction)
        return float(np.mean([one.inner for one in self.founds(standing, fraction)]))

    @property
    def learnt(self) -> list[str]:
        """Arms with an encoder that are recorded."""
        return [arm for arm in LEARNT if arm in self.records]

    @property
    def rivals(self) -> list[str]:
        """Trivial rivals that are recorded."""
        return [name for name in RIVALS if name in self.records]


def field_of(
    records: Path,
    set_name: str,
    split: str,
    view: str,
    studies: tuple[str, str] = (PROBES, FINE_TUNED),
) -> Field | None:
    """All that is recorded of a set, split and view; None where nothing is.

    Args:
        records: folder of all records.
        set_name: of the set.
        split: how it was cut.
        view: how images were shown.
        studies: folders of frozen probes and of fine-tuned models; one may hold both.
    """
    place = (set_name, split, view)
    probes = _by_arm(records / studies[0], place)
    tuned = _by_arm(records / studies[1], place) if studies[1] else {}
    if not probes:
        return None
    torn = []
    for arm, record in tuned.items():
        if arm not in probes:
            continue
        if _encoder(record) != _encoder(probes[arm]):
            torn.append(arm)
            continue
        probes[arm] = Record(probes[arm].facts, {**probes[arm].cells, **record.cells})
    return Field(read_images(records, set_name, split), probes, tuple(torn))


def only_probes(record: Record) -> Record:
    """A record's frozen probes alone."""
    cells = {cell: found for cell, found in record.cells.items() if cell.protocol == PROBE}
    return Record(record.facts, cells)


def words_of(arm: str) -> str:
    """An arm as tables call it."""
    return f"{in_words('perlin')}, second corpus" if arm == WITH_TARGETS else in_words(arm)


def _by_arm(folder: Path, place: tuple[str, str, str]) -> dict[str, Record]:
    return {
        record.facts.arm: record
        for record in read_records(folder)
        if (record.facts.set_name, record.facts.split, record.facts.view) == place
    }


def _encoder(record: Record) -> str | None:
    return record.facts.sources.get("encoder")


def _of(record: Record, fraction: float) -> Record:
    cells = {cell: found for cell, found in record.cells.items() if cell.fraction == fraction}
    return Record(record.facts, cells)
