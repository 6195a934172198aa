"""Constants of every kind: a lean conversion writes the bytes that plain ``ct.convert`` writes."""

from __future__ import annotations

import itertools

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ane_rms
from tests.ane_rms.coremltools_patches.lean.identity import assert_lean_is_plain
from tests.mil_tools import op_types, options

CPU = ct.ComputeUnit.CPU_ONLY
LARGEST = 65504.0
VALUES = {
    "normal": [0.0, 1.0, -2.5, 1e-3],
    "the largest float16": [LARGEST, -LARGEST],
    "rounds to infinity": [65519.9, -65519.9],
    "past float16": [65536.0, 1.0],
    "past float16, negative": [-7e4, 1.0],
    "infinite": [np.inf, -np.inf, 1.0],
    "stands for infinity": [-3.4028235e38, 0.0],
    "just below an infinity": [9e37, 0.0],
    "not a number": [np.nan, 1.0],
    "not a number, and past float16": [np.nan, 1e5],
    "vanishes in float16": [1e-9, -1e-9, 0.0],
    "subnormal in float16": [6e-8, -6e-8, 5.9e-8],
}
SHAPES = [(3,), (2, 5), (4, 100), (1, 1, 9, 47), (401,), ()]


def constant(values: str, shape: tuple[int, ...], layout: str = "C") -> np.ndarray:
    count = int(np.prod(shape, dtype=int))
    flat = np.asarray(list(itertools.islice(itertools.cycle(VALUES[values]), count)), np.float32)
    return np.asarray(flat.reshape(shape), order=layout)


def program(constants: list[np.ndarray], target: ct.target = ct.target.iOS17) -> ct.models.MLModel:
    """Multiply each constant by the sum of the input; one output each."""

    @mb.program(input_specs=[mb.TensorSpec(shape=(2, 3))], opset_version=target)
    def main(x):
        total = mb.reduce_sum(x=x, axes=[0, 1], keep_dims=False)
        whole = mb.cast(x=total, dtype="int32")
        outputs = []
        for value in constants:
            if value.dtype == bool:
                outputs.append(mb.select(cond=value, a=total, b=np.float32(2.0)))
            else:
                scalar = whole if value.dtype.kind == "i" else total
                outputs.append(mb.mul(x=scalar, y=mb.const(val=value)))
        return tuple(outputs)

    return main


def check(constants: list[np.ndarray], **more) -> object:
    target = more.pop("minimum_deployment_target", ct.target.iOS17)
    arguments = options(CPU, minimum_deployment_target=target, **more)
    return assert_lean_is_plain(lambda: program(constants, target), **arguments)


def test_values():
    check([constant(values, shape) for shape in SHAPES for values in VALUES])


def test_layouts():
    wide = constant("normal", (5, 7, 11), "F")
    check([wide, wide.transpose(2, 0, 1), wide[::2, 3:], constant("infinite", (12, 10)).T])


def test_duplicates_are_found_alike():
    one = constant("normal", (20, 20))
    other = one.copy()
    other[-1, -1] += 1  # past the first hundred elements, which coremltools hashes
    close = one.copy()
    close[-1, -1] += 1e-9  # nearer than its tolerance
    check([one, one, one.copy(), other, close, one.reshape(400), one.astype(np.int32)])


def test_integers_booleans_and_empty_ones():
    whole = np.arange(400).reshape(20, 20)
    check([whole.astype(np.int32), whole, whole * 2**40, whole % 2 == 0, np.zeros((0, 3), np.float32)])


@pytest.mark.parametrize(
    ("precision", "target"),
    [
        (None, ct.target.iOS15),
        (ct.precision.FLOAT16, ct.target.iOS16),
        (ct.precision.FLOAT16, ct.target.iOS18),
        (ct.precision.FLOAT32, ct.target.iOS17),
    ],
)
def test_targets_and_precisions(precision, target):
    constants = [constant(values, (20, 25)) for values in VALUES]
    check(constants, minimum_deployment_target=target, compute_precision=precision)


def test_an_op_selector():
    precision = ct.transform.FP16ComputePrecision(op_selector=lambda op: op.op_type != "mul")
    check([constant("normal", (20, 20))], compute_precision=precision)


def test_a_pipeline_with_options():
    def chosen():
        pipeline = ct.PassPipeline()
        pipeline.set_options("common::add_fp16_cast", {"skip_ops_by_type": "reduce_sum"})
        pipeline.set_options("common::const_deduplication", {"const_threshold": 1000000})
        pipeline.remove_passes({"common::const_elimination"})
        return pipeline

    from coremltools.converters.mil.mil.passes.defs.cleanup import const_deduplication

    before = const_deduplication._const_threshold
    try:
        check([constant("normal", (20, 20))] * 2, pass_pipeline=chosen)
    finally:
        const_deduplication._const_threshold = before  # coremltools keeps this option in the class


@pytest.mark.parametrize("pipeline", ["EMPTY", "CLEANUP", "DEFAULT_PALETTIZATION", "DEFAULT_PRUNING"])
def test_pipelines_of_coremltools(pipeline):
    levels = np.linspace(-1, 1, 16, dtype=np.float32)
    weight = np.resize(levels, (64, 64))
    weight[:48] = 0
    check([weight], pass_pipeline=lambda: getattr(ct.PassPipeline, pipeline))


def test_the_mil_program_itself():
    program = check([constant("normal", (20, 20))], convert_to="milinternal")
    assert op_types(program).count("mul") == 1


def test_a_neural_network():
    def network(convert):
        @mb.program(input_specs=[mb.TensorSpec(shape=(2, 3))], opset_version=ct.target.iOS13)
        def main(x):
            return mb.mul(x=x, y=constant("normal", (2, 3)))

        return convert(main, convert_to="neuralnetwork", skip_model_load=True).get_spec().neuralNetwork

    assert network(lambda *given, **more: ane_rms.convert(*given, lean=True, **more)) == network(ct.convert)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kinds=st.lists(
        st.tuples(st.sampled_from(sorted(VALUES)), st.sampled_from(SHAPES), st.sampled_from("CF")), max_size=6
    ),
    repeats=st.integers(1, 2),
)
def test_any_set_of_constants(kinds, repeats):
    constants = [constant(values, shape, layout) for values, shape, layout in kinds] * repeats
    check([np.float32([1.0]), *constants])
