"""``history`` as a person reads it, whole: since which night a figure is at another level."""

from __future__ import annotations

import shlex

import pytest

from harness.judge.nightly_series import history
from harness.report import history_table
from tests.harness.cli.test_verdicts import harness
from tests.harness.example_records import METRICS, record, write_run


@pytest.fixture
def results(tmp_path):
    for night in range(1, 21):
        worse = night > 12
        noise = 1 + 0.01 * (night % 3)
        write_run(
            tmp_path,
            f"202601{night:02}",
            [
                record("llama", metrics={**METRICS, "rel_l2": noise * (4.2e-3 if worse else 1.5e-3)}),
                record("qwen3", fused=2 if worse else 3),
                record("gemma2"),
            ],
        )
    return tmp_path


@pytest.mark.parametrize("form", ["github", "tsv"])
def test_the_changes_of_figures_over_nights(results, form, snapshot):
    code, out, _ = harness("history", "--all", "--format", form, "--results", results)
    assert code == 0
    assert out.replace(str(results), "RESULTS") == snapshot


def test_the_command_below_the_table_compares_the_runs_before_and_after(results):
    _, out, _ = harness("history", "--results", results)
    (_, command) = out.split("The runs before and after a change:\n\n")
    program, *words = shlex.split(command.replace("\\\n", ""))  # as a shell continues a line
    assert (program, *words[:3]) == ("ane-harness", "compare", "20260112", "20260113")
    code, out, _ = harness(*words)
    assert code == 1
    assert "rel_l2" in out
    assert "fused" in out


def test_two_nights_between_which_several_figures_changed_are_named_once(results):
    found = history_table.comparisons(history(results))
    assert found == ["ane-harness compare 20260112 20260113"]
    assert history_table.comparisons([]) == []
