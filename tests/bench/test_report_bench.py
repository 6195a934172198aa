"""Time to open a report of 10,000 records, against a page that writes the same table out as plain HTML.

Openings are interleaved in one browser, and the median of the ratios is held against the limit. Run with
``pytest -m bench -o addopts= tests/bench``.
"""

from __future__ import annotations

import html
import statistics
import time

import pytest

from harness.report.columns import COLUMNS
from harness.report.page.content import Page
from harness.report.page.html import render
from tests.harness.report import records
from tests.harness.report.conftest import Browser, browser

__all__ = ["browser"]

pytestmark = [pytest.mark.bench, pytest.mark.slow, pytest.mark.browser]

COUNT = 10_000
ROUNDS = 5
LIMIT = 0.5
"""Of the plain table's time: the report holds every site and sample beside the table, and builds what is looked at."""
OPENS_WITHIN_S = 3.0
"""On the clock, as people wait; the median of the rounds."""


def plain(rows):
    """Return the same table as HTML alone."""
    lines = (
        "".join(f"<td>{html.escape(text)}</td>" for text in (column.text(row) for column in COLUMNS)) for row in rows
    )
    return f"<!doctype html><table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def opening_s(window: Browser, path):
    """Return the seconds until a page is there, scripts run and laid out."""
    window.driver.get("about:blank")
    start = time.perf_counter()
    window.driver.get(path.as_uri())
    window.run("return document.body.offsetHeight")
    return time.perf_counter() - start


def test_a_report_of_ten_thousand_records_opens_before_a_plain_table(browser, ledger, tmp_path):
    rows = records.many(COUNT)
    report, table = tmp_path / "report.html", tmp_path / "table.html"
    report.write_text(render(Page(rows, "a-run"), rows), encoding="utf-8")
    table.write_text(plain(rows), encoding="utf-8")
    times = [(opening_s(browser, report), opening_s(browser, table)) for _ in range(ROUNDS + 1)][1:]
    mine, theirs = (statistics.median(side) for side in zip(*times, strict=True))
    ratio = statistics.median(one / other for one, other in times)
    for name, value in (("report", f"{mine:.2f} s"), ("plain table", f"{theirs:.2f} s"), ("ratio", f"{ratio:.2f}")):
        ledger.note("Opening 10,000 records in Chromium", "median", name, value)
    assert ratio < LIMIT
    assert mine < OPENS_WITHIN_S
