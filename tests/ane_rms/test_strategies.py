"""The lowering strategies: each equals RMSNorm, with its own ops, and its own fate in float16."""

from __future__ import annotations

from functools import cache

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb

import ane_rms
from ane_rms.passes.strategies import STRATEGIES, strategy
from harness.interpreter import ReferenceModel
from harness.measure.input_regimes import REGIMES, ROUNDING, measure
from tests.ane_rms.program_text import lowered_text
from tests.mil_tools import NE, op_types, options, regimes, rms_norm64

NAMES = list(STRATEGIES)
FLOAT32_ROUNDING = 3e-6
"""Some roundings of float32 (6e-8) through sums of 128 squares."""

OPS = {
    "layer_norm": ["mul", "concat", "layer_norm", "slice_by_index", "mul"],
    "layer_norm_affine": ["mul", "concat", "layer_norm", "slice_by_index"],
    "l2_norm": ["expand_dims", "l2_norm", "squeeze", "mul"],
    "reduce_l2_norm": ["concat", "reduce_l2_norm", "real_div", "mul"],
    "none": ["mul", "reduce_mean", "add", "sqrt", "real_div", "mul"],
}
OPS_BARE = {
    "layer_norm": OPS["layer_norm"][:-1],
    "layer_norm_affine": OPS["layer_norm_affine"],
    "l2_norm": OPS["l2_norm"],
    "reduce_l2_norm": OPS["reduce_l2_norm"],
    "none": OPS["none"][:-1],
}


@cache
def one_norm(lowering, shape, axes=(-1,), *, gamma=True, epsilon=1e-5, target=ct.target.iOS17, **more):
    """Return (model, gamma spread over x's rank) of a program of one norm; several tests read one conversion."""
    positive = sorted(axis % len(shape) for axis in axes)
    values = np.random.default_rng(5).uniform(0.5, 1.5, [shape[i] for i in positive]).astype(np.float32)

    @mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=target)
    def program(x):
        given = {"gamma": values} if gamma else {}
        return mb.ane_rms_norm(x=x, axes=list(axes), epsilon=np.float32(epsilon), name="y", **given)

    model = ane_rms.convert(program, lowering=lowering, **options(NE, minimum_deployment_target=target, **more))
    spread = values.reshape([n if i in positive else 1 for i, n in enumerate(shape)])
    return model, spread if gamma else None


@pytest.mark.parametrize("gamma", [True, False], ids=["gamma", "bare"])
@pytest.mark.parametrize("lowering", OPS)
def test_the_ops_of_a_norm(lowering, gamma):
    model, _ = one_norm(lowering, (2, 8, 64), gamma=gamma)
    assert [name for name in op_types(model) if name != "cast"] == (OPS if gamma else OPS_BARE)[lowering]
    assert ane_rms.report(model).lowering == lowering


@pytest.mark.parametrize("gamma", [True, False], ids=["gamma", "bare"])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((6, 64), (-1,)),
        ((2, 8, 64), (-1,)),
        ((2, 3, 4, 64), (-1,)),
        ((64,), (-1,)),
        ((7, 1), (-1,)),
        ((2, 64, 1, 8), (1,)),
        ((2, 8, 64), (-2, -1)),
        ((2, 8, 64), (0,)),
    ],
)
@pytest.mark.parametrize("lowering", NAMES)
def test_every_strategy_equals_rms_norm(lowering, shape, axes, gamma):
    model, spread = one_norm(lowering, shape, axes, gamma=gamma, compute_precision=ct.precision.FLOAT32)
    x = regimes((8, 64))[:1].reshape(64) if shape == (64,) else regimes(shape)
    positive = tuple(axis % len(shape) for axis in axes)
    expected = rms_norm64(x, spread, 1e-5, positive)
    (actual,) = ReferenceModel(model).predict({"x": x}).values()
    np.testing.assert_allclose(actual, expected, rtol=FLOAT32_ROUNDING, atol=FLOAT32_ROUNDING)


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS16, ct.target.iOS18])
@pytest.mark.parametrize("lowering", NAMES)
def test_every_strategy_converts_for_every_target(lowering, target):
    model, spread = one_norm(lowering, (2, 8, 64), target=target)
    x = np.random.default_rng(0).standard_normal((2, 8, 64)).astype(np.float32)
    (actual,) = ReferenceModel(model, "fp16").predict({"x": x}).values()
    np.testing.assert_allclose(actual, rms_norm64(x, spread, 1e-5), rtol=4e-3, atol=2e-3)  # roundings of float16


