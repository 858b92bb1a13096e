"""What the page says of every scan of a prediction, and what it does with files that are broken."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from covidssl.answers import Answer, Outcome, Reason
from covidssl.files import write_bytes, write_csv, write_json
from covidssl.legible import legible
from covidssl.report import predicted as predicted_module
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
    assert "in 8 members (test-time augmentation)" in page.text
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


BROKEN: list[tuple[Callable[[Path], None], str]] = [
    (_cut, "cannot be read"),
    (_nested, "cannot be read"),
    (_huge, "is larger than 1000 kB"),
    (_linked, "is a link or no plain file"),
    (_surplus, "surplus: Extra inputs"),
    (_improbable, "probability: Input should be less than or equal to 1"),
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


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_no_picture, ".webp is missing"),
        (_markup, ".webp is no WEBP picture"),
        (_other_size, "the strip says (2000,"),
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
    assert "shown for the first 10 scans of this table" in page.text


def test_outcomes_of_made_up_runs_are_all_four() -> None:
    assert {outcome_of(number) for number in range(10)} == set(Outcome)
    assert made_up("a", Outcome.FAILED, 0.5).probability is None
