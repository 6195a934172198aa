"""The plot of the norm's own cost in headless Chromium: every panel and line is drawn, and nothing is refused."""

from __future__ import annotations

import pytest

from harness.report.page.norm_page import norm_page
from tests.harness.example_records import record

LOWERINGS = ("layer_norm", "max_abs")


def rows():
    """Return rows of two precisions, two numbers of tokens and two widths, each with its program without a norm."""
    found = []
    for precision in ("FLOAT16", "FLOAT32"):
        for size in ("1x64", "1x256", "64x64", "64x256"):
            timed = {"model": "rms_norm", "size": size, "pair": f"{precision} {size}", "compute_precision": precision}
            found.append(record(variant="off", lowering="", samples={"predict": (1e-3, 1.1e-3, 1.2e-3)}, **timed))
            found += [
                record(variant="on", lowering=name, samples={"predict": (1.1e-3, 1.3e-3, 1.4e-3)}, **timed)
                for name in LOWERINGS
            ]
    return found


def test_a_page_without_a_cost_says_no_executor():
    assert "Executor: none." in norm_page([record()]).decode()


@pytest.mark.browser
def test_every_panel_is_drawn_and_the_policy_refuses_nothing(browser):
    browser.path.write_bytes(norm_page(rows()))
    browser.driver.get(browser.path.as_uri())
    assert browser.said() == []
    assert browser.run("return [...document.querySelectorAll('figcaption')].map((one) => one.innerText)") == [
        "FLOAT16",
        "FLOAT32",
    ]
    assert browser.run("return document.querySelectorAll('#legend li').length") == len(LOWERINGS)
    # In each figure: two numbers of tokens, two widths, two lowerings.
    drawn = "return [...document.querySelectorAll('figure')].map((one) => one.querySelectorAll('circle').length)"
    assert browser.run(drawn) == [8, 8]
