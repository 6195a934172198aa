"""A headless Chromium for the tests that open a report."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING

import pytest

from harness.report.page.html import render

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from harness.report.page.content import Page

FLAGS = (
    "--headless",
    "--no-sandbox",  # the tests' own file is all it opens, and as root there is no sandbox
    "--disable-gpu",
    "--disable-dev-shm-usage",  # containers have little of it
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
BROWSERS = ("google-chrome", "chromium", "chromium-browser")
"""Names of the program; where both are there, as on GitHub's runners, the driver on the path is Chrome's."""


class Browser:
    """A window on one report at a time."""

    def __init__(self, driver, folder: Path) -> None:
        self.driver, self.folder = driver, folder
        self.path = folder / "report.html"

    def open(
        self, page: Page, *, width: int = 1280, height: int = 900, scheme: str = "light", fragment: str = ""
    ) -> None:
        """Write a report and open it in a window of a size, on a system of a colour scheme."""
        self.path.write_text(render(page, page.records), encoding="utf-8")
        self.driver.get("about:blank")
        self.driver.get_log("performance")
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.driver.get(self.path.as_uri() + fragment)

    def command(self, name: str, **parameters):
        """Send a command of the Chrome DevTools Protocol."""
        return self.driver.execute_cdp_cmd(name, parameters)

    def run(self, script: str, *arguments):
        """Run a script in the page; it gives its value back with ``return``."""
        return self.driver.execute_script(script, *arguments)

    def press(self, *keys: str) -> None:
        """Press keys on what has the focus."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def busy_s(self) -> float:
        """Return how long the thread of the page has computed since its process began, in seconds.

        After ``Performance.enable``.
        """
        metrics = self.command("Performance.getMetrics")["metrics"]
        return next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration")

    def said(self) -> list[str]:
        """Return what the console said since it was last asked: errors, refusals of the policy, warnings."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return the address of each request since the page was opened."""
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium; without one, the test is skipped, or fails where ``REQUIRE_BROWSER`` is 1."""
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    chromedriver = shutil.which("chromedriver")
    if not binary or not chromedriver:
        what = "chromedriver" if binary else "Chromium"
        lacks = f"no {what} on the path; on Debian: apt-get install chromium chromium-driver"
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail(f"{lacks} (REQUIRE_BROWSER=1)")
        pytest.skip(lacks)
    from selenium import webdriver

    folder = tmp_path_factory.mktemp("browser")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(chromedriver))
    try:
        yield Browser(driver, folder)
    finally:
        driver.quit()
