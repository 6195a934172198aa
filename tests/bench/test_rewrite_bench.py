"""Rewriting a package takes memory for its program, not for its weights."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from tests.bench.own_process import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.bench, pytest.mark.slow]

WIDTH, LAYERS = 2048, 12

MAKE = f"""
import sys
import coremltools as ct, numpy as np
from coremltools.converters.mil.converter import mil_convert
from coremltools.converters.mil.mil import Builder as mb, types

@mb.program(input_specs=[mb.TensorSpec((1, 4, {WIDTH}), dtype=types.fp16)], opset_version=ct.target.iOS17)
def program(x):
    for _ in range({LAYERS}):
        mean = mb.reduce_mean(x=mb.mul(x=x, y=x), axes=[-1], keep_dims=True)
        x = mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mean, y=np.float16(1e-5)), epsilon=1e-12))
        x = mb.mul(x=x, y=np.linspace(0.5, 1.5, {WIDTH}, dtype=np.float16))
        x = mb.linear(x=x, weight=np.full(({WIDTH}, {WIDTH}), 0.01, np.float16))
    return x

made = mil_convert(program, convert_from="milinternal", convert_to="mlprogram", specification_version=8,
                   compute_units=ct.ComputeUnit.CPU_AND_NE, skip_model_load=True, main_pipeline=ct.PassPipeline.EMPTY)
made.save(sys.argv[1])
"""

REWRITE = """
import resource, sys
import ane_rms
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
before = peak()
ane_rms.rewrite(sys.argv[1], sys.argv[2], lowering="layer_norm_affine", skip_model_load=True)
print(peak() - before, len(ane_rms.report(sys.argv[2]).fused))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the peak is read by the resource module")
def test_memory_does_not_grow_with_the_weights(tmp_path: Path) -> None:
    package, rewritten = tmp_path / "plain.mlpackage", tmp_path / "rewritten.mlpackage"
    run("-c", MAKE, package)
    size = (package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").stat().st_size
    used, fused = map(int, run("-c", REWRITE, package, rewritten).output.split())
    assert size > 2 * LAYERS * WIDTH * WIDTH
    assert fused == LAYERS
    assert used < 0.3 * size
