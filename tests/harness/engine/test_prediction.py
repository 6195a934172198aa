"""Predictions for small MIL programs: what leaves and why, what breaks, how long."""

from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from harness.engine import families
from harness.engine.prediction import predict
from harness.explain.engine_prediction import of_program
from harness.interpreter.reference_model import load

FAMILIES = ("m1", "m2", "m3", "m4", "m5")


def function(build: Any, *shapes: tuple[int, ...], dtype: Any = types.fp16, opset: Any = ct.target.iOS17) -> Any:
    specs = [mb.TensorSpec(shape, dtype=dtype) for shape in shapes]
    program = load(mb.program(input_specs=specs, opset_version=opset)(build))
    return program.functions[program.default]


def reasons(build: Any, *shapes: tuple[int, ...], family: str = "m1", **how: Any) -> list[str]:
    return [one.reason for one in predict(function(build, *shapes, **how), family, "test").absences]


def test_a_supported_op_stays():
    found = predict(function(lambda x: mb.relu(x=x), (1, 64)), "m1", "test")
    assert (found.ops, found.on_engine, found.leave, found.islands, found.hand_offs) == (1, 1, 0, 1, 0)


@pytest.mark.parametrize(
    ("build", "shape", "stays"),
    [
        (lambda x: mb.sin(x=x), (1, 64), ("m3", "m4", "m5")),
        (lambda x: mb.topk(x=x, k=2, axis=-1)[0], (1, 64), ()),  # its indices are int32
        (lambda x: mb.reduce_prod(x=x, axes=[-1]), (1, 64), ()),
        (
            lambda x: mb.resize_nearest_neighbor(x=x, target_size_height=8, target_size_width=8),
            (1, 2, 4, 4),
            FAMILIES[1:],
        ),
        (lambda x: mb.pad(x=x, pad=[1, 1], mode="reflect"), (1, 2, 4, 4), FAMILIES[1:]),
        (lambda x: mb.relu(x=x), (1, 20000), ("m4", "m5")),
        (lambda x: mb.relu(x=x), (1, 70000), ()),
        (lambda x: mb.relu(x=x), (20000, 1, 8), FAMILIES),  # channels
        (lambda x: mb.conv(x=x, weight=np.ones((1, 1, 1, 14), np.float16)), (1, 1, 1, 64), ("m4", "m5")),
        (lambda x: mb.layer_norm(x=x, axes=[-1], gamma=np.arange(1, 2049).astype(np.float16)), (1, 2048), FAMILIES[3:]),
        (lambda x: mb.layer_norm(x=x, axes=[-1]), (1, 2048), FAMILIES),
    ],
)
def test_what_leaves_depends_on_the_family(build, shape, stays):
    found = {key: predict(function(build, shape), key, "test") for key in FAMILIES}
    assert tuple(key for key, one in found.items() if not one.absences) == stays


@pytest.mark.parametrize(
    ("build", "shape", "how", "words"),
    [
        (lambda x: mb.relu(x=x), (1, 8), {"dtype": types.fp32}, "type fp32"),
        (lambda x: mb.relu(x=x), (1, 1, 1, 1, 1, 8), {}, "rank 6"),
        (lambda x: mb.matmul(x=x, y=x), (1, 1, 1, 8, 8), {}, "rank 5"),
        (lambda x: mb.reduce_argmax(x=x, axis=-1), (1, 4096), {}, "above 2,048"),
        (lambda x: mb.gather(x=x, indices=np.array([0], np.int32)), (4, 8), {"family": "m5"}, "placement model"),
        (lambda x: mb.add(x=x, y=x), (1, 8), {"dtype": types.int32}, "type int32"),
    ],
)
def test_the_reason_is_named(build, shape, how, words):
    assert any(words in reason for reason in reasons(build, shape, **how)), reasons(build, shape, **how)


def test_an_op_without_a_published_line_has_one_here():
    def build(x: Any) -> Any:
        return mb.relu(x=x)

    known = function(build, (1, 8))
    (op,) = known.body.ops
    object.__setattr__(op, "op_type", "an_op_of_next_year")
    (absence,) = predict(known, "m1", "test").absences
    assert absence.op_type == "an_op_of_next_year"
    assert not absence.certain
    assert "does not name it" in absence.reason


def test_every_op_that_the_executor_knows_has_a_line():
    from harness.interpreter.registry import known_ops

    unknown = sorted(set(known_ops()) - set(families.load().support.ops))
    assert unknown == ["ane_rms_norm", "conv_quantized"]  # our own, and one that no source names


def conv(channels: int, side: int, kernel: int) -> Any:
    weight = np.zeros((channels, channels, kernel, kernel), np.float16)
    return function(lambda x: mb.conv(x=x, weight=weight, pad_type="same"), (1, channels, side, side))


@pytest.mark.parametrize(
    ("channels", "side", "kernel", "measured_us"),
    [(256, 28, 3, 507), (512, 32, 1, 444), (1024, 16, 1, 686), (2048, 8, 1, 1047)],
)
def test_the_four_published_convolutions_are_within_a_quarter(channels, side, kernel, measured_us):
    found = predict(conv(channels, side, kernel), "m1", "test")
    assert found.latency_s * 1e6 == pytest.approx(measured_us, rel=0.25)
    assert found.low_s < found.latency_s < found.high_s


