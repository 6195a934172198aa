"""A report opened in the browser: the page of the tests' rows, and the parts of it that they look at."""

from __future__ import annotations

from selenium.webdriver.common.by import By

from harness.report.page.content import Page
from tests.harness.report import records

ZOO = "#zoo-table table"


def page(rows=None, **fields):
    return Page(records.zoo() if rows is None else rows, "20260131T235959.000000Z", **fields)


def cells(browser, header):
    """Return a column of the zoo's table, top to bottom."""
    return browser.run(
        """const table = document.querySelector(arguments[0]);
        const headings = [...table.tHead.rows[0].cells].map((cell) => cell.innerText.trim());
        const place = headings.findIndex((heading) => heading.startsWith(arguments[1]));
        return [...table.tBodies[0].rows].map((row) => row.cells[place].innerText);""",
        ZOO,
        header,
    )


def heading(browser, header):
    """Return the column heading with this text."""
    headings = browser.driver.find_elements(By.CSS_SELECTOR, f"{ZOO} thead th")
    return next(one for one in headings if one.text.strip(" \n▴▾") == header)


def text(browser, selector):
    return browser.driver.find_element(By.CSS_SELECTOR, selector).text


def open_section(browser, model):
    browser.run("document.getElementById(arguments[0]).querySelector('summary').click()", f"model-{model}")
    return browser.driver.find_element(By.ID, f"model-{model}")


def assert_quiet(browser):
    assert browser.said() == []
    assert {address.split("#")[0] for address in browser.requests()} == {browser.path.as_uri()}
