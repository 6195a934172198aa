"""Steps: their time, and the memory they took at most."""

from __future__ import annotations

import time

import numpy as np
import pytest

from harness.run.steps import Steps

SIZE_BYTES = 200_000_000


def test_time_and_memory_are_of_the_step():
    steps = Steps([].append)
    with steps.timed("export"):
        time.sleep(0.05)
    with steps.timed("execute"):
        block = np.ones(SIZE_BYTES, np.uint8)
        time.sleep(0.1)
        del block
    figures = steps.figures()
    assert 0.05 <= figures["seconds"]["export"] < 5
    peaks = figures["peak_memory_bytes"]
    assert peaks["execute"] - peaks["export"] > 0.8 * SIZE_BYTES, "the block is gone again before the step ends"


def test_a_step_that_fails_has_no_time():
    steps = Steps([].append)
    with pytest.raises(ZeroDivisionError), steps.timed("execute"):
        _ = 1 // 0
    assert steps.figures() == {"seconds": {}, "peak_memory_bytes": {}}


def test_steps_are_announced_shared_and_forgotten():
    said = []
    shared, steps = Steps(said.append), Steps(said.append)
    with shared.timed("convert_plain", "convert plain"):
        pass
    steps.include(shared)
    steps.same("convert", "convert_plain")
    with steps.timed("execute"):
        pass
    assert said == ["convert plain"]
    assert list(steps.figures()["seconds"]) == ["convert", "execute"]
    assert shared.figures()["seconds"] == {}
    steps.forget("execute")
    steps.forget("load")
    assert list(steps.figures()["seconds"]) == ["convert"]
