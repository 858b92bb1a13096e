"""A run with a model that has learnt nothing, its labelled phantoms, and what is evaluated."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.drawn_models import drawn_card
from covidssl.commands import evaluate
from covidssl.datasets import read_dataset
from covidssl.diagnosis import ProbeData, pooled_features, start_from_probe
from covidssl.experiments import EvaluateConfig
from covidssl.files import write_csv
from covidssl.frames import Frame
from covidssl.hounsfield import Pixels
from covidssl.io import write_volume
from covidssl.labelled_frames import load_labelled_frames
from covidssl.model import Aggregation, save_model
from covidssl.networks.classifier import CovidClassifier
from covidssl.networks.encoder import build_encoder
from covidssl.networks.plan import EncoderPlan
from covidssl.phantom import phantom_chest
from covidssl.randomness import initial_weights
from covidssl.splits import (
    Learnt,
    SplitNotes,
    SplitPlan,
    learnt_from,
    split_dataset,
    splits_fingerprint,
    write_split_files,
)
from covidssl.weights import Origin

SHAPE, SPACING = (4, 72, 72), (28.0, 4.8, 4.8)
PLACES = ("train", "train", "validation", "validation", "test", "test", "test")
COLUMNS = ("path", "label", "patient", "split")
FRAME = Frame(size=32, pixels=Pixels.HU)


def rows_of(places: Sequence[str] = PLACES) -> list[dict[str, str]]:
    """A healthy and an ill patient for each place."""
    return [
        {
            "path": f"p{k}-{label}.nii.gz",
            "label": label,
            "patient": f"person-{k}-{label}",
            "split": split,
        }
        for k, split in enumerate(places)
        for label in ("normal", "COVID")
    ]


def write_scans(folder: Path, rows: Sequence[dict[str, str]], first_seed: int = 0) -> Path:
    for seed, row in enumerate(rows, start=first_seed):
        scan = phantom_chest(seed, row["label"] == "COVID", SHAPE, SPACING).ct
        write_volume(scan, folder / row["path"])
    write_csv(folder / "labels.csv", tuple(rows[0]), rows)
    return folder / "labels.csv"


Teach = Callable[[CovidClassifier], object]


def taught_nothing(_network: CovidClassifier) -> None:
    """A head that gives the same logit to all scans."""


def save_untrained(
    folder: Path,
    seed: int,
    learnt: Learnt | None = None,
    splits: str = "",
    unchecked: str = "",
    teach: Teach = taught_nothing,
) -> None:
    """A model folder: its scores mean nothing, and nothing here asks what they are."""
    plan = EncoderPlan(channels=(8, 8, 16))
    with initial_weights(seed):
        classifier = CovidClassifier(build_encoder(plan))
    teach(classifier)
    card = drawn_card(
        plan,
        FRAME,
        burden_threshold=0.1,
        trained_on=Origin(data_fingerprint="none", pictures=0, steps=0, seed=seed),
        unchecked=unchecked,
        splits=splits,
    )
    save_model(folder / "model", card, classifier.state_dict(), None, learnt)


class Bench:
    """A run, its labelled data, and a place for what is evaluated."""

    def __init__(
        self, root: Path, rows: Sequence[dict[str, str]] | None = None, taught: bool = False
    ) -> None:
        self.root, self.run = root, root / "run"
        self.labels = write_scans(root / "data", rows or rows_of())
        dataset = read_dataset(self.labels, "COVID")
        assigned = split_dataset(dataset, SplitPlan(), 0)
        frames = load_labelled_frames(dataset.scans, FRAME, Aggregation().most_slices)
        self.learnt = learnt_from(assigned, frames.prints)
        self.splits = splits_fingerprint(assigned)

        def teach(network: CovidClassifier) -> None:
            which = frames.of(one.scan.name for one in assigned if one.split == "train")
            features = pooled_features(network, frames.frames[which], torch.device("cpu"))
            seen = ProbeData(features, frames.target[which])
            start_from_probe(network, seen, seen)

        how = teach if taught else taught_nothing
        save_untrained(self.run, 1, self.learnt, self.splits, teach=how)
        write_split_files(self.run, assigned, dataset, SplitNotes(kind="given", reason="given"))

    def score(
        self,
        split: str = "test",
        labels: Path | None = None,
        asked: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """`metrics.json` of an evaluation; no views of the model unless they are asked for."""
        plain = {"split": split, "rounds": 100, "views": False}
        config = EvaluateConfig(**plain | dict(asked or {}))
        out = self.root / "out"
        evaluate.main(config, self.run, labels or self.labels, out, **more)
        found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
        return found

    def damage(self, split: str, count: int = 100) -> None:
        rows = [row for row in rows_of() if row["split"] == split]
        for row in rows[:count]:
            (self.labels.parent / row["path"]).write_bytes(b"no scan")

    def record(self) -> bytes:
        return (self.root / "out" / "record.json").read_bytes()
