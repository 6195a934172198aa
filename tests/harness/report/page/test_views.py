"""What is seen without scrolling sideways, on a desk and on a phone, in the light and in the dark."""

from __future__ import annotations

import msgspec
import pytest
from selenium.webdriver.common.by import By

from harness.judge.regress import compare
from harness.judge.times import Rules
from harness.records.lookup import Side
from harness.records.schema import RescaledRecord, TextRecord
from harness.records.series import Point, Series
from harness.report.page.content import Page
from harness.report.page.recent_nights import nights
from tests.harness.report import records

pytestmark = pytest.mark.browser

VIEWS = [(width, height, scheme) for width, height in ((1400, 900), (390, 844)) for scheme in ("light", "dark")]
DECIDING = ("outcome", "rel L2", "status")


def page(rows=None, **fields):
    return Page(records.zoo() if rows is None else rows, "20260131T235959.000000Z", **fields)


def long_names():
    """Return the zoo with a long key, a status of two words and an outcome of two words."""
    more = {"outcome": "not finite", "metrics": {"rel_l2": None}, "status": "out of memory", "reason": "x"}
    return [*records.zoo(), records.record("deepseek_v3_with_a_long_name", "on", **more)]


def boxes(browser, selector):
    """Return left, right, top and text of each element that a selector finds."""
    return browser.run(
        """return [...document.querySelectorAll(arguments[0])].map((one) => {
          const {left, right, top} = one.getBoundingClientRect();
          return [one.innerText.trim(), left, right, top];
        });""",
        selector,
    )


def assert_seen(browser, width):
    """Assert that the deciding columns are within the window's width, headings and cells."""
    headings = boxes(browser, "#zoo-table thead th")
    names = [name.split("\n")[0].strip(" \u25b4\u25be") for name, *_ in headings]
    assert set(DECIDING) <= set(names)
    for name, _, right, _ in headings:
        if name in DECIDING:
            assert right <= width, name
    for place in map(names.index, DECIDING):
        for text, left, right, _ in boxes(browser, f"#zoo-table tbody tr > :nth-child({place + 1})"):
            assert 0 <= left < right <= width, text
    assert browser.run("return document.documentElement.scrollWidth") <= width
    assert browser.run(
        "const {scrollWidth, clientWidth} = document.querySelector('#zoo-table .scroll');"
        "return scrollWidth <= clientWidth;"
    )


@pytest.mark.parametrize(("width", "height", "scheme"), VIEWS)
def test_outcome_precision_and_status_are_seen_without_scrolling_sideways(browser, width, height, scheme):
    rows = long_names()
    before = [msgspec.structs.replace(row, metrics={"rel_l2": 1e-3}, outcome="fine", status="ok") for row in rows]
    for fields in ({}, {"base": "before", "before": before}):
        browser.open(page(rows, **fields), width=width, height=height, scheme=scheme)
        assert_seen(browser, width)
        assert browser.said() == []
        assert {address.split("#")[0] for address in browser.requests()} == {browser.path.as_uri()}


@pytest.mark.parametrize(("width", "height"), [(1400, 900), (390, 844)])
def test_outcome_and_precision_are_in_the_first_screen(browser, width, height):
    rows = records.zoo()
    verdicts = compare(
        Side("before", [msgspec.structs.replace(row, fused=5) for row in rows]), Side("now", rows), Rules()
    )
    browser.open(page(rows, base="before", verdicts=verdicts), width=width, height=height)
    found = boxes(browser, ".overview th, .overview td")
    words = [text for text, *_ in found]
    assert {"outcome", "precision", "status"} <= set(words)
    assert any("8.67e-04" in text for text in words)
    assert all(top < height and right <= width for _, _, right, top in found)


def test_columns_that_are_the_same_in_every_row_are_one_line(browser):
    browser.open(page([records.record(name, policy="fp16-blocked") for name in ("a", "b")]))
    headings = [name for name, *_ in boxes(browser, "#zoo-table thead th")]
    assert "policy" not in headings
    assert "policy fp16-blocked" in browser.driver.find_element(By.ID, "zoo-table").text


