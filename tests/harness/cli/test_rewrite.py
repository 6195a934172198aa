"""The command ``rewrite``: a package in, a package out, and one line for what cannot be done."""

from __future__ import annotations

import coremltools as ct

import ane_rms
from tests.ane_rms.spellings import SPELLINGS
from tests.harness.command_line import harness
from tests.mil_tools import Norm, inputs, torch_program

SHAPE = (2, 8, 64)


def test_a_package_in_a_package_out(tmp_path):
    program = torch_program(Norm(SPELLINGS["A: gamma * (...).to"].function), SHAPE)
    ct.convert(program, inputs=inputs(SHAPE), skip_model_load=True).save(str(tmp_path / "in.mlpackage"))
    done = harness("rewrite", tmp_path / "in.mlpackage", tmp_path / "out.mlpackage", "--lowering", "max_abs")
    assert done.returncode == 0, done.stderr
    assert "1 fused, 0 missed (converted for CPU_AND_NE, max_abs)" in done.stdout
    assert [site.spelling for site in ane_rms.report(tmp_path / "out.mlpackage").fused] == ["mean_rsqrt_mul"]
    for arguments, said in (
        (("in.mlpackage", "out.mlpackage"), "out.mlpackage: there is something already"),
        (("absent.mlpackage", "new.mlpackage"), "absent.mlpackage: no such package"),
        (("in.mlpackage", "no/new.mlpackage"), "no: no such folder to write new.mlpackage into"),
        (("in.mlpackage", "new.mlpackage", "--function", "decode"), "has no function 'decode'; it has main"),
        (("in.mlpackage", "new.mlpackage", "--lowering", "maxabs"), "unknown lowering 'maxabs'; did you mean"),
    ):
        one, other, *more = arguments
        refused = harness("rewrite", tmp_path / one, tmp_path / other, *more)
        assert refused.returncode == 2
        assert said in refused.stderr
        assert refused.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mlpackage", "out.mlpackage"]
