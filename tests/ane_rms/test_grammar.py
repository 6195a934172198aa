"""The grammar at its edges: forms that no model of the zoo or library writes, built op by op in MIL."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY as REGISTRY
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import get_new_symbol

import ane_rms
from ane_rms.coremltools_patches.bfloat16 import reading_bfloat16
from ane_rms.coremltools_patches.guard import digest
from ane_rms.coremltools_patches.lean import leaner
from ane_rms.coremltools_patches.torch_frontend import reading_rms_norm
from ane_rms.grammar.forms import NO_FIXED_SIZE
from ane_rms.passes.fuse import check_axes
from ane_rms.passes.strategies import STRATEGIES
from harness.interpreter import ReferenceModel
from tests.mil_tools import NE, op_types, options, regimes, rms_norm64

if TYPE_CHECKING:
    from collections.abc import Callable

D = 8
EPS = np.float32(1e-3)
LARGEST = float(np.finfo(np.float32).max)
TO_FLOAT32 = options(NE, compute_precision=ct.precision.FLOAT32, minimum_deployment_target=ct.target.iOS17)
FLOAT32_ROUNDING = 3e-6
"""Some roundings of float32 (6e-8) through a sum of a few squares and a root."""


def mean(x: Any) -> Any:
    return mb.reduce_mean(x=mb.square(x=x), axes=[-1], keep_dims=True)


def with_epsilon(x: Any) -> Any:
    return mb.add(x=mean(x), y=EPS)


def whole(x: Any) -> Any:
    return mb.cast(x=mb.cast(x=x, dtype="int32"), dtype="fp32")


def integer_sum(x: Any) -> Any:
    cut = mb.cast(x=x, dtype="int32")
    return mb.reduce_sum(x=mb.mul(x=cut, y=cut), axes=[-1], keep_dims=True)


def without_axis(x: Any) -> Any:
    return mb.rsqrt(x=mb.add(x=mb.reduce_mean(x=mb.square(x=x), axes=[-1], keep_dims=False), y=EPS))


def rms64(x: Any, epsilon: float = float(EPS)) -> Any:
    return np.sqrt(np.mean(np.square(x.astype(np.float64)), axis=-1, keepdims=True) + epsilon)


@dataclass(frozen=True)
class Form:
    """A form that is RMSNorm, its name, and what it computes."""

    build: Callable[[Any], Any]
    spelling: str
    formula: Callable[[Any], Any] = field(default=lambda x: x / rms64(x))


def norm_squared(x: Any, square: Callable[[Any], Any]) -> Any:
    norm = mb.reduce_l2_norm(x=x, axes=[-1], keep_dims=True)
    return mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mb.mul(x=square(norm), y=np.float32(1 / D)), y=EPS)))


FORMS = {
    "a norm, squared": Form(lambda x: norm_squared(x, lambda norm: mb.square(x=norm)), "l2_norm_rsqrt_mul"),
    "a norm to the power of 2": Form(
        lambda x: norm_squared(x, lambda norm: mb.pow(x=norm, y=np.float32(2))), "l2_norm_rsqrt_mul"
    ),
    "twice the norm, squared, over four": Form(
        lambda x: norm_squared(
            x, lambda norm: mb.real_div(x=mb.square(x=mb.mul(x=norm, y=np.float32(2))), y=np.float32(4))
        ),
        "l2_norm_rsqrt_mul",
    ),
    "epsilon subtracted as a negative number": Form(
        lambda x: mb.mul(x=x, y=mb.rsqrt(x=mb.sub(x=mean(x), y=-EPS))), "mean_rsqrt_mul"
    ),
    "a floor under the mean": Form(
        lambda x: mb.mul(x=x, y=mb.rsqrt(x=mb.maximum(x=mean(x), y=np.float32(1e-10)))),
        "mean_rsqrt_mul",
        lambda x: x / np.maximum(rms64(x, 0.0), 1e-5),
    ),
    "a floor under the mean, by clip": Form(
        lambda x: mb.mul(x=x, y=mb.rsqrt(x=mb.clip(x=mean(x), alpha=1e-10, beta=LARGEST))),
        "mean_rsqrt_mul",
        lambda x: x / np.maximum(rms64(x, 0.0), 1e-5),
    ),
    "twice the inverse root": Form(
        lambda x: mb.mul(x=x, y=mb.mul(x=mb.rsqrt(x=with_epsilon(x)), y=np.float32(2))),
        "mean_rsqrt_mul",
        lambda x: 2 * x / rms64(x),
    ),
    "twice the root": Form(
        lambda x: mb.real_div(x=x, y=mb.mul(x=mb.sqrt(x=with_epsilon(x)), y=np.float32(2))),
        "mean_sqrt_div",
        lambda x: x / rms64(x) / 2,
    ),
    "twice the inverse root, its axis put back last": Form(
        lambda x: mb.mul(x=x, y=mb.expand_dims(x=mb.mul(x=without_axis(x), y=np.float32(2)), axes=[-1])),
        "mean_rsqrt_mul",
        lambda x: 2 * x / rms64(x),
    ),
    "half the root, by a division": Form(
        lambda x: mb.real_div(x=x, y=mb.real_div(x=mb.sqrt(x=with_epsilon(x)), y=np.float32(2))),
        "mean_sqrt_div",
        lambda x: 2 * x / rms64(x),
    ),
}

REFUSED = {
    "a negative epsilon": (lambda x: mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mean(x), y=-EPS))), "epsilon is -0.001"),
    "a mean times minus one": (
        lambda x: mb.mul(x=x, y=mb.rsqrt(x=mb.mul(x=mean(x), y=np.float32(-1)))),
        "scaled by -1; it must be a positive number",
    ),
    "a negative number beside the root": (
        lambda x: mb.real_div(x=x, y=mb.add(x=mb.sqrt(x=with_epsilon(x)), y=-EPS)),
        "combined with -0.001; it must be a finite number",
    ),
    "a sum with the inverse root": (
        lambda x: mb.mul(x=x, y=mb.add(x=mb.rsqrt(x=with_epsilon(x)), y=np.float32(1))),
        "something is added to the inverse root",
    ),
    "an inverse of the inverse root": (
        lambda x: mb.real_div(x=x, y=mb.inverse(x=mb.rsqrt(x=with_epsilon(x)))),
        "an inverse of the inverse root",
    ),
    "an infinite gamma": (
        lambda x: mb.mul(x=mb.mul(x=x, y=np.full(D, np.inf, np.float32)), y=mb.rsqrt(x=with_epsilon(x))),
        "gamma is not finite",
    ),
    "a mean square cut to an integer": (
        lambda x: mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=whole(mean(x)), y=EPS))),
        "`cast` has integers between the squares and their root",
    ),
    "a sum of squares of integers": (
        lambda x: mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mb.cast(x=integer_sum(x), dtype="fp32"), y=EPS))),
        "`reduce_sum` has integers between the squares and their root",
    ),
    "a mean of squares of integers": (
        lambda x: mb.mul(x=x, y=mb.rsqrt(x=mb.reduce_mean(x=whole(mb.square(x=x)), axes=[-1], keep_dims=True))),
        "the mean is over a cast of int32, not over a square",
    ),
}

NOTHING = {
    "the inverse root of the input": lambda x: mb.mul(x=x, y=mb.rsqrt(x=x)),
    "the inverse root of a reshaped input": lambda x: mb.mul(x=x, y=mb.rsqrt(x=mb.reshape(x=x, shape=[D, 1, D]))),
    "the inverse root of an exponential": lambda x: mb.mul(x=x, y=mb.rsqrt(x=mb.exp(x=x))),
    "the inverse root of a sum of two values": lambda x: mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mb.exp(x=x), y=x))),
    "the inverse root of a clipped value": lambda x: mb.mul(x=x, y=mb.rsqrt(x=mb.clip(x=mean(x), alpha=0.1, beta=2.0))),
    "the inverse root of a matrix product": lambda x: mb.mul(
        x=x, y=mb.rsqrt(x=mb.matmul(x=x, y=np.eye(D, dtype=np.float32)))
    ),
    "the inverse root of a square matrix": lambda x: mb.mul(x=x, y=mb.rsqrt(x=mb.matmul(x=x, y=x))),
    "a value divided by a spread one": lambda x: mb.real_div(x=x, y=mb.tile(x=mb.exp(x=mean(x)), reps=[1, D])),
    "another value scaled by a variance": lambda x: mb.mul(
        x=mb.exp(x=x),
        y=mb.rsqrt(x=with_epsilon(mb.sub(x=x, y=mb.reduce_mean(x=x, axes=[-1], keep_dims=True)))),
    ),
    "the inverse of an exponential": lambda x: mb.mul(x=x, y=mb.inverse(x=mb.exp(x=x))),
    "the inverse root of a square": lambda x: mb.mul(x=x, y=mb.rsqrt(x=mb.square(x=x))),
    "the mean put back along another axis": lambda x: mb.mul(
        x=x,
        y=mb.rsqrt(x=mb.expand_dims(x=mb.reduce_mean(x=mb.square(x=x), axes=[-1], keep_dims=False), axes=[0])),
    ),
}


def program(build: Callable[[Any], Any], shape: tuple[Any, ...] = (D, D)) -> Any:
    @mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=ct.target.iOS17)
    def made(x):
        return mb.identity(x=build(x), name="y")

    return made


@pytest.mark.parametrize("name", FORMS)
def test_a_form_fuses_to_the_same_values(name):
    form = FORMS[name]
    model = ane_rms.convert(program(form.build), **TO_FLOAT32)
    (site,) = ane_rms.report(model).fused
    assert site.spelling == form.spelling
    x = regimes((D, D)) + np.float32(0.5)  # no rows of zeros: a floor is no RMSNorm there
    (actual,) = ReferenceModel(model, "fp32").predict({"x": x}).values()
    np.testing.assert_allclose(actual, form.formula(x), rtol=FLOAT32_ROUNDING)


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_has_its_reason(name):
    build, reason = REFUSED[name]
    report = ane_rms.find(program(build))
    assert report.fused == ()
    assert [reason in miss.reason for miss in report.missed] == [True]


@pytest.mark.parametrize("name", NOTHING)
def test_what_is_no_norm_is_not_fused(name):
    assert ane_rms.find(program(NOTHING[name])).fused == ()


def test_a_sum_over_an_axis_of_flexible_size_is_refused():
    def build(x):
        total = mb.reduce_sum(x=mb.square(x=x), axes=[-1], keep_dims=True)
        return mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=total, y=EPS)))

    report = ane_rms.find(program(build, (4, get_new_symbol())))
    assert [miss.reason for miss in report.missed] == [NO_FIXED_SIZE]


@pytest.mark.parametrize("lowering", STRATEGIES)
def test_a_norm_along_an_axis_of_flexible_size_is_expanded(lowering):
    length = get_new_symbol()

    def build(x):
        return mb.ane_rms_norm(x=x, axes=[0], epsilon=EPS)

    made = program(build, (length, D))
    flexible = ct.TensorType("x", (ct.RangeDim(1, 16), D))
    model = ane_rms.convert(made, inputs=[flexible], lowering=lowering, **TO_FLOAT32)
    assert not {"layer_norm", "l2_norm"} & set(op_types(model))
    x = regimes((4, D))
    (actual,) = ReferenceModel(model, "fp32").predict({"x": x}).values()
    np.testing.assert_allclose(actual, rms_norm64(x, None, float(EPS), (0,)), rtol=FLOAT32_ROUNDING, atol=1e-30)


@pytest.mark.parametrize("lowering", STRATEGIES)
def test_every_strategy_takes_an_epsilon_of_zero(lowering):
    model = ane_rms.convert(
        program(lambda x: mb.ane_rms_norm(x=x, epsilon=np.float32(0))), lowering=lowering, **TO_FLOAT32
    )
    x = regimes((D, D)) + np.float32(0.5)  # a row of zeros has no norm then
    (actual,) = ReferenceModel(model, "fp32").predict({"x": x}).values()
    np.testing.assert_allclose(actual, rms_norm64(x, None, 0.0, (1,)), rtol=FLOAT32_ROUNDING)


def test_find_takes_a_converted_model_and_no_package_of_it():
    model = ct.convert(program(FORMS["twice the root"].build), **TO_FLOAT32)
    assert [site.spelling for site in ane_rms.find(model).fused] == ["mean_sqrt_div"]


def test_an_unknown_choice_of_axes_names_the_known_ones():
    with pytest.raises(ValueError, match="'last', 'any'; got 'first'"):
        check_axes("first")


def test_axes_may_not_be_empty():
    with pytest.raises(ValueError, match="axes is empty; name at least one axis"):
        program(lambda x: mb.ane_rms_norm(x=x, axes=np.zeros(0, np.int32)))


def test_a_package_without_weights_is_made_as_coremltools_makes_it(tmp_path):
    spec = ct.convert(program(FORMS["twice the root"].build), **TO_FLOAT32).get_spec()
    with leaner():
        made = ct.models.model._create_mlpackage(spec, package_path=str(tmp_path / "made.mlpackage"))
    assert ReferenceModel(made).predict({"x": regimes((D, D))}).keys() == {"y"}


def test_what_has_no_source_has_no_digest():
    assert digest(len) == ""


@pytest.mark.parametrize("reading", [reading_bfloat16, lambda: reading_rms_norm(any_axes=False)])
def test_without_torch_there_is_nothing_to_read(monkeypatch, reading):
    monkeypatch.delitem(sys.modules, "torch")
    with reading():
        assert "torch" not in sys.modules


def test_a_coremltools_without_rms_norm_is_left_as_it_is(monkeypatch):
    known = REGISTRY.name_to_func_mapping
    monkeypatch.delitem(known, "rms_norm")
    with reading_rms_norm(any_axes=False):
        assert "rms_norm" not in known
