"""A headless Chromium for tests of pages: what it logs, what it fetches, how a page is opened.

    from tests.browser import Browser  # the fixture itself comes from tests/conftest.py

    def test_the_page_asks_for_nothing(browser: Browser) -> None:
        browser.open(path)
        browser.assert_quiet()

Tests that ask for `browser` are skipped, with the reason, where Chromium, its driver or selenium
are missing.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

_DRIVERS = ("/usr/bin/chromedriver", "/usr/lib/chromium/chromedriver")
_LOCAL = ("file", "data", "blob", "about", "devtools", "chrome")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # tests may run as root, where Chromium's sandbox does not start
    "--disable-dev-shm-usage",
    "--enable-unsafe-swiftshader",  # WebGL2 without a graphics card
    "--window-size=1280,900",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--disable-lcd-text",
    # Nothing of the browser's own goes out, and no name but loopback is known.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--disable-extensions",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
)


@dataclass
class Browser:
    """A running Chromium.

    Attributes:
        driver: selenium's, for whatever this class does not do.
        said: errors and warnings of the console since the page was opened, as text.
        requests: addresses that the page asked for since it was opened, itself included.
    """

    driver: WebDriver
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, page: Path | str, dark: bool = False, javascript: bool = True) -> None:
        """Open a file or an address in light (or dark) colours, and forget what was before."""
        self.driver.get("about:blank")
        self.collect()
        self.said.clear()
        self.requests.clear()
        colours = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._devtools("Emulation.setEmulatedMedia", media="", features=colours)
        self._devtools("Emulation.setScriptExecutionDisabled", value=not javascript)
        self.driver.get(page.resolve().as_uri() if isinstance(page, Path) else page)

    def resize(self, width: int, height: int, touch: bool = False) -> None:
        """Give the page `width` x `height` CSS pixels, with a touch screen when asked."""
        self._devtools(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=touch,
        )  # fmt: skip
        self._devtools("Emulation.setTouchEmulationEnabled", enabled=touch)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a JavaScript function body returns, e.g. `return document.title`."""
        return self.driver.execute_script(script, *arguments)

    def keys(self, *keys: str) -> None:
        """Press keys (`selenium.webdriver.common.keys.Keys`, or letters) where the focus is."""
        from selenium.webdriver import ActionChains

        chain = ActionChains(self.driver)
        for key in keys:
            chain = chain.send_keys(key)
        chain.perform()

    def until(self, holds: Callable[[], Any], seconds: float = 30, saying: str = "") -> Any:
        """Wait until `holds()` is true, and give it; fails with `saying` and the console."""
        last = time.monotonic() + seconds
        while not (value := holds()):
            if time.monotonic() > last:
                self.collect()
                raise AssertionError(f"{saying or 'never became true'}; console: {self.said}")
            time.sleep(0.05)
        return value

    def screenshot(self, path: Path) -> Path:
        """What the window shows, as a PNG at `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if not self.driver.save_screenshot(str(path)):
            raise AssertionError(f"{path}: the screenshot could not be written")
        return path

    def collect(self) -> None:
        """Take over what was logged and fetched since the last call."""
        for entry in self.driver.get_log("browser"):
            if entry["level"] in ("SEVERE", "WARNING"):
                self.said.append(f"{entry['level']}: {entry['message']}")
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
            elif message["method"] == "Network.webSocketCreated":
                self.requests.append(message["params"]["url"])

    def errors(self) -> list[str]:
        """Errors of the console since the page was opened: refused and failed requests too."""
        self.collect()
        return [line for line in self.said if line.startswith("SEVERE")]

    def outside(self) -> list[str]:
        """Addresses beyond this machine that the page asked for since it was opened."""
        self.collect()
        return [url for url in self.requests if not _is_local(url)]

    def assert_quiet(self) -> None:
        """Fail when the page logged an error, or asked for anything beyond this machine."""
        assert not self.errors(), f"console errors: {self.errors()}"
        assert self.requests, "no request was recorded: the page itself should be one"
        assert not self.outside(), f"requests beyond this machine: {self.outside()}"

    def _devtools(self, command: str, **values: Any) -> None:
        self.driver.execute_cdp_cmd(command, values)


def _is_local(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in _LOCAL or parts.hostname in _LOOPBACK


def what_is_missing() -> str:
    """Why no browser can be started here; empty where one can."""
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed (pip install -e '.[dev]')"
    if _chromium() is None:
        return "no Chromium here (apt-get install chromium)"
    if _chromedriver() is None:
        return "no chromedriver here (apt-get install chromium-driver)"
    return ""


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


def _chromedriver() -> str | None:
    found = shutil.which("chromedriver")
    return found or next((path for path in _DRIVERS if Path(path).is_file()), None)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium for all tests; it ends with them."""
    missing = what_is_missing()
    if missing:
        pytest.skip(missing)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = _chromium() or ""
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = webdriver.ChromeService(executable_path=_chromedriver())
    with pytest.MonkeyPatch.context() as environment:
        # With a driver given, Selenium Manager has nothing to fetch; offline, in case it is asked.
        environment.setenv("SE_OFFLINE", "true")
        environment.setenv("SE_AVOID_STATS", "true")
        driver = webdriver.Chrome(options=options, service=service)
    driver.set_page_load_timeout(60)
    try:
        yield Browser(driver)
    finally:
        driver.quit()
