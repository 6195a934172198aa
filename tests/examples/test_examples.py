"""Every example does what it says, and fails when it does not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from ane_rms.passes.strategies import STRATEGIES
from tests.examples.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Example = Callable[[str], Any]

FP16_LIMITS = {"mean_rel": 5e-4, "rel_l2": 5e-4}
"""One rounding of float16 is 2**-11 = 4.9e-4 at most, 2.8e-4 or less on average."""


def test_every_class_fuses_for_the_neural_engine_alone(example: Example, capsys: pytest.CaptureFixture[str]) -> None:
    results = example("pytorch_rms_norm_to_ane_example").main()
    printed = capsys.readouterr().out

    fused = {(one.norm, one.units): [site.spelling for site in one.report.fused] for one in results}
    spellings = {
        "EpsilonOutside": "l2_norm_div_epsilon_outside",
        "MeanAndRoot": "mean_sqrt_div",
        "WithoutEpsilon": "mean_sqrt_div",
        "WithoutGamma": "mean_sqrt_div",
    }
    assert fused == {
        (norm, units): [spelling] if units == "CPU_AND_NE" else []
        for norm, spelling in spellings.items()
        for units in ("CPU_AND_NE", "CPU_ONLY", "CPU_AND_GPU")
    }
    sites = {one.norm: one.report.fused[0] for one in results if one.units == "CPU_AND_NE"}
    assert {norm: site.has_gamma for norm, site in sites.items()} == {
        norm: norm != "WithoutGamma" for norm in spellings
    }
    assert {norm: site.epsilon for norm, site in sites.items()} == pytest.approx(
        {"EpsilonOutside": 1e-12, "MeanAndRoot": 1e-6, "WithoutEpsilon": 0.0, "WithoutGamma": 1e-6}
    )
    bounds = {norm: site.deviation_bound for norm, site in sites.items()}
    assert bounds.pop("EpsilonOutside") == pytest.approx(1e-4)  # eps / rms, 1e-6 / 1e-2
    assert set(bounds.values()) == {0.0}
    for one in results:
        assert one.metrics["rel_l2"] < 6e-4  # the plain form rounds more often than the fused one
    assert "l2_norm_div_epsilon_outside, epsilon 1e-12, with gamma, off by at most 1.0e-04" in printed
    assert "stated bound 1.0e-04" in printed


def test_the_deviation_bound_is_met_and_not_idle(example: Example) -> None:
    module = example("pytorch_rms_norm_to_ane_example")
    found = module.deviation(module.every_norm(module.SHAPE[-1])["EpsilonOutside"])
    assert found == pytest.approx(1e-4, rel=0.05)  # rows of RMS 0.01, epsilon 1e-6: the bound itself
    exact = module.deviation(module.every_norm(module.SHAPE[-1])["MeanAndRoot"])
    assert exact < module.FLOAT32_ROUNDING


def test_a_transformer_block_has_two_sites_and_its_twin_none(
    example: Example, capsys: pytest.CaptureFixture[str]
) -> None:
    results = example("transformer_block_example").main()
    report, layer_norms, rel_l2 = results["EpsilonOutside"]
    assert [site.shape for site in report.fused] == [(1, 128, 512)] * 2
    assert [site.module for site in report.fused] == ["before_attention", "before_linear"]
    assert (layer_norms, report.missed) == (2, ())
    assert rel_l2 < 1e-3
    report, layer_norms, rel_l2 = results["LayerNorm"]
    assert (report.fused, report.missed, layer_norms) == ((), (), 2)
    assert rel_l2 < 1e-3
    assert "LayerNorm: 0 sites fused, 2 ops layer_norm" in capsys.readouterr().out


def test_five_cases_of_compute_units(example: Example, capsys: pytest.CaptureFixture[str]) -> None:
    results = example("ane_rms_norm_compute_units_example").main()
    assert results == {
        "ALL": (0, True),
        "CPU_AND_GPU": (0, True),
        "CPU_ONLY": (0, True),
        "CPU_AND_NE": (1, False),
        "unset": (0, True),
    }
    assert capsys.readouterr().out.count("as ct.convert makes it") == 4


def test_a_hand_written_program_agrees_for_both_compute_units(example: Example) -> None:
    results = example("mil_ane_rms_norm_example").main()
    ops, lowered = results["CPU_AND_NE"]
    assert ops == ["mul", "concat", "layer_norm", "slice_by_index", "mul"]
    ops, expanded = results["CPU_ONLY"]
    assert ops == ["mul", "reduce_mean", "add", "sqrt", "real_div", "mul"]
    assert lowered.shape == expanded.shape == (1, 128, 512)
    difference = np.linalg.norm(lowered.astype(np.float64) - expanded) / np.linalg.norm(expanded.astype(np.float64))
    assert 0 < difference < 6e-4  # float16 rounds at different places in the two


def test_validation_against_pytorch(example: Example, capsys: pytest.CaptureFixture[str]) -> None:
    module = example("validation_example")
    results = module.main()
    assert len(results) == 4 * 3 + 2
    spiked = {name: metrics for (name, _), metrics in results.items() if name.startswith("spike")}
    for (name, shape), metrics in results.items():
        assert set(metrics) == {"max_abs", "mean_rel", "rel_l2"}
        if name in spiked:
            continue
        assert metrics["mean_rel"] < FP16_LIMITS["mean_rel"], (name, shape)
        assert metrics["rel_l2"] < FP16_LIMITS["rel_l2"], (name, shape)
        assert metrics["max_abs"] < 1e-2, (name, shape)  # values reach 7: four roundings there are 2**-7
    assert spiked["spike, fused"]["rel_l2"] < 6e-4
    assert "spike, plain" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "darwin", reason="what Core ML makes of an overflow is its own")
def test_the_plain_form_collapses_at_a_spike(example: Example) -> None:
    module = example("validation_example")
    x = module.torch.ones(1, 4, 512)
    x[..., 0] = module.SPIKE
    metrics = module.validate(module.MeanAndRoot(512).eval(), x, module.ct.convert)
    assert metrics["rel_l2"] == pytest.approx(1.0)  # every element is zero
    assert metrics["mean_rel"] == pytest.approx(1.0, rel=1e-4)


def test_only_the_last_axis_fuses_and_the_reason_says_so(example: Example, capsys: pytest.CaptureFixture[str]) -> None:
    results = example("axis_validation_example").main()
    assert [len(report.fused) for report in results.values()] == [1, 0, 0]
    assert results[(-1,)].missed == ()
    reasons = [miss.reason for axes in ((0,), (0, 1)) for miss in results[axes].missed]
    assert reasons == [
        "the mean is over axes [-3] of rank 3; only the last axis is fused: axes='any' fuses this one as well",
        "the mean is over axes [-3, -2] of rank 3; only the last axis is fused",
    ]
    printed = capsys.readouterr().out
    for reason in reasons:
        assert reason in printed


@pytest.mark.parametrize("name", ["axis_validation_example", "mil_ane_rms_norm_example", "validation_example"])
def test_an_example_ends_where_a_claim_does_not_hold(
    example: Example, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    module = example(name)
    monkeypatch.setattr(module, "REL_L2_LIMIT", 0.0)
    with pytest.raises(SystemExit, match="does not hold") as ended:
        module.main()
    assert isinstance(ended.value.code, str)  # Python prints it and exits with 1


def as_a_script(*command: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python as a user of the checkout does, and return how it ended."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_an_example_runs_as_a_script_without_chatter() -> None:
    done = as_a_script("examples/ane_rms_norm_compute_units_example.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert "CPU_AND_NE     1      fused and lowered" in done.stdout


def test_a_llama_is_fifteen_lines_and_fuses(tmp_path):
    source = ROOT / "examples" / "llama_example.py"
    code = source.read_text().partition('"""\n\n')[2].partition("\n\nconfig")
    assert len([line for line in "".join(code).splitlines() if line.strip()]) <= 22  # of which six are imports
    done = as_a_script("-W", "ignore", source, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "5 norms fused" in done.stdout
    assert (tmp_path / "llama.mlpackage").is_dir()


def test_a_norm_of_ones_own_has_its_reason(example: Example, capsys: pytest.CaptureFixture[str]) -> None:
    reports = example("own_norm_example").main()
    assert "axes" in reports["OverPositions"].missed[0].reason
    assert reports["Centred"].missed[0].reason
    assert reports["Mended"].missed == ()
    assert "missed" in capsys.readouterr().out


def test_the_lowerings_beside_each_other(example: Example, capsys: pytest.CaptureFixture[str]) -> None:
    errors = example("lowerings_example").main()
    assert set(errors) == set(STRATEGIES)
    assert errors["none"]["spike"] > 0.9
    assert "layer_norm_prescaled" in capsys.readouterr().out


def test_the_checks_of_a_repository_of_ones_own_run(tmp_path) -> None:
    copy = shutil.copytree(ROOT / "examples" / "own_repository", tmp_path / "own")
    chosen = ["-q", "-p", "harness.pytest_plugin", "--zoo", "llama", "--variant", "on"]
    done = as_a_script("-m", "pytest", *chosen, copy, cwd=copy)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
