"""One class of registry, whether ``ane_rms`` or the harness is imported first, and coremltools only with the former."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

HARNESS_FIRST = """
import sys
from harness.system.light_registry import Registry
assert not {"ane_rms", "coremltools", "numpy"} & set(sys.modules)
from ane_rms.passes.strategies import STRATEGIES
assert type(STRATEGIES) is Registry
from ane_rms import registry
assert registry.Registry is Registry
"""
ANE_RMS_FIRST = """
from ane_rms.passes.strategies import STRATEGIES
from harness.system.light_registry import Registry
assert type(STRATEGIES) is Registry
"""


@pytest.mark.parametrize("code", [HARNESS_FIRST, ANE_RMS_FIRST], ids=["harness first", "ane_rms first"])
def test_there_is_one_class(code):
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
