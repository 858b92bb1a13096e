"""The facts that are known of the real sets are found, from their files alone."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from covidssl.audit.facts import gather
from covidssl.audit.folds import all_folds
from covidssl.audit.seen import FileFacts, Seen, see
from covidssl.audit.trials import Trials
from covidssl.datasets import Dataset, read_dataset
from covidssl.duplicates import picture_hash
from covidssl.experiments import AuditConfig
from covidssl.file_order import order_effect
from covidssl.io import read_scan
from covidssl.rivals import thumbnail_features

pytestmark = pytest.mark.realdata


def seen_without_lungs(dataset: Dataset) -> Seen:
    """What needs no lungs of every scan: reading alone is quick."""
    planes = [read_scan(scan.files).array[0] for scan in dataset.scans]
    rival = np.stack([thumbnail_features(plane / np.float32(255)) for plane in planes])
    return Seen(
        scans=dataset.scans,
        views={"rival": rival},
        hashes=np.stack([picture_hash(plane / 255.0) for plane in planes]),
        voxels=tuple(
            hashlib.sha256(str(plane.shape).encode() + plane.tobytes()).hexdigest()
            for plane in planes
        ),
        facts=tuple(FileFacts("PNG", "L", 1, *plane.shape) for plane in planes),
        without_lungs=(),
        dropped=(),
    )


@pytest.fixture(scope="module")
def dataset(real_data: Path) -> Dataset:
    return read_dataset(real_data / "sars-cov-2-ct", "COVID")


@pytest.fixture(scope="module")
def seen(dataset: Dataset) -> Seen:
    return seen_without_lungs(dataset)


def test_duplicates_of_sars_cov_2_ct_are_found(seen: Seen, dataset: Dataset) -> None:
    found = gather(seen, dataset)
    names = [[seen.scans[place].name for place in pair[:2]] for pair in found.equal]
    assert len(names) == 2
    assert all(name.startswith("COVID/") for pair in names for name in pair)
    labels = seen.target[[[pair.first, pair.second] for pair in (*found.equal, *found.near)]]
    assert len(labels) == 61
    assert (labels[:, 0] == labels[:, 1]).all()
    assert np.bincount(labels[:, 0]).tolist() == [16, 45]
    card = (Path(__file__).parents[2] / "data" / "sars_cov_2_ct" / "README.md").read_text()
    assert "45 pairs in COVID, two of them the exact ones, and 16 in non-COVID" in card


def test_file_order_of_sars_cov_2_ct_carries_patients(seen: Seen) -> None:
    effect = order_effect(seen.views["rival"], seen.target, permutations=199)
    assert effect.carries_patients
    assert effect.share_within == pytest.approx(0.72, abs=0.03)
    assert effect.chance == pytest.approx(0.005, abs=0.001)
    assert effect.gap == 30


def test_most_similar_picture_of_sars_cov_2_ct_is_memory(seen: Seen) -> None:
    accuracy = {}
    for folds in all_folds(seen, AuditConfig()):
        said = Trials(seen.target, 0).one(seen.views["rival"], True, folds)
        accuracy[folds.kind] = float(np.mean((said >= 0.5) == seen.target))
    assert accuracy["random"] == pytest.approx(0.95, abs=0.01)
    assert accuracy["grouped"] == pytest.approx(0.95, abs=0.01)
    assert accuracy["blocked"] == pytest.approx(0.65, abs=0.02)


def test_colour_mode_of_the_originals_differs_with_the_class(real_data: Path) -> None:
    dataset = read_dataset(real_data / "sars-cov-2-ct-originals", "COVID")
    found = gather(see(dataset, 8), dataset)
    assert found.kinds == {"COVID": {"PNG RGB": 6, "PNG RGBA": 6}, "non-COVID": {"PNG RGBA": 12}}
