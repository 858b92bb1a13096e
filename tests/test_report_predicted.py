"""What the page says of every scan of a prediction, and what it does with files that are broken."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from covidssl.answers import Answer, Outcome, Reason
from covidssl.files import write_bytes, write_csv, write_json, write_text
from covidssl.legible import legible
from covidssl.report import predicted as predicted_module
from covidssl.report import reading as reading_module
from tests.predicted_runs import made_up, outcome_of, stem_of
from tests.test_report import Page, page_of, predict_run

NAMES = [f"ward/scan {i:02}" for i in range(30)]


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    root = tmp_path_factory.mktemp("predicted")
    return page_of(root, predict_run(root / "run"))


def one_scan(folder: Path, name: str = "a") -> Path:
    """A run of one answered scan; gives the path of its answer."""
    predict_run(folder, [name])
    return folder / "scans" / f"{stem_of(name)}.json"


def test_all_four_outcomes_are_counted(page: Page) -> None:
    for count, outcome in ((21, "ok"), (3, "warned"), (3, "abstained"), (3, "failed")):
        assert f"{count} {outcome}" in page.text


def test_every_scan_has_a_row_and_a_card(page: Page) -> None:
    ids = {a["id"] for tag, a in page.tags if tag == "article"}
    rows = [a for tag, a in page.tags if tag == "tr" and "data-outcome" in a]
    links = {(a["href"] or "")[1:] for tag, a in page.tags if tag == "a"}
    assert len(rows) == len(ids) == len(NAMES)
    assert ids <= links


def test_rows_are_in_order_of_probability_and_those_without_come_last(page: Page) -> None:
    table = page.source[page.source.index("<tbody>") : page.source.index("</tbody>")]
    said = [float(one) for one in re.findall(r'data-value="([\d.]+)"><span class="value">', table)]
    assert len(said) == 24
    assert said == sorted(said, reverse=True)
    unanswered = re.findall(r'<tr data-outcome="(\w+)"', table)[24:]
    assert set(unanswered) == {"abstained", "failed"}


def test_reason_stands_in_the_table_and_on_the_card(page: Page) -> None:
    assert page.text.count("a thin slab: 12 slices over 60 mm") == 2 * 3
    assert page.text.count("the file is cut short") == 2 * 3


def test_card_says_how_far_the_answer_moves_and_what_is_left_and_right(page: Page) -> None:
    assert "lowest and highest of 8 members (test-time augmentation)" in page.text
    assert re.search(
        r"both 2\d\.\d % \d+ of 4500 ml right 3\d\.\d % \d+ of 2400 ml left", page.text
    )


def test_scan_without_answer_has_no_probability(page: Page) -> None:
    cards = re.findall(
        r'<article class="scan (?:failed|abstained)".*?</article>', page.source, re.S
    )
    assert len(cards) == 6
    assert not any("Probability" in card for card in cards)


def test_every_strip_is_there_for_those_without_a_script(page: Page) -> None:
    images = [a for tag, a in page.tags if tag == "img"]
    # Grey slices and two maps of all but the failed.
    assert len(images) == 3 * 27
    assert page.count("noscript") == 27 + 1


def test_page_says_what_it_cannot_say(page: Page) -> None:
    assert "“ok” means that nothing odd was noticed, not that the answer is right" in page.text


def test_scan_called_by_a_number_keeps_its_name(tmp_path: Path) -> None:
    text = page_of(tmp_path, predict_run(tmp_path / "run", ["007", "1e5"])).text
    assert "1e5 ok" in text
    assert "007 ok" in text


def test_long_name_is_shown_by_its_ends_and_stands_whole_on_its_card(tmp_path: Path) -> None:
    first, last = "1.3.6.1.4.1.14519.5.2.1.6279", "1.3.6.1.4.1.14519.5.2.1.6280"
    page = page_of(tmp_path, predict_run(tmp_path / "run", [f"clinic/{first}/{last}"]))
    # In the table, on the card, and in the card's link back to the table.
    assert page.text.count("clinic/1.3.6.1.4.…2.1.6279/1.3.6.1.4.…2.1.6280") == 3
    assert page.text.count(f"clinic/{first}/{last}") == 1


HOSTILE = (
    '"><script>alert(1)</script>',
    "</noscript><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</title></style></script>",
    "line\u2028separator\u202eright to left",
    "{{ 7 * 7 }} {% raw %}",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_from_outside_cannot_become_markup(text: str, tmp_path: Path) -> None:
    clean = page_of(tmp_path, one_scan(tmp_path / "clean").parents[1])
    path = one_scan(tmp_path / "run", text)
    answer = Answer.model_validate_json(path.read_text())
    reason = Reason(code=text, text=text)
    update = {"reasons": (reason,), "label": text, "patient": text, "files": {text: text}}
    write_json(path, answer.model_copy(update=update).model_dump(mode="json"))
    page = page_of(tmp_path, path.parents[1])
    tags = ("script", "img", "title", "style", "noscript")
    assert [page.count(tag) for tag in tags] == [clean.count(tag) for tag in tags]
    assert not any(key.startswith("on") for _, attributes in page.tags for key in attributes)
    assert legible(text) in page.text


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _nested(path: Path) -> None:
    path.write_text("[" * 200_000)


def _huge(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" " * 2_000_000)


def _linked(path: Path) -> None:
    away = path.rename(path.parents[2] / "elsewhere.json")
    path.symlink_to(away)


def _surplus(path: Path) -> None:
    write_json(path, json.loads(path.read_text()) | {"surplus": 1})


def _improbable(path: Path) -> None:
    write_json(path, json.loads(path.read_text()) | {"probability": 1.5})


def _piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _infinitely_far(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"distance": math.inf}))


def _upside_down(path: Path) -> None:
    content = json.loads(path.read_text())
    write_json(path, content | {"uncertainty": content["uncertainty"] | {"low": 0.9, "high": 0.1}})


BROKEN: list[tuple[Callable[[Path], None], str]] = [
    (_cut, "cannot be read"),
    (_nested, "cannot be read"),
    (_huge, "is larger than 1000 kB"),
    (_linked, "is a link or no plain file"),
    (_surplus, "surplus: Extra inputs"),
    (_improbable, "probability: Input should be less than or equal to 1"),
    (_piped, "is a link or no plain file"),
    (_infinitely_far, "distance: Input should be a finite number"),
    (_upside_down, "the lowest, 0.9, is above the highest, 0.1"),
    (Path.unlink, "predictions.csv names 'b', of which there is no answer"),
]


@pytest.mark.parametrize(("damage", "said"), BROKEN)
def test_answer_that_is_broken_is_named_and_the_others_shown(
    damage: Callable[[Path], None], said: str, tmp_path: Path
) -> None:
    predict_run(tmp_path / "run", ["a", "b", "c"])
    damage(tmp_path / "run" / "scans" / f"{stem_of('b')}.json")
    page = page_of(tmp_path, tmp_path / "run")
    assert f"Incomplete: {'' if damage is Path.unlink else 'scans/' + stem_of('b')}" in page.text
    assert said in page.text
    assert page.count("article") == 2
    assert "incomplete" in page.text


def _no_picture(folder: Path, stem: str) -> None:
    (folder / "strips" / f"{stem}.webp").unlink()


def _markup(folder: Path, stem: str) -> None:
    write_bytes(folder / "strips" / f"{stem}.webp", b"<svg onload=alert(1)>")


def _other_size(folder: Path, stem: str) -> None:
    path = folder / "strips" / f"{stem}.json"
    write_json(path, json.loads(path.read_text()) | {"tile": [500, 500]})


def _too_many(folder: Path, stem: str) -> None:
    path = folder / "strips" / f"{stem}.json"
    write_json(path, json.loads(path.read_text()) | {"columns": 10**9})


def _too_heavy(folder: Path, stem: str) -> None:
    path = folder / "strips" / f"{stem}-lesion.png"
    path.write_bytes(path.read_bytes() + bytes(100_000))


def _secret(folder: Path, stem: str) -> None:
    path = folder / "strips" / f"{stem}-evidence.png"
    path.unlink()
    write_bytes(folder.parent / "secret.png", b"\x89PNG")
    path.symlink_to(folder.parent / "secret.png")


def _cut_map(folder: Path, stem: str) -> None:
    path = folder / "strips" / f"{stem}-lesion.png"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])


def _cut_slices(folder: Path, stem: str) -> None:
    path = folder / "strips" / f"{stem}.webp"
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _one_pixel(folder: Path, stem: str) -> None:
    Image.new("L", (1, 1)).save(folder / "strips" / f"{stem}-lesion.png")


def _few_slices(folder: Path, stem: str) -> None:
    path = folder / "strips" / f"{stem}.json"
    write_json(path, json.loads(path.read_text()) | {"of": 5})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_cut_map, "-lesion.png is no whole PNG picture"),
        (_cut_slices, ".webp is no whole WEBP picture"),
        (_one_pixel, "-lesion.png has (1, 1) pixels, the strip says"),
        (_few_slices, "is not one of 5"),
        (_no_picture, ".webp is missing"),
        (_markup, ".webp is no whole WEBP picture"),
        (_other_size, "pixels, the strip says (1000,"),
        (_too_many, "columns: Input should be less than or equal to 24"),
        (_too_heavy, "-lesion.png is larger than 80 kB"),
        (_secret, "-evidence.png is a link or no plain file"),
    ],
)
def test_strip_that_is_broken_is_named_and_its_answer_shown(
    damage: Callable[[Path, str], None], said: str, tmp_path: Path
) -> None:
    predict_run(tmp_path / "run", ["a", "b"])
    damage(tmp_path / "run", stem_of("a"))
    page = page_of(tmp_path, tmp_path / "run")
    assert said in page.text
    assert page.count("article") == 2
    assert page.count("img") == 3
    assert "onload" not in page.source


def _edit(**entries: object) -> Callable[[Path, Path], None]:
    return lambda path, _: write_json(path, json.loads(path.read_text()) | entries)


def _other_table(old: str, new: str) -> Callable[[Path, Path], None]:
    return lambda _, table: write_text(table, re.sub(old, new, table.read_text()))


def _stray(path: Path, _: Path) -> None:
    write_json(path.with_name("aaaa.json"), json.loads(path.read_text()) | {"scan": "stray"})


def _unnamed(path: Path, _: Path) -> None:
    stray = made_up("stray", Outcome.OK, 0.5)
    write_json(path.with_name(f"{stem_of('stray')}.json"), stray.model_dump(mode="json"))


def _copied(path: Path, _: Path) -> None:
    write_bytes(path.with_name("aaaa.json"), path.read_bytes())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_edit(probability=0.99), f"scans/{stem_of('b')}.json says probability 0.99, predictions"),
        (_edit(label="cold"), "says label cold, predictions.csv "),
        (_edit(outcome="warned"), "says outcome warned, predictions.csv ok"),
        (_edit(probability=None), "is ok and has no probability"),
        (_edit(outcome="failed"), "is failed and has a probability"),
        (_stray, f"aaaa.json tells of 'stray', whose answer is scans/{stem_of('stray')}.json"),
        (_copied, f"aaaa.json tells of 'b', whose answer is scans/{stem_of('b')}.json"),
        (_unnamed, "tells of 'stray', which predictions.csv does not name"),
        (_other_table("(?m)^(b,.*\n)", r"\1\1"), "predictions.csv names 'b' 2 times"),
        (_other_table("label", "called"), "predictions.csv has no column 'label'"),
        (_other_table("(?m)^b,.*\n", ""), "tells of 'b', which predictions.csv does not name"),
    ],
)
def test_answers_and_table_that_say_different_things_are_named(
    change: Callable[[Path, Path], None], said: str, tmp_path: Path
) -> None:
    predict_run(tmp_path / "run", ["a", "b", "c"])
    table = tmp_path / "run" / "predictions.csv"
    change(table.with_name("scans") / f"{stem_of('b')}.json", table)
    page = page_of(tmp_path, tmp_path / "run")
    assert "Incomplete: " in page.text
    assert said in page.text
    assert page.count("article") == (4 if change is _unnamed else 3)


def test_whole_run_has_nothing_that_disagrees(page: Page) -> None:
    assert "Incomplete" not in page.text


@pytest.mark.parametrize("name", ["predictions.csv", "run.json", "passed_over.csv"])
def test_pipe_in_place_of_a_file_is_named_and_not_waited_for(name: str, tmp_path: Path) -> None:
    one_scan(tmp_path / "run")
    path = tmp_path / "run" / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    page = page_of(tmp_path, tmp_path / "run")
    assert f"{name} is a link or no plain file, and is not read" in page.text


@pytest.mark.parametrize("name", ["predictions.csv", "run.json", "scans", "strips"])
def test_link_in_place_of_a_file_or_a_folder_is_named_and_not_followed(
    name: str, tmp_path: Path
) -> None:
    one_scan(tmp_path / "run")
    (tmp_path / "run" / name).rename(tmp_path / name)
    (tmp_path / "run" / name).symlink_to(tmp_path / name)
    page = page_of(tmp_path, tmp_path / "run")
    assert re.search(f"{name} is a link or no (plain file|folder)", page.text)
    assert page.count("img") == (0 if name in ("scans", "strips") else 3)


def test_table_that_is_too_large_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one_scan(tmp_path / "run")
    monkeypatch.setattr(reading_module, "_MOST_CSV", 50)
    text = page_of(tmp_path, tmp_path / "run").text
    assert "predictions.csv is larger than 0 kB, and is not read" in text


def test_range_of_members_is_not_called_an_interval(page: Page) -> None:
    assert "95&nbsp;%" not in page.source
    assert "Probability (lowest – highest)" in page.text
    assert "from the lowest to the highest of the model’s members" in page.text


def test_both_parts_of_the_lesion_map_are_named(page: Page) -> None:
    for text in (
        "what the restoration network takes off, and density above what lung has",
        "what the restoration network takes off and density above what lung has",
    ):
        assert text in page.text


def test_slice_that_decided_most_is_shown_first(tmp_path: Path) -> None:
    path = one_scan(tmp_path / "run")
    strip = json.loads((path.parents[1] / "strips" / path.name).read_text())
    decided = [k for k, one in enumerate(strip["slices"]) if one["deciding"]]
    answer = Answer.model_validate_json(path.read_text())
    favourite = strip["slices"][decided[1]]["slice"]
    against = answer.probability is not None and answer.probability < 0.47
    said = tuple(
        one.model_copy(
            update={"probability": abs(against - 0.9) if one.slice == favourite else 0.5}
        )
        for one in answer.slices
    )
    write_json(path, answer.model_copy(update={"slices": said}).model_dump(mode="json"))
    page = page_of(tmp_path, path.parents[1])
    figures = [a for tag, a in page.tags if tag == "figure" and "data-first" in a]
    assert [a["data-first"] for a in figures] == [str(decided[1])]


def test_run_without_answers_says_so(tmp_path: Path) -> None:
    path = one_scan(tmp_path / "run")
    path.unlink()
    path.parent.rmdir()
    text = page_of(tmp_path, tmp_path / "run").text
    assert "Incomplete: scans is missing: no scan has an answer that can be shown" in text


def test_faults_beyond_ten_are_counted(tmp_path: Path) -> None:
    predict_run(tmp_path / "run", NAMES)
    for path in (tmp_path / "run" / "scans").iterdir():
        _cut(path)
    text = page_of(tmp_path, tmp_path / "run").text
    # Each of the thirty is broken, and each row of the table has no answer.
    assert "And 50 more" in text


def test_model_card_that_is_nested_without_end_does_not_stop_the_page(tmp_path: Path) -> None:
    one_scan(tmp_path / "run")
    text = '{"model": ' + '{"a": ' * 900 + "1" + "}" * 901
    (tmp_path / "run" / "run.json").write_text(text)
    page = page_of(tmp_path, tmp_path / "run")
    assert "lie within each other too deeply" in page.text
    assert page.count("article") == 1


def test_series_that_were_passed_over_are_listed(tmp_path: Path) -> None:
    one_scan(tmp_path / "run")
    rows: list[dict[str, object]] = [{"scan": "case#1", "reason": "its slices are 5 mm apart"}]
    write_csv(tmp_path / "run" / "passed_over.csv", ("scan", "reason"), rows)
    text = page_of(tmp_path, tmp_path / "run").text
    assert "1 DICOM series passed over" in text
    assert "its slices are 5 mm apart" in text


def test_beyond_the_limits_rows_and_pictures_are_left_to_the_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict_run(tmp_path / "run", NAMES)
    monkeypatch.setattr(predicted_module, "ROWS_SHOWN", 20)
    monkeypatch.setattr(predicted_module, "CARDS_SHOWN", 10)
    page = page_of(tmp_path, tmp_path / "run")
    assert page.count("article") == 10
    assert "10 more scans are in predictions.csv" in page.text
    assert "Cards are shown for the 10 scans with the highest probability" in page.text


def test_outcomes_of_made_up_runs_are_all_four() -> None:
    assert {outcome_of(number) for number in range(10)} == set(Outcome)
    assert made_up("a", Outcome.FAILED, 0.5).probability is None
