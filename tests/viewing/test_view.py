"""The viewer in a browser: the scan is drawn, one cursor for all planes, maps, windows, keys."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from covidssl.io import Policy, Reading, write_volume
from covidssl.viewing import pages_of, serving, shown_map, shown_scan, viewer_library
from tests.browser import Browser
from tests.scan_files import chest_hu, write_dicom
from tests.viewing.scans import write_map, write_scan

pytest.importorskip("ipyniivue", reason="the extra `view` is not installed")
HOSTILE = '<img src=x onerror="console.error(1)">.nii'
AXIAL, CORONAL, SAGITTAL = 0, 1, 2


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a scan with a map."""
    folder = tmp_path_factory.mktemp("view")
    looked = shown_scan(write_scan(folder / "scan"))
    overlay = shown_map(write_map(folder / "scan", folder / HOSTILE), looked.ct)
    with serving(pages_of(looked, [(HOSTILE, overlay)], viewer_library())) as running:
        yield running.address


@pytest.fixture
def page(browser: Browser, address: str) -> Browser:
    """The page, once the scan is there."""
    browser.open(address)
    browser.until(lambda: browser.run("return document.body.dataset.state"), saying="not loaded")
    assert browser.run("return document.body.dataset.state") == "ready", browser.errors()
    return browser


def drawn(page: Browser, plane: int | None = None) -> NDArray[np.int16]:
    """What the canvas shows, or one of its planes, shape (Y, X, 3)."""
    picture = Image.open(io.BytesIO(page.driver.find_element("id", "scan").screenshot_as_png))
    pixels = np.asarray(picture.convert("RGB")).astype(np.int16)
    if plane is None:
        return pixels
    left, top, width, height = page.run(
        "return viewer.screenSlices.find((s) => s.axCorSag === arguments[0]).leftTopWidthHeight",
        plane,
    )
    return pixels[int(top) : int(top + height), int(left) : int(left + width)]


def voxel(page: Browser) -> list[int]:
    return [int(edge) for edge in page.run("return document.body.dataset.voxel").split()]


def changed(before: NDArray[np.int16], after: NDArray[np.int16]) -> float:
    """The share of pixels that differ by more than a little."""
    return float((np.abs(after - before).max(-1) > 8).mean())


def test_all_three_planes_are_drawn(page: Browser, tmp_path: Path) -> None:
    for plane in (AXIAL, CORONAL, SAGITTAL):
        assert drawn(page, plane).std() > 20, plane
    assert page.screenshot(tmp_path / "view.png").stat().st_size > 10_000
    page.assert_quiet()


def test_the_patient_lies_as_in_every_picture_of_covidssl(page: Browser) -> None:
    # The map is in the patient's right lung: on the left of the picture, behind the middle of z.
    y, x = np.nonzero(drawn(page, AXIAL)[..., 0] - drawn(page, AXIAL)[..., 2] > 40)
    assert x.mean() < 0.45 * drawn(page, AXIAL).shape[1]
    assert len(y) > 100


def test_a_click_in_one_plane_moves_the_cursor_in_all(page: Browser) -> None:
    from selenium.webdriver import ActionChains

    page.keys("o")  # the map's edge would change pixels too
    before = [drawn(page, plane) for plane in (AXIAL, CORONAL, SAGITTAL)]
    here = voxel(page)
    canvas = page.driver.find_element("id", "scan")
    left, top, width, height = page.run("return viewer.screenSlices[0].leftTopWidthHeight")
    ActionChains(page.driver).move_to_element_with_offset(
        canvas,
        int(left + 0.3 * width - canvas.size["width"] / 2),
        int(top + 0.4 * height - canvas.size["height"] / 2),
    ).click().perform()
    page.until(lambda: voxel(page) != here, saying="the cursor stayed")
    there = voxel(page)
    assert there[2] == here[2]
    assert there[0] == pytest.approx(0.3 * 48, abs=2)
    assert there[1] == pytest.approx(0.4 * 48, abs=2)
    for plane, old in zip((AXIAL, CORONAL, SAGITTAL), before, strict=True):
        assert changed(old, drawn(page, plane)) > 0.005, plane
    assert f"Column {there[0] + 1} of 48" in page.run(
        "return document.getElementById('cursor').textContent"
    )
    page.assert_quiet()


def test_arrows_and_page_keys_move_the_cursor(page: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    x, y, z = voxel(page)
    page.keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ARROW_DOWN, Keys.PAGE_UP)
    page.until(lambda: voxel(page) == [x + 2, y + 1, z + 1], saying=f"{voxel(page)}")
    page.keys(Keys.ARROW_LEFT, Keys.ARROW_UP, Keys.PAGE_DOWN, Keys.PAGE_DOWN)
    page.until(lambda: voxel(page) == [x + 1, y, z - 1], saying=f"{voxel(page)}")
    page.keys(Keys.HOME)
    page.until(lambda: voxel(page) == [x, y, z], saying=f"{voxel(page)}")
    page.assert_quiet()


