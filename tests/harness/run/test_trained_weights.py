"""The collapse and its cure on SmolLM2's trained weights, where `ane-harness weights get smollm2` has fetched them."""

from __future__ import annotations

import json
import os

import pytest

from harness.system.cache_folder import VARIABLE
from harness.zoo.catalog import load_zoo
from harness.zoo.weights_folder import fetched, weights_folder
from tests.harness.command_line import harness

THREE_GB = 3_000_000_000


@pytest.fixture
def _own_weights(tmp_path, monkeypatch):
    """Have a cache of the test's own, with the weights of the user's cache."""
    if own := os.environ["ANE_HARNESS_OWN_CACHE"]:
        monkeypatch.setenv(VARIABLE, own)
    else:
        monkeypatch.delenv(VARIABLE)  # the platform's folder
    trained = load_zoo()["smollm2"].trained
    if trained is None or fetched(trained) is None:
        pytest.skip("SmolLM2's weights are not fetched: ane-harness weights get smollm2")
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "weights").symlink_to(weights_folder())
    monkeypatch.setenv(VARIABLE, str(cache))


@pytest.mark.slow
@pytest.mark.usefixtures("_own_weights")
def test_off_collapses_and_on_is_fine_and_the_second_run_takes_both_from_the_cache(tmp_path):
    asked = ("smollm2", "--tier", "trained", "--variant", "off", "--variant", "on", "--results", tmp_path / "results")
    done = harness("run", *asked, "--format", "json")
    assert done.returncode == 0, done.stderr
    off, on = json.loads(done.stdout)
    assert (off["status"], off["outcome"], off["metrics"]["top1"]) == ("ok", "collapsed", 0.0)
    assert (on["status"], on["outcome"], on["metrics"]["top1"], on["fused"]) == ("ok", "fine", 1.0, 61)
    assert on["metrics"]["rel_l2"] < 8e-3
    for row in (off, on):
        assert max(row["peak_memory_bytes"].values()) < THREE_GB
        assert not row["cached"]
    again = json.loads(harness("run", *asked, "--format", "json").stdout)
    for first, second in zip((off, on), again, strict=True):
        assert second["cached"]
        assert second["outcome"] == first["outcome"]
        assert second["metrics"] == pytest.approx(first["metrics"], rel=1e-3)
