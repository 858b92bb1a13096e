"""The splits that an audit proposes, and what it says of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from covidssl.audit import shortcuts
from covidssl.audit.proposals import proposals
from covidssl.audit.seen import Seen
from covidssl.audit.shortcuts import MODELS
from covidssl.audit.study import BY_ENCODER, BY_THUMBNAIL, Given, audit_dataset
from covidssl.experiments import AuditConfig
from covidssl.file_order import OrderEffect, order_effect
from covidssl.randomness import numpy_generator
from tests.audit.made_up import dataset_of, half, scans_of, seen_of

CONFIG = AuditConfig(folds=2, gap=2, rounds=100, permutations=199)


def duplicates(patients: list[str] | None = None) -> Seen:
    """A hundred scans whose order tells nothing; two of them are alike."""
    seen = seen_of(scans_of(half(100), patients=patients))
    hashes = seen.hashes.copy()
    hashes[7] = hashes[3]
    return replace(seen, hashes=hashes)


def in_order(n: int, slices: int, width: int = 24) -> np.ndarray:
    """Features (n, width) of patients of so many slices, one after the other."""
    generator = numpy_generator(5, 3)
    centre = np.repeat(generator.normal(size=(-(-n // slices), width)), slices, axis=0)[:n]
    return np.asarray(centre + 0.1 * generator.normal(size=centre.shape))


def order_of(seen: Seen) -> OrderEffect:
    return order_effect(seen.views["rival"], seen.target, permutations=199)


def test_split_by_near_duplicates_says_that_patients_are_unknown() -> None:
    seen = duplicates()
    (one,) = proposals(dataset_of(seen.scans), seen, order_of(seen), 0)
    assert one.kind == "grouped"
    assert one.as_json()["reason"].startswith("duplicates only; patients unknown")


def test_split_by_near_duplicates_and_known_patients_says_no_such_thing() -> None:
    seen = duplicates([f"p{row // 2}" for row in range(100)])
    found = proposals(dataset_of(seen.scans), seen, order_of(seen), 0)
    assert [one.kind for one in found] == ["patient", "grouped"]
    assert "unknown" not in found[1].notes.reason


@pytest.mark.parametrize("encoded", [False, True])
def test_order_that_only_an_encoder_sees_makes_the_blocks(
    encoded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = tuple(model for model in MODELS if model.key == "rival_nearest")  # the trees take long
    monkeypatch.setattr(shortcuts, "MODELS", few)
    seen = seen_of(scans_of(half(400)))
    features = (in_order(400, 10), np.arange(400))
    given = Given(encoded=features if encoded else None)
    found = audit_dataset(dataset_of(seen.scans), seen, CONFIG, given)
    assert not found.orders[BY_THUMBNAIL].carries_patients
    if not encoded:
        assert [one.kind for one in found.proposals] == ["grouped"]
        return
    assert [one.kind for one in found.proposals] == ["blocked"]
    plan = found.proposals[0].as_json()["plan"]
    assert plan["gap"] == found.orders[BY_ENCODER].gap > 0
