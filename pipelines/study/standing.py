"""Where each arm stands: its records put together, at the protocol that its own labels prefer."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipelines.study.arms import COMPARED, PRETEXTS, in_words
from pipelines.study.paper import FINE_TUNED, PROBES, WITH_TARGETS
from pipelines.study.preferred import at_its_best
from pipelines.study.records import Found, Images, Record, read_images, read_records
from pipelines.study.scores import FROZEN, KERNEL, PROBE, are_frozen, founds_of, protocols_of
from pipelines.study.trivial import RIVALS

_WAYS = {PROBE: "linear probe", KERNEL: "kernel probe"}
"""Protocols of frozen encoders as tables call them; others are called by their names."""

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


class Pair(NamedTuple):
    """Two arms on the same draws of the labels.

    Attributes:
        one, other: what they say, by draw.
        protocols: of both, each once.
    """

    one: dict[int, tuple[Found, ...]]
    other: dict[int, tuple[Found, ...]]
    protocols: tuple[tuple[str, ...], tuple[str, ...]]

    @property
    def flat(self) -> tuple[list[Found], list[Found]]:
        """What they say, in one list each."""
        return flat(self.one), flat(self.other)


@dataclass(frozen=True)
class Field:
    """All arms of one set, split and view.

    Attributes:
        images: label, group and fold of each image.
        records: by arm; frozen probes and fine-tuned models together.
        torn: arms whose fine-tuned models are of another encoder or of other frames than their
            probes, and left out.
    """

    images: Images
    records: dict[str, Record]
    torn: tuple[str, ...]

    def standing(self, arm: str, fraction: float) -> Standing:
        """An arm's best at a share of the labels, chosen by the labels of each fold and draw alone.

        Protocols are compared on the draws of labels that all of them were given. Where frozen
        probes are preferred everywhere, all of their draws count.
        """
        return self._standing(self.records[arm], fraction)

    def _standing(self, record: Record, fraction: float) -> Standing:
        best = self._best(record, fraction)
        if are_frozen(best.protocols):
            return self._best(only(FROZEN, record, fraction), fraction)
        return best

    def _best(self, record: Record, fraction: float) -> Standing:
        record = only(protocols_of(record, fraction), record, fraction)
        draws = shared_draws(record, fraction)
        best = at_its_best(record, self.images, fraction, draws)
        return Standing(record, draws, tuple(dict.fromkeys(best.protocols)))

    def founds(
        self, standing: Standing, fraction: float, draws: Collection[int] | None = None
    ) -> dict[int, tuple[Found, ...]]:
        """What an arm at its best says, by draw; of these draws alone, where they are given."""
        wanted = standing.draws if draws is None else draws
        return at_its_best(standing.record, self.images, fraction, wanted).by_draw

    def frozen(self, arm: str, fraction: float) -> Standing:
        """An arm with its encoder as it is, also where its labels prefer to fine-tune it.

        Between linear and kernel probe its labels choose; a rival is as it is.
        """
        return self._best(only(FROZEN, self.records[arm], fraction), fraction)

    def paired(self, arm: str, other: str, fraction: float) -> Pair:
        """What two arms say on the draws of labels that both were given.

        Each stands at its best; of two arms among the protocols that both have, so that what only
        one was fine-tuned by does not count. A trivial rival has one way of using labels alone.
        """
        pair = [self.records[arm], self.records[other]]
        if other in LEARNT:
            shared = set.intersection(*(set(protocols_of(record, fraction)) for record in pair))
            pair = [only(shared, record, fraction) for record in pair]
        one, two = (self._standing(record, fraction) for record in pair)
        draws = one.draws & two.draws
        founds = [self.founds(standing, fraction, draws) for standing in (one, two)]
        return Pair(founds[0], founds[1], (one.protocols, two.protocols))

    def inner(self, arm: str, fraction: float) -> float:
        """Mean inner AUROC of an arm's linear probes: what arms are chosen by.

        Of these alone, since those of fine-tuned models are of another kind.
        """
        founds = founds_of(self.records[arm], PROBE, fraction)
        return float(np.mean([found.inner for found in founds]))

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
        if _made_of(record) != _made_of(probes[arm]):
            torn.append(arm)
            continue
        probes[arm] = Record(probes[arm].facts, {**probes[arm].cells, **record.cells})
    return Field(read_images(records, set_name, split), probes, tuple(torn))


def flat(by_draw: Mapping[int, Sequence[Found]]) -> list[Found]:
    """What is said on all draws, in one list."""
    return [one for own in by_draw.values() for one in own]


def shared_draws(record: Record, fraction: float) -> frozenset[int]:
    """Draws of a share of the labels that all protocols of a record were given.

    Raises:
        DataError: when it has none of that share.
    """
    own = [cell for cell in record.cells if cell.fraction == fraction]
    protocols = protocols_of(record, fraction)
    each = ({cell.draw for cell in own if cell.protocol == one} for one in protocols)
    return frozenset(set.intersection(*each))


def only(protocols: Collection[str], record: Record, fraction: float) -> Record:
    """What a record has of these protocols at a share of the labels alone."""
    cells = {
        cell: found
        for cell, found in record.cells.items()
        if cell.protocol in protocols and cell.fraction == fraction
    }
    return Record(record.facts, cells)


def way_words(protocol: str) -> str:
    """A way to use labels as tables call it."""
    return _WAYS.get(protocol, protocol)


def words_of(arm: str) -> str:
    """An arm as tables call it."""
    return f"{in_words('perlin')}, second corpus" if arm == WITH_TARGETS else in_words(arm)


def _by_arm(folder: Path, place: tuple[str, str, str]) -> dict[str, Record]:
    return {record.facts.arm: record for record in read_records(folder, ".".join(place))}


def _made_of(record: Record) -> tuple[str | None, ...]:
    return tuple(record.facts.sources.get(name) for name in ("encoder", "frames"))
