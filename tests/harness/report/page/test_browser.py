"""The report in headless Chromium, used as people use it: by mouse, by keyboard, on a phone, in the dark."""

from __future__ import annotations

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from harness.records.series import Change, Point, Series
from harness.records.verdicts import KINDS, Verdict
from harness.report.page.content import Page
from harness.report.page.recent_nights import changes_of_late, nights
from tests.harness.report import records

pytestmark = pytest.mark.browser

ZOO = "#zoo-table table"
OPENS_WITHIN_S = 3.0
"""For 10,000 records, in seconds that the page's thread computes, so that other work on the machine does not count.
It takes a third of it; what is slower has built or laid out every row. tests/bench has the time on the clock."""


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


def test_the_verdict_comes_first_and_nothing_is_said_or_asked_for(browser):
    browser.open(page())
    assert text(browser, "h1") == "Not compared; 2 rows of 7 are not ok"
    for model in ("llama", "qwen3", "gemma", "mistral"):
        open_section(browser, model)
    assert_quiet(browser)


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


def test_printing_is_on_white_without_controls(browser):
    browser.open(page(), scheme="dark")
    browser.command("Emulation.setEmulatedMedia", media="print", features=[])
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert not browser.driver.find_element(By.ID, "filter").is_displayed()
