"""An encoder looked at while it is pretrained, and what was found: a row an evaluation."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from torch import nn

from covidssl.files import read_csv, write_csv
from covidssl.metrics import Estimate
from covidssl.networks.encoder import Encoder
from covidssl.networks.unet import RestorationUNet
from covidssl.quality.lesion_set import LesionSet, lesion_quality
from covidssl.quality.plan import Metric, QualityPlan
from covidssl.quality.probe_set import ProbeSet
from covidssl.quality.rule import BY_LABELS, Judged, Notes, judge, labels_choose, metric_of

TABLE = "quality.csv"


class QualityWatch:
    """Measures weights, and judges them by the rule.

    It has a network of its own: the one that learns is not touched.

    Attributes:
        plan: how it looks.
        metric: the number that decides; None where there is none.
        table: `quality.csv`.
    """

    def __init__(
        self,
        plan: QualityPlan,
        network: nn.Module,
        lesions: LesionSet | None,
        probed: ProbeSet | None,
        out: Path,
    ) -> None:
        self.plan, self.table = plan, out / TABLE
        self._network = copy.deepcopy(network)
        self._lesions = lesions if isinstance(network, RestorationUNet) else None
        self._probed = probed
        self.metric: Metric | None = None
        if self.sees:
            maps = isinstance(network, RestorationUNet) and network.lesion_map != "none"
            self.metric = metric_of(plan, probed is not None, self._lesions is not None, maps)

    @property
    def labels_choose(self) -> bool:
        """Whether labels decide which encoder is handed on, or when the run ends."""
        return labels_choose(self.plan, self.metric)

    @property
    def keeps_best(self) -> bool:
        """Whether the best encoder is kept as the run goes: not where labels shall choose none."""
        return self.labels_choose or self.metric not in BY_LABELS

    @property
    def sees(self) -> bool:
        """Whether there is anything to measure."""
        return self._lesions is not None or self._probed is not None

    def due(self, step: int, last: int) -> bool:
        """Whether weights are looked at after this step of `last`."""
        every = self.plan.every
        return self.sees and every is not None and (step % every == 0 or step == last)

    def measure(self, weights: Mapping[str, torch.Tensor]) -> dict[str, float]:
        """All numbers of these weights, and the seconds that they took."""
        began = time.perf_counter()
        self._network.load_state_dict(dict(weights), strict=True)
        found: dict[str, float] = {}
        if self._probed is not None:
            found |= self._probed.quality(cast(Encoder, self._network.encoder))
        if self._lesions is not None:
            found |= lesion_quality(cast(RestorationUNet, self._network), self._lesions)
        return found | {"seconds": round(time.perf_counter() - began, 3)}

    def intervals(self, weights: Mapping[str, torch.Tensor]) -> dict[str, Estimate]:
        """AUROC of the probes with intervals; nothing without a labelled set."""
        if self._probed is None:
            return {}
        prefix, encoder = "encoder.", cast(Encoder, self._network.encoder)
        own = {n.removeprefix(prefix): t for n, t in weights.items() if n.startswith(prefix)}
        encoder.load_state_dict(own, strict=True)
        return self._probed.intervals(encoder)

    def write(self, step: int, found: Mapping[str, float]) -> None:
        """Add a row; rows of `step` and later, from before a kill, are replaced."""
        rows: list[Mapping[str, object]] = [*rows_before(self.table, step)]
        rows.append({"step": step, **found})
        write_csv(self.table, ("step", *found), rows)

    def judge(self, step: int, found: Mapping[str, float], notes: Notes) -> Judged:
        """Whether these numbers are the best so far, and whether to stop."""
        if self.metric is None:
            return Judged(best=False, stop=False)
        return judge(self.plan, self.metric, step, found, notes)


def rows_before(table: Path, step: int) -> list[dict[str, str]]:
    """The rows of `quality.csv` of earlier steps than this one."""
    rows = read_csv(table) if table.is_file() else []
    return [row for row in rows if int(row["step"]) < step]


def row_at(table: Path, step: int) -> dict[str, float]:
    """The numbers of one evaluation; none where there is no such row."""
    rows = read_csv(table) if table.is_file() else []
    found = next((row for row in rows if int(row["step"]) == step), {})
    return {name: float(value) for name, value in found.items() if name != "step"}
