"""A coremltools of another text: every replacement steps aside by itself, says so once, and packages stay right."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import coremltools
import pytest

ALTERED = {
    "converters/mil/mil/operation.py": ["get_flattened_inputs", "type_value_inference"],
    "converters/mil/mil/program.py": ["validate", "get_new_symbol"],
    "converters/mil/mil/block.py": ["_propagate_nonreplaceable_vars", "__enter__", "curr_block", "validate"],
    "converters/mil/mil/var.py": ["scopes", "_get_dtype"],
    "converters/mil/mil/ops/defs/iOS15/control_flow.py": ["_get_type_val"],
    "converters/mil/mil/passes/defs/optimize_normalization.py": ["apply"],
    "converters/mil/mil/passes/defs/optimize_repeat_ops.py": ["apply_transform"],
    "converters/mil/mil/passes/graph_pass.py": ["__call__"],
    "converters/mil/mil/passes/pass_pipeline.py": ["apply_pipeline", "remove_passes"],
    "converters/mil/mil/passes/defs/quantization.py": ["fp16_overflow"],
    "converters/mil/mil/types/symbolic.py": ["any_symbolic"],
    "converters/mil/mil/types/type_mapping.py": ["is_tensor", "numpy_type_to_builtin_type"],
    "converters/mil/converter.py": ["mil_convert_to_proto"],
    "converters/mil/backend/mil/helper.py": ["_get_offset_by_writing_data"],
    "models/utils.py": ["_create_mlpackage"],
    "converters/mil/frontend/torch/ops.py": ["rms_norm", "_construct_constant"],
    "converters/mil/frontend/torch/converter.py": ["_add_const"],
}
"""Functions of coremltools that get another text, by file."""

NOT_ASKED = ("remove_passes", "__enter__", "curr_block")
"""The first of the installation alone; one of the two others speaks for both."""

CANDIDATE = """
import logging, sys
import coremltools as ct, torch
import ane_rms
from tests.ane_rms.coremltools_patches import conversions

assert ct.__file__.startswith(sys.argv[1]), ct.__file__
said = []
handler = logging.Handler()
handler.emit = lambda record: said.append(record.getMessage())
logging.getLogger("coremltools").addHandler(handler)
lean = conversions.lean(0)
print("same" if conversions.digest(lean) == conversions.digest(conversions.installed(0)) else "differs")
print("fused", len(ane_rms.report(lean).fused))
first = said[: next((i for i, line in enumerate(said) if line in said[:i]), len(said))]
print(*[line for line in first if line.startswith("ane_rms: ")], sep="\\n")
"""


def alter(source: str, function: str) -> str:
    """Put a comment behind the first line of a function's head."""
    altered, count = re.subn(rf"(?m)^(\s*def {function}\()", r"\1  # another text\n", source)
    assert count, function
    return altered


@pytest.mark.slow
def test_everything_steps_aside_in_a_copy(tmp_path):
    copy = tmp_path / "coremltools"
    shutil.copytree(Path(coremltools.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__", "test"))
    for name, functions in ALTERED.items():
        path = copy / name
        source = path.read_text(encoding="utf-8")
        for function in functions:
            source = alter(source, function)
        path.write_text(source, encoding="utf-8")
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
    done = subprocess.run(
        [sys.executable, "-c", CANDIDATE, str(tmp_path)],
        capture_output=True, text=True, check=False, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    same, fused, *said = done.stdout.splitlines()
    assert (same, fused) == ("same", "fused 1")
    for functions in ALTERED.values():
        for function in functions:
            lines = [line for line in said if function in line or (function == "fp16_overflow" and "fp16_cast" in line)]
            assert lines or function in NOT_ASKED, (function, said)
    assert any("__enter__" in line or "curr_block" in line for line in said)
    assert len(said) == len(set(said))
