"""The report in headless Chromium, used as people use it: by keyboard, on a phone, in the dark, on paper."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.harness.report import records
from tests.harness.report.page.opened import assert_quiet, cells, open_section, page, text

pytestmark = pytest.mark.browser


def test_the_verdict_comes_first_and_nothing_is_said_or_asked_for(browser):
    browser.open(page())
    assert text(browser, "h1") == "Not compared; 2 rows of 7 are not ok"
    for model in ("llama", "qwen3", "gemma", "mistral"):
        open_section(browser, model)
    assert_quiet(browser)


def test_dark_follows_the_system_and_the_button_overrides_it(browser):
    def paper():
        return browser.run("return getComputedStyle(document.body).backgroundColor")

    browser.open(page(), scheme="light")
    light = paper()
    browser.open(page(), scheme="dark")
    dark = paper()
    assert light != dark
    button = browser.driver.find_element(By.ID, "theme")
    seen = {}
    for _ in range(3):
        button.click()
        seen[button.text] = paper()
    assert seen == {"Theme: light": light, "Theme: dark": dark, "Theme: system": dark}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_the_paper(browser, scheme):
    """Contrast of at least 4.5 to 1, the W3C's level AA for text (WCAG 2.2, 1.4.3)."""
    browser.open(page(), scheme=scheme)
    ratios = browser.run(
        """const light = (color) => {
          const canvas = new OffscreenCanvas(1, 1).getContext("2d");
          canvas.fillStyle = color;
          canvas.fillRect(0, 0, 1, 1);
          const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((c) => c / 255)
            .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
          return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const probe = document.body.appendChild(document.createElement("span"));
        const read = (name) => { probe.style.color = `var(--${name})`; return light(getComputedStyle(probe).color); };
        const papers = [read("paper"), read("raised")];
        const ratio = (one, other) => (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
        return Object.fromEntries(["ink", "soft", "accent", "worse", "better", "doubt"].map((name) => {
          const own = read(name);
          return [name, Math.min(...papers.map((paper) => ratio(own, paper)))];
        }));"""
    )
    assert all(ratio >= 4.5 for ratio in ratios.values()), ratios


def test_all_can_be_done_by_keyboard(browser):
    def focused():
        return browser.run("return document.activeElement")

    browser.open(page())
    browser.press(Keys.TAB)
    assert focused().text == "Skip to the table"
    assert focused().is_displayed()
    browser.press(Keys.ENTER)
    browser.press(Keys.TAB)
    assert focused().get_attribute("id") == "filter"
    browser.press("llama")
    for _ in range(30):
        browser.press(Keys.TAB)
        if focused().text.strip() == "fused":
            break
    browser.press(Keys.ENTER)
    browser.press(Keys.ENTER)
    assert cells(browser, "fused") == ["5", "0"]
    for _ in range(30):
        browser.press(Keys.TAB)
        if focused().tag_name == "summary":
            break
    browser.press(Keys.SPACE)
    assert browser.driver.find_elements(By.CSS_SELECTOR, "details.model[open]")
    outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid", "where the focus is can be seen"


def test_a_phone_scrolls_down_alone(browser):
    browser.open(page(), width=390, height=844)
    for model in ("llama", "mistral"):
        open_section(browser, model)
    assert browser.run("return document.documentElement.scrollWidth") <= 390
    assert browser.run("return [...document.querySelectorAll('svg.chart')].every((svg) => svg.clientWidth <= 390)")


def test_hostile_text_is_shown_as_it_is_and_does_nothing(browser):
    rows = records.hostile()
    browser.open(page(rows))
    browser.run("for (const section of document.querySelectorAll('details')) section.querySelector('summary').click()")
    assert browser.run("return document.querySelectorAll('details.model .body').length") == len(records.HOSTILE)
    assert browser.run("return window.harmed") is None
    assert "<script>alert(1)</script>" in cells(browser, "model")
    assert "a\\u0000b\\u001b[31mred\\u202eevil" in cells(browser, "model")
    assert browser.run("return document.querySelectorAll('img, iframe, main script').length") == 0
    assert_quiet(browser)


def test_printing_is_on_white_without_controls(browser):
    browser.open(page(), scheme="dark")
    browser.command("Emulation.setEmulatedMedia", media="print", features=[])
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not browser.driver.find_element(By.ID, "filter").is_displayed()
