"""The section of a model in headless Chromium: its sites, precision, times, history, and what went wrong."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By

from harness.records.series import Change, Point, Series
from harness.records.verdicts import Verdict
from harness.report.page.recent_nights import changes_of_late, nights
from tests.harness.report import records
from tests.harness.report.page.opened import assert_quiet, open_section, page, text

pytestmark = pytest.mark.browser


def test_a_models_section_shows_sites_precision_times_and_environment(browser):
    browser.open(page())
    browser.driver.find_element(By.LINK_TEXT, "mistral").click()
    section = browser.driver.find_element(By.ID, "model-mistral")
    assert section.get_attribute("open")
    shown = section.text
    for words in (
        "5 of 5 sites fused",
        "network.model.0.norm",
        "fused",
        "coreml",
        "median, ms",
        "macOS 26.1",
        "Apple M4",
        "ane 118",
    ):
        assert words in shown, words
    figures = [figure.text for figure in section.find_elements(By.TAG_NAME, "figcaption")]
    assert any(caption.startswith("one prediction, wall time, run by coreml") for caption in figures)
    assert section.find_elements(By.CSS_SELECTOR, "figure svg [data-mark=tick] line"), "raw samples are drawn"
    assert_quiet(browser)


def test_guard_rails_are_shown_with_the_rows_that_touch_them(browser):
    rows = [records.record(warnings=("h_0: width 9,000 is past A15's limit",)), records.record(variant="cpu")]
    browser.open(page(rows))
    section = open_section(browser, "llama").text
    assert "Guard rails that fused norms touch" in section
    assert "h_0: width 9,000 is past A15's limit on layer_norm" in section


def test_a_model_that_vanished_is_named_and_links_to_nothing(browser):
    gone = Verdict("regression", "qwen3", "qwen3", "row", "qwen3: vanished: 3 rows before, none now")
    browser.open(page([records.record()], base="before", verdicts=[gone]))
    assert "vanished: 3 rows before" in text(browser, ".findings")
    assert browser.driver.find_elements(By.CSS_SELECTOR, ".findings a") == []


def test_what_is_nearly_one_is_not_rounded_to_one(browser):
    browser.open(page([records.record(metrics={"cosine": 0.9999996, "top1": 1.0})]))
    assert "1 \u2212 4.0e-7" in open_section(browser, "llama").text


def test_a_row_that_ended_early_is_in_no_table_of_precision(browser):
    ended = records.record(
        variant="cpu", status="failed", reason="refused", metrics=dict.fromkeys(["rel_l2", "cosine"])
    )
    browser.open(page([records.record(metrics={"rel_l2": None, "cosine": 0.5}), ended]))
    section = open_section(browser, "llama").text
    assert section.count("not finite") == 1


def test_a_missed_norm_says_why_and_a_failed_row_shows_its_log(browser):
    browser.open(page())
    assert "eps is no constant" in open_section(browser, "qwen3").text
    failed = open_section(browser, "gemma")
    assert "op histc has no conversion" in failed.text
    assert "no norm was counted" in failed.text
    failed.find_element(By.XPATH, ".//summary[contains(., 'its process printed')]").click()
    assert "Traceback" in failed.text


def test_times_of_the_reference_executor_are_never_a_devices(browser):
    browser.open(page([records.record(samples={"predict": (0.1, 0.2, 0.3)})]))
    section = open_section(browser, "llama")
    captions = [
        one.text for one in section.find_elements(By.CSS_SELECTOR, "figcaption, caption") if "prediction" in one.text
    ]
    assert captions
    for caption in captions:
        assert "reference executor, an interpreter: no device's time" in caption
    browser.open(page([records.record()]))
    assert "no row of this model was timed on a device" in open_section(browser, "llama").text


def test_the_history_has_a_chart_and_what_came_with_a_change(browser):
    row = records.record(run_id="run9")
    points = tuple(Point(f"run{n}", f"2026-01-0{n + 1}T00:00:00+00:00", 121.0 if n < 6 else 125.0) for n in range(10))
    change = Change(
        "regression",
        points[6],
        points[5],
        121,
        125,
        "2026-01-07 03:00",
        "x: ops_after 125",
        ("torch 2.12 to 2.13",),
        ("c0ffee y",),
    )
    own = {0: [Series("llama", row.title, row.row, "ops_after", "1", "", points, (change,))]}
    browser.open(page([row], history=nights(own, [row]), changes=changes_of_late(own, [row])))
    assert "What changed of late" in text(browser, "main")
    section = open_section(browser, "llama").text
    assert "ops_after over 10 runs, run by the reference executor; a dashed line is a change point" in section
    assert "torch 2.12 to 2.13; c0ffee y" in section
    assert "2026-01-07 03:00" in section
    assert_quiet(browser)


def test_errors_by_regime_are_those_of_the_rows_lowerings(browser):
    errors = [{"lowering": name, "policy": "fp16", "by_regime": {"spike 300": value}} for name, value in
              (("layer_norm", 3.4e-4), ("max_abs", 1e-2), ("(rounding)", 3e-4))]  # fmt: skip
    browser.open(page([records.record()], regimes={"run": "some-run", "errors": errors}))
    section = open_section(browser, "llama").text
    assert "3.40e-4" in section
    assert "spike 300" in section
    assert "max_abs" not in section, "no row has it"


def test_a_link_from_outside_opens_its_section(browser):
    browser.open(page(), fragment="#model-qwen3")
    assert browser.driver.find_element(By.ID, "model-qwen3").get_attribute("open")
