"""``history`` as a person reads it, whole: since which night a figure is at another level."""

from __future__ import annotations

import pytest

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
    assert out == snapshot
