"""The grid of frozen probes: arms x sets x splits x views, and the trivial rivals beside them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from covidssl.progress import track
from covidssl.selection import LEAST_GROUPS
from pipelines.study.arms import PRETEXTS, ArmName
from pipelines.study.folds import FOLDS, SPLITS, Labels, SplitName, cut
from pipelines.study.frozen import POOLED, frozen_features
from pipelines.study.grid import FRACTIONS, cells_of, found_by
from pipelines.study.paper import (
    LABELLED,
    PROBES,
    WITH_TARGETS,
    Bench,
    file_of,
    keep_record,
    machine,
    pretraining_minutes,
    stands,
)
from pipelines.study.pretraining import minutes_of
from pipelines.study.probes import (
    STRENGTHS,
    Features,
    Fit,
    Fitted,
    kernel_probe,
    probe,
)
from pipelines.study.records import Cell, Facts, Found, read_record
from pipelines.study.scores import KERNEL, PROBE, founds_of
from pipelines.study.targets import SETS, VIEWS, SetName, TargetSet, View
from pipelines.study.trivial import RIVALS

log = logging.getLogger(__name__)

_PROBED: Mapping[str, Any] = {
    "fractions": list(FRACTIONS),
    "strengths": list(STRENGTHS),
    "kernel": "support-vector machine, Gaussian, C 1, gamma scale; Platt",
    "least groups": LEAST_GROUPS,
}
"""How frozen features, and thumbnails, are probed: in the settings of these records."""

_RIVAL_FEATURES = 1  # raise it when thumbnails, histograms or sizes are taken otherwise


def _places(splits: tuple[SplitName, ...] = SPLITS) -> Iterator[tuple[SetName, SplitName, View]]:
    for name in SETS:
        for view in VIEWS:
            for split in splits:
                yield name, split, view


def probes_left(bench: Bench, arm: ArmName) -> str:
    """Why the probes of an arm are still to do."""
    sha = bench.encoder(arm)
    if not sha:
        return "no encoder yet"
    for place in _places():
        sources = {"encoder": sha, **bench.frames(place[0])}
        file = file_of(bench, PROBES, (*place, arm))
        reason = stands(file, sources, _probe_settings(bench, arm))
        if reason:
            return reason
    return ""


def run_probes(bench: Bench, arm: ArmName) -> None:
    """Probe an arm's frozen encoder on all sets, splits and views; a record each."""
    encoder, settings = bench.encoder(arm), _probe_settings(bench, arm)
    for place in _places():
        name, split, view = place
        sources = {"encoder": encoder, **bench.frames(name)}
        if not stands(file_of(bench, PROBES, (*place, arm)), sources, settings):
            continue
        target = bench.seen(name, view)
        fits = _frozen_fits(frozen_features(bench.runs, bench.run(arm), target, view))
        minutes = pretraining_minutes(bench, arm)
        _keep(bench, (target, split, view), _Row(arm, fits, sources, settings, minutes))


def with_targets_left(bench: Bench) -> str:
    """Why the probes of the second corpus are still to do."""
    encoders = _fold_encoders(bench)
    if not all(encoders.values()):
        return "not all encoders are there yet"
    for place in _places(("blocked",)):
        sources = encoders | bench.frames(place[0])
        file = file_of(bench, PROBES, (*place, WITH_TARGETS))
        reason = stands(file, sources, _with_targets_settings(bench))
        if reason:
            return reason
    return ""


def run_with_targets(bench: Bench) -> None:
    """Probe each fold with the encoder that has seen nothing of it."""
    encoders, settings = _fold_encoders(bench), _with_targets_settings(bench)
    own_minutes = [
        minutes_of(bench.run("perlin", "luna16-and-targets", fold)) for fold in range(FOLDS)
    ]
    minutes = sum(one or 0.0 for one in own_minutes)
    for place in _places(("blocked",)):
        name, split, view = place
        sources = encoders | bench.frames(name)
        if not stands(file_of(bench, PROBES, (*place, WITH_TARGETS)), sources, settings):
            continue
        target = bench.seen(name, view)
        of_folds = []
        for fold in range(FOLDS):
            own = bench.run("perlin", "luna16-and-targets", fold)
            of_folds.append(_frozen_fits(frozen_features(bench.runs, own, target, view)))
        fits = {
            protocol: fit_of_each_fold(target, split, [one[protocol] for one in of_folds])
            for protocol in of_folds[0]
        }
        _keep(bench, (target, split, view), _Row(WITH_TARGETS, fits, sources, settings, minutes))


