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

def norm(x):
    mean = mb.reduce_mean(x=mb.mul(x=x, y=x), axes=[-1], keep_dims=True)
    normal = mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mean, y=np.float16(1e-5)), epsilon=1e-12))
    return mb.mul(x=normal, y=np.linspace(0.5, 1.5, {WIDTH}, dtype=np.float16))

@mb.program(input_specs=[mb.TensorSpec((1, 4, {WIDTH}), dtype=types.fp16)], opset_version=ct.target.iOS17)
def program(x):
    for at in range({LAYERS}):
        weight = np.full(({WIDTH}, {WIDTH}), 0.01 * (at + 1), np.float16)  # equal ones would be one, and not be scaled
        x = mb.add(x=x, y=mb.linear(x=norm(x), weight=weight))
    return norm(x)

made = mil_convert(program, convert_from="milinternal", convert_to="mlprogram", specification_version=8,
                   compute_units=ct.ComputeUnit.CPU_AND_NE, skip_model_load=True, main_pipeline=ct.PassPipeline.EMPTY)
made.save(sys.argv[1])
"""

REWRITE = """
import resource, sys
import ane_rms
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
def measure(program):
    (main,) = program.functions.values()
    results = [op.outputs[0].name for op in main.operations if op.op_type == "linear"]
    return {name: ane_rms.Magnitude(1e6, typical=1e3) for name in results}
rescale = {"none": None, "factor": 2.0**-4, "measured": measure}[sys.argv[3]]
before = peak()
ane_rms.rewrite(sys.argv[1], sys.argv[2], lowering="layer_norm_affine", rescale=rescale, skip_model_load=True)
report = ane_rms.report(sys.argv[2])
print(peak() - before, len(report.fused), sum(len(one.weights) for one in report.rescaled))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "plain.mlpackage"
    run("-c", MAKE, path)
    return path


@pytest.mark.skipif(sys.platform == "win32", reason="the peak is read by the resource module")
@pytest.mark.parametrize(("rescale", "scaled"), [("none", 0), ("factor", LAYERS), ("measured", LAYERS)])
def test_memory_does_not_grow_with_the_weights(rescale: str, scaled: int, package: Path, tmp_path: Path) -> None:
    size = (package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").stat().st_size
    used, fused, weights = map(int, run("-c", REWRITE, package, tmp_path / "out.mlpackage", rescale).output.split())
    assert size > 2 * LAYERS * WIDTH * WIDTH
    assert (fused, weights) == (LAYERS + 1, scaled)
    assert used < 0.3 * size