@pytest.mark.parametrize("policy", ["fp16", "fp16-blocked", "fp16-sequential"])
@pytest.mark.parametrize("epsilon", [1e-12, 1e-8, 1e-6, 1e-5, 1e-2])
@pytest.mark.parametrize("lowering", NAMES)
def test_zero_rows_give_zeros_whenever_epsilon_is_positive(lowering, epsilon, policy):
    model, _ = one_norm(lowering, (1, 4, 256), epsilon=epsilon)
    (actual,) = ReferenceModel(model, policy).predict({"x": np.zeros((1, 4, 256), np.float32)}).values()
    np.testing.assert_array_equal(actual, 0.0)


@pytest.fixture(scope="module")
def errors():
    """Return the errors of the table of regimes, by (lowering, policy)."""
    found = measure(NAMES, ["fp16", "fp16-blocked"])
    return {(one.lowering, one.policy): one.by_regime for one in found}


@pytest.mark.parametrize("regime", REGIMES)
@pytest.mark.parametrize(
    ("lowering", "policy"),
    [
        ("layer_norm", "fp16"),
        ("layer_norm_affine", "fp16"),
        ("max_abs", "fp16"),
        ("layer_norm_prescaled", "fp16"),
        ("layer_norm_prescaled", "fp16-blocked"),
    ],
)
def test_no_regime_costs_more_than_one_and_a_half_roundings(errors, lowering, policy, regime, ledger):
    rounding, error = errors[ROUNDING, "fp16"][regime], errors[lowering, policy][regime]
    assert error <= 1.5 * rounding if rounding else error == 0
    ledger.note("regime", regime, f"{lowering} {policy}", f"{error / rounding:.2f}" if rounding else "0")


def test_spikes_silently_zero_what_the_others_keep(errors):
    assert errors["none", "fp16"]["spike 2,500"] == 1.0
    assert errors["layer_norm", "fp16-blocked"]["spike 2,500"] == 1.0


@pytest.mark.parametrize(("target", "exact"), [(ct.target.iOS16, False), (ct.target.iOS17, True)])
@pytest.mark.parametrize("lowering", ["layer_norm", "layer_norm_affine"])
def test_epsilon_stays_what_it_was_from_ios17_on(lowering, target, exact):
    model, _ = one_norm(lowering, (2, 8, 64), epsilon=1e-6, target=target)
    (op,) = [op for op in model._mil_program["main"].operations if op.op_type == "layer_norm"]
    assert float(op.epsilon.val) == pytest.approx(1e-6 if exact else float(np.float16(1e-6)), rel=1e-7)
    assert op.outputs[0].dtype.__name__ == "fp16"


def test_an_epsilon_below_float16_stays_its_smallest_number():
    model, _ = one_norm("layer_norm", (2, 8, 64), epsilon=1e-12)
    (op,) = [op for op in model._mil_program["main"].operations if op.op_type == "layer_norm"]
    assert float(op.epsilon.val) == pytest.approx(2.0**-24, rel=1e-2)


@pytest.mark.parametrize("lowering", NAMES)
def test_the_traits_of_a_lowering_hold_of_its_program(lowering):
    model, _ = one_norm(lowering, (2, 8, 64), compute_precision=ct.precision.FLOAT32)
    (function,) = model._mil_program.functions.values()
    norms = [op for op in function.operations if op.op_type == "layer_norm"]
    traits = STRATEGIES[lowering]
    assert traits.doubles_axis == any(op.x.shape[-1] >= 128 for op in norms)
    assert traits.keeps_epsilon == any(float(op.epsilon.val) == np.float32(1e-5) for op in norms)
    assert traits.rescales_rows == any(op.op_type == "reduce_max" for op in function.operations)
    squared = any(
        op.op_type in ("square", "mul") and op.outputs[0].name.endswith("_square") for op in function.operations
    )
    assert traits.squares_stay_inside != squared


def test_a_name_is_registered_once():
    def layer_norm(op):
        return op

    with pytest.raises(ValueError, match=r"'layer_norm' is registered already, at .*strategies\.py:\d+"):
        strategy()(layer_norm)


@pytest.mark.parametrize("lowering", NAMES)
def test_the_program_of_a_lowering_op_by_op(lowering, snapshot):
    """The reader sees what each lowering writes, and a change of it in the diff."""
    assert lowered_text(lowering) == snapshot