def test_more_columns_are_a_button_away_and_keep_the_filter(browser):
    browser.open(page(), width=390, height=844)
    browser.driver.find_element(By.ID, "filter").send_keys("qwen")
    before = len(boxes(browser, "#zoo-table thead th"))
    browser.driver.find_element(By.ID, "all-columns").click()
    assert len(boxes(browser, "#zoo-table thead th")) > before
    assert len(boxes(browser, "#zoo-table tbody tr")) == 2


def test_charts_are_as_wide_as_their_section(browser):
    browser.open(page(), width=1400)
    browser.run("document.querySelector('#model-llama summary').click()")
    wide, section = browser.run(
        "return ['svg.chart', '#model-llama .body'].map((one) => document.querySelector(one).clientWidth)"
    )
    assert wide > 0.95 * section


def over_nights(row, values):
    points = [Point(f"run{n}", f"2026-01-0{n + 1}T00:00:00+00:00", value) for n, value in enumerate(values)]
    return Series(row.model, row.title, row.row, "rel_l2", "", "", tuple(points))


def test_rows_that_coincide_share_a_line_that_names_each(browser):
    rows = [records.record("llama", variant, run_id="run1") for variant in ("off", "on", "cpu")]
    values = {"off": (1.0, 0.9), "cpu": (1.0, 0.9), "on": (1e-3, 2e-3)}
    own = {place: [over_nights(row, values[row.variant])] for place, row in enumerate(rows)}
    browser.open(page(rows, history=nights(own, rows)))
    browser.run("document.querySelector('#model-llama summary').click()")
    assert [text for text, *_ in boxes(browser, "#model-llama .legend li")] == [
        "off and cpu, the same",
        "on layer_norm",
    ]


def test_a_text_is_shown_with_its_continuations(browser):
    said = {"tokens": 640, "perplexity_float32": 14.1, "prompt": "The sea", "float32": " was quiet."}
    fine = TextRecord(perplexity=14.2, agreement=0.97, continuation=" was quiet.", **said)
    bad = TextRecord(perplexity=None, agreement=0.02, continuation=" the the", **said)
    browser.open(page([records.record(text=fine), records.record("llama", "off", text=bad)]))
    browser.run("document.querySelector('#model-llama summary').click()")
    section = browser.driver.find_element(By.ID, "model-llama").text
    for words in ("97.0 %", "infinite", "The sea", "the same, word for word", "the the"):
        assert words in section, words


def test_rescaled_regions_have_a_table_where_there_are_any(browser):
    region = RescaledRecord("hidden_91", 2.0**-3, peak_before=81_234.0, peak_after=10_154.25)
    browser.open(page([records.record(rescaled=(region,)), records.record("qwen3")]))
    browser.run("for (const one of document.querySelectorAll('.model > summary')) one.click()")
    rescaled = browser.driver.find_element(By.ID, "model-llama").text
    for words in ("Rescaled to fit float16", "hidden_91", "2^-3", "81,234"):
        assert words in rescaled, words
    assert "Rescaled to fit float16" not in browser.driver.find_element(By.ID, "model-qwen3").text


def test_two_runs_stand_side_by_side(browser):
    now = [records.record("llama", metrics={"rel_l2": 4e-3}, outcome="fine"), records.record("qwen3", outcome="fine")]
    before = [msgspec.structs.replace(one, metrics={"rel_l2": 1e-3}) for one in now]
    before[1] = msgspec.structs.replace(before[1], metrics=now[1].metrics)
    browser.open(page(now, base="run8", before=before))
    cells = browser.driver.find_element(By.CSS_SELECTOR, "#zoo-table tbody").text
    assert "1.00e-03 \u2192 4.00e-03" in cells
    assert cells.count("\u2192") == 1, "what did not change is shown once"
    assert [text.split(";")[0] for text, *_ in boxes(browser, ".overview caption")] == [
        "run8",
        "20260131T235959.000000Z",
    ]
    browser.run("document.querySelector('#model-llama summary').click()")
    section = browser.driver.find_element(By.ID, "model-llama").text
    assert "before" in section
    assert "now" in section
