"""The trivial models of the audit, on the very split that a classifier is scored on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from covidssl.audit.folds import Folds
from covidssl.audit.seen import VERSION, FileFacts, Seen, file_facts, views_of_scan
from covidssl.audit.shortcuts import MODELS, RIVAL, Model, features_of
from covidssl.audit.trials import Trials
from covidssl.audit.views import WIDTHS
from covidssl.datasets import LabelledScan
from covidssl.each_scan import Progress, no_progress
from covidssl.labelled_frames import LabelledFrames, Look
from covidssl.lungs import Lungs
from covidssl.volume import Volume

LOOKED_AT = 8
"""Slices of a scan that trivial models look at, at most: as many as in an audit."""

_FACTS = "facts"
_FACTS_BYTES = 160


class Scored(NamedTuple):
    """Some scans of a set: its frames, loaded with `LOOK`, and places in its `scans`."""

    frames: LabelledFrames
    places: NDArray[np.int64]


class Said(NamedTuple):
    """What one trivial model says of the scans of each set: (S,) probabilities a set."""

    model: Model
    probability: tuple[NDArray[np.float64], ...]


def _look(scan: LabelledScan, ct: Volume, lungs: Lungs) -> Mapping[str, NDArray[Any]]:
    facts = json.dumps(file_facts(scan, ct)).encode()[:_FACTS_BYTES]
    held = np.zeros(_FACTS_BYTES, np.uint8)
    held[: len(facts)] = np.frombuffer(facts, np.uint8)
    return {**views_of_scan(ct, lungs, LOOKED_AT), _FACTS: held}


LOOK = Look(f"views of an audit {VERSION} {LOOKED_AT}", _look)
"""What is kept of each scan so that trivial models can be tried without reading it again."""


def trivial_models(
    learnt: Scored, scored: Sequence[Scored], seed: int, progress: Progress = no_progress
) -> list[Said]:
    """Train every trivial model of the audit on the training scans, and ask it of the others.

    A model to which all scans look alike is left out. So is the trivial rival of
    `covidssl.rivals`: it is scored beside every model already.

    Args:
        learnt: what the classifier learnt from; both classes.
        scored: the sets that are scored.
        seed: of the trees.
        progress: shows how far it is.
    """
    seen = _seen([learnt, *scored])
    sizes = [len(one.places) for one in (learnt, *scored)]
    ends = np.cumsum(sizes)
    train, test = np.arange(ends[0]), np.arange(ends[0], ends[-1])
    fold = np.where(np.arange(ends[-1]) < ends[0], -1, 0)
    folds = Folds("file", "the split of the classifier", ((train, test),), fold)
    trials = Trials(seen.target, seed)
    tried = [
        (model, found)
        for model in MODELS
        if model.key != RIVAL and (found := features_of(seen, model.key)) is not None
    ]
    said = []
    for model, found in progress(tried, "trying trivial models", len(tried)):
        probability = trials.one(found, model.nearest, folds)
        parts = np.split(probability, ends[:-1])[1:]
        said.append(Said(model, tuple(parts)))
    return said


def _seen(sets: Sequence[Scored]) -> Seen:
    """The scans of several sets as one table, in their order."""

    def joined(name: str) -> NDArray[Any]:
        return np.concatenate([one.frames.looked_at[name][one.places] for one in sets])

    places = [(one.frames, place) for one in sets for place in one.places]
    return Seen(
        scans=tuple(frames.scans[place] for frames, place in places),
        views={name: joined(name) for name in WIDTHS},
        hashes=np.concatenate([one.frames.hashes[one.places] for one in sets]),
        voxels=tuple(frames.voxels[place] for frames, place in places),
        facts=tuple(FileFacts(*json.loads(bytes(row).rstrip(b"\0"))) for row in joined(_FACTS)),
        without_lungs=(),
        dropped=(),
    )
