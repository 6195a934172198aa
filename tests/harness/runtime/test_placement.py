"""What plans add up to."""

from __future__ import annotations

import contextlib

import msgspec
import pytest

from harness.bench.messages import Prepare, Prepared, decode_item
from harness.bench.preparation import prepare
from harness.plan.lowerings import lowerings
from harness.plan.run_plan import Options
from harness.runtime import Source, open_executor
from harness.runtime.compute_plan import PlannedOp, hand_offs, moved, norm_kernels, summarize
from harness.zoo import catalog
from tests.scripted import native


def op(op_type, output, preferred, inputs=(), cost=None, function="main"):
    return PlannedOp(op_type, output, preferred, ("cpu",), cost, tuple(inputs), function)


PROGRAM = [
    op("cast", "x16", "unknown", ["x"]),
    op("concat", "doubled", "ane", ["x16"], 0.1),
    op("layer_norm", "ln", "cpu", ["doubled"], 0.5),
    op("slice_by_index", "half", "ane", ["ln"], 0.1),
    op("mul", "norm_cast_fp16", "ane", ["half"], 0.1),
    op("linear", "y", "gpu", ["norm_cast_fp16"], 0.2),
]


def test_shares_are_of_what_core_ml_estimates():
    found = summarize(PROGRAM, ["norm"])
    assert found.ops == {"ane": 3, "gpu": 1, "cpu": 1, "unknown": 1}
    assert found.cost == pytest.approx({"ane": 0.3, "gpu": 0.2, "cpu": 0.5})
    assert found.norms == {"cpu": 1}


def test_hand_offs_pass_over_ops_of_unknown_place():
    assert hand_offs(PROGRAM) == 3
    assert hand_offs([op("a", "a", "ane"), op("b", "b", "unknown"), op("c", "c", "ane")]) == 0


def test_functions_do_not_hand_over_to_each_other():
    assert hand_offs([op("a", "a", "ane", function="prefill"), op("b", "b", "cpu", function="decode")]) == 0


def test_a_norm_is_known_by_its_kernel_whatever_the_lowering():
    plain = [
        op("pow", "sq", "ane", ["x"]),
        op("reduce_mean", "ms", "ane", ["sq"]),
        op("rsqrt", "root", "cpu", ["ms"]),
        op("mul", "scaled", "ane", ["x", "root"]),
        op("mul", "norm", "ane", ["scaled"]),
    ]
    assert [one.op_type for one in norm_kernels(plain, ["norm"])] == ["rsqrt"]
    assert [one.output for one in norm_kernels(PROGRAM, ["norm", "not there"])] == ["ln"]


@pytest.mark.slow
@pytest.mark.parametrize("lowering", ["", *lowerings()])
def test_the_norms_of_a_zoo_model_are_found_in_its_package(lowering, monkeypatch, tmp_path):
    script = tmp_path / "script.json"
    script.write_text("{}")
    monkeypatch.setenv(native.VARIABLE, str(script))
    native.install(monkeypatch.setattr, monkeypatch.setitem)
    spec = catalog.load_zoo()["qwen3"]  # some of whose values have numbers for names
    options = Options(("on",) if lowering else ("off",), lowerings=(lowering,))
    request = Prepare(spec, options, options.cases(), str(tmp_path))
    items = [decode_item(one) for one in prepare(msgspec.json.encode(request), lambda _: None)]
    (made,) = (one for one in items if isinstance(one, Prepared))
    with contextlib.closing(open_executor("coreml", Source(made.package))) as executor:
        ops = executor.placement()
    assert len({one.output for one in norm_kernels(ops, made.norms)}) == spec.expected_norms("quick") == 9
    assert (made.facts.fused, made.problem) == (9 if lowering else 0, "")


def test_names_are_compared_as_packages_store_them():
    ops = [
        op("layer_norm", "h_11_ln", "ane"),
        op("mul", "h_11_cast_fp16", "ane", ["h_11_ln"]),
        op("rsqrt", "var_3", "cpu"),
    ]
    assert [one.output for one in norm_kernels(ops, ["h.11", "3"])] == ["h_11_ln", "var_3"]


def test_a_plan_without_costs_has_no_shares():
    assert summarize([op("mul", "y", "ane")]).cost == {}
    assert summarize([]).ops == {}


def test_what_moved_is_told_by_type_and_device():
    after = [one for one in PROGRAM if one.op_type != "layer_norm"] + [op("layer_norm", "ln", "ane")]
    assert moved(PROGRAM, after) == [("layer_norm", "ane", 0, 1), ("layer_norm", "cpu", 1, 0)]
