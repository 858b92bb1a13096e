"""The page in a browser: what moves, what is found, what it looks like, what it asks for.

Screenshots lie in work/screenshots afterwards, for a person to look at.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_core_python
import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.interaction import POINTER_TOUCH
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from covidssl.report import build_report
from tests.browser import Browser
from tests.predicted_runs import write_predictions
from tests.test_report import comparison_run, finetune_run, record

SCREENSHOTS = Path(__file__).resolve().parents[1] / "work" / "screenshots"
AXE = Path(axe_core_python.__file__).with_name("axe.min.js")
SCANS = 10
WITH_PICTURES = 9


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("browser")
    names = [f"ward/scan {i:02}.nii.gz" for i in range(SCANS)]
    write_predictions(root / "ward", names, (24, 160, 160))
    runs = [record(root / "ward", "predict"), finetune_run(root / "finetune")]
    build_report([*runs, comparison_run(root / "arms")], root / "report.html")
    return root / "report.html"


@pytest.fixture
def opened(browser: Browser, page: Path) -> Iterator[Browser]:
    """The page in light colours, in a window of a desk."""
    browser.resize(1280, 900)
    browser.open(page)
    jump(browser, 0)
    yield browser
    browser.assert_quiet()


def jump(browser: Browser, to: int | str) -> None:
    """Scroll at once to a place, or to the first element that a selector finds."""
    browser.run("document.documentElement.style.scrollBehavior = 'auto'")
    if isinstance(to, int):
        browser.run("scrollTo(0, arguments[0])", to)
    else:
        middle = "document.querySelector(arguments[0]).scrollIntoView({block: arguments[1]})"
        browser.run(middle, to, "center" if "strip" in to else "start")


def found(browser: Browser, selector: str) -> WebElement:
    return browser.until(
        lambda: next(iter(browser.driver.find_elements(By.CSS_SELECTOR, selector)), None),
        saying=f"{selector} never came",
    )


def first_strip(browser: Browser) -> WebElement:
    """The first strip on the page, once its pictures are drawn."""
    jump(browser, ".scan .strip")
    strip = found(browser, ".scan .strip:has(canvas)")
    drawn = "return [...arguments[0].querySelectorAll('img')].every(i => i.naturalWidth > 0)"
    browser.until(lambda: browser.run(drawn, strip), saying="the pictures never loaded")
    return strip


def said(strip: WebElement) -> str:
    return strip.find_element(By.TAG_NAME, "output").text


def canvas_of(browser: Browser, strip: WebElement) -> str:
    """The large slice as it is drawn now."""
    return str(browser.run("return arguments[0].querySelector('canvas').toDataURL()", strip))


def column(browser: Browser, place: int) -> list[str]:
    """What the cells of a column hold for sorting, of the rows that are seen."""
    script = """const seen = (row) => row.offsetParent !== null;
        return [...document.querySelectorAll('.verdicts tbody tr')].filter(seen)
            .map(row => row.cells[arguments[0]].dataset.value)"""
    return list(browser.run(script, place))


# The slider


def test_slider_moves_with_the_keyboard(opened: Browser) -> None:
    strip = first_strip(opened)
    slider = strip.find_element(By.CSS_SELECTOR, "input[type=range]")
    slider.send_keys(Keys.HOME)
    lowest, picture = said(strip), canvas_of(opened, strip)
    slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert said(strip) != lowest
    assert canvas_of(opened, strip) != picture
    assert slider.get_attribute("aria-valuetext") == said(strip)
    slider.send_keys(Keys.END)
    numbers = strip.find_elements(By.CSS_SELECTOR, ".shown")
    assert said(strip).startswith(f"slice {numbers[-1].text},")


def test_slice_moves_with_a_finger(opened: Browser) -> None:
    opened.resize(390, 844, touch=True)
    strip = first_strip(opened)
    canvas = strip.find_element(By.TAG_NAME, "canvas")
    opened.run("arguments[0].scrollIntoView({block: 'center'})", canvas)
    strip.find_element(By.CSS_SELECTOR, "input[type=range]").send_keys(Keys.HOME)
    before = said(strip)
    finger = PointerInput(POINTER_TOUCH, "finger")
    drag = ActionBuilder(opened.driver, mouse=finger)
    drag.pointer_action.move_to(canvas, -100, 0).pointer_down().move_to(canvas, 20, 0)
    drag.pointer_action.move_to(canvas, 110, 0).pointer_up()
    drag.perform()
    assert said(strip) != before


def test_slice_is_chosen_in_the_strip(opened: Browser) -> None:
    strip = first_strip(opened)
    sheet = strip.find_element(By.CLASS_NAME, "sheet")
    width, height = sheet.size["width"], sheet.size["height"]
    corner = ActionChains(opened.driver)
    corner.move_to_element_with_offset(sheet, -width // 2 + 8, -height // 2 + 8).click().perform()
    numbers = strip.find_elements(By.CSS_SELECTOR, ".shown")
    assert said(strip).startswith(f"slice {numbers[0].text},")


def test_slider_opens_at_a_slice_that_decided(opened: Browser) -> None:
    strip = first_strip(opened)
    assert "one that decided" in said(strip)


# The maps


def test_each_map_is_drawn_over_the_slices_and_taken_off(opened: Browser) -> None:
    strip = first_strip(opened)
    drawn = {}
    for value in ("lesion", "evidence", "off"):
        choice = found(opened, f".choice input[value={value}]")
        opened.run("arguments[0].click()", choice)
        seen = opened.run(
            "return [...arguments[0].querySelectorAll('img.map')]"
            ".filter(i => getComputedStyle(i).visibility === 'visible').map(i => i.className)",
            strip,
        )
        assert seen == ([] if value == "off" else [f"map {value}"])
        drawn[value] = canvas_of(opened, strip)
    assert len(set(drawn.values())) == 3


def test_map_is_chosen_with_the_keyboard(opened: Browser) -> None:
    found(opened, ".choice input[value=lesion]").send_keys(Keys.ARROW_RIGHT)
    chosen = found(opened, ".choice input:checked")
    assert chosen.get_attribute("value") == "evidence"


# The table


@pytest.mark.parametrize("place", range(9))
def test_table_is_sorted_by_every_column_both_ways(opened: Browser, place: int) -> None:
    head = opened.driver.find_elements(By.CSS_SELECTOR, ".verdicts thead th")[place]
    for direction in ("ascending", "descending"):
        head.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
        assert head.get_attribute("aria-sort") == direction
        values = [value for value in column(opened, place) if value]
        numbers = all(re.fullmatch(r"[\d.]+", value) for value in values)
        keys: list[Any] = [float(value) for value in values] if numbers else values
        assert keys == sorted(keys, reverse=direction == "descending")
        assert not any(column(opened, place)[len(values) :])
    others = opened.driver.find_elements(By.CSS_SELECTOR, ".verdicts th[aria-sort=none]")
    assert len(others) == 8


def test_names_are_sorted_alike_from_whatever_order(browser: Browser, tmp_path: Path) -> None:
    names = ["0x10", "1e3", "2", "9", "10", "a", "b2", "b10"]
    write_predictions(tmp_path / "run", names[::-1])
    build_report([record(tmp_path / "run", "predict")], tmp_path / "page.html")
    browser.open(tmp_path / "page.html")
    for before in (2, 4, 8):
        heads = browser.driver.find_elements(By.CSS_SELECTOR, ".verdicts thead button")
        heads[before].click()
        heads[0].click()
        assert column(browser, 0) == names
    browser.open("about:blank")


def test_cards_follow_the_order_of_the_table(opened: Browser) -> None:
    found(opened, ".verdicts thead th button").click()
    names = opened.run("return [...document.querySelectorAll('.scan h4')].map(h => h.textContent)")
    assert names == column(opened, 0)


def test_text_filters_table_and_cards(opened: Browser) -> None:
    found(opened, "input[type=search]").send_keys("slab SCAN")
    assert column(opened, 1) == ["warned"]
    assert found(opened, "[data-shown]").text == f"1 of {SCANS} shown"
    cards = opened.driver.find_elements(By.CSS_SELECTOR, ".scan")
    assert sum(card.is_displayed() for card in cards) == 1


def test_outcomes_are_hidden_and_shown_again(opened: Browser) -> None:
    box = found(opened, ".outcomes input[value=ok]")
    box.send_keys(Keys.SPACE)
    assert sorted(column(opened, 1)) == ["abstained", "failed", "warned"]
    assert found(opened, "[data-shown]").text == f"3 of {SCANS} shown"
    box.send_keys(Keys.SPACE)
    assert len(column(opened, 1)) == SCANS


def test_name_in_the_table_leads_to_its_card(opened: Browser) -> None:
    link = found(opened, ".verdicts tbody a")
    name = link.text
    link.send_keys(Keys.ENTER)
    target = found(opened, ".scan:target")
    assert target.find_element(By.TAG_NAME, "h4").text == name


# Charts


def test_point_of_a_chart_is_told_to_a_mouse(opened: Browser) -> None:
    plot = found(opened, ".plot")
    opened.run("arguments[0].scrollIntoView({block: 'center'})", plot)
    ActionChains(opened.driver).move_to_element(plot).perform()
    tip = plot.find_element(By.CLASS_NAME, "tip")
    assert re.match(r"training, running mean: step \d+, loss 0\.\d+", tip.text)
    ActionChains(opened.driver).move_to_element(found(opened, ".drawn h3")).perform()
    assert not tip.is_displayed()


def test_point_of_a_chart_is_told_to_a_finger_and_stays_when_it_is_lifted(opened: Browser) -> None:
    opened.resize(390, 844, touch=True)
    plot = found(opened, ".plot")
    opened.run("arguments[0].scrollIntoView({block: 'center'})", plot)
    assert opened.run("return getComputedStyle(arguments[0]).touchAction", plot) == "pan-y"
    tap = ActionBuilder(opened.driver, mouse=PointerInput(POINTER_TOUCH, "finger"))
    tap.pointer_action.move_to(plot).pointer_down().pointer_up()
    tap.perform()
    tip = plot.find_element(By.CLASS_NAME, "tip")
    assert re.match(r"training, running mean: step \d+, loss 0\.\d+", tip.text)
    elsewhere = ActionBuilder(opened.driver, mouse=PointerInput(POINTER_TOUCH, "finger"))
    elsewhere.pointer_action.move_to(found(opened, ".drawn h3")).pointer_down().pointer_up()
    elsewhere.perform()
    assert not tip.is_displayed()


def test_points_of_a_chart_are_walked_with_the_arrow_keys(opened: Browser) -> None:
    plot = found(opened, ".plot")
    plot.send_keys(Keys.END)
    tip = plot.find_element(By.CLASS_NAME, "tip")
    assert "step 990," in tip.text
    plot.send_keys(Keys.ARROW_LEFT)
    assert "step 990," not in tip.text
    plot.send_keys(Keys.ARROW_DOWN)
    assert tip.text.startswith("validation: step 900")
    live = plot.find_element(By.CSS_SELECTOR, "[aria-live]").get_attribute("textContent")
    assert live == tip.text
    plot.send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()


@pytest.mark.parametrize(("width", "height"), [(1280, 900), (640, 700), (640, 450), (390, 844)])
def test_card_that_is_gone_to_begins_below_the_bar(
    opened: Browser, width: int, height: int
) -> None:
    opened.resize(width, height)
    jump(opened, ".cards")
    opened.run("document.getElementById('run-0-scan-2').scrollIntoView()")
    covered = """const [bar, head] = ['.maps', '#run-0-scan-2 h4'].map(
        (one) => document.querySelector(one).getBoundingClientRect());
        return bar.bottom > 0 && head.bottom > bar.top && head.top < bar.bottom"""
    opened.until(lambda: not opened.run(covered), 5, "the bar lies over the card's heading")


# Colours, paper, no script


@pytest.mark.parametrize("javascript", [True, False])
def test_paper_says_which_map_is_laid_over(browser: Browser, page: Path, javascript: bool) -> None:
    browser.resize(1280, 900)
    browser.open(page, javascript=javascript)
    found(browser, ".choice input[value=lesion]").send_keys(Keys.ARROW_RIGHT)
    line = found(browser, ".laid")
    assert not line.is_displayed()
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    assert line.text == "Laid over the slices: the evidence map."
    browser.open("about:blank")


def background(browser: Browser) -> str:
    return str(browser.run("return getComputedStyle(document.body).backgroundColor"))


@pytest.mark.parametrize("dark", [False, True])
def test_colours_follow_the_system_until_the_button_turns_them(
    browser: Browser, page: Path, dark: bool
) -> None:
    browser.open(page, dark=dark)
    light, night = "rgb(245, 246, 248)", "rgb(16, 18, 20)"
    assert background(browser) == (night if dark else light)
    button = found(browser, "#theme")
    assert button.text == ("Light colours" if dark else "Dark colours")
    button.click()
    assert background(browser) == (light if dark else night)
    assert button.text == ("Dark colours" if dark else "Light colours")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, True)])
def test_axe_finds_no_serious_fault(browser: Browser, page: Path, width: int, dark: bool) -> None:
    browser.resize(width, 900)
    browser.open(page, dark=dark)
    first_strip(browser)
    browser.run(AXE.read_text(encoding="utf-8"))
    for details in browser.driver.find_elements(By.CSS_SELECTOR, "details.values"):
        browser.run("arguments[0].open = true", details)
    result = browser.driver.execute_async_script(
        "axe.run({resultTypes: ['violations']}).then(arguments[0])"
    )
    assert len(result["passes"]) > 20
    serious = [v for v in result["violations"] if v["impact"] in ("serious", "critical")]
    faults = [(v["id"], [node["html"][:120] for node in v["nodes"][:3]]) for v in serious]
    assert not faults


def test_page_prints_with_all_its_pictures(opened: Browser) -> None:
    pdf = base64.b64decode(opened.driver.print_page())
    assert pdf.startswith(b"%PDF")
    shown = "return document.querySelectorAll('.strip img.slices').length"
    assert opened.run(shown) == WITH_PICTURES
    # Equal pictures are kept once: slices and lesion map of two phantoms.
    assert pdf.count(b"/Subtype /Image") >= 2 * 2
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    (SCREENSHOTS / "report.pdf").write_bytes(pdf)


def test_page_says_everything_without_a_script(browser: Browser, page: Path) -> None:
    browser.resize(1280, 900)
    browser.open(page, javascript=False)
    driver = browser.driver

    def pictures() -> bool:
        return len(driver.find_elements(By.CSS_SELECTOR, ".strip img.slices")) == WITH_PICTURES

    browser.until(pictures, saying="a scan lacks its slices")
    assert len(driver.find_elements(By.CSS_SELECTOR, ".verdicts tbody tr")) == SCANS
    maps = driver.find_elements(By.CSS_SELECTOR, ".strip:first-of-type img.map")
    assert maps[0].value_of_css_property("visibility") == "visible"
    driver.find_element(By.CSS_SELECTOR, ".choice input[value=evidence]").send_keys(Keys.SPACE)
    shown = [one.value_of_css_property("visibility") for one in maps[:2]]
    assert shown == ["hidden", "visible"]
    driver.find_element(By.CSS_SELECTOR, ".outcomes input[value=ok]").send_keys(Keys.SPACE)
    rows = driver.find_elements(By.CSS_SELECTOR, ".verdicts tbody tr[data-outcome=ok]")
    assert not any(row.is_displayed() for row in rows)
    assert not driver.find_element(By.ID, "theme").is_displayed()
    assert not driver.find_element(By.CSS_SELECTOR, "input[type=search]").is_displayed()
    browser.screenshot(SCREENSHOTS / "report-no-script.png")
    browser.assert_quiet()
    browser.open("about:blank")


# Size, and what it looks like


def test_pictures_of_scans_out_of_sight_are_not_made(opened: Browser) -> None:
    assert opened.run("return document.querySelectorAll('.strip img').length") == 0
    first_strip(opened)
    made = opened.run("return document.querySelectorAll('.strip img').length")
    assert 3 <= made <= 3 * 10
    jump(opened, 0)
    gone = "return document.querySelectorAll('.strip img').length === 0"
    opened.until(lambda: opened.run(gone), saying="pictures were kept out of sight")


def test_page_of_five_hundred_scans_is_below_sixty_megabytes(
    browser: Browser, tmp_path: Path
) -> None:
    names = [f"ward {k % 7}/scan {k:03}.nii.gz" for k in range(500)]
    write_predictions(tmp_path / "run", names, (20, 72, 72))
    # Each sheet of slices as heavy as a strip may be: 80 kB with its maps.
    for path in (tmp_path / "run" / "strips").glob("*.webp"):
        maps = sum(one.stat().st_size for one in path.parent.glob(f"{path.stem}-*.png"))
        rest = 80_000 - maps - path.stat().st_size
        path.write_bytes(with_weight(path.read_bytes(), rest))
    build_report([record(tmp_path / "run", "predict")], tmp_path / "page.html")
    size = (tmp_path / "page.html").stat().st_size
    assert 40e6 < size < 60e6
    browser.open(tmp_path / "page.html")
    assert browser.run("return document.querySelectorAll('.scan').length") == 500
    assert said(first_strip(browser))
    browser.assert_quiet()
    browser.open("about:blank")


def with_weight(webp: bytes, more: int) -> bytes:
    """A WebP with a chunk that no reader knows and each passes over, `more` bytes in all."""
    length = (more - 8) // 2 * 2
    body = webp[8:] + b"JUNK" + length.to_bytes(4, "little") + bytes(length)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


VIEWS = {
    "light": (1280, 1000, False),
    "dark": (1280, 1000, True),
    "phone-light": (390, 844, False),
    "phone-dark": (390, 844, True),
}


@pytest.mark.parametrize("name", VIEWS)
def test_page_fits_its_window_and_is_photographed(browser: Browser, page: Path, name: str) -> None:
    width, height, dark = VIEWS[name]
    browser.resize(width, height, touch=width < 600)
    browser.open(page, dark=dark)
    places = {"top": "header", "charts": ".charts", "table": ".scans", "cards": ".cards"}
    for place, selector in places.items():
        jump(browser, selector)
        if place == "cards":
            first_strip(browser)
        browser.screenshot(SCREENSHOTS / f"report-{name}-{place}.png")
    across = browser.run("return document.documentElement.scrollWidth")
    assert across <= width
    browser.assert_quiet()
    browser.resize(1280, 900)
