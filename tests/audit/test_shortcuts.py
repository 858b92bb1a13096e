"""A planted shortcut is found by the model that sees it alone, and no alarm without one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from covidssl.audit import facts, shortcuts, verdict
from covidssl.audit.folds import all_folds
from covidssl.audit.seen import Seen
from covidssl.audit.shortcuts import (
    MODELS,
    Result,
    fall,
    features_of,
    try_shortcuts,
)
from covidssl.audit.verdict import FALLS, Evidence, Finding, findings
from covidssl.experiments import AuditConfig
from covidssl.file_order import order_effect
from covidssl.randomness import numpy_generator
from covidssl.splits import groups_of_scans
from tests.audit.made_up import dataset_of, half, scans_of, seen_of

QUICK = AuditConfig(folds=2, gap=5, rounds=200, permutations=199)
Floats = NDArray[np.float64]


def only(monkeypatch: pytest.MonkeyPatch, *keys: str) -> None:
    """Try these models alone: each costs a second."""
    few = tuple(model for model in MODELS if model.key in keys)
    monkeypatch.setattr(shortcuts, "MODELS", few)
    monkeypatch.setattr(verdict, "MODELS", few)


def tried(seen: Seen, kind: str = "random") -> dict[str, Result]:
    folds = [one for one in all_folds(seen, QUICK) if one.kind == kind]
    groups = groups_of_scans(seen.scans, 5)
    return {one.model: one for one in try_shortcuts(seen, folds, groups, QUICK)}


def found_in(seen: Seen) -> dict[str, Finding]:
    dataset = dataset_of(seen.scans)
    folds = all_folds(seen, QUICK)
    order = order_effect(seen.views["rival"], seen.target, permutations=199)
    groups = groups_of_scans(seen.scans, QUICK.run_length if order.carries_patients else 1)
    results = try_shortcuts(seen, folds, groups, QUICK)
    counted = facts.gather(seen, dataset)
    evidence = Evidence(dataset, seen, counted, {"thumbnail": order}, folds, groups, results)
    return {one.code: one for one in findings(evidence, QUICK)}


def telling(width: int, target: NDArray[np.int64], by: float = 2.0) -> Floats:
    """Noise (N, width) whose first column is higher in the positive class."""
    found: Floats = numpy_generator(11).normal(size=(len(target), width))
    found[:, 0] += by * target
    return found


def patients(n: int, width: int, seed: int = 0) -> Floats:
    """Features (n, width) of patients of ten slices each, that tell the patient but no class."""
    generator = numpy_generator(seed, 2)
    centre = np.repeat(generator.normal(size=(n // 10, width)), 10, axis=0)
    found: Floats = centre + 0.2 * generator.normal(size=centre.shape)
    return found


def test_shortcut_in_the_border_is_found_by_the_border_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only(monkeypatch, "border", "percentiles", "inside")
    scans = scans_of(half(120))
    found = tried(seen_of(scans, border=telling(13, half(120), by=3)))
    assert found["border"].auroc.low > 0.75
    for other in ("percentiles", "inside"):
        assert found[other].auroc.low < 0.55


def test_alarm_names_where_the_shortcut_is(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "border", "percentiles", "ranked")
    found = found_in(seen_of(scans_of(half(120)), border=telling(13, half(120), by=3)))
    assert {code for code, one in found.items() if one.alarm} == {"scanner"}
    assert "border and corners 0." in found["scanner"].text
    assert "blocks of the file order" in found["scanner"].text


@pytest.mark.parametrize("seed", range(5))
def test_without_a_shortcut_there_is_no_alarm(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "border", "percentiles", "rival_nearest")
    found = found_in(seen_of(scans_of(half(120)), seed=seed))
    assert not [one for one in found.values() if one.alarm]
    assert {"scanner", "window", "memory"} <= found.keys()


def test_patients_in_file_order_are_memory_and_not_a_shortcut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only(monkeypatch, "rival_nearest", "percentiles")
    features = patients(480, 176)
    found = found_in(seen_of(scans_of(half(480)), rival=features, percentiles=features[:, :10]))
    assert {code for code, one in found.items() if one.alarm} == {"memory", "order_thumbnail"}
    assert "blocks of the file order" in found["memory"].text
    assert "Split by contiguous blocks" in found["order_thumbnail"].text


def test_known_patients_are_the_split_to_prove_oneself_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    only(monkeypatch, "rival_nearest")
    scans = scans_of(half(240), patients=[f"p{row // 10}" for row in range(240)])
    found = found_in(seen_of(scans, rival=patients(240, 176)))
    assert "split by patient" in found["memory"].text
    assert (found["memory"].title, found["memory"].alarm) == (FALLS, False)
    assert not found["order_thumbnail"].alarm
    assert "Patients are known for all scans" in found["order_thumbnail"].text


def test_fall_of_what_does_not_fall_is_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "rival_nearest")
    seen = seen_of(scans_of(half(100)), rival=telling(176, half(100)))
    (folds,) = [one for one in all_folds(seen, QUICK) if one.kind == "random"]
    (result,) = try_shortcuts(seen, [folds], groups_of_scans(seen.scans, 5), QUICK)
    assert fall(seen, result, result, groups_of_scans(seen.scans, 5), QUICK) == (0, 0, 0)


def test_what_is_alike_in_all_scans_is_no_model() -> None:
    seen = seen_of(scans_of(half(20)))
    assert {key for key in ("size", "mode", "format") if features_of(seen, key) is None} == {
        "size", "mode", "format",
    }  # fmt: skip
    assert features_of(seen, "histogram") is not None


def test_every_model_has_features_and_the_histogram_is_part_of_the_rival() -> None:
    seen = seen_of(scans_of(half(20)))
    for model in MODELS:
        if model.blames != "files":
            found = features_of(seen, model.key)
            assert found is not None
            assert len(found) == 20
    histogram = features_of(seen, "histogram")
    assert histogram is not None
    assert (histogram == seen.views["rival"][:, 144:]).all()


def test_cache_gives_the_same_and_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "border", "rival_nearest")
    seen = seen_of(scans_of(half(80)))
    folds = all_folds(seen, QUICK)
    groups = groups_of_scans(seen.scans, 5)
    first = try_shortcuts(seen, folds, groups, QUICK, tmp_path)
    count = []

    def counted(items: object, _what: str, _count: int) -> object:
        count.append(1)
        return items

    again = try_shortcuts(seen, folds, groups, QUICK, tmp_path, counted)  # type: ignore[arg-type]
    assert not count
    by_name = {(one.model, one.split): one[:-1] for one in first}
    assert {(one.model, one.split): one[:-1] for one in again} == by_name


def test_cache_of_other_pictures_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, "rival_nearest")
    for seed in (1, 2):
        seen = seen_of(scans_of(half(60)), seed=seed)
        try_shortcuts(seen, all_folds(seen, QUICK), groups_of_scans(seen.scans, 5), QUICK, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_colour_mode_that_tells_the_class_is_an_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "mode")
    seen = seen_of(scans_of(half(80)))
    facts_of = tuple(
        one._replace(mode="RGBA" if positive else "L")
        for one, positive in zip(seen.facts, half(80), strict=True)
    )
    found = found_in(replace(seen, facts=facts_of))
    assert {code for code, one in found.items() if one.alarm} == {"kinds", "files"}
    assert "normal: 40 PNG L; COVID: 40 PNG RGBA" in found["kinds"].text


def test_runs_of_files_stand_for_patients_where_none_are_known() -> None:
    seen = seen_of(scans_of(half(400)))
    names = groups_of_scans(seen.scans, 20)
    assert names[:20] == ["negative-0000"] * 20
    assert names[20] != names[19]
    assert len(set(names)) == 20
    # Fewer than ten runs of a class would say little, so they are shorter.
    assert len(set(groups_of_scans(scans_of(half(60)), 20))) == 20
    known = scans_of(half(4), patients=["a", "a", "b", "a"])
    assert groups_of_scans(known, 20) == ["patient a", "patient a", "patient b", "patient a"]


@pytest.mark.parametrize(("coloured", "alarm"), [((0, 6), True), ((3, 4), False), ((0, 0), False)])
def test_colour_mode_is_an_alarm_where_chance_does_not_explain_it(
    coloured: tuple[int, int], alarm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch)
    seen = seen_of(scans_of(half(24)))
    told = tuple(
        one._replace(mode="RGB" if row % 12 < coloured[row // 12] else "RGBA")
        for row, one in enumerate(seen.facts)
    )
    assert found_in(replace(seen, facts=told))["kinds"].alarm == alarm
