"""The words of a verdict: what is an alarm, what is noted, and the bar a network has to pass."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from covidssl.audit import facts
from covidssl.audit.folds import Folds, all_folds
from covidssl.audit.headline import headline
from covidssl.audit.seen import Seen
from covidssl.audit.shortcuts import Result
from covidssl.audit.verdict import Evidence, Finding, best_apart, findings
from covidssl.experiments import AuditConfig
from covidssl.metrics import Estimate
from tests.audit.made_up import dataset_of, half, scans_of, seen_of

QUICK = AuditConfig(folds=2, gap=2, rounds=100, permutations=99)


def evidence(seen: Seen, results: Sequence[Result] = ()) -> Evidence:
    dataset = dataset_of(seen.scans)
    counted = facts.gather(seen, dataset)
    groups = [scan.name for scan in seen.scans]
    return Evidence(dataset, seen, counted, {}, all_folds(seen, QUICK), groups, results)


def found_in(seen: Seen, results: Sequence[Result] = ()) -> dict[str, Finding]:
    return {one.code: one for one in findings(evidence(seen, results), QUICK)}


def result(model: str, split: str, n: int, accuracy: float, auroc: float) -> Result:
    said = np.tile([0.2, 0.8], n // 2)
    area = Estimate(auroc, max(auroc - 0.02, 0), min(auroc + 0.02, 1))
    right = Estimate(accuracy, accuracy, accuracy)
    spread = math.sqrt((n + 1) / (3 * n**2))
    return Result(model, split, n, (n // 2, n // 2), spread, 0, right, area, said)


def with_duplicates(first: str | None, second: str | None, other: int = 1) -> Seen:
    """Twenty scans; the first is as the one at `other`, and their patients are given."""
    patients = [str(row + 100) for row in range(20)]
    scans = list(scans_of(half(20), patients=patients))
    scans[0] = replace(scans[0], patient=first)
    scans[other] = replace(scans[other], patient=second)
    seen = seen_of(scans)
    hashes = seen.hashes.copy()
    hashes[other] = hashes[0]
    return replace(seen, hashes=hashes)


@pytest.mark.parametrize(
    ("first", "second", "other", "alarm"),
    [
        ("a", "a", 1, False),
        ("a", "b", 1, True),
        ("a", None, 1, True),
        (None, None, 1, True),
        ("a", "a", 15, True),
    ],
)
def test_near_duplicates_are_an_alarm_unless_one_patient_has_both_with_one_label(
    first: str | None, second: str | None, other: int, alarm: bool
) -> None:
    found = found_in(with_duplicates(first, second, other))["near"]
    assert found.alarm == alarm
    assert ("1 of them within one patient" in found.text) == (not alarm)
    assert found.text.startswith("1 pair of scans with nearly the same picture")
    if not alarm:
        assert (found.title, found.standing) == ("Near duplicates, within patients", "noted")


def torn(own: Sequence[str | None]) -> Seen:
    """Forty scans whose own splits tear every patient that is known."""
    words = ["train", "test"] * 20
    scans = scans_of(half(40), patients=None, splits=words)
    return seen_of([replace(s, patient=p) for s, p in zip(scans, own, strict=True)])


def test_own_splits_that_leak_are_not_what_a_model_proves_itself_on() -> None:
    split: Folds | None = best_apart(evidence(torn([None] * 40)))
    assert split is not None
    assert split.kind == "given"
    of = evidence(torn([f"p{row // 2}" if row < 30 else None for row in range(40)]))
    assert [leak.kind for leak in of.facts.leaks["given"]] == ["patient"]
    split = best_apart(of)
    assert split is not None
    assert split.kind == "blocked"


def test_shortcut_of_a_handful_of_scans_is_left_open() -> None:
    seen = seen_of(scans_of(half(12)))
    tried = [result("border", "blocked", 12, 1.0, 1.0)]
    found = found_in(seen, tried)["scanner"]
    assert (found.alarm, found.standing) == (False, "open")
    assert found.title == "What lies outside the lungs: too few scans to judge"
    assert "held by 6 independent groups" in found.text
    many = seen_of(scans_of(half(60)))
    assert found_in(many, [result("border", "blocked", 60, 1.0, 1.0)])["scanner"].alarm


def test_memory_of_a_handful_of_scans_is_left_open() -> None:
    seen = seen_of(scans_of(half(12)))
    tried = [
        result("rival_nearest", kind, 12, score, score)
        for kind, score in (("random", 1.0), ("blocked", 0.5))
    ]
    found = found_in(seen, tried)["memory"]
    assert (found.alarm, found.standing) == (False, "open")
    assert found.text.startswith("Too few scans to judge")


def test_headline_of_a_handful_of_scans_does_not_speak_of_chance() -> None:
    of = evidence(seen_of(scans_of(half(12))), [result("rival", "blocked", 12, 0.5, 0.5)])
    said = headline(of, findings(of, QUICK))
    assert "Too few scans to judge" in said
    assert "no trivial model" not in said


def test_bar_is_never_below_what_needs_no_picture() -> None:
    seen = seen_of(scans_of([0] * 30 + [1] * 10))
    low = evidence(seen, [result("rival", "blocked", 40, 0.167, 0.42)])
    said = headline(low, [])
    assert "accuracy 0.750 (the share of the larger class; the rival has 0.167)" in said
    assert "AUROC 0.500 (chance; the rival has 0.420)." in said
    high = evidence(seen, [result("rival", "blocked", 40, 0.838, 0.9)])
    assert "accuracy 0.838, AUROC 0.900 (0.880 to 0.920)." in headline(high, [])
