"""The whole audit of a dataset: facts, order, shortcuts, a verdict in words, splits to take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.audit import facts as counting
from covidssl.audit.facts import Facts
from covidssl.audit.folds import Folds, all_folds
from covidssl.audit.headline import headline
from covidssl.audit.proposals import Proposal, proposals
from covidssl.audit.seen import Seen
from covidssl.audit.shortcuts import MODELS, Result, try_shortcuts
from covidssl.audit.verdict import Evidence, Finding, best_apart, findings
from covidssl.datasets import Dataset
from covidssl.each_scan import Progress, no_progress
from covidssl.errors import DataError
from covidssl.experiments import AuditConfig
from covidssl.file_order import OrderEffect, order_effect
from covidssl.splits import Assigned, groups_of_scans
from covidssl.version import __version__

FORMAT = "covidssl-audit-1"
BY_THUMBNAIL, BY_ENCODER = "thumbnail and histogram", "encoder features"

Features = tuple[NDArray[np.floating], NDArray[np.int64]]
"""Features (M, F) and the rows of `Seen.scans` that they are of."""


class Given(NamedTuple):
    """What an audit may be given beside the dataset.

    Attributes:
        assigned: of a split file that is to be looked at as well.
        encoded: features of an encoder for a further order test.
        cache: folder for what was computed.
    """

    assigned: Sequence[Assigned] | None = None
    encoded: Features | None = None
    cache: Path | None = None


NOTHING = Given()


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        config: how it was done.
        dataset: its table.
        seen: its scans.
        facts: what was counted.
        orders: by what pictures were held to be alike, the order test.
        folds: the splits that trivial models were tried under.
        groups: of each scan, what is resampled whole.
        results: of the trivial models.
        findings: in words.
        proposals: splits to take, the safest first.
    """

    config: AuditConfig
    dataset: Dataset
    seen: Seen
    facts: Facts
    orders: dict[str, OrderEffect]
    folds: tuple[Folds, ...]
    groups: tuple[str, ...]
    results: tuple[Result, ...]
    findings: tuple[Finding, ...]
    proposals: tuple[Proposal, ...]

    @property
    def evidence(self) -> Evidence:
        """What the verdict is made from."""
        return Evidence(
            self.dataset, self.seen, self.facts, self.orders, self.folds, self.groups, self.results
        )

    @property
    def verdict(self) -> str:
        """Memory told apart from what stays, in a few sentences."""
        return headline(self.evidence, self.findings)

    def as_json(self) -> dict[str, Any]:
        """The content of `audit.json`: every number with its n, seed and interval."""
        apart = best_apart(self.evidence)
        return {
            "format": FORMAT,
            "covidssl": __version__,
            "dataset": self.dataset.name,
            "classes": list(self.dataset.classes),
            "config": self.config.model_dump(mode="json"),
            "verdict": self.verdict,
            "findings": [one.as_json() for one in self.findings],
            "facts": counting.as_json(self.facts, self.seen, self.dataset.classes),
            "order": {by: _order_json(effect) for by, effect in self.orders.items()},
            "splits": {folds.kind: folds.text for folds in self.folds},
            "apart": apart.kind if apart else None,
            "shortcuts": [_result_json(one) for one in self.results],
            "proposals": [one.as_json() for one in self.proposals],
        }


def audit_dataset(
    dataset: Dataset,
    seen: Seen,
    config: AuditConfig,
    given: Given = NOTHING,
    progress: Progress = no_progress,
) -> Audit:
    """Find out what a dataset gives away.

    Args:
        dataset: its table.
        seen: its scans.
        config: how it is done.
        given: what else is used.
        progress: shows how far it is.

    Raises:
        DataError: when a class cannot be scored.
    """
    facts = counting.gather(seen, dataset, given.assigned)
    orders = _orders(seen, given.encoded, config)
    folds = all_folds(seen, config, given.assigned)
    carries = any(effect.carries_patients for effect in orders.values())
    groups = groups_of_scans(seen.scans, config.run_length if carries else 1)
    results = try_shortcuts(seen, folds, groups, config, given.cache, progress)
    evidence = Evidence(dataset, seen, facts, orders, folds, groups, results)
    proposed = proposals(dataset, seen, _farthest(orders), config.seed)
    return Audit(
        config=config,
        dataset=dataset,
        seen=seen,
        facts=facts,
        orders=orders,
        folds=tuple(folds),
        groups=tuple(groups),
        results=tuple(results),
        findings=tuple(findings(evidence, config)),
        proposals=tuple(proposed),
    )


def _orders(seen: Seen, encoded: Features | None, config: AuditConfig) -> dict[str, OrderEffect]:
    tried: dict[str, Features] = {BY_THUMBNAIL: (seen.views["rival"], np.arange(len(seen.scans)))}
    if encoded is not None:
        tried[BY_ENCODER] = encoded
    found = {}
    for by, (features, rows) in tried.items():
        try:
            found[by] = order_effect(
                features, seen.target[rows], config.seed, permutations=config.permutations
            )
        except DataError:  # no class has three pictures: there is no order to judge
            continue
    return found


def _farthest(orders: dict[str, OrderEffect]) -> OrderEffect | None:
    """The order whose likeness reaches farthest: a narrower gap would leak by one of them."""
    return max(orders.values(), key=lambda effect: effect.reach, default=None)


def _order_json(effect: OrderEffect) -> dict[str, Any]:
    return {
        "n": effect.n,
        "seed": effect.seed,
        "permutations": effect.permutations,
        "within": effect.within,
        "share_within": effect.share_within,
        "chance": effect.chance,
        "p": effect.p,
        "median_distance": effect.median_distance,
        "median_by_chance": effect.median_by_chance,
        "carries_patients": effect.carries_patients,
        "reach": effect.reach,
        "gap": effect.gap,
        "curve": [point._asdict() for point in effect.curve],
        "likeness": list(effect.likeness),
    }


def _result_json(result: Result) -> dict[str, Any]:
    words = {model.key: model.words for model in MODELS}
    return {
        "model": result.model,
        "words": words[result.model],
        "split": result.split,
        "n": result.n,
        "groups": list(result.groups),
        "spread": result.spread,
        "seed": result.seed,
        "accuracy": result.accuracy._asdict(),
        "auroc": result.auroc._asdict(),
    }
