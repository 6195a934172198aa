"""The table of the zoo in headless Chromium: sorted, filtered, and chosen from, by mouse."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select

from harness.records.verdicts import KINDS, Verdict
from tests.harness.report import records
from tests.harness.report.page.opened import ZOO, cells, heading, open_section, page, text

pytestmark = pytest.mark.browser

OPENS_WITHIN_S = 3.0
"""For 10,000 records, in seconds that the page's thread computes, so that other work on the machine does not count.
It takes a third of it; what is slower has built or laid out every row. tests/bench has the time on the clock."""


def test_a_heading_sorts_its_column_both_ways_and_says_so(browser):
    browser.open(page())
    fused = heading(browser, "fused")
    assert fused.get_attribute("aria-sort") == "none"
    fused.find_element(By.TAG_NAME, "button").click()
    assert fused.get_attribute("aria-sort") == "ascending"
    assert cells(browser, "fused") == ["0", "0", "0", "4", "5", "5", "-"]
    fused.click()  # the button fills its cell
    assert fused.get_attribute("aria-sort") == "descending"
    assert cells(browser, "fused") == ["5", "5", "4", "0", "0", "0", "-"]


def test_numbers_sort_as_numbers_and_names_with_their_numbers(browser):
    rows = [records.record(f"model{n}", metrics={"rel_l2": value}) for n, value in ((10, 2e-5), (2, 1e-3), (1, 0.5))]
    browser.open(page(rows))
    heading(browser, "rel L2").find_element(By.TAG_NAME, "button").click()
    assert cells(browser, "rel L2") == ["2.00e-05", "1.00e-03", "5.00e-01"]
    heading(browser, "model").find_element(By.TAG_NAME, "button").click()
    assert cells(browser, "model") == ["model1", "model2", "model10"]


def test_verdicts_sort_worst_first(browser):
    rows = [records.record(name) for name in ("a", "b", "c", "d")]
    kinds = ("unchanged", "improvement", "regression")
    said = [Verdict(kind, row.model, row.title, "x", "x", row=row.row) for kind, row in zip(kinds, rows, strict=False)]
    browser.open(page(rows, verdicts=sorted(said, key=lambda one: KINDS.index(one.kind))))
    heading(browser, "verdict").click()
    assert cells(browser, "model") == ["c", "b", "a", "d"], "and what nothing is said of comes last"


def test_the_filter_keeps_rows_that_have_every_word(browser):
    browser.open(page())
    field = browser.driver.find_element(By.ID, "filter")
    field.send_keys("qwen ON")
    assert cells(browser, "model") == ["qwen3"]
    assert "1 of 7 rows" in text(browser, "#zoo-table [role=status]")
    field.send_keys(" no-such-word")
    assert text(browser, f"{ZOO} tbody") == "No row matches the filter."
    browser.driver.find_element(By.XPATH, "//div[@id='zoo-controls']//button").click()
    assert len(cells(browser, "model")) == 7


def test_a_choice_keeps_rows_of_one_value_and_survives_sorting(browser):
    browser.open(page())
    labels = browser.driver.find_elements(By.CSS_SELECTOR, "#zoo-controls label")
    choice = next(label for label in labels if label.text.startswith("executor"))
    Select(choice.find_element(By.TAG_NAME, "select")).select_by_visible_text("coreml")
    browser.driver.find_element(By.ID, "all-columns").click()
    heading(browser, "ops after").find_element(By.TAG_NAME, "button").click()
    assert cells(browser, "model") == ["mistral", "mistral"]


def test_ten_thousand_records_open_sort_and_filter(browser):
    content = page(records.many(10_000))
    browser.open(page([]))  # what a browser's first page costs is not the report's
    browser.command("Performance.enable", timeDomain="threadTicks")
    browser.open(content)
    assert browser.run("return document.documentElement.dataset.ready") == ""
    browser.run("return document.body.offsetHeight")
    assert browser.busy_s() < OPENS_WITHIN_S
    assert "10,000 rows, the first 100 shown" in text(browser, "#zoo-table [role=status]")
    before = browser.busy_s()
    heading(browser, "ops after").find_element(By.TAG_NAME, "button").click()
    browser.driver.find_element(By.ID, "filter").send_keys("model_2499 gpu")
    assert cells(browser, "model") == ["model_2499"]
    assert "9 sites" in open_section(browser, "model_2499").text
    assert browser.busy_s() - before < OPENS_WITHIN_S