def fit_of_each_fold(target: TargetSet, split: SplitName, fits: list[Fit]) -> Fit:
    """A fit that takes another one in each fold, known by the rows that it scores."""
    scored = [one.score for one in cut(target, split)]

    def fit(seen: TargetSet, labels: Labels) -> Fitted:
        for rows, own in zip(scored, fits, strict=True):
            if np.array_equal(rows, labels.score):
                return own(seen, labels)
        raise ValueError("These labels are of no fold of the split.")

    return fit


def rivals_left(bench: Bench) -> str:
    """Why the trivial rivals are still to do."""
    for name, split, view in _places():
        for rival in _rivals_of(view):
            file = file_of(bench, PROBES, (name, split, view, rival))
            reason = stands(file, bench.frames(name), _rival_settings())
            if reason:
                return reason
    return ""


def run_rivals(bench: Bench) -> None:
    """What models that cannot see disease make of the same labels."""
    for name, split, view in _places():
        for rival, fit in _rivals_of(view).items():
            file = file_of(bench, PROBES, (name, split, view, rival))
            sources, settings = bench.frames(name), _rival_settings()
            if stands(file, sources, settings):
                target = bench.seen(name, view)
                _keep(bench, (target, split, view), _Row(rival, {PROBE: fit}, sources, settings))


def best_other(bench: Bench) -> ArmName:
    """The other pretext whose probes choose best within the labels: what else is fine-tuned.

    By inner AUROC of linear probes at all labels on the blocked split, in the mean over both sets:
    scores of held-out images have no part in it, and of few labels too few are left to choose on.
    """
    inner: dict[ArmName, float] = {}
    for arm in PRETEXTS:
        files = [file_of(bench, PROBES, (name, "blocked", "plain", arm)) for name in SETS]
        founds = [one for file in files for one in founds_of(read_record(file), PROBE, 1.0)]
        inner[arm] = float(np.mean([one.inner for one in founds]))
    return max(inner, key=lambda arm: inner[arm])


def _rivals_of(view: View) -> Mapping[str, Callable[..., Fitted]]:
    # The size of a file is the same in every view.
    return {name: fit for name, fit in RIVALS.items() if view == "plain" or "size" not in name}


def _rival_settings() -> dict[str, Any]:
    return {**LABELLED, **_PROBED, "features": _RIVAL_FEATURES}


def _probe_settings(bench: Bench, arm: ArmName) -> dict[str, Any]:
    return {**bench.settings(arm), **_PROBED, "features": POOLED}


def _with_targets_settings(bench: Bench) -> dict[str, Any]:
    return {**bench.settings("perlin", "luna16-and-targets"), **_PROBED, "features": POOLED}


def _frozen_fits(features: Features) -> dict[str, Fit]:
    """Ways to use labels that leave the encoder as it is, by protocol."""
    return {PROBE: probe(features), KERNEL: kernel_probe(features)}


def _fold_encoders(bench: Bench) -> dict[str, str]:
    return {
        f"encoder of fold {fold}": bench.encoder("perlin", "luna16-and-targets", fold)
        for fold in range(FOLDS)
    }


class _Row(NamedTuple):
    """What is recorded of one arm: its fits by protocol, and where they came from."""

    arm: str
    fits: Mapping[str, Fit]
    sources: Mapping[str, str]
    settings: Mapping[str, Any]
    pretraining: float | None = None


def _keep(bench: Bench, place: tuple[TargetSet, SplitName, View], row: _Row) -> None:
    target, split, view = place
    began = time.monotonic()
    cells: dict[Cell, Found] = {}
    with threadpool_limits(1):
        for protocol, fit in row.fits.items():
            cells |= found_by(fit, target, split, cells_of(protocol, FRACTIONS), track)
    more = {"machine": machine(), "pretraining minutes": row.pretraining}
    facts = Facts.now(
        (time.monotonic() - began) / 60,
        bench.device,
        set_name=target.name,
        split=split,
        view=view,
        arm=row.arm,
        sources={**row.sources, "frames": target.loaded.fingerprint},
        settings={**row.settings, **more},
    )
    keep_record(bench.records, PROBES, target, split, cells, facts)
    log.info("%s, %s, %s, %s: recorded", target.name, split, view, row.arm)
