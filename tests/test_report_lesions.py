"""The page of a run of a restoration network alone, without a classifier."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from covidssl.answers import Answer, Outcome
from covidssl.files import write_json
from covidssl.maps import ScanMaps
from covidssl.prediction.steps import Answered
from covidssl.report.predicted import NO_PROBABILITY
from covidssl.strips import StripSlice, write_strip
from tests.predicted_runs import answered_phantom, made_up, stem_of
from tests.test_report import Page, page_of, predict_run, record

LESIONS = {"model": {"format": "covidssl-lesions-1"}}
OF_PROBABILITIES = (
    "A probability is the model",
    "evidence map shows",
    "what all of them get wrong",
)


def lesions_only(evidence: bool = False, lesion: np.ndarray | None = None) -> Answered:
    """A phantom with a lesion map alone, as a restoration network leaves it."""
    answered = answered_phantom(1, (40, 72, 72))
    maps = answered.maps
    assert maps is not None
    assert maps.lesion is not None
    shown = np.zeros_like(maps.lesion) if lesion is None else lesion
    changed = replace(maps, evidence=maps.evidence if evidence else None, lesion=shown)
    blank = {
        "slices": (), "probability": None, "label": "", "operating_point": None,
        "uncertainty": None, "distance": None, "distance_limit": None,
        "no_probability": "no classifier",
    }  # fmt: skip
    return replace(answered, answer=answered.answer.model_copy(update=blank), maps=changed)


def maps_of(answered: Answered) -> ScanMaps:
    assert answered.maps is not None
    return answered.maps


def growing() -> np.ndarray:
    """A lesion map with the most of it in plane 6, then in 7, 20 and 12, and none elsewhere."""
    maps = maps_of(answered_phantom(1, (40, 72, 72)))
    assert maps.lesion is not None
    lesion = np.zeros_like(maps.lesion)
    for plane, rows in ((6, 30), (7, 28), (20, 20), (12, 10)):
        lesion[plane, :rows] = 0.5
    return lesion


def unanswered(folder: Path) -> Path:
    """A run in which a scan abstained, another could not be read, and none was answered."""
    for name, outcome in (("a", Outcome.ABSTAINED), ("b", Outcome.FAILED)):
        path = folder / "scans" / f"{stem_of(name)}.json"
        answer = made_up(name, outcome, 0.5).model_copy(update={"model": "4be1" * 16})
        write_json(path, answer.model_dump(mode="json"))
    return record(folder, "predict", device="cpu", git=None)


def says_that_there_is_no_classifier(page: Page) -> bool:
    layers = re.findall(r'<input type="radio" name="[^"]*-map" value="([a-z]+)"', page.source)
    told = (NO_PROBABILITY in page.text, "restoration network (SHA-256)" in page.text,
            "classifier (SHA-256)" not in page.text, layers == ["lesion", "off"],
            not any(one in page.text for one in OF_PROBABILITIES))  # fmt: skip
    assert len(set(told)) == 1, told
    return told[0]


def test_a_run_without_any_answer_is_told_by_the_model_that_was_asked(tmp_path: Path) -> None:
    run = unanswered(tmp_path / "run")
    write_json(run / "run.json", LESIONS)
    assert says_that_there_is_no_classifier(page_of(tmp_path, run))


def test_the_same_run_of_a_classifier_is_told_as_one(tmp_path: Path) -> None:
    run = unanswered(tmp_path / "run")
    write_json(run / "run.json", {"model": {"format": "covidssl-model-1"}})
    page = page_of(tmp_path, run)
    assert NO_PROBABILITY not in page.text
    assert "classifier (SHA-256)" in page.text
    assert all(one in page.text for one in OF_PROBABILITIES)


def test_a_burden_stands_beside_what_it_is_not(tmp_path: Path) -> None:
    run = unanswered(tmp_path / "run")
    write_json(run / "run.json", LESIONS)
    text = page_of(tmp_path, run).text
    for said in ("no calibrated measure", "a healthy scan is not at 0", "does not rule disease out",
                 "nothing outside the lung mask is seen", "of this one model"):  # fmt: skip
        assert said in text


def test_limits_of_both_kinds_stand_on_a_page_of_both_and_each_once(tmp_path: Path) -> None:
    alone = unanswered(tmp_path / "alone")
    write_json(alone / "run.json", LESIONS)
    text = page_of(tmp_path, alone, predict_run(tmp_path / "classified", ["x"])).text
    assert all(text.count(one) == 1 for one in OF_PROBABILITIES)
    assert text.count("The lesion map is label-free") == 1
    assert text.count("Values of two models cannot be compared") == 1


def test_slices_with_the_most_lesion_are_marked_where_nothing_decided(tmp_path: Path) -> None:
    answered = lesions_only(lesion=growing())
    files = write_strip(tmp_path, "a", answered)
    slices = [
        StripSlice.model_validate(one)
        for one in json.loads((tmp_path / files["strip"]).read_text())["slices"]
    ]
    at = maps_of(answered).slices
    # 7 is a neighbour of 6.
    assert [one.slice for one in slices if one.deciding] == [int(at[k]) for k in (6, 12, 20)]
    shares = {one.slice: one.lesion for one in slices}
    assert shares[int(at[6])] == pytest.approx(30 / 64)
    assert all(one.adds is None for one in slices)


def test_a_scan_without_lesion_has_no_slice_with_the_most_of_it(tmp_path: Path) -> None:
    files = write_strip(tmp_path, "a", lesions_only())
    slices = json.loads((tmp_path / files["strip"]).read_text())["slices"]
    assert {(one["lesion"], one["deciding"]) for one in slices} == {(0.0, False)}


def test_the_page_begins_at_the_slice_with_the_most_lesion(tmp_path: Path) -> None:
    run, answered = tmp_path / "run", lesions_only(lesion=growing())
    stem = stem_of("a")
    write_strip(run, stem, answered)
    answer: Answer = answered.answer.model_copy(update={"scan": "a"})
    write_json(run / "scans" / f"{stem}.json", answer.model_dump(mode="json"))
    write_json(run / "run.json", LESIONS)
    page = page_of(tmp_path, record(run, "predict", device="cpu", git=None))
    slices = json.loads((run / "strips" / f"{stem}.json").read_text())["slices"]
    most = int(maps_of(answered).slices[6])
    first = [one["slice"] for one in slices].index(most)
    figures = [a for tag, a in page.tags if tag == "figure" and "data-first" in a]
    assert [a["data-first"] for a in figures] == [str(first)]
    assert "those in bold have the most lesion of the slices looked at" in page.text
    assert page.source.count("among those with the most lesion") == 3
    assert "that decided" not in page.source