def test_the_slider_and_its_keys_change_how_much_of_the_map_is_seen(page: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    half = drawn(page, AXIAL)
    page.driver.find_element("css selector", "input.opacity").send_keys(Keys.END)
    assert page.run("return document.querySelector('output').textContent") == "100 %"
    full = drawn(page, AXIAL)
    assert changed(half, full) > 0.01
    page.driver.find_element("id", "scan").click()
    page.run("document.getElementById('scan').focus()")
    page.keys("o")
    hidden = drawn(page)
    assert (hidden[..., 0] - hidden[..., 2] > 40).mean() < 0.001
    page.keys("[")
    assert page.run("return document.querySelector('output').textContent") == "90 %"
    page.assert_quiet()


def test_windows_are_chosen_by_button_and_key(page: Browser) -> None:
    lung = drawn(page, AXIAL)
    page.driver.find_element("css selector", "[data-window=mediastinum]").click()
    mediastinum = drawn(page, AXIAL)
    # Lungs at -850 HU are dark grey in the one window, and black in the other.
    assert lung.mean() > mediastinum.mean() + 10
    assert page.run("return [viewer.volumes[0].cal_min, viewer.volumes[0].cal_max]") == [-160, 240]
    page.keys("1")
    assert changed(lung, drawn(page, AXIAL)) < 0.001
    assert page.run("return document.querySelector('[aria-pressed=true]').textContent") == "Lung"
    page.assert_quiet()


def test_one_plane_can_have_the_whole_page(page: Browser) -> None:
    page.keys("c")
    assert page.run("return viewer.screenSlices.map((s) => s.axCorSag)") == [CORONAL]
    page.keys("a")
    assert len(page.run("return viewer.screenSlices")) == 3
    page.assert_quiet()


def test_a_name_with_markup_is_text(page: Browser) -> None:
    assert HOSTILE in page.run("return document.querySelector('.map legend').textContent")
    assert page.run("return document.querySelectorAll('img').length") == 0


def test_the_page_has_no_serious_fault_of_access(page: Browser) -> None:
    axe = pytest.importorskip("axe_core_python", reason="axe-core is not installed")
    page.run((Path(axe.__file__).parent / "axe.min.js").read_text(encoding="utf-8"))
    found = page.driver.execute_async_script("axe.run().then(arguments[0])")
    grave = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    assert not grave, [(one["id"], one["nodes"][0]["html"]) for one in grave]


def test_evidence_for_and_against_is_painted_and_what_is_faint_is_not(
    browser: Browser, tmp_path: Path
) -> None:
    looked = shown_scan(write_scan(tmp_path / "scan"))
    values = np.full(looked.ct.array.shape, 0.01, np.float32)
    values[5:9, 20:32, 8:18], values[5:9, 20:32, 30:40] = -0.8, 0.4
    overlay = replace(looked.ct, array=values, pixels=None)
    with serving(pages_of(looked, [("evidence", overlay)], viewer_library())) as running:
        browser.open(running.address)
        browser.until(lambda: browser.run("return document.body.dataset.state"), saying="no scan")
        browser.run("viewer.setCrosshairWidth(0)")
        pixels = drawn(browser, AXIAL)
    assert browser.run("return document.querySelector('.range').textContent") == (
        "-0.8 to 0.8, nothing between -0.04 and 0.04"
    )
    half = pixels.shape[1] // 2
    above = pixels[..., 0] - pixels[..., 2] > 30  # orange
    below = pixels[..., 1] + pixels[..., 2] - 2 * pixels[..., 0] > 60  # blue to green
    assert below[:, :half].mean() > 0.06
    assert above[:, half:].mean() > 0.06
    assert above.mean() + below.mean() < 0.15
    browser.assert_quiet()


def test_the_verb_prints_an_address_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    one: dict[str, Any] = {"PatientID": "1", "StudyInstanceUID": "1.2.3"}
    scan = tmp_path / "scan"
    write_dicom(scan, chest_hu(24, 48), **one)[10].unlink()  # mended on request alone
    write_dicom(scan, chest_hu(2, 48), names="zz{}.dcm", **one)
    mended = shown_scan(scan, reading=Reading(policy=Policy.REPAIR)).ct
    ones, overlay = np.ones(mended.array.shape, np.float32), tmp_path / "map.nii.gz"
    write_volume(replace(mended, array=ones, pixels=None), overlay)
    arguments = ["view", str(scan), "--map", str(overlay)]
    arguments += ["--no-browser", "--set", "policy=repair"]
    command = [sys.executable, "-m", "covidssl.cli", *arguments]
    before = sorted(tmp_path.rglob("*"))
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        address = running.stdout.readline().strip() if running.stdout else ""
        with urlopen(address + "map-0.nii", timeout=30) as answer:
            assert len(answer.read()) > 24 * 48 * 48 * 4
        with urlopen(address, timeout=30) as answer:
            page = answer.read().decode()
        running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
        said = " ".join((running.stderr.read() if running.stderr else "").split())
    assert sorted(tmp_path.rglob("*")) == before
    assert "Mended: " in page
    for told in (page, said):
        assert "passed over for scan#" in told