def rms_norm(x: Any) -> Any:
    square = mb.reduce_sum(x=mb.mul(x=x, y=x), axes=[-1], keep_dims=True)
    root = mb.rsqrt(x=mb.mul(x=square, y=np.float16(1 / 1024)), epsilon=np.float16(1e-5))
    return mb.mul(x=x, y=root)


def l2_norm(x: Any) -> Any:
    return mb.real_div(x=x, y=mb.reduce_l2_norm(x=x, axes=[-1], keep_dims=True))


def test_norms_rank_as_they_were_measured():
    builds = {"layer_norm": lambda x: mb.layer_norm(x=x, axes=[-1]), "l2_norm": l2_norm, "rms_norm": rms_norm}
    measured_us = {"l2_norm": 133, "layer_norm": 296, "rms_norm": 608}
    for family in FAMILIES:
        found = {name: predict(function(build, (256, 1024)), family, "t").latency_s for name, build in builds.items()}
        assert sorted(found, key=found.__getitem__) == list(measured_us)
    for name, microseconds in measured_us.items():
        estimate = predict(function(builds[name], (256, 1024)), "m5", "t").latency_s
        assert estimate * 1e6 == pytest.approx(microseconds, rel=0.35)


def test_working_sets_follow_the_family():
    def build(x: Any) -> Any:
        return mb.relu(x=x)

    m1, m5 = (predict(function(build, (1024, 1200)), key, "test") for key in ("m1", "m5"))  # 2.46 MB
    assert (m1.working_sets, m5.working_sets) == (1, 0)
    assert m1.largest_operand_bytes == 2 * 1024 * 1200


def test_weights_are_counted_once_and_held_to_the_limit():
    weight = np.zeros((64, 64), np.float16)

    def build(x: Any) -> Any:
        shared = mb.const(val=weight)
        return mb.linear(x=mb.linear(x=x, weight=shared), weight=shared)

    found = predict(function(build, (1, 64)), "m1", "test")
    assert found.weight_bytes == pytest.approx(2 * 64 * 64, abs=300)  # a linear has a bias of zeros
    assert found.weight_limit_bytes == 2_000_000_000


def hazards(build: Any, family: str, **data: Any) -> list[str]:
    shapes = [value.shape for value in data.values()]
    specs = [mb.TensorSpec(shape, dtype=types.fp16) for shape in shapes]
    program = mb.program(input_specs=specs, opset_version=ct.target.iOS17)(build)
    (found,) = of_program(program, "test", [family], [data])
    return [one.reason for one in found.hazards]


def test_a_product_near_the_ceiling_is_a_hazard():
    def build(x: Any) -> Any:
        return mb.matmul(x=x, y=np.full((2, 1), 1.0, np.float16))

    near = hazards(build, "m5", x=np.array([[16000, 8000]], np.float16))
    past = hazards(build, "m5", x=np.array([[16384, 16384]], np.float16))
    fine = hazards(build, "m5", x=np.array([[100, 100]], np.float16))
    assert "comes near 32,768" in near[0]
    assert "reaches 32,768" in past[0]
    assert fine == []


def test_a_sliced_value_beyond_the_limit_is_a_hazard_where_the_family_has_one():
    def build(x: Any) -> Any:
        return mb.slice_by_index(x=x, begin=[0, 1], end=[1, 2])

    values = np.array([[0, 5000]], np.float16)
    assert "5,000" in hazards(build, "m1", x=values)[0]
    assert hazards(build, "m5", x=values) == []
    assert hazards(build, "m1", x=np.array([[0, 4000]], np.float16)) == []
    (static,) = predict(function(build, (1, 2)), "m1", "test").hazards  # without calibration
    assert "above 4,094" in static.reason


def test_an_epsilon_that_counts_as_zero_is_a_hazard():
    def build(x: Any) -> Any:
        return mb.sqrt(x=mb.add(x=x, y=np.float16(1e-6)))

    (found,) = predict(function(build, (1, 8)), "m5", "test").hazards
    assert "counts as zero" in found.reason
    assert not predict(function(lambda x: mb.sqrt(x=mb.add(x=x, y=np.float16(1e-3))), (1, 8)), "m5", "test").hazards


def test_an_exponential_beyond_its_range_is_a_hazard():
    def build(x: Any) -> Any:
        return mb.exp(x=x)

    assert any("11.5" in reason for reason in hazards(build, "m5", x=np.array([[11.5]], np.float16)))
    assert hazards(build, "m5", x=np.array([[11.0]], np.float16)) == []


def test_islands_and_hand_offs_are_counted_in_program_order():
    def build(x: Any) -> Any:
        return mb.relu(x=mb.reduce_prod(x=mb.relu(x=x), axes=[-1]))

    found = predict(function(build, (1, 8)), "m1", "test")
    assert (found.on_engine, found.leave, found.islands, found.hand_offs) == (2, 1, 2, 2)
    assert found.by_class_s["dispatch"] == pytest.approx(2 * 0.23e-3)


def test_attention_has_no_estimate():
    def build(x: Any) -> Any:
        return mb.scaled_dot_product_attention(query=x, key=x, value=x)

    found = predict(function(build, (1, 2, 8, 8), opset=ct.target.iOS18), "m1", "test")
    assert found.without_estimate == {"scaled_dot_product_attention": 1}
