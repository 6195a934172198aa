"""A worse level is red on every night, in every output, until it is accepted with a reason."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest

from tests.harness.cli.test_verdicts import harness
from tests.harness.example_records import MAC, METRICS, record, write_run

QUIET = 20


def nights(folder, times=(), *, count=QUIET, later=4, **fields):
    """Write ``count`` quiet nights and ``later`` changed ones: times are multiplied, other fields set.

    A list has a value for each changed night.
    """
    rng = np.random.default_rng(3)
    for night in range(count + later):
        changed = night >= count
        slower = 1.0 if not changed else times[night - count] if isinstance(times, list) else times
        samples = tuple((2e-3 * slower * np.exp(rng.normal(0, 0.01)) * np.exp(rng.normal(0, 0.005, 15))).tolist())
        more = {
            key: value[night - count] if isinstance(value, list) else value for key, value in fields.items() if changed
        }
        time = f"2026-01-{night + 1:02}T01:00:00+00:00"
        row = record("llama", executor="coreml", samples={"predict": samples}, **{"time": time, **more})
        write_run(folder, f"202601{night + 1:02}T010000.000000Z", [row])


def outputs(folder, *options):
    """Judge the newest night; return the exit code, and the headline of each of the outputs."""
    code, out, _ = harness("nightly", "--results", folder, "--base", "baselines", *options)
    tables = folder / "tables"
    page = (tables / "nightly.md").read_text(encoding="utf-8")
    report = (tables / "nightly.html").read_text(encoding="utf-8")
    root = ET.parse(tables / "nightly.xml").getroot()  # noqa: S314 - written by this test
    told = {
        "terminal": out.partition(": ")[0],
        "page": page.partition("\n")[0].removeprefix("# "),
        "report": re.search(r'<h1 id="verdict">(.*?)</h1>', report)[1],
        "junit": next(one.attrib["value"] for one in root.iter("property") if one.attrib["name"] == "headline"),
    }
    assert len(set(told.values())) == 1, told
    return code, told["page"], int(root.attrib["failures"])


@pytest.mark.parametrize("slower", [1.4, 1.06])
def test_a_slowdown_of_four_nights_is_red_in_every_output_until_it_is_accepted(tmp_path, slower):
    nights(tmp_path, slower)
    assert outputs(tmp_path) == (1, "1 row got worse in 1 figure", 1)
    code, out, err = harness("accept", "llama", "predict", "--reason", "a slower torch", "--results", tmp_path)
    assert (code, out.partition(":")[0]) == (0, "accepted")
    assert "accepted.jsonl" in err
    code, headline, failures = outputs(tmp_path)
    assert (code, failures) == (0, 0)
    assert "1 row accepted as worse in 1 figure" in headline
    assert "a slower torch" in (tmp_path / "tables" / "nightly.md").read_text(encoding="utf-8")


def test_a_slowdown_that_is_over_is_green(tmp_path):
    nights(tmp_path, 1.4)
    for night in range(3):
        write_run(
            tmp_path,
            f"202602{night + 1:02}T010000.000000Z",
            [record("llama", executor="coreml", samples={"predict": (2e-3,) * 15})],
        )
    assert outputs(tmp_path)[0] == 0


def test_several_figures_of_a_row_are_counted_alike_until_each_is_accepted(tmp_path):
    nights(tmp_path, 1.4, metrics=METRICS | {"rel_l2": 3e-3}, fused=2)
    assert outputs(tmp_path) == (1, "1 row got worse in 3 figures", 3)
    for figure in ("predict", "rel_l2"):
        assert harness("accept", "llama", figure, "--reason", "known", "--results", tmp_path)[0] == 0
    assert outputs(tmp_path) == (1, "1 row got worse in 1 figure; 1 row accepted as worse in 2 figures", 1)


def test_an_accepted_slowdown_that_was_over_and_is_back_is_red_again(tmp_path):
    nights(tmp_path, 1.4)
    assert harness("accept", "llama", "predict", "--reason", "known", "--results", tmp_path)[0] == 0
    nights(tmp_path, [1.4] * 4 + [1.0] * 4, later=8)
    assert outputs(tmp_path)[0] == 0
    nights(tmp_path, [1.4] * 4 + [1.0] * 4 + [1.4] * 3, later=11)
    assert outputs(tmp_path) == (1, "1 row got worse in 1 figure", 1)


def test_another_machine_is_not_judged_by_the_nights_of_the_first(tmp_path):
    nights(tmp_path, 1.4, environment=msgspec.structs.replace(MAC, chip="Apple M5"))
    assert outputs(tmp_path)[0] == 0


def test_a_drift_of_precision_is_red(tmp_path):
    drift = [METRICS | {"rel_l2": 1.5e-3 * 1.1**night} for night in range(1, 5)]
    nights(tmp_path, 1.0, metrics=drift)
    code, headline, failures = outputs(tmp_path)
    assert (code, headline, failures) == (1, "1 row got worse in 1 figure", 1)


def test_a_metric_that_is_not_finite_is_red_every_night(tmp_path):
    nights(tmp_path, 1.0, metrics=METRICS | {"rel_l2": None})
    assert outputs(tmp_path)[0] == 1


def test_a_norm_that_is_lost_and_found_again_is_red_and_then_green(tmp_path):
    nights(tmp_path, 1.0, later=2, fused=[2, 2], missed=[1, 1])
    assert outputs(tmp_path)[0] == 1
    write_run(tmp_path, "20260201T010000.000000Z", [record("llama", executor="coreml")])
    assert outputs(tmp_path)[0] == 0


def test_what_did_not_get_worse_cannot_be_accepted(tmp_path):
    nights(tmp_path, 1.0)
    code, _, err = harness("accept", "llama", "predict", "--reason", "none", "--results", tmp_path)
    assert code == 2
    assert "llama predict: did not get worse, so there is nothing to accept; nothing got worse in this run" in err


def test_an_acceptance_needs_a_reason(tmp_path):
    nights(tmp_path, 1.4)
    code, _, err = harness("accept", "llama", "predict", "--reason", " ", "--results", tmp_path)
    assert (code, err.strip()) == (2, "ane-harness: --reason: is empty; say why the new level is accepted")


def test_the_first_night_makes_its_table_and_says_what_to_commit(tmp_path):
    write_run(tmp_path, "20260101T010000.000000Z", [record("llama")])
    assert outputs(tmp_path)[:2] == (0, "Not compared; 1 row ok")
    page = (tmp_path / "tables" / "nightly.md").read_text(encoding="utf-8")
    assert "`ane-harness expect --update`" in page
    assert "| llama" in page


def test_a_model_that_is_gone_is_red_and_counts_as_one_row(tmp_path):
    write_run(tmp_path, "20260101T010000.000000Z", [record("llama"), record("qwen3")])
    assert harness("expect", "--update", "--results", tmp_path)[0] == 0
    for night in (2, 3):
        write_run(tmp_path, f"202601{night:02}T010000.000000Z", [record("llama")])
        assert outputs(tmp_path) == (1, "1 row got worse in 1 figure", 1)
    assert harness("accept", "qwen3", "row", "--reason", "left the zoo", "--results", tmp_path)[0] == 0
    assert outputs(tmp_path) == (0, "Nothing got worse in 2 rows; 1 row accepted as worse in 1 figure", 0)


@pytest.mark.parametrize(
    "fields", [{"metrics": METRICS | {"rel_l2": None}}, {"fused": 2, "missed": 1}], ids=["not finite", "norm lost"]
)
def test_a_figure_that_is_lost_is_one_row_and_one_figure_in_every_output_until_accepted(tmp_path, fields):
    nights(tmp_path, 1.0, **fields)
    assert outputs(tmp_path) == (1, "1 row got worse in 1 figure", 1)
    figure = "rel_l2" if "metrics" in fields else "fused"
    assert harness("accept", "llama", figure, "--reason", "known", "--results", tmp_path)[0] == 0
    code, headline, failures = outputs(tmp_path)
    assert (code, failures) == (0, 0)
    assert headline.endswith("1 row accepted as worse in 1 figure")


def test_a_comparison_of_equals_says_that_both_are_beyond_an_earlier_level(tmp_path):
    nights(tmp_path, 1.4)
    code, out, _ = harness("compare", "latest~1", "latest", "--results", tmp_path)
    assert code == 0
    (line,) = [one for one in out.splitlines() if one.startswith("beyond an earlier level: ")]
    assert re.search(r"llama on layer_norm: predict 2\.\d+ ms since 2026-01-21, 2\.?\d* ms before \(\+\d+\.\d%\)", line)


def test_a_comparison_without_an_earlier_level_says_nothing(tmp_path):
    nights(tmp_path, 1.0)
    assert "beyond an earlier" not in harness("compare", "latest~1", "latest", "--results", tmp_path)[1]
